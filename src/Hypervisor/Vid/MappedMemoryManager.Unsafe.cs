using System.Buffers;

namespace Vitro.Hypervisor.Vid;

/// <summary>Shows up to 1 GiB of mapped host memory as <see cref="Memory{T}"/>; the mapping outlives it.</summary>
internal sealed unsafe class MappedMemoryManager(nint address, int length) : MemoryManager<byte>
{
    internal const ulong ChunkSize = 1UL << 30;

    internal static MappedMemoryManager[] Cover(nint address, ulong length)
    {
        var managers = new MappedMemoryManager[(length + ChunkSize - 1) / ChunkSize];
        for (var i = 0; i < managers.Length; i++)
        {
            var offset = (ulong)i * ChunkSize;
            managers[i] = new MappedMemoryManager(address + (nint)offset, (int)Math.Min(ChunkSize, length - offset));
        }

        return managers;
    }

    public override Memory<byte> Memory => CreateMemory(length);

    public override Span<byte> GetSpan() => new((void*)address, length);

    public override MemoryHandle Pin(int elementIndex = 0) => new((byte*)address + elementIndex, default, this);

    public override void Unpin()
    {
        // Mapped memory does not move.
    }

    protected override void Dispose(bool disposing)
    {
        // The mapping belongs to the guest's memory.
    }
}
