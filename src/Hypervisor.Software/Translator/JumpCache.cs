using Vitro.Hypervisor.Vid;

namespace Vitro.Hypervisor.Software.Translator;

/// <summary>
/// Where indirect jumps of translated code find their targets: by the low 16 bits of the linear address, a host address. It lies
/// behind a processor's state, one table for each privilege.
/// </summary>
/// <remarks>
/// Every slot leads somewhere: an empty one to the stub that looks in the second table. The target checks that it is meant, and
/// leads there as well if not. The second table knows targets whose slot is another one's, by their whole address. A
/// filter remembers which pages have targets here, so that dropping the translation of another page costs nothing.
/// </remarks>
internal static unsafe class JumpCache
{
    /// <summary>Slots of one table, and entries of one second table.</summary>
    public const int Slots = 1 << 16;

    /// <summary>Bytes of both tables, of both second tables, and of what is known of the slots in use.</summary>
    public const int TablesSize = 2 * Slots * 8;
    public const int SecondTablesSize = 2 * Slots * EntrySize;
    public const int UsesSize = 2 * UseSize;

    private const int EntrySize = 16;
    private const int FilterBits = 1 << 15;
    private const int FilterDistance = 16;
    private const int LogDistance = FilterDistance + (FilterBits / 8);
    private const int SecondLogDistance = LogDistance + (Slots * sizeof(uint));
    private const int UseSize = SecondLogDistance + (Slots * sizeof(uint));

    /// <summary>Bytes from the state to a privilege's table: 0 for the kernel's, 1 for the user's.</summary>
    public static int TableDistance(uint privilege) => ProcessorMemory.JumpTables + ((int)privilege * Slots * 8);

    /// <summary>
    /// Bytes from the state to a privilege's second table: pairs of a linear address and where its code is, at the sum of the
    /// address's lowest two 16-bit parts.
    /// </summary>
    public static int SecondTableDistance(uint privilege) => ProcessorMemory.SecondJumpTables + ((int)privilege * Slots * EntrySize);

    /// <summary>Makes tables of no slots in use, before anything else.</summary>
    public static void Reset(VpState* state)
    {
        Forget(Use(state, 0));
        Forget(Use(state, 1));
        CodeMappings.Reset(state);
    }

    /// <summary>Empties all slots.</summary>
    /// <param name="state">The processor's.</param>
    /// <param name="misses">For each privilege, the stub that looks in the second table.</param>
    public static void Fill(VpState* state, Misses misses)
    {
        for (var privilege = 0u; privilege < 2; privilege++)
        {
            new Span<nint>((byte*)state + TableDistance(privilege), Slots).Fill((nint)misses.Of(privilege));
            var second = (SecondEntry*)((byte*)state + SecondTableDistance(privilege));
            new Span<SecondEntry>(second, Slots).Fill(SecondEntry.Empty);
        }

        Reset(state);
    }

    /// <summary>Empties the slots in use of both privileges.</summary>
    public static void Clear(VpState* state, Misses misses)
    {
        Clear(state, 0, misses.Of(0));
        Clear(state, 1, misses.Of(1));
    }

    /// <summary>Empties what is not of global pages, which is all of the user's.</summary>
    public static void ClearLocal(VpState* state, Misses misses)
    {
        Clear(state, 1, misses.Of(1));
        if (Use(state, 0)->HasLocal)
        {
            Clear(state, 0, misses.Of(0));
        }
    }

    /// <summary>Empties the slots of one page, and those that pages 64 KiB apart share with it.</summary>
    public static void ClearPage(VpState* state, ulong linear, Misses misses)
    {
        CodeMappings.ClearPage(state, linear);
        for (var privilege = 0u; privilege < 2; privilege++)
        {
            if ((Filter(state, privilege, linear, out var bit) & bit) == 0)
            {
                continue;
            }

            var use = Use(state, privilege);
            var table = (byte**)((byte*)state + TableDistance(privilege));
            var log = (uint*)((byte*)use + LogDistance);
            var page = (uint)(linear & (Slots - 1)) >> 12;
            var kept = 0u;
            for (var n = 0u; n < use->Count; n++)
            {
                // Code of a page may end in the next one.
                if (log[n] >> 12 == page || (log[n] & 0xFFF) > 0xFF0)
                {
                    table[log[n]] = misses.Of(privilege);
                }
                else
                {
                    log[kept++] = log[n];
                }
            }

            use->Count = kept;
            ClearSecondPage(state, privilege, linear & ~0xFFFUL);
        }
    }

    /// <summary>Enters a translation, whose code ends in the page of <paramref name="last"/>; both pages are in the fetch TLB.</summary>
    public static void Set(VpState* state, TranslatedBlock* translated, ulong last, bool isGlobal, Misses misses)
    {
        var linear = translated->Linear;
        var privilege = translated->Privilege;
        var entry = translated->Entry;
        var slot = (uint)(linear & (Slots - 1));
        var table = (byte**)((byte*)state + TableDistance(privilege));
        var use = Use(state, privilege);
        SetMapping(state, translated, isGlobal);
        Filter(state, privilege, linear, out var bit) |= bit;
        Filter(state, privilege, last, out bit) |= bit;
        if (table[slot] == misses.Of(privilege))
        {
            ((uint*)((byte*)use + LogDistance))[use->Count++] = slot;
        }
        else if (table[slot] != entry && *table[slot] != BlockTranslations.DroppedEntry)
        {
            // Two that share a slot would take turns in it.
            SetSecond(state, privilege, linear, entry);
            return;
        }

        table[slot] = entry;
    }

    /// <summary>Enters a translation's page only, which is in the fetch TLB: linked branches need no slot.</summary>
    public static void SetMapping(VpState* state, TranslatedBlock* translated, bool isGlobal)
    {
        Use(state, translated->Privilege)->HasLocal |= !isGlobal;
        if (translated->Mapping != 0)
        {
            CodeMappings.Set(state, translated->Privilege, translated->Linear, translated->Mapping);
        }
    }

    /// <summary>Empties the slots in use of one privilege.</summary>
    public static void Clear(VpState* state, uint privilege, Misses misses) => Clear(state, privilege, misses.Of(privilege));

    private static void SetSecond(VpState* state, uint privilege, ulong linear, byte* entry)
    {
        var use = Use(state, privilege);
        var slot = (uint)(linear + (linear >> 16)) & (Slots - 1);
        var second = (SecondEntry*)((byte*)state + SecondTableDistance(privilege)) + slot;
        if (second->Linear == SecondEntry.NoAddress)
        {
            ((uint*)((byte*)use + SecondLogDistance))[use->SecondCount++] = slot;
        }

        second->Linear = linear;
        second->Code = entry;
    }

    private static void ClearSecondPage(VpState* state, uint privilege, ulong page)
    {
        var use = Use(state, privilege);
        var table = (SecondEntry*)((byte*)state + SecondTableDistance(privilege));
        var log = (uint*)((byte*)use + SecondLogDistance);
        var kept = 0u;
        for (var n = 0u; n < use->SecondCount; n++)
        {
            var entry = table + log[n];
            if (entry->Linear + 15 - page < GuestMemory.PageSize + 15)
            {
                *entry = SecondEntry.Empty;
            }
            else
            {
                log[kept++] = log[n];
            }
        }

        use->SecondCount = kept;
    }

    private static void Clear(VpState* state, uint privilege, byte* miss)
    {
        CodeMappings.Clear(state, privilege);
        var use = Use(state, privilege);
        if (use->Count == 0 && use->SecondCount == 0)
        {
            return;
        }

        var table = (byte**)((byte*)state + TableDistance(privilege));
        var log = (uint*)((byte*)use + LogDistance);
        for (var n = 0u; n < use->Count; n++)
        {
            table[log[n]] = miss;
        }

        var second = (SecondEntry*)((byte*)state + SecondTableDistance(privilege));
        log = (uint*)((byte*)use + SecondLogDistance);
        for (var n = 0u; n < use->SecondCount; n++)
        {
            second[log[n]] = SecondEntry.Empty;
        }

        Forget(use);
    }

    private static void Forget(SlotUse* use) => new Span<byte>(use, LogDistance).Clear();

    private static SlotUse* Use(VpState* state, uint privilege) => (SlotUse*)((byte*)state + ProcessorMemory.JumpCacheUse + ((int)privilege * UseSize));

    private static ref ulong Filter(VpState* state, uint privilege, ulong linear, out ulong bit)
    {
        // The halves of the address space do not meet: the user's pages come and go.
        var number = ((uint)(linear >> 12) & ((FilterBits / 2) - 1)) | ((uint)(linear >> 63) * (FilterBits / 2));
        bit = 1UL << (int)(number & 63);
        return ref ((ulong*)((byte*)Use(state, privilege) + FilterDistance))[number >> 6];
    }

    /// <summary>For each privilege, the stub where empty slots lead.</summary>
    internal readonly struct Misses(byte* kernel, byte* user)
    {
        /// <summary>The one of a privilege.</summary>
        public byte* Of(uint privilege) => privilege == 0 ? kernel : user;
    }

    private struct SecondEntry
    {
        // Not canonical: no code is there.
        public const ulong NoAddress = 0x8000_0000_0000_0000;

        public ulong Linear;
        public byte* Code;

        public static SecondEntry Empty => new() { Linear = NoAddress };
    }

    // What is known of a privilege's slots; the filter and the logs of slots follow.
    private struct SlotUse
    {
        public uint Count;
        public uint SecondCount;

        // Whether some are of pages that are not global.
        public bool HasLocal;
    }
}
