using Xunit;

namespace Vitro.UnitTests.Hypervisor.Software.Interpreter;

/// <summary>Decoded blocks follow the bytes they were made of.</summary>
public sealed class CodeCacheTests
{
    private const ulong Code = TestProcessor.Code;

    [Fact]
    public void A_store_into_the_running_block_shows_in_its_next_instruction()
    {
        using var machine = new InterpreterMachine();

        // mov byte [rip+1], 7: the immediate of the next instruction; mov eax, 1; hlt
        machine.Write(Code, 0xC6, 0x05, 0x01, 0x00, 0x00, 0x00, 0x07, 0xB8, 0x01, 0x00, 0x00, 0x00, 0xF4);
        machine.Start();
        machine.Run();

        Assert.Equal(7UL, machine.Rax);
        Assert.Equal(-1, machine.Vector);
    }

    [Fact]
    public void A_store_through_another_mapping_of_the_code_shows()
    {
        using var machine = new InterpreterMachine();
        machine.Start();
        machine.Alias(0xA0_0000, 0x20_0000);

        // mov byte [0xB00009], 7; mov eax, 1; hlt
        machine.Write(Code, 0xC6, 0x04, 0x25, 0x09, 0x00, 0xB0, 0x00, 0x07, 0xB8, 0x01, 0x00, 0x00, 0x00, 0xF4);
        machine.Run();

        Assert.Equal(7UL, machine.Rax);
    }

    [Fact]
    public void A_store_beside_the_code_drops_nothing()
    {
        using var machine = new InterpreterMachine();

        // mov dword [rip+0x100], eax; hlt
        machine.Write(Code, 0x89, 0x05, 0x00, 0x01, 0x00, 0x00, 0xF4);
        machine.Start();
        machine.Run();

        Assert.Equal(0UL, machine.Cache.Dropped);
    }

    [Fact]
    public void A_store_into_the_line_of_code_but_not_into_its_bytes_drops_nothing()
    {
        using var machine = new InterpreterMachine();

        // mov byte [rip+0x10], al; hlt
        machine.Write(Code, 0x88, 0x05, 0x10, 0x00, 0x00, 0x00, 0xF4);
        machine.Start();
        machine.Run();

        Assert.Equal(0UL, machine.Cache.Dropped);
    }

    [Fact]
    public void What_the_host_writes_is_run_the_next_time()
    {
        using var machine = new InterpreterMachine();
        machine.Write(Code, 0xB8, 0x01, 0x00, 0x00, 0x00, 0xF4);
        machine.Start();
        machine.Run();
        machine.Write(Code + 1, 0x05);
        machine.Start();
        machine.Run();

        Assert.Equal(5UL, machine.Rax);
    }

    [Fact]
    public void A_block_that_another_is_linked_to_is_looked_up_anew_once_it_changed()
    {
        using var machine = new InterpreterMachine();

        // mov eax, 1; jmp +0; mov ecx, 2; hlt
        machine.Write(Code, 0xB8, 0x01, 0x00, 0x00, 0x00, 0xEB, 0x00, 0xB9, 0x02, 0x00, 0x00, 0x00, 0xF4);
        for (var round = 0; round < 3; round++)
        {
            machine.Start();
            machine.Run();
        }

        machine.Write(Code + 8, 0x09);
        machine.Start();
        machine.Run();

        Assert.Equal(9UL, machine.Rcx);
    }

    [Fact]
    public void Unchanged_code_is_decoded_once()
    {
        using var machine = new InterpreterMachine();
        machine.Write(Code, 0xB8, 0x01, 0x00, 0x00, 0x00, 0xF4);
        machine.Start();
        machine.Run();
        var decoded = machine.Cache.Decoded;
        machine.Start();
        machine.Run();

        Assert.Equal(decoded, machine.Cache.Decoded);
    }

    [Fact]
    public void An_instruction_across_two_pages_runs()
    {
        using var machine = new InterpreterMachine();
        machine.Write(Code + 0xFFE, 0xB8, 0x44, 0x33, 0x22, 0x11, 0xF4);
        machine.Start(Code + 0xFFE);
        machine.Run();

        Assert.Equal(0x11223344UL, machine.Rax);
    }

    [Theory]
    [InlineData(0xFFF)]
    [InlineData(0x1001)]
    public void An_instruction_across_two_pages_follows_a_change_of_either(int offset)
    {
        using var machine = new InterpreterMachine();
        machine.Write(Code + 0xFFE, 0xB8, 0x44, 0x33, 0x22, 0x11, 0xF4);
        machine.Start(Code + 0xFFE);
        machine.Run();
        machine.Write(Code + (ulong)offset, 0x77);
        machine.Start(Code + 0xFFE);
        machine.Run();

        Assert.Equal(offset == 0xFFF ? 0x11223377UL : 0x11773344UL, machine.Rax);
    }

    [Fact]
    public void An_instruction_into_a_page_that_is_not_there_faults_with_that_pages_address()
    {
        using var machine = new InterpreterMachine();
        machine.Write(InterpreterMachine.Hole - 2, 0xB8, 0x01);
        machine.Start(InterpreterMachine.Hole - 2, withHole: true);
        machine.Run();

        Assert.Equal(14, machine.Vector);
        Assert.Equal(InterpreterMachine.Hole, Cr2(machine));
        Assert.Equal(InterpreterMachine.Hole - 2, machine.FaultRip(hasErrorCode: true));
    }

    [Fact]
    public void Instructions_before_a_page_that_is_not_there_run_first()
    {
        using var machine = new InterpreterMachine();
        machine.Write(InterpreterMachine.Hole - 5, 0xB8, 0x05, 0x00, 0x00, 0x00);
        machine.Start(InterpreterMachine.Hole - 5, withHole: true);
        machine.Run();

        Assert.Equal(5UL, machine.Rax);
        Assert.Equal(InterpreterMachine.Hole, machine.FaultRip(hasErrorCode: true));
    }

    [Fact]
    public void Sixteen_bytes_raise_a_general_protection_fault()
    {
        using var machine = new InterpreterMachine();
        var code = new byte[17];
        Array.Fill(code, (byte)0x66);
        code[15] = 0x90;
        machine.Write(Code, code);
        machine.Start();
        machine.Run();

        Assert.Equal(13, machine.Vector);
    }

    [Fact]
    public void A_loop_counts_every_instruction()
    {
        using var machine = new InterpreterMachine();

        // mov ecx, 1000; sub ecx, 1; jne -5; hlt
        machine.Write(Code, 0xB9, 0xE8, 0x03, 0x00, 0x00, 0x83, 0xE9, 0x01, 0x75, 0xFB, 0xF4);
        machine.Start();
        var before = Count(machine);
        machine.Run();

        Assert.Equal(2002UL, Count(machine) - before);
    }

    [Fact]
    public void More_code_than_the_cache_holds_empties_it_and_runs_on()
    {
        using var machine = new InterpreterMachine();
        const ulong First = 0x80_0000;
        const int Length = 0x28_0000;
        var code = new byte[Length + 6];
        Array.Fill(code, (byte)0x90);
        ReadOnlySpan<byte> end = [0xB8, 0x07, 0x00, 0x00, 0x00, 0xF4]; // mov eax, 7; hlt
        end.CopyTo(code.AsSpan(Length));
        machine.Write(First, code);
        machine.Start(First);
        machine.Run();

        Assert.Equal(7UL, machine.Rax);
        Assert.NotEqual(0UL, machine.Cache.Emptied);
    }

    private static unsafe ulong Count(InterpreterMachine machine) => machine.State->InstructionCount;

    private static unsafe ulong Cr2(InterpreterMachine machine) => machine.State->Cr2;
}
