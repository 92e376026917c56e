using Vitro.Foundation;
using Vitro.Hypervisor.Software;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vitro.UnitTests.Hypervisor.Software.Translator;

/// <summary>RDTSC in translated code: the partition's counter, read without an exit where time is the host's.</summary>
public sealed unsafe class TimeStampCounterTests
{
    private const ulong Results = DebuggedMachine.Data;
    private const int Times = 100;

    [Theory]
    [InlineData(0UL)]
    [InlineData(2_900_000_000UL)]
    public void It_counts_what_the_partition_counts_and_spoils_nothing(ulong frequency)
    {
        using var machine = new DebuggedMachine(translates: true, time: TimeProvider.System, tscFrequency: frequency);
        var state = machine.State;
        WriteLoop(machine);
        state->TscOffset = 12_345_678_901;
        state->TscAux = 7;
        for (var run = 0; run < 2; run++)
        {
            for (var n = 0; n < 16; n++)
            {
                state->Gpr[n] = 0x1111_1111_1111_1111UL * (ulong)n;
            }

            state->Gpr[4] = TestProcessor.Stack;
            var before = machine.Vp.ReadTsc();
            machine.Run();
            var after = machine.Vp.ReadTsc();
            for (var at = Results; at < Results + (Times * 16); at += 8)
            {
                Assert.InRange(machine.ReadWord(at), before, after);
                before = machine.ReadWord(at);
            }

            Assert.Equal(7UL, state->Gpr[1]);
            Assert.Equal(1UL, state->Gpr[15]);
            ulong[] kept = [3, 5, 6, 8, 9, 10, 11, 12, 13];
            Assert.All(kept, n => Assert.Equal(0x1111_1111_1111_1111UL * n, machine.State->Gpr[n]));
        }

        Assert.InRange(machine.Interpreted("Rdtsc", "Rdtscp"), 0, 2);
    }

    [Fact]
    public void It_stands_still_with_the_clock_s_time()
    {
        using var machine = new DebuggedMachine(translates: true);
        WriteLoop(machine);
        machine.Run();
        Assert.Equal(machine.Vp.ReadTsc(), machine.ReadWord(Results));
        Assert.Equal(machine.Vp.ReadTsc(), machine.ReadWord(Results + (Times * 16) - 8));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_program_is_refused_it_when_the_kernel_says_so(bool isRefused)
    {
        using var machine = new DebuggedMachine(translates: true, cpl: 3, time: TimeProvider.System);
        machine.SetGate(13, TestProcessor.Handler);
        machine.Write(TestProcessor.Handler, c =>
        {
            c.mov(ebx, 13);
            c.hlt();
        });
        machine.Write(TestProcessor.Code, c =>
        {
            c.xor(ebx, ebx);
            c.rdtsc();
            c.@int(DebuggedMachine.Stop);
        });
        machine.State->Cr4 |= isRefused ? ControlBits.Cr4Tsd : 0;
        machine.Run();
        Assert.Equal(isRefused ? 13UL : 0, machine.State->Gpr[3]);
    }

    // Reads it twice, a hundred times; R15 is 1 unless a carry is lost. RCX, RDX, RAX, RDI and R14 are not kept.
    private static void WriteLoop(DebuggedMachine machine) => machine.Write(TestProcessor.Code, c =>
    {
        var again = c.CreateLabel();
        c.mov(r14d, Times);
        c.mov(edi, (uint)Results);
        c.mov(r15d, 1);
        c.Label(ref again);
        c.stc();
        c.rdtsc();
        c.mov(rcx, 0);
        c.adc(rcx, 0);
        c.and(r15, rcx);
        c.shl(rdx, 32);
        c.or(rax, rdx);
        c.mov(__qword_ptr[rdi], rax);
        c.rdtscp();
        c.shl(rdx, 32);
        c.or(rax, rdx);
        c.mov(__qword_ptr[rdi + 8], rax);
        c.add(rdi, 16);
        c.dec(r14d);
        c.jnz(again);
        c.hlt();
    });
}
