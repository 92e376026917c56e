namespace Vitro.Hypervisor.Software.Translator;

/// <summary>
/// Which pages of code a processor has where: for each privilege a table of words, by linear page, that hold the number of the mapping
/// which the fetch TLB knew. A direct branch to another page is linked, and compares the target's number with the word.
/// </summary>
/// <remarks>
/// A number stands for a linear page and a host page in a whole partition, so that what one processor linked is as good for others and after
/// changes of address spaces: only the words are a processor's own. Behind the jump cache, which is emptied together with them.
/// </remarks>
internal static unsafe class CodeMappings
{
    /// <summary>Bytes of both tables and of the lists of words in use.</summary>
    public const int Size = ListDistance + (2 * ListSize);

    // No branch expects these numbers.
    private const uint Absent = 0x8000_0000;
    private const uint Dropped = 0x8000_0001;

    private const int Words = 1 << 13;
    private const int ListDistance = 2 * Words * sizeof(uint);
    private const int ListSize = sizeof(uint) + (Words * sizeof(uint));

    /// <summary>Bytes from the state to the word of a linear address.</summary>
    public static int WordDistance(uint privilege, ulong linear) => ProcessorMemory.CodeMappings + ((((int)privilege * Words) + WordOf(linear)) * sizeof(uint));

    /// <summary>Makes tables of absent pages, before anything else.</summary>
    public static void Reset(VpState* state)
    {
        new Span<uint>((byte*)state + ProcessorMemory.CodeMappings, 2 * Words).Fill(Absent);
        *List(state, 0) = 0;
        *List(state, 1) = 0;
    }

    /// <summary>The fetch TLB of a privilege has a page.</summary>
    public static void Set(VpState* state, uint privilege, ulong linear, uint mapping)
    {
        var word = (uint*)((byte*)state + WordDistance(privilege, linear));
        if (*word == mapping)
        {
            return;
        }

        if (*word == Absent)
        {
            var list = List(state, privilege);
            list[++*list] = (uint)WordOf(linear);
        }

        *word = mapping;
    }

    /// <summary>A privilege's fetch TLB has lost pages.</summary>
    public static void Clear(VpState* state, uint privilege)
    {
        var words = (uint*)((byte*)state + ProcessorMemory.CodeMappings) + (privilege * Words);
        var list = List(state, privilege);
        for (var n = 1u; n <= *list; n++)
        {
            words[list[n]] = Absent;
        }

        *list = 0;
    }

    /// <summary>The fetch TLB has lost a page.</summary>
    public static void ClearPage(VpState* state, ulong linear)
    {
        for (var privilege = 0u; privilege < 2; privilege++)
        {
            var word = (uint*)((byte*)state + WordDistance(privilege, linear));
            if (*word != Absent)
            {
                // It stays in the list.
                *word = Dropped;
            }
        }
    }

    private static int WordOf(ulong linear) => (int)((linear >> 12) ^ (linear >> 25)) & (Words - 1);

    // How many words are in use, and which.
    private static uint* List(VpState* state, uint privilege) => (uint*)((byte*)state + ProcessorMemory.CodeMappings + ListDistance + ((int)privilege * ListSize));
}
