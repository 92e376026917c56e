using Vitro.Hypervisor.Vid;
using Vitro.VmBus;
using Vitro.VmBus.Guest;
using Vitro.VmBus.Host;

namespace Vitro.UnitTests.VmBus;

/// <summary>A bus and a guest over 16 MiB of memory, without an engine.</summary>
internal sealed class BusFixture : IDisposable
{
    internal BusFixture(int virtualProcessorCount = 4)
    {
        Ram = GuestMemory.Create(16 << 20);
        Memory = new GpaSpace(Ram);
        Ports = new LoopbackPorts(virtualProcessorCount);
        Host = new VmBusHost(Ports, Memory);
        Guest = new GuestBus(Ports, Memory);
    }

    internal GuestMemory Ram { get; }

    internal GpaSpace Memory { get; }

    internal LoopbackPorts Ports { get; }

    internal VmBusHost Host { get; }

    internal GuestBus Guest { get; }

    public void Dispose()
    {
        Host.Reset(Vitro.Foundation.ResetKind.Cold);
        Host.StopAsync().AsTask().GetAwaiter().GetResult();
        Host.Dispose();
        Memory.Dispose();
        Ram.Dispose();
        Ports.Dispose();
    }
}

/// <summary>Answers each request with its own payload.</summary>
internal sealed class EchoService(string name = "echo", int maximumSubChannels = 0) : IVmBusService
{
    public VmBusOffer Offer { get; } = new()
    {
        Name = name,
        InterfaceType = VmBusClass.Heartbeat,
        InstanceId = Guid.NewGuid(),
        MaximumSubChannels = maximumSubChannels,
        UserDefined = new byte[] { 1, 2, 3 },
    };

    internal int OpenCount { get; private set; }

    internal int ClosedCount { get; private set; }

    internal IVmBusChannel? Channel { get; private set; }

    internal Action<IVmBusChannel>? Opened { get; set; }

    public void OnOpened(IVmBusChannel channel)
    {
        OpenCount++;
        Channel = channel;
        Opened?.Invoke(channel);
    }

    public void OnSignalled(IVmBusChannel channel)
    {
        while (channel.TryReceive(out var packet))
        {
            if (packet.CompletionRequested)
            {
                channel.SendCompletion(packet.TransactionId, packet.Payload);
            }
            else
            {
                channel.SendInBand(packet.Payload, packet.TransactionId);
            }
        }
    }

    public void OnClosed(IVmBusChannel channel) => ClosedCount++;
}
