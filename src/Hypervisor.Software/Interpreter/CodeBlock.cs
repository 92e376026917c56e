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

    /// <summary>Whether it is one instruction that crosses into another page. What is known of that page follows the header.</summary>
    public bool Crosses;

    /// <summary>Where the first byte lies in guest physical space.</summary>
    public ulong Gpa;

    /// <summary>Next block of the same hash bucket.</summary>
    public CodeBlock* HashNext;

    /// <summary>Next block of the same page of RAM.</summary>
    public CodeBlock* NextInPage;

    /// <summary>
    /// Of a block of the interpreter: the block behind a branch not taken or its end, when it lies in the same page. Of one of the translator: its
    /// translations to host code, one for each linear address and privilege it was run at, the oldest first.
    /// </summary>
    private void* _next;

    /// <summary>Block behind a branch not taken or the block's end, when it lies in the same page; of a block of the interpreter.</summary>
    public static CodeBlock** FallThrough(CodeBlock* block) => (CodeBlock**)&block->_next;

    /// <summary>Translations of a block of the translator, one for each linear address and privilege it was run at, the oldest first.</summary>
    public static TranslatedBlock** Translations(CodeBlock* block) => (TranslatedBlock**)&block->_next;

    /// <summary>Host address of the second page of a block that crosses into it; else null.</summary>
    public static byte* SecondHost(CodeBlock* block) => block->Crosses ? Second(block)->Host : null;

    /// <summary>Guest physical address of that page; else 0.</summary>
    public static ulong SecondGpa(CodeBlock* block) => block->Crosses ? Second(block)->Gpa : 0;

    /// <summary>What is known of that page; only of a block that crosses.</summary>
    public static SecondPage* Second(CodeBlock* block) => (SecondPage*)(block + 1);

    /// <summary>Where the block ends.</summary>
    public static byte* End(CodeBlock* block) =>
        (block->Mode & CodeCache.Plain) == 0 ? (byte*)(Instructions(block) + block->Count + 1) : Bytes(block) + ((block->Length + 7) & ~7);

    /// <summary>The bytes of a block of the translator; what lies behind its end may be read.</summary>
    public static byte* Bytes(CodeBlock* block) => Content(block);

    /// <summary>The first instruction of a block of the interpreter.</summary>
    public static DecodedInstruction* Instructions(CodeBlock* block) => (DecodedInstruction*)Content(block);

    private static byte* Content(CodeBlock* block) => block->Crosses ? (byte*)(Second(block) + 1) : (byte*)(block + 1);
}

/// <summary>The other page of a block that is one instruction across two.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct SecondPage
{
    /// <summary>Host address of the page.</summary>
    public byte* Host;

    /// <summary>Guest physical address of the page.</summary>
    public ulong Gpa;

    /// <summary>Next block of the same page of RAM.</summary>
    public CodeBlock* Next;
}
