using Vitro.Hypervisor.Software;
using Xunit;

namespace Vitro.UnitTests.Hypervisor.Software.Interpreter;

/// <summary>A fault leaves an instruction as if it had not begun, but for the steps a string instruction has completed.</summary>
public sealed unsafe class RestartTests
{
    private const ulong Code = TestProcessor.Code;
    private const ulong Data = InterpreterMachine.Data;
    private const ulong Hole = InterpreterMachine.Hole;

    [Fact]
    public void A_repeated_move_stops_at_the_page_that_faults()
    {
        using var machine = new InterpreterMachine();
        machine.Write(Code, 0xF3, 0xA4, 0xF4); // rep movsb; hlt
        machine.Start(withHole: true);
        machine.Rsi = Data;
        machine.Rdi = Hole - 5000;
        machine.Rcx = 6000;
        machine.Run();

        Assert.Equal(14, machine.Vector);
        Assert.Equal(1000UL, machine.Rcx);
        Assert.Equal(Hole, machine.Rdi);
        Assert.Equal(Data + 5000, machine.Rsi);
        Assert.Equal(Code, machine.FaultRip(hasErrorCode: true));
    }

    [Fact]
    public void A_repeated_store_backwards_stops_at_the_page_that_faults()
    {
        using var machine = new InterpreterMachine();
        machine.Write(Code, 0xFD, 0xF3, 0xAB, 0xF4); // std; rep stosd; hlt
        machine.Start(withHole: true);
        machine.Rdi = Hole + 0x20_0000 + 8;
        machine.Rcx = 10;
        machine.Run();

        Assert.Equal(14, machine.Vector);
        Assert.Equal(7UL, machine.Rcx);
        Assert.Equal(Hole + 0x20_0000 - 4, machine.Rdi);
    }

    [Fact]
    public void A_move_onto_its_own_source_repeats_the_pattern()
    {
        using var machine = new InterpreterMachine();
        machine.Write(Code, 0xF3, 0xA4, 0xF4);
        machine.Write(Data, 1, 2, 3);
        machine.Start();
        machine.Rsi = Data;
        machine.Rdi = Data + 3;
        machine.Rcx = 9;
        machine.Run();

        Assert.Equal([1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3], machine.Read(Data, 12));
    }

    [Fact]
    public void A_long_repeated_store_lets_a_request_in_and_goes_on()
    {
        using var machine = new InterpreterMachine();
        machine.Write(Code, 0xF3, 0xAA, 0xF4); // rep stosb; hlt
        machine.Start();
        machine.Rax = 0x55;
        machine.Rdi = Data;
        machine.Rcx = 100_000;
        machine.State->Requests = (uint)VpRequest.Cancel;
        machine.Run();

        Assert.InRange(machine.Rcx, 1UL, 99_999UL);
        Assert.Equal(Code, machine.State->Rip);

        machine.State->Requests = 0;
        machine.Run();

        Assert.Equal(0UL, machine.Rcx);
        Assert.Equal(0x55, machine.Read(Data + 99_999, 1)[0]);
        Assert.Equal(0, machine.Read(Data + 100_000, 1)[0]);
    }

    [Theory]
    [InlineData("8F0425000060 00F4")] // pop qword [hole]
    [InlineData("480FC10425000060 00F4")] // xadd [hole], rax
    [InlineData("48FF3425000060 00F4")] // push qword [hole]
    [InlineData("4803042500006000F4")] // add rax, [hole]
    [InlineData("4801042500006000F4")] // add [hole], rax
    [InlineData("480FB10C2500006000F4")] // cmpxchg [hole], rcx
    [InlineData("F0480FC70C2500006000F4")] // lock cmpxchg16b [hole]
    [InlineData("48870C2500006000F4")] // xchg [hole], rcx
    [InlineData("48D3242500006000F4")] // shl qword [hole], cl
    [InlineData("480FAB042500006000F4")] // bts [hole], rax
    [InlineData("FF142500006000F4")] // call [hole]
    public void A_fault_on_memory_changes_no_register_and_no_flag(string code)
    {
        using var machine = new InterpreterMachine();
        machine.Write(Code, Convert.FromHexString(code.Replace(" ", "", StringComparison.Ordinal)));
        machine.Start(withHole: true);
        for (var n = 0; n < 16; n++)
        {
            if (n != 4)
            {
                machine.State->Gpr[n] = (ulong)n * 3;
            }
        }

        var flags = machine.State->SystemFlags;
        var arithmetic = Vitro.Hypervisor.Software.Decoding.LazyFlags.Get(machine.State);
        machine.Run();

        Assert.Equal(14, machine.Vector);
        Assert.Equal(Hole, machine.State->Cr2);
        Assert.Equal(Code, machine.FaultRip(hasErrorCode: true));
        Assert.Equal(TestProcessor.Stack, machine.ReadWord(machine.State->Gpr[4] + 32));
        for (var n = 0; n < 16; n++)
        {
            if (n != 4)
            {
                Assert.Equal((ulong)n * 3, machine.State->Gpr[n]);
            }
        }

        Assert.Equal(flags | arithmetic | 0x1_0002, machine.ReadWord(machine.State->Gpr[4] + 24));
    }

    [Fact]
    public void A_push_to_a_page_that_is_not_there_leaves_the_stack_pointer()
    {
        using var machine = new InterpreterMachine();
        machine.Write(Code, 0x50, 0xF4);
        machine.Start(withHole: true);
        machine.State->Gpr[4] = Hole + 8;
        machine.Run();

        // The frame goes below, to the page before the hole, and holds the stack pointer from before the push.
        Assert.Equal(14, machine.Vector);
        Assert.Equal(Hole + 8, machine.ReadWord(machine.State->Gpr[4] + 32));
    }

    [Fact]
    public void A_divide_error_points_to_the_division()
    {
        using var machine = new InterpreterMachine();
        machine.Write(Code, 0x90, 0x48, 0xF7, 0xF1, 0xF4); // nop; div rcx; hlt
        machine.Start();
        machine.Rax = 5;
        machine.Run();

        Assert.Equal(0, machine.Vector);
        Assert.Equal(Code + 1, machine.FaultRip(hasErrorCode: false));
        Assert.Equal(5UL, machine.Rax);
    }

    [Fact]
    public void A_word_in_two_pages_loads_and_stores()
    {
        using var machine = new InterpreterMachine();
        machine.Write(Code, 0x48, 0x8B, 0x06, 0x48, 0x89, 0x07, 0xF4); // mov rax, [rsi]; mov [rdi], rax; hlt
        machine.Write(Data + 0xFFB, 1, 2, 3, 4, 5, 6, 7, 8);
        machine.Start();
        machine.Rsi = Data + 0xFFB;
        machine.Rdi = Data + 0x1FFD;
        machine.Run();

        Assert.Equal(0x0807060504030201UL, machine.ReadWord(Data + 0x1FFD));
    }
}
