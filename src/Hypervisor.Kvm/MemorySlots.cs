using Vitro.Foundation;
using Vitro.Hypervisor.Kvm.Interop;
using Vitro.Hypervisor.Vid;

namespace Vitro.Hypervisor.Kvm;

/// <summary>Keeps KVM's memory slots equal to the regions of a guest physical space, and reads what the kernel notes of written pages: rings of the processors where there are, else bitmaps of the regions.</summary>
internal sealed unsafe class MemorySlots : IGpaObserver, IInspectable, IDisposable
{
    // A slot's number has that of its address space above it.
    private const int SpaceShift = 16;
    private const uint SlotMask = 0xFFFF;

    private readonly KvmFile _vm;
    private readonly GpaSpace _gpa;
    private readonly int _spaces;
    private readonly Lock _gate = new();
    private readonly List<DirtyRing> _rings = [];
    private readonly List<(uint Slot, GpaRegion Region)> _slots = [];
    private bool _logsDirtyPages;

    /// <summary>Makes the slots of a space's regions.</summary>
    /// <param name="vm">The machine.</param>
    /// <param name="gpa">The space.</param>
    /// <param name="spaces">2 where processors have system management mode, in which KVM has them see an address space of their own: it is the same here.</param>
    internal MemorySlots(KvmFile vm, GpaSpace gpa, int spaces)
    {
        _vm = vm;
        _spaces = spaces;
        _gpa = gpa;
        OnRegionsChanged();
    }

    /// <inheritdoc/>
    public void OnRegionsChanged()
    {
        lock (_gate)
        {
            var regions = _gpa.Regions;
            CollectAll();
            for (var i = _slots.Count - 1; i >= 0; i--)
            {
                if (!regions.Contains(_slots[i].Region))
                {
                    Set(_slots[i].Slot, _slots[i].Region, size: 0);
                    _slots.RemoveAt(i);
                }
            }

            foreach (var region in regions)
            {
                if ((region.Access & GpaAccess.Read) != 0 && !_slots.Exists(slot => slot.Region == region))
                {
                    var free = 0u;
                    while (_slots.Exists(slot => slot.Slot == free))
                    {
                        free++;
                    }

                    Set(free, region, region.Length);
                    _slots.Add((free, region));
                }
            }
        }
    }

    /// <inheritdoc/>
    public void OnCodePageWritten(ulong gpa, ulong length)
    {
        // The processor sees the host's stores by itself.
    }

    /// <summary>Written pages are noted in rings of the processors.</summary>
    internal bool HasRings => _rings.Count != 0;

    /// <summary>Adds a processor's ring of written pages; before the first start.</summary>
    internal void AddRing(KvmFile processor) => _rings.Add(new DirtyRing(processor));

    /// <summary>Has the kernel note which pages the guest writes from now on, or no longer.</summary>
    internal void LogDirtyPages(bool enabled)
    {
        lock (_gate)
        {
            CollectAll();
            _logsDirtyPages = enabled;
            foreach (var (slot, region) in _slots)
            {
                Set(slot, region, region.Length);
            }
        }
    }

    /// <summary>Marks the RAM pages that the guest has written since the last call (<see cref="GpaPageFlags.Dirty"/>).</summary>
    internal void CollectDirtyPages()
    {
        lock (_gate)
        {
            CollectAll();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var ring in _rings)
        {
            ring.Dispose();
        }
    }

    /// <inheritdoc/>
    public void Inspect(InspectNode node)
    {
        lock (_gate)
        {
            node.Value("logsDirtyPages", _logsDirtyPages).Value("rings", _rings.Count);
            foreach (var (slot, region) in _slots)
            {
                node.Child("slot" + slot).Hex("start", region.Start).Hex("length", region.Length).Value("access", region.Access.ToString());
            }
        }
    }

    private void Set(uint slot, GpaRegion region, ulong size)
    {
        var flags = (region.Access & GpaAccess.Write) == 0 ? KvmMemoryRegion.ReadOnly : 0;
        var argument = new KvmMemoryRegion
        {
            Flags = size == 0 ? 0 : flags | (_logsDirtyPages ? KvmMemoryRegion.LogDirtyPages : 0),
            GuestAddress = region.Start,
            Size = size,
            HostAddress = (ulong)region.HostAddress,
        };
        for (var space = 0u; space < _spaces; space++)
        {
            argument.Slot = slot | (space << SpaceShift);
            _vm.Call($"Mapping the memory at 0x{region.Start:x}", KvmRequest.SetUserMemoryRegion, ref argument);
        }
    }

    private void CollectAll()
    {
        if (!_logsDirtyPages)
        {
            return;
        }

        if (HasRings)
        {
            CollectRings();
            return;
        }

        foreach (var (slot, region) in _slots)
        {
            for (var space = 0u; space < _spaces; space++)
            {
                CollectBitmap(slot | (space << SpaceShift), region);
            }
        }
    }

    private void CollectRings()
    {
        var taken = false;
        foreach (var ring in _rings)
        {
            while (ring.TryTake(out var slot, out var page))
            {
                taken = true;
                foreach (var (known, region) in _slots)
                {
                    if (known == (slot & SlotMask) && page < region.Length / GuestMemory.PageSize)
                    {
                        Mark(region, page);
                    }
                }
            }
        }

        if (taken)
        {
            _vm.Call("Handing back the rings of written pages", KvmRequest.ResetDirtyRings);
        }
    }

    private void CollectBitmap(uint slot, GpaRegion region)
    {
        var bitmap = new ulong[(region.Length / GuestMemory.PageSize + 63) / 64];
        fixed (ulong* words = bitmap)
        {
            var log = new KvmDirtyLog { Slot = slot, Bitmap = (nint)words };
            _vm.Call("Reading the log of written pages", KvmRequest.GetDirtyLog, ref log);
        }

        for (var i = 0; i < bitmap.Length; i++)
        {
            for (var bits = bitmap[i]; bits != 0; bits &= bits - 1)
            {
                Mark(region, ((ulong)i * 64) + (ulong)System.Numerics.BitOperations.TrailingZeroCount(bits));
            }
        }
    }

    private void Mark(GpaRegion region, ulong page)
    {
        var flags = _gpa.PageFlags(region.Start + (page * GuestMemory.PageSize));
        if (flags != null)
        {
            GpaSpace.SetPageFlag(flags, GpaPageFlags.Dirty);
        }
    }
}
