using Vitro.Hypervisor.Software;
using Vitro.Hypervisor.Software.Decoding;
using Xunit;

namespace Vitro.UnitTests.Hypervisor.Software.Translator;

/// <summary>CMPS, SCAS and single string instructions over pages' ends, into memory that is not there, without elements and downward, as the interpreter does them.</summary>
public sealed unsafe class StringCompareTests : IDisposable
{
    // RAM ends at 16 MiB, and with it what is mapped.
    private const ulong End = 16 << 20;
    private const ulong Start = End - (3 * Page);
    private const int Page = 4096;

    private readonly DebuggedMachine _translated = new(translates: true);
    private readonly DebuggedMachine _interpreted = new(translates: false);

    [Fact]
    public void All_end_as_in_the_interpreter()
    {
        Prepare(_translated);
        Prepare(_interpreted);
        var seed = int.TryParse(Environment.GetEnvironmentVariable("VITRO_TEST_SEED"), out var given) ? given : 1;
        var random = new Random(seed);
        var rounds = Environment.GetEnvironmentVariable("VITRO_LONG_TESTS") == "1" ? 30_000 : 1500;
        var operations = (ReadOnlySpan<byte>)[0xA6, 0xA7, 0xAE, 0xAF];
        for (var round = 0; round < rounds; round++)
        {
            var isSingle = random.Next(4) == 0;
            List<byte> code = [0x9D]; // popf
            if (random.Next(8) == 0)
            {
                code.Add(0xFD); // std
            }

            if (!isSingle)
            {
                code.Add((byte)(0xF2 + random.Next(2)));
            }

            var size = random.Next(4);
            if (size == 1)
            {
                code.Insert(code.Count - (isSingle ? 0 : 1), 0x66);
            }
            else if (size == 3)
            {
                code.Add(0x48);
            }

            var operation = isSingle ? (byte)(0xA4 + (random.Next(2) == 0 ? random.Next(4) : 6 + random.Next(6))) : operations[random.Next(4)];
            code.AddRange([(byte)(size == 0 ? operation & ~1 : operation | 1), 0x9C, 0x5A, 0xFC, 0xF4]); // ..., pushf, pop rdx, cld, hlt
            var registers = new ulong[16];
            registers[0] = random.Next(3) == 0 ? (ulong)random.NextInt64() : 0x5A5A_5A5A_5A5A_5A5A;
            registers[1] = random.Next(4) switch { 0 => 0, 1 => ulong.MaxValue, 2 => (ulong)random.Next(20), _ => (ulong)random.Next(2 * Page) };
            registers[6] = Place(random);
            registers[7] = Place(random);
            var odd = Start + (ulong)random.Next(3 * Page);
            var flags = RFlags.Fixed | ((uint)random.Next() & LazyFlags.All);
            var expected = Run(_interpreted, code, registers, odd, flags);
            var actual = Run(_translated, code, registers, odd, flags);
            Assert.True(expected == actual, $"seed {seed} round {round}: {Convert.ToHexString([.. code])}\n{expected}\n{actual}");
        }
    }

    [Fact]
    public void A_long_comparison_is_interrupted()
    {
        // Memory that is equal to itself: no page's end, no difference, and a request that comes before the first page's end.
        Prepare(_translated);
        var state = _translated.State;
        _translated.Vp.Partition.Options.Gpa.TryWrite(TestProcessor.Code, [0xFC, 0xF3, 0xA6, 0xF4]); // cld; repe cmpsb; hlt
        state->Gpr[1] = 3 * Page;
        state->Gpr[6] = Start;
        state->Gpr[7] = Start;
        _translated.RunBlock(TestProcessor.Code);
        Assert.InRange(state->Gpr[1], 1UL, 2UL * Page);
        Assert.Equal(3UL * Page, state->Gpr[1] + state->Gpr[6] - Start);
        Assert.Equal(TestProcessor.Code + 1, state->Rip);
        _translated.Run(state->Rip);
        Assert.Equal(0UL, state->Gpr[1]);
        Assert.Equal(End, state->Gpr[7]);
    }

    public void Dispose()
    {
        _translated.Dispose();
        _interpreted.Dispose();
    }

    private static ulong Place(Random random) => random.Next(4) switch
    {
        0 => Start + (ulong)random.Next(2 * Page),
        1 => Start + Page - (ulong)random.Next(40),
        2 => End - (ulong)random.Next(80),
        _ => Start + (ulong)random.Next(64),
    };

    private static void Prepare(DebuggedMachine machine)
    {
        machine.SetGate(14, TestProcessor.Handler, ist: 1);
        machine.Write(TestProcessor.Handler, c =>
        {
            c.cld();
            c.hlt();
        });
        Span<byte> page = stackalloc byte[Page];
        page.Fill(0x5A);
        for (var at = Start; at < End; at += Page)
        {
            Assert.True(machine.Vp.Partition.Options.Gpa.TryWrite(at, page));
        }
    }

    // One byte of the memory is another one meanwhile.
    private static string Run(DebuggedMachine machine, List<byte> code, ulong[] registers, ulong odd, uint flags)
    {
        var gpa = machine.Vp.Partition.Options.Gpa;
        gpa.TryWrite(TestProcessor.Code, [.. code]);
        gpa.TryWrite(odd, [0xA5]);
        var state = machine.State;
        registers.CopyTo(new Span<ulong>(state->Gpr, 16));
        state->Gpr[4] = TestProcessor.Stack;
        state->Cr2 = 0;
        machine.WriteWord(TestProcessor.Stack, flags);
        machine.Run();
        var text = $"rip {state->Rip:x} cr2 {state->Cr2:x}";
        for (var n = 0; n < 8; n++)
        {
            text += $" {state->Gpr[n]:x}";
        }

        Span<byte> memory = stackalloc byte[3 * Page];
        Assert.True(gpa.TryRead(Start, memory));
        var different = memory.IndexOfAnyExcept((byte)0x5A);
        text += $" {different} {(different < 0 ? 0 : memory[different])}";
        memory.Fill(0x5A);
        gpa.TryWrite(Start, memory);
        return text;
    }
}
