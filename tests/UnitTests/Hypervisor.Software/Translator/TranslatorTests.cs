using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Software;
using Vitro.Hypervisor.Software.Translator;
using Vitro.UnitTests.Hypervisor.Software.Differential;
using Xunit;

namespace Vitro.UnitTests.Hypervisor.Software.Translator;

public sealed class TranslatorTests
{
    [Fact]
    public void Every_translated_instruction_leaves_what_the_host_processor_leaves()
    {
        using var runner = new DifferentialRunner(new TranslatorFactory());
        var seed = int.TryParse(Environment.GetEnvironmentVariable("VITRO_TEST_SEED"), out var given) ? given : 7;
        var rounds = Environment.GetEnvironmentVariable("VITRO_LONG_TESTS") == "1" ? 20_000 : 300;
        var random = new Random(seed);
        var reports = new Dictionary<string, string>(StringComparer.Ordinal);
        Span<byte> code = stackalloc byte[15];
        for (var round = 0; round < rounds && reports.Count < 40; round++)
        {
            for (var slot = 0; slot < CodeGenerator.Slots; slot++)
            {
                code.Clear();
                CodeGenerator.Generate(random, slot, code);
                if (runner.Run(code, random.Next(), step: false) == CaseOutcome.Differed)
                {
                    reports.TryAdd(runner.Report.Split(';')[1].Trim().Split(' ', ':')[0], runner.Report);
                }
            }
        }

        VexForms.Run(runner, random, times: rounds / 50, reports);
        Assert.True(reports.Count == 0, string.Join('\n', reports.Values));
    }

    [Theory]
    [InlineData(ProgramMode.Code64, 0, 0)]
    [InlineData(ProgramMode.Code64, 2, 0)]
    [InlineData(ProgramMode.Code64, 7, 0)]
    [InlineData(ProgramMode.User64, 0, 0)]
    [InlineData(ProgramMode.User64, 2, 0)]
    [InlineData(ProgramMode.Code64, 2, 1)]
    [InlineData(ProgramMode.User64, 2, 2)]
    public void Random_programs_end_as_in_the_interpreter(ProgramMode mode, int vectors, int interpretedRuns)
    {
        using var pair = new ProgramPair(mode, interpretedRuns);
        var seed = int.TryParse(Environment.GetEnvironmentVariable("VITRO_TEST_SEED"), out var given) ? given : 1;
        var rounds = Environment.GetEnvironmentVariable("VITRO_LONG_TESTS") == "1" ? 50_000 : 400;
        var random = new Random(seed);
        for (var round = 0; round < rounds; round++)
        {
            var program = ProgramGenerator.Generate(random, vectors);
            var difference = new ProgramCase(mode, random.Next(), program).Compare(pair);
            Assert.True(difference.Length == 0, $"seed {seed} round {round}: {difference}");
        }
    }

    [Theory]
    [InlineData(ProgramMode.Compatibility, 0)]
    [InlineData(ProgramMode.Protected, 0)]
    [InlineData(ProgramMode.Protected, 1)]
    public void Random_32_bit_programs_end_as_in_the_interpreter(ProgramMode mode, int interpretedRuns)
    {
        using var pair = new ProgramPair(mode, interpretedRuns);
        var seed = int.TryParse(Environment.GetEnvironmentVariable("VITRO_TEST_SEED"), out var given) ? given : 1;
        var rounds = Environment.GetEnvironmentVariable("VITRO_LONG_TESTS") == "1" ? 50_000 : 400;
        var random = new Random(seed);
        for (var round = 0; round < rounds; round++)
        {
            var program = ProgramGenerator32.Generate(random);
            var difference = new ProgramCase(mode, random.Next(), program).Compare(pair);
            Assert.True(difference.Length == 0, $"seed {seed} round {round}: {difference}");
        }

        Assert.True(pair.Translated.Cache.Translations!.Translated > (ulong)rounds, "32-bit code is not translated.");
    }

    [Theory]
    [InlineData(3, 0)]
    [InlineData(4, 1)]
    public void A_block_is_interpreted_as_often_as_is_said_before_it_is_translated(byte rounds, ulong translated)
    {
        using var machine = new ProgramMachine(new TranslatorFactory { InterpretedRuns = 2 });

        // mov ecx, rounds; loop: dec ecx; jnz loop; hlt. The first round is part of another block.
        machine.Run([0xB9, rounds, 0, 0, 0, 0xFF, 0xC9, 0x75, 0xFC, 0xF4], 1);
        Assert.Equal(0UL, machine.Gpr(1));
        Assert.Equal(translated, machine.Cache.Translations!.Translated);
    }

    [Fact]
    public void Programs_that_once_differed_end_alike()
    {
        var pairs = Enum.GetValues<ProgramMode>().ToDictionary(mode => mode, mode => new ProgramPair(mode));
        var differences = ProgramCase.All.Select(known => known.Compare(pairs[known.Mode])).Where(difference => difference.Length > 0).ToList();
        foreach (var pair in pairs.Values)
        {
            pair.Dispose();
        }

        Assert.True(differences.Count == 0, string.Join('\n', differences));
    }

    [Fact]
    public void A_program_is_the_same_read_back_from_its_line()
    {
        var program = new ProgramCase(ProgramMode.Code64, 5, ProgramGenerator.Generate(new Random(3)));
        var read = ProgramCase.Parse(program.ToString());
        Assert.Equal((program.Mode, program.Seed, Trimmed(program.Program)), (read.Mode, read.Seed, Trimmed(read.Program)));

        static string Trimmed(byte[] bytes) => Convert.ToHexString(bytes).TrimEnd('F', '4');
    }

    [Fact]
    public void Random_programs_fault_change_their_code_and_go_on()
    {
        using var machine = new ProgramMachine(new TranslatorFactory());
        var random = new Random(2);
        var (faults, changes) = (0, 0);
        for (var round = 0; round < 200; round++)
        {
            var program = ProgramGenerator.Generate(random);
            machine.Run(program, round);
            faults += machine.HasFaulted ? 1 : 0;
            changes += machine.Code.StartsWith(program) ? 0 : 1;
        }

        Assert.InRange(faults, 20, 120);
        Assert.InRange(changes, 20, 200);
    }

    [Fact]
    public void Sequences_of_instructions_leave_what_the_host_processor_leaves()
    {
        using var runner = new DifferentialRunner(new TranslatorFactory());
        var generator = new SequenceGenerator(int.TryParse(Environment.GetEnvironmentVariable("VITRO_TEST_SEED"), out var given) ? given : 1);
        var reports = new List<string>();
        for (var i = 0; i < (Environment.GetEnvironmentVariable("VITRO_LONG_TESTS") == "1" ? 1_000_000 : 10_000) && reports.Count < 10; i++)
        {
            var code = generator.Next();
            if (runner.RunSequence(code, i) == CaseOutcome.Differed && runner.RunSequence(code, i) == CaseOutcome.Differed)
            {
                reports.Add(runner.Report);
            }
        }

        Assert.True(reports.Count == 0, string.Join('\n', reports));
    }

    [Theory]
    [InlineData(0xA0)]
    [InlineData(0xA1)]
    [InlineData(0xA2)]
    [InlineData(0xA3)]
    public void Moves_between_the_accumulator_and_an_absolute_address_are_translated(int opcode)
    {
        using var pair = new ProgramPair();
        byte[] program = [0x48, 0xB8, 1, 2, 3, 4, 5, 6, 7, 8, (byte)opcode, .. BitConverter.GetBytes(ProgramMachine.DataAddress - 2), 0xFF, 0xC1, 0xF4];
        Assert.Equal("", pair.Compare(program, 1));
    }

    [Fact]
    public void Accesses_off_one_register_are_right_before_over_and_behind_a_page_s_end()
    {
        using var pair = new ProgramPair();
        for (var distance = -64; distance <= 64; distance++)
        {
            var kind = (byte)((distance & 15) == 0 ? 0x66 : 0xF3);
            byte[] program =
            [
                0x48, 0x8D, 0x5B, (byte)distance, // lea rbx, [rbx + distance]
                0xB9, 3, 0, 0, 0, // mov ecx, 3
                0x48, 0x8B, 0x03, // mov rax, [rbx]
                0x48, 0x03, 0x43, 0x18, // add rax, [rbx + 24]
                0x11, 0x43, 0x04, // adc [rbx + 4], eax
                0x48, 0x83, 0xC3, 0x10, // add rbx, 16
                0x50, // push rax
                kind, 0x0F, 0x6F, 0x03, // movdqa or movdqu xmm0, [rbx]
                kind, 0x0F, 0x7F, 0x43, 0xF0, // and [rbx - 16], xmm0
                0x48, 0x11, 0x43, 0xF8, // adc [rbx - 8], rax
                0x8F, 0x43, 0x08, // pop qword [rbx + 8]
                0x31, 0xD2, // xor edx, edx
                0x48, 0xF7, 0x73, 0x08, // div qword [rbx + 8]
                0xFF, 0xC9, // dec ecx
                0x75, 0xD7, // jnz to the first load
                0xF4, // hlt
            ];
            Assert.Equal("", pair.Compare(program, distance));
        }
    }

    [Theory]
    [InlineData(0x01)] // add
    [InlineData(0x03)]
    [InlineData(0x29)] // sub
    [InlineData(0x2B)]
    [InlineData(0x21)] // and
    [InlineData(0x0B)] // or
    [InlineData(0x33)] // xor
    [InlineData(0x39)] // cmp
    [InlineData(0x85)] // test
    public void Flags_outlive_accesses_to_memory_and_indirect_jumps(int opcode)
    {
        using var pair = new ProgramPair();
        for (var seed = 0; seed < 64; seed++)
        {
            // Of two registers, one register, and a register and a constant where there is such an instruction.
            byte modRm = (seed & 1) != 0 ? (byte)0xC2 : (byte)0xC0;
            byte[] instruction = (seed & 2) != 0 || opcode == 0x85
                ? [(byte)opcode, modRm]
                : [0x81, (byte)(0xC0 | (opcode & 0x38)), (byte)seed, 0, 0, (byte)(seed << 3)];
            byte[] program =
            [
                (byte)(0x48 - ((seed & 4) << 1)), .. instruction, // with and without REX.W
                0x4C, 0x8B, 0x43, 0x08, // mov r8, [rbx + 8]
                0x4C, 0x0F, 0x42, 0x63, 0x10, // cmovb r12, [rbx + 16]
                0x48, 0x8D, 0x3D, 0x03, 0x00, 0x00, 0x00, // lea rdi, [rip + 3]
                0xFF, 0xE7, // jmp rdi
                0xF4, // hlt
                0x9C, // pushf
                0x5E, // pop rsi
                0xF4, // hlt
            ];
            Assert.Equal("", pair.Compare(program, seed));
        }
    }

    [Fact]
    public void Code_that_changes_the_code_ahead_of_it_runs_as_changed()
    {
        using var pair = new ProgramPair();
        byte[] program =
        [
            0xB9, 5, 0, 0, 0, // mov ecx, 5
            0x31, 0xD2, // xor edx, edx
            0xFF, 0x05, 1, 0, 0, 0, // inc dword [the immediate below]
            0xB8, 0, 0, 0, 0, // mov eax, 0
            0x01, 0xC2, // add edx, eax
            0xFF, 0xC9, // dec ecx
            0x75, 0xEF, // jnz to the inc
            0xF4, // hlt
        ];
        Assert.Equal("", pair.Compare(program, 1));
        Assert.Equal(15UL, pair.Translated.Gpr(2));
    }

    [Theory]
    [InlineData(new byte[] { 0xF3, 0xA4 }, 16)] // rep movsb
    [InlineData(new byte[] { 0xF3, 0xA5 }, 4)] // rep movsd
    [InlineData(new byte[] { 0xF3, 0x48, 0xA5 }, 2)] // rep movsq
    public void A_function_that_is_copied_over_another_one_runs_in_its_place(byte[] copy, byte count)
    {
        using var pair = new ProgramPair();
        const int First = 0x100;
        const int Second = 0x180;
        var program = new byte[0x200];
        program.AsSpan().Fill(0xF4); // hlt
        byte[] start =
        [
            0xE8, .. BitConverter.GetBytes(First - 5), // call first
            0x89, 0xC3, // mov ebx, eax
            0x48, 0x8D, 0x35, .. BitConverter.GetBytes(Second - 14), // lea rsi, [second]
            0x48, 0x8D, 0x3D, .. BitConverter.GetBytes(First - 21), // lea rdi, [first]
            0xB9, count, 0, 0, 0, // mov ecx, count
            .. copy,
        ];
        start.CopyTo(program, 0);
        byte[] end = [0xE8, .. BitConverter.GetBytes(First - start.Length - 5), 0xF4]; // call first; hlt
        end.CopyTo(program, start.Length);
        new byte[] { 0xB8, 1, 0, 0, 0, 0xC3 }.CopyTo(program, First); // mov eax, 1; ret
        new byte[] { 0xB8, 2, 0, 0, 0, 0xC3, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 }.CopyTo(program, Second);

        Assert.Equal("", pair.Compare(program, 1));
        Assert.Equal(1UL, pair.Translated.Gpr(3));
        Assert.Equal(2UL, pair.Translated.Gpr(0));
        Assert.Equal(0UL, pair.Translated.Gpr(1));
        Assert.Equal(ProgramMachine.CodeAddress + Second + 16, pair.Translated.Gpr(6));
        Assert.Equal(ProgramMachine.CodeAddress + First + 16, pair.Translated.Gpr(7));
    }

    [Fact]
    public void Code_changed_from_outside_runs_as_changed()
    {
        using var pair = new ProgramPair();
        Assert.Equal("", pair.Compare([0xB8, 1, 0, 0, 0, 0xF4], 1));
        Assert.Equal(1UL, pair.Translated.Gpr(0));
        Assert.Equal("", pair.Compare([0xB8, 2, 0, 0, 0, 0xF4], 1));
        Assert.Equal(2UL, pair.Translated.Gpr(0));
    }

    [Fact]
    public void Functions_that_share_a_slot_of_the_jump_cache_are_called_without_an_exit_and_run_as_changed()
    {
        using var machine = new ProgramMachine(new TranslatorFactory());
        const int First = 0x1040;
        const int Second = First + JumpCache.Slots;
        var program = new byte[Second + 4];
        byte[] loop =
        [
            0xB9, 0xE8, 3, 0, 0, // mov ecx, 1000
            0x31, 0xC0, // xor eax, eax
            0xE8, .. BitConverter.GetBytes(First - 12),
            0xE8, .. BitConverter.GetBytes(Second - 17),
            0xFF, 0xC9, // dec ecx
            0x75, 0xF2, // jnz to the calls
            0xF4, // hlt
        ];
        loop.CopyTo(program, 0);
        for (var step = 1; step < 4; step++)
        {
            // add eax, step; ret
            byte[] function = [0x83, 0xC0, (byte)step, 0xC3];
            function.CopyTo(program, First);
            function.CopyTo(program, Second);
            var before = machine.Jumps;
            machine.Run(program, 1);

            Assert.Equal(2000UL * (uint)step, machine.Gpr(0));
            Assert.InRange(machine.Jumps - before, 0, 20);
        }
    }

    [Fact]
    public void Code_at_more_addresses_than_are_kept_runs_at_each_of_them()
    {
        using var machine = new ProgramMachine(new TranslatorFactory());
        byte[] program =
        [
            0xB9, 3, 0, 0, 0, // mov ecx, 3
            0x48, 0x8D, 0x05, 0, 0, 0, 0, // lea rax, [rip]
            0xEB, 0, // jmp on
            0xFF, 0xC9, // dec ecx
            0x75, 0xF3, // jnz to the lea
            0xF4, // hlt
        ];
        for (var round = 0; round < 2; round++)
        {
            for (var page = 0UL; page < 100; page++)
            {
                var address = ProgramMachine.AliasAddress + (page << 12);
                machine.Run(program, 1, address);
                Assert.Equal(address + 12 + (uint)round, machine.Gpr(0));
                Assert.Equal(address + (uint)program.Length, machine.Rip);
            }

            program[8]++;
        }

        Assert.Equal(0UL, machine.Cache.Emptied);
    }

    [Fact]
    public void Programs_run_on_while_a_small_code_memory_is_used_over_and_over()
    {
        using var interpreted = new ProgramMachine(new InterpreterFactory());
        using var translated = new ProgramMachine(new TranslatorFactory { CodeSize = 1 << 20 });
        var random = new Random(1);
        for (var seed = 0; seed < 400; seed++)
        {
            var program = ProgramGenerator.Generate(random);
            interpreted.Run(program, seed);
            translated.Run(program, seed);
            Assert.Equal(interpreted.Gpr(0), translated.Gpr(0));
            Assert.True(interpreted.Data.SequenceEqual(translated.Data), $"seed {seed}");
        }

        Assert.InRange(translated.Cache.Emptied, 3UL, 100UL);
    }

    [Fact]
    public void Each_run_executes_something_also_when_code_memory_is_full()
    {
        using var machine = new ProgramMachine(new TranslatorFactory { CodeSize = 1 << 20, InterpretedRuns = 0 });

        var idle = 0;
        for (var round = 0; round < 12; round++)
        {
            // A window that crosses a page's end at a block's start: its rest is translated anew, for which there may be no room.
            byte[] program =
            [
                0x50, 0x50, // push rax, twice
                .. Enumerable.Repeat((byte)0x58, round), .. Enumerable.Repeat((byte)0x50, round), // pop rax, push rax
                0xEB, 0, // jmp on
                0x53, // push rbx
                0x48, 0x89, 0xFB, // mov rbx, rdi
                0xE8, 0, 0, 0, 0, // call on
                0xF4, // hlt
            ];
            for (var page = 0UL; page < 512; page++)
            {
                idle += machine.RunInPieces(program, 1, ProgramMachine.AliasAddress + (page << 12));
            }
        }

        Assert.Equal(0, idle);
        Assert.InRange(machine.Cache.Emptied, 12UL, 1000UL);
    }

    [Fact]
    public void A_request_ends_a_loop_without_an_exit()
    {
        using var pair = new ProgramPair();
        using var timer = new Timer(_ => pair.Translated.Cancel(), null, 50, 50);
        pair.Translated.RunUntilRequested([0xEB, 0xFE], 1);
        Assert.Equal(ProgramMachine.CodeAddress, pair.Translated.Rip);
    }

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("on")]
    [InlineData("8000-ffff")]
    public void Code_is_translated_unless_it_is_switched_off(string? setting) =>
        Assert.IsType<TranslatorFactory>(TranslatorFactory.Choose(setting));

    [Fact]
    public void Halving_the_range_of_hashes_finds_one_block()
    {
        // The middle of three blocks.
        byte[] program = [0xFF, 0xC0, 0xEB, 0, 0xFF, 0xC1, 0x90, 0xEB, 0, 0xFF, 0xC2, 0xF4];
        var (from, to) = (0, 0xFFFF);
        while (from < to)
        {
            var middle = (from + to) / 2;
            (from, to) = Runs(from, middle) ? (from, middle) : (middle + 1, to);
        }

        Assert.True(Runs(from, from));

        // There is one such block, wherever it lies; all else was interpreted, with the same result.
        bool Runs(int first, int last)
        {
            using var machine = new ProgramMachine(new TranslatorFactory(new HashRange((ushort)first, (ushort)last)));
            machine.Run(program, 1, ProgramMachine.AliasAddress + ((uint)first << 3 & 0xF000));
            Assert.Equal(ProgramMachine.AliasAddress + ((uint)first << 3 & 0xF000) + (uint)program.Length, machine.Rip);
            return machine.Cache.Translations!.Translated > 0;
        }
    }

    [Fact]
    public void Off_interprets() => Assert.IsType<InterpreterFactory>(TranslatorFactory.Choose("off"));

    [Theory]
    [InlineData("1-")]
    [InlineData("nonsense")]
    [InlineData("8000-7fff")]
    [InlineData("ffffffff81000000-ffffffff82000000")]
    public void Another_setting_is_named(string setting) =>
        Assert.Contains(setting, Assert.Throws<HypervisorException>(() => TranslatorFactory.Choose(setting)).Message, StringComparison.Ordinal);
}
