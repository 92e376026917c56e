namespace Vitro.Hypervisor.Software.Decoding;

/// <content>Opcodes that ModRM, prefixes or the mode complete.</content>
internal static unsafe partial class Decoder
{
    private static bool ApplyGroup(
        OpcodeGroup group, ref Reader reader, DecodedInstruction* instruction, ref ImmediateKind immediate, ref bool lockable)
    {
        var extension = instruction->Extension;
        var memory = instruction->IsMemory;
        var prefix = instruction->MandatoryPrefix;
        switch (group)
        {
            case OpcodeGroup.Arithmetic:
                instruction->Operation = Operation.Add + (ushort)extension;
                lockable = extension != 7;
                return true;
            case OpcodeGroup.Pop:
                return extension == 0;
            case OpcodeGroup.Shift:
                instruction->Operation = Operation.Rol + (ushort)extension;
                if (immediate == ImmediateKind.None && instruction->Form == OperandForm.RmImmediate)
                {
                    instruction->Immediate = 1;
                }

                return true;
            case OpcodeGroup.Unary:
                if (extension < 2)
                {
                    instruction->Operation = Operation.Test;
                    instruction->Form = OperandForm.RmImmediate;
                    immediate = instruction->OperandSize == 1 ? ImmediateKind.SignedByte : ImmediateKind.Z;
                    return true;
                }

                instruction->Operation = UnaryOperations[extension];
                lockable = extension < 4;
                return true;
            case OpcodeGroup.IncDec:
                instruction->Operation = extension == 0 ? Operation.Inc : Operation.Dec;
                lockable = true;
                return extension < 2;
            case OpcodeGroup.Indirect:
                return ApplyIndirect(ref reader, instruction, extension, memory, ref lockable);
            case OpcodeGroup.MovImmediate:
                return extension == 0;
            case OpcodeGroup.Descriptors:
                instruction->Operation = DescriptorOperations[extension];
                return extension < 6;
            case OpcodeGroup.System:
                return ApplySystem(ref reader, instruction, memory);
            case OpcodeGroup.BitTest:
                instruction->Operation = Operation.Bt + (ushort)(extension & 3);
                lockable = extension > 4;
                return extension >= 4;
            case OpcodeGroup.CompareExchangeWide:
                return ApplyWide(ref reader, instruction, extension, memory, prefix, ref lockable);
            case OpcodeGroup.State:
                return ApplyState(ref reader, instruction, extension, memory, prefix);
            case OpcodeGroup.BitScan:
                if (prefix == 0xF3)
                {
                    instruction->Operation = instruction->Operation == Operation.Bsf ? Operation.Tzcnt : Operation.Lzcnt;
                }
                else
                {
                    instruction->Operation = instruction->Opcode == 0xBC ? Operation.Bsf : Operation.Bsr;
                }

                return true;
            case OpcodeGroup.Popcnt:
                instruction->Operation = Operation.Popcnt;
                return prefix == 0xF3;
            default:
                return ApplyMap38(ref reader, instruction, memory);
        }
    }

    private static ReadOnlySpan<Operation> UnaryOperations =>
    [
        Operation.Test, Operation.Test, Operation.Not, Operation.Neg, Operation.Mul, Operation.ImulWide, Operation.Div, Operation.Idiv,
    ];

    private static ReadOnlySpan<Operation> DescriptorOperations =>
    [
        Operation.Sldt, Operation.Str, Operation.Lldt, Operation.Ltr, Operation.Verr, Operation.Verw, Operation.Invalid, Operation.Invalid,
    ];

    private static ReadOnlySpan<Operation> SystemMemoryOperations =>
    [
        Operation.Sgdt, Operation.Sidt, Operation.Lgdt, Operation.Lidt, Operation.Smsw, Operation.Invalid, Operation.Lmsw, Operation.Invlpg,
    ];

    private static ReadOnlySpan<Operation> StateOperations =>
    [
        Operation.Fxsave, Operation.Fxrstor, Operation.Ldmxcsr, Operation.Stmxcsr, Operation.Xsave, Operation.Xrstor, Operation.Xsaveopt,
        Operation.Clflush,
    ];

    private static ReadOnlySpan<Operation> BaseOperations =>
        [Operation.Rdfsbase, Operation.Rdgsbase, Operation.Wrfsbase, Operation.Wrgsbase];

    private static bool ApplyIndirect(ref Reader reader, DecodedInstruction* instruction, int extension, bool memory, ref bool lockable)
    {
        switch (extension)
        {
            case 0 or 1:
                instruction->Operation = extension == 0 ? Operation.Inc : Operation.Dec;
                lockable = true;
                return true;
            case 2 or 4:
                instruction->Operation = extension == 2 ? Operation.CallIndirect : Operation.JmpIndirect;
                if (reader.Code64)
                {
                    SetSize(instruction, 8);
                }

                return true;
            case 3 or 5:
                instruction->Operation = extension == 3 ? Operation.CallFarIndirect : Operation.JmpFarIndirect;
                return memory;
            case 6:
                instruction->Operation = Operation.Push;
                if (reader.Code64 && instruction->OperandSize == 4)
                {
                    SetSize(instruction, 8);
                }

                return true;
            default:
                return false;
        }
    }

    private static void SetSize(DecodedInstruction* instruction, int size)
    {
        instruction->OperandSize = (byte)size;
        instruction->SourceSize = (byte)size;
    }

    private static bool ApplySystem(ref Reader reader, DecodedInstruction* instruction, bool memory)
    {
        if (memory || instruction->Extension is 4 or 6)
        {
            instruction->Operation = SystemMemoryOperations[instruction->Extension];
            return instruction->Operation != Operation.Invalid;
        }

        var operation = instruction->ModRm switch
        {
            0xC1 => Operation.Vmcall,
            0xC8 => Operation.Monitor,
            0xC9 => Operation.Mwait,
            0xCA => Operation.Clac,
            0xCB => Operation.Stac,
            0xD0 => Operation.Xgetbv,
            0xD1 => Operation.Xsetbv,
            0xD9 => Operation.Vmmcall,
            0xF8 when reader.Code64 => Operation.Swapgs,
            0xF9 => Operation.Rdtscp,
            _ => Operation.Invalid,
        };
        instruction->Form = OperandForm.None;
        instruction->Operation = operation;
        return operation != Operation.Invalid
            && (instruction->MandatoryPrefix == 0 || operation is Operation.Swapgs or Operation.Rdtscp or Operation.Vmmcall);
    }

    private static bool ApplyWide(
        ref Reader reader, DecodedInstruction* instruction, int extension, bool memory, int prefix, ref bool lockable)
    {
        if (memory)
        {
            var wide = (reader.Prefixes & Prefixes.RexW) != 0;
            switch (extension)
            {
                case 1:
                    instruction->Operation = wide ? Operation.Cmpxchg16b : Operation.Cmpxchg8b;
                    lockable = true;
                    return true;
                case 3 or 4 or 5 when prefix == 0:
                    instruction->Operation = extension == 3 ? Operation.Xrstors : extension == 4 ? Operation.Xsavec : Operation.Xsaves;
                    return true;
                default:
                    return false;
            }
        }

        switch (extension)
        {
            case 6 or 7 when prefix is 0 or 0x66:
                instruction->Operation = extension == 6 ? Operation.Rdrand : Operation.Rdseed;
                return true;
            case 7 when prefix == 0xF3:
                instruction->Operation = Operation.Rdpid;
                SetSize(instruction, reader.Code64 ? 8 : 4);
                return true;
            default:
                return false;
        }
    }

    private static bool ApplyState(ref Reader reader, DecodedInstruction* instruction, int extension, bool memory, int prefix)
    {
        if (memory)
        {
            switch (prefix)
            {
                case 0:
                    instruction->Operation = StateOperations[extension];
                    return true;
                case 0x66 when extension >= 6:
                    instruction->Operation = extension == 6 ? Operation.Clwb : Operation.Clflushopt;
                    return true;
                default:
                    return false;
            }
        }

        if (prefix == 0xF3 && extension < 4 && reader.Code64)
        {
            instruction->Operation = BaseOperations[extension];
            SetSize(instruction, (reader.Prefixes & Prefixes.RexW) != 0 ? 8 : 4);
            return true;
        }

        instruction->Operation = Operation.Fence;
        instruction->Form = OperandForm.None;
        return prefix == 0 && extension >= 5;
    }

    private static OpcodeEntry Map38(int opcode, int prefix)
    {
        switch (opcode)
        {
            case 0x82 when prefix == 0x66:
                return E(Operation.Invpcid, OperandForm.RegRm, OpcodeTraits.ModRm | OpcodeTraits.MemoryOnly | OpcodeTraits.Force64);
            case 0xF0 or 0xF1 or 0xF6:
                return E(Operation.Invalid, OperandForm.RegRm, OpcodeTraits.ModRm, ImmediateKind.None, OpcodeGroup.Map38Integer);
            case >= 0x80 and <= 0x8F or 0xF5 or 0xF8 or 0xF9 or 0xFA or 0xFB or 0xFC:
                return E(Operation.Invalid, OperandForm.RegRm, OpcodeTraits.ModRm);
            default:
                return E(Operation.Vector, OperandForm.RegRm, OpcodeTraits.ModRm);
        }
    }

    private static bool ApplyMap38(ref Reader reader, DecodedInstruction* instruction, bool memory)
    {
        var prefix = instruction->MandatoryPrefix;
        if (instruction->Opcode == 0xF6)
        {
            instruction->Operation = prefix == 0x66 ? Operation.Adcx : Operation.Adox;
            SetSize(instruction, (reader.Prefixes & Prefixes.RexW) != 0 ? 8 : 4);
            return prefix is 0x66 or 0xF3;
        }

        if (prefix == 0xF2)
        {
            instruction->Operation = Operation.Crc32;
            instruction->SourceSize = instruction->Opcode == 0xF0 ? (byte)1 : instruction->OperandSize;
            instruction->OperandSize = (byte)((reader.Prefixes & Prefixes.RexW) != 0 ? 8 : 4);
            return true;
        }

        instruction->Operation = Operation.Movbe;
        instruction->Form = instruction->Opcode == 0xF0 ? OperandForm.RegRm : OperandForm.RmReg;
        return memory && prefix is 0 or 0x66;
    }

    // What is left to say of opcodes outside the groups.
    private static bool Adjust(ref Reader reader, DecodedInstruction* instruction)
    {
        switch (instruction->Operation)
        {
            case Operation.Arpl when reader.Code64:
                instruction->Operation = Operation.Movsx;
                instruction->Form = OperandForm.RegRm;
                instruction->SourceSize = (byte)(instruction->OperandSize == 2 ? 2 : 4);
                return true;
            case Operation.Xchg when instruction->Form == OperandForm.Rm:
                if (instruction->Rm == 0)
                {
                    instruction->Operation = (reader.Prefixes & Prefixes.Rep) != 0 ? Operation.Pause : Operation.Nop;
                    instruction->Form = OperandForm.None;
                    return true;
                }

                instruction->Form = OperandForm.RmReg;
                return true;
            case Operation.Push when instruction->Form == OperandForm.Immediate:
                return true;
            case Operation.PushSegment or Operation.PopSegment:
                instruction->Reg = (byte)(instruction->Map == 1 ? (instruction->Opcode >= 0xA8 ? 5 : 4) : (instruction->Opcode >> 3) & 3);
                return true;
            case Operation.MovFromSegment or Operation.MovToSegment:
                instruction->Reg &= 7;
                return instruction->Reg < 6 && !(instruction->Operation == Operation.MovToSegment && instruction->Reg == 1);
            case Operation.LoadFarPointer:
                instruction->Immediate2 = instruction->Map == 0
                    ? (instruction->Opcode == 0xC4 ? (ushort)0 : (ushort)3)
                    : instruction->Opcode == 0xB2 ? (ushort)2 : (ushort)(instruction->Opcode - 0xB0);
                return true;
            case Operation.MovFromControl or Operation.MovToControl:
                return instruction->Reg is 0 or 2 or 3 or 4 or 8;
            case Operation.MovFromDebug or Operation.MovToDebug:
                return instruction->Reg < 8;
            case Operation.Mov when instruction->Map == 1:
                // MOVNTI, never of 16 bits.
                SetSize(instruction, (reader.Prefixes & Prefixes.RexW) != 0 ? 8 : 4);
                return instruction->MandatoryPrefix == 0;
            case Operation.Invpcid:
                SetSize(instruction, reader.Code64 ? 8 : 4);
                return true;
            case Operation.Movs or Operation.Cmps or Operation.Stos or Operation.Lods or Operation.Scas or Operation.Ins or Operation.Outs
                or Operation.Xlat:
                if (reader.Segment != 255)
                {
                    instruction->Segment = reader.Segment;
                }

                return true;
            case Operation.Vector when instruction->Map == 1 && instruction->Opcode == 0xF7 && reader.Segment != 255:
                // MASKMOVQ and MASKMOVDQU store at [DI] of this segment.
                instruction->Segment = reader.Segment;
                return true;
            default:
                return true;
        }
    }
}
