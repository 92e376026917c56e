using Vitro.Foundation;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Tlfs.Synic;
using Vitro.Hypervisor.Vid;

namespace Vitro.Hypervisor.Tlfs;

/// <summary>Decodes the synthetic MSRs. Processor registers are reached on the processor's own thread only.</summary>
internal sealed partial class SyntheticMsrs : IInspectable
{
    private readonly GpaSpace _gpa;
    private readonly VmClock _clock;
    private readonly HypervisorInterfaceOptions _options;
    private readonly SynicProcessor[] _synics;
    private readonly SyntheticTimers _timers;
    private readonly HypercallPage _hypercallPage;
    private readonly ReferenceTscPage _referenceTsc;
    private readonly GuestCrash _crash;
    private readonly ulong[] _assistPages;
    private IPartition? _partition;
    private ulong _tscInvariantControl;

    internal SyntheticMsrs(
        GpaSpace gpa, VmClock clock, HypervisorInterfaceOptions options, SynicProcessor[] synics, SyntheticTimers timers)
    {
        _gpa = gpa;
        _clock = clock;
        _options = options;
        _synics = synics;
        _timers = timers;
        _hypercallPage = new HypercallPage(gpa);
        _referenceTsc = new ReferenceTscPage(gpa, clock);
        _crash = new GuestCrash(gpa, options.Notifications);
        _assistPages = new ulong[synics.Length];
    }

    internal bool HypercallsEnabled => _hypercallPage.IsEnabled;

    internal void Attach(IPartition partition)
    {
        _partition = partition;
        _hypercallPage.Attach(partition);
        _referenceTsc.Attach(partition);
    }

    internal bool TryRead(int vp, uint msr, out ulong value)
    {
        value = 0;
        switch (msr)
        {
            case SyntheticMsr.GuestOsId:
                value = _hypercallPage.GuestOsId;
                return true;
            case SyntheticMsr.Hypercall:
                value = _hypercallPage.Register;
                return true;
            case SyntheticMsr.VpIndex:
                value = (ulong)vp;
                return true;
            case SyntheticMsr.Reset:
                return true;
            case SyntheticMsr.TimeReferenceCount:
                value = _clock.ReferenceTime;
                return true;
            case SyntheticMsr.ReferenceTsc:
                value = _referenceTsc.Register;
                return _options.Features.ReferenceTscPage;
            case SyntheticMsr.TscFrequency:
                value = _partition?.TscFrequency ?? 0;
                return _options.Features.FrequencyMsrs;
            case SyntheticMsr.ApicFrequency:
                value = _options.ApicTimerFrequency;
                return _options.Features.FrequencyMsrs;
            case SyntheticMsr.Icr when _options.Apic is { } apic:
                return apic.TryReadInterruptCommand(vp, out value);
            case SyntheticMsr.Tpr when _options.Apic is { } apic:
                return apic.TryReadTaskPriority(vp, out value);
            case SyntheticMsr.VpAssistPage:
                value = _assistPages[vp];
                return true;
            case SyntheticMsr.SControl:
                value = _synics[vp].Control;
                return true;
            case SyntheticMsr.SVersion:
                value = 1;
                return true;
            case SyntheticMsr.Siefp:
                value = _synics[vp].Siefp;
                return true;
            case SyntheticMsr.Simp:
                value = _synics[vp].Simp;
                return true;
            case SyntheticMsr.Eom:
                return true;
            case >= SyntheticMsr.Sint0 and <= SyntheticMsr.Sint15:
                value = _synics[vp].ReadSint((int)(msr - SyntheticMsr.Sint0));
                return true;
            case >= SyntheticMsr.Stimer0Config and <= SyntheticMsr.Stimer3Count when _options.Features.SyntheticTimers:
                value = _timers.Read(vp, msr);
                return true;
            case >= SyntheticMsr.CrashP0 and <= SyntheticMsr.CrashP4 when _options.Features.GuestCrash:
                value = _crash.Read((int)(msr - SyntheticMsr.CrashP0));
                return true;
            case SyntheticMsr.CrashControl when _options.Features.GuestCrash:
                value = GuestCrash.Notify | GuestCrash.NotifyMessage;
                return true;
            case SyntheticMsr.TscInvariantControl when _options.Features.TscInvariant:
                value = Volatile.Read(ref _tscInvariantControl);
                return true;
            default:
                return false;
        }
    }

    internal bool TryWrite(int vp, uint msr, ulong value)
    {
        switch (msr)
        {
            case SyntheticMsr.GuestOsId:
                _hypercallPage.WriteGuestOsId(value);
                return true;
            case SyntheticMsr.Hypercall:
                return _hypercallPage.TryWriteRegister(value);
            case SyntheticMsr.Reset:
                if ((value & 1) != 0)
                {
                    _options.Notifications.OnResetRequested(vp);
                }

                return true;
            case SyntheticMsr.ReferenceTsc:
                return _options.Features.ReferenceTscPage && _referenceTsc.TryWriteRegister(vp, value);
            case SyntheticMsr.Eoi when _options.Apic is { } apic:
                return apic.TryEndInterrupt(vp);
            case SyntheticMsr.Icr when _options.Apic is { } apic:
                return apic.TryWriteInterruptCommand(vp, value);
            case SyntheticMsr.Tpr when _options.Apic is { } apic:
                return value <= byte.MaxValue && apic.TryWriteTaskPriority(vp, (byte)value);
            case SyntheticMsr.VpAssistPage:
                return TryWriteAssistPage(vp, value);
            case SyntheticMsr.SControl:
                _synics[vp].WriteControl(value);
                return true;
            case SyntheticMsr.Siefp:
                return _synics[vp].TryWriteSiefp(value);
            case SyntheticMsr.Simp:
                return _synics[vp].TryWriteSimp(value);
            case SyntheticMsr.Eom:
                _synics[vp].EndOfMessage();
                return true;
            case >= SyntheticMsr.Sint0 and <= SyntheticMsr.Sint15:
                return _synics[vp].TryWriteSint((int)(msr - SyntheticMsr.Sint0), value);
            case >= SyntheticMsr.Stimer0Config and <= SyntheticMsr.Stimer3Count when _options.Features.SyntheticTimers:
                return _timers.TryWrite(vp, msr, value);
            case >= SyntheticMsr.CrashP0 and <= SyntheticMsr.CrashP4 when _options.Features.GuestCrash:
                _crash.Write((int)(msr - SyntheticMsr.CrashP0), value);
                return true;
            case SyntheticMsr.CrashControl when _options.Features.GuestCrash:
                _crash.WriteControl(vp, value);
                return true;
            case SyntheticMsr.TscInvariantControl when _options.Features.TscInvariant && value <= 1:
                Volatile.Write(ref _tscInvariantControl, value);
                return true;
            default:
                return false;
        }
    }

    /// <summary>Brings the pages that hold engine code and clock values up to date before processors run.</summary>
    internal void Start()
    {
        _hypercallPage.Refresh();
        _referenceTsc.Refresh();
    }

    internal void Reset()
    {
        _hypercallPage.Set(0, 0);
        _referenceTsc.Set(0, _referenceTsc.Sequence);
        _crash.Reset();
        Array.Clear(_assistPages);
        _tscInvariantControl = 0;
    }

    public void Inspect(InspectNode node)
    {
        node.Child("hypercallPage", _hypercallPage).Child("referenceTsc", _referenceTsc).Child("crash", _crash);
        node.Hex("tscInvariantControl", _tscInvariantControl);
    }

    // Nothing is ever written to the page (its only use here would be lazy EOI), so its content is the guest's own.
    private bool TryWriteAssistPage(int vp, ulong value)
    {
        if ((value & SyntheticMsr.PageEnable) != 0
            && !GuestPage.TryGet(_gpa, value & SyntheticMsr.PageAddress, GuestMemory.PageSize, out _))
        {
            return false;
        }

        _assistPages[vp] = value;
        return true;
    }
}
