using System.Runtime.Intrinsics.X86;
using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Thunks;

namespace Vitro.UnitTests.Hypervisor.Software.Differential;

/// <summary>All VEX-encoded vector instructions of the engine's table.</summary>
internal static unsafe class VexForms
{
    private static readonly byte[] MandatoryPrefixes = [0, 0x66, 0xF3, 0xF2];

    /// <summary>Those that no comparison with the host has met; none where the host has no AVX2.</summary>
    internal static IEnumerable<string> Missing(DifferentialRunner runner)
    {
        foreach (var (instruction, form) in Avx2.IsSupported ? All() : [])
        {
            var vex = instruction.Prefixes & (Prefixes.Vex | Prefixes.VexL);
            var isCompared = form.Has(ThunkTraits.Gather) || runner.Compared.Contains((
                Operation.Vector, instruction.Map, instruction.Opcode, instruction.MandatoryPrefix, instruction.IsMemory, vex));
            if (!isCompared)
            {
                yield return $"VEX map {instruction.Map} opcode {instruction.Opcode:x2} prefix {instruction.MandatoryPrefix:x2} {vex}"
                    + (instruction.IsMemory ? " memory" : "");
            }
        }
    }

    /// <summary>Runs each several times with registers and operands made of a seed; reports what differs.</summary>
    internal static void Run(DifferentialRunner runner, Random random, int times, Dictionary<string, string> reports)
    {
        Span<byte> code = stackalloc byte[15];
        foreach (var (instruction, form) in Avx2.IsSupported ? All() : [])
        {
            for (var time = 0; time < times; time++)
            {
                random.NextBytes(code);
                Encode(instruction, form, random, code);
                var seed = random.Next();
                if (runner.Run(code, seed, (time & 1) != 0) == CaseOutcome.Differed
                    && runner.Run(code, seed, (time & 1) != 0) == CaseOutcome.Differed)
                {
                    reports.TryAdd(runner.Report.Split(';')[1].Trim().Split(' ', ':')[0], runner.Report);
                }
            }
        }
    }

    private static void Encode(in DecodedInstruction instruction, in ThunkForm form, Random random, Span<byte> code)
    {
        var prefix = Array.IndexOf(MandatoryPrefixes, instruction.MandatoryPrefix);
        var vvvv = form.Has(ThunkTraits.ReadsVvvv | ThunkTraits.WritesVvvv) ? random.Next(16) : 15;
        code[0] = 0xC4;
        code[1] = (byte)((random.Next(8) << 5) | instruction.Map);
        code[2] = (byte)(((instruction.Prefixes & Prefixes.RexW) != 0 ? 0x80 : 0) | (vvvv << 3)
            | ((instruction.Prefixes & Prefixes.VexL) != 0 ? 4 : 0) | prefix);
        code[3] = instruction.Opcode;
        var reg = form.Has(ThunkTraits.Group) ? 2 * random.Next(1, 4) : random.Next(8);

        // Memory: any base but RSP with a byte of displacement.
        var rm = instruction.IsMemory ? random.Next(3) : random.Next(8);
        code[4] = (byte)((instruction.IsMemory ? 0x40 : 0xC0) | (reg << 3) | rm);
    }

    /// <summary>Each with register and memory operands, both lengths and both values of W where they are legal; three registers where it has them.</summary>
    internal static List<(DecodedInstruction Instruction, ThunkForm Form)> All()
    {
        var all = new List<(DecodedInstruction, ThunkForm)>();
        for (var n = 0; n < 3 << 14; n++)
        {
            var instruction = new DecodedInstruction
            {
                Operation = Operation.Vector,
                Map = (byte)((n >> 14) + 1),
                Opcode = (byte)(n >> 6),
                MandatoryPrefix = MandatoryPrefixes[(n >> 4) & 3],
                ModRm = 0x10,
                Index = 5,
                Vvvv = (byte)((n & 8) != 0 ? 3 : 0),
                AddressSize = 8,
                OperandSize = 8,
                Prefixes = Prefixes.Vex | ((n & 1) != 0 ? Prefixes.VexL : 0) | ((n & 2) != 0 ? Prefixes.RexW : 0)
                    | ((n & 4) != 0 ? Prefixes.Memory : 0),
            };
            if (VexTable.TryFind(&instruction, out var form) && form.Has(ThunkTraits.ReadsVvvv | ThunkTraits.WritesVvvv) == (instruction.Vvvv != 0))
            {
                all.Add((instruction, form));
            }
        }

        return all;
    }
}
