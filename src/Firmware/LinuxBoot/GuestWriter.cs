using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Vitro.Hypervisor.Vid;

namespace Vitro.Firmware.LinuxBoot;

/// <summary>Writes to RAM that the loader has checked to exist; a failure is a mistake in the loader.</summary>
internal static class GuestWriter
{
    internal static void Copy(GpaSpace space, ulong gpa, ReadOnlySpan<byte> source)
    {
        if (!space.TryWrite(gpa, source))
        {
            throw new InvalidOperationException($"GPA 0x{gpa:x} is not RAM.");
        }
    }

    /// <summary>Zeroes a range, leaving pages that are zero untouched so that they cost no host memory.</summary>
    internal static void Zero(GpaSpace space, ulong gpa, ulong length)
    {
        while (length > 0)
        {
            var count = (int)Math.Min(GuestMemory.PageSize - (gpa % GuestMemory.PageSize), length);
            if (!space.TryGetSpan(gpa, count, out var span))
            {
                throw new InvalidOperationException($"GPA 0x{gpa:x} is not RAM.");
            }

            if (span.ContainsAnyExcept((byte)0))
            {
                span.Clear();
                space.NotifyWritten(gpa, (ulong)count);
            }

            gpa += (ulong)count;
            length -= (ulong)count;
        }
    }

    internal static void Write16(GpaSpace space, ulong gpa, ushort value)
    {
        Span<byte> bytes = stackalloc byte[2];
        BinaryPrimitives.WriteUInt16LittleEndian(bytes, value);
        Copy(space, gpa, bytes);
    }

    internal static void Write(GpaSpace space, ulong gpa, ReadOnlySpan<ulong> values) =>
        Copy(space, gpa, MemoryMarshal.AsBytes(values));
}
