using Vitro.Configuration;
using Vitro.Foundation;

namespace Vitro.WorkerProcess.Saving;

/// <summary>A machine's definition as it is saved, with what else is needed to know the machine.</summary>
/// <param name="Definition">What it is made of; paths are absolute.</param>
/// <param name="EngineName">The engine it ran on, for people.</param>
/// <param name="SavedAt">When it was saved.</param>
/// <param name="Nanoseconds">The machine's clock.</param>
/// <param name="TscFrequency">Rate of the guest's time stamp counter in Hz.</param>
/// <param name="Tsc">The partition's time stamp counter at that time.</param>
internal sealed record SavedDefinition(
    VirtualMachineDefinition Definition, string EngineName, DateTimeOffset SavedAt, long Nanoseconds, ulong TscFrequency, ulong Tsc)
{
    internal const int Version = 1;
    private const int MostDisks = 64;

    internal void Write(SavedStateWriter writer)
    {
        writer.Text(Tag.Name, Definition.Name);
        writer.Bytes(Tag.Id, Definition.Id.ToByteArray());
        writer.UInt64(Tag.Memory, (ulong)Definition.MemoryBytes);
        writer.UInt32(Tag.Processors, (uint)Definition.ProcessorCount);
        if (Definition.ProcessorModel is { } model)
        {
            writer.Text(Tag.ProcessorModel, model);
        }

        writer.Text(Tag.Kernel, Path.GetFullPath(Definition.Boot.Kernel));
        foreach (var initrd in Definition.Boot.Initrd)
        {
            writer.Text(Tag.Initrd, Path.GetFullPath(initrd));
        }

        writer.Text(Tag.CommandLine, Definition.Boot.CommandLine);
        foreach (var disk in Definition.Disks)
        {
            writer.Group(Tag.Disk, group =>
            {
                group.Text(DiskTag.Path, Path.GetFullPath(disk.Path));
                group.Bool(DiskTag.ReadOnly, disk.ReadOnly);
            });
        }

        writer.Bool(Tag.DebugExit, Definition.HasDebugExit);
        writer.Text(Tag.EngineName, EngineName);
        writer.UInt64(Tag.SavedAt, (ulong)SavedAt.UtcTicks);
        writer.UInt64(Tag.Nanoseconds, (ulong)Nanoseconds);
        writer.UInt64(Tag.TscFrequency, TscFrequency);
        writer.UInt64(Tag.Tsc, Tsc);
    }

    internal static SavedDefinition Read(SavedStateReader reader)
    {
        var id = reader.Bytes(Tag.Id);
        var memory = reader.UInt64(Tag.Memory);
        var savedAt = reader.UInt64(Tag.SavedAt);
        var nanoseconds = reader.UInt64(Tag.Nanoseconds);
        var processors = reader.UInt32(Tag.Processors);
        var disks = reader.Groups(Tag.Disk).Take(MostDisks + 1).ToArray();
        if (id.Length != 16 || memory > long.MaxValue || savedAt > (ulong)DateTime.MaxValue.Ticks || nanoseconds > long.MaxValue / 2
            || processors is 0 or > DefinitionValidator.MaxProcessors || disks.Length > MostDisks)
        {
            throw new SavedStateException("The saved machine's definition is damaged.");
        }

        return new SavedDefinition(
            new VirtualMachineDefinition
            {
                Name = reader.Text(Tag.Name) ?? "",
                Id = new Guid(id),
                MemoryBytes = (long)memory,
                ProcessorCount = (int)processors,
                ProcessorModel = reader.Text(Tag.ProcessorModel),
                Boot = new LinuxBootDefinition
                {
                    Kernel = reader.Text(Tag.Kernel) ?? "",
                    Initrd = [.. reader.AllBytes(Tag.Initrd).Select(bytes => System.Text.Encoding.UTF8.GetString(bytes.Span))],
                    CommandLine = reader.Text(Tag.CommandLine) ?? "",
                },
                Disks = [.. disks.Select(disk => new DiskDefinition(disk.Text(DiskTag.Path) ?? "", disk.Bool(DiskTag.ReadOnly)))],
                HasDebugExit = reader.Bool(Tag.DebugExit),
            },
            reader.Text(Tag.EngineName) ?? "",
            new DateTimeOffset((long)savedAt, TimeSpan.Zero),
            (long)nanoseconds,
            reader.UInt64(Tag.TscFrequency),
            reader.UInt64(Tag.Tsc));
    }

    private static class Tag
    {
        internal const ushort Name = 1;
        internal const ushort Id = 2;
        internal const ushort Memory = 3;
        internal const ushort Processors = 4;
        internal const ushort ProcessorModel = 5;
        internal const ushort Kernel = 6;
        internal const ushort Initrd = 7;
        internal const ushort CommandLine = 8;
        internal const ushort Disk = 9;
        internal const ushort DebugExit = 10;
        internal const ushort EngineName = 11;
        internal const ushort SavedAt = 12;
        internal const ushort Nanoseconds = 13;
        internal const ushort TscFrequency = 14;
        internal const ushort Tsc = 15;
    }

    private static class DiskTag
    {
        internal const ushort Path = 1;
        internal const ushort ReadOnly = 2;
    }
}
