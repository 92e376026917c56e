using System.Runtime.InteropServices;
using Vitro.Configuration;
using Vitro.Foundation;
using Vitro.Hypervisor.Vid;
using Vitro.UnitTests.Storage;
using Vitro.WorkerProcess.Saving;

namespace Vitro.UnitTests.WorkerProcess.Saving;

/// <summary>Makes files of saved machines that hold memory and a definition, without a machine.</summary>
internal static class SavedFile
{
    internal const int MemoryBytes = 16 << 20;

    internal static VirtualMachineDefinition Definition { get; } = new()
    {
        Name = "saved",
        Id = new Guid("f3a3b6a5-9a2c-4f43-8f83-2f6f60c3a001"),
        MemoryBytes = MemoryBytes,
        ProcessorCount = 2,
        ProcessorModel = "x86-64-v1",
        Boot = new LinuxBootDefinition { Kernel = "/boot/kernel", Initrd = ["/boot/first", "/boot/second"], CommandLine = "quiet" },
        Disks = [new DiskDefinition("/disks/a.vhdx"), new DiskDefinition("/disks/b.img", ReadOnly: true)],
        HasDebugExit = true,
    };

    internal static string Write(TemporaryFolder folder, GuestMemory ram, Action<SavedMachineWriter>? more = null)
    {
        return Write(folder, file =>
        {
            MemoryWriter.Write(file, ram);
            more?.Invoke(file);
        });
    }

    /// <summary>A file whose first chunk of memory is no LZ4 block, under a right checksum.</summary>
    internal static string WriteBrokenChunk(TemporaryFolder folder) => Write(folder, static file =>
    {
        byte[] stored = [0xFF, 0xFF, 0xFF, 0xFF];
        MemoryChunk[] chunks =
        [
            new()
            {
                Pages = 1,
                Codec = ChunkCodec.Lz4,
                StoredLength = (uint)stored.Length,
                Checksum = Crc32C.Compute(stored),
                Offset = file.Append(stored),
            },
        ];
        file.AddRecord(SavedMachineFormat.Record.Memory, 1, isRequired: true, writer =>
        {
            writer.UInt64(SavedMachineFormat.MemoryTag.Size, MemoryBytes);
            writer.UInt32(SavedMachineFormat.MemoryTag.ChunkSize, SavedMachineFormat.ChunkSize);
            writer.Bytes(SavedMachineFormat.MemoryTag.Chunks, MemoryMarshal.AsBytes(chunks.AsSpan()));
        });
    });

    private static string Write(TemporaryFolder folder, Action<SavedMachineWriter> parts)
    {
        var path = folder.File("saved.vmrs");
        using var file = SavedMachineWriter.Create(path);
        file.AddRecord(
            SavedMachineFormat.Record.Machine,
            SavedDefinition.Version,
            isRequired: true,
            new SavedDefinition(Definition, "software", new DateTimeOffset(2026, 1, 2, 3, 4, 5, TimeSpan.Zero), 123_456_789, 1_000_000_000, 42).Write);
        parts(file);
        file.Seal();
        file.Publish();
        return path;
    }

    /// <summary>Memory with pages that shrink, pages that do not, and holes between them.</summary>
    internal static void FillMemory(GuestMemory ram)
    {
        var random = new Random(1);
        for (var page = 0; page < MemoryBytes / 4096; page += 1 + random.Next(40))
        {
            for (var i = random.Next(6); i >= 0 && page < MemoryBytes / 4096; i--, page++)
            {
                var bytes = new byte[4096];
                if (page % 3 == 0)
                {
                    random.NextBytes(bytes);
                }
                else
                {
                    bytes[random.Next(4096)] = (byte)page;
                    bytes[4095] = 1;
                }

                ram.Host.Write((ulong)page * 4096, bytes);
            }
        }
    }
}
