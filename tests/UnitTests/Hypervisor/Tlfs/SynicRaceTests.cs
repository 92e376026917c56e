using System.Runtime.InteropServices;
using Xunit;

namespace Vitro.UnitTests.Hypervisor.Tlfs;

/// <summary>
/// A guest thread that acts exactly as Linux does on its message page and event flags, against host threads that post as
/// fast as they can. A lost wake-up ends as a guest that waits for an interrupt that never comes.
/// </summary>
public sealed class SynicRaceTests : IDisposable
{
    private const ulong Slot = TlfsFixture.MessagePage + 0x200;
    private const ulong Flags = TlfsFixture.EventPage + 0x200;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);
    private readonly TlfsFixture _fixture = new();
    private readonly SemaphoreSlim _interrupts = new(0);
    private uint _taken;

    public SynicRaceTests()
    {
        _fixture.OnRaise = (_, _) => _interrupts.Release();
        _fixture.EnableSynic();
    }

    public void Dispose()
    {
        _interrupts.Dispose();
        _fixture.Dispose();
    }

    [Fact]
    public async Task No_message_is_lost_or_late_however_guest_and_host_interleave()
    {
        const uint Count = 20_000;
        var host = Task.Run(() =>
        {
            // Two at a time, then silence until both are taken: no later message can make up for a lost wake-up.
            for (var i = 1u; i <= Count && Volatile.Read(ref _taken) == i - 1; i += 2)
            {
                _fixture.Ports.TryPostMessage(0, 2, i, 0, default);
                _fixture.Ports.TryPostMessage(0, 2, i + 1, 0, default);
                SpinWait.SpinUntil(() => Volatile.Read(ref _taken) == i + 1, Patience);
            }
        });

        Assert.Equal(Count, await Task.Run(() => TakeMessages(Count)));
        await host;
    }

    [Fact]
    public void A_slot_that_is_freed_while_its_pending_flag_is_being_set_is_filled_at_once()
    {
        _fixture.Ports.TryPostMessage(0, 2, 1, 0, default);
        _fixture.FreeSlotWhenWritten(Slot);

        _fixture.Ports.TryPostMessage(0, 2, 2, 0, default);

        Assert.Equal(2u, _fixture.ReadUInt32(Slot));
    }

    [Fact]
    public async Task No_event_is_lost_however_guest_and_host_interleave()
    {
        const int Rounds = 5_000;
        var acknowledged = new int[2];
        var hosts = Enumerable.Range(0, 2).Select(host => Task.Run(() =>
        {
            for (var i = 1; i <= Rounds; i++)
            {
                _fixture.Ports.TrySignalEvent(0, 2, 1 + (host * 3));
                if (!SpinWait.SpinUntil(() => Volatile.Read(ref acknowledged[host]) >= i, Patience))
                {
                    return i;
                }
            }

            return 0;
        })).ToArray();
        using var stop = new CancellationTokenSource();
        var guest = Task.Run(() => TakeEvents(acknowledged, stop.Token));

        var lost = await Task.WhenAll(hosts);
        Assert.All(lost, static round => Assert.Equal(0, round));
        stop.Cancel();
        await guest;
    }

    // The order of vmbus_on_msg_dpc and vmbus_signal_eom: read, clear the type, barrier, look at the flag.
    private uint TakeMessages(uint count)
    {
        Assert.True(_fixture.Gpa.TryGetSpan(Slot, 16, out var slot));
        ref var type = ref MemoryMarshal.AsRef<uint>(slot);
        ref var sizeAndFlags = ref MemoryMarshal.AsRef<uint>(slot[4..]);
        for (var expected = 1u; expected <= count;)
        {
            if (!_interrupts.Wait(Patience))
            {
                return expected - 1;
            }

            var current = Volatile.Read(ref type);
            if (current == 0)
            {
                continue;
            }

            if (current != expected || Interlocked.CompareExchange(ref type, 0, current) != current)
            {
                return expected - 1;
            }

            Interlocked.MemoryBarrier();
            if ((Volatile.Read(ref sizeAndFlags) & 0x100) != 0)
            {
                _fixture.Write(0x4000_0084, 0);
            }

            Volatile.Write(ref _taken, expected++);
        }

        return count;
    }

    private void TakeEvents(int[] acknowledged, CancellationToken stop)
    {
        Assert.True(_fixture.Gpa.TryGetSpan(Flags, 8, out var bytes));
        ref var flags = ref MemoryMarshal.AsRef<ulong>(bytes);
        while (!stop.IsCancellationRequested)
        {
            if (!_interrupts.Wait(TimeSpan.FromMilliseconds(100), CancellationToken.None))
            {
                continue;
            }

            for (var host = 0; host < 2; host++)
            {
                var bit = 1UL << (1 + (host * 3));
                if ((Interlocked.And(ref flags, ~bit) & bit) != 0)
                {
                    Interlocked.Increment(ref acknowledged[host]);
                }
            }
        }
    }
}
