using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Kvm.Interop;

namespace Vitro.Hypervisor.Kvm;

/// <summary>A partition's time stamp counter: the host's plus an offset, scaled to another rate where a guest needs that and the host can.</summary>
internal sealed class KvmTimeStampCounter
{
    private readonly ulong _hostFrequency;

    // The guest's counter stood at the one when the host's stood at the other.
    private readonly ulong _hostStart;
    private ulong _guestStart;

    private KvmTimeStampCounter(ulong hostFrequency, ulong frequency, ulong guestStart, ulong hostStart)
    {
        _hostFrequency = hostFrequency;
        Frequency = frequency;
        _guestStart = guestStart;
        _hostStart = hostStart;
    }

    /// <summary>The guest's rate in Hz.</summary>
    internal ulong Frequency { get; }

    /// <summary>Sets up the counters of new processors.</summary>
    /// <param name="vm">The machine.</param>
    /// <param name="processors">All of its processors.</param>
    /// <param name="wanted">The rate in Hz that the guest has had so far; null for the host's.</param>
    /// <remarks>
    /// The host's rate stays where the wanted one is the same but for what hosts measure differently, and where the host
    /// cannot scale: <see cref="Frequency"/> tells.
    /// </remarks>
    internal static KvmTimeStampCounter Create(KvmFile vm, IReadOnlyList<KvmVirtualProcessor> processors, ulong? wanted)
    {
        var first = processors[0].File;
        var host = (ulong)first.Call("Asking for the rate of the time stamp counter", KvmRequest.GetTscKhz) * 1000;
        var rate = host;
        if (wanted is { } other && !TscRate.IsSame(other, host) && vm.Extent(KvmCapability.TscControl) != 0
            && first.Try(KvmRequest.SetTscKhz, other / 1000) == 0)
        {
            rate = other / 1000 * 1000;
            foreach (var processor in processors)
            {
                processor.File.Call("Setting the rate of the time stamp counter", KvmRequest.SetTscKhz, other / 1000);
            }
        }

        if (rate == host)
        {
            return new KvmTimeStampCounter(host, host, processors[0].TscOffset, 0);
        }

        var now = HostCode.ReadTsc();
        return new KvmTimeStampCounter(host, rate, MsrList.Read(first, MsrList.TimeStampCounter), now);
    }

    /// <summary>The guest's counter now.</summary>
    internal ulong Read() => At(_guestStart, _hostStart, HostCode.ReadTsc(), Frequency, _hostFrequency);

    /// <summary>Tells that the processors' counters were set back by so many ticks.</summary>
    internal void SetBack(ulong ticks) => _guestStart -= ticks;

    /// <summary>The guest's counter when the host's stands at <paramref name="host"/>.</summary>
    internal static ulong At(ulong guestStart, ulong hostStart, ulong host, ulong frequency, ulong hostFrequency)
    {
        var passed = host - hostStart;
        return guestStart + (frequency == hostFrequency ? passed : (ulong)((UInt128)passed * frequency / hostFrequency));
    }
}
