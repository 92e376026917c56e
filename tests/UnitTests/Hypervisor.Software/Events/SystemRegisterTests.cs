using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Software;
using Xunit;

namespace Vitro.UnitTests.Hypervisor.Software.Events;

public sealed unsafe class SystemRegisterTests : IDisposable
{
    private readonly TestProcessor _machine = new();

    private VpState* State => _machine.State;

    public void Dispose() => _machine.Dispose();

    [Theory]
    [InlineData(0xC0000080u, 0x1D01ul)] // EFER with a reserved bit
    [InlineData(0x277u, 0x0207ul)] // PAT with a reserved type
    [InlineData(0xC0000082u, 0x8000_0000_0000ul)] // LSTAR, not canonical
    [InlineData(0x12345678u, 0ul)] // no such register
    public void A_bad_value_for_a_model_specific_register_faults(uint msr, ulong value)
    {
        WriteMsr(msr, value);

        AssertHandler(Fault.GeneralProtection);
    }

    [Fact]
    public void Synthetic_registers_go_to_the_intercept_handler()
    {
        _machine.EnterLongMode();
        State->Gpr[1] = 0x4000_0002;
        _machine.Write(TestProcessor.Code, 0x0F, 0x32);

        _machine.Step();

        Assert.Equal(0x4000_0002u, State->Gpr[0]);
    }

    [Fact]
    public void Writing_the_time_stamp_counter_moves_it()
    {
        WriteMsr(0x10, 5_000_000);
        _machine.Write(TestProcessor.Code + 2, 0x0F, 0x31);

        _machine.Step();

        Assert.Equal(5_000_000u, State->Gpr[0]);
    }

    [Fact]
    public void A_hypercall_takes_three_registers_and_returns_one()
    {
        _machine.EnterLongMode();
        State->Gpr[1] = 1;
        State->Gpr[2] = 20;
        State->Gpr[8] = 300;
        _machine.Write(TestProcessor.Code, 0x0F, 0x01, 0xC1);

        _machine.Step();

        Assert.Equal(321u, State->Gpr[0]);
    }

    [Fact]
    public void A_hypercall_of_user_code_is_an_invalid_opcode()
    {
        _machine.EnterLongMode(cpl: 3);
        _machine.Write(TestProcessor.Code, 0x0F, 0x01, 0xC1);

        _machine.Step();

        AssertHandler(Fault.InvalidOpcode);
    }

    [Theory]
    [InlineData(0x0F, 0x20, 0xC0)] // mov rax, cr0
    [InlineData(0x0F, 0x32, 0x90)] // rdmsr
    [InlineData(0xF4, 0x90, 0x90)] // hlt
    [InlineData(0x0F, 0x06, 0x90)] // clts
    [InlineData(0xFA, 0x90, 0x90)] // cli
    public void User_code_may_not_use_privileged_instructions(byte first, byte second, byte third)
    {
        _machine.EnterLongMode(cpl: 3);
        _machine.Write(TestProcessor.Code, first, second, third);

        _machine.Step();

        AssertHandler(Fault.GeneralProtection);
    }

    [Fact]
    public void Paging_cannot_be_turned_off_in_64_bit_code()
    {
        _machine.EnterLongMode();
        State->Gpr[0] = 0x33;
        _machine.Write(TestProcessor.Code, 0x0F, 0x22, 0xC0);

        _machine.Step();

        AssertHandler(Fault.GeneralProtection);
    }

    [Fact]
    public void The_apic_id_of_cpuid_is_the_processors()
    {
        _machine.EnterLongMode();
        State->Gpr[0] = 0xB;
        State->Gpr[1] = 0;
        _machine.Write(TestProcessor.Code, 0x0F, 0xA2);

        _machine.Step();

        Assert.Equal(0u, State->Gpr[2]);
        Assert.Equal(0x100u, State->Gpr[1]);
    }

    [Fact]
    public void State_read_and_written_back_is_the_same()
    {
        _machine.EnterLongMode(cpl: 3);
        State->Gpr[13] = 0x1234;
        State->KernelGsBase = 0xFFFF_8000_0000_0000;
        State->NmiBlocked = 1;
        var before = _machine.Vp.GetState();

        _machine.Vp.Reset();
        _machine.Vp.SetState(before);
        var after = _machine.Vp.GetState();

        Assert.Equal(before.Gpr, after.Gpr);
        Assert.Equal(before.Dr, after.Dr);
        Assert.Equal(before.Msrs.OrderBy(pair => pair.Key), after.Msrs.OrderBy(pair => pair.Key));
        Assert.Equal(before.Xsave, after.Xsave);
        Assert.Equal(
            (before.Rip, before.Rflags, before.Cs, before.Ss, before.Tr, before.Cr0, before.Cr3, before.Cr4, before.Efer, before.NmiBlocked),
            (after.Rip, after.Rflags, after.Cs, after.Ss, after.Tr, after.Cr0, after.Cr3, after.Cr4, after.Efer, after.NmiBlocked));
        Assert.Equal(3u, State->Cpl);
    }

    [Fact]
    public void Init_makes_the_boot_processor_start_at_the_reset_vector_again()
    {
        _machine.EnterLongMode();
        _machine.Vp.SignalInit();
        _machine.Vp.Cancel();

        _machine.Vp.Run();

        Assert.Equal(0xFFF0u, State->Rip);
        Assert.Equal(VpActivity.Running, (VpActivity)State->Activity);
    }

    [Fact]
    public void A_wide_compare_and_exchange_stores_when_equal_and_loads_when_not()
    {
        _machine.EnterLongMode();
        _machine.WriteWord(0x50_0000, 1);
        _machine.WriteWord(0x50_0008, 2);
        (State->Gpr[0], State->Gpr[2], State->Gpr[3], State->Gpr[1], State->Gpr[6]) = (1, 2, 3, 4, 0x50_0000);

        // lock cmpxchg16b [rsi], twice
        _machine.Write(TestProcessor.Code, 0xF0, 0x48, 0x0F, 0xC7, 0x0E, 0xF0, 0x48, 0x0F, 0xC7, 0x0E);

        _machine.Step(2);

        Assert.Equal(3u, _machine.ReadWord(0x50_0000));
        Assert.Equal(4u, _machine.ReadWord(0x50_0008));
        Assert.Equal((3u, 4u), ((uint)State->Gpr[0], (uint)State->Gpr[2]));
    }

    private void WriteMsr(uint msr, ulong value)
    {
        _machine.EnterLongMode();
        State->Gpr[1] = msr;
        State->Gpr[0] = (uint)value;
        State->Gpr[2] = value >> 32;
        _machine.Write(TestProcessor.Code, 0x0F, 0x30);
        _machine.Step();
    }

    private void AssertHandler(int vector) => Assert.Equal(TestProcessor.Handler + ((ulong)vector * 16), State->Rip);
}
