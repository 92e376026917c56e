using System.Runtime.InteropServices;

namespace Vitro.Hypervisor.Software.Decoding;

/// <summary>One decoded instruction in unmanaged memory, the fields of the fast path first.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct DecodedInstruction
{
    /// <summary>Number of the specialised handler in the interpreter's hot switch; zero sends it to the general one.</summary>
    public ushort Handler;

    /// <summary>What the instruction does.</summary>
    public Operation Operation;

    /// <summary>Bytes from the block's start to the instruction's.</summary>
    public ushort Offset;

    /// <summary>Bytes, 1 to 15.</summary>
    public byte Length;

    /// <summary>Operand size in bytes: 1, 2, 4 or 8. For vector and x87 instructions the plain 16/32/64-bit operand size.</summary>
    public byte OperandSize;

    /// <summary>Register number of ModRM.reg with REX.R (or VEX.R).</summary>
    public byte Reg;

    /// <summary>Register number of ModRM.rm with REX.B when it is a register; also the register in the opcode's low bits.</summary>
    public byte Rm;

    /// <summary>Byte offset in the general registers of the operand <see cref="Reg"/>: 8 times the number, plus 1 for AH, CH, DH, BH.</summary>
    public byte RegOffset;

    /// <summary>The same for <see cref="Rm"/>.</summary>
    public byte RmOffset;

    /// <summary>Base register of the memory operand: 0 to 15, <see cref="RipBase"/> or <see cref="NoRegister"/>.</summary>
    public byte Base;

    /// <summary>Index register of the memory operand: 0 to 15 or <see cref="NoRegister"/>.</summary>
    public byte Index;

    /// <summary>Shift of the index: 0 to 3.</summary>
    public byte Scale;

    /// <summary>Segment of the memory operand, 0 to 5 (ES, CS, SS, DS, FS, GS), overrides and defaults applied.</summary>
    public byte Segment;

    /// <summary>
    /// Displacement, sign-extended. With <see cref="RipBase"/> the instruction's <see cref="Offset"/> and
    /// <see cref="Length"/> are added, so that it counts from the block's start.
    /// </summary>
    public long Displacement;

    /// <summary>Immediate, extended as the instruction says; relative branches: distance from the block's start to the target.</summary>
    public ulong Immediate;

    /// <summary>Successor block of a direct branch, or the compiled thunk of a vector instruction; kept by their owners.</summary>
    public void* Link;

    /// <summary>Second immediate (ENTER's level, far pointers' selector, EXTRQ/INSERTQ).</summary>
    public ushort Immediate2;

    /// <summary>Prefixes seen.</summary>
    public Prefixes Prefixes;

    /// <summary>Where the operands are.</summary>
    public OperandForm Form;

    /// <summary>Address size in bytes: 2, 4 or 8.</summary>
    public byte AddressSize;

    /// <summary>Opcode map: 0 one-byte, 1 0F, 2 0F38, 3 0F3A; with VEX its mmmmm.</summary>
    public byte Map;

    /// <summary>Last opcode byte.</summary>
    public byte Opcode;

    /// <summary>ModRM byte; zero when there is none.</summary>
    public byte ModRm;

    /// <summary>The mandatory prefix in force for 0F maps: 0, 66, F3 or F2.</summary>
    public byte MandatoryPrefix;

    /// <summary>Second register operand of VEX, 0 to 15.</summary>
    public byte Vvvv;

    /// <summary>Size of the source operand in bytes where it differs from <see cref="OperandSize"/> (MOVZX, MOVSX, CRC32).</summary>
    public byte SourceSize;

    /// <summary>Number of bytes from the instruction's start to the ModRM byte; zero when there is none.</summary>
    public byte ModRmOffset;

    /// <summary>Number of immediate bytes at the instruction's end.</summary>
    public byte ImmediateSize;

    /// <summary>Byte offset in VpState of the segment base to add to addresses in flat modes: FS, GS or VpState.Zero.</summary>
    public ushort SegmentBaseOffset;

    /// <summary><see cref="Base"/> of addresses relative to the instruction pointer: indexes VpState.Rip behind the registers.</summary>
    public const byte RipBase = 16;

    /// <summary>No base or index: indexes VpState.Zero behind the registers.</summary>
    public const byte NoRegister = 17;

    /// <summary>What address size leaves of an effective address.</summary>
    public readonly ulong AddressMask => ulong.MaxValue >> (64 - (8 * AddressSize));

    /// <summary>Whether the rm operand is in memory.</summary>
    public readonly bool IsMemory => (Prefixes & Prefixes.Memory) != 0;

    /// <summary>ModRM.reg without REX: the opcode extension of groups.</summary>
    public readonly int Extension => (ModRm >> 3) & 7;
}

/// <summary>Prefixes and other facts of an instruction.</summary>
[Flags]
internal enum Prefixes : ushort
{
    None = 0,
    Lock = 1,

    /// <summary>F3.</summary>
    Rep = 2,

    /// <summary>F2.</summary>
    Repne = 4,

    /// <summary>66.</summary>
    OperandSize = 8,

    /// <summary>67.</summary>
    AddressSize = 16,
    RexW = 32,

    /// <summary>A REX prefix is in force: byte registers 4 to 7 are SPL, BPL, SIL, DIL.</summary>
    Rex = 64,
    Vex = 128,
    VexL = 256,

    /// <summary>A segment override is in force.</summary>
    Segment = 512,

    /// <summary>The rm operand is in memory.</summary>
    Memory = 1024,
}

/// <summary>Which operands an instruction of the general kind has; destination first.</summary>
internal enum OperandForm : byte
{
    None,
    Rm,
    RmReg,
    RegRm,
    RmImmediate,

    /// <summary>Shifts by CL.</summary>
    RmCl,
    RegRmImmediate,
    RmRegImmediate,
    RmRegCl,
    Immediate,

    /// <summary>VEX: reg, vvvv, rm.</summary>
    RegVvvvRm,

    /// <summary>VEX: reg, rm, vvvv.</summary>
    RegRmVvvv,

    /// <summary>VEX: vvvv, rm.</summary>
    VvvvRm,
}
