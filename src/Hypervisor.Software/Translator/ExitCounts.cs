using Vitro.Foundation;
using Vitro.Hypervisor.Software.Decoding;

namespace Vitro.Hypervisor.Software.Translator;

/// <summary>How often translated code was left, and for which instructions: what to translate next. Written by the processor's thread only.</summary>
internal sealed unsafe class ExitCounts : IInspectable
{
    private readonly long[] _kinds = new long[Enum.GetValues<ExitKind>().Length];
    private readonly long[] _interpreted = new long[(int)Operation.Clwb + 1];
    private readonly long[] _missed = new long[(int)Operation.Clwb + 1];

    /// <summary>Counts an exit.</summary>
    public void Add(ExitKind kind) => _kinds[(int)kind]++;

    /// <summary>Counts an instruction of a block left to the interpreter.</summary>
    public void AddInterpreted(DecodedInstruction* instruction, TranslatedBlock* block)
    {
        if (BlockTranslator.IsTranslatable(instruction, block->Privilege, (block->Block->Mode & (uint)VpMode.Code64) != 0))
        {
            _missed[(int)instruction->Operation]++;
        }
        else
        {
            _interpreted[(int)instruction->Operation]++;
        }
    }

    /// <inheritdoc/>
    public void Inspect(InspectNode node)
    {
        for (var kind = 0; kind < _kinds.Length; kind++)
        {
            node.Value(((ExitKind)kind).ToString().ToLowerInvariant(), _kinds[kind]);
        }

        Inspect(node.Child("interpreted"), _interpreted);
        Inspect(node.Child("missed"), _missed);
    }

    private static void Inspect(InspectNode node, long[] counts)
    {
        for (var operation = 0; operation < counts.Length; operation++)
        {
            if (counts[operation] != 0)
            {
                node.Value(((Operation)operation).ToString(), counts[operation]);
            }
        }
    }
}
