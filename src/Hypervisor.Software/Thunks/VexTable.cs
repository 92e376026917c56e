using Vitro.Hypervisor.Software.Decoding;
using static Vitro.Hypervisor.Software.Thunks.OperandKind;
using static Vitro.Hypervisor.Software.Thunks.ThunkTraits;

namespace Vitro.Hypervisor.Software.Thunks;

/// <summary>
/// The VEX-encoded vector instructions: AVX, AVX2, FMA, F16C and the VEX forms of AES and PCLMULQDQ (Intel SDM volume 2). An
/// encoding that is not here is #UD.
/// </summary>
internal static unsafe class VexTable
{
    private const int Plain = 0;
    private const int P66 = 1;
    private const int F3 = 2;
    private const int F2 = 3;

    private const ThunkTraits Load = WritesReg | ReadsRm;
    private const ThunkTraits Three = WritesReg | ReadsVvvv | ReadsRm;
    private const ThunkTraits Accumulate = Three | ReadsReg;
    private const ThunkTraits Save = ReadsReg | WritesRm;

    private static readonly ThunkForm[] Forms = Build();

    /// <summary>Finds the form of an instruction, its register count, width and length being legal.</summary>
    internal static bool TryFind(DecodedInstruction* i, out ThunkForm form)
    {
        form = default;
        if (i->Map is < 1 or > 3)
        {
            return false;
        }

        form = Forms[Index(i->Map, i->Opcode, ThunkTable.PrefixOf(i))];
        if (form.Traits == ThunkTraits.None || (form.Has(Group) && !ThunkTable.IsShift(i->Opcode, P66, i->Extension)))
        {
            return false;
        }

        if (i->Map == 1 && i->Opcode is 0x10 or 0x11 && form.MemorySize < 16 && !i->IsMemory)
        {
            // VMOVSS and VMOVSD between registers merge.
            form.Traits |= ReadsVvvv;
        }

        var isWide = (i->Prefixes & Prefixes.VexL) != 0;
        var hasW = (i->Prefixes & Prefixes.RexW) != 0;
        return !form.Has(i->IsMemory ? RegisterOnly : MemoryOnly)
            && !form.Has(isWide ? Only128 : Only256)
            && !form.Has(hasW ? W0 : W1)
            && (i->Vvvv == 0 || form.Has(ReadsVvvv | WritesVvvv))
            && (!form.Has(Gather) || IsGatherLegal(i));
    }

    /// <summary>Bytes of the memory operand.</summary>
    internal static int MemorySize(DecodedInstruction* i, in ThunkForm form)
    {
        if (form.MemorySize == 0)
        {
            return (i->Prefixes & Prefixes.RexW) != 0 && (i->OperandSize == 8 || form.Rm != General) ? 8 : 4;
        }

        if ((i->Prefixes & Prefixes.VexL) == 0)
        {
            return form.MemorySize;
        }

        return form.Has(Scales) ? 2 * form.MemorySize : form.Has(Quadruples) ? 4 * form.MemorySize : form.MemorySize;
    }

    // Destination, mask and index are three registers, and there is an index.
    private static bool IsGatherLegal(DecodedInstruction* i) =>
        i->Index < 16 && i->Reg != i->Vvvv && i->Reg != i->Index && i->Vvvv != i->Index && i->AddressSize != 2;

    private static int Index(int map, int opcode, int prefix) => ((map - 1) << 10) | (opcode << 2) | prefix;

    private static ThunkForm[] Build()
    {
        var table = new ThunkForm[3 << 10];
        AddMoves(table);
        AddFloatingPoint(table);
        AddConversions(table);
        AddInteger(table);
        AddMap38(table);
        AddFma(table);
        AddMap3A(table);
        return table;
    }

    private static void Add(ThunkForm[] table, int map, int opcode, int prefix, OperandKind reg, OperandKind rm, int size, ThunkTraits traits) =>
        table[Index(map, opcode, prefix)] = new ThunkForm { Reg = reg, Rm = rm, MemorySize = (byte)size, Traits = traits };

    // A whole vector register.
    private static void Full(ThunkForm[] table, int map, int opcode, int prefix, ThunkTraits traits) =>
        Add(table, map, opcode, prefix, Xmm, Xmm, 16, traits | ((traits & Only128) != 0 ? 0 : Scales));

    // A part of fixed size.
    private static void Part(ThunkForm[] table, int map, int opcode, int prefix, int size, ThunkTraits traits) =>
        Add(table, map, opcode, prefix, Xmm, Xmm, size, traits);

    private static void AddMoves(ThunkForm[] table)
    {
        foreach (var prefix in (int[])[Plain, P66])
        {
            Full(table, 1, 0x10, prefix, Load);
            Full(table, 1, 0x11, prefix, Save);
            Part(table, 1, 0x12, prefix, 8, Three | Only128 | (prefix == P66 ? MemoryOnly : 0));
            Part(table, 1, 0x13, prefix, 8, Save | Only128 | MemoryOnly);
            Full(table, 1, 0x14, prefix, Three);
            Full(table, 1, 0x15, prefix, Three);
            Part(table, 1, 0x16, prefix, 8, Three | Only128 | (prefix == P66 ? MemoryOnly : 0));
            Part(table, 1, 0x17, prefix, 8, Save | Only128 | MemoryOnly);
            Full(table, 1, 0x28, prefix, Load | Aligned);
            Full(table, 1, 0x29, prefix, Save | Aligned);
            Full(table, 1, 0x2B, prefix, Save | Aligned | MemoryOnly);
            Add(table, 1, 0x50, prefix, General, Xmm, 0, Load | RegisterOnly);
            Full(table, 1, 0xC6, prefix, Three | Immediate);
        }

        foreach (var (prefix, size) in ((int, int)[])[(F3, 4), (F2, 8)])
        {
            Part(table, 1, 0x10, prefix, size, Load);
            Part(table, 1, 0x11, prefix, size, Save);
        }

        Full(table, 1, 0x12, F3, Load);
        Full(table, 1, 0x16, F3, Load);
        Part(table, 1, 0x12, F2, 8, Load | Quadruples);
        Add(table, 1, 0x6E, P66, Xmm, General, 0, Load | Only128);
        Add(table, 1, 0x7E, P66, Xmm, General, 0, Save | Only128);
        Part(table, 1, 0x7E, F3, 8, Load | Only128);
        Full(table, 1, 0x6F, P66, Load | Aligned);
        Full(table, 1, 0x6F, F3, Load);
        Full(table, 1, 0x7F, P66, Save | Aligned);
        Full(table, 1, 0x7F, F3, Save);
        Part(table, 1, 0xD6, P66, 8, Save | Only128);
        Full(table, 1, 0xE7, P66, Save | Aligned | MemoryOnly);
        Full(table, 1, 0xF0, F2, Load | MemoryOnly);
        Full(table, 1, 0xF7, P66, ReadsReg | ReadsRm | RegisterOnly | MaskedStore | Only128);
        Add(table, 1, 0x77, Plain, OperandKind.None, OperandKind.None, 0, ClearsUppers | RegisterOnly);
    }

    private static void AddFloatingPoint(ThunkForm[] table)
    {
        foreach (var opcode in (int[])[0x51, 0x58, 0x59, 0x5C, 0x5D, 0x5E, 0x5F, 0xC2])
        {
            var traits = FloatingPoint | (opcode == 0xC2 ? Immediate : 0);
            Full(table, 1, opcode, Plain, (opcode == 0x51 ? Load : Three) | traits);
            Full(table, 1, opcode, P66, (opcode == 0x51 ? Load : Three) | traits);
            Part(table, 1, opcode, F3, 4, Three | traits);
            Part(table, 1, opcode, F2, 8, Three | traits);
        }

        foreach (var opcode in (int[])[0x52, 0x53])
        {
            Full(table, 1, opcode, Plain, Load);
            Part(table, 1, opcode, F3, 4, Three);
        }

        foreach (var prefix in (int[])[Plain, P66])
        {
            var size = prefix == Plain ? 4 : 8;
            Part(table, 1, 0x2E, prefix, size, ReadsReg | ReadsRm | FloatingPoint | SetsFlags);
            Part(table, 1, 0x2F, prefix, size, ReadsReg | ReadsRm | FloatingPoint | SetsFlags);
            for (var opcode = 0x54; opcode <= 0x57; opcode++)
            {
                Full(table, 1, opcode, prefix, Three);
            }
        }

        foreach (var opcode in (int[])[0x7C, 0x7D, 0xD0])
        {
            Full(table, 1, opcode, P66, Three | FloatingPoint);
            Full(table, 1, opcode, F2, Three | FloatingPoint);
        }
    }

    private static void AddConversions(ThunkForm[] table)
    {
        foreach (var (prefix, size) in ((int, int)[])[(F3, 4), (F2, 8)])
        {
            Add(table, 1, 0x2A, prefix, Xmm, General, 0, Three | FloatingPoint);
            Add(table, 1, 0x2C, prefix, General, Xmm, size, Load | FloatingPoint);
            Add(table, 1, 0x2D, prefix, General, Xmm, size, Load | FloatingPoint);
            Part(table, 1, 0x5A, prefix, size, Three | FloatingPoint);
        }

        Part(table, 1, 0x5A, Plain, 8, Load | FloatingPoint | Scales);
        Full(table, 1, 0x5A, P66, Load | FloatingPoint);
        foreach (var prefix in (int[])[Plain, P66, F3])
        {
            Full(table, 1, 0x5B, prefix, Load | FloatingPoint);
        }

        Full(table, 1, 0xE6, P66, Load | FloatingPoint);
        Full(table, 1, 0xE6, F2, Load | FloatingPoint);
        Part(table, 1, 0xE6, F3, 8, Load | FloatingPoint | Scales);
    }

    private static void AddInteger(ThunkForm[] table)
    {
        for (var opcode = 0x60; opcode <= 0xFE; opcode++)
        {
            switch (opcode)
            {
                case 0xD1 or 0xD2 or 0xD3 or 0xE1 or 0xE2 or 0xF1 or 0xF2 or 0xF3:
                    // The count is 128 bits wide whatever is shifted.
                    Part(table, 1, opcode, P66, 16, Three | Avx2Wide);
                    break;
                case (>= 0x60 and <= 0x6D) or (>= 0x74 and <= 0x76) or 0xD4 or 0xD5 or (>= 0xD8 and <= 0xE5) or (>= 0xE8 and <= 0xEF)
                    or (>= 0xF4 and <= 0xF6) or >= 0xF8:
                    Full(table, 1, opcode, P66, Three | Avx2Wide);
                    break;
            }
        }

        foreach (var prefix in (int[])[P66, F3, F2])
        {
            Full(table, 1, 0x70, prefix, Load | Immediate | Avx2Wide);
        }

        for (var opcode = 0x71; opcode <= 0x73; opcode++)
        {
            Add(table, 1, opcode, P66, OperandKind.None, Xmm, 0, ReadsRm | WritesVvvv | RegisterOnly | Group | Immediate | Avx2Wide);
        }

        Add(table, 1, 0xC4, P66, Xmm, General, 2, Three | Immediate | Only128);
        Add(table, 1, 0xC5, P66, General, Xmm, 0, Load | RegisterOnly | Immediate | Only128);
        Add(table, 1, 0xD7, P66, General, Xmm, 0, Load | RegisterOnly | Avx2Wide);
    }

    private static void AddMap38(ThunkForm[] table)
    {
        for (var opcode = 0; opcode <= 0x40; opcode++)
        {
            if (opcode is <= 0x0B or 0x28 or 0x29 or 0x2B or (>= 0x37 and <= 0x40))
            {
                Full(table, 2, opcode, P66, Three | Avx2Wide);
            }
        }

        Full(table, 2, 0x0C, P66, Three | W0);
        Full(table, 2, 0x0D, P66, Three | W0);
        Full(table, 2, 0x0E, P66, ReadsReg | ReadsRm | SetsFlags | W0);
        Full(table, 2, 0x0F, P66, ReadsReg | ReadsRm | SetsFlags | W0);
        Full(table, 2, 0x17, P66, ReadsReg | ReadsRm | SetsFlags);
        Part(table, 2, 0x13, P66, 8, Load | FloatingPoint | W0 | Scales);
        Full(table, 2, 0x16, P66, Three | W0 | Only256 | Avx2);
        Full(table, 2, 0x36, P66, Three | W0 | Only256 | Avx2);
        Part(table, 2, 0x18, P66, 4, Load | W0);
        Part(table, 2, 0x19, P66, 8, Load | W0 | Only256);
        Part(table, 2, 0x1A, P66, 16, Load | W0 | Only256 | MemoryOnly);
        Part(table, 2, 0x5A, P66, 16, Load | W0 | Only256 | MemoryOnly | Avx2);
        Part(table, 2, 0x58, P66, 4, Load | W0 | Avx2);
        Part(table, 2, 0x59, P66, 8, Load | W0 | Avx2);
        Part(table, 2, 0x78, P66, 1, Load | W0 | Avx2);
        Part(table, 2, 0x79, P66, 2, Load | W0 | Avx2);
        for (var opcode = 0x1C; opcode <= 0x1E; opcode++)
        {
            Full(table, 2, opcode, P66, Load | Avx2Wide);
        }

        foreach (var first in (int[])[0x20, 0x30])
        {
            ReadOnlySpan<byte> sizes = [8, 4, 2, 8, 4, 8];
            for (var n = 0; n < 6; n++)
            {
                Part(table, 2, first + n, P66, sizes[n], Load | Scales | Avx2Wide);
            }
        }

        Full(table, 2, 0x2A, P66, Load | Aligned | MemoryOnly | Avx2Wide);
        Full(table, 2, 0x2C, P66, Three | MemoryOnly | MaskedMove | W0);
        Full(table, 2, 0x2D, P66, Three | MemoryOnly | MaskedMove | W0);
        Full(table, 2, 0x2E, P66, Save | ReadsVvvv | MemoryOnly | MaskedMove | W0);
        Full(table, 2, 0x2F, P66, Save | ReadsVvvv | MemoryOnly | MaskedMove | W0);
        Full(table, 2, 0x8C, P66, Three | MemoryOnly | MaskedMove | Avx2);
        Full(table, 2, 0x8E, P66, Save | ReadsVvvv | MemoryOnly | MaskedMove | Avx2);
        Full(table, 2, 0x41, P66, Load | Only128);
        Full(table, 2, 0x45, P66, Three | Avx2);
        Full(table, 2, 0x46, P66, Three | W0 | Avx2);
        Full(table, 2, 0x47, P66, Three | Avx2);
        for (var opcode = 0x90; opcode <= 0x93; opcode++)
        {
            Full(table, 2, opcode, P66, Accumulate | WritesVvvv | MemoryOnly | Gather | Avx2);
        }

        Full(table, 2, 0xDB, P66, Load | Only128);
        for (var opcode = 0xDC; opcode <= 0xDF; opcode++)
        {
            Full(table, 2, opcode, P66, Three | Only128);
        }
    }

    private static void AddFma(ThunkForm[] table)
    {
        foreach (var row in (int[])[0x90, 0xA0, 0xB0])
        {
            for (var opcode = row + 6; opcode <= row + 15; opcode++)
            {
                if (opcode % 16 is 9 or 11 or 13 or 15)
                {
                    // 4 or 8 bytes by W.
                    Part(table, 2, opcode, P66, 0, Accumulate | FloatingPoint);
                }
                else
                {
                    Full(table, 2, opcode, P66, Accumulate | FloatingPoint);
                }
            }
        }
    }

    private static void AddMap3A(ThunkForm[] table)
    {
        Full(table, 3, 0x00, P66, Load | Immediate | Only256 | W1 | Avx2);
        Full(table, 3, 0x01, P66, Load | Immediate | Only256 | W1 | Avx2);
        Full(table, 3, 0x02, P66, Three | Immediate | W0 | Avx2);
        Full(table, 3, 0x04, P66, Load | Immediate | W0);
        Full(table, 3, 0x05, P66, Load | Immediate | W0);
        Full(table, 3, 0x06, P66, Three | Immediate | Only256 | W0);
        Full(table, 3, 0x46, P66, Three | Immediate | Only256 | W0 | Avx2);
        Full(table, 3, 0x08, P66, Load | FloatingPoint | Immediate);
        Full(table, 3, 0x09, P66, Load | FloatingPoint | Immediate);
        Part(table, 3, 0x0A, P66, 4, Three | FloatingPoint | Immediate);
        Part(table, 3, 0x0B, P66, 8, Three | FloatingPoint | Immediate);
        Full(table, 3, 0x0C, P66, Three | Immediate);
        Full(table, 3, 0x0D, P66, Three | Immediate);
        Full(table, 3, 0x0E, P66, Three | Immediate | Avx2Wide);
        Full(table, 3, 0x0F, P66, Three | Immediate | Avx2Wide);
        Add(table, 3, 0x14, P66, Xmm, General, 1, Save | Immediate | Only128);
        Add(table, 3, 0x15, P66, Xmm, General, 2, Save | Immediate | Only128);
        Add(table, 3, 0x16, P66, Xmm, General, 0, Save | Immediate | Only128);
        Add(table, 3, 0x17, P66, Xmm, General, 4, Save | Immediate | Only128);
        Part(table, 3, 0x18, P66, 16, Three | Immediate | Only256 | W0);
        Part(table, 3, 0x19, P66, 16, Save | Immediate | Only256 | W0);
        Part(table, 3, 0x38, P66, 16, Three | Immediate | Only256 | W0 | Avx2);
        Part(table, 3, 0x39, P66, 16, Save | Immediate | Only256 | W0 | Avx2);
        Part(table, 3, 0x1D, P66, 8, Save | FloatingPoint | Immediate | W0 | Scales);
        Add(table, 3, 0x20, P66, Xmm, General, 1, Three | Immediate | Only128);
        Part(table, 3, 0x21, P66, 4, Three | Immediate | Only128);
        Add(table, 3, 0x22, P66, Xmm, General, 0, Three | Immediate | Only128);
        Full(table, 3, 0x40, P66, Three | FloatingPoint | Immediate);
        Full(table, 3, 0x41, P66, Three | FloatingPoint | Immediate | Only128);
        Full(table, 3, 0x42, P66, Three | Immediate | Avx2Wide);
        Full(table, 3, 0x44, P66, Three | Immediate | Only128);
        Full(table, 3, 0x4A, P66, Three | Immediate | RegisterImmediate | W0);
        Full(table, 3, 0x4B, P66, Three | Immediate | RegisterImmediate | W0);
        Full(table, 3, 0x4C, P66, Three | Immediate | RegisterImmediate | W0 | Avx2Wide);
        Full(table, 3, 0x60, P66, ReadsReg | ReadsRm | Immediate | SetsFlags | WritesXmm0 | ExplicitLengths | Only128);
        Full(table, 3, 0x61, P66, ReadsReg | ReadsRm | Immediate | SetsFlags | WritesRcx | ExplicitLengths | Only128);
        Full(table, 3, 0x62, P66, ReadsReg | ReadsRm | Immediate | SetsFlags | WritesXmm0 | Only128);
        Full(table, 3, 0x63, P66, ReadsReg | ReadsRm | Immediate | SetsFlags | WritesRcx | Only128);
        Full(table, 3, 0xDF, P66, Load | Immediate | Only128);
    }
}
