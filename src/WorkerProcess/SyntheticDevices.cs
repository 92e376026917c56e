using Microsoft.Extensions.Logging;
using Vitro.Configuration;
using Vitro.Foundation;
using Vitro.Hypervisor.Tlfs.Synic;
using Vitro.Hypervisor.Vid;
using Vitro.Vsp.Integration.Shutdown;
using Vitro.Vsp.Keyboard;

namespace Vitro.WorkerProcess;

internal sealed class SyntheticDevices : IAsyncDisposable
{
    internal SyntheticDevices(ISynicPorts ports, GpaSpace memory, VmClock clock, VirtualMachineDefinition definition, ILogger log)
    {
        Shutdown = new ShutdownService(clock);
        Keyboard = new KeyboardService();
    }

    internal ShutdownService Shutdown { get; }

    internal KeyboardService Keyboard { get; }

    internal IEnumerable<IVirtualDevice> Devices => [];

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;
}
