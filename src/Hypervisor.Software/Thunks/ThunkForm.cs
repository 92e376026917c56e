using System.Runtime.InteropServices;

namespace Vitro.Hypervisor.Software.Thunks;

/// <summary>Register file of an operand.</summary>
internal enum OperandKind : byte
{
    None,

    /// <summary>A general register or 4 or 8 bytes of memory (by REX.W unless the form's memory size says less).</summary>
    General,
    Mmx,
    Xmm,
}

/// <summary>Facts of a vector instruction that decide its checks and the shape of its thunk.</summary>
[Flags]
internal enum ThunkTraits : long
{
    None = 0,
    ReadsReg = 1,
    WritesReg = 2,
    ReadsRm = 4,
    WritesRm = 8,

    /// <summary>Depends on MXCSR and may raise SIMD floating-point exceptions.</summary>
    FloatingPoint = 16,

    /// <summary>Sets CF, PF, AF, ZF, SF, OF.</summary>
    SetsFlags = 32,

    /// <summary>XMM0 is an operand.</summary>
    ImplicitXmm0 = 64,

    /// <summary>XMM0 is a result.</summary>
    WritesXmm0 = 128,

    /// <summary>RAX and RDX are operands (explicit string lengths).</summary>
    ExplicitLengths = 256,

    /// <summary>ECX is a result.</summary>
    WritesRcx = 512,

    /// <summary>A 16-byte memory operand must be 16-byte aligned (#GP).</summary>
    Aligned = 1024,
    MemoryOnly = 2048,
    RegisterOnly = 4096,

    /// <summary>ModRM.reg is part of the opcode.</summary>
    Group = 8192,

    /// <summary>An immediate byte is part of the operation.</summary>
    Immediate = 16384,

    /// <summary>Leaves x87 state as an MMX instruction does; pending x87 exceptions come first.</summary>
    MmxTransition = 32768,

    /// <summary>MMX state as above only when rm is a register.</summary>
    MmxTransitionRegister = 1 << 16,

    /// <summary>Needs no CR4.OSFXSR: MMX proper.</summary>
    NoSse = 1 << 17,

    /// <summary>The rm operand is stored at [RDI] under a byte mask (MASKMOVQ, MASKMOVDQU).</summary>
    MaskedStore = 1 << 18,

    /// <summary>EMMS.</summary>
    EmptyMmx = 1 << 19,

    // ---- VEX only.

    /// <summary>VEX.vvvv names a source.</summary>
    ReadsVvvv = 1 << 20,

    /// <summary>VEX.vvvv names a destination.</summary>
    WritesVvvv = 1 << 21,

    /// <summary>VEX.L must be 0.</summary>
    Only128 = 1 << 22,

    /// <summary>VEX.L must be 1.</summary>
    Only256 = 1 << 23,

    /// <summary>VEX.W must be 0.</summary>
    W0 = 1 << 24,

    /// <summary>VEX.W must be 1.</summary>
    W1 = 1 << 25,

    /// <summary>The memory operand is twice as large with VEX.L.</summary>
    Scales = 1 << 26,

    /// <summary>The immediate's upper half names a source register.</summary>
    RegisterImmediate = 1 << 27,

    /// <summary>AVX2 with VEX.L, else AVX.</summary>
    Avx2Wide = 1 << 28,

    /// <summary>AVX2.</summary>
    Avx2 = 1 << 29,

    /// <summary>Elements whose mask bit (in the register VEX.vvvv) is clear are not touched in memory.</summary>
    MaskedMove = 1 << 30,

    /// <summary>The memory operand is one element for each element of the index register.</summary>
    Gather = 1L << 31,

    /// <summary>VZEROUPPER and VZEROALL.</summary>
    ClearsUppers = 1L << 32,

    /// <summary>The memory operand is four times as large with VEX.L (VMOVDDUP).</summary>
    Quadruples = 1L << 33,
}

/// <summary>How one vector opcode is executed: its operands, their sizes and the checks it needs.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ThunkForm
{
    public ThunkTraits Traits;
    public OperandKind Reg;
    public OperandKind Rm;

    /// <summary>Bytes of the memory operand; 0 means 4 or 8 by REX.W.</summary>
    public byte MemorySize;

    public readonly bool Has(ThunkTraits traits) => (Traits & traits) != 0;
}

/// <summary>A compiled instruction, in unmanaged memory, that DecodedInstruction.Link points to.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct Thunk
{
    /// <summary>
    /// The host code: takes the address of operand reg, of operand rm (register slot or memory), of the implicit operand (XMM0 or
    /// the masked store's bytes), the state and the arithmetic flags; gives the flags, or <see cref="Faulted"/> when an unmasked SIMD exception is
    /// noted in the guest's MXCSR and nothing else has changed.
    /// </summary>
    public delegate* unmanaged[SuppressGCTransition]<byte*, byte*, byte*, VpState*, ulong, ulong> Code;

    public ThunkForm Form;

    /// <summary>Set in the result of <see cref="Code"/>.</summary>
    public const ulong Faulted = 0x8000_0000;
}
