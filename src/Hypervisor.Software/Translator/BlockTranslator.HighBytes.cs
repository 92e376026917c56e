using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;
using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Emitter;

namespace Vitro.Hypervisor.Software.Translator;

/// <content>
/// AH, CH, DH and BH, which an instruction without a REX prefix alone can name. AH, DH and BH are where they are; the guest's RCX is lent the
/// host's for an instruction that names CH, or CL beside one of them.
/// </content>
internal unsafe ref partial struct BlockTranslator
{
    private const int Rcx = 1;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool HasEncodableBytes(DecodedInstruction* i) =>
        ((i->RegOffset | i->RmOffset) & 7) == 0 || AreHighBytesEncodable(i);

    private static bool AreHighBytesEncodable(DecodedInstruction* i)
    {
        var regHigh = IsRegHigh(i);
        var rmHigh = IsRmHigh(i);
        if (!regHigh && !rmHigh)
        {
            return true;
        }

        if (i->OperandSize == 8)
        {
            return false;
        }

        if (i->IsMemory)
        {
            // The address takes both free registers; a byte of RDI can be stored.
            return !IsHighRcx(i) || (Bmi2.IsSupported && (Roles(i).Reg & Write) == 0);
        }

        if (i->Form == OperandForm.RmCl)
        {
            return !IsHighRcx(i);
        }

        if (i->OperandSize == 1 || IsExtension(i))
        {
            return true;
        }

        return !IsHighRcx(i) && HomeOf(i->Reg) < 8;
    }

    private static bool IsRegHigh(DecodedInstruction* i) =>
        i->OperandSize == 1 && (i->RegOffset & 7) != 0
        && i->Form is OperandForm.RmReg or OperandForm.RegRm or OperandForm.RmRegImmediate or OperandForm.RegRmImmediate;

    private static bool IsRmHigh(DecodedInstruction* i) => !i->IsMemory && i->SourceSize == 1 && (i->RmOffset & 7) != 0;

    // Whether CH is an operand.
    private static bool IsHighRcx(DecodedInstruction* i) => (IsRegHigh(i) && i->RegOffset >> 3 == Rcx) || (IsRmHigh(i) && i->RmOffset >> 3 == Rcx);

    // MOVZX and MOVSX of a byte to a whole register, which may be one that needs a REX prefix.
    private static bool IsExtension(DecodedInstruction* i) => i->Operation is Operation.Movzx or Operation.Movsx && i->OperandSize == 4;

    // Registers only, one of them a high byte. False when no operand needs the host's RCX.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool TryEmitLent(DecodedInstruction* i, OpcodeMap map, int opcode, int extension, int regRole, int rmRole) =>
        ((i->RegOffset | i->RmOffset) & 7) != 0 && TryEmitWithLent(i, map, opcode, extension, regRole, rmRole);

    private bool TryEmitWithLent(DecodedInstruction* i, OpcodeMap map, int opcode, int extension, int regRole, int rmRole)
    {
        if (i->IsMemory || i->Form == OperandForm.RmCl || (!IsRegHigh(i) && !IsRmHigh(i)))
        {
            return false;
        }

        var isExtension = IsExtension(i);
        var rm = LentByte(i->RmOffset, out var isRmLent);
        var isRegLent = false;
        var reg = extension >= 0 ? extension : isExtension ? HomeOf(i->Reg) : LentByte(i->RegOffset, out isRegLent);
        var isLent = isRmLent || isRegLent;
        if (!isLent && (!isExtension || reg < 8))
        {
            return false;
        }

        if (isLent)
        {
            _c.Move64(HostRegister.Rcx, (HostRegister)HomeOf(Rcx));
        }

        var isMoved = isExtension && reg >= 8;
        EmitPrefixes(i);
        _c.Opcode(OpcodePrefix.None, map, opcode, false, 0, 0, 0);
        _c.ModRmRegister(isMoved ? T1 : reg, rm);
        EmitImmediate(i);
        if (isMoved)
        {
            EmitRegisters(0x8B, false, reg, T1);
        }
        else if ((isRmLent && (rmRole & Write) != 0) || (isRegLent && (regRole & Write) != 0))
        {
            _c.Move64((HostRegister)HomeOf(Rcx), HostRegister.Rcx);
        }

        return true;
    }

    // The number of a byte register in ModRM, without a REX prefix.
    private static int LentByte(int offset, out bool isLent)
    {
        isLent = offset >> 3 == Rcx;
        return (offset >> 3) + ((offset & 7) != 0 ? 4 : 0);
    }
}
