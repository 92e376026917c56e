using System.Runtime.CompilerServices;

namespace Vitro.Hypervisor.Software.Decoding;

/// <summary>Decodes x86-64 instructions by tables (Intel SDM volume 2, AMD64 APM volume 3). No state, no allocation; any thread.</summary>
internal static unsafe partial class Decoder
{
    /// <summary>Longest legal instruction in bytes.</summary>
    public const int MaximumLength = 15;

    /// <summary>Bytes that may be read, and no more are: then none is copied.</summary>
    public const int ReadAhead = 48;

    // A bit for each byte that is a prefix: 26, 2E, 36, 3E, 64 to 67, F0, F2, F3.
    private static ReadOnlySpan<byte> LegacyPrefixes =>
        [0, 0, 0, 0, 0x40, 0x40, 0x40, 0x40, 0, 0, 0, 0, 0xF0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0D, 0];

    /// <summary>
    /// Decodes one instruction.
    /// </summary>
    /// <param name="code">Its bytes.</param>
    /// <param name="available">How many of them may be read.</param>
    /// <param name="mode">Code size and the rest that decoding depends on.</param>
    /// <param name="offset">Where it lies in its block, for <see cref="DecodedInstruction.Offset"/>.</param>
    /// <param name="instruction">The result. Illegal encodings give <see cref="Operation.Invalid"/> with the length read so far.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static DecodeStatus Decode(byte* code, int available, VpMode mode, int offset, DecodedInstruction* instruction)
    {
        if (available < ReadAhead)
        {
            return DecodePadded(code, available, mode, offset, instruction);
        }

        return DecodeBytes(code, mode, offset, instruction) > MaximumLength ? DecodeStatus.TooLong : DecodeStatus.Decoded;
    }

    private static DecodeStatus DecodePadded(byte* code, int available, VpMode mode, int offset, DecodedInstruction* instruction)
    {
        var padded = stackalloc byte[ReadAhead];
        Unsafe.InitBlockUnaligned(padded, 0, ReadAhead);
        Unsafe.CopyBlockUnaligned(padded, code, (uint)available);
        var length = DecodeBytes(padded, mode, offset, instruction);
        if (length > available && available < MaximumLength)
        {
            return DecodeStatus.NeedMore;
        }

        return length > MaximumLength ? DecodeStatus.TooLong : DecodeStatus.Decoded;
    }

    private static int DecodeBytes(byte* code, VpMode mode, int offset, DecodedInstruction* instruction)
    {
        *instruction = default;
        instruction->Offset = (ushort)offset;
        instruction->Base = DecodedInstruction.NoRegister;
        instruction->Index = DecodedInstruction.NoRegister;
        instruction->Segment = 3;
        var code64 = (mode & VpMode.Code64) != 0;
        var reader = new Reader { Start = code, Position = code, Code64 = code64, Segment = 255 };
        byte opcode;
        var rex = 0;
        var prefixes = Prefixes.None;
        while (true)
        {
            if (reader.Position - code >= MaximumLength)
            {
                return MaximumLength + 1;
            }

            opcode = *reader.Position++;
            if (code64 && (opcode & 0xF0) == 0x40)
            {
                rex = opcode;
                continue;
            }

            if ((LegacyPrefixes[opcode >> 3] & (1 << (opcode & 7))) == 0)
            {
                break;
            }

            switch (opcode)
            {
                case 0x26 or 0x2E or 0x36 or 0x3E:
                    if (!code64)
                    {
                        reader.Segment = (byte)((opcode >> 3) & 3);
                    }

                    rex = 0;
                    continue;
                case 0x64 or 0x65:
                    reader.Segment = (byte)(opcode - 0x60);
                    rex = 0;
                    continue;
                case 0x66:
                    prefixes |= Prefixes.OperandSize;
                    rex = 0;
                    continue;
                case 0x67:
                    prefixes |= Prefixes.AddressSize;
                    rex = 0;
                    continue;
                case 0xF0:
                    prefixes |= Prefixes.Lock;
                    rex = 0;
                    continue;
                case 0xF2:
                    prefixes = (prefixes & ~Prefixes.Rep) | Prefixes.Repne;
                    rex = 0;
                    continue;
                default:
                    prefixes = (prefixes & ~Prefixes.Repne) | Prefixes.Rep;
                    rex = 0;
                    continue;
            }
        }

        if (rex != 0)
        {
            prefixes |= Prefixes.Rex;
            if ((rex & 8) != 0)
            {
                prefixes |= Prefixes.RexW;
            }
        }

        if (reader.Segment != 255)
        {
            prefixes |= Prefixes.Segment;
        }

        reader.Rex = rex;
        reader.Prefixes = prefixes;
        reader.Default32 = (mode & VpMode.Code32) != 0;
        if (code64)
        {
            instruction->AddressSize = (byte)((prefixes & Prefixes.AddressSize) != 0 ? 4 : 8);
        }
        else
        {
            instruction->AddressSize = (byte)(reader.Default32 == ((prefixes & Prefixes.AddressSize) == 0) ? 4 : 2);
        }

        OpcodeEntry entry;
        if (opcode == 0x0F)
        {
            instruction->MandatoryPrefix = (prefixes & Prefixes.Repne) != 0 ? (byte)0xF2
                : (prefixes & Prefixes.Rep) != 0 ? (byte)0xF3
                : (prefixes & Prefixes.OperandSize) != 0 ? (byte)0x66 : (byte)0;
            opcode = *reader.Position++;
            if (opcode == 0x38)
            {
                instruction->Map = 2;
                opcode = *reader.Position++;
                entry = Map38(opcode, instruction->MandatoryPrefix);
            }
            else if (opcode == 0x3A)
            {
                instruction->Map = 3;
                opcode = *reader.Position++;
                entry = E(Operation.Vector, OperandForm.RegRmImmediate, OpcodeTraits.ModRm, ImmediateKind.Byte);
            }
            else
            {
                instruction->Map = 1;
                entry = TwoByte[opcode];
            }
        }
        else if (opcode is 0xC4 or 0xC5 && (code64 || ((*reader.Position & 0xC0) == 0xC0 && IsVexAllowed(mode))))
        {
            return DecodeVex(ref reader, opcode, instruction);
        }
        else
        {
            entry = OneByte[opcode];
        }

        instruction->Opcode = opcode;
        return Finish(ref reader, entry, instruction);
    }

    private static bool IsVexAllowed(VpMode mode) => (mode & (VpMode.Protected | VpMode.Virtual8086)) == VpMode.Protected;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Finish(ref Reader reader, in OpcodeEntry entry, DecodedInstruction* instruction)
    {
        var prefixes = reader.Prefixes;
        var traits = entry.Traits;
        var code64 = reader.Code64;
        var opcode = instruction->Opcode;
        int size;
        if ((traits & OpcodeTraits.Byte) != 0)
        {
            size = 1;
        }
        else if (code64)
        {
            size = (traits & OpcodeTraits.Force64) != 0 || (prefixes & Prefixes.RexW) != 0 ? 8
                : (prefixes & Prefixes.OperandSize) != 0 ? 2
                : (traits & OpcodeTraits.Default64) != 0 ? 8 : 4;
        }
        else
        {
            size = reader.Default32 == ((prefixes & Prefixes.OperandSize) == 0) ? 4 : 2;
            if ((traits & OpcodeTraits.RegisterAlways) != 0)
            {
                size = 4;
            }
        }

        var operation = entry.Operation;
        instruction->Operation = operation;
        instruction->Form = entry.Form;
        instruction->OperandSize = (byte)size;
        instruction->SourceSize = (byte)((traits & OpcodeTraits.ByteSource) != 0 ? 1 : (traits & OpcodeTraits.WordSource) != 0 ? 2 : size);
        instruction->Prefixes = prefixes;
        var immediate = entry.Immediate;
        var legal = operation != Operation.Invalid || entry.Group != OpcodeGroup.None;
        if ((traits & OpcodeTraits.Invalid64) != 0 && code64)
        {
            legal = false;
        }

        var lockable = (traits & OpcodeTraits.Lockable) != 0;
        if ((traits & OpcodeTraits.ModRm) != 0)
        {
            ReadModRm(ref reader, instruction, (traits & OpcodeTraits.RegisterAlways) != 0);
            if ((traits & OpcodeTraits.MemoryOnly) != 0 && !instruction->IsMemory)
            {
                legal = false;
            }
        }
        else if ((traits & OpcodeTraits.OpcodeRegister) != 0)
        {
            instruction->Rm = (byte)((opcode & 7) | ((reader.Rex & 1) << 3));
        }

        if (entry.Group != OpcodeGroup.None && legal)
        {
            legal = ApplyGroup(entry.Group, ref reader, instruction, ref immediate, ref lockable);
        }
        else if (legal && (operation is Operation.Xchg or >= Operation.Xlat || (operation == Operation.Mov && instruction->Map == 1)))
        {
            legal = Adjust(ref reader, instruction);
        }

        if ((reader.Prefixes & Prefixes.Lock) != 0
            && (!lockable || !instruction->IsMemory || instruction->Form is OperandForm.RegRm or OperandForm.RegRmImmediate))
        {
            legal = false;
        }

        if (immediate != ImmediateKind.None)
        {
            ReadImmediate(ref reader, immediate, instruction);
        }

        SetRegisterOffsets(instruction, (reader.Prefixes & Prefixes.Rex) != 0);
        var length = (int)(reader.Position - reader.Start);
        Complete(instruction, length);
        if (!legal)
        {
            instruction->Operation = Operation.Invalid;
        }

        return length;
    }

    // Displacements and branch targets count from the block's start.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Complete(DecodedInstruction* instruction, int length)
    {
        instruction->Length = (byte)length;
        if (instruction->Base == DecodedInstruction.RipBase)
        {
            instruction->Displacement += instruction->Offset + length;
        }

        if (instruction->Operation is Operation.Jcc or Operation.Jmp or Operation.Call or Operation.Loop or Operation.Loope
            or Operation.Loopne or Operation.Jrcxz)
        {
            instruction->Immediate += (ulong)(instruction->Offset + length);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void SetRegisterOffsets(DecodedInstruction* instruction, bool rex)
    {
        var regSize = instruction->OperandSize;
        var rmSize = instruction->SourceSize;
        instruction->RegOffset = ByteOffset(instruction->Reg, regSize == 1 && !rex);
        instruction->RmOffset = ByteOffset(instruction->Rm, rmSize == 1 && !rex);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static byte ByteOffset(int register, bool legacyByte) =>
        legacyByte && register is >= 4 and < 8 ? (byte)(((register - 4) * 8) + 1) : (byte)((register & 15) * 8);

    private struct Reader
    {
        public byte* Start;
        public byte* Position;
        public Prefixes Prefixes;
        public int Rex;
        public byte Segment;
        public bool Code64;
        public bool Default32;
    }
}

/// <summary>How decoding went.</summary>
internal enum DecodeStatus
{
    /// <summary>Decoded (perhaps as an invalid opcode).</summary>
    Decoded,

    /// <summary>More bytes are needed than were available.</summary>
    NeedMore,

    /// <summary>Longer than 15 bytes: raises #GP(0).</summary>
    TooLong,
}
