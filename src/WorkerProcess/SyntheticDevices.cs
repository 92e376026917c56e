using Microsoft.Extensions.Logging;
using Vitro.Configuration;
using Vitro.Foundation;
using Vitro.Hypervisor.Tlfs.Synic;
using Vitro.Hypervisor.Vid;
using Vitro.VmBus;
using Vitro.VmBus.Host;
using Vitro.Vsp.Integration.Heartbeat;
using Vitro.Vsp.Integration.Shutdown;
using Vitro.Vsp.Integration.TimeSync;
using Vitro.Vsp.Keyboard;

namespace Vitro.WorkerProcess;

/// <summary>The VMBus of a machine with the services on it.</summary>
internal sealed class SyntheticDevices : IAsyncDisposable
{
    private readonly VmBusHost _bus;
    private readonly List<IVirtualDevice> _services;

    internal SyntheticDevices(ISynicPorts ports, GpaSpace memory, VmClock clock, VirtualMachineDefinition definition, ILogger log)
    {
        _bus = new VmBusHost(ports, memory, log);
        Shutdown = new ShutdownService(clock);
        Heartbeat = new HeartbeatService(clock);
        TimeSync = new TimeSyncService(clock);
        Keyboard = new KeyboardService();
        _services = [Shutdown, Heartbeat, TimeSync, Keyboard];
        foreach (var service in _services)
        {
            _bus.Offer((IVmBusService)service);
        }
    }

    internal ShutdownService Shutdown { get; }

    internal HeartbeatService Heartbeat { get; }

    internal TimeSyncService TimeSync { get; }

    internal KeyboardService Keyboard { get; }

    /// <summary>The bus first: a service hears nothing from a stopped bus.</summary>
    internal IEnumerable<IVirtualDevice> Devices => [_bus, .. _services];

    public ValueTask DisposeAsync()
    {
        _bus.Dispose();
        return ValueTask.CompletedTask;
    }
}
