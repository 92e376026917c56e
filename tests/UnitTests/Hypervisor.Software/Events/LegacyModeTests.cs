using Vitro.Hypervisor.Software;
using Xunit;

namespace Vitro.UnitTests.Hypervisor.Software.Events;

public sealed unsafe class LegacyModeTests : IDisposable
{
    private readonly TestProcessor _machine = new();

    private VpState* State => _machine.State;

    public void Dispose() => _machine.Dispose();

    [Fact]
    public void A_processor_starts_at_the_reset_vector_in_real_mode()
    {
        Assert.Equal(0xFFFF_0000u, State->Cs.Base);
        Assert.Equal(0xFFF0u, State->Rip);
        Assert.Equal(0x6000_0010u, State->Cr0);
        Assert.Equal(VpMode.FpuTrap, (VpMode)State->Mode);
    }

    [Fact]
    public void A_real_mode_interrupt_and_its_return_use_three_words()
    {
        EnterRealMode();
        _machine.Write(0x1000, 0xCD, 0x21);
        _machine.Write(0x21 * 4, 0x34, 0x12, 0x00, 0x02);
        _machine.Write(0x2000 + 0x1234, 0xCF);
        State->SystemFlags |= RFlags.If;

        _machine.Step();
        Assert.Equal(0x1234u, State->Rip);
        Assert.Equal(0x200u, State->Cs.Selector);
        Assert.Equal(0u, State->SystemFlags & RFlags.If);
        Assert.Equal(0xFFFAu, State->Gpr[4]);

        _machine.Step();
        Assert.Equal(2u, State->Rip);
        Assert.Equal(0x100u, State->Cs.Selector);
        Assert.NotEqual(0u, State->SystemFlags & RFlags.If);
    }

    [Fact]
    public void Real_mode_can_be_left_by_cr0_and_a_far_jump()
    {
        EnterRealMode();
        _machine.WriteWord(TestProcessor.Gdt + 8, 0x00CF_9B00_0000_FFFF);
        _machine.Write(0x1100, 0xFF, 0x00, 0x00, 0x00, 0x20, 0x00);
        // lgdt cs:[0x100]; mov eax, cr0; or al, 1; mov cr0, eax; jmp 8:0x300000
        _machine.Write(
            0x1000,
            0x2E, 0x66, 0x0F, 0x01, 0x16, 0x00, 0x01, 0x0F, 0x20, 0xC0, 0x0C, 0x01, 0x0F, 0x22, 0xC0,
            0x66, 0xEA, 0x00, 0x00, 0x30, 0x00, 0x08, 0x00);

        _machine.Step(5);

        Assert.Equal(TestProcessor.Code, State->Rip);
        Assert.Equal(VpMode.Protected | VpMode.Code32, (VpMode)State->Mode & (VpMode.Protected | VpMode.Code32));
    }

    [Fact]
    public void An_interrupt_of_user_code_pushes_its_stack_on_the_inner_one()
    {
        Run(3, 0x0F, 0x0B);

        AssertHandler(Fault.InvalidOpcode);
        Assert.Equal(TestProcessor.InnerStack - 20, State->Gpr[4]);
        Assert.Equal((uint)TestProcessor.Code, Item(0));
        Assert.Equal((uint)TestProcessor.UserCode32, Item(1));
        Assert.Equal(RFlags.Rf | 2, Item(2));
        Assert.Equal((uint)TestProcessor.Stack, Item(3));
        Assert.Equal((uint)TestProcessor.UserData, Item(4));
    }

    [Theory]
    [InlineData(0x38, Fault.SegmentNotPresent, 0x38)]
    [InlineData(0x50, Fault.GeneralProtection, 0x50)]
    [InlineData(0x30, Fault.GeneralProtection, 0x30)]
    [InlineData(0x0C, Fault.GeneralProtection, 0x0C)]
    public void A_bad_data_selector_faults_with_itself(byte selector, int vector, uint error)
    {
        // mov eax, selector; mov ds, eax
        _machine.EnterProtectedMode();
        _machine.Write(TestProcessor.Code, 0xB8, selector, 0, 0, 0, 0x8E, 0xD8);

        _machine.Step(2);

        AssertHandler(vector);
        Assert.Equal(error, Item(0));
    }

    [Fact]
    public void A_null_stack_selector_faults()
    {
        Run(0, 0x31, 0xC0, 0x8E, 0xD0);
        _machine.Step();

        AssertHandler(Fault.GeneralProtection);
        Assert.Equal(0u, Item(0));
    }

    [Fact]
    public void A_null_data_selector_faults_only_when_used()
    {
        // xor eax, eax; mov ds, eax; mov al, [eax]
        Run(0, 0x31, 0xC0, 0x8E, 0xD8, 0x8A, 0x00);
        _machine.Step(2);

        AssertHandler(Fault.GeneralProtection);
        Assert.Equal((uint)TestProcessor.Code + 4, Item(1));
    }

    [Theory]
    [InlineData(0x0FFF, true)]
    [InlineData(0x1000, false)]
    public void An_expand_down_segment_is_valid_above_its_limit(int offset, bool faults)
    {
        // mov eax, 0x28; mov ds, eax; mov al, [offset]
        _machine.EnterProtectedMode();
        _machine.Write(TestProcessor.Code, 0xB8, 0x28, 0, 0, 0, 0x8E, 0xD8, 0xA0, (byte)offset, (byte)(offset >> 8), 0, 0);

        _machine.Step(3);

        Assert.Equal(faults, State->Rip == TestProcessor.Handler + (Fault.GeneralProtection * 16));
    }

    [Fact]
    public void A_call_gate_enters_the_inner_ring_with_its_parameter_copied()
    {
        _machine.EnterProtectedMode(cpl: 3);
        _machine.Write(TestProcessor.Stack, 0x78, 0x56, 0x34, 0x12);
        // call 0x43:0
        _machine.Write(TestProcessor.Code, 0x9A, 0, 0, 0, 0, 0x43, 0);

        _machine.Step();

        Assert.Equal(TestProcessor.CallTarget, State->Rip);
        Assert.Equal(0u, State->Cpl);
        Assert.Equal(TestProcessor.InnerStack - 20, State->Gpr[4]);
        Assert.Equal((uint)TestProcessor.Code + 7, Item(0));
        Assert.Equal(0x1234_5678u, Item(2));
        Assert.Equal((uint)TestProcessor.Stack, Item(3));
    }

    [Fact]
    public void A_far_return_goes_back_to_the_outer_ring_and_releases_the_parameter_on_both_stacks()
    {
        A_call_gate_enters_the_inner_ring_with_its_parameter_copied();
        State->Ds = State->Ss;
        _machine.Write(TestProcessor.CallTarget, 0xCA, 4, 0);

        _machine.Step();

        Assert.Equal(TestProcessor.Code + 7, State->Rip);
        Assert.Equal(3u, State->Cpl);
        Assert.Equal(TestProcessor.Stack + 4, State->Gpr[4]);
        Assert.Equal(0u, State->Ds.Selector);
    }

    [Fact]
    public void A_jump_to_a_tss_switches_the_task()
    {
        _machine.EnterProtectedMode();
        PrepareSecondTask();
        State->Gpr[3] = 0xABCD;
        // jmp 0x48:0
        _machine.Write(TestProcessor.Code, 0xEA, 0, 0, 0, 0, 0x48, 0);

        _machine.Step();

        Assert.Equal(0x34_0000u, State->Rip);
        Assert.Equal(0x48u, State->Tr.Selector);
        Assert.Equal(0x44_0000u, State->Gpr[4]);
        Assert.Equal((uint)TestProcessor.Code + 7, _machine.ReadDoubleWord(TestProcessor.Tss + 0x20));
        Assert.Equal(0xABCDu, _machine.ReadDoubleWord(TestProcessor.Tss + 0x34));
        Assert.Equal(0x89u, (_machine.ReadWord(TestProcessor.Gdt + 0x30) >> 40) & 0xFF);
        Assert.Equal(0x8Bu, (_machine.ReadWord(TestProcessor.Gdt + 0x48) >> 40) & 0xFF);
        Assert.NotEqual(0u, State->Cr0 & ControlBits.Cr0TaskSwitched);
    }

    [Fact]
    public void A_called_task_returns_by_iret_through_its_link()
    {
        _machine.EnterProtectedMode();
        PrepareSecondTask();
        // call 0x48:0
        _machine.Write(TestProcessor.Code, 0x9A, 0, 0, 0, 0, 0x48, 0);
        _machine.Write(0x34_0000, 0xCF);

        _machine.Step();
        Assert.NotEqual(0u, State->SystemFlags & RFlags.Nt);
        Assert.Equal(0x30u, _machine.ReadWord(TestProcessor.SecondTss) & 0xFFFF);

        _machine.Step();
        Assert.Equal(TestProcessor.Code + 7, State->Rip);
        Assert.Equal(0x30u, State->Tr.Selector);
        Assert.Equal(0u, State->SystemFlags & RFlags.Nt);
    }

    [Fact]
    public void Iret_with_the_vm_flag_enters_virtual_8086_mode_and_a_fault_leaves_it()
    {
        _machine.EnterProtectedMode();
        uint[] frame = [0x100, 0x2000, RFlags.Vm | 2, 0x8000, 0x3000, 0x4000, 0x5000, 0x6000, 0x7000];
        for (var i = 0; i < frame.Length; i++)
        {
            _machine.Write(TestProcessor.Stack - 64 + ((uint)i * 4), BitConverter.GetBytes(frame[i]));
        }

        State->Gpr[4] = TestProcessor.Stack - 64;
        _machine.Write(TestProcessor.Code, 0xCF);
        // mov al, ds:[0x10]; cli
        _machine.Write(0x2_0100, 0xA0, 0x10, 0x00, 0xFA);
        _machine.Write(0x5_0010, 0x77);

        _machine.Step(2);
        Assert.Equal(VpMode.Virtual8086, (VpMode)State->Mode & VpMode.Virtual8086);
        Assert.Equal(0x77u, State->Gpr[0] & 0xFF);
        Assert.Equal(3u, State->Cpl);

        _machine.Step();
        AssertHandler(Fault.GeneralProtection);
        Assert.Equal(TestProcessor.InnerStack - 40, State->Gpr[4]);
        Assert.Equal(0x103u, Item(1));
        Assert.Equal(0x2000u, Item(2));
        Assert.Equal(0x3000u, Item(5));
        Assert.Equal(0x4000u, Item(6));
        Assert.Equal(0x7000u, Item(9));
        Assert.Equal(0u, State->Ds.Selector);
    }

    [Theory]
    [InlineData(0x3F, true)]
    [InlineData(0x40, false)]
    public void The_io_bitmap_decides_about_ports_of_user_code(byte port, bool faults)
    {
        _machine.EnterProtectedMode(cpl: 3);
        State->Tr.Limit = 0x80;
        _machine.WriteWord(TestProcessor.Tss + 0x64, 0x68UL << 16);
        _machine.Write(TestProcessor.Tss + 0x68 + 7, 0x80, 0x00);
        // out port, al
        _machine.Write(TestProcessor.Code, 0xE6, port);

        _machine.Step();

        Assert.Equal(faults, _machine.PortWrites.Count == 0);
    }

    [Fact]
    public void Lar_and_lsl_tell_of_a_descriptor_and_clear_zf_for_a_bad_one()
    {
        // mov ecx, 0x10; lar eax, ecx; lsl ebx, ecx; mov ecx, 0x50; lar eax, ecx
        Run(0, 0xB9, 0x10, 0, 0, 0, 0x0F, 0x02, 0xC1, 0x0F, 0x03, 0xD9, 0xB9, 0x50, 0, 0, 0, 0x0F, 0x02, 0xC1);
        _machine.Step(2);
        Assert.Equal(0x00C0_9300u, State->Gpr[0]);
        Assert.Equal(0xFFFF_FFFFu, State->Gpr[3]);
        Assert.Equal(0x40u, _machine.Vp.GetState().Rflags & 0x40);

        _machine.Step(2);
        Assert.Equal(0u, _machine.Vp.GetState().Rflags & 0x40);
    }

    [Fact]
    public void User_mode_instruction_prevention_hides_the_descriptor_tables()
    {
        _machine.EnterProtectedMode(cpl: 3);
        State->Cr4 |= ControlBits.Cr4Umip;
        // sgdt [esp]
        _machine.Write(TestProcessor.Code, 0x0F, 0x01, 0x04, 0x24);

        _machine.Step();

        AssertHandler(Fault.GeneralProtection);
    }

    private void EnterRealMode()
    {
        State->Cs.Base = 0x1000;
        State->Cs.Selector = 0x100;
        State->Rip = 0;
        State->Gpr[4] = 0;
        _machine.Vp.UpdateMode();
    }

    private void PrepareSecondTask()
    {
        void Set(uint offset, uint value) => _machine.Write(TestProcessor.SecondTss + offset, BitConverter.GetBytes(value));

        Set(0x20, 0x34_0000);
        Set(0x24, 2);
        Set(0x38, 0x44_0000);
        Set(0x48, TestProcessor.KernelData);
        Set(0x4C, TestProcessor.KernelCode);
        Set(0x50, TestProcessor.KernelData);
        Set(0x54, TestProcessor.KernelData);
    }

    private void Run(uint cpl, params byte[] code)
    {
        _machine.EnterProtectedMode(cpl);
        _machine.Write(TestProcessor.Code, code);
        _machine.Step();
    }

    private uint Item(int index) => _machine.ReadDoubleWord(State->Gpr[4] + ((ulong)index * 4));

    private void AssertHandler(int vector) => Assert.Equal(TestProcessor.Handler + ((ulong)vector * 16), State->Rip);
}
