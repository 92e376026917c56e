using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Thunks;

namespace Vitro.UnitTests.Hypervisor.Software.Differential;

/// <summary>The initial registers and memory of a case, a pure function of its bytes and seed.</summary>
internal sealed unsafe class CaseState(DifferentialMachine machine)
{
    private const ulong ArithmeticFlags = 0x8D5;
    private const ulong DirectionFlag = 0x400;
    private const long FarthestOperand = 128;

    private static readonly uint[] FloatPatterns =
    [
        0, 0x80000000, 0x3F800000, 0xBF800000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001, 0x00000001, 0x007FFFFF, 0x7F7FFFFF, 0x40490FDB,
        0x4F000000, 0xCF000000, 0x3FF00000, 0x7FF00000, 0x43E00000, 0x41E00000, 0xFFFFFFFF, 0x7FF80000,
    ];

    private Random _random = new(0);

    /// <summary>Fills registers and memory; false when the instruction cannot be run on the host with any.</summary>
    internal bool TryFill(DecodedInstruction* instruction, int seed, RegisterFile* file)
    {
        Fill(seed, file);
        Constrain(instruction, file);
        return !instruction->IsMemory || instruction->Operation is Operation.Lea or Operation.Nop || TryAim(instruction, file);
    }

    /// <summary>Fills registers and memory for a sequence: RBX is the middle of the window.</summary>
    internal void FillForSequence(int seed, RegisterFile* file)
    {
        Fill(seed, file);
        file->Gpr[3] = machine.Window;
    }

    private void Fill(int seed, RegisterFile* file)
    {
        _random = new Random(seed);
        FillMemory(machine.Window);
        FillMemory(machine.Stack);
        FillVectors(file);
        FillX87(file);
        for (var i = 0; i < 16; i++)
        {
            file->Gpr[i] = Value();
        }

        file->Gpr[4] = machine.Stack + (ulong)(8 * _random.Next(-8, 8));
        file->Flags = 2 | ((ulong)_random.NextInt64() & ArithmeticFlags);
    }

    private void FillMemory(ulong middle)
    {
        var words = (uint*)(middle - (DifferentialMachine.WindowSize / 2));
        for (var i = 0; i < DifferentialMachine.WindowSize / 4; i++)
        {
            words[i] = Lane();
        }
    }

    private void FillVectors(RegisterFile* file)
    {
        for (var i = 0; i < 64; i++)
        {
            ((uint*)(file->Fx + 160))[i] = Lane();
        }

        var hasUppers = _random.Next(4) != 0;
        for (var i = 0; i < 64; i++)
        {
            ((uint*)file->Uppers)[i] = hasUppers ? Lane() : 0;
        }

        // All exceptions masked; rounding, flush and denormal modes vary.
        *(uint*)(file->Fx + 24) = 0x1F80 | ((uint)_random.Next(8) << 13) | ((uint)_random.Next(2) << 6) | (uint)_random.Next(64);
    }

    private void FillX87(RegisterFile* file)
    {
        *(ushort*)file->Fx = (ushort)(0x7F | (_random.Next(4) << 10) | ((_random.Next(4) is var p && p == 1 ? 3 : p) << 8));
        *(ushort*)(file->Fx + 2) = (ushort)((_random.Next(0x80) | (_random.Next(0x80) << 8)) & 0x7F7F);
        file->Fx[4] = (byte)(_random.Next(3) == 0 ? _random.Next(256) : 255);
        for (var i = 0; i < 8; i++)
        {
            var slot = file->Fx + 32 + (16 * i);
            *(ulong*)slot = _random.Next(4) == 0 ? Value() : (1UL << 63) | (ulong)_random.NextInt64();
            *(ushort*)(slot + 8) = (ushort)(_random.Next(6) switch
            {
                0 => 0,
                1 => 0x7FFF,
                2 => _random.Next(0x10000),
                _ => 0x3FFF + _random.Next(-70, 70) + (_random.Next(2) << 15),
            });
        }
    }

    private uint Lane() => _random.Next(3) == 0 ? FloatPatterns[_random.Next(FloatPatterns.Length)] : (uint)_random.NextInt64();

    private ulong Value() => _random.Next(8) switch
    {
        0 => 0,
        1 => ulong.MaxValue,
        2 => 1UL << _random.Next(64),
        3 => (1UL << _random.Next(64)) - 1,
        4 => (ulong)_random.Next(256),
        5 => (ulong)(long)_random.Next(int.MinValue, int.MaxValue),
        _ => (ulong)_random.NextInt64() << _random.Next(2),
    };

    /// <summary>Registers that address memory without a ModRM operand.</summary>
    private void Constrain(DecodedInstruction* instruction, RegisterFile* file)
    {
        switch (instruction->Operation)
        {
            case Operation.Movs or Operation.Cmps or Operation.Stos or Operation.Lods or Operation.Scas:
                file->Flags |= _random.Next(2) == 0 ? DirectionFlag : 0;
                file->Gpr[6] = machine.Window + (ulong)_random.Next(-128, 128);
                file->Gpr[7] = machine.Window + (ulong)_random.Next(-128, 128);
                file->Gpr[1] = (ulong)_random.Next(12);
                break;
            case Operation.Xlat:
                file->Gpr[3] = machine.Window - 128;
                break;
            case Operation.Enter or Operation.Leave:
                file->Gpr[5] = machine.Stack + 128 + (ulong)(8 * _random.Next(0, 12));
                break;
            case Operation.Vector when instruction->Map == 1 && instruction->Opcode == 0xF7:
                file->Gpr[7] = machine.Window + (ulong)_random.Next(-128, 128);
                break;
            case Operation.Bt or Operation.Bts or Operation.Btr or Operation.Btc when instruction->IsMemory:
                file->Gpr[instruction->Reg] = (ulong)_random.Next(-512, 512);
                break;
            case Operation.Div when _random.Next(4) != 0:
                file->Gpr[2] = (ulong)_random.Next(2);
                break;
            case Operation.Idiv when _random.Next(4) != 0:
                file->Gpr[2] = (ulong)((long)file->Gpr[0] >> 63);
                break;
            case Operation.Cmpxchg8b or Operation.Cmpxchg16b when _random.Next(2) == 0:
                file->Gpr[0] = *(ulong*)machine.Window;
                break;
            default:
                break;
        }
    }

    private static bool NeedsAlignment(DecodedInstruction* instruction) => instruction->Operation switch
    {
        Operation.Cmpxchg16b => true,
        Operation.Vector when (instruction->Prefixes & Prefixes.Vex) != 0 =>
            VexTable.TryFind(instruction, out var vex) && vex.Has(ThunkTraits.Aligned),
        Operation.Vector => ThunkTable.TryFind(
            instruction->Map, instruction->Opcode, ThunkTable.PrefixOf(instruction), instruction->Extension, out var form) && form.Has(ThunkTraits.Aligned),
        _ => false,
    };

    /// <summary>Sets base and index so that the operand lies in the window.</summary>
    private bool TryAim(DecodedInstruction* instruction, RegisterFile* file)
    {
        var target = machine.Window + (ulong)_random.Next(-192, 64);
        if (NeedsAlignment(instruction) || _random.Next(2) == 0)
        {
            target &= (instruction->Prefixes & Prefixes.VexL) != 0 ? ~31UL : ~15UL;
        }

        var hasBase = instruction->Base < 16;
        var hasIndex = instruction->Index < 16;
        if (instruction->Base == DecodedInstruction.RipBase || instruction->AddressSize != 8 || instruction->Segment >= 4 || (!hasBase && !hasIndex))
        {
            return false;
        }

        // A base that is also the bit index must still lead into the window.
        if (instruction->Operation is >= Operation.Bt and <= Operation.Btc && instruction->Form == OperandForm.RmReg
            && (instruction->Reg == instruction->Base || instruction->Reg == instruction->Index))
        {
            return false;
        }

        // The stack pointer stays a good one.
        if (instruction->Base == 4 && hasIndex)
        {
            file->Gpr[instruction->Index] = (ulong)_random.Next(4);
        }

        // What is pushed or popped must lie in memory as well as the operand, which is far from the stack pointer then.
        if (instruction->Base == 4 && instruction->Operation is Operation.Push or Operation.Pop && Math.Abs(instruction->Displacement) > FarthestOperand)
        {
            return false;
        }

        var displaced = target - (ulong)instruction->Displacement;
        if (hasBase && hasIndex && instruction->Base == instruction->Index)
        {
            var factor = 1UL + (1UL << instruction->Scale);
            file->Gpr[instruction->Base] = displaced / factor;
            return displaced % factor == 0;
        }

        if (hasBase)
        {
            var index = hasIndex ? file->Gpr[instruction->Index] << instruction->Scale : 0;
            file->Gpr[instruction->Base] = displaced - index;
        }
        else
        {
            file->Gpr[instruction->Index] = displaced >> instruction->Scale;
            if ((displaced & ((1UL << instruction->Scale) - 1)) != 0)
            {
                return false;
            }
        }

        return true;
    }
}
