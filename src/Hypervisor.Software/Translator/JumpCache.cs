namespace Vitro.Hypervisor.Software.Translator;

/// <summary>
/// Where indirect jumps of translated code find their targets: by the low 16 bits of the linear address, a host address. It lies
/// behind a processor's state, one table for each privilege, and holds pages of the fetch TLB only.
/// </summary>
/// <remarks>Every slot leads somewhere: an empty one to the stub that leaves to the dispatcher. The target checks that it is meant.</remarks>
internal static unsafe class JumpCache
{
    /// <summary>Bytes from the state to the tables.</summary>
    public const int StateDistance = 16 << 10;

    /// <summary>Slots of one table.</summary>
    public const int Slots = 1 << 16;

    /// <summary>Bytes of both tables and the log of used slots.</summary>
    public const int Size = LogDistance + 8 + (2 * Slots * sizeof(uint));

    private const int LogDistance = 2 * Slots * 8;

    /// <summary>Bytes from the state to a privilege's table: 0 for the kernel's, 1 for the user's.</summary>
    public static int TableDistance(uint privilege) => StateDistance + ((int)privilege * Slots * 8);

    /// <summary>Makes a table of no slots in use, before anything else.</summary>
    public static void Reset(VpState* state) => *Count(state) = 0;

    /// <summary>Empties all slots.</summary>
    public static void Fill(VpState* state, byte* miss)
    {
        new Span<nint>((byte*)state + StateDistance, 2 * Slots).Fill((nint)miss);
        Reset(state);
    }

    /// <summary>Empties the slots in use.</summary>
    public static void Clear(VpState* state, byte* miss)
    {
        var count = *Count(state);
        if (count == 0)
        {
            return;
        }

        var slots = (byte**)((byte*)state + StateDistance);
        var log = (uint*)(Count(state) + 2);
        for (var n = 0u; n < count; n++)
        {
            slots[log[n]] = miss;
        }

        *Count(state) = 0;
    }

    /// <summary>Enters a target.</summary>
    public static void Set(VpState* state, uint privilege, ulong linear, byte* entry, byte* miss)
    {
        var slot = (privilege * Slots) + (uint)(linear & (Slots - 1));
        var slots = (byte**)((byte*)state + StateDistance);
        if (slots[slot] == miss)
        {
            var count = Count(state);
            ((uint*)(count + 2))[*count] = slot;
            (*count)++;
        }

        slots[slot] = entry;
    }

    private static uint* Count(VpState* state) => (uint*)((byte*)state + StateDistance + LogDistance);
}
