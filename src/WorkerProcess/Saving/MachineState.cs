using Vitro.Configuration;
using Vitro.Foundation;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Vid;
using static Vitro.WorkerProcess.Saving.SavedMachineFormat;

namespace Vitro.WorkerProcess.Saving;

/// <summary>The parts of a stopped machine whose state is saved, and the order in which they are restored.</summary>
internal sealed record MachineState
{
    private const int ProcessorsVersion = 1;
    private const ushort ProcessorTag = 1;

    internal required VirtualMachineDefinition Definition { get; init; }

    internal required string EngineName { get; init; }

    internal required VmClock Clock { get; init; }

    internal required GuestMemory Ram { get; init; }

    internal required CpuidTable Cpuid { get; init; }

    internal required IPartition Partition { get; init; }

    /// <summary>In the order they are started.</summary>
    internal required IReadOnlyList<IVirtualDevice> Devices { get; init; }

    /// <summary>Writes everything but the disks' record.</summary>
    internal void Save(SavedMachineWriter file)
    {
        MemoryWriter.Write(file, Ram);
        var saved = new SavedDefinition(
            Definition, EngineName, Clock.WallClock, Clock.Nanoseconds, Partition.TscFrequency, Partition.ReadTsc());
        file.AddRecord(Record.Machine, SavedDefinition.Version, isRequired: true, saved.Write);
        file.AddRecord(Record.Cpuid, 1, isRequired: true, Cpuid.Save);
        file.AddRecord(Record.Processors, ProcessorsVersion, isRequired: true, writer =>
        {
            foreach (var processor in Partition.VirtualProcessors)
            {
                writer.Group(ProcessorTag, processor.GetState().Save);
            }
        });
        foreach (var device in Devices)
        {
            file.AddRecord(Record.DevicePrefix + device.Name, device.SavedStateVersion, isRequired: true, device.Save);
        }
    }

    /// <summary>Takes the state of a file into the parts of a new machine, which have never been started.</summary>
    /// <param name="file">The file.</param>
    /// <param name="memory">Its memory, which is being checked.</param>
    /// <param name="onDamage">Called once, on any thread, when memory turns out not to unpack after all: the guest must not go on.</param>
    /// <exception cref="SavedStateException">The file is damaged or does not fit; the parts are in no defined state.</exception>
    internal void Restore(SavedMachine file, SavedMemory memory, Action<string> onDamage)
    {
        var known = Devices.Select(static device => Record.DevicePrefix + device.Name).ToHashSet(StringComparer.Ordinal);
        known.UnionWith([Record.Machine, Record.Cpuid, Record.Processors, Record.Memory, Record.Disks]);
        file.RequireKnown(known);

        // Memory before the bus, whose rings are in it; the clock before whatever counts by it.
        if (Partition.AsksForRam)
        {
            memory.Attach(Ram, onDamage);
        }
        else
        {
            memory.FillAll(Ram);
        }

        Clock.SetNanoseconds(file.Saved.Nanoseconds);
        foreach (var device in Devices)
        {
            // A device that this build has and the saved machine had not starts as after a reset.
            var name = Record.DevicePrefix + device.Name;
            if (file.HasRecord(name))
            {
                device.Restore(file.ReadRecord(name, device.SavedStateVersion));
            }
        }

        RestoreProcessors(file);
        if (Partition.AsksForRam)
        {
            // What was taken from memory until now has been checked one by one.
            memory.FinishCheck();
            memory.FillInBackground();
        }
    }

    // After the interrupt controllers: a processor looks at what waits there when it takes its state.
    private void RestoreProcessors(SavedMachine file)
    {
        var states = file.ReadRecord(Record.Processors, ProcessorsVersion).Groups(ProcessorTag).ToArray();
        if (states.Length != Partition.VirtualProcessors.Count)
        {
            throw new SavedStateException($"The file holds {states.Length} processors instead of {Partition.VirtualProcessors.Count}.");
        }

        // A processor's counter is the partition's plus an offset, and the partition's goes on where the other engine's stood.
        Partition.SetTsc(file.Saved.Tsc);
        for (var i = 0; i < states.Length; i++)
        {
            Partition.VirtualProcessors[i].SetState(VirtualProcessorState.Load(states[i]));
        }
    }
}
