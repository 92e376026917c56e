using System.Buffers.Binary;
using Vitro.Foundation;

namespace Vitro.WorkerProcess.Saving;

/// <summary>
/// The file of a saved machine (docs/saved-machines.md): a header, memory chunks and records in any order, a directory of the
/// records. Little endian. The header is written last, so that a file without one is no saved machine.
/// </summary>
internal static class SavedMachineFormat
{
    /// <summary>Rises when a file can no longer be read by builds before; records have versions of their own.</summary>
    internal const uint Version = 1;

    internal const int HeaderSize = 64;
    internal const int ChecksumOffset = HeaderSize - 4;

    /// <summary>Pages of guest memory in a chunk: as many as a word has bits, enough for good compression, and little to a processor's cache.</summary>
    internal const int PagesPerChunk = 64;

    internal const int PageSize = 4096;
    internal const int ChunkSize = PagesPerChunk * PageSize;

    /// <summary>Bytes of a chunk's entry in the memory record.</summary>
    internal const int ChunkEntrySize = 32;

    internal const int MaximumDirectory = 16 << 20;
    internal const int MaximumRecord = 1 << 30;

    internal static ReadOnlySpan<byte> Magic => "VITROVMS"u8;

    /// <summary>Names of the records that are no device's.</summary>
    internal static class Record
    {
        internal const string Machine = "machine";
        internal const string Cpuid = "cpuid";
        internal const string Processors = "processors";
        internal const string Memory = "memory";
        internal const string Disks = "disks";
        internal const string DevicePrefix = "device/";
    }

    /// <summary>Tags of the directory: a group for each record.</summary>
    internal static class DirectoryTag
    {
        internal const ushort Record = 1;
        internal const ushort Name = 1;
        internal const ushort Version = 2;
        internal const ushort Required = 3;
        internal const ushort Offset = 4;
        internal const ushort Length = 5;
        internal const ushort Checksum = 6;
    }

    /// <summary>Tags of the memory record.</summary>
    internal static class MemoryTag
    {
        internal const ushort Size = 1;
        internal const ushort ChunkSize = 2;
        internal const ushort Chunks = 3;
    }
}

/// <summary>A file's header.</summary>
/// <param name="Version">Format version.</param>
/// <param name="DirectoryOffset">Byte in the file.</param>
/// <param name="DirectoryLength">Bytes.</param>
/// <param name="DirectoryChecksum">CRC-32C.</param>
/// <param name="FileLength">Bytes of the whole file: one that was cut is recognised at once.</param>
internal readonly record struct SavedMachineHeader(uint Version, long DirectoryOffset, long DirectoryLength, uint DirectoryChecksum, long FileLength)
{
    internal void Write(Span<byte> bytes)
    {
        bytes[..SavedMachineFormat.HeaderSize].Clear();
        SavedMachineFormat.Magic.CopyTo(bytes);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[8..], Version);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[12..], SavedMachineFormat.HeaderSize);
        BinaryPrimitives.WriteInt64LittleEndian(bytes[16..], DirectoryOffset);
        BinaryPrimitives.WriteInt64LittleEndian(bytes[24..], DirectoryLength);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[32..], DirectoryChecksum);
        BinaryPrimitives.WriteInt64LittleEndian(bytes[40..], FileLength);
        BinaryPrimitives.WriteUInt32LittleEndian(
            bytes[SavedMachineFormat.ChecksumOffset..], Crc32C.Compute(bytes[..SavedMachineFormat.ChecksumOffset]));
    }

    /// <summary>Reads and checks a header against the file's length.</summary>
    /// <exception cref="SavedStateException">It is none, damaged, or a later build's.</exception>
    internal static SavedMachineHeader Read(ReadOnlySpan<byte> bytes, long fileLength)
    {
        if (bytes.Length < SavedMachineFormat.HeaderSize || !bytes.StartsWith(SavedMachineFormat.Magic))
        {
            throw new SavedStateException("The file is no saved machine.");
        }

        var version = BinaryPrimitives.ReadUInt32LittleEndian(bytes[8..]);
        if (version is 0 or > SavedMachineFormat.Version)
        {
            throw new SavedStateException(
                $"The file has version {version} of the format; this build reads up to version {SavedMachineFormat.Version}. Use a later build.");
        }

        var header = new SavedMachineHeader(
            version,
            BinaryPrimitives.ReadInt64LittleEndian(bytes[16..]),
            BinaryPrimitives.ReadInt64LittleEndian(bytes[24..]),
            BinaryPrimitives.ReadUInt32LittleEndian(bytes[32..]),
            BinaryPrimitives.ReadInt64LittleEndian(bytes[40..]));
        if (Crc32C.Compute(bytes[..SavedMachineFormat.ChecksumOffset]) != BinaryPrimitives.ReadUInt32LittleEndian(bytes[SavedMachineFormat.ChecksumOffset..]))
        {
            throw new SavedStateException("The header is damaged: its checksum is wrong.");
        }

        if (header.FileLength != fileLength)
        {
            throw new SavedStateException($"The file was cut or extended: it has {fileLength} bytes instead of {header.FileLength}.");
        }

        return header.DirectoryOffset >= SavedMachineFormat.HeaderSize && header.DirectoryLength is >= 0 and <= SavedMachineFormat.MaximumDirectory
            && header.DirectoryOffset <= fileLength - header.DirectoryLength
            ? header
            : throw new SavedStateException("The directory is not inside the file.");
    }
}
