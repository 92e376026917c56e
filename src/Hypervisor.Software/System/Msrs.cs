using Vitro.Foundation;
using Vitro.Hypervisor.Engine;

namespace Vitro.Hypervisor.Software;

/// <content>Model-specific registers (Intel SDM volume 4). Those of the APIC and of Hyper-V belong to the intercept handler.</content>
internal sealed unsafe partial class SoftwareVirtualProcessor
{
    private const uint MsrTsc = 0x10;
    private const uint MsrPlatformId = 0x17;
    private const uint MsrApicBase = 0x1B;
    private const uint MsrTscAdjust = 0x3B;
    private const uint MsrMicrocodeUpdate = 0x79;
    private const uint MsrMicrocodeRevision = 0x8B;
    private const uint MsrMtrrCap = 0xFE;
    private const uint MsrSysenterCs = 0x174;
    private const uint MsrSysenterEsp = 0x175;
    private const uint MsrSysenterEip = 0x176;
    private const uint MsrMcgCap = 0x179;
    private const uint MsrMcgStatus = 0x17A;
    private const uint MsrMiscEnable = 0x1A0;
    private const uint MsrMtrrPhysFirst = 0x200;
    private const uint MsrMtrrPhysLast = 0x20F;
    private const uint MsrMtrrFix64 = 0x250;
    private const uint MsrMtrrFix16A = 0x258;
    private const uint MsrMtrrFix16B = 0x259;
    private const uint MsrMtrrFix4First = 0x268;
    private const uint MsrMtrrFix4Last = 0x26F;
    private const uint MsrPat = 0x277;
    private const uint MsrMtrrDefType = 0x2FF;
    private const uint MsrX2ApicFirst = 0x800;
    private const uint MsrX2ApicLast = 0x8FF;
    private const uint MsrHypervFirst = 0x4000_0000;
    private const uint MsrHypervLast = 0x4000_FFFF;
    private const uint MsrEfer = 0xC000_0080;
    private const uint MsrStar = 0xC000_0081;
    private const uint MsrLstar = 0xC000_0082;
    private const uint MsrCstar = 0xC000_0083;
    private const uint MsrSyscallMask = 0xC000_0084;
    private const uint MsrFsBase = 0xC000_0100;
    private const uint MsrGsBase = 0xC000_0101;
    private const uint MsrKernelGsBase = 0xC000_0102;
    private const uint MsrTscAux = 0xC000_0103;

    private const ulong DefaultPat = 0x0007_0406_0007_0406;

    private readonly IInterceptHandler _intercepts;
    private readonly VmClock _clock;

    // Held for the guest without effect: memory types (all guest memory is write-back), machine check, MISC_ENABLE.
    private readonly Dictionary<uint, ulong> _passiveMsrs = [];
    private ulong _tscAdjust;

    /// <summary>The guest's time stamp counter.</summary>
    internal ulong ReadTsc() => Partition.ReadTsc() + State->TscOffset;

    private void ResetMsrs()
    {
        _passiveMsrs.Clear();
        _tscAdjust = 0;
        State->Pat = DefaultPat;
        State->Star = State->Lstar = State->Cstar = State->SyscallMask = State->KernelGsBase = 0;
        State->SysenterCs = State->SysenterEip = State->SysenterEsp = State->TscAux = 0;

        // Fast strings; no performance monitoring counters, no event buffers.
        _passiveMsrs[MsrMiscEnable] = 0x1801;
    }

    private bool TryReadMsr(uint msr, out ulong value)
    {
        Counters.Msr++;
        switch (msr)
        {
            case MsrTsc:
                value = ReadTsc();
                return true;
            case MsrTscAdjust:
                value = _tscAdjust;
                return true;
            case MsrEfer:
                value = State->Efer;
                return true;
            case MsrStar:
                value = State->Star;
                return true;
            case MsrLstar:
                value = State->Lstar;
                return true;
            case MsrCstar:
                value = State->Cstar;
                return true;
            case MsrSyscallMask:
                value = State->SyscallMask;
                return true;
            case MsrFsBase:
                value = State->Fs.Base;
                return true;
            case MsrGsBase:
                value = State->Gs.Base;
                return true;
            case MsrKernelGsBase:
                value = State->KernelGsBase;
                return true;
            case MsrTscAux:
                value = State->TscAux;
                return true;
            case MsrSysenterCs:
                value = State->SysenterCs;
                return true;
            case MsrSysenterEsp:
                value = State->SysenterEsp;
                return true;
            case MsrSysenterEip:
                value = State->SysenterEip;
                return true;
            case MsrPat:
                value = State->Pat;
                return true;
            case MsrMtrrCap:
                // 8 variable ranges, fixed ranges, write-combining.
                value = 0x508;
                return true;
            case MsrMicrocodeRevision:
                value = 1UL << 32;
                return true;
            case MsrPlatformId or MsrMcgCap or MsrMcgStatus:
                value = 0;
                return true;
            default:
                break;
        }

        if (IsPassive(msr))
        {
            value = _passiveMsrs.GetValueOrDefault(msr);
            return true;
        }

        return TryReadIntercepted(msr, out value) || Fault.Protection(State);
    }

    private bool TryReadIntercepted(uint msr, out ulong value)
    {
        LeaveGuest();
        try
        {
            return _intercepts.TryReadMsr(this, msr, out value);
        }
        finally
        {
            EnterGuest();
        }
    }

    private bool TryWriteIntercepted(uint msr, ulong value)
    {
        LeaveGuest();
        try
        {
            return _intercepts.TryWriteMsr(this, msr, value);
        }
        finally
        {
            EnterGuest();
        }
    }

    private bool TryWriteMsr(uint msr, ulong value)
    {
        Counters.Msr++;
        switch (msr)
        {
            case MsrTsc:
                _tscAdjust += value - ReadTsc();
                State->TscOffset = value - Partition.ReadTsc();
                return true;
            case MsrTscAdjust:
                State->TscOffset += value - _tscAdjust;
                _tscAdjust = value;
                return true;
            case MsrEfer:
                return TryWriteEfer(value);
            case MsrStar:
                State->Star = value;
                return true;
            case MsrLstar:
                return TryWriteAddress(ref State->Lstar, value);
            case MsrCstar:
                return TryWriteAddress(ref State->Cstar, value);
            case MsrSyscallMask:
                State->SyscallMask = (uint)value;
                return true;
            case MsrFsBase:
                return TryWriteAddress(ref State->Fs.Base, value);
            case MsrGsBase:
                return TryWriteAddress(ref State->Gs.Base, value);
            case MsrKernelGsBase:
                return TryWriteAddress(ref State->KernelGsBase, value);
            case MsrTscAux:
                State->TscAux = (uint)value;
                return true;
            case MsrSysenterCs:
                State->SysenterCs = (uint)value;
                return true;
            case MsrSysenterEsp:
                return TryWriteAddress(ref State->SysenterEsp, value);
            case MsrSysenterEip:
                return TryWriteAddress(ref State->SysenterEip, value);
            case MsrPat:
                if (!IsValidPat(value))
                {
                    return Fault.Protection(State);
                }

                State->Pat = value;
                return true;
            case MsrMicrocodeRevision or MsrMicrocodeUpdate or MsrMcgStatus:
                return true;
            default:
                break;
        }

        if (IsPassive(msr))
        {
            _passiveMsrs[msr] = value;
            return true;
        }

        return TryWriteIntercepted(msr, value) || Fault.Protection(State);
    }

    private bool TryWriteAddress(ref ulong register, ulong value)
    {
        if (!IsCanonical(value))
        {
            return Fault.Protection(State);
        }

        register = value;
        return true;
    }

    private static bool IsValidPat(ulong value)
    {
        for (var i = 0; i < 8; i++)
        {
            if ((byte)(value >> (i * 8)) is not (0 or 1 or 4 or 5 or 6 or 7))
            {
                return false;
            }
        }

        return true;
    }

    private bool TryWriteEfer(ulong value)
    {
        const ulong Writable = ControlBits.EferSyscall | ControlBits.EferLongModeEnable | ControlBits.EferNoExecute;
        var old = State->Efer;
        if ((value & ~(Writable | ControlBits.EferLongModeActive)) != 0
            || (((value ^ old) & ControlBits.EferLongModeEnable) != 0 && (State->Cr0 & ControlBits.Cr0Paging) != 0))
        {
            return Fault.Protection(State);
        }

        State->Efer = (value & Writable) | (old & ControlBits.EferLongModeActive);
        if (((old ^ State->Efer) & ControlBits.EferNoExecute) != 0)
        {
            Mmu.FlushAll();
        }

        UpdateMode();
        return true;
    }

    private static bool IsPassive(uint msr) => msr switch
    {
        MsrMiscEnable or MsrMtrrFix64 or MsrMtrrFix16A or MsrMtrrFix16B or MsrMtrrDefType => true,
        >= MsrMtrrPhysFirst and <= MsrMtrrPhysLast => true,
        >= MsrMtrrFix4First and <= MsrMtrrFix4Last => true,
        _ => false,
    };

    private void ExportMsrs(Dictionary<uint, ulong> msrs)
    {
        foreach (var (msr, value) in _passiveMsrs)
        {
            msrs[msr] = value;
        }

        msrs[MsrTscAdjust] = _tscAdjust;
        msrs[MsrStar] = State->Star;
        msrs[MsrLstar] = State->Lstar;
        msrs[MsrCstar] = State->Cstar;
        msrs[MsrSyscallMask] = State->SyscallMask;
        msrs[MsrKernelGsBase] = State->KernelGsBase;
        msrs[MsrTscAux] = State->TscAux;
        msrs[MsrSysenterCs] = State->SysenterCs;
        msrs[MsrSysenterEsp] = State->SysenterEsp;
        msrs[MsrSysenterEip] = State->SysenterEip;
        msrs[MsrPat] = State->Pat;
    }

    private void ImportMsrs(Dictionary<uint, ulong> msrs)
    {
        ResetMsrs();
        foreach (var (msr, value) in msrs)
        {
            if (IsPassive(msr))
            {
                _passiveMsrs[msr] = value;
            }
        }

        _tscAdjust = msrs.GetValueOrDefault(MsrTscAdjust);
        State->Star = msrs.GetValueOrDefault(MsrStar);
        State->Lstar = msrs.GetValueOrDefault(MsrLstar);
        State->Cstar = msrs.GetValueOrDefault(MsrCstar);
        State->SyscallMask = msrs.GetValueOrDefault(MsrSyscallMask);
        State->KernelGsBase = msrs.GetValueOrDefault(MsrKernelGsBase);
        State->TscAux = msrs.GetValueOrDefault(MsrTscAux);
        State->SysenterCs = msrs.GetValueOrDefault(MsrSysenterCs);
        State->SysenterEsp = msrs.GetValueOrDefault(MsrSysenterEsp);
        State->SysenterEip = msrs.GetValueOrDefault(MsrSysenterEip);
        State->Pat = msrs.GetValueOrDefault(MsrPat, DefaultPat);
    }
}
