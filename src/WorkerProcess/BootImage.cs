using Vitro.Chipset;
using Vitro.Configuration;
using Vitro.Firmware.Acpi;
using Vitro.Firmware.LinuxBoot;
using Vitro.Firmware.Smbios;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Vid;

namespace Vitro.WorkerProcess;

/// <summary>Puts the firmware tables and the kernel into memory and the boot processor at the kernel's entry.</summary>
internal static class BootImage
{
    internal static void Load(VirtualMachineDefinition definition, GpaSpace gpa, StandardChipset chipset, IPartition partition)
    {
        try
        {
            var acpi = AcpiTableBuilder.Build(new AcpiDescription
            {
                ApicIds = [.. partition.VirtualProcessors.Select(vp => (uint)vp.Index)],
                PmEventPort = ChipsetPorts.Pm1EventBlock,
                PmControlPort = ChipsetPorts.Pm1ControlBlock,
                PmTimerPort = ChipsetPorts.PmTimerBlock,
                ResetPort = ChipsetPorts.ResetRegister,
                ResetValue = ChipsetPorts.ResetValue,
                SoftOffType = ChipsetPorts.SleepTypeS5,
                SciInterrupt = ChipsetPorts.SciLine,
                SerialPorts = [new AcpiSerialPort(ChipsetPorts.SerialPorts[0], (byte)ChipsetPorts.SerialLines[0])],
            });
            acpi.Place(gpa);
            SmbiosTableBuilder.Build(new SmbiosDescription
            {
                MachineId = definition.Id,
                MemoryBytes = gpa.Ram.Size,
                ProcessorCount = definition.ProcessorCount,
                Version = typeof(BootImage).Assembly.GetName().Version!.ToString(3),
            }).Place(gpa);
            var kernel = KernelLoader.Load(
                new BootOptions
                {
                    KernelPath = definition.Boot.Kernel,
                    InitrdPaths = definition.Boot.Initrd,
                    CommandLine = definition.Boot.CommandLine,
                    RsdpAddress = acpi.RsdpAddress,
                },
                gpa);
            chipset.PrepareForDirectBoot();
            partition.VirtualProcessors[0].SetState(kernel.State);
        }
        catch (BootException error)
        {
            var argument = definition.Boot.Initrd.Contains(error.File, StringComparer.Ordinal) ? "--initrd" : "--kernel";
            throw new DefinitionException(argument, $"{error.File}: {error.Cause}", char.ToUpperInvariant(error.Cure[0]) + error.Cure[1..]);
        }
    }
}
