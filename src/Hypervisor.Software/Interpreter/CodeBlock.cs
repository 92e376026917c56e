using System.Runtime.InteropServices;
using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Translator;

namespace Vitro.Hypervisor.Software.Interpreter;

/// <summary>
/// A run of instructions. Behind the header of a block of the interpreter they lie decoded, and then a BlockEnd; behind that of the translator's
/// (<see cref="CodeCache.Plain"/>), which needs them once, the bytes that they were decoded from.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct CodeBlock
{
    /// <summary>Host address of the first instruction's first byte: identifies the physical place. Null once the block is dead.</summary>
    public byte* HostPc;

    /// <summary>The VpMode bits it was decoded for (<see cref="CodeCache.ModeMask"/>).</summary>
    public uint Mode;

    /// <summary>Bytes of guest code.</summary>
    public ushort Length;

    /// <summary>Instructions, without a BlockEnd.</summary>
    public byte Count;

    /// <summary>How many translations there are.</summary>
    public byte TranslationCount;

    /// <summary>How often a block of the translator was interpreted before it was worth a translation. Roughly: written by any processor, without a lock.</summary>
    public byte Runs;

    /// <summary>Block behind a branch not taken or the block's end, when it lies in the same page.</summary>
    public CodeBlock* FallThrough;

    /// <summary>Where the first byte lies in guest physical space.</summary>
    public ulong Gpa;

    /// <summary>Non-zero when the block is one instruction that crosses into another page: host address of that page.</summary>
    public byte* SecondHost;

    /// <summary>Guest physical address of the second page.</summary>
    public ulong SecondGpa;

    /// <summary>Next block of the same hash bucket.</summary>
    public CodeBlock* HashNext;

    /// <summary>Next block of the same page of RAM, and of the second one.</summary>
    public CodeBlock* NextInPage;
    public CodeBlock* NextInSecondPage;

    /// <summary>Translations to host code, one for each linear address and privilege it was run at, the oldest first.</summary>
    public TranslatedBlock* Translations;

    /// <summary>Where the block ends.</summary>
    public static byte* End(CodeBlock* block) =>
        (block->Mode & CodeCache.Plain) == 0 ? (byte*)(Instructions(block) + block->Count + 1) : Bytes(block) + ((block->Length + 7) & ~7);

    /// <summary>The bytes of a block of the translator; what lies behind its end may be read.</summary>
    public static byte* Bytes(CodeBlock* block) => (byte*)(block + 1);

    /// <summary>The first instruction of a block of the interpreter.</summary>
    public static DecodedInstruction* Instructions(CodeBlock* block) => (DecodedInstruction*)(block + 1);
}
