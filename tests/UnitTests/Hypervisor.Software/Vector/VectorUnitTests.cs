using Vitro.Hypervisor.Software;
using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Vector;
using Vitro.UnitTests.Hypervisor.Software.Differential;
using Xunit;

namespace Vitro.UnitTests.Hypervisor.Software.Vector;

/// <summary>What a comparison with the host cannot show: faults, availability and the saving of state.</summary>
public sealed unsafe class VectorUnitTests : IDisposable
{
    private const int None = -1;
    private readonly DifferentialMachine _machine = new();

    private VpState* State => _machine.State;

    private byte* Area => State->Xsave;

    public void Dispose() => _machine.Dispose();

    [Fact]
    public void A_store_across_the_end_of_mapped_memory_faults_and_stores_nothing()
    {
        var border = _machine.Unmapped;
        *(ulong*)(border - 8) = 0x1122334455667788;
        State->Gpr[0] = border - 8;

        Assert.Equal(Fault.PageFault, Execute("0F1100")); // movups [rax], xmm0
        Assert.Equal(border, State->Cr2);
        Assert.Equal(0x1122334455667788ul, *(ulong*)(border - 8));
    }

    [Fact]
    public void A_popping_store_that_faults_leaves_the_x87_stack_alone()
    {
        Assert.Equal(None, Execute("DBE3D9E8")); // fninit; fld1
        State->Gpr[0] = _machine.Unmapped;
        var status = *(ushort*)(Area + XsaveArea.StatusWord);

        Assert.Equal(Fault.PageFault, Execute("DD18")); // fstp qword [rax]
        Assert.Equal(status, *(ushort*)(Area + XsaveArea.StatusWord));
        Assert.Equal(0x80, Area[XsaveArea.TagByte]);
    }

    [Theory]
    [InlineData("0F2800")] // movaps xmm0, [rax]
    [InlineData("660FFE00")] // paddd xmm0, [rax]
    [InlineData("0F2900")] // movaps [rax], xmm0
    [InlineData("0FAE00")] // fxsave [rax]
    [InlineData("0FAE08")] // fxrstor [rax]
    public void A_misaligned_operand_is_a_protection_fault(string code)
    {
        State->Gpr[0] = _machine.Window + 8;

        Assert.Equal(Fault.GeneralProtection, Execute(code));
    }

    [Theory]
    [InlineData("0F58C1", ControlBits.Cr0TaskSwitched, Fault.DeviceNotAvailable)]
    [InlineData("0F58C1", ControlBits.Cr0Emulation, Fault.InvalidOpcode)]
    [InlineData("0F58C1", ControlBits.Cr0Emulation | ControlBits.Cr0TaskSwitched, Fault.InvalidOpcode)]
    [InlineData("0FFEC1", ControlBits.Cr0TaskSwitched, Fault.DeviceNotAvailable)]
    [InlineData("0FFEC1", ControlBits.Cr0Emulation, Fault.InvalidOpcode)]
    [InlineData("D9E8", ControlBits.Cr0TaskSwitched, Fault.DeviceNotAvailable)]
    [InlineData("D9E8", ControlBits.Cr0Emulation, Fault.DeviceNotAvailable)]
    [InlineData("9B", ControlBits.Cr0TaskSwitched, Fault.DeviceNotAvailable)]
    public void Control_register_0_decides_availability(string code, ulong bits, int vector)
    {
        _machine.SetControl(State->Cr0 | bits, State->Cr4);

        Assert.Equal(vector, Execute(code));
    }

    [Fact]
    public void Waiting_ignores_a_task_switch_unless_the_coprocessor_is_monitored()
    {
        _machine.SetControl((State->Cr0 | ControlBits.Cr0TaskSwitched) & ~ControlBits.Cr0MonitorCoprocessor, State->Cr4);

        Assert.Equal(None, Execute("9B"));
    }

    [Theory]
    [InlineData("0F58C1", Fault.InvalidOpcode)] // addps
    [InlineData("0FFEC1", None)] // paddd mm
    public void Without_operating_system_support_only_MMX_is_there(string code, int vector)
    {
        _machine.SetControl(State->Cr0, State->Cr4 & ~ControlBits.Cr4Osfxsr);

        Assert.Equal(vector, Execute(code));
    }

    [Theory]
    [InlineData(ControlBits.Cr4Osxmmexcpt, Fault.SimdFloatingPoint)]
    [InlineData(0, Fault.InvalidOpcode)]
    public void An_unmasked_division_by_zero_leaves_the_destination_and_notes_the_flag(ulong support, int vector)
    {
        State->Cr4 = (State->Cr4 & ~ControlBits.Cr4Osxmmexcpt) | support;
        new Span<byte>(Area + XsaveArea.Xmm, 32).Clear();
        *(uint*)(Area + XsaveArea.Xmm) = 0x3F800000;
        *(uint*)(Area + XsaveArea.Mxcsr) = 0x1F80 & ~0x200u;

        Assert.Equal(vector, Execute("F30F5EC1")); // divss xmm0, xmm1
        Assert.Equal(0x3F800000u, *(uint*)(Area + XsaveArea.Xmm));
        Assert.Equal(4u, *(uint*)(Area + XsaveArea.Mxcsr) & 0x3F);
    }

    [Fact]
    public void An_unmasked_x87_exception_waits_for_the_next_waiting_instruction()
    {
        Assert.Equal(None, Execute("DBE3"));
        *(ushort*)Area = 0x37B; // division by zero unmasked

        Assert.Equal(None, Execute("D9E8D9EEDEF9")); // fld1; fldz; fdivp
        Assert.Equal(0x8084, *(ushort*)(Area + XsaveArea.StatusWord) & 0x80FF);
        Assert.Equal(None, Execute("DFE0")); // fnstsw ax does not wait
        Assert.Equal(0x84u, (uint)State->Gpr[0] & 0xFF);
        Assert.Equal(Fault.FloatingPoint, Execute("9B"));
        Assert.Equal(Fault.FloatingPoint, Execute("D9E8"));
        Assert.Equal(Fault.FloatingPoint, Execute("0FFEC1"));
        Assert.Equal(None, Execute("DBE29B")); // fnclex; fwait
    }

    [Fact]
    public void Loading_a_control_word_can_unmask_an_old_exception()
    {
        Assert.Equal(None, Execute("DBE3D9E8D9EEDEF9"));
        *(ushort*)_machine.Window = 0x340;
        State->Gpr[0] = _machine.Window;

        Assert.Equal(None, Execute("D928")); // fldcw [rax]
        Assert.Equal(Fault.FloatingPoint, Execute("9B"));
    }

    [Fact]
    public void The_last_x87_instruction_is_where_the_guest_has_it()
    {
        State->Gpr[0] = _machine.Window;
        var code = Convert.FromHexString("D900"); // fld dword [rax]
        var rip = _machine.Place(code);

        Assert.Equal(None, _machine.Run(rip, step: false));
        Assert.Equal(rip, *(ulong*)(Area + XsaveArea.InstructionPointer));
        Assert.Equal(_machine.Window, *(ulong*)(Area + XsaveArea.DataPointer));
        Assert.Equal(0x100, *(ushort*)(Area + XsaveArea.LastOpcode));
    }

    [Fact]
    public void FXSAVE_and_FXRSTOR_bring_all_registers_back()
    {
        FillRegisters();
        var before = new ReadOnlySpan<byte>(Area, 416).ToArray();
        State->Gpr[0] = _machine.Window & ~15ul;

        Assert.Equal(None, Execute("480FAE00")); // fxsave64 [rax]
        XsaveArea.Initialize(Area);
        Assert.Equal(None, Execute("480FAE08"));
        Assert.Equal(before, new ReadOnlySpan<byte>(Area, 416));
    }

    [Theory]
    [InlineData("0FAE08")] // fxrstor
    [InlineData("0FAE5018")] // ldmxcsr [rax+18h]
    public void A_reserved_MXCSR_bit_is_refused(string code)
    {
        State->Gpr[0] = _machine.Window & ~15ul;
        new Span<byte>((void*)State->Gpr[0], 512).Clear();
        *(uint*)(State->Gpr[0] + XsaveArea.Mxcsr) = 0x10000;

        Assert.Equal(Fault.GeneralProtection, Execute(code));
        Assert.Equal(XsaveArea.MxcsrDefault, *(uint*)(Area + XsaveArea.Mxcsr));
    }

    [Fact]
    public void XSAVE_needs_its_control_bit()
    {
        State->Gpr[0] = _machine.Window & ~63ul;

        Assert.Equal(Fault.InvalidOpcode, Execute("0FAE20"));
    }

    [Theory]
    [InlineData("480FAE23")] // xsave64 [rbx]
    [InlineData("480FAE33")] // xsaveopt64 [rbx]
    [InlineData("480FC723")] // xsavec64 [rbx]
    public void XRSTOR_brings_back_what_was_saved_and_initializes_the_rest(string save)
    {
        EnableXsave();
        FillRegisters();
        var before = new ReadOnlySpan<byte>(Area, 416).ToArray();
        var buffer = (byte*)(_machine.Window & ~63ul);
        new Span<byte>(buffer, 576).Clear();
        State->Gpr[3] = (ulong)buffer;
        State->Gpr[0] = 3;
        State->Gpr[2] = 0;

        Assert.Equal(None, Execute(save));
        Assert.Equal(3ul, *(ulong*)(buffer + XsaveArea.StateBitmap));
        XsaveArea.Initialize(Area);
        Assert.Equal(None, Execute("480FAE2B")); // xrstor64 [rbx]
        Assert.Equal(before, new ReadOnlySpan<byte>(Area, 416));

        // A component whose bit is clear goes to its initial state.
        *(ulong*)(buffer + XsaveArea.StateBitmap) = 1;
        Assert.Equal(None, Execute("480FAE2B"));
        Assert.Equal(before.AsSpan(0, 24), new ReadOnlySpan<byte>(Area, 24));
        Assert.Equal(-1, new ReadOnlySpan<byte>(Area + XsaveArea.Xmm, 256).IndexOfAnyExcept((byte)0));
    }

    [Theory]
    [InlineData(XsaveArea.StateBitmap, 4ul)] // a component that is not enabled
    [InlineData(XsaveArea.CompactionBitmap, 1ul)]
    [InlineData(XsaveArea.CompactionBitmap + 8, 1ul)]
    [InlineData(XsaveArea.Mxcsr, 0x80000ul)]
    public void XRSTOR_refuses_a_bad_image(int offset, ulong value)
    {
        EnableXsave();
        var buffer = (byte*)(_machine.Window & ~63ul);
        new Span<byte>(buffer, 576).Clear();
        *(ulong*)(buffer + offset) = value;
        State->Gpr[3] = (ulong)buffer;
        State->Gpr[0] = 3;
        State->Gpr[2] = 0;

        Assert.Equal(Fault.GeneralProtection, Execute("480FAE2B"));
    }

    [Fact]
    public void FNSAVE_and_FRSTOR_bring_the_stack_back()
    {
        Assert.Equal(None, Execute("DBE3D9E8D9EBD9EE")); // 1, pi, 0
        var before = new ReadOnlySpan<byte>(Area, 160).ToArray();
        State->Gpr[0] = _machine.Window;

        Assert.Equal(None, Execute("DD30")); // fnsave [rax]
        Assert.Equal(0, Area[XsaveArea.TagByte]);
        Assert.Equal(0x37F, *(ushort*)Area);
        Assert.Equal(None, Execute("DD20")); // frstor [rax]
        Assert.Equal(before.AsSpan(0, 5), new ReadOnlySpan<byte>(Area, 5));
        Assert.Equal(before.AsSpan(32, 128), new ReadOnlySpan<byte>(Area + 32, 128));
    }

    [Fact]
    public void A_saved_state_with_nonsense_in_it_is_made_loadable()
    {
        new Span<byte>(Area, XsaveArea.Size).Fill(0xFF);

        XsaveArea.Sanitize(Area);

        Assert.Equal(0xFFFFu, *(uint*)(Area + XsaveArea.Mxcsr));
        Assert.False(XsaveArea.HasPendingException(Area));
        Assert.Equal(None, Execute("D9E8660FFEC1")); // fld1; paddd
    }

    [Fact]
    public void A_vector_store_over_code_is_executed_as_stored()
    {
        var target = _machine.Place([0x90]);
        Assert.Equal(None, _machine.Run(target, step: false));
        new Span<byte>(Area + XsaveArea.Xmm, 16).Fill(0xF4);
        Area[XsaveArea.Xmm] = 0xB0; // mov al, 5Ah
        Area[XsaveArea.Xmm + 1] = 0x5A;
        State->Gpr[3] = target;

        Assert.Equal(None, Execute("0F1103")); // movups [rbx], xmm0
        Assert.Equal(None, _machine.Run(target, step: false));
        Assert.Equal(0x5Au, (uint)State->Gpr[0] & 0xFF);
    }

    private int Execute(string code) => _machine.Run(_machine.Place(Convert.FromHexString(code)), step: false);

    private void EnableXsave()
    {
        State->Cr4 |= ControlBits.Cr4Osxsave;
        State->Xcr0 = 3;
    }

    private void FillRegisters()
    {
        Assert.Equal(None, Execute("DBE3D9E8D9EB")); // fninit; fld1; fldpi
        for (var i = 0; i < 256; i++)
        {
            Area[XsaveArea.Xmm + i] = (byte)(i * 7);
        }

        *(uint*)(Area + XsaveArea.Mxcsr) = 0x1FA5;
        LazyFlags.SetRflags(State, 2);
    }
}
