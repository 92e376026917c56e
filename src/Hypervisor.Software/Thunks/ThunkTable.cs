using Vitro.Hypervisor.Software.Decoding;
using static Vitro.Hypervisor.Software.Thunks.OperandKind;
using static Vitro.Hypervisor.Software.Thunks.ThunkTraits;

namespace Vitro.Hypervisor.Software.Thunks;

/// <summary>
/// The legacy-encoded MMX to SSE4.2, AES, PCLMULQDQ and SHA instructions (Intel SDM volume 2). Only what the guest may be
/// offered: an opcode that is not here is #UD.
/// </summary>
internal static class ThunkTable
{
    // Mandatory prefixes as VEX.pp numbers them.
    private const int Plain = 0;
    private const int P66 = 1;
    private const int F3 = 2;
    private const int F2 = 3;

    private const ThunkTraits Merge = ReadsReg | WritesReg | ReadsRm;
    private const ThunkTraits Write = WritesReg | ReadsRm;
    private const ThunkTraits Store = ReadsReg | WritesRm;

    private static readonly ThunkForm[] Forms = Build();

    /// <summary>Finds a legacy-encoded instruction.</summary>
    /// <param name="map">1 to 3.</param>
    /// <param name="opcode">Last opcode byte.</param>
    /// <param name="prefix">0 to 3, numbered as VEX.pp.</param>
    /// <param name="extension">ModRM.reg, looked at for groups only.</param>
    /// <param name="form">What was found.</param>
    internal static bool TryFind(int map, int opcode, int prefix, int extension, out ThunkForm form)
    {
        form = default;
        if (map is < 1 or > 3)
        {
            return false;
        }

        form = Forms[Index(map, opcode, prefix)];
        return form.Traits != ThunkTraits.None && (!form.Has(Group) || IsShift(opcode, prefix, extension));
    }

    /// <summary>
    /// Whether an instruction's operands are XMM and general registers and ModRM memory only, so that nothing but its thunk and
    /// the common checks is needed.
    /// </summary>
    internal static unsafe bool IsSimple(DecodedInstruction* instruction)
    {
        const ThunkTraits odd = MmxTransition | MmxTransitionRegister | MaskedStore | EmptyMmx;
        return (instruction->Prefixes & Prefixes.Vex) == 0
            && TryFind(instruction->Map, instruction->Opcode, PrefixOf(instruction), instruction->Extension, out var form)
            && !form.Has(odd | (instruction->IsMemory ? RegisterOnly : MemoryOnly));
    }

    /// <summary>The mandatory prefix, numbered as VEX.pp.</summary>
    internal static unsafe int PrefixOf(DecodedInstruction* instruction) => instruction->MandatoryPrefix switch
    {
        0x66 => P66,
        0xF3 => F3,
        0xF2 => F2,
        _ => Plain,
    };

    /// <summary>Groups 12 to 14: shifts of words, doublewords and quadwords by an immediate; byte shifts are not for MMX.</summary>
    internal static bool IsShift(int opcode, int prefix, int extension) => opcode switch
    {
        0x71 or 0x72 => extension is 2 or 4 or 6,
        _ => extension is 2 or 6 || (prefix == P66 && extension is 3 or 7),
    };

    private static int Index(int map, int opcode, int prefix) => ((map - 1) << 10) | (opcode << 2) | prefix;

    private static ThunkForm[] Build()
    {
        var table = new ThunkForm[3 << 10];
        AddMoves(table);
        AddFloatingPoint(table);
        AddConversions(table);
        AddInteger(table);
        AddMap38(table);
        AddMap3A(table);
        return table;
    }

    private static void Add(ThunkForm[] table, int map, int opcode, int prefix, OperandKind reg, OperandKind rm, int size, ThunkTraits traits)
    {
        ref var form = ref table[Index(map, opcode, prefix)];
        form.Reg = reg;
        form.Rm = rm;
        form.MemorySize = (byte)size;
        form.Traits = traits;
        if (reg == Mmx || rm == Mmx)
        {
            form.Traits |= MmxTransition;
        }

        if (reg != Xmm && rm != Xmm)
        {
            form.Traits |= NoSse;
        }
    }

    private static void Xx(ThunkForm[] table, int map, int opcode, int prefix, int size, ThunkTraits traits) =>
        Add(table, map, opcode, prefix, Xmm, Xmm, size, traits);

    private static void AddMoves(ThunkForm[] table)
    {
        foreach (var prefix in (int[])[Plain, P66])
        {
            Xx(table, 1, 0x10, prefix, 16, Write);
            Xx(table, 1, 0x11, prefix, 16, Store);
            Xx(table, 1, 0x12, prefix, 8, Merge | (prefix == P66 ? MemoryOnly : 0));
            Xx(table, 1, 0x13, prefix, 8, Store | MemoryOnly);
            Xx(table, 1, 0x14, prefix, 16, Merge | Aligned);
            Xx(table, 1, 0x15, prefix, 16, Merge | Aligned);
            Xx(table, 1, 0x16, prefix, 8, Merge | (prefix == P66 ? MemoryOnly : 0));
            Xx(table, 1, 0x17, prefix, 8, Store | MemoryOnly);
            Xx(table, 1, 0x28, prefix, 16, Write | Aligned);
            Xx(table, 1, 0x29, prefix, 16, Store | Aligned);
            Xx(table, 1, 0x2B, prefix, 16, Store | Aligned | MemoryOnly);
            Add(table, 1, 0x50, prefix, General, Xmm, 0, Write | RegisterOnly);
            Xx(table, 1, 0xC6, prefix, 16, Merge | Aligned | Immediate);
        }

        foreach (var (prefix, size) in ((int, int)[])[(F3, 4), (F2, 8)])
        {
            Xx(table, 1, 0x10, prefix, size, Merge);
            Xx(table, 1, 0x11, prefix, size, Store | ReadsRm);
        }

        Xx(table, 1, 0x12, F3, 16, Write | Aligned);
        Xx(table, 1, 0x16, F3, 16, Write | Aligned);
        Xx(table, 1, 0x12, F2, 8, Write);

        Add(table, 1, 0x6E, Plain, Mmx, General, 0, Write);
        Add(table, 1, 0x6E, P66, Xmm, General, 0, Write);
        Add(table, 1, 0x7E, Plain, Mmx, General, 0, Store);
        Add(table, 1, 0x7E, P66, Xmm, General, 0, Store);
        Xx(table, 1, 0x7E, F3, 8, Write);
        Add(table, 1, 0x6F, Plain, Mmx, Mmx, 8, Write);
        Xx(table, 1, 0x6F, P66, 16, Write | Aligned);
        Xx(table, 1, 0x6F, F3, 16, Write);
        Add(table, 1, 0x7F, Plain, Mmx, Mmx, 8, Store);
        Xx(table, 1, 0x7F, P66, 16, Store | Aligned);
        Xx(table, 1, 0x7F, F3, 16, Store);
        Xx(table, 1, 0xD6, P66, 8, Store);
        Add(table, 1, 0xD6, F3, Xmm, Mmx, 8, Write | RegisterOnly);
        Add(table, 1, 0xD6, F2, Mmx, Xmm, 8, Write | RegisterOnly);
        Add(table, 1, 0xE7, Plain, Mmx, Mmx, 8, Store | MemoryOnly);
        Xx(table, 1, 0xE7, P66, 16, Store | Aligned | MemoryOnly);
        Xx(table, 1, 0xF0, F2, 16, Write | MemoryOnly);
        Add(table, 1, 0xF7, Plain, Mmx, Mmx, 8, ReadsReg | ReadsRm | RegisterOnly | MaskedStore);
        Xx(table, 1, 0xF7, P66, 16, ReadsReg | ReadsRm | RegisterOnly | MaskedStore);
        Add(table, 1, 0x77, Plain, OperandKind.None, OperandKind.None, 0, EmptyMmx);
    }

    private static void AddFloatingPoint(ThunkForm[] table)
    {
        foreach (var opcode in (int[])[0x51, 0x58, 0x59, 0x5C, 0x5D, 0x5E, 0x5F, 0xC2])
        {
            var traits = Merge | FloatingPoint | (opcode == 0xC2 ? Immediate : 0);
            Xx(table, 1, opcode, Plain, 16, traits | Aligned);
            Xx(table, 1, opcode, P66, 16, traits | Aligned);
            Xx(table, 1, opcode, F3, 4, traits);
            Xx(table, 1, opcode, F2, 8, traits);
        }

        foreach (var opcode in (int[])[0x52, 0x53])
        {
            Xx(table, 1, opcode, Plain, 16, Write | Aligned);
            Xx(table, 1, opcode, F3, 4, Merge);
        }

        foreach (var prefix in (int[])[Plain, P66])
        {
            Xx(table, 1, 0x2E, prefix, prefix == Plain ? 4 : 8, ReadsReg | ReadsRm | FloatingPoint | SetsFlags);
            Xx(table, 1, 0x2F, prefix, prefix == Plain ? 4 : 8, ReadsReg | ReadsRm | FloatingPoint | SetsFlags);
            for (var opcode = 0x54; opcode <= 0x57; opcode++)
            {
                Xx(table, 1, opcode, prefix, 16, Merge | Aligned);
            }
        }

        foreach (var opcode in (int[])[0x7C, 0x7D, 0xD0])
        {
            Xx(table, 1, opcode, P66, 16, Merge | Aligned | FloatingPoint);
            Xx(table, 1, opcode, F2, 16, Merge | Aligned | FloatingPoint);
        }
    }

    private static void AddConversions(ThunkForm[] table)
    {
        Add(table, 1, 0x2A, Plain, Xmm, Mmx, 8, Merge | FloatingPoint);
        Add(table, 1, 0x2A, P66, Xmm, Mmx, 8, Write | FloatingPoint);
        foreach (var prefix in (int[])[Plain, P66])
        {
            ref var fromMmx = ref table[Index(1, 0x2A, prefix)];
            fromMmx.Traits = (fromMmx.Traits & ~MmxTransition) | MmxTransitionRegister;
        }

        Add(table, 1, 0x2A, F3, Xmm, General, 0, Merge | FloatingPoint);
        Add(table, 1, 0x2A, F2, Xmm, General, 0, Merge | FloatingPoint);
        foreach (var opcode in (int[])[0x2C, 0x2D])
        {
            Add(table, 1, opcode, Plain, Mmx, Xmm, 8, Write | FloatingPoint);
            Add(table, 1, opcode, P66, Mmx, Xmm, 16, Write | FloatingPoint | Aligned);
            Add(table, 1, opcode, F3, General, Xmm, 4, Write | FloatingPoint);
            Add(table, 1, opcode, F2, General, Xmm, 8, Write | FloatingPoint);
        }

        Xx(table, 1, 0x5A, Plain, 8, Write | FloatingPoint);
        Xx(table, 1, 0x5A, P66, 16, Write | FloatingPoint | Aligned);
        Xx(table, 1, 0x5A, F3, 4, Merge | FloatingPoint);
        Xx(table, 1, 0x5A, F2, 8, Merge | FloatingPoint);
        foreach (var prefix in (int[])[Plain, P66, F3])
        {
            Xx(table, 1, 0x5B, prefix, 16, Write | FloatingPoint | Aligned);
        }

        Xx(table, 1, 0xE6, P66, 16, Write | FloatingPoint | Aligned);
        Xx(table, 1, 0xE6, F2, 16, Write | FloatingPoint | Aligned);
        Xx(table, 1, 0xE6, F3, 8, Write | FloatingPoint);
    }

    private static void AddInteger(ThunkForm[] table)
    {
        for (var opcode = 0x60; opcode <= 0xFE; opcode++)
        {
            if (opcode is (>= 0x60 and <= 0x6B) or (>= 0x74 and <= 0x76) or 0xD1 or 0xD2 or 0xD3 or 0xD4 or 0xD5
                or (>= 0xD8 and <= 0xE5) or (>= 0xE8 and <= 0xEF) or (>= 0xF1 and <= 0xF6) or >= 0xF8)
            {
                Add(table, 1, opcode, Plain, Mmx, Mmx, opcode is 0x60 or 0x61 or 0x62 ? 4 : 8, Merge);
                Xx(table, 1, opcode, P66, 16, Merge | Aligned);
            }
        }

        Xx(table, 1, 0x6C, P66, 16, Merge | Aligned);
        Xx(table, 1, 0x6D, P66, 16, Merge | Aligned);
        Add(table, 1, 0x70, Plain, Mmx, Mmx, 8, Write | Immediate);
        foreach (var prefix in (int[])[P66, F3, F2])
        {
            Xx(table, 1, 0x70, prefix, 16, Write | Aligned | Immediate);
        }

        foreach (var (kind, prefix) in ((OperandKind, int)[])[(Mmx, Plain), (Xmm, P66)])
        {
            for (var opcode = 0x71; opcode <= 0x73; opcode++)
            {
                Add(table, 1, opcode, prefix, OperandKind.None, kind, 0, ReadsRm | WritesRm | RegisterOnly | Group | Immediate);
            }

            Add(table, 1, 0xC4, prefix, kind, General, 2, Merge | Immediate);
            Add(table, 1, 0xC5, prefix, General, kind, 0, Write | RegisterOnly | Immediate);
            Add(table, 1, 0xD7, prefix, General, kind, 0, Write | RegisterOnly);
        }
    }

    private static void AddMap38(ThunkForm[] table)
    {
        foreach (var opcode in (int[])[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0xA, 0xB, 0x1C, 0x1D, 0x1E])
        {
            Add(table, 2, opcode, Plain, Mmx, Mmx, 8, Merge);
            Xx(table, 2, opcode, P66, 16, Merge | Aligned);
        }

        foreach (var opcode in (int[])[0x10, 0x14, 0x15])
        {
            Xx(table, 2, opcode, P66, 16, Merge | Aligned | ImplicitXmm0);
        }

        Xx(table, 2, 0x17, P66, 16, ReadsReg | ReadsRm | Aligned | SetsFlags);
        foreach (var first in (int[])[0x20, 0x30])
        {
            ReadOnlySpan<byte> sizes = [8, 4, 2, 8, 4, 8];
            for (var i = 0; i < 6; i++)
            {
                Xx(table, 2, first + i, P66, sizes[i], Write);
            }
        }

        foreach (var opcode in (int[])[0x28, 0x29, 0x2B, 0x37, 0x38, 0x39, 0x3A, 0x3B, 0x3C, 0x3D, 0x3E, 0x3F, 0x40, 0xDC, 0xDD, 0xDE, 0xDF])
        {
            Xx(table, 2, opcode, P66, 16, Merge | Aligned);
        }

        Xx(table, 2, 0x2A, P66, 16, Write | Aligned | MemoryOnly);
        Xx(table, 2, 0x41, P66, 16, Write | Aligned);
        Xx(table, 2, 0xDB, P66, 16, Write | Aligned);
        for (var opcode = 0xC8; opcode <= 0xCD; opcode++)
        {
            Xx(table, 2, opcode, Plain, 16, Merge | Aligned | (opcode == 0xCB ? ImplicitXmm0 : 0));
        }
    }

    private static void AddMap3A(ThunkForm[] table)
    {
        Xx(table, 3, 0x08, P66, 16, Write | Aligned | FloatingPoint | Immediate);
        Xx(table, 3, 0x09, P66, 16, Write | Aligned | FloatingPoint | Immediate);
        Xx(table, 3, 0x0A, P66, 4, Merge | FloatingPoint | Immediate);
        Xx(table, 3, 0x0B, P66, 8, Merge | FloatingPoint | Immediate);
        foreach (var opcode in (int[])[0x0C, 0x0D, 0x0E, 0x0F, 0x42, 0x44])
        {
            Xx(table, 3, opcode, P66, 16, Merge | Aligned | Immediate);
        }

        Add(table, 3, 0x0F, Plain, Mmx, Mmx, 8, Merge | Immediate);
        Add(table, 3, 0x14, P66, Xmm, General, 1, Store | Immediate);
        Add(table, 3, 0x15, P66, Xmm, General, 2, Store | Immediate);
        Add(table, 3, 0x16, P66, Xmm, General, 0, Store | Immediate);
        Add(table, 3, 0x17, P66, Xmm, General, 4, Store | Immediate);
        Add(table, 3, 0x20, P66, Xmm, General, 1, Merge | Immediate);
        Xx(table, 3, 0x21, P66, 4, Merge | Immediate);
        Add(table, 3, 0x22, P66, Xmm, General, 0, Merge | Immediate);
        Xx(table, 3, 0x40, P66, 16, Merge | Aligned | FloatingPoint | Immediate);
        Xx(table, 3, 0x41, P66, 16, Merge | Aligned | FloatingPoint | Immediate);
        Xx(table, 3, 0x60, P66, 16, ReadsReg | ReadsRm | Immediate | SetsFlags | WritesXmm0 | ExplicitLengths);
        Xx(table, 3, 0x61, P66, 16, ReadsReg | ReadsRm | Immediate | SetsFlags | WritesRcx | ExplicitLengths);
        Xx(table, 3, 0x62, P66, 16, ReadsReg | ReadsRm | Immediate | SetsFlags | WritesXmm0);
        Xx(table, 3, 0x63, P66, 16, ReadsReg | ReadsRm | Immediate | SetsFlags | WritesRcx);
        Xx(table, 3, 0xCC, Plain, 16, Merge | Aligned | Immediate);
        Xx(table, 3, 0xDF, P66, 16, Write | Aligned | Immediate);
    }
}
