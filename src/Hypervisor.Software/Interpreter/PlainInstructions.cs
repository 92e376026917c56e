using System.Runtime.InteropServices;
using Vitro.Hypervisor.Software.Decoding;

namespace Vitro.Hypervisor.Software.Interpreter;

/// <summary>
/// The instructions of the translator's blocks (<see cref="CodeCache.Plain"/>), decoded, as one processor needs them: those of the block it decoded
/// last, and single ones that it had interpreted lately. The blocks themselves keep their bytes only. Used by the processor's thread.
/// </summary>
/// <remarks>
/// What is known of a block or an exit is good as long as <see cref="CodeCache.Emptied"/> stays what it was, since memory that is used again
/// changes that.
/// </remarks>
internal sealed unsafe class PlainInstructions
{
    private const int SingleCount = 1 << 9;

    private readonly VpState* _state;
    private readonly DecodedInstruction[] _instructions = GC.AllocateArray<DecodedInstruction>(BlockDecoder.MaximumInstructions, pinned: true);
    private readonly Single[] _singles = GC.AllocateArray<Single>(SingleCount, pinned: true);
    private CodeBlock* _block;
    private ulong _blockEmptied;
    private ulong _singlesEmptied;

    /// <summary>Knows none yet.</summary>
    public PlainInstructions(VpState* state) => _state = state;

    /// <summary>Room for those of a block that is about to be decoded; which one it is says <see cref="Complete"/>.</summary>
    public DecodedInstruction* Begin()
    {
        _block = null;
        return (DecodedInstruction*)Marshal.UnsafeAddrOfPinnedArrayElement(_instructions, 0);
    }

    /// <summary>Says whose they are.</summary>
    public void Complete(CodeBlock* block, ulong emptied)
    {
        _block = block;
        _blockEmptied = emptied;
    }

    /// <summary>All of a block, which the thread holds; good until another block is decoded.</summary>
    public DecodedInstruction* Of(CodeBlock* block, ulong emptied)
    {
        if (block == _block && emptied == _blockEmptied)
        {
            return (DecodedInstruction*)Marshal.UnsafeAddrOfPinnedArrayElement(_instructions, 0);
        }

        var instructions = Begin();
        var offset = 0;
        for (var n = 0; n < block->Count; n++)
        {
            BlockDecoder.DecodeAgain(block, offset, _state->Features, instructions + n);
            offset += instructions[n].Length;
        }

        Complete(block, emptied);
        return instructions;
    }

    /// <summary>One of a block, which the thread holds; good until another one is asked for.</summary>
    /// <param name="key">What stands for it: its exit's record.</param>
    /// <param name="block">The block.</param>
    /// <param name="offset">Bytes from the block's start to the instruction's.</param>
    /// <param name="emptied">The present <see cref="CodeCache.Emptied"/>.</param>
    public DecodedInstruction* Find(void* key, CodeBlock* block, int offset, ulong emptied)
    {
        if (_singlesEmptied != emptied)
        {
            _singlesEmptied = emptied;
            Array.Clear(_singles);
        }

        var number = (uint)(((ulong)key >> 2) * 0x9E37_79B9) >> 23;
        var single = (Single*)Marshal.UnsafeAddrOfPinnedArrayElement(_singles, (int)number);
        if (single->Key != key)
        {
            single->Key = key;
            BlockDecoder.DecodeAgain(block, offset, _state->Features, &single->Instruction);
        }

        return &single->Instruction;
    }

    private struct Single
    {
        public void* Key;
        public DecodedInstruction Instruction;
    }
}
