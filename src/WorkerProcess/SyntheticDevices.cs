using Microsoft.Extensions.Logging;
using Vitro.Configuration;
using Vitro.Foundation;
using Vitro.Hypervisor.Tlfs.Synic;
using Vitro.Hypervisor.Vid;
using Vitro.Storage;
using Vitro.VmBus;
using Vitro.VmBus.Host;
using Vitro.Vsp.Integration.Heartbeat;
using Vitro.Vsp.Integration.Shutdown;
using Vitro.Vsp.Integration.TimeSync;
using Vitro.Vsp.Keyboard;
using Vitro.Vsp.Storage;
using Vitro.WorkerProcess.Saving;

namespace Vitro.WorkerProcess;

/// <summary>The VMBus of a machine with the services on it.</summary>
internal sealed class SyntheticDevices : IAsyncDisposable
{
    // Guests name the controller after its instance, so it is the same at every start.
    private static readonly Guid StorageInstance = new("5d3b1d6c-6f0e-4c5b-9a53-7d1c0b5a1e00");

    private readonly VmBusHost _bus;
    private readonly List<IVirtualDevice> _services;
    private readonly List<VirtualDisk> _disks = [];

    internal SyntheticDevices(
        ISynicPorts ports, GpaSpace memory, VmClock clock, VirtualMachineDefinition definition, ILogger log, IVmBusWorkers? workers = null)
    {
        _bus = new VmBusHost(ports, memory, log, workers);
        Shutdown = new ShutdownService(clock);
        Heartbeat = new HeartbeatService(clock);
        TimeSync = new TimeSyncService(clock);
        Keyboard = new KeyboardService();
        Storage = new StorageController(StorageInstance, "scsi0", definition.ProcessorCount - 1, log);
        AddDisks(definition);
        _services = [Storage, Shutdown, Heartbeat, TimeSync, Keyboard];
        foreach (var service in _services)
        {
            _bus.Offer((IVmBusService)service);
        }
    }

    internal StorageController Storage { get; }

    internal ShutdownService Shutdown { get; }

    internal HeartbeatService Heartbeat { get; }

    internal TimeSyncService TimeSync { get; }

    internal KeyboardService Keyboard { get; }

    /// <summary>The bus first: a service hears nothing from a stopped bus.</summary>
    internal IEnumerable<IVirtualDevice> Devices => [_bus, .. _services];

    /// <summary>Makes all that the guest has written durable.</summary>
    internal async Task FlushDisksAsync()
    {
        foreach (var disk in _disks)
        {
            await disk.FlushAsync();
        }
    }

    /// <summary>Closes the disks of a stopped machine that will not start again.</summary>
    internal async Task CloseDisksAsync()
    {
        foreach (var disk in _disks)
        {
            await disk.DisposeAsync();
        }
    }

    internal void SaveDisks(SavedStateWriter writer) => SavedDisks.Write(writer, _disks);

    internal void CheckDisks(SavedStateReader reader) => SavedDisks.Check(reader, _disks);

    /// <summary>The open disk of a path.</summary>
    /// <exception cref="BlockIOException">The machine has no such disk.</exception>
    internal VirtualDisk Disk(string path) =>
        _disks.Find(disk => Path.GetFullPath(disk.Path) == Path.GetFullPath(path))
        ?? throw new BlockIOException(
            $"{path}: the machine has no such disk. It has: {string.Join(", ", _disks.Select(disk => Path.GetFullPath(disk.Path)))}.");

    public async ValueTask DisposeAsync()
    {
        _bus.Dispose();
        for (var lun = 0; lun < _disks.Count; lun++)
        {
            await Storage.RemoveDiskAsync(lun);
            await _disks[lun].DisposeAsync();
        }
    }

    private void AddDisks(VirtualMachineDefinition definition)
    {
        try
        {
            foreach (var disk in definition.Disks)
            {
                _disks.Add(DiskFiles.Open(disk));
                Storage.AddDisk(_disks.Count - 1, _disks[^1]);
            }
        }
        catch (DefinitionException)
        {
            foreach (var disk in _disks)
            {
                disk.DisposeAsync().AsTask().GetAwaiter().GetResult();
            }

            throw;
        }
    }
}
