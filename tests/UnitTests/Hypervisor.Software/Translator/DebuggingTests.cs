using Iced.Intel;
using Vitro.Hypervisor.Software;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vitro.UnitTests.Hypervisor.Software.Translator;

/// <summary>
/// Single steps, breakpoints and watched data in code that has been translated and run before (Intel SDM volume 3, chapter 18). Each
/// is also run by the interpreter.
/// </summary>
public sealed unsafe class DebuggingTests
{
    private const ulong Function = TestProcessor.Code + 0x1800;
    private const ulong Watched = DebuggedMachine.Data + 0x40;
    private const uint Step = 0x4000;
    private const int Tf = 0x100;
    private const int Warm = 1000;

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void POPF_with_TF_steps_through_a_hot_function(bool translates)
    {
        using var machine = new DebuggedMachine(translates);
        var function = WriteFunction(machine);
        var main = machine.Write(TestProcessor.Code, c =>
        {
            CallOften(c);
            Popf(c, set: Tf);
            c.call(Function);
            Popf(c, clear: Tf);
            CallOften(c);
            c.hlt();
        });
        machine.Run();

        // The first stop is behind the instruction behind the POPF, which is the call; the last behind the POPF that clears TF.
        ulong[] expected = [.. Executed(function), main[8], main[9], main[10], main[11]];
        Assert.Equal(expected, machine.Stops.Select(stop => stop.Rip));
        Assert.All(machine.Stops, stop => Assert.Equal(Step, stop.Dr6 & 0xE00F));
        AssertHot(machine);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void IRET_with_TF_steps_through_hot_user_code(bool translates)
    {
        using var machine = new DebuggedMachine(translates);
        var function = WriteFunction(machine);
        var user = EnterUserCode(machine, Tf);
        machine.Run();

        // IRET's TF stops behind the first instruction of its target, which is the call.
        ulong[] expected = [.. Executed(function), user[1]];
        Assert.Equal(expected, machine.Stops.Select(stop => stop.Rip));
        AssertHot(machine);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void SYSRET_with_TF_stops_at_its_target_and_SYSCALL_without_it_does_not(bool translates)
    {
        using var machine = new DebuggedMachine(translates, cpl: 3);
        var state = machine.State;
        state->Efer |= 1;
        state->Star = (8UL << 32) | (0x1BUL << 48);
        state->Lstar = Function;
        state->SyscallMask = Tf;
        var kernel = machine.Write(Function, c =>
        {
            // TF is what R9 says.
            c.or(r11, r9);
            c.sysretq();
        });
        var user = machine.Write(TestProcessor.Code, c =>
        {
            var again = c.CreateLabel();
            c.mov(r8d, Warm);
            c.xor(r9d, r9d);
            c.Label(ref again);
            c.syscall();
            c.dec(r8d);
            c.jnz(again);
            c.mov(r9d, Tf);
            c.syscall();
            c.nop();
            c.xor(r9d, r9d);
            c.syscall();
            c.nop();
            c.@int(DebuggedMachine.Stop);
        });
        machine.Run();
        Assert.Equal(3, kernel.Length);

        // The second SYSCALL stores TF in R11, and so SYSRET brings it back.
        Assert.Equal([user[7], user[8], user[9], user[10], user[11]], machine.Stops.Select(stop => stop.Rip));
        AssertHot(machine, Warm * 4);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_software_interrupt_is_not_followed_by_a_step(bool translates)
    {
        using var machine = new DebuggedMachine(translates);
        WriteFunction(machine);
        machine.Write(Function + 0x800, c => c.iretq());
        for (var vector = 3u; vector < 5; vector++)
        {
            machine.SetGate(vector, Function + 0x800);
        }

        var main = machine.Write(TestProcessor.Code, c =>
        {
            CallOften(c);
            Popf(c, set: Tf);
            c.nop();
            c.@int(4);
            c.nop();
            c.int3();
            c.nop();
            Popf(c, clear: Tf);
            c.hlt();
        });
        machine.Run();
        var stops = machine.Stops.Select(stop => stop.Rip).ToList();

        // Each IRET brings TF back, which stops behind the instruction it returns to.
        Assert.Equal([main[8], main[10], main[12], main[13], main[14], main[15]], stops);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Repeated_strings_are_stepped_element_by_element(bool translates)
    {
        using var machine = new DebuggedMachine(translates);
        machine.Write(Function, c =>
        {
            c.mov(rdi, DebuggedMachine.Data);
            c.mov(ecx, 3);
            c.rep.stosq();
            c.ret();
        });
        var string_ = Function + 10 + 5;
        machine.Write(TestProcessor.Code, c =>
        {
            CallOften(c);
            Popf(c, set: Tf);
            c.call(Function);
            Popf(c, clear: Tf);
            c.hlt();
        });
        machine.Run();
        var stops = machine.Stops.Select(stop => stop.Rip).ToList();
        Assert.Equal(3, stops.Count(rip => rip == string_));
        Assert.Equal(string_ + 3, stops[stops.LastIndexOf(string_) + 1]);
        AssertHot(machine);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void ICEBP_traps_behind_itself_and_leaves_DR6(bool translates)
    {
        using var machine = new DebuggedMachine(translates);
        var main = machine.Write(TestProcessor.Code, c =>
        {
            var again = c.CreateLabel();
            c.mov(ebx, 5);
            c.Label(ref again);
            c.int1();
            c.dec(ebx);
            c.jnz(again);
            c.hlt();
        });
        machine.State->Dr[6] = 0xFFFF_0FF0;
        machine.Run();
        Assert.Equal(Enumerable.Repeat(main[2], 5), machine.Stops.Select(stop => stop.Rip));
        Assert.All(machine.Stops, stop => Assert.Equal(0xFFFF_0FF0u, stop.Dr6));
    }

    public static TheoryData<string, bool> WatchedAccesses()
    {
        var data = new TheoryData<string, bool>();
        foreach (var name in Accesses.Keys)
        {
            data.Add(name, true);
            data.Add(name, false);
        }

        return data;
    }

    // RBX is the watched address, of eight bytes. Whether it is a load and a store.
    private static readonly Dictionary<string, (Action<Assembler> Emit, bool Loads, bool Stores)> Accesses = new(StringComparer.Ordinal)
    {
        ["mov store"] = (c => c.mov(__qword_ptr[rbx], rax), false, true),
        ["mov store of a byte in the middle"] = (c => c.mov(__byte_ptr[rbx + 5], al), false, true),
        ["mov store over the start"] = (c => c.mov(__dword_ptr[rbx - 3], eax), false, true),
        ["mov store before"] = (c => c.mov(__dword_ptr[rbx - 4], eax), false, false),
        ["mov store behind"] = (c => c.mov(__dword_ptr[rbx + 8], eax), false, false),
        ["mov load"] = (c => c.mov(rax, __qword_ptr[rbx]), true, false),
        ["add to memory"] = (c => c.add(__dword_ptr[rbx + 4], eax), true, true),
        ["compare"] = (c => c.cmp(__dword_ptr[rbx + 4], eax), true, false),
        ["locked exchange and add"] = (c => c.@lock.xadd(__qword_ptr[rbx], rax), true, true),
        ["exchange"] = (c => c.xchg(__qword_ptr[rbx], rax), true, true),
        ["vector store"] = (c => c.movups(__xmmword_ptr[rbx - 8], xmm1), false, true),
        ["vector load"] = (c => c.paddd(xmm1, __xmmword_ptr[rbx]), true, false),
        ["x87 store"] = (c => c.fnstcw(__word_ptr[rbx + 6]), false, true),
        ["push"] = (c => { c.lea(rsp, __[rbx + 8]); c.push(rax); c.mov(rsp, r12); }, false, true),
        ["pop"] = (c => { c.mov(rsp, rbx); c.pop(rax); c.mov(rsp, r12); }, true, false),
        ["run of pushes"] = (c => { c.lea(rsp, __[rbx + 24]); c.push(rax); c.push(rcx); c.push(rdx); c.push(rsi); c.mov(rsp, r12); }, false, true),
        ["string move"] = (c => { c.lea(rsi, __[rbx + 32]); c.lea(rdi, __[rbx - 16]); c.mov(ecx, 5); c.rep.movsq(); }, false, true),
        ["string load"] = (c => { c.mov(rsi, rbx); c.lea(rdi, __[rbx + 64]); c.mov(ecx, 1); c.rep.movsb(); }, true, false),
        ["bit test and set"] = (c => { c.mov(eax, 40); c.bts(__dword_ptr[rbx], eax); }, true, true),
    };

    [Theory]
    [MemberData(nameof(WatchedAccesses))]
    public void Watched_data_stop_hot_code_behind_the_access(string access, bool translates)
    {
        var (emit, loads, stores) = Accesses[access];
        foreach (var isStoreOnly in new[] { true, false })
        {
            using var machine = new DebuggedMachine(translates);
            var function = machine.Write(Function, c =>
            {
                c.mov(r12, rsp);
                emit(c);
                c.nop();
                c.ret();
            });
            var kind = isStoreOnly ? 1u : 3u;
            machine.State->Dr[2] = Watched;
            machine.Write(TestProcessor.Code, c =>
            {
                c.mov(rbx, Watched);
                CallOften(c);
                c.mov(eax, 0x400 | (2 << 4) | (kind << 24) | (2u << 26));
                c.mov(dr7, rax);
                c.call(Function);
                c.mov(eax, 0x400);
                c.mov(dr7, rax);
                CallOften(c);
                c.hlt();
            });
            machine.Run();
            if (!stores && (isStoreOnly || !loads))
            {
                Assert.Empty(machine.Stops);
            }
            else
            {
                var stop = Assert.Single(machine.Stops);
                Assert.Equal(4u, stop.Dr6 & 0xE00F);
                Assert.Contains(stop.Rip, function);
            }

            AssertHot(machine);
        }
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_watched_page_crossing_store_stops_hot_code(bool translates)
    {
        using var machine = new DebuggedMachine(translates);
        machine.Write(Function, c =>
        {
            c.mov(__qword_ptr[rbx], rax);
            c.ret();
        });
        machine.State->Dr[0] = DebuggedMachine.Data + 0x1000;
        machine.Write(TestProcessor.Code, c =>
        {
            c.mov(rbx, DebuggedMachine.Data + 0xFFD);
            CallOften(c);
            c.mov(eax, 0x401 | (1 << 16));
            c.mov(dr7, rax);
            c.call(Function);
            c.xor(eax, eax);
            c.mov(dr7, rax);
            c.hlt();
        });
        machine.Run();
        Assert.Equal((Function + 3, 1u), (Assert.Single(machine.Stops).Rip, machine.Stops[0].Dr6 & 0xF));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_faulting_instruction_does_not_report_what_it_read(bool translates)
    {
        using var machine = new DebuggedMachine(translates);
        machine.WriteWord(TestProcessor.Pml4 + 0x2000 + (7 * 8), 0);
        machine.SetGate(14, TestProcessor.Handler + (14 * 16), ist: 1);
        machine.State->Dr[0] = Watched;
        machine.Write(TestProcessor.Handler + (14 * 16), c =>
        {
            c.nop();
            c.nop();
            c.hlt();
        });
        machine.Write(TestProcessor.Code, c =>
        {
            c.mov(rbx, Watched);
            c.mov(eax, 0x401 | (3 << 16));
            c.mov(dr7, rax);
            c.mov(esp, 7 << 21 | 0x100);
            c.push(__qword_ptr[rbx]);
            c.hlt();
        });
        machine.Run();
        Assert.Empty(machine.Stops);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_watched_frame_stops_at_the_first_instruction_of_the_handler(bool translates)
    {
        const ulong Top = TestProcessor.Stack - 0x2000;
        using var machine = new DebuggedMachine(translates);
        var handler = machine.Write(Function, c =>
        {
            c.add(__qword_ptr[rsp], 2);
            c.iretq();
        });
        machine.SetGate(6, Function, ist: 2);
        machine.WriteWord(TestProcessor.Tss + 0x2C, Top);
        machine.State->Dr[0] = Top - 8;
        machine.State->Dr[1] = handler[0];
        machine.Write(TestProcessor.Code, c =>
        {
            var again = c.CreateLabel();
            c.mov(r14d, Warm);
            c.Label(ref again);
            c.ud2();
            c.dec(r14d);
            c.jnz(again);
            c.mov(eax, 0x405 | (1 << 16)); // what stores the frame's SS, and the handler's first instruction
            c.mov(dr7, rax);
            c.ud2();
            c.xor(eax, eax);
            c.mov(dr7, rax);
            c.hlt();
        });
        machine.ResumeWithRf();
        machine.Run();

        // The trap of the delivery first; RF then hides the breakpoint.
        Assert.Equal([(handler[0], 1u)], machine.Stops.Select(stop => (stop.Rip, stop.Dr6 & 0xE00F)));
    }

    [Theory]
    [InlineData(0, true)]
    [InlineData(2, true)]
    [InlineData(5, true)]
    [InlineData(0, false)]
    [InlineData(2, false)]
    [InlineData(5, false)]
    public void A_breakpoint_set_in_hot_code_stops_before_its_instruction_once_each_time(int instruction, bool translates)
    {
        using var machine = new DebuggedMachine(translates);
        var function = WriteFunction(machine);
        machine.ResumeWithRf();
        machine.State->Dr[1] = function[instruction];
        machine.Write(TestProcessor.Code, c =>
        {
            CallOften(c);
            c.mov(eax, 0x400 | (1 << 2));
            c.mov(dr7, rax);
            c.call(Function);
            c.call(Function);
            c.xor(eax, eax);
            c.mov(dr7, rax);
            CallOften(c);
            c.hlt();
        });
        machine.Run();
        var times = Executed(function).Count(rip => rip == function[instruction]);
        Assert.Equal(Enumerable.Repeat(function[instruction], 2 * times), machine.Stops.Select(stop => stop.Rip));
        Assert.All(machine.Stops, stop => Assert.Equal(2u, stop.Dr6 & 0xE00F));
        AssertHot(machine);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void RF_left_by_a_former_return_does_not_hide_a_new_breakpoint(bool translates)
    {
        using var machine = new DebuggedMachine(translates);
        machine.ResumeWithRf();
        var main = machine.Write(TestProcessor.Code, c =>
        {
            c.int1(); // returns with RF
            c.nop();
            c.mov(eax, 0x401);
            c.mov(dr7, rax);
            c.nop();
            c.xor(eax, eax);
            c.mov(dr7, rax);
            c.hlt();
        });
        machine.State->Dr[0] = main[4];
        machine.Run();
        Assert.Equal([main[1], main[4]], machine.Stops.Select(stop => stop.Rip));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void User_code_is_watched_while_the_kernel_says_so(bool translates)
    {
        using var machine = new DebuggedMachine(translates, cpl: 3);
        machine.State->Dr[3] = Watched;
        var function = machine.Write(Function, c =>
        {
            c.inc(__dword_ptr[rbx]);
            c.ret();
        });
        machine.Write(TestProcessor.Code, c =>
        {
            c.mov(rbx, Watched);
            for (var round = 0; round < 3; round++)
            {
                CallOften(c);
                c.mov(eax, 0x400u | (1 << 6) | (1u << 28) | (3u << 30));
                c.@int(DebuggedMachine.SetDr7);
                c.call(Function);
                c.mov(eax, 0x400);
                c.@int(DebuggedMachine.SetDr7);
            }

            c.@int(DebuggedMachine.Stop);
        });
        machine.Run();
        Assert.Equal(Enumerable.Repeat(function[1], 3), machine.Stops.Select(stop => stop.Rip));
        Assert.Equal((3UL * Warm) + 3, machine.ReadWord(Watched));
        AssertHot(machine);
    }

    // A loop run through twice, a run of pushes and pops, loads, stores and a branch.
    private static ulong[] WriteFunction(DebuggedMachine machine) => machine.Write(Function, c =>
    {
        var again = c.CreateLabel();
        c.push(rbx);
        c.push(rbp);
        c.mov(ebx, 2);
        c.mov(rbp, DebuggedMachine.Data);
        c.Label(ref again);
        c.inc(__dword_ptr[rbp + 8]);
        c.mov(rax, __qword_ptr[rbp + 8]);
        c.dec(ebx);
        c.jnz(again);
        c.pop(rbp);
        c.pop(rbx);
        c.ret();
    });

    // Where instructions of WriteFunction begin, in the order of their execution.
    private static IEnumerable<ulong> Executed(ulong[] function) => [.. function[..8], .. function[4..11]];

    private static void CallOften(Assembler c)
    {
        var again = c.CreateLabel();
        c.mov(r14d, Warm);
        c.Label(ref again);
        c.call(Function);
        c.dec(r14d);
        c.jnz(again);
    }

    private static void Popf(Assembler c, int set = 0, int clear = 0)
    {
        c.pushfq();
        if (set != 0)
        {
            c.or(__dword_ptr[rsp], set);
        }

        if (clear != 0)
        {
            c.and(__dword_ptr[rsp], ~clear);
        }

        c.popfq();
    }

    // Calls the function often in user code, comes back, and returns there with flags for one more call.
    private static ulong[] EnterUserCode(DebuggedMachine machine, int flags)
    {
        const ulong User = TestProcessor.Code + 0x800;
        const byte Back = 0x82;
        var user = machine.Write(User, c =>
        {
            c.call(Function);
            c.@int(DebuggedMachine.Stop);
        });
        machine.Write(User + 0x100, c =>
        {
            CallOften(c);
            c.@int(Back);
        });
        machine.Write(User + 0x200, c => Iret(c, User, flags));
        machine.SetGate(Back, User + 0x200, dpl: 3);
        machine.Write(TestProcessor.Code, c => Iret(c, User + 0x100, 0));
        return user;
    }

    private static void Iret(Assembler c, ulong target, int flags)
    {
        c.push((int)TestProcessor.UserData);
        c.mov(rax, TestProcessor.Stack - 0x1000);
        c.push(rax);
        c.push(2 | flags);
        c.push((int)TestProcessor.UserCode);
        c.mov(rax, target);
        c.push(rax);
        c.iretq();
    }

    // Translated code was left for first misses, links and the stops, not for each turn.
    private static void AssertHot(DebuggedMachine machine, long most = 300)
    {
        if (machine.Cache.Translations is { } translations)
        {
            Assert.InRange(translations.Translated, 2UL, 1000UL);
            Assert.InRange(machine.Exits, 1, most);
        }
    }
}
