using Iced.Intel;
using Vitro.Hypervisor.Software;
using Vitro.Hypervisor.Software.Decoding;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vitro.UnitTests.Hypervisor.Software.Translator;

/// <summary>
/// SYSCALL, SYSRET and IRET with what operating systems give them and with anything else, by translated code and by the interpreter: plain
/// ones are host code, and all leave the same.
/// </summary>
public sealed unsafe class PrivilegeChangeTests : IDisposable
{
    private const ulong Frame = 0x51_0000;
    private const ulong Start = TestProcessor.Code;
    private const ulong Next = TestProcessor.Code + 0x200;
    private const ulong KernelTarget = TestProcessor.Code + 0x300;
    private const ulong SyscallTarget = TestProcessor.Code + 0x400;
    private const ulong UserTarget = TestProcessor.Code + 0x800;
    private const ulong UserSyscall = TestProcessor.Code + 0x900;
    private const ulong FastIret = TestProcessor.Code + 0xA00;
    private const ulong FastSysret = TestProcessor.Code + 0xB00;
    private const byte Return = 0x82;
    private const uint Plain = RFlags.Fixed | RFlags.If;
    private const uint All = LazyFlags.All | RFlags.Tf | RFlags.If | RFlags.Df | RFlags.Iopl | RFlags.Nt | RFlags.Rf | RFlags.Ac | RFlags.Id;

    private readonly DebuggedMachine _translated = new(translates: true);
    private readonly DebuggedMachine _interpreted = new(translates: false);

    [Fact]
    public void Plain_ones_are_executed_without_an_exit()
    {
        Write(_translated);
        var frame = new Case { Rip = UserSyscall, Cs = TestProcessor.UserCode, Flags = Plain | LazyFlags.Carry, Rsp = TestProcessor.Stack, Ss = TestProcessor.UserData };
        _translated.State->Gpr[14] = 10;
        Load(_translated, frame);
        _translated.Run(Start);
        var exits = _translated.Interpreted("Iret", "Syscall", "Sysret");
        _translated.State->Gpr[14] = 100;
        _translated.Run(Start);
        Assert.Equal(exits, _translated.Interpreted("Iret", "Syscall", "Sysret"));
        Assert.Equal(110UL, _translated.State->Gpr[13]);
    }

    [Theory]
    [InlineData(RFlags.Fixed, true)]
    [InlineData(Plain, false)]
    public void An_interrupt_waits_on_behind_an_IRET_that_does_not_unmask_it(uint flags, bool waits)
    {
        Write(_translated);
        Load(_translated, new Case { Rip = KernelTarget, Cs = TestProcessor.KernelCode, Flags = flags, Rsp = TestProcessor.Stack, Ss = TestProcessor.KernelData });
        _translated.RunBlock(FastIret);
        _translated.RunBlock(FastIret);
        var exits = _translated.Interpreted("Iret");
        _translated.State->DeferredRequests = (uint)VpRequest.Interrupt;
        _translated.RunBlock(FastIret);
        Assert.Equal(waits ? (uint)VpRequest.Interrupt : 0, _translated.State->DeferredRequests);
        Assert.Equal(waits ? exits : exits + 1, _translated.Interpreted("Iret"));
    }

    [Fact]
    public void All_leave_what_the_interpreter_leaves()
    {
        Write(_translated);
        Write(_interpreted);
        var rounds = Environment.GetEnvironmentVariable("VITRO_LONG_TESTS") == "1" ? 200_000 : 3000;
        var seed = int.TryParse(Environment.GetEnvironmentVariable("VITRO_TEST_SEED"), out var given) ? given : 1;
        var random = new Random(seed);
        for (var round = 0; round < rounds; round++)
        {
            var next = Case.Random(random);
            var registers = random.Next();
            var expected = Run(_interpreted, next, registers);
            var actual = Run(_translated, next, registers);
            Assert.True(expected == actual, $"seed {seed} round {round}: {next}\nexpected {expected}\nactual {actual}");
        }
    }

    public void Dispose()
    {
        _translated.Dispose();
        _interpreted.Dispose();
    }

    // What is left after the same three times, and at the first instruction of where IRET or SYSRET leads.
    private static string Run(DebuggedMachine machine, Case next, int registers)
    {
        Load(machine, next);
        Fill(machine, registers);
        machine.State->Gpr[14] = 3;
        machine.Run(Start);
        var text = Describe(machine);
        Fill(machine, registers);
        if (next.IsSysret)
        {
            machine.State->Gpr[1] = next.Rip;
            machine.State->Gpr[11] = next.Flags;
        }

        machine.RunBlock(next.IsSysret ? FastSysret : FastIret);
        text += Describe(machine);
        machine.EnterKernel();
        SetGates(machine);
        return text;
    }

    private static void Fill(DebuggedMachine machine, int registers)
    {
        var random = new Random(registers);
        for (var n = 0; n < 16; n++)
        {
            machine.State->Gpr[n] = (ulong)random.NextInt64();
        }

        machine.State->Gpr[4] = TestProcessor.Stack;
    }

    private static string Describe(DebuggedMachine machine)
    {
        var state = machine.State;

        // An instruction that replaces all flags may leave any when it faults.
        var flags = LazyFlags.GetRflags(state);
        flags &= state->Rip - TestProcessor.Handler < 0x1000 ? ~(ulong)LazyFlags.All : ulong.MaxValue;
        var text = $"\n rip {state->Rip:x} cpl {state->Cpl} mode {state->Mode:x} flags {flags:x} nmi {state->NmiBlocked} sets "
            + $"{SetOf(state, state->LoadTlb)} {SetOf(state, state->StoreTlb)} {SetOf(state, state->FetchTlb)} registers";
        for (var n = 0; n < 16; n++)
        {
            text += $" {state->Gpr[n]:x}";
        }

        for (var n = 0; n < 6; n++)
        {
            var segment = &state->Es + n;
            text += $" [{segment->Selector:x} {segment->Base:x} {segment->Limit:x} {segment->Attributes:x}]";
        }

        for (var at = 8u; at <= 48; at += 8)
        {
            var word = machine.ReadWord(TestProcessor.IstStack - at);
            text += $" {machine.ReadWord(TestProcessor.InnerStack - at):x} {(at == 24 ? word & ~(ulong)LazyFlags.All : word):x}";
        }

        return text;
    }

    // While alignment is checked the set is one that is always empty.
    private static long SetOf(VpState* state, TlbEntry* set)
    {
        var number = (set - state->UserLoadTlb) / TlbEntry.SetSize;
        return number is >= 0 and < 8 ? number : -1;
    }

    private static void Load(DebuggedMachine machine, Case next)
    {
        machine.WriteWord(Frame, next.Rip);
        machine.WriteWord(Frame + 8, next.Cs);
        machine.WriteWord(Frame + 16, next.Flags);
        machine.WriteWord(Frame + 24, next.Rsp);
        machine.WriteWord(Frame + 32, next.Ss);
        machine.WriteWord(Frame + 40, next.KernelFlags);
        machine.WriteWord(Frame + 48, next.Data);
        machine.WriteWord(Frame + 56, next.IsSysret ? 1u : 0);
        var state = machine.State;
        state->Efer |= 1;
        state->Star = ((ulong)TestProcessor.KernelCode << 32) | ((ulong)next.SysretSelector << 48);
        state->Lstar = SyscallTarget;
        state->SyscallMask = next.Mask;
        state->NmiBlocked = next.IsNmi ? 1u : 0;
        state->Cr0 = next.ChecksAlignment ? state->Cr0 | ControlBits.Cr0AlignmentMask : state->Cr0 & ~ControlBits.Cr0AlignmentMask;
        machine.Vp.UpdateMode();
    }

    private static void Write(DebuggedMachine machine)
    {
        // R14 times: with the flags and data segments of the case, to where its frame says.
        machine.Write(Start, c =>
        {
            var sysret = c.CreateLabel();
            c.mov(rsp, TestProcessor.Stack);
            c.mov(eax, __dword_ptr[Frame + 48]);
            c.mov(ds, eax);
            c.mov(es, eax);
            c.cmp(__dword_ptr[Frame + 56], 0);
            c.jne(sysret);
            c.push(__qword_ptr[Frame + 40]);
            c.popfq();
            c.mov(rsp, Frame);
            c.iretq();
            c.Label(ref sysret);
            c.mov(rcx, __qword_ptr[Frame]);
            c.mov(r11, __qword_ptr[Frame + 16]);
            c.push(__qword_ptr[Frame + 40]);
            c.popfq();
            c.sysretq();
        });
        machine.Write(Next, c =>
        {
            var again = c.CreateLabel();
            c.test(eax, eax);
            c.inc(r13);
            c.dec(r14);
            c.jg(again);
            c.hlt();
            c.Label(ref again);
            c.jmp(Start);
        });

        // The targets read the flags that they are given.
        machine.Write(KernelTarget, c =>
        {
            c.pushfq();
            c.jmp(Next);
        });
        machine.Write(SyscallTarget, c =>
        {
            c.mov(rbx, rsp);
            c.mov(rsp, TestProcessor.Stack);
            c.pushfq();
            c.pop(rdi);
            c.jmp(Next);
        });
        machine.Write(UserTarget, c => c.@int(Return));
        machine.Write(UserSyscall, c =>
        {
            c.cmc();
            c.syscall();
            c.@int(Return);
        });
        machine.Write(FastIret, c =>
        {
            c.mov(rsp, Frame);
            c.iretq();
        });
        machine.Write(FastSysret, c => c.sysretq());
        for (var vector = 0u; vector < 32; vector++)
        {
            WriteHandler(machine, vector);
        }

        WriteHandler(machine, Return);
        SetGates(machine);
    }

    private static void WriteHandler(DebuggedMachine machine, uint vector) => machine.Write(HandlerOf(vector), c =>
    {
        c.mov(r12b, (sbyte)vector);
        c.jmp(Next);
    });

    // Exceptions have a stack of their own, as the present one may be anywhere.
    private static void SetGates(DebuggedMachine machine)
    {
        for (var vector = 0u; vector < 32; vector++)
        {
            machine.SetGate(vector, HandlerOf(vector), ist: 1);
        }

        machine.SetGate(Return, HandlerOf(Return), dpl: 3);
    }

    private static ulong HandlerOf(uint vector) => TestProcessor.Handler + (vector * 16);

    private sealed record Case
    {
        public ulong Rip { get; init; } = UserTarget;
        public ulong Cs { get; init; } = TestProcessor.UserCode;
        public ulong Flags { get; init; } = Plain;
        public ulong Rsp { get; init; } = TestProcessor.Stack;
        public ulong Ss { get; init; } = TestProcessor.UserData;
        public uint KernelFlags { get; init; } = RFlags.Fixed;
        public uint Data { get; init; }
        public ushort SysretSelector { get; init; } = TestProcessor.UserCode32;
        public uint Mask { get; init; } = All;
        public bool IsSysret { get; init; }
        public bool IsNmi { get; init; }
        public bool ChecksAlignment { get; init; }

        public static Case Random(Random random)
        {
            var toKernel = random.Next(3) == 0;
            ulong[] targets = [UserTarget, UserSyscall, UserSyscall, KernelTarget, 0x8000_0000_0000, 0xFFFF_8000_0000_0000];
            ulong[] selectors =
                [0, 1, 3, TestProcessor.KernelCode, TestProcessor.KernelData, TestProcessor.UserCode32, TestProcessor.UserData, TestProcessor.UserCode,
                    TestProcessor.UserCode & ~3u, TestProcessor.UserCode | 4, 0x43, 0xFFFB];
            return new Case
            {
                Rip = Often() ? toKernel ? KernelTarget : random.Next(2) == 0 ? UserTarget : UserSyscall : targets[random.Next(targets.Length)],
                Cs = Often() ? toKernel ? TestProcessor.KernelCode : TestProcessor.UserCode : selectors[random.Next(selectors.Length)],
                Ss = Often() ? toKernel ? TestProcessor.KernelData : TestProcessor.UserData : selectors[random.Next(selectors.Length)],
                Flags = Flagged(toKernel ? RFlags.Ac : 0),
                Rsp = Often() ? TestProcessor.Stack : (ulong)random.NextInt64(),
                KernelFlags = Flagged(RFlags.Ac) & ~(RFlags.Tf | RFlags.If),
                Data = Often() ? 0u : random.Next(2) == 0 ? TestProcessor.UserData : TestProcessor.KernelData,
                SysretSelector = Often() ? TestProcessor.UserCode32 : (ushort)random.Next(0x10000),
                Mask = Often() ? All : (uint)random.NextInt64(),
                IsSysret = !toKernel && random.Next(3) == 0,
                IsNmi = !Often(),
                ChecksAlignment = random.Next(2) == 0,
            };

            bool Often() => random.Next(8) != 0;

            uint Flagged(uint extra) => RFlags.Fixed | ((uint)random.NextInt64()
                & (Often() ? LazyFlags.All | RFlags.If | RFlags.Df | RFlags.Rf | RFlags.Id | RFlags.Iopl | extra : All));
        }
    }
}
