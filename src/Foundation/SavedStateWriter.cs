using System.Buffers;
using System.Buffers.Binary;
using System.Text;

namespace Vitro.Foundation;

/// <summary>
/// Writes a state unit as tagged fields: u16 tag, u32 length, bytes, little endian. Readers skip tags they do not know
/// and take defaults for tags that are missing, so that fields can be added without breaking older or newer builds.
/// </summary>
/// <remarks>Tags are chosen by each saved-state type, never reused for another meaning. Not thread-safe.</remarks>
public sealed class SavedStateWriter
{
    private readonly ArrayBufferWriter<byte> _buffer = new();

    /// <summary>The encoded fields so far.</summary>
    public ReadOnlySpan<byte> WrittenSpan => _buffer.WrittenSpan;

    /// <summary>Writes an unsigned number in 8 bytes.</summary>
    public void UInt64(ushort tag, ulong value)
    {
        Span<byte> bytes = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        Bytes(tag, bytes);
    }

    /// <summary>Writes an unsigned number in 4 bytes.</summary>
    public void UInt32(ushort tag, uint value)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        Bytes(tag, bytes);
    }

    /// <summary>Writes one byte.</summary>
    public void Byte(ushort tag, byte value) => Bytes(tag, [value]);

    /// <summary>Writes a flag; false is the default and needs no field.</summary>
    public void Bool(ushort tag, bool value)
    {
        if (value)
        {
            Bytes(tag, [1]);
        }
    }

    /// <summary>Writes a text as UTF-8.</summary>
    public void Text(ushort tag, string value) => Bytes(tag, Encoding.UTF8.GetBytes(value));

    /// <summary>Writes raw bytes.</summary>
    public void Bytes(ushort tag, ReadOnlySpan<byte> value)
    {
        var span = _buffer.GetSpan(6 + value.Length);
        BinaryPrimitives.WriteUInt16LittleEndian(span, tag);
        BinaryPrimitives.WriteInt32LittleEndian(span[2..], value.Length);
        value.CopyTo(span[6..]);
        _buffer.Advance(6 + value.Length);
    }

    /// <summary>Writes a nested unit. The same tag may be written several times: that is a list.</summary>
    public void Group(ushort tag, Action<SavedStateWriter> write)
    {
        var inner = new SavedStateWriter();
        write(inner);
        Bytes(tag, inner.WrittenSpan);
    }
}
