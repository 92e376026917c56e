namespace Vitro.Hypervisor.Kvm.Interop;

/// <summary>Requests of the KVM interface (Linux, Documentation/virt/kvm/api.rst and include/uapi/linux/kvm.h).</summary>
internal static class KvmRequest
{
    private const ulong Write = 0x4000_0000;
    private const ulong Read = 0x8000_0000;

    internal const ulong GetApiVersion = 0xAE00;
    internal const ulong CreateVm = 0xAE01;
    internal const ulong CheckExtension = 0xAE03;
    internal const ulong GetVcpuMmapSize = 0xAE04;
    internal const ulong GetSupportedCpuid = Read | Write | 0x0008_AE05;
    internal const ulong GetSupportedHypervCpuid = Read | Write | 0x0008_AEC1;

    internal const ulong CreateVcpu = 0xAE41;
    internal const ulong GetDirtyLog = Write | 0x0010_AE42;
    internal const ulong SetUserMemoryRegion = Write | 0x0020_AE46;
    internal const ulong SetTssAddress = 0xAE47;
    internal const ulong SetIdentityMapAddress = Write | 0x0008_AE48;
    internal const ulong RegisterCoalescedZone = Write | 0x0010_AE67;
    internal const ulong SetGsiRouting = Write | 0x0008_AE6A;
    internal const ulong SetClock = Write | 0x0030_AE7B;
    internal const ulong GetClock = Read | 0x0030_AE7C;
    internal const ulong AssignIrqFd = Write | 0x0020_AE76;
    internal const ulong EnableCapability = Write | 0x0068_AEA3;
    internal const ulong SignalMsi = Write | 0x0020_AEA5;
    internal const ulong AssignSignal = Write | 0x0018_AEBD;
    internal const ulong SetMsrFilter = Write | 0x0188_AEC6;
    internal const ulong ResetDirtyRings = 0xAEC7;

    internal const ulong Run = 0xAE80;
    internal const ulong GetRegisters = Read | 0x0090_AE81;
    internal const ulong SetRegisters = Write | 0x0090_AE82;
    internal const ulong GetSystemRegisters = Read | 0x0138_AE83;
    internal const ulong SetSystemRegisters = Write | 0x0138_AE84;
    internal const ulong Translate = Read | Write | 0x0018_AE85;
    internal const ulong Interrupt = Write | 0x0004_AE86;
    internal const ulong GetMsrs = Read | Write | 0x0008_AE88;
    internal const ulong SetMsrs = Write | 0x0008_AE89;
    internal const ulong GetLocalApic = Read | 0x0400_AE8E;
    internal const ulong SetLocalApic = Write | 0x0400_AE8F;
    internal const ulong SetCpuid = Write | 0x0008_AE90;
    internal const ulong GetActivity = Read | 0x0004_AE98;
    internal const ulong SetActivity = Write | 0x0004_AE99;
    internal const ulong GetEvents = Read | 0x0040_AE9F;
    internal const ulong SetEvents = Write | 0x0040_AEA0;
    internal const ulong GetDebugRegisters = Read | 0x0080_AEA1;
    internal const ulong SetDebugRegisters = Write | 0x0080_AEA2;
    internal const ulong SetTscKhz = 0xAEA2;
    internal const ulong GetTscKhz = 0xAEA3;
    internal const ulong GetXsave = Read | 0x1000_AEA4;
    internal const ulong SetXsave = Write | 0x1000_AEA5;
    internal const ulong GetXcrs = Read | 0x0188_AEA6;
    internal const ulong SetXcrs = Write | 0x0188_AEA7;
    internal const ulong SetDeviceAttribute = Write | 0x0018_AEE1;
    internal const ulong GetDeviceAttribute = Write | 0x0018_AEE2;
    internal const ulong HasDeviceAttribute = Write | 0x0018_AEE3;
}

/// <summary>Capabilities that the engine asks for.</summary>
internal enum KvmCapability : uint
{
    UserMemory = 3,
    SetTssAddress = 4,
    ExtendedCpuid = 7,
    CoalescedMmio = 15,
    MaximumVcpus = 66,
    MultiprocessorState = 14,
    IrqRouting = 25,
    IrqFd = 32,
    SetIdentityMapAddress = 37,
    VcpuEvents = 41,
    DebugRegisters = 50,
    Xsave = 55,
    Xcrs = 56,
    TscControl = 60,
    GetTscKhz = 61,
    TscDeadlineTimer = 72,
    SyncRegisters = 74,
    SignalMsi = 77,
    ReadOnlyMemory = 81,
    HypervTime = 96,
    SystemManagement = 117,
    AddressSpaces = 118,
    SplitIrqChip = 121,
    ImmediateExit = 136,
    HypervSynic2 = 148,
    HypervEventFd = 154,
    HypervTlbFlush = 155,
    HypervSendIpi = 161,
    CoalescedPio = 162,
    ExceptionPayload = 164,
    UserSpaceMsr = 188,
    MsrFilter = 189,
    EnforceParavirtualCpuid = 190,
    SystemHypervCpuid = 191,
    DirtyLogRing = 192,
}

/// <summary>Why KVM_RUN came back.</summary>
internal enum KvmExit : uint
{
    Unknown = 0,
    Exception = 1,
    Io = 2,
    Hypercall = 3,
    Debug = 4,
    Halt = 5,
    Mmio = 6,
    InterruptWindowOpen = 7,
    Shutdown = 8,
    FailedEntry = 9,
    Interrupted = 10,
    SetTpr = 11,
    InternalError = 17,
    SystemEvent = 24,
    IoApicEoi = 26,
    Hyperv = 27,
    ReadMsr = 29,
    WriteMsr = 30,
    DirtyRingFull = 31,
}
