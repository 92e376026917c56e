namespace Vitro.Hypervisor.Software.Decoding;

/// <summary>What an opcode table says of one opcode.</summary>
internal readonly record struct OpcodeEntry(Operation Operation, OperandForm Form, OpcodeTraits Traits, ImmediateKind Immediate, OpcodeGroup Group);

/// <summary>Facts of an opcode.</summary>
[Flags]
internal enum OpcodeTraits : ushort
{
    None = 0,
    ModRm = 1,

    /// <summary>The operand is a byte.</summary>
    Byte = 2,

    /// <summary>Operand size 64 in 64-bit code unless 66 makes it 16.</summary>
    Default64 = 4,

    /// <summary>Operand size 64 in 64-bit code whatever the prefixes say.</summary>
    Force64 = 8,

    /// <summary>#UD in 64-bit code.</summary>
    Invalid64 = 16,

    /// <summary>LOCK is allowed when the destination is memory.</summary>
    Lockable = 32,

    /// <summary>The register is in the opcode's low three bits.</summary>
    OpcodeRegister = 64,

    /// <summary>rm must be memory.</summary>
    MemoryOnly = 128,

    /// <summary>The source is a byte (MOVZX, MOVSX, CRC32).</summary>
    ByteSource = 256,

    /// <summary>The source is a word.</summary>
    WordSource = 512,

    /// <summary>The source is a doubleword (MOVSXD).</summary>
    DoubleSource = 1024,

    /// <summary>rm is a register whatever mod says (MOV CR, MOV DR).</summary>
    RegisterAlways = 2048,

    /// <summary>Only in 64-bit code.</summary>
    Only64 = 4096,
}

/// <summary>The immediate that follows.</summary>
internal enum ImmediateKind : byte
{
    None,

    /// <summary>A byte, sign-extended.</summary>
    SignedByte,

    /// <summary>A byte, zero-extended.</summary>
    Byte,
    Word,

    /// <summary>16 or 32 bits by operand size, sign-extended.</summary>
    Z,

    /// <summary>16, 32 or 64 bits by operand size.</summary>
    Full,
    RelativeByte,
    RelativeZ,

    /// <summary>Far pointer.</summary>
    Far,

    /// <summary>An address by address size.</summary>
    Offset,

    /// <summary>ENTER: a word, then a byte.</summary>
    WordByte,
}

/// <summary>Opcodes whose meaning ModRM or the mandatory prefix completes.</summary>
internal enum OpcodeGroup : byte
{
    None,
    Arithmetic,
    Pop,
    Shift,
    Unary,
    IncDec,
    Indirect,
    MovImmediate,
    Descriptors,
    System,
    BitTest,
    CompareExchangeWide,
    State,
    BitScan,
    Popcnt,
    Map38Integer,
}
