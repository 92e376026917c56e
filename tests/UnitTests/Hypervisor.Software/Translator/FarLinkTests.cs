using Vitro.Hypervisor.Software.Translator;
using Xunit;

namespace Vitro.UnitTests.Hypervisor.Software.Translator;

/// <summary>Direct branches to other pages lead where the processor has those pages now.</summary>
public sealed unsafe class FarLinkTests
{
    private const ulong From = 0x120000;
    private const ulong Ahead = 0x130000;
    private const ulong Behind = 0x110000;
    private const ulong Elsewhere = 0x2A0000;
    private const int Seed = 5;

    public static TheoryData<PageSlotTests.Flush, ulong, ProgramMode> Flushes
    {
        get
        {
            var data = new TheoryData<PageSlotTests.Flush, ulong, ProgramMode>();
            foreach (var flush in Enum.GetValues<PageSlotTests.Flush>())
            {
                data.Add(flush, Ahead, ProgramMode.User64);
                data.Add(flush, Behind, ProgramMode.Code64);
                data.Add(flush, Ahead, ProgramMode.Compatibility);
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Flushes))]
    public void A_branch_follows_the_mapping_of_its_target_and_stays_linked(PageSlotTests.Flush flush, ulong target, ProgramMode mode)
    {
        using var machine = new ProgramMachine(new TranslatorFactory(), mode);
        PutBranch(machine, 0xE9, target);
        PutResult(machine, target, 1);
        PutResult(machine, Elsewhere, 2);

        Assert.Equal(1UL, Run(machine));
        Assert.Equal(1, machine.Exits("far"));
        machine.Map(target, Elsewhere);
        machine.Flush(flush, target);
        Assert.Equal(2UL, Run(machine));
        machine.Map(target, target);
        machine.Flush(flush, target);
        Assert.Equal(1UL, Run(machine));
        Assert.Equal(1UL, Run(machine));
        Assert.Equal(1, machine.Exits("far"));
    }

    [Theory]
    [InlineData(Ahead)]
    [InlineData(Behind)]
    public void A_branch_to_code_that_has_run_is_linked_without_an_exit(ulong target)
    {
        using var machine = new ProgramMachine(new TranslatorFactory { InterpretedRuns = 1 });
        PutBranch(machine, 0xE9, target);
        PutResult(machine, target, 1);

        Assert.Equal(1UL, Run(machine));
        Assert.Equal(0UL, machine.Cache.Translations!.Translated);
        Assert.Equal(1UL, Run(machine));
        Assert.Equal(2UL, machine.Cache.Translations!.Translated);
        Assert.Equal(1UL, Run(machine));
        Assert.Equal(0, machine.Exits("far"));
    }

    [Fact]
    public void A_linked_branch_asks_for_no_lookup()
    {
        using var machine = new ProgramMachine(new TranslatorFactory());
        PutBranch(machine, 0xE9, Ahead);
        PutResult(machine, Ahead, 1);
        Run(machine);
        var exits = machine.Exits("jump");
        Run(machine);
        Assert.Equal(exits, machine.Exits("jump"));
        Assert.Equal(1, machine.Exits("far"));
    }

    [Theory]
    [InlineData(0xE8)] // call
    [InlineData(0xE9)] // jmp
    public void A_branch_to_code_that_has_changed_runs_it_as_changed_and_is_linked_anew(byte opcode)
    {
        using var machine = new ProgramMachine(new TranslatorFactory());
        PutBranch(machine, opcode, ProgramMachine.CodeAddress);
        machine.Run(Result(1), Seed, From);
        Assert.Equal(1UL, machine.Gpr(0));
        machine.Run(Result(2), Seed, From);
        Assert.Equal(2UL, machine.Gpr(0));
        Assert.Equal(2, machine.Exits("far"));
    }

    [Fact]
    public void A_branch_into_an_instruction_across_a_page_s_end_goes_through_the_jump_cache()
    {
        using var machine = new ProgramMachine(new TranslatorFactory());
        PutBranch(machine, 0xE9, Ahead - 2);
        PutResult(machine, Ahead - 2, 3);
        Assert.Equal(3UL, Run(machine));
        var exits = machine.Exits("far");
        Assert.Equal(3UL, Run(machine));
        Assert.Equal(exits, machine.Exits("far"));
        *(uint*)machine.HostOf(Elsewhere) = 0xF4000001;
        machine.Map(Ahead, Elsewhere);
        machine.Mmu.FlushPage(Ahead);
        Assert.Equal(0x103UL, Run(machine));
    }

    [Fact]
    public void A_request_ends_a_loop_over_two_pages_without_an_exit()
    {
        using var machine = new ProgramMachine(new TranslatorFactory());
        var program = new byte[0x1005];
        byte[] there = [0xE9, 0xFB, 0x0F, 0x00, 0x00];
        byte[] back = [0xE9, 0xFB, 0xEF, 0xFF, 0xFF];
        there.CopyTo(program, 0);
        back.CopyTo(program, 0x1000);
        using var timer = new Timer(_ => machine.Cancel(), null, 50, 50);
        machine.RunUntilRequested(program, Seed);
        Assert.InRange(machine.Exits("far"), 0, 2);
    }

    private static ulong Run(ProgramMachine machine)
    {
        machine.Run([0xF4], Seed, From);
        return machine.Gpr(0);
    }

    private static void PutBranch(ProgramMachine machine, byte opcode, ulong target)
    {
        *machine.HostOf(From) = opcode;
        *(int*)machine.HostOf(From + 1) = (int)(target - (From + 5));
    }

    private static void PutResult(ProgramMachine machine, ulong gpa, byte value) => Result(value).CopyTo(new Span<byte>(machine.HostOf(gpa), 6));

    // mov eax, value; hlt
    private static byte[] Result(byte value) => [0xB8, value, 0x00, 0x00, 0x00, 0xF4];
}
