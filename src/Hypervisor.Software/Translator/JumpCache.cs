namespace Vitro.Hypervisor.Software.Translator;

/// <summary>
/// Where indirect jumps of translated code find their targets: by the low 16 bits of the linear address, a host address. It lies
/// behind a processor's state, one table for each privilege.
/// </summary>
/// <remarks>
/// Every slot leads somewhere: an empty one to the stub that leaves to the dispatcher. The target checks that it is meant. A
/// filter remembers which pages have targets here, so that dropping the translation of another page costs nothing.
/// </remarks>
internal static unsafe class JumpCache
{
    /// <summary>Bytes from the state to the tables.</summary>
    public const int StateDistance = 16 << 10;

    /// <summary>Slots of one table.</summary>
    public const int Slots = 1 << 16;

    /// <summary>Bytes of both tables and of what is known of the slots in use.</summary>
    public const int Size = UseDistance + (2 * UseSize);

    private const int UseDistance = 2 * Slots * 8;
    private const int FilterBits = 1 << 15;
    private const int FilterDistance = 8;
    private const int LogDistance = FilterDistance + (FilterBits / 8);
    private const int UseSize = LogDistance + (Slots * sizeof(uint));

    /// <summary>Bytes from the state to a privilege's table: 0 for the kernel's, 1 for the user's.</summary>
    public static int TableDistance(uint privilege) => StateDistance + ((int)privilege * Slots * 8);

    /// <summary>Makes tables of no slots in use, before anything else.</summary>
    public static void Reset(VpState* state)
    {
        Forget(state, 0);
        Forget(state, 1);
    }

    /// <summary>Empties all slots.</summary>
    public static void Fill(VpState* state, byte* miss)
    {
        new Span<nint>((byte*)state + StateDistance, 2 * Slots).Fill((nint)miss);
        Reset(state);
    }

    /// <summary>Empties the slots in use of both privileges.</summary>
    public static void Clear(VpState* state, byte* miss)
    {
        Clear(state, 0, miss);
        Clear(state, 1, miss);
    }

    /// <summary>Empties what is not of global pages, which is all of the user's.</summary>
    public static void ClearLocal(VpState* state, byte* miss)
    {
        Clear(state, 1, miss);
        if (Use(state, 0)[1] != 0)
        {
            Clear(state, 0, miss);
        }
    }

    /// <summary>Empties the slots of one page, and those that pages 64 KiB apart share with it.</summary>
    public static void ClearPage(VpState* state, ulong linear, byte* miss)
    {
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
            for (var n = 0u; n < use[0]; n++)
            {
                // Code of a page may end in the next one.
                if (log[n] >> 12 == page || (log[n] & 0xFFF) > 0xFF0)
                {
                    table[log[n]] = miss;
                }
                else
                {
                    log[kept++] = log[n];
                }
            }

            use[0] = kept;
        }
    }

    /// <summary>Enters a target, whose code ends in the page of <paramref name="last"/>; both pages are in the fetch TLB.</summary>
    public static void Set(VpState* state, uint privilege, ulong linear, ulong last, bool isGlobal, byte* entry, byte* miss)
    {
        var slot = (uint)(linear & (Slots - 1));
        var table = (byte**)((byte*)state + TableDistance(privilege));
        var use = Use(state, privilege);
        if (table[slot] == miss)
        {
            ((uint*)((byte*)use + LogDistance))[use[0]++] = slot;
        }

        if (!isGlobal)
        {
            use[1] = 1;
        }

        Filter(state, privilege, linear, out var bit) |= bit;
        Filter(state, privilege, last, out bit) |= bit;
        table[slot] = entry;
    }

    /// <summary>Empties the slots in use of one privilege.</summary>
    public static void Clear(VpState* state, uint privilege, byte* miss)
    {
        var use = Use(state, privilege);
        var count = use[0];
        if (count == 0)
        {
            return;
        }

        var table = (byte**)((byte*)state + TableDistance(privilege));
        var log = (uint*)((byte*)use + LogDistance);
        for (var n = 0u; n < count; n++)
        {
            table[log[n]] = miss;
        }

        Forget(state, privilege);
    }

    private static void Forget(VpState* state, uint privilege) => new Span<byte>(Use(state, privilege), LogDistance).Clear();

    // The number of slots in use, whether some are of pages that are not global, the filter, and the log of slots.
    private static uint* Use(VpState* state, uint privilege) => (uint*)((byte*)state + StateDistance + UseDistance + ((int)privilege * UseSize));

    private static ref ulong Filter(VpState* state, uint privilege, ulong linear, out ulong bit)
    {
        // The halves of the address space do not meet: the user's pages come and go.
        var number = ((uint)(linear >> 12) & ((FilterBits / 2) - 1)) | ((uint)(linear >> 63) * (FilterBits / 2));
        bit = 1UL << (int)(number & 63);
        return ref ((ulong*)((byte*)Use(state, privilege) + FilterDistance))[number >> 6];
    }
}
