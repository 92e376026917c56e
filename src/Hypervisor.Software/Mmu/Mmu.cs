using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Vid;

namespace Vitro.Hypervisor.Software;

/// <summary>
/// The memory side of one virtual processor: everything behind the inline TLB test of the interpreter and the translator.
/// </summary>
/// <remarks>
/// Owned by the processor's thread. Methods that return false or null have raised an exception in the state, except
/// where a null pointer with <see cref="VpState.FaultVector"/> still negative means "not directly addressable". Linear
/// addresses are full 64-bit values; outside 64-bit code the caller truncates them to 32 bits.
/// Source: Intel SDM volume 3, chapter 4 "Paging".
/// </remarks>
internal sealed unsafe partial class Mmu : IDisposable
{
    private const int PageSize = 4096;
    private const ulong PageMask = ~0xFFFUL;

    private readonly SoftwareVirtualProcessor _vp;
    private readonly VpState* _state;
    private readonly GpaSpace _gpa;
    private readonly IInterceptHandler _intercepts;

    // The instruction's operand when it cannot be modified in place.
    private readonly byte* _rmwBuffer;
    private ulong _rmwLinear;
    private int _rmwSize;
    private RmwKind _rmwKind;
    private Translation _rmwFirst;
    private Translation _rmwSecond;

    private enum RmwKind
    {
        Direct,
        CodePage,
        Mmio,
        Split,
        SplitExclusive,
    }

    /// <summary>Loads 1, 2, 4 or 8 bytes, zero-extended.</summary>
    public bool TryLoad(ulong linear, int size, out ulong value)
    {
        value = 0;
        return IsAligned(linear, size) && TryLoad(linear, size, Privilege, out value);
    }

    /// <summary>Stores 1, 2, 4 or 8 bytes.</summary>
    public bool TryStore(ulong linear, int size, ulong value) =>
        IsAligned(linear, size) && TryStore(linear, size, value, Privilege);

    /// <summary>Loads a descriptor, TSS field or gate: with supervisor rights whatever the CPL, never to user pages under SMAP.</summary>
    public bool TryLoadSystem(ulong linear, int size, out ulong value) => TryLoad(linear, size, MmuPrivilege.Kernel, out value);

    /// <summary>Stores a descriptor, a TSS field or an exception frame with supervisor rights whatever the CPL.</summary>
    public bool TryStoreSystem(ulong linear, int size, ulong value) => TryStore(linear, size, value, MmuPrivilege.Kernel);

    /// <summary>Loads with given rights.</summary>
    public bool TryLoad(ulong linear, int size, MmuPrivilege privilege, out ulong value)
    {
        if ((linear & 0xFFF) + (uint)size <= PageSize)
        {
            var entry = First((int)privilege * 2, linear);
            if (linear - entry->Tag < PageSize)
            {
                value = HostValue.Read((byte*)(entry->Host + (linear - entry->Tag)), size);
                return true;
            }

            if (!TryTranslate(linear, MmuAccess.Load, privilege, out var translation))
            {
                value = 0;
                return false;
            }

            if (_watching)
            {
                _vp.NoteDataAccess(linear, size, isStore: false);
            }

            value = translation.Host != null ? HostValue.Read(translation.Host, size) : LoadDevice(translation.Gpa, size);
            return true;
        }

        ulong buffer = 0;
        var done = TryLoadBytes(linear, (byte*)&buffer, size, privilege);
        value = buffer;
        return done;
    }

    /// <summary>Stores with given rights.</summary>
    public bool TryStore(ulong linear, int size, ulong value, MmuPrivilege privilege)
    {
        if ((linear & 0xFFF) + (uint)size > PageSize)
        {
            return TryStoreBytes(linear, (byte*)&value, size, privilege);
        }

        var entry = First(((int)privilege * 2) + 1, linear);
        if (linear - entry->Tag < PageSize)
        {
            HostValue.Write((byte*)(entry->Host + (linear - entry->Tag)), size, value);
            return true;
        }

        if (!TryTranslate(linear, MmuAccess.Store, privilege, out var translation))
        {
            return false;
        }

        if (_watching)
        {
            _vp.NoteDataAccess(linear, size, isStore: true);
        }

        if (translation.Host == null)
        {
            StoreDevice(translation.Gpa, size, value);
            return true;
        }

        HostValue.Write(translation.Host, size, value);
        NoteStored(translation, size);
        return true;
    }

    /// <summary>Loads up to a page of bytes, through page borders and devices.</summary>
    public bool TryLoadBytes(ulong linear, byte* destination, int length) =>
        IsAligned(linear, length) && TryLoadBytes(linear, destination, length, Privilege);

    /// <summary>Stores up to a page of bytes, through page borders and devices. Nothing is stored when either page faults.</summary>
    public bool TryStoreBytes(ulong linear, byte* source, int length) =>
        IsAligned(linear, length) && TryStoreBytes(linear, source, length, Privilege);

    /// <summary>Loads bytes with given rights.</summary>
    public bool TryLoadBytes(ulong linear, byte* destination, int length, MmuPrivilege privilege)
    {
        var inFirst = Math.Min(length, PageSize - (int)(linear & 0xFFF));
        if (!TryTranslate(linear, MmuAccess.Load, privilege, out var first))
        {
            return false;
        }

        Translation second = default;
        if (inFirst < length && !TryTranslate(Wrap(linear + (uint)inFirst), MmuAccess.Load, privilege, out second))
        {
            return false;
        }

        if (_watching)
        {
            _vp.NoteDataAccess(linear, length, isStore: false);
        }

        CopyFrom(first, destination, inFirst);
        CopyFrom(second, destination + inFirst, length - inFirst);
        return true;
    }

    /// <summary>Stores bytes with given rights.</summary>
    public bool TryStoreBytes(ulong linear, byte* source, int length, MmuPrivilege privilege)
    {
        var inFirst = Math.Min(length, PageSize - (int)(linear & 0xFFF));
        var entry = First(((int)privilege * 2) + 1, linear);
        if (inFirst == length && linear - entry->Tag < PageSize)
        {
            Buffer.MemoryCopy(source, (byte*)(entry->Host + (linear - entry->Tag)), length, length);
            return true;
        }

        if (!TryTranslate(linear, MmuAccess.Store, privilege, out var first))
        {
            return false;
        }

        Translation second = default;
        if (inFirst < length && !TryTranslate(Wrap(linear + (uint)inFirst), MmuAccess.Store, privilege, out second))
        {
            return false;
        }

        if (_watching)
        {
            _vp.NoteDataAccess(linear, length, isStore: true);
        }

        CopyTo(first, source, inFirst);
        CopyTo(second, source + inFirst, length - inFirst);
        return true;
    }

    /// <summary>
    /// The host address of <paramref name="length"/> readable bytes that lie in one page of RAM. Null with no fault
    /// raised: they cross a page, belong to a device, are watched or checked for alignment; use <see cref="TryLoadBytes(ulong, byte*, int)"/>.
    /// </summary>
    public byte* LoadPointer(ulong linear, int length)
    {
        if ((linear & 0xFFF) + (uint)length > PageSize || _watching || _checksAlignment)
        {
            return null;
        }

        return TryTranslate(linear, MmuAccess.Load, Privilege, out var translation) ? translation.Host : null;
    }

    /// <summary>
    /// The host address of <paramref name="length"/> writable bytes that lie in one page of RAM without code. Null with no
    /// fault raised: use <see cref="TryStoreBytes(ulong, byte*, int)"/>.
    /// </summary>
    public byte* StorePointer(ulong linear, int length)
    {
        if ((linear & 0xFFF) + (uint)length > PageSize || _watching || _checksAlignment)
        {
            return null;
        }

        return TryTranslate(linear, MmuAccess.Store, Privilege, out var translation) && !IsCode(translation) ? translation.Host : null;
    }

    /// <summary>
    /// Stores bytes that lie in one page of RAM with code, whose blocks of those bytes are dropped at once. False with nothing stored when it
    /// is another page, or they cross into one, overlap the source, are watched or checked for alignment; or after a fault.
    /// </summary>
    public bool TryStoreOverCode(ulong linear, byte* source, int length)
    {
        if ((linear & 0xFFF) + (uint)length > PageSize || _watching || _checksAlignment
            || !TryTranslate(linear, MmuAccess.Store, Privilege, out var translation) || !IsCode(translation)
            || (ulong)(source - translation.Host + length) < 2 * (ulong)length)
        {
            return false;
        }

        CopyTo(translation, source, length);
        return true;
    }

    /// <summary>Checks that bytes could be stored, raising the fault if not; for instructions that must not store in part.</summary>
    public bool TryProbeStore(ulong linear, int length)
    {
        var inFirst = Math.Min(length, PageSize - (int)(linear & 0xFFF));
        return TryTranslate(linear, MmuAccess.Store, Privilege, out _)
            && (inFirst == length || TryTranslate(Wrap(linear + (uint)inFirst), MmuAccess.Store, Privilege, out _));
    }

    /// <summary>
    /// Begins a read-modify-write of 1 to 16 bytes: gives the host address to operate on, with host locked instructions
    /// when <paramref name="locked"/>; null after a fault. Unless null, <see cref="EndRmw"/> must follow.
    /// </summary>
    /// <remarks>
    /// The address is guest RAM itself where possible. A device register is read into a buffer; an operand across a page
    /// border is copied, when locked with all other processors stopped.
    /// </remarks>
    public byte* BeginRmw(ulong linear, int size, bool locked)
    {
        if (!IsAligned(linear, size))
        {
            return null;
        }

        _rmwLinear = linear;
        _rmwSize = size;
        var inFirst = PageSize - (int)(linear & 0xFFF);
        if (inFirst < size)
        {
            return BeginSplitRmw(linear, size, inFirst, locked);
        }

        if (!TryTranslate(linear, MmuAccess.Store, Privilege, out _rmwFirst))
        {
            return null;
        }

        if (_watching)
        {
            _vp.NoteDataAccess(linear, size, isStore: true);
        }

        if (_rmwFirst.Host != null)
        {
            _rmwKind = IsCode(_rmwFirst) ? RmwKind.CodePage : RmwKind.Direct;
            return _rmwFirst.Host;
        }

        _rmwKind = RmwKind.Mmio;
        CopyFrom(_rmwFirst, _rmwBuffer, size);
        return _rmwBuffer;
    }

    /// <summary>Ends what <see cref="BeginRmw"/> began; <paramref name="commit"/> false leaves a copied operand unwritten.</summary>
    public void EndRmw(bool commit = true)
    {
        switch (_rmwKind)
        {
            case RmwKind.CodePage when commit:
                NoteStored(_rmwFirst, _rmwSize);
                break;
            case RmwKind.Mmio when commit:
                CopyTo(_rmwFirst, _rmwBuffer, _rmwSize);
                break;
            case RmwKind.Split or RmwKind.SplitExclusive:
                EndSplitRmw(commit);
                break;
            default:
                break;
        }
    }

    /// <summary>
    /// Translates an instruction fetch and fills the fetch TLB. Code outside RAM reads as bytes of all ones from
    /// a page of the host's own, whose <see cref="Translation.PageFlags"/> are null.
    /// </summary>
    public bool TryTranslateFetch(ulong linear, out Translation translation)
    {
        if (!TryTranslate(linear, MmuAccess.Fetch, Privilege == MmuPrivilege.KernelAc ? MmuPrivilege.Kernel : Privilege, out translation))
        {
            return false;
        }

        if (translation.Host == null)
        {
            translation.Host = _openBus + (linear & 0xFFF);
        }

        return true;
    }

    /// <summary>
    /// The alignment check (SDM volume 3, "Interrupt 17"), which programs at CPL 3 switch on with RFLAGS.AC: operands of 2,
    /// 4 and 8 bytes lie on multiples of their size. Wider vector operands have rules of their own.
    /// </summary>
    private bool IsAligned(ulong linear, int size) =>
        !_checksAlignment || size is not (2 or 4 or 8) || (linear & (uint)(size - 1)) == 0 || Fault.Raise(_state, Fault.AlignmentCheck, 0);

    private void EndSplitRmw(bool commit)
    {
        var inFirst = PageSize - (int)(_rmwLinear & 0xFFF);
        if (commit)
        {
            WriteTo(_rmwFirst, _rmwBuffer, inFirst);
            WriteTo(_rmwSecond, _rmwBuffer + inFirst, _rmwSize - inFirst);
        }

        if (_rmwKind == RmwKind.SplitExclusive)
        {
            _vp.Partition.EndExclusive(_vp);
        }

        if (commit)
        {
            // Only now: the block cache's lock may be held by a processor that waits for the exclusive section to end.
            NoteStored(_rmwFirst, inFirst);
            NoteStored(_rmwSecond, _rmwSize - inFirst);
        }
    }

    private byte* BeginSplitRmw(ulong linear, int size, int inFirst, bool locked)
    {
        // Translations do not outlive the wait for the other processors, so they come after it.
        if (locked)
        {
            _vp.Partition.BeginExclusive(_vp);
        }

        if (!TryTranslate(linear, MmuAccess.Store, Privilege, out _rmwFirst)
            || !TryTranslate(Wrap(linear + (uint)inFirst), MmuAccess.Store, Privilege, out _rmwSecond))
        {
            if (locked)
            {
                _vp.Partition.EndExclusive(_vp);
            }

            return null;
        }

        _rmwKind = locked ? RmwKind.SplitExclusive : RmwKind.Split;
        if (_watching)
        {
            _vp.NoteDataAccess(linear, size, isStore: true);
        }

        CopyFrom(_rmwFirst, _rmwBuffer, inFirst);
        CopyFrom(_rmwSecond, _rmwBuffer + inFirst, size - inFirst);
        return _rmwBuffer;
    }

    // The first level's entry for a page, whoever runs. While alignment is checked the program itself is kept from it.
    private TlbEntry* First(int set, ulong linear) => _sets + (set * TlbEntry.SetSize) + ((linear >> 12) & (TlbEntry.SetSize - 1));

    private static bool IsCode(in Translation translation) =>
        translation.PageFlags != null && (Volatile.Read(ref *translation.PageFlags) & (byte)GpaPageFlags.HasCode) != 0;

    private ulong Wrap(ulong linear) => (_state->Mode & (uint)VpMode.Code64) != 0 || _state->Cpl == 0 && (_state->Mode & (uint)VpMode.LongMode) != 0
        ? linear
        : (uint)linear;

    private void NoteStored(in Translation translation, int length)
    {
        if (IsCode(translation))
        {
            _vp.Partition.CodePages.OnGuestStore(_vp, translation.Gpa, length);
        }
    }

    private void CopyFrom(in Translation translation, byte* destination, int length)
    {
        if (translation.Host != null)
        {
            Buffer.MemoryCopy(translation.Host, destination, length, length);
            return;
        }

        for (var done = 0; done < length;)
        {
            var piece = DevicePiece(translation.Gpa + (uint)done, length - done);
            HostValue.Write(destination + done, piece, LoadDevice(translation.Gpa + (uint)done, piece));
            done += piece;
        }
    }

    private void CopyTo(in Translation translation, byte* source, int length)
    {
        if (length > 0)
        {
            WriteTo(translation, source, length);
            NoteStored(translation, length);
        }
    }

    private void WriteTo(in Translation translation, byte* source, int length)
    {
        if (translation.Host != null)
        {
            Buffer.MemoryCopy(source, translation.Host, length, length);
            return;
        }

        for (var done = 0; done < length;)
        {
            var piece = DevicePiece(translation.Gpa + (uint)done, length - done);
            StoreDevice(translation.Gpa + (uint)done, piece, HostValue.Read(source + done, piece));
            done += piece;
        }
    }

    /// <summary>The largest naturally aligned piece of at most 8 bytes: what a device sees of a wide or odd access.</summary>
    private static int DevicePiece(ulong gpa, int length)
    {
        var piece = 8;
        while (piece > length || (gpa & (uint)(piece - 1)) != 0)
        {
            piece >>= 1;
        }

        return piece;
    }

    private ulong LoadDevice(ulong gpa, int size)
    {
        _vp.CountMmio();
        _vp.LeaveGuest();
        try
        {
            return _intercepts.ReadMmio(_vp, gpa, size);
        }
        finally
        {
            _vp.EnterGuest();
        }
    }

    private void StoreDevice(ulong gpa, int size, ulong value)
    {
        _vp.CountMmio();
        _vp.LeaveGuest();
        try
        {
            _intercepts.WriteMmio(_vp, gpa, size, value);
        }
        finally
        {
            _vp.EnterGuest();
        }
    }
}
