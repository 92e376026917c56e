using System.Runtime.InteropServices;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Vid;
using Vitro.Platform;

namespace Vitro.Hypervisor.Software;

/// <content>
/// Two levels of translation caches. The first has a set per privilege and kind of access, as the inline test needs it.
/// The second holds what a walk found, for all process contexts (PCID), so that refilling the first after a switch costs
/// a few nanoseconds; flushing it means raising a stamp.
/// </content>
internal sealed unsafe partial class Mmu
{
    private const int UserSets = 0;
    private const int KernelSets = 2;
    private const int KernelAcSets = 4;
    private const int FetchSets = 6;
    private const int SetCount = 8;

    /// <summary>Entries of all sets.</summary>
    public const int SlotCount = SetCount * TlbEntry.SetSize;

    /// <summary>Entries from the first set to those of programs.</summary>
    public const int UserLoadSet = UserSets * TlbEntry.SetSize;
    public const int UserStoreSet = (UserSets + 1) * TlbEntry.SetSize;


    private const byte SlotGlobal = 1;
    private const byte SlotInLocalLog = 2;
    private const byte SlotInGlobalLog = 4;

    private const int ContextCount = 4096;

    private const uint PermissionUser = 1;
    private const uint PermissionWrite = 2;
    private const uint PermissionNoExecute = 4;
    private const uint PermissionDirty = 8;
    private const uint PermissionGlobal = 16;

    private readonly TlbEntry* _sets;
    private readonly byte* _slots;
    private readonly uint* _localLog;
    private readonly uint* _globalLog;
    private readonly SecondEntry* _second;
    private readonly ulong* _contextStamps;
    private readonly ulong* _large;
    private readonly ulong* _huge;
    private readonly byte* _openBus;

    // A set that is never filled: while alignment is checked every access takes the slow path. Null until that happens.
    private TlbEntry* _noEntries;
    private int _localCount;
    private int _globalCount;
    private ulong _stamp = 1;
    private ulong _localFloor = 1;
    private ulong _globalFloor = 1;
    private ulong _allLocalFloor = 1;
    private uint _context;
    private bool _watching;
    private bool _checksAlignment;

    // The region that served last; nearly always RAM.
    private ulong _regionStart;
    private ulong _regionLength;
    private nint _regionHost;
    private GpaRegion[] _regions = [];
    private GpaAccess _regionAccess;

    /// <summary>First-level fills.</summary>
    public ulong Fills { get; private set; }

    /// <summary>Walks of the page tables.</summary>
    public ulong Walks { get; private set; }

    /// <summary>Flushes that found something to drop.</summary>
    public ulong Flushes { get; private set; }

    /// <summary>Creates empty caches.</summary>
    public Mmu(SoftwareVirtualProcessor vp, VpState* state, GpaSpace gpa, IInterceptHandler intercepts)
    {
        _vp = vp;
        _state = state;
        _gpa = gpa;
        _intercepts = intercepts;
        _sets = (TlbEntry*)((byte*)state + ProcessorMemory.TlbSets);
        for (var i = 0; i < SlotCount; i++)
        {
            _sets[i] = new TlbEntry { Tag = TlbEntry.EmptyTag };
        }

        _second = (SecondEntry*)NativeMemory.AlignedAlloc((nuint)(SecondSets * SecondWays * sizeof(SecondEntry)), 64);
        NativeMemory.Clear(_second, (nuint)(SecondSets * SecondWays * sizeof(SecondEntry)));
        _slots = (byte*)NativeMemory.AllocZeroed(SlotCount);
        _localLog = (uint*)NativeMemory.AllocZeroed(SlotCount, sizeof(uint));
        _globalLog = (uint*)NativeMemory.AllocZeroed(SlotCount, sizeof(uint));
        _contextStamps = (ulong*)NativeMemory.AllocZeroed(ContextCount, sizeof(ulong));
        _large = (ulong*)NativeMemory.AllocZeroed(LargeSlots / 8);
        _huge = (ulong*)NativeMemory.AllocZeroed(HugeSlots / 8);
        _rmwBuffer = (byte*)NativeMemory.AlignedAlloc(64, 64);
        _openBus = (byte*)NativeMemory.AlignedAlloc(2 * PageSize, PageSize);
        new Span<byte>(_openBus, 2 * PageSize).Fill(0xFF);
        _regions = [.. gpa.Regions];
        ForgetPages();
        SelectSets();
    }

    // With whose rights the program accesses memory now.
    private MmuPrivilege Privilege
    {
        get
        {
            if (_state->Cpl == 3)
            {
                return MmuPrivilege.User;
            }

            return (_state->SystemFlags & RFlags.Ac) != 0 && (_state->Cr4 & ControlBits.Cr4Smap) != 0 ? MmuPrivilege.KernelAc : MmuPrivilege.Kernel;
        }
    }

    /// <summary>Whether the page of a fetch TLB slot that hits is global.</summary>
    public bool IsFetchGlobal(ulong linear) => (_slots[(int)(_state->FetchTlb - _sets) + (int)((linear >> 12) & (TlbEntry.SetSize - 1))] & SlotGlobal) != 0;

    /// <summary>
    /// Points the state at the sets of its CPL, mode, CR4.SMAP and RFLAGS.AC. To be called after each change of these.
    /// </summary>
    public void SelectSets()
    {
        _checksAlignment = (_state->Mode & (uint)VpMode.AlignmentChecks) != 0;
        if (_checksAlignment && _noEntries == null)
        {
            _noEntries = (TlbEntry*)NativeMemory.AlignedAlloc((nuint)(TlbEntry.SetSize * sizeof(TlbEntry)), 4096);
            new Span<TlbEntry>(_noEntries, TlbEntry.SetSize).Fill(new TlbEntry { Tag = TlbEntry.EmptyTag });
        }

        // Translated code chooses between these: STAC and CLAC between the kernel's two pairs, SYSCALL, SYSRET and IRET between privileges.
        var suspendedSets = (_state->Cr4 & ControlBits.Cr4Smap) != 0 ? KernelAcSets : KernelSets;
        _state->SuspendedLoadTlb = _sets + (suspendedSets * TlbEntry.SetSize);
        _state->SuspendedStoreTlb = _sets + ((suspendedSets + 1) * TlbEntry.SetSize);
        _state->KernelLoadTlb = _sets + (KernelSets * TlbEntry.SetSize);
        _state->KernelStoreTlb = _sets + ((KernelSets + 1) * TlbEntry.SetSize);
        _state->KernelFetchTlb = _sets + ((FetchSets + 1) * TlbEntry.SetSize);
        _state->UserLoadTlb = _sets + (UserSets * TlbEntry.SetSize);
        _state->UserStoreTlb = _sets + ((UserSets + 1) * TlbEntry.SetSize);
        _state->UserFetchTlb = _sets + (FetchSets * TlbEntry.SetSize);
        if (_state->Cpl == 3)
        {
            _state->FetchTlb = _state->UserFetchTlb;
            _state->LoadTlb = _checksAlignment ? _noEntries : _state->UserLoadTlb;
            _state->StoreTlb = _checksAlignment ? _noEntries : _state->UserStoreTlb;
            return;
        }

        var suspended = (_state->SystemFlags & RFlags.Ac) != 0;
        _state->FetchTlb = _state->KernelFetchTlb;
        _state->LoadTlb = suspended ? _state->SuspendedLoadTlb : _state->KernelLoadTlb;
        _state->StoreTlb = suspended ? _state->SuspendedStoreTlb : _state->KernelStoreTlb;
    }

    /// <summary>
    /// Puts an address into the TLB set of the present privilege. False, with no fault raised, when it was there already or cannot be
    /// put there: the instruction has to be interpreted.
    /// </summary>
    public bool TryFill(ulong linear, MmuAccess access)
    {
        var entry = (access == MmuAccess.Store ? _state->StoreTlb : _state->LoadTlb) + ((linear >> 12) & (TlbEntry.SetSize - 1));
        if (linear - entry->Tag < PageSize)
        {
            return false;
        }

        if (!TryTranslate(linear, access, Privilege, out _))
        {
            _state->FaultVector = -1;
            return false;
        }

        return linear - entry->Tag < PageSize;
    }

    /// <summary>Drops everything, global translations included.</summary>
    public void FlushAll()
    {
        _stamp++;
        _allLocalFloor = _stamp;
        _globalFloor = _stamp;
        _localFloor = _stamp;
        new Span<ulong>(_large, LargeSlots / 64).Clear();
        new Span<ulong>(_huge, HugeSlots / 64).Clear();
        FlushFirstLocal();
        FlushFirstGlobal();
        _regionLength = 0;
        _regions = [.. _gpa.Regions];
    }

    /// <summary>Starts anew from the state's CR3 and CR4: after a reset, or when the state was replaced.</summary>
    public void Restart()
    {
        FlushAll();
        _context = (_state->Cr4 & ControlBits.Cr4Pcide) != 0 ? (uint)_state->Cr3 & 0xFFF : 0;
        if (UsesPdptes)
        {
            TryLoadPdptes(_state->Cr3);
        }
    }

    /// <summary>Whether paging uses the PAE page-directory-pointer registers.</summary>
    public bool UsesPdptes => (_state->Cr0 & ControlBits.Cr0Paging) != 0 && (_state->Cr4 & ControlBits.Cr4Pae) != 0
        && (_state->Efer & ControlBits.EferLongModeActive) == 0;

    /// <summary>Drops all but global translations, of every context.</summary>
    public void FlushLocal()
    {
        _stamp++;
        _allLocalFloor = _stamp;
        _localFloor = _stamp;
        FlushFirstLocal();
    }

    /// <summary>Drops one context's translations (INVPCID type 1).</summary>
    public void FlushContext(uint context)
    {
        _stamp++;
        _contextStamps[context & (ContextCount - 1)] = _stamp;
        if (context == _context)
        {
            _localFloor = _stamp;
            FlushFirstLocal();
        }
    }

    /// <summary>Makes another context current (CR3), dropping what the cache knows of it unless <paramref name="keep"/>.</summary>
    public void SwitchContext(uint context, bool keep)
    {
        context &= ContextCount - 1;
        if (!keep)
        {
            _stamp++;
            _contextStamps[context] = _stamp;
        }

        _context = context;
        _localFloor = Math.Max(_contextStamps[context], _allLocalFloor);
        FlushFirstLocal();
    }

    /// <summary>Drops the translation of one page in the current context, and global ones of it (INVLPG).</summary>
    public void FlushPage(ulong linear)
    {
        if (IsFromLargePage(linear))
        {
            FlushAll();
            return;
        }

        var page = linear & PageMask;
        var index = (int)((linear >> 12) & (TlbEntry.SetSize - 1));
        for (var set = 0; set < SetCount; set++)
        {
            var entry = _sets + (set * TlbEntry.SetSize) + index;
            if (entry->Tag == page)
            {
                entry->Tag = TlbEntry.EmptyTag;
            }
        }

        ForgetPages();
        DropSecond(page, _context, alsoGlobal: true);
        _vp.OnFetchPageFlushed(page);
    }

    /// <summary>Drops the translation of one page in any context (INVPCID type 0).</summary>
    public void FlushPage(ulong linear, uint context)
    {
        if (context == _context)
        {
            FlushPage(linear);
        }
        else if (IsFromLargePage(linear))
        {
            FlushContext(context);
        }
        else
        {
            DropSecond(linear & PageMask, context, alsoGlobal: false);
        }
    }

    /// <summary>Empties all first-level entries, so that every access comes through the slow path once.</summary>
    public void FlushFirstLevel()
    {
        FlushFirstLocal();
        FlushFirstGlobal();
    }

    /// <summary>Finds where a linear address leads for an access, filling the caches; false after raising a fault.</summary>
    public bool TryTranslate(ulong linear, MmuAccess access, MmuPrivilege privilege, out Translation translation)
    {
        ulong page;
        uint permissions;
        if ((_state->Cr0 & ControlBits.Cr0Paging) == 0)
        {
            page = linear & 0xFFFF_F000;
            permissions = PermissionUser | PermissionWrite | PermissionDirty;
        }
        else
        {
            if ((ulong)((long)(linear << 16) >> 16) != linear)
            {
                translation = default;
                return Fault.Protection(_state);
            }

            var second = FindSecond(linear & PageMask);
            if (second != null && IsPermitted((uint)second->Page & 0xFFF, access, privilege)
                && (access != MmuAccess.Store || (second->Page & PermissionDirty) != 0))
            {
                page = second->Page & PageMask;
                permissions = (uint)second->Page & 0xFFF;
            }
            else
            {
                Walks++;
                if (!TryWalk(linear, access, privilege, out page, out permissions))
                {
                    translation = default;
                    return false;
                }

                AddSecond(linear & PageMask, page, permissions);
            }
        }

        translation.Gpa = page | (linear & 0xFFF);
        FindHost(page, access, out var host, out translation.PageFlags);
        translation.Host = host == null ? null : host + (linear & 0xFFF);
        if (host == null)
        {
            if (access == MmuAccess.Fetch)
            {
                FillFirst(FetchSets + (privilege == MmuPrivilege.User ? 0 : 1), linear, page, _openBus, permissions);
            }

            return true;
        }

        switch (access)
        {
            case MmuAccess.Load:
                FillFirst((int)privilege * 2, linear, page, host, permissions);
                break;
            case MmuAccess.Fetch:
                FillFirst(FetchSets + (privilege == MmuPrivilege.User ? 0 : 1), linear, page, host, permissions);
                break;
            default:
                if (MarkStored(translation.PageFlags))
                {
                    FillFirst(((int)privilege * 2) + 1, linear, page, host, permissions);
                }

                break;
        }

        return true;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        NativeMemory.AlignedFree(_noEntries);
        NativeMemory.AlignedFree(_second);
        NativeMemory.Free(_slots);
        NativeMemory.Free(_localLog);
        NativeMemory.Free(_globalLog);
        NativeMemory.Free(_contextStamps);
        NativeMemory.Free(_large);
        FreeStoreChains();
        NativeMemory.Free(_huge);
        NativeMemory.AlignedFree(_rmwBuffer);
        NativeMemory.AlignedFree(_openBus);
    }

    /// <summary>
    /// Marks a page about to be stored to; false when it holds code, which keeps it out of the store sets. The order
    /// (announce the entry, then look for code) pairs with <see cref="SoftwarePartition.ProtectCodePage"/>.
    /// </summary>
    private static bool MarkStored(byte* flags)
    {
        if (flags == null)
        {
            return true;
        }

        const byte Wanted = (byte)(GpaPageFlags.Dirty | GpaPageFlags.StoreMapped);
        if ((Volatile.Read(ref *flags) & Wanted) != Wanted)
        {
            GpaSpace.SetPageFlag(flags, GpaPageFlags.Dirty | GpaPageFlags.StoreMapped);
        }
        else
        {
            Interlocked.MemoryBarrier();
        }

        return (Volatile.Read(ref *flags) & (byte)GpaPageFlags.HasCode) == 0;
    }

    private void FindHost(ulong page, MmuAccess access, out byte* host, out byte* flags)
    {
        if (page - _regionStart >= _regionLength)
        {
            GpaRegion? region = null;
            foreach (var candidate in _regions)
            {
                if (page - candidate.Start < candidate.Length)
                {
                    region = candidate;
                    break;
                }
            }

            if (region is null)
            {
                host = null;
                flags = null;
                return;
            }

            _regionStart = region.Start;
            _regionLength = region.Length;
            _regionHost = region.HostAddress;
            _regionAccess = region.Access;
        }

        var wanted = access switch
        {
            MmuAccess.Load => GpaAccess.Read,
            MmuAccess.Store => GpaAccess.Write,
            _ => GpaAccess.Execute,
        };
        if ((_regionAccess & wanted) == 0)
        {
            host = null;
            flags = null;
            return;
        }

        host = (byte*)(_regionHost + (nint)(page - _regionStart));
        _gpa.EnsurePresent((nint)host, GuestMemory.PageSize);
        flags = _gpa.PageFlags(page);
    }

    private void FillFirst(int set, ulong linear, ulong page, byte* host, uint permissions)
    {
        Fills++;
        var index = (int)((linear >> 12) & (TlbEntry.SetSize - 1));
        var slot = (set * TlbEntry.SetSize) + index;
        if (set < FetchSets && _watching && _vp.IsWatchedPage(linear))
        {
            return;
        }

        var mark = _slots[slot];
        if ((permissions & PermissionGlobal) != 0)
        {
            mark |= SlotGlobal;
            if ((mark & SlotInGlobalLog) == 0)
            {
                mark |= SlotInGlobalLog;
                _globalLog[_globalCount++] = (uint)slot;
            }
        }
        else
        {
            mark &= unchecked((byte)~SlotGlobal);
            if ((mark & SlotInLocalLog) == 0)
            {
                mark |= SlotInLocalLog;
                _localLog[_localCount++] = (uint)slot;
            }
        }

        if (IsStoreSet(set) && _sets[slot].Host != (ulong)host)
        {
            Rechain((uint)slot, (ulong)host);
        }

        _slots[slot] = mark;
        _sets[slot].Host = (ulong)host;
        _sets[slot].Tag = linear & PageMask;
    }

    private void FlushFirstLocal()
    {
        if (_localCount == 0)
        {
            return;
        }

        Flushes++;
        for (var i = 0; i < _localCount; i++)
        {
            var slot = _localLog[i];
            var mark = _slots[slot];
            _slots[slot] = (byte)(mark & ~SlotInLocalLog);
            if ((mark & SlotGlobal) == 0)
            {
                _sets[slot].Tag = TlbEntry.EmptyTag;
            }
        }

        ForgetPages();

        // Whatever the block cache knows by linear address was in a fetch set once, and so in a log.
        _localCount = 0;
        _vp.OnFetchTlbFlushed(isGlobalKept: true);
    }

    private void FlushFirstGlobal()
    {
        if (_globalCount == 0)
        {
            return;
        }

        Flushes++;
        for (var i = 0; i < _globalCount; i++)
        {
            var slot = _globalLog[i];
            _slots[slot] = (byte)(_slots[slot] & ~(SlotInGlobalLog | SlotGlobal));
            _sets[slot].Tag = TlbEntry.EmptyTag;
        }

        _globalCount = 0;
        ForgetPages();
        _vp.OnFetchTlbFlushed();
    }

    // Empties what translated programs remember of the user's sets.
    private void ForgetPages()
    {
        var slots = (TlbEntry*)_state->PageSlots;
        for (var i = 0; i < VpState.PageSlotCount; i++)
        {
            slots[i].Tag = TlbEntry.EmptyTag;
        }
    }
}
