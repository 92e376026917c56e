using System.Runtime.CompilerServices;

namespace Vitro.Hypervisor.Software.Decoding;

/// <content>ModRM, SIB, displacements, immediates.</content>
internal static unsafe partial class Decoder
{
    private const byte None = DecodedInstruction.NoRegister;

    // BX+SI, BX+DI, BP+SI, BP+DI, SI, DI, BP, BX.
    private static ReadOnlySpan<byte> Base16 => [3, 3, 5, 5, 6, 7, 5, 3];

    private static ReadOnlySpan<byte> Index16 => [6, 7, 6, 7, None, None, None, None];

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void ReadModRm(ref Reader reader, DecodedInstruction* instruction, bool registerAlways)
    {
        instruction->ModRmOffset = (byte)(reader.Position - reader.Start);
        var modrm = *reader.Position++;
        instruction->ModRm = modrm;
        instruction->Reg = (byte)(((modrm >> 3) & 7) | ((reader.Rex & 4) << 1));
        if (modrm >= 0xC0 || registerAlways)
        {
            instruction->Rm = (byte)((modrm & 7) | ((reader.Rex & 1) << 3));
            return;
        }

        instruction->Prefixes |= Prefixes.Memory;
        reader.Prefixes |= Prefixes.Memory;
        var mod = modrm >> 6;
        var rm = modrm & 7;
        if (instruction->AddressSize == 2)
        {
            ReadAddress16(ref reader, instruction, mod, rm);
        }
        else
        {
            ReadAddress(ref reader, instruction, mod, rm);
        }

        if (reader.Segment != 255)
        {
            instruction->Segment = reader.Segment;
        }
    }

    private static void ReadAddress16(ref Reader reader, DecodedInstruction* instruction, int mod, int rm)
    {
        if (mod == 0 && rm == 6)
        {
            instruction->Displacement = *(ushort*)reader.Position;
            reader.Position += 2;
            return;
        }

        instruction->Base = Base16[rm];
        instruction->Index = Index16[rm];
        if (instruction->Base == 5)
        {
            instruction->Segment = 2;
        }

        if (mod == 1)
        {
            instruction->Displacement = (sbyte)*reader.Position++;
        }
        else if (mod == 2)
        {
            instruction->Displacement = *(short*)reader.Position;
            reader.Position += 2;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void ReadAddress(ref Reader reader, DecodedInstruction* instruction, int mod, int rm)
    {
        if (rm == 4)
        {
            var sib = *reader.Position++;
            var index = ((sib >> 3) & 7) | ((reader.Rex & 2) << 2);
            if (index != 4)
            {
                instruction->Index = (byte)index;
                instruction->Scale = (byte)(sib >> 6);
            }

            rm = sib & 7;
            if (rm == 5 && mod == 0)
            {
                instruction->Displacement = *(int*)reader.Position;
                reader.Position += 4;
                return;
            }
        }
        else if (rm == 5 && mod == 0)
        {
            if (reader.Code64)
            {
                instruction->Base = DecodedInstruction.RipBase;
            }

            instruction->Displacement = *(int*)reader.Position;
            reader.Position += 4;
            return;
        }

        instruction->Base = (byte)(rm | ((reader.Rex & 1) << 3));
        if (instruction->Base is 4 or 5)
        {
            instruction->Segment = 2;
        }

        if (mod == 1)
        {
            instruction->Displacement = (sbyte)*reader.Position++;
        }
        else if (mod == 2)
        {
            instruction->Displacement = *(int*)reader.Position;
            reader.Position += 4;
        }
    }

    private static void ReadImmediate(ref Reader reader, ImmediateKind kind, DecodedInstruction* instruction)
    {
        var size = instruction->OperandSize;
        var start = reader.Position;
        switch (kind)
        {
            case ImmediateKind.None:
                return;
            case ImmediateKind.SignedByte or ImmediateKind.RelativeByte:
                instruction->Immediate = (ulong)(sbyte)*reader.Position++;
                break;
            case ImmediateKind.Byte:
                instruction->Immediate = *reader.Position++;
                break;
            case ImmediateKind.Word:
                instruction->Immediate = *(ushort*)reader.Position;
                reader.Position += 2;
                break;
            case ImmediateKind.Z or ImmediateKind.RelativeZ:
                if (size == 2)
                {
                    instruction->Immediate = (ulong)*(short*)reader.Position;
                    reader.Position += 2;
                }
                else
                {
                    instruction->Immediate = (ulong)*(int*)reader.Position;
                    reader.Position += 4;
                }

                break;
            case ImmediateKind.Full:
                instruction->Immediate = size == 2 ? (ulong)*(short*)reader.Position
                    : size == 4 ? (ulong)*(int*)reader.Position : *(ulong*)reader.Position;
                reader.Position += size;
                break;
            case ImmediateKind.Far:
                instruction->Immediate = size == 2 ? *(ushort*)reader.Position : *(uint*)reader.Position;
                reader.Position += size;
                instruction->Immediate2 = *(ushort*)reader.Position;
                reader.Position += 2;
                break;
            case ImmediateKind.Offset:
                var addressSize = instruction->AddressSize;
                instruction->Displacement = addressSize == 2 ? *(ushort*)reader.Position
                    : addressSize == 4 ? *(uint*)reader.Position : *(long*)reader.Position;
                reader.Position += addressSize;
                instruction->Prefixes |= Prefixes.Memory;
                if (reader.Segment != 255)
                {
                    instruction->Segment = reader.Segment;
                }

                return; // an address, no immediate
            default:
                instruction->Immediate = *(ushort*)reader.Position;
                instruction->Immediate2 = reader.Position[2];
                reader.Position += 3;
                break;
        }

        instruction->ImmediateSize = (byte)(reader.Position - start);
    }
}
