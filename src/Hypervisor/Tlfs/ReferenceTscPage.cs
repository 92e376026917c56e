using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Vitro.Foundation;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Vid;

namespace Vitro.Hypervisor.Tlfs;

/// <summary>The reference TSC page: sequence, scale and offset in guest memory, from which guests compute the time themselves.</summary>
/// <remarks>An engine that keeps the reference time itself makes the content too, and the register's value is passed on to it.</remarks>
internal sealed class ReferenceTscPage(GpaSpace gpa, VmClock clock) : IInspectable
{
    private const int ScaleOffset = 8;
    private const int OffsetOffset = 16;
    private const int Length = 24;

    private readonly Lock _gate = new();
    private IPartition? _partition;
    private ulong _register;
    private uint _sequence;
    private ReferenceTscScale _scale;

    internal ulong Register => Volatile.Read(ref _register);

    internal uint Sequence => Volatile.Read(ref _sequence);

    public void Inspect(InspectNode node) => node.Hex("register", Register).Value("sequence", Sequence)
        .Hex("scale", _scale.Scale).Value("offset", _scale.Offset);

    internal void Attach(IPartition partition) => _partition = partition;

    /// <summary>Writes the register; false when the page is not writable memory.</summary>
    internal bool TryWriteRegister(int vp, ulong value)
    {
        lock (_gate)
        {
            var isEnabled = (value & SyntheticMsr.PageEnable) != 0;
            if (isEnabled && !GuestPage.TryGet(gpa, value & SyntheticMsr.PageAddress, GuestMemory.PageSize, out _))
            {
                return false;
            }

            if (_partition?.Timers is { } engine)
            {
                if (!engine.TrySetReferenceTscPage(vp, value))
                {
                    return false;
                }
            }
            else if (isEnabled)
            {
                Publish(value & SyntheticMsr.PageAddress);
            }

            Volatile.Write(ref _register, value);
            return true;
        }
    }

    /// <summary>Computes the map anew under a new sequence: after the counter or the clock has stood still or jumped.</summary>
    internal void Refresh()
    {
        lock (_gate)
        {
            if (_partition?.Timers is { } engine)
            {
                engine.TrySetReferenceTscPage(0, _register);
            }
            else if ((_register & SyntheticMsr.PageEnable) != 0)
            {
                Publish(_register & SyntheticMsr.PageAddress);
            }
        }
    }

    internal void Set(ulong register, uint sequence)
    {
        lock (_gate)
        {
            Volatile.Write(ref _register, register);
            _sequence = sequence;
        }
    }

    private void Publish(ulong address)
    {
        if (!GuestPage.TryGet(gpa, address, Length, out var page))
        {
            return;
        }

        // Readers that see 0 take the counter MSR instead; those that see a change of the sequence start again.
        ref var sequence = ref MemoryMarshal.AsRef<uint>(page);

        // Whoever made the page before, an engine perhaps, a reader is to see another sequence.
        var last = Volatile.Read(ref sequence);
        last = last == 0 ? _sequence : last;
        Volatile.Write(ref sequence, 0);
        Interlocked.MemoryBarrier();
        var partition = _partition ?? throw new InvalidOperationException("No partition is attached.");

        var (tsc, now) = ReadTogether(partition);
        if (ReferenceTscScale.TryCreate(partition.TscFrequency, tsc, now, out _scale))
        {
            BinaryPrimitives.WriteUInt64LittleEndian(page[ScaleOffset..], _scale.Scale);
            BinaryPrimitives.WriteInt64LittleEndian(page[OffsetOffset..], _scale.Offset);
            _sequence = last >= uint.MaxValue - 1 ? 1 : last + 1;
            Interlocked.MemoryBarrier();
            Volatile.Write(ref sequence, _sequence);
        }

        gpa.NotifyWritten(address, Length);
    }

    // The time is taken before the counter, so the page never runs ahead of the clock that the MSR shows. It lags by what lies
    // between the two, which the guest sees as a step back when the page is published again: the closest of some pairs is taken.
    private (ulong Tsc, ulong Time) ReadTogether(IPartition partition)
    {
        const int Pairs = 5;
        var closest = ulong.MaxValue;
        (ulong, ulong) pair = default;
        for (var i = 0; i < Pairs; i++)
        {
            var before = partition.ReadTsc();
            var time = clock.ReferenceTime;
            var tsc = partition.ReadTsc();
            if (tsc - before < closest)
            {
                closest = tsc - before;
                pair = (tsc, time);
            }
        }

        return pair;
    }
}
