using System.Buffers.Binary;
using System.Text;

namespace Vitro.Firmware.Smbios;

/// <summary>Writes one SMBIOS structure: a header, fixed fields in order, then the strings that fields refer to by number.</summary>
internal sealed class SmbiosStructure
{
    private readonly List<byte> _fields = [];
    private readonly List<string> _strings = [];

    internal SmbiosStructure(byte type, ushort handle)
    {
        _fields.AddRange([type, 0, (byte)handle, (byte)(handle >> 8)]);
    }

    internal SmbiosStructure Byte(byte value)
    {
        _fields.Add(value);
        return this;
    }

    internal SmbiosStructure Bytes(ReadOnlySpan<byte> values)
    {
        _fields.AddRange(values);
        return this;
    }

    internal SmbiosStructure Word(ushort value)
    {
        Span<byte> bytes = stackalloc byte[2];
        BinaryPrimitives.WriteUInt16LittleEndian(bytes, value);
        return Bytes(bytes);
    }

    internal SmbiosStructure Dword(uint value)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        return Bytes(bytes);
    }

    internal SmbiosStructure Qword(ulong value)
    {
        Span<byte> bytes = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        return Bytes(bytes);
    }

    /// <summary>Adds a field that is the number of a string.</summary>
    internal SmbiosStructure Text(string text)
    {
        var index = _strings.IndexOf(text);
        if (index < 0)
        {
            _strings.Add(text);
            index = _strings.Count - 1;
        }

        return Byte((byte)(index + 1));
    }

    internal byte[] Finish()
    {
        _fields[1] = (byte)_fields.Count;
        foreach (var text in _strings)
        {
            _fields.AddRange(Encoding.ASCII.GetBytes(text));
            _fields.Add(0);
        }

        if (_strings.Count == 0)
        {
            _fields.Add(0);
        }

        _fields.Add(0);
        return [.. _fields];
    }
}
