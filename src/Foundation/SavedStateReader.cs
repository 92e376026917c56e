using System.Buffers.Binary;
using System.Text;

namespace Vitro.Foundation;

/// <summary>Reads what <see cref="SavedStateWriter"/> wrote. Fields may be asked for in any order.</summary>
/// <remarks>Immutable after construction, so it may be shared between threads.</remarks>
public sealed class SavedStateReader
{
    private readonly ReadOnlyMemory<byte> _data;
    private readonly List<(ushort Tag, int Offset, int Length)> _fields = [];

    /// <summary>Parses the field headers.</summary>
    /// <exception cref="SavedStateException">A field runs past the end.</exception>
    public SavedStateReader(ReadOnlyMemory<byte> data)
    {
        _data = data;
        var span = data.Span;
        var offset = 0;
        while (offset < span.Length)
        {
            if (span.Length - offset < 6)
            {
                throw new SavedStateException($"Saved state ends inside a field header at byte {offset}.");
            }

            var tag = BinaryPrimitives.ReadUInt16LittleEndian(span[offset..]);
            var length = BinaryPrimitives.ReadInt32LittleEndian(span[(offset + 2)..]);
            if (length < 0 || length > span.Length - offset - 6)
            {
                throw new SavedStateException($"Saved state field {tag} at byte {offset} runs past the end.");
            }

            _fields.Add((tag, offset + 6, length));
            offset += 6 + length;
        }
    }

    /// <summary>Reads an unsigned number.</summary>
    public ulong UInt64(ushort tag, ulong missing = 0) =>
        TryFind(tag, out var bytes) ? BinaryPrimitives.ReadUInt64LittleEndian(Sized(tag, bytes, 8)) : missing;

    /// <summary>Reads an unsigned number.</summary>
    public uint UInt32(ushort tag, uint missing = 0) =>
        TryFind(tag, out var bytes) ? BinaryPrimitives.ReadUInt32LittleEndian(Sized(tag, bytes, 4)) : missing;

    /// <summary>Reads one byte.</summary>
    public byte Byte(ushort tag, byte missing = 0) => TryFind(tag, out var bytes) ? Sized(tag, bytes, 1)[0] : missing;

    /// <summary>Reads a flag; a missing field is false.</summary>
    public bool Bool(ushort tag) => Byte(tag) != 0;

    /// <summary>Reads a text; null when the field is missing.</summary>
    public string? Text(ushort tag) => TryFind(tag, out var bytes) ? Encoding.UTF8.GetString(bytes) : null;

    /// <summary>Reads raw bytes; empty when the field is missing.</summary>
    public ReadOnlySpan<byte> Bytes(ushort tag) => TryFind(tag, out var bytes) ? bytes : default;

    /// <summary>Reads every field written with <paramref name="tag"/>, in order.</summary>
    public IEnumerable<ReadOnlyMemory<byte>> AllBytes(ushort tag)
    {
        foreach (var field in _fields)
        {
            if (field.Tag == tag)
            {
                yield return _data.Slice(field.Offset, field.Length);
            }
        }
    }

    /// <summary>Reads a nested unit; an empty one when the field is missing.</summary>
    public SavedStateReader Group(ushort tag)
    {
        foreach (var group in Groups(tag))
        {
            return group;
        }

        return new SavedStateReader(default);
    }

    /// <summary>Reads every nested unit written with <paramref name="tag"/>, in order.</summary>
    public IEnumerable<SavedStateReader> Groups(ushort tag)
    {
        foreach (var field in _fields)
        {
            if (field.Tag == tag)
            {
                yield return new SavedStateReader(_data.Slice(field.Offset, field.Length));
            }
        }
    }

    private static ReadOnlySpan<byte> Sized(ushort tag, ReadOnlySpan<byte> bytes, int size) =>
        bytes.Length == size ? bytes : throw new SavedStateException($"Saved state field {tag} has {bytes.Length} bytes instead of {size}.");

    private bool TryFind(ushort tag, out ReadOnlySpan<byte> bytes)
    {
        foreach (var field in _fields)
        {
            if (field.Tag == tag)
            {
                bytes = _data.Span.Slice(field.Offset, field.Length);
                return true;
            }
        }

        bytes = default;
        return false;
    }
}
