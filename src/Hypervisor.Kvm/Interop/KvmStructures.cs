using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vitro.Hypervisor.Kvm.Interop;

/// <summary>struct kvm_run: what a virtual processor's file shares with its thread.</summary>
[StructLayout(LayoutKind.Explicit, Size = 2352)]
internal unsafe struct KvmRun
{
    internal const ulong SyncRegisters = 1;

    /// <summary>KVM_EXIT_HYPERV_HCALL.</summary>
    internal const uint HypervCall = 2;

    [FieldOffset(0)] internal byte RequestInterruptWindow;
    [FieldOffset(1)] internal byte ImmediateExit;
    [FieldOffset(8)] internal KvmExit ExitReason;
    [FieldOffset(12)] internal byte ReadyForInterrupt;
    [FieldOffset(13)] internal byte InterruptFlag;

    [FieldOffset(32)] internal byte IoDirection;
    [FieldOffset(33)] internal byte IoSize;
    [FieldOffset(34)] internal ushort IoPort;
    [FieldOffset(36)] internal uint IoCount;
    [FieldOffset(40)] internal ulong IoDataOffset;

    [FieldOffset(32)] internal ulong MmioAddress;
    [FieldOffset(40)] internal fixed byte MmioData[8];
    [FieldOffset(48)] internal uint MmioLength;
    [FieldOffset(52)] internal byte MmioIsWrite;

    [FieldOffset(32)] internal byte MsrError;
    [FieldOffset(40)] internal uint MsrReason;
    [FieldOffset(44)] internal uint MsrIndex;
    [FieldOffset(48)] internal ulong MsrData;

    [FieldOffset(32)] internal byte EoiVector;

    [FieldOffset(32)] internal uint HypervKind;
    [FieldOffset(40)] internal ulong HypercallControl;
    [FieldOffset(48)] internal ulong HypercallResult;
    [FieldOffset(56)] internal ulong HypercallInput;
    [FieldOffset(64)] internal ulong HypercallOutput;

    [FieldOffset(32)] internal uint SystemEventType;

    [FieldOffset(32)] internal ulong HardwareReason;

    [FieldOffset(32)] internal uint SubError;
    [FieldOffset(36)] internal uint DataCount;
    [FieldOffset(40)] internal fixed ulong Data[16];
    [FieldOffset(48)] internal byte InstructionSize;
    [FieldOffset(49)] internal fixed byte InstructionBytes[15];

    [FieldOffset(288)] internal ulong ValidRegisters;
    [FieldOffset(296)] internal ulong DirtyRegisters;
    [FieldOffset(304)] internal KvmRegisters Registers;
}

/// <summary>struct kvm_regs.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmRegisters
{
    internal ulong Rax, Rbx, Rcx, Rdx, Rsi, Rdi, Rsp, Rbp, R8, R9, R10, R11, R12, R13, R14, R15, Rip, Rflags;
}

/// <summary>struct kvm_segment.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmSegment
{
    internal ulong Base;
    internal uint Limit;
    internal ushort Selector;
    internal byte Type, Present, Dpl, Db, S, L, G, Avl, Unusable, Padding;
}

/// <summary>struct kvm_dtable.</summary>
[StructLayout(LayoutKind.Sequential, Size = 16)]
internal struct KvmTable
{
    internal ulong Base;
    internal ushort Limit;
}

/// <summary>struct kvm_sregs.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmSystemRegisters
{
    internal KvmSegment Cs, Ds, Es, Fs, Gs, Ss, Tr, Ldt;
    internal KvmTable Gdt, Idt;
    internal ulong Cr0, Cr2, Cr3, Cr4, Cr8, Efer, ApicBase;
    internal fixed ulong InterruptBitmap[4];
}

/// <summary>struct kvm_vcpu_events.</summary>
[StructLayout(LayoutKind.Explicit, Size = 64)]
internal struct KvmEvents
{
    internal const uint NmiPendingValid = 1;
    internal const uint ShadowValid = 4;
    internal const uint SmmValid = 8;
    internal const uint PayloadValid = 16;
    internal const byte ShadowOfSti = 2;

    [FieldOffset(0)] internal byte ExceptionInjected;
    [FieldOffset(1)] internal byte ExceptionNumber;
    [FieldOffset(3)] internal byte ExceptionPending;
    [FieldOffset(8)] internal byte InterruptInjected;
    [FieldOffset(9)] internal byte InterruptNumber;
    [FieldOffset(10)] internal byte InterruptIsSoft;
    [FieldOffset(11)] internal byte InterruptShadow;
    [FieldOffset(12)] internal byte NmiInjected;
    [FieldOffset(13)] internal byte NmiPending;
    [FieldOffset(14)] internal byte NmiMasked;
    [FieldOffset(16)] internal uint SipiVector;
    [FieldOffset(20)] internal uint Flags;
    [FieldOffset(24)] internal byte InSmm;
    [FieldOffset(25)] internal byte SmiPending;
    [FieldOffset(26)] internal byte SmmInNmi;
    [FieldOffset(27)] internal byte LatchedInit;
    [FieldOffset(55)] internal byte ExceptionHasPayload;
    [FieldOffset(56)] internal ulong ExceptionPayload;
}

/// <summary>struct kvm_debugregs.</summary>
[StructLayout(LayoutKind.Sequential, Size = 128)]
internal unsafe struct KvmDebugRegisters
{
    internal fixed ulong Db[4];
    internal ulong Dr6, Dr7;
}

/// <summary>struct kvm_xcrs with room for the one register there is.</summary>
[StructLayout(LayoutKind.Explicit, Size = 392)]
internal struct KvmXcrs
{
    [FieldOffset(0)] internal uint Count;
    [FieldOffset(8)] internal uint Index0;
    [FieldOffset(16)] internal ulong Value0;
}

/// <summary>struct kvm_userspace_memory_region.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmMemoryRegion
{
    internal const uint LogDirtyPages = 1;
    internal const uint ReadOnly = 2;

    internal uint Slot, Flags;
    internal ulong GuestAddress, Size, HostAddress;
}

/// <summary>struct kvm_dirty_log.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmDirtyLog
{
    internal uint Slot, Padding;
    internal nint Bitmap;
}

/// <summary>struct kvm_dirty_gfn: a page in a processor's ring of written pages.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmDirtyPage
{
    internal const uint Written = 1;
    internal const uint Taken = 2;

    internal uint Flags, Slot;
    internal ulong Page;
}

/// <summary>struct kvm_coalesced_mmio_zone.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmCoalescedZone
{
    internal ulong Address;
    internal uint Size, IsPort;
}

/// <summary>struct kvm_coalesced_mmio_ring without its entries.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmCoalescedRing
{
    internal uint First, Last;
}

/// <summary>struct kvm_coalesced_mmio.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmCoalescedWrite
{
    internal ulong Address;
    internal uint Length, IsPort;
    internal ulong Data;
}

/// <summary>struct kvm_msi.</summary>
[StructLayout(LayoutKind.Sequential, Size = 32)]
internal struct KvmMsi
{
    internal uint AddressLow, AddressHigh, Data, Flags;
}

/// <summary>struct kvm_irqfd.</summary>
[StructLayout(LayoutKind.Sequential, Size = 32)]
internal struct KvmIrqFd
{
    internal int Descriptor;
    internal uint Gsi, Flags;
}

/// <summary>struct kvm_hyperv_eventfd.</summary>
[StructLayout(LayoutKind.Sequential, Size = 24)]
internal struct KvmSignalBinding
{
    internal const uint Remove = 1;

    internal uint ConnectionId;
    internal int Descriptor;
    internal uint Flags;
}

/// <summary>struct kvm_clock_data; of the rest only the kernel says something.</summary>
[StructLayout(LayoutKind.Sequential, Size = 48)]
internal struct KvmClock
{
    internal ulong Nanoseconds;
}

/// <summary>struct kvm_enable_cap.</summary>
[StructLayout(LayoutKind.Sequential, Size = 104)]
internal struct KvmEnableCapability
{
    internal uint Capability, Flags;
    internal ulong Argument0, Argument1, Argument2, Argument3;
}

/// <summary>struct kvm_device_attr.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmDeviceAttribute
{
    /// <summary>KVM_VCPU_TSC_CTRL.</summary>
    internal const uint TscControl = 0;

    /// <summary>KVM_VCPU_TSC_OFFSET.</summary>
    internal const ulong TscOffset = 0;

    internal uint Flags, Group;
    internal ulong Attribute, Address;
}

/// <summary>struct kvm_msr_filter_range.</summary>
[StructLayout(LayoutKind.Sequential, Size = 24)]
internal struct KvmMsrFilterRange
{
    internal uint Flags, Count, Base, Padding;
    internal nint Bitmap;
}

/// <summary>struct kvm_msr_filter.</summary>
[StructLayout(LayoutKind.Sequential, Size = 392)]
internal struct KvmMsrFilter
{
    internal const int MaximumRanges = 16;

    internal uint Flags, Padding;
    internal RangeList Ranges;

    [InlineArray(MaximumRanges)]
    internal struct RangeList
    {
        private KvmMsrFilterRange _first;
    }
}

/// <summary>struct kvm_cpuid_entry2.</summary>
[StructLayout(LayoutKind.Sequential, Size = 40)]
internal struct KvmCpuidEntry
{
    internal const uint SignificantIndex = 1;

    internal uint Function, Index, Flags, Eax, Ebx, Ecx, Edx;
}

/// <summary>struct kvm_msr_entry.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmMsrEntry
{
    internal uint Index, Reserved;
    internal ulong Data;
}

/// <summary>struct kvm_irq_routing_entry of type MSI.</summary>
[StructLayout(LayoutKind.Sequential, Size = 48)]
internal struct KvmRoutingEntry
{
    internal const uint TypeMsi = 2;

    internal uint Gsi, Type, Flags, Padding;
    internal uint AddressLow, AddressHigh, Data;
}

/// <summary>struct kvm_translation.</summary>
[StructLayout(LayoutKind.Sequential, Size = 24)]
internal struct KvmTranslation
{
    internal ulong Linear, Physical;
    internal byte Valid, Writable, UserMode;
}
