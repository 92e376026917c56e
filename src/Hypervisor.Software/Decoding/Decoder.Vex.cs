namespace Vitro.Hypervisor.Software.Decoding;

/// <content>VEX-encoded instructions.</content>
internal static unsafe partial class Decoder
{
    private static ReadOnlySpan<byte> VexPrefixes => [0, 0x66, 0xF3, 0xF2];

    private static int DecodeVex(ref Reader reader, byte opcode, DecodedInstruction* instruction)
    {
        var legal = (reader.Prefixes & (Prefixes.Lock | Prefixes.Rep | Prefixes.Repne | Prefixes.OperandSize | Prefixes.Rex)) == 0;
        var first = *reader.Position++;
        var rex = (~first >> 5) & 4;
        var last = first;
        var map = 1;
        if (opcode == 0xC4)
        {
            rex = (~first >> 5) & 7;
            map = first & 31;
            last = *reader.Position++;
            if ((last & 0x80) != 0)
            {
                rex |= 8;
            }
        }

        var vvvv = (~last >> 3) & 15;
        if (!reader.Code64)
        {
            rex &= 8;
            vvvv &= 7;
        }

        reader.Rex = rex;
        reader.Prefixes = (reader.Prefixes & (Prefixes.Segment | Prefixes.AddressSize)) | Prefixes.Vex
            | ((rex & 8) != 0 ? Prefixes.RexW : 0) | ((last & 4) != 0 ? Prefixes.VexL : 0);
        instruction->Prefixes = reader.Prefixes;
        instruction->MandatoryPrefix = VexPrefixes[last & 3];
        instruction->Map = (byte)map;
        instruction->Vvvv = (byte)vvvv;
        instruction->Opcode = *reader.Position++;
        instruction->Operation = Operation.Vector;
        instruction->Form = OperandForm.RegVvvvRm;
        SetSize(instruction, (rex & 8) != 0 && reader.Code64 ? 8 : 4);
        if (map is < 1 or > 3)
        {
            legal = false;
        }

        var immediate = ImmediateKind.None;
        if (map == 3 || (map == 1 && instruction->Opcode is >= 0x70 and <= 0x73 or 0xC2 or 0xC4 or 0xC5 or 0xC6))
        {
            immediate = ImmediateKind.Byte;
        }

        if (map != 1 || instruction->Opcode != 0x77)
        {
            ReadModRm(ref reader, instruction, registerAlways: false);
        }

        if (map is 1 && instruction->Opcode == 0xAE)
        {
            instruction->Operation = instruction->Extension == 2 ? Operation.Ldmxcsr : Operation.Stmxcsr;
            legal &= instruction->Extension is 2 or 3 && instruction->IsMemory && instruction->MandatoryPrefix == 0 && vvvv == 0
                && (last & 4) == 0;
        }
        else if (map is 2 && instruction->Opcode is >= 0x90 and <= 0x93)
        {
            legal &= ApplyVectorIndex(ref reader, instruction);
        }
        else if (map is 2 && instruction->Opcode is >= 0xF2 and <= 0xF7)
        {
            legal &= ApplyVexInteger(instruction);
        }
        else if (map is 3 && instruction->Opcode == 0xF0)
        {
            instruction->Operation = Operation.Rorx;
            instruction->Form = OperandForm.RegRmImmediate;
            legal &= instruction->MandatoryPrefix == 0xF2 && instruction->Vvvv == 0 && (instruction->Prefixes & Prefixes.VexL) == 0;
        }

        ReadImmediate(ref reader, immediate, instruction);
        SetRegisterOffsets(instruction, rex: true);
        var length = (int)(reader.Position - reader.Start);
        Complete(instruction, length);
        if (!legal)
        {
            instruction->Operation = Operation.Invalid;
        }

        return length;
    }

    // Gathers: the SIB byte's index is a vector register, number 4 no exception.
    private static bool ApplyVectorIndex(ref Reader reader, DecodedInstruction* instruction)
    {
        if (!instruction->IsMemory || (instruction->ModRm & 7) != 4 || instruction->AddressSize == 2)
        {
            return false;
        }

        var sib = reader.Start[instruction->ModRmOffset + 1];
        instruction->Index = (byte)(((sib >> 3) & 7) | ((reader.Rex & 2) << 2));
        instruction->Scale = (byte)(sib >> 6);
        return true;
    }

    private static bool ApplyVexInteger(DecodedInstruction* instruction)
    {
        if ((instruction->Prefixes & Prefixes.VexL) != 0)
        {
            return false;
        }

        var prefix = instruction->MandatoryPrefix;
        (instruction->Operation, instruction->Form) = (instruction->Opcode, prefix) switch
        {
            (0xF2, 0) => (Operation.Andn, OperandForm.RegVvvvRm),
            (0xF3, 0) => (instruction->Extension switch
            {
                1 => Operation.Blsr,
                2 => Operation.Blsmsk,
                3 => Operation.Blsi,
                _ => Operation.Invalid,
            }, OperandForm.VvvvRm),
            (0xF5, 0) => (Operation.Bzhi, OperandForm.RegRmVvvv),
            (0xF5, 0xF3) => (Operation.Pext, OperandForm.RegVvvvRm),
            (0xF5, 0xF2) => (Operation.Pdep, OperandForm.RegVvvvRm),
            (0xF6, 0xF2) => (Operation.Mulx, OperandForm.RegVvvvRm),
            (0xF7, 0) => (Operation.Bextr, OperandForm.RegRmVvvv),
            (0xF7, 0x66) => (Operation.Shlx, OperandForm.RegRmVvvv),
            (0xF7, 0xF3) => (Operation.Sarx, OperandForm.RegRmVvvv),
            (0xF7, 0xF2) => (Operation.Shrx, OperandForm.RegRmVvvv),
            _ => (Operation.Invalid, OperandForm.RegVvvvRm),
        };
        return instruction->Operation != Operation.Invalid;
    }
}
