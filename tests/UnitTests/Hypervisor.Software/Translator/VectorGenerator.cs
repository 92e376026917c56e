using System.Runtime.Intrinsics.X86;
using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Thunks;
using Vitro.Hypervisor.Software.Vector;
using Vitro.UnitTests.Hypervisor.Software.Differential;

namespace Vitro.UnitTests.Hypervisor.Software.Translator;

/// <summary>Random vector instructions for <see cref="ProgramGenerator"/>: every form but those that store under a mask; and x87.</summary>
internal static class VectorGenerator
{
    private const ThunkTraits Excluded = ThunkTraits.MaskedStore | ThunkTraits.EmptyMmx;

    private static readonly List<(DecodedInstruction Instruction, ThunkForm Form)> Vex =
        [.. VexForms.All().Where(form => !form.Form.Has(ThunkTraits.Gather | ThunkTraits.MaskedStore))];

    private static readonly (int Map, int Opcode, int Prefix)[] Legacy = [.. Enumerate()];

    /// <summary>Writes one; the memory operand lies around the page border RBX points to, mostly aligned.</summary>
    internal static void Emit(Random random, List<byte> code, Func<bool, int> register)
    {
        switch (random.Next(8))
        {
            case < 4 when Avx2.IsSupported:
                EmitVex(random, code, register);
                return;
            case 7:
                EmitX87(random, code);
                return;
        }

        var (map, opcode, prefix) = Legacy[random.Next(Legacy.Length)];
        var extension = random.Next(8);
        while (!ThunkTable.TryFind(map, opcode, prefix, extension, out _))
        {
            extension = random.Next(8);
        }

        _ = ThunkTable.TryFind(map, opcode, prefix, extension, out var form);
        var isMemory = !form.Has(ThunkTraits.RegisterOnly) && (form.Has(ThunkTraits.MemoryOnly) || random.Next(2) == 0);
        var reg = form.Has(ThunkTraits.Group) ? extension
            : form.Reg == OperandKind.General ? register(true) : random.Next(16);
        var rm = isMemory ? 3 : form.Rm == OperandKind.General ? register(form.Has(ThunkTraits.WritesRm)) : random.Next(16);
        if (prefix > 0)
        {
            code.Add(prefix switch { 1 => 0x66, 2 => 0xF3, _ => 0xF2 });
        }

        var rex = 0x40 | (random.Next(2) * 8) | ((reg >> 3) << 2) | (rm >> 3);
        if (rex != 0x40)
        {
            code.Add((byte)rex);
        }

        code.Add(0x0F);
        if (map > 1)
        {
            code.Add((byte)(map == 2 ? 0x38 : 0x3A));
        }

        code.Add((byte)opcode);
        code.Add((byte)((isMemory ? 0x40 : 0xC0) | ((reg & 7) << 3) | (rm & 7)));
        if (isMemory)
        {
            var isAligned = form.Has(ThunkTraits.Aligned) ? random.Next(100) != 0 : random.Next(4) == 0;
            code.Add((byte)(sbyte)(isAligned ? random.Next(-4, 4) * 16 : random.Next(-64, 64)));
        }

        if (form.Has(ThunkTraits.Immediate))
        {
            code.Add((byte)random.Next(256));
        }
    }

    private static void EmitX87(Random random, List<byte> code)
    {
        if (random.Next(16) == 0)
        {
            // fwait, fnstsw ax, fnclex, fninit, emms; seldom fldcw [rbx]; fnstcw [rbx]
            code.AddRange((ReadOnlySpan<byte>)(random.Next(8) switch
            {
                0 => [0x9B],
                1 => [0xDF, 0xE0],
                2 => [0xDB, 0xE2],
                3 => [0xDB, 0xE3],
                4 => random.Next(8) == 0 ? [0xD9, 0x6B, 0x07] : [0x90],
                5 => [0xD9, 0x7B, 0x11],
                6 => [0xDD, 0x7B, 0xFF],
                _ => [0x0F, 0x77],
            }));
            return;
        }

        while (true)
        {
            var opcode = 0xD8 + random.Next(8);
            var modRm = random.Next(256);
            if (modRm >= 0xC0)
            {
                if (X87Form.IsRegisterForm(opcode, modRm))
                {
                    code.Add((byte)opcode);
                    code.Add((byte)modRm);
                    return;
                }
            }
            else if (X87Form.MemorySize(opcode, (modRm >> 3) & 7, out _) != 0)
            {
                code.Add((byte)opcode);
                code.Add((byte)(0x43 | (modRm & 0x38)));
                code.Add((byte)random.Next(256));
                return;
            }
        }
    }

    private static void EmitVex(Random random, List<byte> code, Func<bool, int> register)
    {
        var (instruction, form) = Vex[random.Next(Vex.Count)];
        var isMemory = instruction.IsMemory;
        var reg = form.Has(ThunkTraits.Group) ? 2 : form.Reg == OperandKind.General ? register(true) : random.Next(16);
        var rm = isMemory ? 3 : form.Rm == OperandKind.General ? register(form.Has(ThunkTraits.WritesRm)) : random.Next(16);
        var vvvv = form.Has(ThunkTraits.ReadsVvvv | ThunkTraits.WritesVvvv) ? random.Next(16) : 0;
        var isLong = (instruction.Prefixes & Prefixes.VexL) != 0;
        var prefix = instruction.MandatoryPrefix switch { 0x66 => 1, 0xF3 => 2, 0xF2 => 3, _ => 0 };
        code.Add(0xC4);
        code.Add((byte)(((~reg & 8) << 4) | 0x40 | ((~rm & 8) << 2) | instruction.Map));
        code.Add((byte)(((instruction.Prefixes & Prefixes.RexW) != 0 ? 0x80 : 0) | ((~vvvv & 15) << 3) | (isLong ? 4 : 0) | prefix));
        code.Add(instruction.Opcode);
        if (form.Has(ThunkTraits.ClearsUppers))
        {
            return;
        }

        code.Add((byte)((isMemory ? 0x40 : 0xC0) | ((reg & 7) << 3) | (rm & 7)));
        if (isMemory)
        {
            var isAligned = form.Has(ThunkTraits.Aligned) ? random.Next(100) != 0 : random.Next(4) == 0;
            code.Add((byte)(sbyte)(isAligned ? random.Next(-2, 2) * 32 : random.Next(-64, 64)));
        }

        if (form.Has(ThunkTraits.Immediate))
        {
            code.Add((byte)random.Next(256));
        }
    }

    private static IEnumerable<(int Map, int Opcode, int Prefix)> Enumerate()
    {
        for (var map = 1; map <= 3; map++)
        {
            for (var opcode = 0; opcode < 256; opcode++)
            {
                for (var prefix = 0; prefix < 4; prefix++)
                {
                    if (ThunkTable.TryFind(map, opcode, prefix, 2, out var form) && !form.Has(Excluded))
                    {
                        yield return (map, opcode, prefix);
                    }
                }
            }
        }
    }
}
