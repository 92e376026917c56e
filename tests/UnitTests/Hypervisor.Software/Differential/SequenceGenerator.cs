using Iced.Intel;
using Vitro.Hypervisor.Software;
using Vitro.Hypervisor.Software.Decoding;
using Decoder = Vitro.Hypervisor.Software.Decoding.Decoder;

namespace Vitro.UnitTests.Hypervisor.Software.Differential;

/// <summary>
/// Sequences of two to eight instructions, with short forward branches, that address memory by RBX only: what one leaves for
/// the next to read (lazy flags above all) is compared too.
/// </summary>
internal sealed unsafe class SequenceGenerator(int seed)
{
    private const int WindowBase = 3; // RBX
    private readonly Random _random = new(seed);
    private readonly InstructionInfoFactory _information = new();
    private readonly SequenceFlags _flags = new();
    private readonly byte[] _code = new byte[128];
    private readonly byte[] _piece = new byte[15];

    /// <summary>The next sequence; valid until the next call.</summary>
    internal ReadOnlySpan<byte> Next()
    {
        _flags.Reset();
        var length = 0;
        var branch = -1;
        for (var wanted = _random.Next(2, 9); wanted > 0 && length < 100;)
        {
            if (branch < 0 && _random.Next(6) == 0 && TryAddBranch(length))
            {
                branch = length + 1;
                length += 2;
                continue;
            }

            var size = Piece(afterBranch: branch >= 0);
            if (size == 0)
            {
                continue;
            }

            _piece.AsSpan(0, size).CopyTo(_code.AsSpan(length));
            length += size;
            wanted--;
            if (branch >= 0)
            {
                _code[branch] = (byte)size;
                branch = -1;
            }
        }

        return _code.AsSpan(0, length);
    }

    private bool TryAddBranch(int at)
    {
        _code[at] = (byte)(0x70 | _random.Next(16));
        _code[at + 1] = 0;
        return _flags.TryAdd(Disassemble(_code.AsSpan(at, 2).ToArray()));
    }

    // An instruction that may follow, or 0.
    private int Piece(bool afterBranch)
    {
        CodeGenerator.Generate(_random, Slot(), _piece);
        DecodedInstruction decoded;
        fixed (byte* code = _piece)
        {
            if (Decoder.Decode(code, 15, VpMode.Code64 | VpMode.LongMode | VpMode.Protected | VpMode.Paging, 0, &decoded) != DecodeStatus.Decoded)
            {
                return 0;
            }
        }

        if (!IsUsable(&decoded))
        {
            return 0;
        }

        var instruction = Disassemble(_piece);
        if (instruction.IsInvalid || instruction.Length != decoded.Length || !DifferentialRunner.IsOffered(instruction)
            || WritesReserved(instruction, decoded.Operation))
        {
            return 0;
        }

        // What a branch jumps over must not decide which flags are defined.
        if (afterBranch && instruction.RflagsModified != RflagsBits.None)
        {
            return 0;
        }

        return _flags.TryAdd(instruction) ? decoded.Length : 0;
    }

    private int Slot() => _random.Next(10) switch
    {
        < 6 => _random.Next(256),
        < 8 => 256 + _random.Next(256),
        8 => 512 + _random.Next(512),
        _ => 0x80 + _random.Next(4),
    };

    private static bool IsUsable(DecodedInstruction* i)
    {
        if (!DifferentialRunner.IsComparable(i))
        {
            return false;
        }

        switch (i->Operation)
        {
            case Operation.Movs or Operation.Cmps or Operation.Stos or Operation.Lods or Operation.Scas or Operation.Xlat or Operation.Enter
                or Operation.Leave or Operation.Div or Operation.Idiv or Operation.Std or Operation.Cld or Operation.Cmpxchg8b
                or Operation.Cmpxchg16b or Operation.Bsf or Operation.Bsr:
                return false;
            case Operation.Shld or Operation.Shrd when i->OperandSize == 2:
                return false;
            case Operation.X87 when i->IsMemory && i->Opcode is 0xD9 or 0xDD:
                // A control word that was loaded may unmask what the host must not raise.
                return false;
            case Operation.Vector when i->Map == 1 && i->Opcode == 0xF7:
                return false;
            case Operation.Bt or Operation.Bts or Operation.Btr or Operation.Btc when i->IsMemory && i->Form == OperandForm.RmReg:
                return false;
            case Operation.Nop or Operation.Lea:
                return true;
            default:
                return !i->IsMemory || (i->Base == WindowBase && i->Index >= 16 && i->AddressSize == 8 && (i->Displacement & 15) == 0
                    && i->Displacement is >= -64 and <= 64);
        }
    }

    // RBX and RSP stay what they are, but for pushes and pops.
    private bool WritesReserved(in Instruction instruction, Operation operation)
    {
        foreach (var used in _information.GetInfo(instruction).GetUsedRegisters())
        {
            if (used.Access is OpAccess.Read or OpAccess.CondRead or OpAccess.NoMemAccess or OpAccess.None)
            {
                continue;
            }

            var full = used.Register.GetFullRegister();
            if (full == Register.RBX || (full == Register.RSP && (operation is not (Operation.Push or Operation.Pop) || PopsIntoStackPointer(instruction))))
            {
                return true;
            }
        }

        return false;
    }

    private static bool PopsIntoStackPointer(in Instruction instruction) =>
        instruction.Op0Kind == OpKind.Register && instruction.Op0Register.GetFullRegister() == Register.RSP;

    private static Instruction Disassemble(byte[] code)
    {
        var decoder = Iced.Intel.Decoder.Create(64, new ByteArrayCodeReader(code));
        return decoder.Decode();
    }
}
