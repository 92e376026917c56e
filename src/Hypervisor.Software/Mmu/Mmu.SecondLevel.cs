using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vitro.Hypervisor.Software;

/// <content>
/// The second level of translation caches: what walks found, of all process contexts (PCID). Large pages are kept in pieces of
/// 4 KiB.
/// </content>
internal sealed unsafe partial class Mmu
{
    private const int SecondSets = 4096;
    private const int SecondWays = 2;

    // 2 MiB and 1 GiB pages are cached as the 4 KiB pages in use; these filters remember where such pieces exist.
    private const int LargeSlots = 16384;
    private const int HugeSlots = 1024;

    [StructLayout(LayoutKind.Sequential)]
    private struct SecondEntry
    {
        /// <summary>Linear page address with the context (PCID) in the low 12 bits.</summary>
        public ulong Key;

        /// <summary>Guest page address with the permissions in the low 12 bits.</summary>
        public ulong Page;
        public ulong Stamp;
        public ulong Padding;
    }

    /// <summary>
    /// Kernel halves are alike in all contexts and mostly global, so they share one place; user halves are spread by context.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private SecondEntry* SecondSet(ulong linearPage, uint context)
    {
        var number = (uint)(linearPage >> 12);
        var hash = number ^ (uint)(linearPage >> 24);
        if ((long)linearPage >= 0)
        {
            hash ^= context * 0x9E5;
        }

        return _second + ((hash & (SecondSets - 1)) * SecondWays);
    }

    private SecondEntry* FindSecond(ulong linearPage)
    {
        var entry = SecondSet(linearPage, _context);
        for (var way = 0; way < SecondWays; way++, entry++)
        {
            var difference = entry->Key ^ linearPage;
            if (difference == _context && entry->Stamp >= _localFloor && (entry->Page & PermissionGlobal) == 0)
            {
                return entry;
            }

            if (difference <= 0xFFF && (entry->Page & PermissionGlobal) != 0 && entry->Stamp >= _globalFloor)
            {
                return entry;
            }
        }

        return null;
    }

    private void AddSecond(ulong linearPage, ulong page, uint permissions)
    {
        var isGlobal = (permissions & PermissionGlobal) != 0;
        if (isGlobal && (long)linearPage >= 0)
        {
            // A global user page would need to be found and dropped in every context; it is too rare to be worth it.
            return;
        }

        var set = SecondSet(linearPage, _context);
        var victim = set;
        for (var way = 0; way < SecondWays; way++)
        {
            var entry = set + way;
            var difference = entry->Key ^ linearPage;
            if (difference == _context || (difference <= 0xFFF && (entry->Page & PermissionGlobal) != 0))
            {
                victim = entry;
                break;
            }

            if (entry->Stamp < victim->Stamp)
            {
                victim = entry;
            }
            else if (way == SecondWays - 1 && victim == set && ((uint)Walks & 1) != 0)
            {
                victim = entry;
            }
        }

        victim->Key = linearPage | _context;
        victim->Page = page | permissions;
        victim->Stamp = _stamp;
    }

    private void DropSecond(ulong linearPage, uint context, bool alsoGlobal)
    {
        var entry = SecondSet(linearPage, context);
        for (var way = 0; way < SecondWays; way++, entry++)
        {
            var difference = entry->Key ^ linearPage;
            if (difference == context || (alsoGlobal && difference <= 0xFFF && (entry->Page & PermissionGlobal) != 0))
            {
                entry->Stamp = 0;
                entry->Key = TlbEntry.EmptyTag;
            }
        }
    }

    private void NoteLargePage(ulong linear, bool huge)
    {
        if (huge)
        {
            var slot = (linear >> 30) & (HugeSlots - 1);
            _huge[slot >> 6] |= 1UL << (int)(slot & 63);
        }
        else
        {
            var slot = (linear >> 21) & (LargeSlots - 1);
            _large[slot >> 6] |= 1UL << (int)(slot & 63);
        }
    }

    private bool IsFromLargePage(ulong linear)
    {
        var large = (linear >> 21) & (LargeSlots - 1);
        var huge = (linear >> 30) & (HugeSlots - 1);
        return BitOperations.PopCount((_large[large >> 6] >> (int)(large & 63)) & 1) != 0
            || BitOperations.PopCount((_huge[huge >> 6] >> (int)(huge & 63)) & 1) != 0;
    }
}
