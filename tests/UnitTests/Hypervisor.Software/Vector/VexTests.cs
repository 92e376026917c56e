using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Software;
using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Translator;
using Vitro.Hypervisor.Software.Vector;
using Vitro.UnitTests.Hypervisor.Software.Differential;
using Xunit;

namespace Vitro.UnitTests.Hypervisor.Software.Vector;

/// <summary>AVX beyond what a comparison with the host shows: availability, masked and gathered elements, faults, saved state.</summary>
public sealed unsafe class VexTests : IDisposable
{
    private const int None = -1;
    private readonly DifferentialMachine[] _machines;

    public VexTests()
    {
        Assert.SkipUnless(System.Runtime.Intrinsics.X86.Avx2.IsSupported, "The host's processor has no AVX2.");
        _machines = [new(new InterpreterFactory()), new(new TranslatorFactory())];
        foreach (var machine in _machines)
        {
            machine.State->Cr4 |= ControlBits.Cr4Osxsave;
            machine.State->Xcr0 = 7;
        }
    }

    public void Dispose()
    {
        foreach (var machine in _machines)
        {
            machine.Dispose();
        }
    }

    [Theory]
    [InlineData(0, 0, 7, Fault.InvalidOpcode)] // no OSXSAVE
    [InlineData(ControlBits.Cr4Osxsave, 0, 3, Fault.InvalidOpcode)]
    [InlineData(ControlBits.Cr4Osxsave, 0, 1, Fault.InvalidOpcode)]
    [InlineData(ControlBits.Cr4Osxsave, ControlBits.Cr0TaskSwitched, 7, Fault.DeviceNotAvailable)]
    [InlineData(ControlBits.Cr4Osxsave, 0, 7, None)]
    public void Control_registers_decide_availability(ulong cr4, ulong cr0, ulong xcr0, int vector)
    {
        foreach (var machine in _machines)
        {
            machine.SetControl(machine.State->Cr0 | cr0, (machine.State->Cr4 & ~ControlBits.Cr4Osxsave) | cr4);
            machine.State->Xcr0 = xcr0;

            Assert.Equal(vector, Execute(machine, "C5FC58C1")); // vaddps ymm0, ymm0, ymm1

            // An SSE instruction before it brings the XMM registers in.
            Assert.Equal(vector, Execute(machine, "0F57C9C5FC58C1")); // xorps xmm1, xmm1; vaddps
        }
    }

    [Theory]
    [InlineData("C4E27D8C4B00", 0x20, 0)] // vpmaskmovd ymm1, ymm0, [rbx]
    [InlineData("C4E27D8E4B00", 0x20, 1)] // vpmaskmovd [rbx], ymm0, ymm1
    [InlineData("C4E27D2C4B00", 0x20, 0)]
    [InlineData("C4E2798C4B00", 0x10, 0)]
    [InlineData("C4E2FD8C4B00", 0x20, 0)] // vpmaskmovq
    public void Masked_elements_beyond_mapped_memory_do_not_fault(string code, int width, int isStore)
    {
        foreach (var machine in _machines)
        {
            var area = machine.State->Xsave;
            var border = machine.Unmapped;
            new Span<byte>((byte*)border - 16, 16).Fill(0x11);
            Fill(machine, register: 1, 0x22);
            Fill(machine, register: 0, 0);

            // The first 8 bytes are selected, the rest lies behind the end.
            area[XsaveArea.Xmm + 3] = 0x80;
            area[XsaveArea.Xmm + 7] = 0x80;
            machine.State->Gpr[3] = border - 8;

            Assert.Equal(None, Execute(machine, code));
            var expected = new byte[width];
            expected.AsSpan(0, 8).Fill(isStore != 0 ? (byte)0x22 : (byte)0x11);
            if (isStore != 0)
            {
                Assert.Equal(expected.AsSpan(0, 8), new ReadOnlySpan<byte>((byte*)border - 8, 8));
            }
            else
            {
                Assert.Equal(expected, Register(machine, 1).AsSpan(0, width));
                Assert.Equal(-1, Register(machine, 1).AsSpan(width).IndexOfAnyExcept((byte)0));
            }

            // One more selected element faults, and nothing changes.
            area[XsaveArea.Xmm + 11] = 0x80;
            area[XsaveArea.Xmm + 15] = 0x80;
            Fill(machine, register: 1, 0x33);
            Assert.Equal(Fault.PageFault, Execute(machine, code));
            Assert.Equal(border, machine.State->Cr2);
            Assert.Equal(-1, Register(machine, 1).AsSpan().IndexOfAnyExcept((byte)0x33));
        }
    }

    [Theory]
    [InlineData("C4E26D900CA3", 4, 4, 8)] // vpgatherdd ymm1, [rbx+ymm4*4], ymm2
    [InlineData("C4E269900CA3", 4, 4, 4)]
    [InlineData("C4E2ED900CA3", 8, 4, 4)] // vpgatherdq
    [InlineData("C4E26D910CA3", 4, 8, 4)] // vpgatherqd
    [InlineData("C4E2ED930CA3", 8, 8, 4)] // vgatherqpd
    [InlineData("C4E269920CA3", 4, 4, 4)] // vgatherdps xmm
    public void A_gather_loads_selected_elements_and_stops_at_a_fault(string code, int element, int index, int count)
    {
        foreach (var machine in _machines)
        {
            var border = machine.Unmapped;
            for (var n = 0; n < 64; n++)
            {
                *(uint*)(border - 256 + (ulong)(4 * n)) = 0x1000 + (uint)n;
            }

            machine.State->Gpr[3] = border - 128;
            Fill(machine, 1, 0x77);
            Fill(machine, 2, 0xFF);
            for (var n = 0; n < count; n++)
            {
                // Both directions; the last lies behind the end.
                Set(machine, 4, n * index, index, n == count - 1 ? 32 : (3 * n) - 5);
            }

            Set(machine, 2, element, element, 0); // the second is not wanted

            Assert.Equal(Fault.PageFault, Execute(machine, code));
            Assert.Equal(0x1000UL + 32 - 5, Get(machine, 1, 0, 4));
            Assert.Equal(0x77777777UL, Get(machine, 1, element, 4));
            Assert.Equal(0UL, Get(machine, 2, 0, element));
            Assert.NotEqual(0UL, Get(machine, 2, (count - 1) * element, element));

            Set(machine, 4, (count - 1) * index, index, 2);
            Assert.Equal(None, Execute(machine, code));
            Assert.Equal(0x1000UL + 34, Get(machine, 1, (count - 1) * element, 4));
            Assert.Equal(-1, Register(machine, 2).AsSpan().IndexOfAnyExcept((byte)0));
            Assert.Equal(-1, Register(machine, 1).AsSpan(count * element).IndexOfAnyExcept((byte)0));
        }
    }

    [Theory]
    [InlineData("C5FC2803", 16, Fault.GeneralProtection)] // vmovaps ymm0, [rbx]
    [InlineData("C5F82803", 16, None)]
    [InlineData("C5FDE703", 16, Fault.GeneralProtection)] // vmovntdq [rbx], ymm0
    [InlineData("C5FC5803", 1, None)] // vaddps ymm0, ymm0, [rbx]
    public void Only_aligned_moves_need_alignment(string code, int offset, int vector)
    {
        foreach (var machine in _machines)
        {
            machine.State->Gpr[3] = (machine.Window & ~31UL) + (ulong)offset;

            Assert.Equal(vector, Execute(machine, code));
        }
    }

    [Fact]
    public void Upper_halves_are_saved_when_in_use_and_come_back()
    {
        foreach (var machine in _machines)
        {
            var buffer = (byte*)(machine.Window & ~63UL) - 128;
            new Span<byte>(buffer, 64).Clear();
            machine.State->Gpr[3] = machine.Stack & ~63UL;
            machine.State->Gpr[0] = 7;
            machine.State->Gpr[2] = 0;
            new Span<byte>((byte*)machine.State->Gpr[3] - 256, 1088).Clear();
            machine.State->Gpr[3] -= 256;
            var saved = (byte*)machine.State->Gpr[3];

            // vzeroall; then the upper halves are in their initial state.
            Assert.Equal(None, Execute(machine, "C5FC77480FAE33")); // xsaveopt64 [rbx]
            Assert.Equal(3UL, *(ulong*)(saved + XsaveArea.StateBitmap) & 7);
            Assert.Equal(None, Execute(machine, "C5FD76C0480FAE33")); // vpcmpeqd ymm0, ymm0, ymm0
            Assert.Equal(7UL, *(ulong*)(saved + XsaveArea.StateBitmap) & 7);
            Assert.Equal(ulong.MaxValue, *(ulong*)(saved + XsaveArea.YmmHigh));
            Assert.Equal(None, Execute(machine, "C5FC77480FAE2B")); // vzeroall; xrstor64 [rbx]
            Assert.Equal(-1, Register(machine, 0).AsSpan().IndexOfAnyExcept((byte)0xFF));

            *(ulong*)(saved + XsaveArea.StateBitmap) = 3;
            Assert.Equal(None, Execute(machine, "480FAE2BC5FC58C0")); // xrstor64; vaddps ymm0, ymm0, ymm0
            Assert.Equal(-1, Register(machine, 0).AsSpan(16).IndexOfAnyExcept((byte)0));
        }
    }

    [Theory]
    [InlineData("C5FC58C1", nameof(CpuFeatures.Avx))]
    [InlineData("C5FDFEC1", nameof(CpuFeatures.Avx2))]
    [InlineData("C4E275B8C1", nameof(CpuFeatures.Fma))]
    [InlineData("660F3ADFC101", nameof(CpuFeatures.Aes))]
    [InlineData("0F38CBC1", nameof(CpuFeatures.Sha))]
    [InlineData("660F38DCC1", nameof(CpuFeatures.Aes))]
    [InlineData("F30FB8C1", nameof(CpuFeatures.Popcnt))]
    [InlineData("0F38F003", nameof(CpuFeatures.Movbe))]
    [InlineData("C4E270F2C1", nameof(CpuFeatures.Bmi1))]
    [InlineData("C4E2FBF7C1", nameof(CpuFeatures.Bmi2))]
    [InlineData("660F38F6C1", nameof(CpuFeatures.Adx))]
    [InlineData("F20F38F1C1", nameof(CpuFeatures.Sse42))]
    public void What_CPUID_does_not_offer_is_undefined(string code, string feature) => Both(code, Enum.Parse<CpuFeatures>(feature), Fault.InvalidOpcode, null);

    [Theory]
    [InlineData("F30FBCC1", nameof(CpuFeatures.Bmi1), 4UL)] // tzcnt is bsf
    [InlineData("F30FBDC1", nameof(CpuFeatures.Lzcnt), 5UL)] // lzcnt is bsr
    public void Counts_of_zeros_are_scans_without_their_extension(string code, string feature, ulong result) =>
        Both(code, Enum.Parse<CpuFeatures>(feature), None, result);

    private void Both(string code, CpuFeatures feature, int vector, ulong? result)
    {
        foreach (var machine in _machines)
        {
            Assert.SkipUnless((machine.State->Features & feature) != 0, $"The host's processor has no {feature}.");
            machine.State->Gpr[3] = machine.Window;
            Assert.Equal(None, Execute(machine, code));
            machine.State->Features &= ~feature;
            machine.State->Gpr[1] = 0x30;
            Assert.Equal(vector, Execute(machine, code));
            if (result is { } expected)
            {
                Assert.Equal(expected, machine.State->Gpr[0]);
            }
        }
    }

    private static int Execute(DifferentialMachine machine, string code) =>
        machine.Run(machine.Place(Convert.FromHexString(code)), step: false);

    private static byte* Place(DifferentialMachine machine, int register, int at) =>
        machine.State->Xsave + (16 * register) + (at < 16 ? XsaveArea.Xmm + at : XsaveArea.YmmHigh + at - 16);

    private static void Fill(DifferentialMachine machine, int register, byte value)
    {
        machine.State->UppersInUse = 1;
        new Span<byte>(Place(machine, register, 0), 16).Fill(value);
        new Span<byte>(Place(machine, register, 16), 16).Fill(value);
    }

    private static byte[] Register(DifferentialMachine machine, int register) =>
        [.. new ReadOnlySpan<byte>(Place(machine, register, 0), 16), .. new ReadOnlySpan<byte>(Place(machine, register, 16), 16)];

    private static void Set(DifferentialMachine machine, int register, int at, int size, long value)
    {
        if (size == 8)
        {
            *(long*)Place(machine, register, at) = value;
        }
        else
        {
            *(int*)Place(machine, register, at) = (int)value;
        }
    }

    private static ulong Get(DifferentialMachine machine, int register, int at, int size) =>
        size == 8 ? *(ulong*)Place(machine, register, at) : *(uint*)Place(machine, register, at);
}
