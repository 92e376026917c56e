using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Kvm;
using Vitro.Hypervisor.Kvm.Interop;
using Xunit;

namespace Vitro.UnitTests.Hypervisor.Kvm;

/// <summary>What needs no KVM: the layout of the kernel's structures, CPUID, failure reports.</summary>
public sealed class KvmStructureTests
{
    [Fact]
    public void Structures_have_the_sizes_that_their_requests_name()
    {
        Assert.Equal(Size(KvmRequest.GetRegisters), Unsafe.SizeOf<KvmRegisters>());
        Assert.Equal(Size(KvmRequest.GetSystemRegisters), Unsafe.SizeOf<KvmSystemRegisters>());
        Assert.Equal(Size(KvmRequest.GetEvents), Unsafe.SizeOf<KvmEvents>());
        Assert.Equal(Size(KvmRequest.GetDebugRegisters), Unsafe.SizeOf<KvmDebugRegisters>());
        Assert.Equal(Size(KvmRequest.GetXcrs), Unsafe.SizeOf<KvmXcrs>());
        Assert.Equal(Size(KvmRequest.SetUserMemoryRegion), Unsafe.SizeOf<KvmMemoryRegion>());
        Assert.Equal(Size(KvmRequest.GetDirtyLog), Unsafe.SizeOf<KvmDirtyLog>());
        Assert.Equal(Size(KvmRequest.RegisterCoalescedZone), Unsafe.SizeOf<KvmCoalescedZone>());
        Assert.Equal(24, Unsafe.SizeOf<KvmCoalescedWrite>());
        Assert.Equal(16, Unsafe.SizeOf<KvmDirtyPage>());
        Assert.Equal(Size(KvmRequest.SignalMsi), Unsafe.SizeOf<KvmMsi>());
        Assert.Equal(Size(KvmRequest.AssignIrqFd), Unsafe.SizeOf<KvmIrqFd>());
        Assert.Equal(Size(KvmRequest.AssignSignal), Unsafe.SizeOf<KvmSignalBinding>());
        Assert.Equal(Size(KvmRequest.EnableCapability), Unsafe.SizeOf<KvmEnableCapability>());
        Assert.Equal(Size(KvmRequest.SetMsrFilter), Unsafe.SizeOf<KvmMsrFilter>());
        Assert.Equal(Size(KvmRequest.GetDeviceAttribute), Unsafe.SizeOf<KvmDeviceAttribute>());
        Assert.Equal(Size(KvmRequest.Translate), Unsafe.SizeOf<KvmTranslation>());
        Assert.Equal(LocalApicRegisters.PageSize, Size(KvmRequest.GetLocalApic));
    }

    [Fact]
    public void The_shared_page_has_its_fields_where_the_kernel_has_them()
    {
        Assert.Equal(32, Offset(nameof(KvmRun.IoDirection)));
        Assert.Equal(48, Offset(nameof(KvmRun.MmioLength)));
        Assert.Equal(44, Offset(nameof(KvmRun.MsrIndex)));
        Assert.Equal(40, Offset(nameof(KvmRun.HypercallControl)));
        Assert.Equal(64, Offset(nameof(KvmRun.HypercallOutput)));
        Assert.Equal(288, Offset(nameof(KvmRun.ValidRegisters)));
        Assert.Equal(304, Offset(nameof(KvmRun.Registers)));
        Assert.Equal(24, Unsafe.SizeOf<KvmSegment>());
        Assert.Equal(40, Unsafe.SizeOf<KvmCpuidEntry>());
        Assert.Equal(48, Unsafe.SizeOf<KvmRoutingEntry>());
    }

    [Fact]
    public void A_model_loses_what_the_host_lacks_and_keeps_what_the_machine_brings()
    {
        var host = new CpuidTable
        {
            [1] = new(0, 0, 1, (1u << 25) | (1u << 26)),
            [0xD, 0] = new(3, 0, 0, 0),
            [0x8000_0001] = new(0, 0, 0, 1u << 29),
            [0x8000_0008] = new(40, 0, 0, 0),
        };

        var table = HostCpuid.Intersect(CpuModel.X8664V2.Cpuid, host);

        Assert.Equal(1u | (1u << 21), table[1].Ecx);
        Assert.Equal((1u << 7) | (1u << 9) | (1u << 12) | (1u << 14) | (1u << 25) | (1u << 26), table[1].Edx);
        Assert.Equal(40u, table[0x8000_0008].Eax & 0xFF);
        Assert.Equal(1u << 13, table[7, 0].Ebx);
        Assert.Equal(CpuModel.X8664V2.Cpuid[0], table[0]);
    }

    [Fact]
    public void The_instruction_a_guest_stands_at_is_shown_with_its_bytes()
    {
        Assert.Equal("'movaps xmm0,[rax]' (0f2800)", FailureReport.Disassemble([0x0F, 0x28, 0x00, 0x90], 0x1000, 64));
        Assert.Contains("no processor knows", FailureReport.Disassemble([0x06], 0x1000, 64), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(2, "modprobe")]
    [InlineData(13, "group 'kvm'")]
    [InlineData(16, "another hypervisor")]
    [InlineData(24, "errno 24")]
    public void A_device_that_does_not_open_is_explained_with_the_cure(int error, string part) =>
        Assert.Contains(part, HostExamination.ExplainOpen(error), StringComparison.Ordinal);

    [Theory]
    [InlineData(7, "end some")]
    [InlineData(12, "give it less")]
    [InlineData(16, "Another hypervisor")]
    [InlineData(24, "ulimit -n")]
    [InlineData(25, "too old")]
    [InlineData(1, "security module")]
    public void A_refused_request_is_explained_with_the_cure(int error, string part)
    {
        var text = KvmFile.Explain("Creating a virtual machine", error);
        Assert.StartsWith("Creating a virtual machine: ", text, StringComparison.Ordinal);
        Assert.Contains($"(errno {error})", text, StringComparison.Ordinal);
        Assert.Contains(part, text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(14, "cannot give the memory")]
    [InlineData(12, "no memory left")]
    [InlineData(133, "damaged")]
    public void A_run_that_fails_for_want_of_memory_is_explained(int error, string part) =>
        Assert.Contains(part, FailureReport.ExplainRun(error), StringComparison.Ordinal);

    [Fact]
    public void A_host_that_is_too_old_is_told_what_it_lacks()
    {
        Assert.Contains("version 11", HostExamination.ExplainVersion(11), StringComparison.Ordinal);
        Assert.Null(HostExamination.ExplainMissing(_ => 1));
        var text = HostExamination.ExplainMissing(capability => capability is KvmCapability.MsrFilter or KvmCapability.UserSpaceMsr ? 0 : 1);
        Assert.Contains("UserSpaceMsr (Linux 5.10), MsrFilter (Linux 5.10)", text, StringComparison.Ordinal);
    }

    private static int Size(ulong request) => (int)(request >> 16) & 0x3FFF;

    private static int Offset(string field) => (int)Marshal.OffsetOf<KvmRun>(field);
}
