using Vitro.Hypervisor.Kvm.Interop;
using Vitro.Platform;

namespace Vitro.Hypervisor.Kvm;

/// <summary>The ring in which the kernel notes the pages that one processor writes (KVM_CAP_DIRTY_LOG_RING).</summary>
/// <remarks>
/// An entry is the kernel's until it is marked written and again after KVM_RESET_DIRTY_RINGS; in between it is ours. The
/// processor leaves the guest before its ring is full. <see cref="MemorySlots"/> keeps the rings from several threads.
/// </remarks>
internal sealed unsafe class DirtyRing : IDisposable
{
    /// <summary>Bytes of a ring: room for 4096 pages, 16 MiB of writes between two looks at it.</summary>
    internal const int Size = 4096 * 16;

    private const long FileOffset = 64 * 4096;
    private static readonly uint Entries = Size / (uint)sizeof(KvmDirtyPage);

    private readonly FileMapping _mapping;
    private readonly KvmDirtyPage* _entries;
    private uint _next;

    internal DirtyRing(KvmFile processor)
    {
        _mapping = FileMapping.Create(processor.Descriptor, Size, "mmap of a processor's ring of written pages", FileOffset);
        _entries = (KvmDirtyPage*)_mapping.Address;
    }

    /// <summary>Takes the next page; false when there is none. The kernel has the entry back at the next reset of the rings.</summary>
    internal bool TryTake(out uint slot, out ulong page)
    {
        var entry = _entries + (_next % Entries);
        (slot, page) = (0, 0);
        if ((Volatile.Read(ref entry->Flags) & KvmDirtyPage.Written) == 0)
        {
            return false;
        }

        (slot, page) = (entry->Slot, entry->Page);
        Volatile.Write(ref entry->Flags, KvmDirtyPage.Taken);
        _next++;
        return true;
    }

    public void Dispose() => _mapping.Dispose();
}
