using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Vid;

namespace Vitro.Hypervisor.Software;

/// <content>The page walker: 32-bit, PAE and 4-level paging (Intel SDM volume 3, sections 4.3 to 4.7).</content>
internal sealed unsafe partial class Mmu
{
    private const ulong EntryPresent = 1;
    private const ulong EntryWrite = 2;
    private const ulong EntryUser = 4;
    private const ulong EntryAccessed = 32;
    private const ulong EntryDirty = 64;
    private const ulong EntryLarge = 128;
    private const ulong EntryGlobal = 256;
    private const ulong EntryNoExecute = 1UL << 63;
    private const ulong EntryAddress = 0x000F_FFFF_FFFF_F000;
    private const ulong EntryAboveWidth = ((1UL << 52) - 1) & ~((1UL << ControlBits.PhysicalAddressBits) - 1);

    private const uint ErrorPresent = 1;
    private const uint ErrorWrite = 2;
    private const uint ErrorUser = 4;
    private const uint ErrorReserved = 8;
    private const uint ErrorFetch = 16;

    // The PAE page-directory-pointer registers, loaded with CR3.
    private ulong _pdpte0;
    private ulong _pdpte1;
    private ulong _pdpte2;
    private ulong _pdpte3;

    /// <summary>Whether a data breakpoint may lie anywhere; set by the owner of DR7, after which nothing watched is cached.</summary>
    public void SetWatching(bool watching)
    {
        if (watching || _watching)
        {
            _watching = watching;
            FlushFirstLevel();
        }
    }

    /// <summary>
    /// Loads the PAE page-directory-pointer registers from where CR3 points; false, with nothing changed, when one has
    /// reserved bits set.
    /// </summary>
    public bool TryLoadPdptes(ulong cr3)
    {
        var table = PhysicalPointer(cr3 & 0xFFFF_FFE0);
        Span<ulong> entries = stackalloc ulong[4];
        for (var i = 0; i < 4; i++)
        {
            entries[i] = table == null ? 0 : ((ulong*)table)[i];
            if ((entries[i] & EntryPresent) != 0 && (entries[i] & (0x1E6 | EntryAboveWidth | (0xFFFUL << 52))) != 0)
            {
                return false;
            }
        }

        (_pdpte0, _pdpte1, _pdpte2, _pdpte3) = (entries[0], entries[1], entries[2], entries[3]);
        return true;
    }

    private bool TryWalk(ulong linear, MmuAccess access, MmuPrivilege privilege, out ulong page, out uint permissions)
    {
        if ((_state->Cr4 & ControlBits.Cr4Pae) == 0)
        {
            return TryWalk32(linear, access, privilege, out page, out permissions);
        }

        var isLong = (_state->Efer & ControlBits.EferLongModeActive) != 0;
        var reserved = EntryAboveWidth;
        if ((_state->Efer & ControlBits.EferNoExecute) == 0)
        {
            reserved |= EntryNoExecute;
        }

        if (!isLong)
        {
            reserved |= 0x7FFUL << 52;
        }

        while (true)
        {
            // Pointers to the entries used, so that the accessed bits can be set once the walk is known to be good.
            ulong* used0 = null, used1 = null, used2 = null;
            ulong value0 = 0, value1 = 0, value2 = 0;
            ulong table;
            int level;
            var combined = EntryWrite | EntryUser;
            ulong noExecute = 0;
            if (isLong)
            {
                table = _state->Cr3 & EntryAddress;
                level = 3;
            }
            else
            {
                var pointer = (linear >> 30) switch { 0 => _pdpte0, 1 => _pdpte1, 2 => _pdpte2, _ => _pdpte3 };
                if ((pointer & EntryPresent) == 0)
                {
                    return RaisePageFault(linear, access, privilege, 0, out page, out permissions);
                }

                table = pointer & EntryAddress;
                level = 1;
            }

            ulong* slot;
            ulong value;
            ulong offsetMask;
            while (true)
            {
                slot = (ulong*)PhysicalPointer(table);
                if (slot == null)
                {
                    return RaisePageFault(linear, access, privilege, 0, out page, out permissions);
                }

                slot += (linear >> (12 + (9 * level))) & 0x1FF;
                value = Volatile.Read(ref *slot);
                if ((value & EntryPresent) == 0)
                {
                    return RaisePageFault(linear, access, privilege, 0, out page, out permissions);
                }

                var isLeaf = level == 0 || ((value & EntryLarge) != 0 && level < 3);
                offsetMask = (1UL << (12 + (9 * level))) - 1;
                var reservedHere = reserved;
                if (level == 3)
                {
                    reservedHere |= EntryLarge;
                }
                else if (isLeaf && level > 0)
                {
                    // Bit 12 of a large page's entry is its PAT bit.
                    reservedHere |= offsetMask & ~0x1FFFUL;
                }

                if ((value & reservedHere) != 0)
                {
                    return RaisePageFault(linear, access, privilege, ErrorPresent | ErrorReserved, out page, out permissions);
                }

                combined &= value;
                noExecute |= value & EntryNoExecute;
                if (isLeaf)
                {
                    break;
                }

                switch (level)
                {
                    case 3:
                        used0 = slot;
                        value0 = value;
                        break;
                    case 2:
                        used1 = slot;
                        value1 = value;
                        break;
                    default:
                        used2 = slot;
                        value2 = value;
                        break;
                }

                table = value & EntryAddress;
                level--;
            }

            permissions = ((combined & EntryUser) != 0 ? PermissionUser : 0)
                | ((combined & EntryWrite) != 0 ? PermissionWrite : 0)
                | (noExecute != 0 ? PermissionNoExecute : 0);
            var permitted = IsPermitted(permissions, access, privilege);
            if (!TrySetAccessed(used0, value0) || !TrySetAccessed(used1, value1) || !TrySetAccessed(used2, value2))
            {
                continue;
            }

            if (!permitted)
            {
                return RaisePageFault(linear, access, privilege, ErrorPresent, out page, out permissions);
            }

            var marked = value | EntryAccessed | (access == MmuAccess.Store ? EntryDirty : 0);
            if (marked != value && !TryUpdateEntry(slot, value, marked))
            {
                continue;
            }

            permissions |= ((marked & EntryDirty) != 0 ? PermissionDirty : 0)
                | ((marked & EntryGlobal) != 0 && (_state->Cr4 & ControlBits.Cr4Pge) != 0 ? PermissionGlobal : 0);
            if (level > 0)
            {
                NoteLargePage(linear, huge: level == 2);
            }

            page = ((value & EntryAddress & ~offsetMask) | (linear & offsetMask)) & PageMask;
            return true;
        }
    }

    private bool TryWalk32(ulong linear, MmuAccess access, MmuPrivilege privilege, out ulong page, out uint permissions)
    {
        while (true)
        {
            var directory = (uint*)PhysicalPointer(_state->Cr3 & 0xFFFF_F000);
            if (directory == null)
            {
                return RaisePageFault(linear, access, privilege, 0, out page, out permissions);
            }

            directory += (linear >> 22) & 0x3FF;
            var upper = Volatile.Read(ref *directory);
            if ((upper & EntryPresent) == 0)
            {
                return RaisePageFault(linear, access, privilege, 0, out page, out permissions);
            }

            uint* slot;
            uint value;
            var combined = upper;
            var isLarge = (upper & EntryLarge) != 0 && (_state->Cr4 & ControlBits.Cr4Pse) != 0;
            if (isLarge)
            {
                // PSE-36: bits 13 to 20 are address bits 32 to 39; bit 21 is reserved.
                if ((upper & (1u << 21)) != 0)
                {
                    return RaisePageFault(linear, access, privilege, ErrorPresent | ErrorReserved, out page, out permissions);
                }

                slot = directory;
                value = upper;
            }
            else
            {
                slot = (uint*)PhysicalPointer(upper & 0xFFFF_F000);
                if (slot == null)
                {
                    return RaisePageFault(linear, access, privilege, 0, out page, out permissions);
                }

                slot += (linear >> 12) & 0x3FF;
                value = Volatile.Read(ref *slot);
                if ((value & EntryPresent) == 0)
                {
                    return RaisePageFault(linear, access, privilege, 0, out page, out permissions);
                }

                combined &= value;
            }

            permissions = ((combined & EntryUser) != 0 ? PermissionUser : 0) | ((combined & EntryWrite) != 0 ? PermissionWrite : 0);
            var permitted = IsPermitted(permissions, access, privilege);
            if (!isLarge && (upper & EntryAccessed) == 0 && !TryUpdateEntry(directory, upper, upper | (uint)EntryAccessed))
            {
                continue;
            }

            if (!permitted)
            {
                return RaisePageFault(linear, access, privilege, ErrorPresent, out page, out permissions);
            }

            var marked = value | (uint)EntryAccessed | (access == MmuAccess.Store ? (uint)EntryDirty : 0);
            if (marked != value && !TryUpdateEntry(slot, value, marked))
            {
                continue;
            }

            permissions |= ((marked & EntryDirty) != 0 ? PermissionDirty : 0)
                | ((marked & EntryGlobal) != 0 && (_state->Cr4 & ControlBits.Cr4Pge) != 0 ? PermissionGlobal : 0);
            if (isLarge)
            {
                // The filter counts in 2 MiB: both halves of the 4 MiB page.
                NoteLargePage(linear, huge: false);
                NoteLargePage(linear ^ (1UL << 21), huge: false);
                page = (value & 0xFFC0_0000) | ((ulong)(value & 0x1F_E000) << 19) | (linear & 0x3F_F000);
            }
            else
            {
                page = value & 0xFFFF_F000;
            }

            return true;
        }
    }

    /// <summary>Whether rights suffice (Intel SDM volume 3, section 4.6.1).</summary>
    private bool IsPermitted(uint permissions, MmuAccess access, MmuPrivilege privilege)
    {
        var isUserPage = (permissions & PermissionUser) != 0;
        if (privilege == MmuPrivilege.User)
        {
            return isUserPage && access switch
            {
                MmuAccess.Load => true,
                MmuAccess.Store => (permissions & PermissionWrite) != 0,
                _ => (permissions & PermissionNoExecute) == 0,
            };
        }

        if (access == MmuAccess.Fetch)
        {
            return (permissions & PermissionNoExecute) == 0 && (!isUserPage || (_state->Cr4 & ControlBits.Cr4Smep) == 0);
        }

        if (isUserPage && privilege == MmuPrivilege.Kernel && (_state->Cr4 & ControlBits.Cr4Smap) != 0)
        {
            return false;
        }

        return access == MmuAccess.Load || (permissions & PermissionWrite) != 0 || (_state->Cr0 & ControlBits.Cr0WriteProtect) == 0;
    }

    private bool RaisePageFault(
        ulong linear, MmuAccess access, MmuPrivilege privilege, uint error, out ulong page, out uint permissions)
    {
        page = 0;
        permissions = 0;
        if (access == MmuAccess.Store)
        {
            error |= ErrorWrite;
        }
        else if (access == MmuAccess.Fetch
            && ((_state->Cr4 & ControlBits.Cr4Smep) != 0
                || ((_state->Cr4 & ControlBits.Cr4Pae) != 0 && (_state->Efer & ControlBits.EferNoExecute) != 0)))
        {
            error |= ErrorFetch;
        }

        if (privilege == MmuPrivilege.User)
        {
            error |= ErrorUser;
        }

        // A translation that faults is dropped, as hardware does: the guest may have widened its rights without INVLPG.
        DropSecond(linear & PageMask, _context, alsoGlobal: true);
        return Fault.Page(_state, linear, error);
    }

    private bool TrySetAccessed(ulong* slot, ulong value) =>
        slot == null || (value & EntryAccessed) != 0 || TryUpdateEntry(slot, value, value | EntryAccessed);

    private bool TryUpdateEntry(ulong* slot, ulong old, ulong value)
    {
        NoteTableWritten((byte*)slot);
        return Interlocked.CompareExchange(ref *slot, value, old) == old;
    }

    private bool TryUpdateEntry(uint* slot, uint old, uint value)
    {
        NoteTableWritten((byte*)slot);
        return Interlocked.CompareExchange(ref *slot, value, old) == old;
    }

    /// <summary>Page tables written by the walker are guest memory written: dirty tracking must know.</summary>
    private void NoteTableWritten(byte* slot)
    {
        foreach (var region in _regions)
        {
            var offset = (ulong)(slot - (byte*)region.HostAddress);
            if (offset < region.Length)
            {
                var flags = _gpa.PageFlags(region.Start + offset);
                if (flags != null && (*flags & (byte)GpaPageFlags.Dirty) == 0)
                {
                    GpaSpace.SetPageFlag(flags, GpaPageFlags.Dirty);
                }

                return;
            }
        }
    }

    /// <summary>The host address of a page table; null when nothing backs it.</summary>
    private byte* PhysicalPointer(ulong gpa)
    {
        FindHost(gpa & PageMask, MmuAccess.Load, out var host, out _);
        return host == null ? null : host + (gpa & 0xFFF);
    }
}
