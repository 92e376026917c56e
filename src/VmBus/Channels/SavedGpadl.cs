using System.Buffers;
using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Vitro.Foundation;

namespace Vitro.VmBus.Channels;

/// <summary>A GPADL in saved state: its range buffer as the guest sent it, or as much as had come.</summary>
internal static class SavedGpadl
{
    private const ushort ChannelIdTag = 1;
    private const ushort HandleTag = 2;
    private const ushort RangeCountTag = 3;
    private const ushort WordsTag = 4;

    internal static void Write(SavedStateWriter writer, uint channelId, Gpadl gpadl)
    {
        var words = new ArrayBufferWriter<byte>();
        foreach (var range in gpadl.Ranges)
        {
            Append(words, range.ByteCount, range.ByteOffset, range.PageNumbers.AsSpan());
        }

        Write(writer, channelId, gpadl.Handle, gpadl.Ranges.Length, words.WrittenSpan);
    }

    internal static void Write(SavedStateWriter writer, GpadlAssembly assembly)
    {
        var words = new ArrayBufferWriter<byte>();
        assembly.CopyWords(words);
        Write(writer, assembly.ChannelId, assembly.Handle, assembly.RangeCount, words.WrittenSpan);
    }

    internal static void Read(SavedStateReader reader, GpadlTable table)
    {
        var handle = reader.UInt32(HandleTag);
        if (table.Begin(reader.UInt32(ChannelIdTag), handle, (ushort)reader.UInt32(RangeCountTag), reader.Bytes(WordsTag)) is null)
        {
            throw new SavedStateException($"Saved GPADL 0x{handle:x} is damaged.");
        }
    }

    internal static void Append(ArrayBufferWriter<byte> words, uint byteCount, uint byteOffset, ReadOnlySpan<ulong> pages)
    {
        var header = words.GetSpan(8);
        BinaryPrimitives.WriteUInt32LittleEndian(header, byteCount);
        BinaryPrimitives.WriteUInt32LittleEndian(header[4..], byteOffset);
        words.Advance(8);
        words.Write(MemoryMarshal.AsBytes(pages));
    }

    private static void Write(SavedStateWriter writer, uint channelId, uint handle, int rangeCount, ReadOnlySpan<byte> words)
    {
        writer.UInt32(ChannelIdTag, channelId);
        writer.UInt32(HandleTag, handle);
        writer.UInt32(RangeCountTag, (uint)rangeCount);
        writer.Bytes(WordsTag, words);
    }
}
