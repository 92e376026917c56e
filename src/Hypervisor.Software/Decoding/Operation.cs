namespace Vitro.Hypervisor.Software.Decoding;

/// <summary>What an instruction does. Three ranges: integer, system (from <see cref="FirstSystem"/>), vector and x87 (from <see cref="FirstVector"/>).</summary>
internal enum Operation : ushort
{
    /// <summary>Raises #UD.</summary>
    Invalid,

    // The eight of opcode bits 5:3.
    Add,
    Or,
    Adc,
    Sbb,
    And,
    Sub,
    Xor,
    Cmp,

    Test,
    Mov,
    Movzx,
    Movsx,
    Lea,
    Push,
    Pop,
    PushAll,
    PopAll,
    Xchg,
    Inc,
    Dec,
    Not,
    Neg,
    Mul,

    /// <summary>One-operand IMUL.</summary>
    ImulWide,
    Imul,
    Div,
    Idiv,

    // The eight of the shift group's extension.
    Rol,
    Ror,
    Rcl,
    Rcr,
    Shl,
    Shr,
    Sal,
    Sar,

    Shld,
    Shrd,
    Bt,
    Bts,
    Btr,
    Btc,
    Bsf,
    Bsr,
    Lzcnt,
    Tzcnt,
    Popcnt,
    Bswap,
    Cmpxchg,
    Xadd,
    Cmpxchg8b,
    Cmpxchg16b,
    Movbe,
    Crc32,
    Adcx,
    Adox,
    Andn,
    Bextr,
    Blsr,
    Blsmsk,
    Blsi,
    Bzhi,
    Mulx,
    Pdep,
    Pext,
    Rorx,
    Sarx,
    Shlx,
    Shrx,

    // Condition in the opcode's low four bits.
    Setcc,
    Cmovcc,
    Jcc,

    Jmp,
    JmpIndirect,
    Call,
    CallIndirect,
    Ret,
    Loop,
    Loope,
    Loopne,
    Jrcxz,
    Enter,
    Leave,
    Xlat,

    /// <summary>CBW, CWDE, CDQE.</summary>
    Cbw,

    /// <summary>CWD, CDQ, CQO.</summary>
    Cwd,
    Lahf,
    Sahf,
    Cmc,
    Clc,
    Stc,
    Cld,
    Std,
    Nop,
    Pause,

    /// <summary>LFENCE, MFENCE, SFENCE.</summary>
    Fence,
    Rdrand,
    Rdseed,
    Movs,
    Cmps,
    Stos,
    Lods,
    Scas,
    Daa,
    Das,
    Aaa,
    Aas,
    Aam,
    Aad,
    Salc,

    /// <summary>Ends a block that has no branch; an instruction of no bytes.</summary>
    BlockEnd,

    // ---- System instructions: SoftwareVirtualProcessor.ExecuteSystem.
    FirstSystem,
    Pushf = FirstSystem,
    Popf,
    Cli,
    Sti,
    Hlt,

    /// <summary>Port in <see cref="DecodedInstruction.Immediate"/> with form Immediate, else in DX.</summary>
    In,
    Out,
    Ins,
    Outs,

    /// <summary>Vector in <see cref="DecodedInstruction.Immediate"/>.</summary>
    Int,
    Int3,
    Into,
    Int1,
    Bound,
    Iret,

    /// <summary>Offset in Immediate, selector in Immediate2.</summary>
    CallFar,
    CallFarIndirect,
    JmpFar,
    JmpFarIndirect,

    /// <summary>Bytes to release in Immediate.</summary>
    RetFar,
    Syscall,
    Sysret,
    Sysenter,
    Sysexit,
    Swapgs,

    /// <summary>MOV rm, Sreg: segment number in Reg.</summary>
    MovFromSegment,
    MovToSegment,

    /// <summary>Segment number in Reg.</summary>
    PushSegment,
    PopSegment,

    /// <summary>LES, LDS, LSS, LFS, LGS: segment number in Immediate2, register in Reg, pointer in memory.</summary>
    LoadFarPointer,

    /// <summary>Control register number in Reg (with REX.R, or LOCK in the AMD way for CR8), general register in Rm.</summary>
    MovFromControl,
    MovToControl,
    MovFromDebug,
    MovToDebug,
    Lmsw,
    Smsw,
    Clts,
    Lgdt,
    Lidt,
    Sgdt,
    Sidt,
    Lldt,
    Ltr,
    Sldt,
    Str,
    Lar,
    Lsl,
    Verr,
    Verw,
    Arpl,
    Invlpg,
    Invpcid,
    Invd,
    Wbinvd,
    Rdmsr,
    Wrmsr,
    Rdtsc,
    Rdtscp,
    Rdpmc,
    Rdpid,
    Cpuid,
    Xgetbv,
    Xsetbv,
    Rdfsbase,
    Rdgsbase,
    Wrfsbase,
    Wrgsbase,
    Monitor,
    Mwait,
    Vmcall,
    Vmmcall,
    Stac,
    Clac,
    Rsm,

    // ---- Vector and x87 instructions: SoftwareVirtualProcessor.ExecuteVector.
    FirstVector,

    /// <summary>Opcodes D8 to DF.</summary>
    X87 = FirstVector,
    Fwait,

    /// <summary>MMX, SSE, AVX and the like: told apart by Map, Opcode, MandatoryPrefix, Prefixes.Vex. Unknown ones are #UD.</summary>
    Vector,
    Fxsave,
    Fxrstor,
    Ldmxcsr,
    Stmxcsr,
    Xsave,
    Xsaveopt,
    Xsavec,
    Xsaves,
    Xrstor,
    Xrstors,
    Clflush,
    Clflushopt,
    Clwb,
}
