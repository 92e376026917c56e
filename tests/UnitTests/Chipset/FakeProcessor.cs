using Vitro.Foundation;
using Vitro.Hypervisor.Engine;

namespace Vitro.UnitTests.Chipset;

/// <summary>Counts the signals a processor gets.</summary>
internal sealed class FakeProcessor(int index) : IVirtualProcessor
{
    private int _interrupts;

    public int Index => index;

    public int Interrupts => Volatile.Read(ref _interrupts);

    public int Nmis { get; private set; }

    public int Inits { get; private set; }

    public List<byte> Startups { get; } = [];

    public void SignalInterrupt() => Interlocked.Increment(ref _interrupts);

    public void SignalNmi() => Nmis++;

    public void SignalInit() => Inits++;

    public void SignalStartup(byte vector) => Startups.Add(vector);

    public VpExit Run() => throw new NotSupportedException();

    public void Cancel() => throw new NotSupportedException();

    public void Reset() => throw new NotSupportedException();

    public VirtualProcessorState GetState() => throw new NotSupportedException();

    public void SetState(VirtualProcessorState state) => throw new NotSupportedException();

    public void Inspect(InspectNode node) => throw new NotSupportedException();
}
