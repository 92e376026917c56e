using Vitro.Foundation;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Software;
using Vitro.Hypervisor.Software.Decoding;
using Xunit;

namespace Vitro.UnitTests.Hypervisor.Software.Events;

public sealed unsafe class EventDeliveryTests : IDisposable
{
    private readonly TestProcessor _machine = new();

    private VpState* State => _machine.State;

    public void Dispose() => _machine.Dispose();

    [Fact]
    public void An_exception_pushes_the_64_bit_frame_on_an_aligned_stack()
    {
        Run(0, [0x0F, 0x0B], rsp: TestProcessor.Stack - 8);

        AssertHandler(Fault.InvalidOpcode);
        Assert.Equal(TestProcessor.Stack - 16 - 40, State->Gpr[4]);
        Assert.Equal(TestProcessor.Code, Frame(0));
        Assert.Equal(TestProcessor.KernelCode, Frame(1));
        Assert.Equal(RFlags.Rf | 2ul, Frame(2));
        Assert.Equal(TestProcessor.Stack - 8, Frame(3));
        Assert.Equal(TestProcessor.KernelData, Frame(4));
    }

    [Fact]
    public void A_page_fault_pushes_its_error_code_and_sets_cr2()
    {
        // mov rax, [0x4000000]: behind what is mapped.
        Run(0, [0x48, 0x8B, 0x04, 0x25, 0, 0, 0, 4]);

        AssertHandler(Fault.PageFault);
        Assert.Equal(0x400_0000u, State->Cr2);
        Assert.Equal(0u, Frame(0));
        Assert.Equal(TestProcessor.Code, Frame(1));
    }

    [Fact]
    public void An_exception_of_user_code_changes_to_the_stack_of_the_tss()
    {
        Run(3, [0x0F, 0x0B]);

        AssertHandler(Fault.InvalidOpcode);
        Assert.Equal(0u, State->Cpl);
        Assert.Equal(TestProcessor.InnerStack - 40, State->Gpr[4]);
        Assert.Equal(TestProcessor.UserCode, Frame(1));
        Assert.Equal(TestProcessor.UserData, Frame(4));
        Assert.Equal(0u, State->Ss.Selector);
    }

    [Fact]
    public void A_gate_with_an_ist_index_changes_the_stack_without_a_change_of_privilege()
    {
        _machine.EnterLongMode();
        _machine.SetGate(Fault.InvalidOpcode, TestProcessor.Handler, ist: 1);
        _machine.Write(TestProcessor.Code, 0x0F, 0x0B);

        _machine.Step();

        Assert.Equal(TestProcessor.IstStack - 40, State->Gpr[4]);
        Assert.Equal(TestProcessor.KernelData, State->Ss.Selector);
    }

    [Fact]
    public void An_interrupt_gate_masks_interrupts_and_a_trap_gate_does_not()
    {
        _machine.EnterLongMode();
        _machine.SetGate(0x80, TestProcessor.Handler, type: 0x8F);
        _machine.Write(TestProcessor.Code, 0xCD, 0x80);
        State->SystemFlags |= RFlags.If;

        _machine.Step();

        Assert.NotEqual(0u, State->SystemFlags & RFlags.If);
    }

    [Fact]
    public void A_software_interrupt_returns_behind_itself()
    {
        Run(0, [0xCD, 0x80]);

        AssertHandler(0x80);
        Assert.Equal(TestProcessor.Code + 2, Frame(0));
    }

    [Fact]
    public void A_software_interrupt_of_user_code_needs_a_gate_of_its_level()
    {
        Run(3, [0xCD, 0x80]);

        AssertHandler(Fault.GeneralProtection);
        Assert.Equal((0x80u << 3) | 2, Frame(0));
    }

    [Fact]
    public void A_gate_not_present_raises_segment_not_present()
    {
        _machine.EnterLongMode();
        _machine.SetGate(0x80, TestProcessor.Handler, type: 0x0E);
        _machine.Write(TestProcessor.Code, 0xCD, 0x80);

        _machine.Step();

        AssertHandler(Fault.SegmentNotPresent);
        Assert.Equal((0x80u << 3) | 2, Frame(0));
    }

    [Fact]
    public void A_contributory_fault_while_delivering_another_becomes_a_double_fault()
    {
        _machine.EnterLongMode();
        _machine.SetGate(Fault.GeneralProtection, TestProcessor.Handler, type: 0x0E);
        _machine.Write(TestProcessor.Code, 0x0F, 0x32);
        State->Gpr[1] = 0x1234_5678;

        _machine.Step();

        AssertHandler(Fault.DoubleFault);
        Assert.Equal(0u, Frame(0));
    }

    [Fact]
    public void A_fault_while_delivering_a_benign_one_is_delivered_itself()
    {
        _machine.EnterLongMode();
        _machine.SetGate(Fault.InvalidOpcode, TestProcessor.Handler, type: 0x0E);
        _machine.Write(TestProcessor.Code, 0x0F, 0x0B);

        _machine.Step();

        AssertHandler(Fault.SegmentNotPresent);
        Assert.Equal(((uint)Fault.InvalidOpcode << 3) | 3, Frame(0));
    }

    [Fact]
    public void A_triple_fault_ends_the_run()
    {
        _machine.EnterLongMode();
        State->IdtLimit = 0;
        _machine.Write(TestProcessor.Code, 0x0F, 0x0B);

        var exit = _machine.Vp.Run();

        Assert.Equal(VpExitReason.TripleFault, exit.Reason);
    }

    [Fact]
    public void Iret_to_user_code_restores_stack_flags_and_privilege()
    {
        _machine.EnterLongMode();
        _machine.WriteWord(TestProcessor.Stack - 40, 0x32_0000);
        _machine.WriteWord(TestProcessor.Stack - 32, TestProcessor.UserCode);
        _machine.WriteWord(TestProcessor.Stack - 24, 0x246);
        _machine.WriteWord(TestProcessor.Stack - 16, 0x43_0000);
        _machine.WriteWord(TestProcessor.Stack - 8, TestProcessor.UserData);
        _machine.Write(TestProcessor.Code, 0x48, 0xCF);
        State->Gpr[4] = TestProcessor.Stack - 40;
        State->NmiBlocked = 1;

        _machine.Step();

        Assert.Equal(0x32_0000u, State->Rip);
        Assert.Equal(3u, State->Cpl);
        Assert.Equal(0x43_0000u, State->Gpr[4]);
        Assert.Equal(0x246u, LazyFlags.GetRflags(State));
        Assert.Equal(0u, State->NmiBlocked);
    }

    [Fact]
    public void Iret_to_an_inner_level_is_refused()
    {
        _machine.EnterLongMode(cpl: 3);
        _machine.WriteWord(TestProcessor.Stack - 40, 0x32_0000);
        _machine.WriteWord(TestProcessor.Stack - 32, TestProcessor.KernelCode);
        _machine.WriteWord(TestProcessor.Stack - 24, 2);
        _machine.Write(TestProcessor.Code, 0x48, 0xCF);
        State->Gpr[4] = TestProcessor.Stack - 40;

        _machine.Step();

        AssertHandler(Fault.GeneralProtection);
        Assert.Equal(TestProcessor.KernelCode, Frame(0));
    }

    [Fact]
    public void Syscall_and_sysret_change_code_stack_and_flags()
    {
        _machine.EnterLongMode(cpl: 3);
        State->Star = ((ulong)(TestProcessor.UserCode32 & ~3u) << 48) | ((ulong)TestProcessor.KernelCode << 32);
        State->Lstar = 0x32_0000;
        State->SyscallMask = RFlags.If;
        State->SystemFlags |= RFlags.If;
        _machine.Write(TestProcessor.Code, 0x0F, 0x05);
        _machine.Write(0x32_0000, 0x48, 0x0F, 0x07);

        _machine.Step();
        Assert.Equal(0x32_0000u, State->Rip);
        Assert.Equal(0u, State->Cpl);
        Assert.Equal(0u, State->SystemFlags & RFlags.If);
        Assert.Equal(TestProcessor.Code + 2, State->Gpr[1]);

        _machine.Step();
        Assert.Equal(TestProcessor.Code + 2, State->Rip);
        Assert.Equal(3u, State->Cpl);
        Assert.Equal(TestProcessor.UserCode, State->Cs.Selector);
        Assert.NotEqual(0u, State->SystemFlags & RFlags.If);
    }

    [Fact]
    public void Single_step_traps_behind_the_instruction()
    {
        _machine.EnterLongMode();
        _machine.Write(TestProcessor.Code, 0x90, 0x90);
        _machine.Vp.SetState(WithFlags(_machine.Vp.GetState(), 0x102));

        _machine.Step();

        AssertHandler(Fault.Debug);
        Assert.Equal(TestProcessor.Code + 1, Frame(0));
        Assert.NotEqual(0u, State->Dr[6] & 0x4000);
    }

    [Fact]
    public void An_instruction_breakpoint_stops_before_the_instruction()
    {
        _machine.EnterLongMode();
        _machine.Write(TestProcessor.Code, 0x90, 0x90);
        var state = _machine.Vp.GetState();
        state.Dr[0] = TestProcessor.Code + 1;
        state.Dr[7] = 0x401;
        _machine.Vp.SetState(state);

        _machine.Step(2);

        AssertHandler(Fault.Debug);
        Assert.Equal(TestProcessor.Code + 1, Frame(0));
        Assert.Equal(1u, State->Dr[6] & 0xF);
    }

    [Fact]
    public void A_data_breakpoint_traps_behind_the_store()
    {
        _machine.EnterLongMode();
        // mov [rbx], eax
        _machine.Write(TestProcessor.Code, 0x89, 0x03, 0x90);
        var state = _machine.Vp.GetState();
        state.Gpr[3] = 0x50_0000;
        state.Dr[1] = 0x50_0002;
        state.Dr[7] = 0x400 | (1 << 2) | (0b0101u << 20);
        _machine.Vp.SetState(state);

        _machine.Step();

        AssertHandler(Fault.Debug);
        Assert.Equal(TestProcessor.Code + 2, Frame(0));
        Assert.Equal(2u, State->Dr[6] & 0xF);
    }

    [Fact]
    public void An_external_interrupt_wakes_a_halted_processor_and_returns_behind_the_halt()
    {
        _machine.EnterLongMode();
        // sti; hlt; the handler ends the run by a triple fault.
        _machine.Write(TestProcessor.Code, 0xFB, 0xF4);
        _machine.Write(TestProcessor.Handler + (0x40 * 16), 0x0F, 0x01, 0x1C, 0x25, 0, 0, 0x50, 0, 0x0F, 0x0B);
        _machine.PendingVector = 0x40;
        _machine.Vp.SignalInterrupt();

        var exit = _machine.Vp.Run();

        Assert.Equal(VpExitReason.TripleFault, exit.Reason);
        Assert.Equal(TestProcessor.Code + 2, Frame(0));
    }

    [Fact]
    public void An_interrupt_that_another_engine_had_taken_is_delivered_without_asking_its_controller_again()
    {
        _machine.EnterLongMode();
        _machine.Write(TestProcessor.Code, 0x90, 0x90);
        _machine.Write(TestProcessor.Handler + (0x40 * 16), 0x0F, 0x01, 0x1C, 0x25, 0, 0, 0x50, 0, 0x0F, 0x0B);
        var state = WithFlags(_machine.Vp.GetState(), 0x202);
        state.AcknowledgedInterrupt = 0x40;
        _machine.Vp.SetState(state);
        Assert.Equal<byte?>(0x40, _machine.Vp.GetState().AcknowledgedInterrupt);

        var exit = _machine.Vp.Run();

        Assert.Equal(VpExitReason.TripleFault, exit.Reason);
        Assert.Equal(TestProcessor.Code, Frame(0));
    }

    [Fact]
    public void A_debug_trap_that_waited_on_another_engine_comes_before_the_next_instruction()
    {
        _machine.EnterLongMode();
        _machine.Write(TestProcessor.Code, 0x90, 0x90);
        _machine.Write(TestProcessor.Handler + (Fault.Debug * 16), 0x0F, 0x01, 0x1C, 0x25, 0, 0, 0x50, 0, 0x0F, 0x0B);
        var state = _machine.Vp.GetState();
        state.PendingDebug = 1 << 14;
        _machine.Vp.SetState(state);
        Assert.Equal(1UL << 14, _machine.Vp.GetState().PendingDebug);

        var exit = _machine.Vp.Run();

        Assert.Equal(VpExitReason.TripleFault, exit.Reason);
        Assert.Equal(TestProcessor.Code, Frame(0));
        Assert.Equal(1UL << 14, _machine.Vp.GetState().Dr[6] & VirtualProcessorState.DebugReasons);
        Assert.Equal(0UL, _machine.Vp.GetState().PendingDebug);
    }

    [Fact]
    public void A_processor_in_system_management_mode_is_refused()
    {
        var state = _machine.Vp.GetState();
        state.InSystemManagement = true;

        Assert.Throws<SavedStateException>(() => _machine.Vp.SetState(state));
    }

    private static VirtualProcessorState WithFlags(VirtualProcessorState state, ulong flags)
    {
        state.Rflags = flags;
        return state;
    }

    private void Run(uint cpl, byte[] code, ulong rsp = TestProcessor.Stack)
    {
        _machine.EnterLongMode(cpl);
        State->Gpr[4] = rsp;
        _machine.Write(TestProcessor.Code, code);
        _machine.Step();
    }

    private ulong Frame(int index) => _machine.ReadWord(State->Gpr[4] + ((ulong)index * 8));

    private void AssertHandler(int vector) => Assert.Equal(TestProcessor.Handler + ((ulong)vector * 16), State->Rip);
}
