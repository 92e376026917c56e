using System.Buffers.Binary;
using Vitro.Hypervisor.Vid;
using Xunit;

namespace Vitro.UnitTests.Firmware;

/// <summary>RAM to load kernels into, and what tests read back from it.</summary>
internal sealed class GuestRam(ulong size = 64UL << 20) : IDisposable
{
    private readonly GuestMemory _memory = GuestMemory.Create(size);
    private GpaSpace? _space;

    internal GpaSpace Space => _space ??= new GpaSpace(_memory);

    internal byte[] Read(ulong gpa, int count)
    {
        var bytes = new byte[count];
        Assert.True(Space.TryRead(gpa, bytes));
        return bytes;
    }

    internal uint U32(ulong gpa) => BinaryPrimitives.ReadUInt32LittleEndian(Read(gpa, 4));

    internal ulong U64(ulong gpa) => BinaryPrimitives.ReadUInt64LittleEndian(Read(gpa, 8));

    internal string Text(ulong gpa)
    {
        var bytes = Read(gpa, 256);
        return System.Text.Encoding.ASCII.GetString(bytes, 0, Array.IndexOf(bytes, (byte)0));
    }

    public void Dispose()
    {
        _space?.Dispose();
        _memory.Dispose();
    }
}
