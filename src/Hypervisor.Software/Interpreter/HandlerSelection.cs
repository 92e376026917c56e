using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Thunks;

namespace Vitro.Hypervisor.Software.Interpreter;

/// <summary>Chooses the hot switch's case for a decoded instruction.</summary>
internal static unsafe class HandlerSelection
{
    private static readonly ushort ZeroOffset = OffsetOf(0);
    private static readonly ushort FsBaseOffset = OffsetOf(4);
    private static readonly ushort GsBaseOffset = OffsetOf(5);

    /// <summary>Sets <see cref="DecodedInstruction.Handler"/>, normalising register operands where a handler expects it.</summary>
    public static void Select(DecodedInstruction* instruction, VpMode mode)
    {
        instruction->Handler = (ushort)Choose(instruction, mode);
    }

    /// <summary>Joins a comparison to a JE or JNE right behind it.</summary>
    public static void Fuse(DecodedInstruction* comparison, DecodedInstruction* branch)
    {
        if ((Handler)branch->Handler is not (Handler.Je or Handler.Jne))
        {
            return;
        }

        comparison->Handler = (ushort)((Handler)comparison->Handler switch
        {
            Handler.TestRR64 => Handler.TestRR64ThenJe,
            Handler.CmpRR64 => Handler.CmpRR64ThenJe,
            Handler.CmpRI64 => Handler.CmpRI64ThenJe,
            Handler.CmpMI64 => Handler.CmpMI64ThenJe,
            Handler.CmpRM64 => Handler.CmpRM64ThenJe,
            Handler.TestRR32 => Handler.TestRR32ThenJe,
            Handler.CmpRR32 => Handler.CmpRR32ThenJe,
            Handler.CmpRI32 => Handler.CmpRI32ThenJe,
            Handler.CmpMI32 => Handler.CmpMI32ThenJe,
            Handler.CmpRM32 => Handler.CmpRM32ThenJe,
            Handler.TestRI32 => Handler.TestRI32ThenJe,
            Handler.TestRR8 => Handler.TestRR8ThenJe,
            Handler.TestRI8 => Handler.TestRI8ThenJe,
            Handler.TestMI8 => Handler.TestMI8ThenJe,
            Handler.CmpMI8 => Handler.CmpMI8ThenJe,
            var other => other,
        });
    }

    private static Handler Choose(DecodedInstruction* instruction, VpMode mode)
    {
        var code64 = (mode & VpMode.Code64) != 0;
        if ((instruction->Prefixes & Prefixes.Lock) != 0)
        {
            return Handler.General;
        }

        var memory = instruction->IsMemory;
        if (memory && !PrepareAddress(instruction, mode, code64) && instruction->Operation != Operation.Lea)
        {
            return Handler.General;
        }

        // Displacement only from a register that is neither RIP-less nor segmented.
        var simple = memory && instruction->Index == DecodedInstruction.NoRegister && instruction->Segment < 4 && instruction->AddressSize == 8;
        var size = instruction->OperandSize;
        switch (instruction->Operation)
        {
            case Operation.Nop:
                return Handler.Nop;
            case Operation.BlockEnd:
                return Handler.BlockEnd;
            case Operation.Mov:
                return ChooseMov(instruction, memory, simple, size);
            case Operation.Movzx:
                return (instruction->SourceSize, memory, size) switch
                {
                    (_, _, 2) => Handler.General,
                    (1, false, _) => Handler.MovzxRR8,
                    (2, false, _) => Handler.MovzxRR16,
                    (1, true, _) => Handler.MovzxRM8,
                    _ => Handler.MovzxRM16,
                };
            case Operation.Movsx:
                return (instruction->SourceSize, memory, size) switch
                {
                    (4, false, 8) => Handler.MovsxdRR,
                    (4, true, 8) => Handler.MovsxdRM,
                    (1, false, 4) => Handler.MovsxRR8To32,
                    (1, true, 4) => Handler.MovsxRM8To32,
                    (1, true, 8) => Handler.MovsxRM8To64,
                    (2, true, >= 4) => Handler.MovsxRM16,
                    _ => Handler.General,
                };
            case Operation.Lea:
                if (!code64 || instruction->AddressSize != 8)
                {
                    return Handler.General;
                }

                return size switch
                {
                    8 => instruction->Index == DecodedInstruction.NoRegister ? Handler.LeaB : Handler.Lea64,
                    4 => Handler.Lea32,
                    _ => Handler.General,
                };
            case Operation.Push when code64 && size == 8 && !memory:
                return instruction->Form == OperandForm.Immediate ? Handler.PushI : Handler.PushR;
            case Operation.Pop when code64 && size == 8 && !memory:
                return Handler.PopR;
            case Operation.Call when code64:
                return Handler.CallRelative;
            case Operation.CallIndirect when code64:
                return memory ? Handler.CallMemory : Handler.CallRegister;
            case Operation.JmpIndirect when code64:
                return memory ? Handler.JmpMemory : Handler.JmpRegister;
            case Operation.Ret when code64:
                return Handler.Ret;
            case Operation.Jmp when code64 || size == 4:
                return code64 ? Handler.Jmp : Handler.General;
            case Operation.Jcc when code64:
                return Handler.Jo + (ushort)(instruction->Opcode & 15);
            case Operation.Leave when code64 && size == 8:
                return Handler.LeaveFrame;
            case Operation.Setcc when !memory:
                return Handler.SetccR;
            case Operation.Cmovcc when !memory && size >= 4:
                return size == 8 ? Handler.CmovccRR64 : Handler.CmovccRR32;
            case Operation.Inc when size >= 4:
                return memory
                    ? (size == 8 ? Handler.IncM64 : Handler.IncM32)
                    : (size == 8 ? Handler.IncR64 : Handler.IncR32);
            case Operation.Dec when size >= 4:
                return memory
                    ? (size == 8 ? Handler.DecM64 : Handler.DecM32)
                    : (size == 8 ? Handler.DecR64 : Handler.DecR32);
            case Operation.Bswap when size >= 4:
                return size == 8 ? Handler.BswapR64 : Handler.BswapR32;
            case Operation.Cbw when size == 8:
                return Handler.Cdqe;
            case Operation.Mul when !memory && size == 8:
                return Handler.MulR64;
            case Operation.Bt when !memory && size >= 4 && instruction->Form == OperandForm.RmImmediate:
                instruction->Immediate &= size == 8 ? 63u : 31u;
                return size == 8 ? Handler.BtRI64 : Handler.BtRI32;
            case Operation.Adc when size == 8:
                return ChooseCarry(instruction, memory);
            case Operation.Sbb when size >= 4 && !memory && instruction->Form != OperandForm.RmImmediate:
                Normalise(instruction);
                return size == 8 ? Handler.SbbRR64 : Handler.SbbRR32;
            case Operation.Rol or Operation.Ror:
                return ChooseRotate(instruction, memory, size);
            case Operation.Not when !memory && size >= 4:
                return size == 8 ? Handler.NotR64 : Handler.NotR32;
            case Operation.Neg when !memory && size >= 4:
                return size == 8 ? Handler.NegR64 : Handler.NegR32;
            case Operation.Shl or Operation.Sal or Operation.Shr or Operation.Sar:
                return ChooseShift(instruction, memory, size);
            case Operation.Imul when !memory && size == 8 && instruction->Form == OperandForm.RegRmImmediate:
                return Handler.ImulRI64;
            case Operation.Imul when !memory && size >= 4 && instruction->Form == OperandForm.RegRm:
                return size == 8 ? Handler.ImulRR64 : Handler.ImulRR32;
            case Operation.Add:
                return ChooseArithmetic(instruction, Handler.AddRR64, memory, size);
            case Operation.Or:
                return ChooseArithmetic(instruction, Handler.OrRR64, memory, size);
            case Operation.And:
                return ChooseArithmetic(instruction, Handler.AndRR64, memory, size);
            case Operation.Sub:
                return ChooseArithmetic(instruction, Handler.SubRR64, memory, size);
            case Operation.Xor:
                if (!memory && size >= 4 && instruction->Form != OperandForm.RmImmediate && instruction->Reg == instruction->Rm)
                {
                    return Handler.ZeroR;
                }

                return ChooseArithmetic(instruction, Handler.XorRR64, memory, size);
            case Operation.Cmp:
                return size == 1 ? ChooseCompareByte(instruction, memory) : ChooseArithmetic(instruction, Handler.CmpRR64, memory, size);
            case Operation.Test:
                return ChooseTest(instruction, memory, size);
            case Operation.Vector when ThunkTable.IsSimple(instruction):
                return memory ? Handler.VectorMemory : Handler.VectorRegister;
            default:
                return Handler.General;
        }
    }

    // Flat addresses only; false sends the instruction to the general switch.
    private static bool PrepareAddress(DecodedInstruction* instruction, VpMode mode, bool code64)
    {
        instruction->SegmentBaseOffset = ZeroOffset;
        if (code64)
        {
            if (instruction->Segment >= 4)
            {
                instruction->SegmentBaseOffset = instruction->Segment == 4 ? FsBaseOffset : GsBaseOffset;
            }

            return true;
        }

        return (mode & VpMode.FlatSegments) != 0 && instruction->Segment < 4;
    }

    private static Handler ChooseMov(DecodedInstruction* instruction, bool memory, bool simple, int size)
    {
        if (instruction->Form == OperandForm.RmImmediate)
        {
            if (!memory)
            {
                if (size < 4)
                {
                    return Handler.General;
                }

                if (size == 4)
                {
                    instruction->Immediate = (uint)instruction->Immediate;
                }

                return Handler.MovRI;
            }

            return size switch
            {
                8 => Handler.MovMI64,
                4 => Handler.MovMI32,
                2 => Handler.MovMI16,
                _ => Handler.MovMI8,
            };
        }

        if (!memory)
        {
            Normalise(instruction);
            return size switch
            {
                8 => Handler.MovRR64,
                4 => Handler.MovRR32,
                1 => Handler.MovRR8,
                _ => Handler.General,
            };
        }

        if (instruction->Form == OperandForm.RegRm)
        {
            return size switch
            {
                8 => simple ? Handler.MovRM64B : Handler.MovRM64,
                4 => simple ? Handler.MovRM32B : Handler.MovRM32,
                1 => Handler.MovRM8,
                _ => Handler.MovRM16,
            };
        }

        return size switch
        {
            8 => simple ? Handler.MovMR64B : Handler.MovMR64,
            4 => simple ? Handler.MovMR32B : Handler.MovMR32,
            1 => Handler.MovMR8,
            _ => Handler.MovMR16,
        };
    }

    // Register to register: the destination in Rm.
    private static void Normalise(DecodedInstruction* instruction)
    {
        if (instruction->Form == OperandForm.RegRm)
        {
            (instruction->Reg, instruction->Rm) = (instruction->Rm, instruction->Reg);
            (instruction->RegOffset, instruction->RmOffset) = (instruction->RmOffset, instruction->RegOffset);
            instruction->Form = OperandForm.RmReg;
        }
    }

    private static Handler ChooseArithmetic(DecodedInstruction* instruction, Handler first, bool memory, int size)
    {
        if (size < 4)
        {
            return ChooseNarrow(instruction, memory, size);
        }

        var narrow = size == 4 ? 1 : 0;
        int form;
        if (instruction->Form == OperandForm.RmImmediate)
        {
            form = memory ? 8 : 2;
        }
        else if (!memory)
        {
            Normalise(instruction);
            form = 0;
        }
        else
        {
            form = instruction->Form == OperandForm.RegRm ? 4 : 6;
        }

        return first + (ushort)(form + narrow);
    }

    private static Handler ChooseNarrow(DecodedInstruction* instruction, bool memory, int size)
    {
        var immediate = instruction->Form == OperandForm.RmImmediate;
        switch (instruction->Operation)
        {
            case Operation.Cmp when size == 2 && immediate:
                return memory ? Handler.CmpMI16 : Handler.CmpRI16;
            case Operation.Cmp when size == 2 && !memory:
                Normalise(instruction);
                return Handler.CmpRR16;
            case Operation.Or when size == 1 && !memory && !immediate:
                Normalise(instruction);
                return Handler.OrRR8;
            case Operation.And when size == 1 && !memory && immediate:
                return Handler.AndRI8;
            case Operation.Xor when size == 1 && memory && instruction->Form == OperandForm.RegRm:
                return Handler.XorRM8;
            default:
                return Handler.General;
        }
    }

    private static Handler ChooseCarry(DecodedInstruction* instruction, bool memory)
    {
        if (memory)
        {
            return instruction->Form == OperandForm.RegRm ? Handler.AdcRM64 : Handler.General;
        }

        if (instruction->Form == OperandForm.RmImmediate)
        {
            return Handler.AdcRI64;
        }

        Normalise(instruction);
        return Handler.AdcRR64;
    }

    private static Handler ChooseRotate(DecodedInstruction* instruction, bool memory, int size)
    {
        var count = instruction->Immediate & (size == 8 ? 63u : 31u);
        if (memory || size < 4 || instruction->Form != OperandForm.RmImmediate || count == 0)
        {
            return Handler.General;
        }

        instruction->Immediate = count;
        return instruction->Operation == Operation.Rol
            ? (size == 8 ? Handler.RolRI64 : Handler.RolRI32)
            : (size == 8 ? Handler.RorRI64 : Handler.RorRI32);
    }

    private static Handler ChooseCompareByte(DecodedInstruction* instruction, bool memory)
    {
        if (instruction->Form == OperandForm.RmImmediate)
        {
            return memory ? Handler.CmpMI8 : Handler.CmpRI8;
        }

        if (!memory)
        {
            Normalise(instruction);
            return Handler.CmpRR8;
        }

        return instruction->Form == OperandForm.RegRm ? Handler.CmpRM8 : Handler.CmpMR8;
    }

    private static Handler ChooseTest(DecodedInstruction* instruction, bool memory, int size)
    {
        var immediate = instruction->Form == OperandForm.RmImmediate;
        return (size, immediate, memory) switch
        {
            (8, false, false) => Handler.TestRR64,
            (4, false, false) => Handler.TestRR32,
            (1, false, false) => Handler.TestRR8,
            (8, true, false) => Handler.TestRI64,
            (4, true, false) => Handler.TestRI32,
            (1, true, false) => Handler.TestRI8,
            (8, false, true) => Handler.TestMR64,
            (4, false, true) => Handler.TestMR32,
            (8, true, true) => Handler.TestMI64,
            (4, true, true) => Handler.TestMI32,
            (1, true, true) => Handler.TestMI8,
            _ => Handler.General,
        };
    }

    private static Handler ChooseShift(DecodedInstruction* instruction, bool memory, int size)
    {
        if (!memory && size >= 4 && instruction->Form == OperandForm.RmCl && instruction->Operation != Operation.Sar)
        {
            return instruction->Operation == Operation.Shr
                ? (size == 8 ? Handler.ShrRC64 : Handler.ShrRC32)
                : (size == 8 ? Handler.ShlRC64 : Handler.ShlRC32);
        }

        var count = instruction->Immediate & (size == 8 ? 63u : 31u);
        if (memory || size < 4 || instruction->Form != OperandForm.RmImmediate || count == 0)
        {
            return Handler.General;
        }

        instruction->Immediate = count;
        return (instruction->Operation, size) switch
        {
            (Operation.Shr, 8) => Handler.ShrRI64,
            (Operation.Shr, 4) => Handler.ShrRI32,
            (Operation.Sar, 8) => Handler.SarRI64,
            (Operation.Sar, 4) => Handler.SarRI32,
            (_, 8) => Handler.ShlRI64,
            _ => Handler.ShlRI32,
        };
    }

    // Where VpState holds a segment's base; for segments without one, its constant zero.
    private static ushort OffsetOf(int segment)
    {
        VpState state = default;
        var field = segment switch
        {
            4 => &state.Fs.Base,
            5 => &state.Gs.Base,
            _ => &state.Zero,
        };
        return (ushort)((byte*)field - (byte*)&state);
    }
}
