using System.Buffers.Binary;
using System.Text;

namespace Vitro.Firmware.Acpi;

/// <summary>Encodes the terms of the ACPI machine language that the machine's DSDT is made of.</summary>
/// <remarks>Source: ACPI Specification 6.3, chapter 20. Each method returns the encoded term.</remarks>
internal static class Aml
{
    private const byte ZeroOp = 0x00;
    private const byte OneOp = 0x01;
    private const byte NameOp = 0x08;
    private const byte BytePrefix = 0x0A;
    private const byte WordPrefix = 0x0B;
    private const byte DwordPrefix = 0x0C;
    private const byte StringPrefix = 0x0D;
    private const byte QwordPrefix = 0x0E;
    private const byte ScopeOp = 0x10;
    private const byte BufferOp = 0x11;
    private const byte PackageOp = 0x12;
    private const byte MethodOp = 0x14;
    private const byte DualNamePrefix = 0x2E;
    private const byte ExtendedPrefix = 0x5B;
    private const byte DeviceOp = 0x82;
    private const byte RootCharacter = (byte)'\\';

    internal static byte[] Scope(string path, params byte[][] terms) => [ScopeOp, .. WithLength([.. NamePath(path), .. Join(terms)])];

    internal static byte[] Device(string name, params byte[][] terms) =>
        [ExtendedPrefix, DeviceOp, .. WithLength([.. NamePath(name), .. Join(terms)])];

    internal static byte[] Name(string name, byte[] value) => [NameOp, .. NamePath(name), .. value];

    /// <summary>A method without arguments, not serialized.</summary>
    internal static byte[] Method(string name, params byte[][] terms) => [MethodOp, .. WithLength([.. NamePath(name), 0, .. Join(terms)])];

    internal static byte[] Integer(ulong value)
    {
        var bytes = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        return value switch
        {
            0 => [ZeroOp],
            1 => [OneOp],
            <= byte.MaxValue => [BytePrefix, .. bytes[..1]],
            <= ushort.MaxValue => [WordPrefix, .. bytes[..2]],
            <= uint.MaxValue => [DwordPrefix, .. bytes[..4]],
            _ => [QwordPrefix, .. bytes],
        };
    }

    internal static byte[] Text(string text) => [StringPrefix, .. Encoding.ASCII.GetBytes(text), 0];

    internal static byte[] Buffer(ReadOnlySpan<byte> content) =>
        [BufferOp, .. WithLength([.. Integer((ulong)content.Length), .. content])];

    internal static byte[] Package(params byte[][] elements) => [PackageOp, .. WithLength([(byte)elements.Length, .. Join(elements)])];

    /// <summary>The compressed form of a plug and play identifier such as PNP0501.</summary>
    internal static byte[] EisaId(string id)
    {
        var number = Convert.ToUInt16(id[3..], 16);
        var letters = ((id[0] - '@') << 10) | ((id[1] - '@') << 5) | (id[2] - '@');
        return [DwordPrefix, (byte)(letters >> 8), (byte)letters, (byte)(number >> 8), (byte)number];
    }

    /// <summary>A resource template from encoded descriptors.</summary>
    internal static byte[] Resources(params byte[][] descriptors) => Buffer([.. Join(descriptors), 0x79, 0]);

    /// <summary>Ports decoded with all 16 bits.</summary>
    internal static byte[] Io(ushort first, byte count) =>
        [0x47, 1, (byte)first, (byte)(first >> 8), (byte)first, (byte)(first >> 8), 1, count];

    /// <summary>An ISA interrupt: edge triggered, active high, not shared.</summary>
    internal static byte[] Irq(int interrupt) => [0x22, (byte)(1 << interrupt), (byte)((1 << interrupt) >> 8)];

    /// <summary>A window of 32-bit addresses that the device passes on to its children, not cached, writable.</summary>
    internal static byte[] DwordMemoryWindow(uint first, uint last)
    {
        var descriptor = new byte[26];
        descriptor[0] = 0x87;
        descriptor[1] = 23;
        descriptor[4] = WindowFlags;
        descriptor[5] = 1;
        BinaryPrimitives.WriteUInt32LittleEndian(descriptor.AsSpan(10), first);
        BinaryPrimitives.WriteUInt32LittleEndian(descriptor.AsSpan(14), last);
        BinaryPrimitives.WriteUInt32LittleEndian(descriptor.AsSpan(22), last - first + 1);
        return descriptor;
    }

    /// <summary>A window of 64-bit addresses that the device passes on to its children, not cached, writable.</summary>
    internal static byte[] QwordMemoryWindow(ulong first, ulong last)
    {
        var descriptor = new byte[46];
        descriptor[0] = 0x8A;
        descriptor[1] = 43;
        descriptor[4] = WindowFlags;
        descriptor[5] = 1;
        BinaryPrimitives.WriteUInt64LittleEndian(descriptor.AsSpan(14), first);
        BinaryPrimitives.WriteUInt64LittleEndian(descriptor.AsSpan(22), last);
        BinaryPrimitives.WriteUInt64LittleEndian(descriptor.AsSpan(38), last - first + 1);
        return descriptor;
    }

    /// <summary>Producer, positive decode, both ends fixed.</summary>
    private const byte WindowFlags = 0x0C;

    /// <summary>A path of one or two segments, from the root when it begins with a backslash.</summary>
    internal static byte[] NamePath(string path)
    {
        var root = path.StartsWith('\\');
        var segments = path.TrimStart('\\').Split('.');
        var name = new List<byte>();
        if (root)
        {
            name.Add(RootCharacter);
        }

        if (segments.Length == 2)
        {
            name.Add(DualNamePrefix);
        }
        else if (segments.Length > 2)
        {
            throw new ArgumentException("A path has one or two segments here.", nameof(path));
        }

        foreach (var segment in segments)
        {
            name.AddRange(Encoding.ASCII.GetBytes(segment.PadRight(4, '_')));
        }

        return [.. name];
    }

    /// <summary>Prefixes a package length, which counts its own bytes.</summary>
    private static byte[] WithLength(byte[] content)
    {
        var length = content.Length + 1;
        if (length < 0x40)
        {
            return [(byte)length, .. content];
        }

        length++;
        if (length < 0x1000)
        {
            return [(byte)(0x40 | (length & 0xF)), (byte)(length >> 4), .. content];
        }

        length++;
        return length < 0x10_0000
            ? [(byte)(0x80 | (length & 0xF)), (byte)(length >> 4), (byte)(length >> 12), .. content]
            : throw new ArgumentException("The term is too long.", nameof(content));
    }

    private static byte[] Join(byte[][] parts) => [.. parts.SelectMany(part => part)];
}
