using System.Globalization;
using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Thunks;
using Vitro.Hypervisor.Software.Translator;
using Vitro.UnitTests.Architecture;
using Xunit;

namespace Vitro.UnitTests.Hypervisor.Software.Differential;

/// <summary>
/// The software engine against the host's own processor. With VITRO_LONG_TESTS=1 millions of cases are run, from a seed that
/// VITRO_TEST_SEED may give.
/// </summary>
public sealed class DifferentialTests
{
    private const int MaximumReports = 40;

    private static bool IsLong => Environment.GetEnvironmentVariable("VITRO_LONG_TESTS") == "1";

    private static string CasesFolder =>
        Path.Combine(Repository.Root, "tests", "UnitTests", "Hypervisor.Software", "Differential", "Cases");

    [Fact]
    public void Every_instruction_leaves_what_the_host_processor_leaves()
    {
        using var runner = new DifferentialRunner();
        var seed = Setting("VITRO_TEST_SEED", 1);
        var rounds = Setting("VITRO_TEST_ROUNDS", IsLong ? 20_000 : 250);
        var random = new Random(seed);
        var reports = new Dictionary<string, string>(StringComparer.Ordinal);
        var agreed = 0;
        Span<byte> code = stackalloc byte[15];
        for (var round = 0; round < rounds && reports.Count < MaximumReports; round++)
        {
            for (var slot = 0; slot < CodeGenerator.Slots; slot++)
            {
                code.Clear();
                CodeGenerator.Generate(random, slot, code);
                var state = random.Next();
                var outcome = runner.Run(code, state, step: (round & 1) != 0);
                if (outcome == CaseOutcome.Differed)
                {
                    // The host may interrupt the instruction with a signal, whose frame lands below the stack pointer: only a
                    // difference that comes again is one.
                    outcome = runner.Run(code, state, step: (round & 1) != 0);
                }

                switch (outcome)
                {
                    case CaseOutcome.Agreed:
                        agreed++;
                        break;
                    case CaseOutcome.Differed:
                        // One report for each mnemonic is enough to start from.
                        reports.TryAdd(runner.Report.Split(';')[1].Trim().Split(' ', ':')[0], runner.Report);
                        break;
                }
            }
        }

        VexForms.Run(runner, random, IsLong ? 2000 : 8, reports);
        Assert.True(reports.Count == 0, $"{agreed} agreed\n" + string.Join('\n', reports.Values));
        Assert.True(agreed > rounds * 100, $"Only {agreed} cases were compared.");
        Assert.Empty(MissingVectorForms(runner));
        Assert.Empty(VexForms.Missing(runner));
        Assert.Empty(IntegerOperations.Except(runner.Compared.Select(form => form.Operation)));
    }

    [Fact]
    public void Sequences_of_instructions_leave_what_the_host_processor_leaves()
    {
        using var runner = new DifferentialRunner();
        var generator = new SequenceGenerator(Setting("VITRO_TEST_SEED", 1));
        var count = Setting("VITRO_TEST_ROUNDS", IsLong ? 20_000 : 250) * 100;
        var reports = new List<string>();
        for (var i = 0; i < count && reports.Count < 10; i++)
        {
            var code = generator.Next();
            if (runner.RunSequence(code, i) == CaseOutcome.Differed && runner.RunSequence(code, i) == CaseOutcome.Differed)
            {
                reports.Add(runner.Report);
            }
        }

        Assert.True(reports.Count == 0, string.Join('\n', reports));
    }

    /// <summary>Operations below the system range that cannot be compared: branches, random numbers, 32-bit and pseudo instructions.</summary>
    private static IEnumerable<Operation> IntegerOperations => Enum.GetValues<Operation>()
        .Where(operation => operation < Operation.FirstSystem)
        .Except(
        [
            Operation.Invalid, Operation.Jmp, Operation.JmpIndirect, Operation.Jcc, Operation.Call, Operation.CallIndirect, Operation.Ret,
            Operation.Loop, Operation.Loope, Operation.Loopne, Operation.Jrcxz, Operation.PushAll, Operation.PopAll, Operation.Rdrand,
            Operation.Rdseed, Operation.Daa, Operation.Das, Operation.Aaa, Operation.Aas, Operation.Aam, Operation.Aad, Operation.Salc,
            Operation.BlockEnd,
        ]);

    private static int Setting(string name, int otherwise) =>
        int.TryParse(Environment.GetEnvironmentVariable(name), CultureInfo.InvariantCulture, out var value) ? value : otherwise;

    private static IEnumerable<string> MissingVectorForms(DifferentialRunner runner)
    {
        int[] prefixes = [0, 0x66, 0xF3, 0xF2];
        for (var map = 1; map <= 3; map++)
        {
            for (var opcode = 0; opcode < 256; opcode++)
            {
                for (var prefix = 0; prefix < 4; prefix++)
                {
                    foreach (var isMemory in (bool[])[false, true])
                    {
                        if (ThunkTable.TryFind(map, opcode, prefix, 2, out var form)
                            && !form.Has(isMemory ? ThunkTraits.RegisterOnly : ThunkTraits.MemoryOnly)
                            && !(isMemory && form.Has(ThunkTraits.EmptyMmx))
                            && !runner.Compared.Contains((Operation.Vector, map, opcode, prefixes[prefix], isMemory, Prefixes.None)))
                        {
                            yield return $"map {map} opcode {opcode:x2} prefix {prefixes[prefix]:x2} memory {isMemory}";
                        }
                    }
                }
            }
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Cases_that_once_differed_agree(bool translates)
    {
        using var runner = translates ? new DifferentialRunner(new TranslatorFactory()) : new DifferentialRunner();
        var reports = new List<string>();
        foreach (var line in Directory.EnumerateFiles(CasesFolder, "*.txt").SelectMany(File.ReadLines))
        {
            var fields = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (fields.Length < 2 || fields[0] == "#")
            {
                continue;
            }

            foreach (var step in (bool[])[false, true])
            {
                var code = Convert.FromHexString(fields[0]);
                var seed = int.Parse(fields[1], CultureInfo.InvariantCulture);
                var outcome = fields.Contains("sequence") ? runner.RunSequence(code, seed) : runner.Run(code, seed, step);
                if (outcome == CaseOutcome.Differed)
                {
                    reports.Add(runner.Report);
                }
            }
        }

        Assert.True(reports.Count == 0, string.Join('\n', reports));
    }
}
