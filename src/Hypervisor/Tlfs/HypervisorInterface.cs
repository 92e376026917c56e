using Vitro.Foundation;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Tlfs.Synic;
using Vitro.Hypervisor.Vid;

namespace Vitro.Hypervisor.Tlfs;

/// <summary>
/// The whole Hyper-V interface of a partition (Hypervisor Top-Level Functional Specification): synthetic MSRs,
/// hypercalls, SynIC, synthetic timers. The same object serves every engine.
/// </summary>
/// <remarks>
/// Built before the partition, because the partition's intercept handler calls it; <see cref="Attach"/> closes the circle
/// before the first start. The MSR and hypercall members are called on processor threads, each for its own processor;
/// <see cref="Ports"/> on any thread.
/// </remarks>
public sealed class HypervisorInterface : IVirtualDevice
{
    private readonly SynicProcessor[] _synics;
    private readonly SyntheticTimers _timers;
    private readonly VmClock _clock;
    private readonly SynicPorts _ports;
    private readonly SyntheticMsrs _msrs;
    private readonly HypercallDispatcher _hypercalls;
    private IEngineTimers? _engineTimers;
    private bool _attached;

    /// <summary>Creates a stopped, reset interface.</summary>
    public HypervisorInterface(GpaSpace gpa, VmClock clock, HypervisorInterfaceOptions options)
    {
        _clock = clock;
        _synics = [.. Enumerable.Range(0, options.VirtualProcessorCount).Select(vp => new SynicProcessor(gpa, clock, options.Interrupts, vp))];
        _timers = new SyntheticTimers(_synics, clock, options);
        _ports = new SynicPorts(_synics);
        _msrs = new SyntheticMsrs(gpa, clock, options, _synics, _timers);
        _hypercalls = new HypercallDispatcher(gpa, _ports, options.Interrupts);
    }

    /// <inheritdoc/>
    public string Name => "hypervisor";

    /// <summary>Messages and events between the guest and the host's services.</summary>
    public ISynicPorts Ports => _ports;

    /// <summary>Whether an MSR number belongs to this interface.</summary>
    public static bool IsSyntheticMsr(uint msr) => msr is >= SyntheticMsr.First and <= SyntheticMsr.Last;

    /// <summary>Connects the partition whose hypercall code and time stamp counter the guest is shown.</summary>
    public void Attach(IPartition partition)
    {
        _msrs.Attach(partition);
        _ports.Attach(partition);
        _hypercalls.Attach(partition);
        _timers.Attach(partition);
        _engineTimers = partition.Timers;
        _attached = true;
    }

    /// <summary>RDMSR of a synthetic MSR; false raises #GP.</summary>
    public bool TryReadMsr(int vpIndex, uint msr, out ulong value) => _msrs.TryRead(vpIndex, msr, out value);

    /// <summary>WRMSR of a synthetic MSR; false raises #GP.</summary>
    public bool TryWriteMsr(int vpIndex, uint msr, ulong value) => _msrs.TryWrite(vpIndex, msr, value);

    /// <summary>A hypercall; false raises #UD, as long as the guest has no hypercall page enabled.</summary>
    public bool TryHypercall(int vpIndex, in HypercallRegisters registers, out ulong result)
    {
        result = 0;
        if (!_msrs.HypercallsEnabled)
        {
            return false;
        }

        result = _hypercalls.Dispatch(vpIndex, registers);
        return true;
    }

    /// <inheritdoc/>
    public void Start()
    {
        if (!_attached)
        {
            throw new InvalidOperationException("The hypervisor interface needs its partition before it starts.");
        }

        if (_engineTimers is { } engine)
        {
            engine.SetReferenceTime(_clock.ReferenceTime);
            _clock.FollowReference(() => engine.ReferenceTime);
        }

        _msrs.Start();
        foreach (var synic in _synics)
        {
            synic.Start();
        }

        _timers.Start();
    }

    /// <inheritdoc/>
    public ValueTask StopAsync()
    {
        _timers.Stop();
        foreach (var synic in _synics)
        {
            synic.Stop();
        }

        _clock.FollowReference(null);

        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    public void Reset(ResetKind kind)
    {
        _msrs.Reset();
        foreach (var synic in _synics)
        {
            synic.Reset();
        }

        _timers.Reset();
    }

    /// <inheritdoc/>
    public void Save(SavedStateWriter writer)
    {
        writer.Group(Tag.Partition, _msrs.Save);
        for (var i = 0; i < _synics.Length; i++)
        {
            var vp = i;
            writer.Group(Tag.Processor, inner =>
            {
                inner.Group(ProcessorTag.Synic, _synics[vp].Save);
                _timers.Save(vp, save => inner.Group(ProcessorTag.Timer, save));
            });
        }
    }

    /// <inheritdoc/>
    public void Restore(SavedStateReader reader)
    {
        Reset(ResetKind.Cold);
        try
        {
            var processors = reader.Groups(Tag.Processor).ToArray();
            if (processors.Length != _synics.Length)
            {
                throw new SavedStateException($"Saved state has {processors.Length} virtual processors instead of {_synics.Length}.");
            }

            _msrs.Restore(reader.Group(Tag.Partition));
            foreach (var (vp, processor) in processors.Index())
            {
                _synics[vp].Restore(processor.Group(ProcessorTag.Synic));
                _timers.Restore(vp, processor.Groups(ProcessorTag.Timer));
            }
        }
        catch (SavedStateException)
        {
            Reset(ResetKind.Cold);
            throw;
        }
    }

    /// <inheritdoc/>
    public void Inspect(InspectNode node)
    {
        _msrs.Inspect(node);
        node.Child("hypercalls", _hypercalls).Child("ports", _ports);
        var processors = node.Child("processors");
        for (var vp = 0; vp < _synics.Length; vp++)
        {
            var processor = processors.Child(vp.ToString(System.Globalization.CultureInfo.InvariantCulture));
            processor.Child("synic", _synics[vp]);
            _timers.Inspect(vp, processor);
        }
    }

    private static class Tag
    {
        internal const ushort Partition = 1;
        internal const ushort Processor = 2;
    }

    private static class ProcessorTag
    {
        internal const ushort Synic = 1;
        internal const ushort Timer = 2;
    }
}
