using Microsoft.Extensions.Logging;
using Vitro.Chipset;
using Vitro.Configuration;
using Vitro.Foundation;
using Vitro.Hypervisor.Bus;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Tlfs;
using Vitro.Hypervisor.Vid;
using Vitro.Storage;
using Vitro.Vsp.Integration.Shutdown;
using Vitro.WorkerProcess.Saving;

namespace Vitro.WorkerProcess;

/// <summary>One virtual machine: its memory, processors and devices, built from a definition, and its power state.</summary>
/// <remarks>
/// <see cref="Start"/> is called once. The other members may be called on any thread while the machine exists. A power
/// event (reset, power-off, crash) is acted upon on the machine's own control task, never on the thread that caused it.
/// </remarks>
public sealed partial class VirtualMachine : IAsyncDisposable, IInspectable
{
    private readonly VirtualMachineDefinition _definition;
    private readonly ILogger _log;
    private readonly PowerEvents _power = new();
    private readonly VmClock _clock;
    private readonly GuestMemory _ram;
    private readonly GpaSpace _gpa;
    private readonly StandardChipset _chipset;
    private readonly HypervisorInterface _hypervisor;
    private readonly CpuidTable _cpuid;
    private readonly IPartition _partition;
    private readonly SyntheticDevices _synthetic;
    private readonly VirtualProcessorThread[] _threads;
    private readonly Action<MachineEnd> _complete;
    private Task _control = Task.CompletedTask;
    private bool _started;
    private StartupCost? _startup;
    private long _resets;

    private VirtualMachine(VirtualMachineDefinition definition, VirtualMachineHost host, GuestPromise? promise)
    {
        _definition = definition;
        _log = host.Log;
        var engine = EngineCatalog.Select(definition.Engine);
        EngineName = engine.Name;
        promise?.RequireKeptBy(engine);
        var features = promise?.Features ?? engine.Features;
        var choice = Choose(definition.ProcessorModel);
        _clock = new VmClock(host.Time);
        _clock.Pause();
        _ram = GuestMemory.Create((ulong)definition.MemoryBytes, HostMemory.Pages(definition.MemoryBacking));
        _gpa = new GpaSpace(_ram);

        var ports = new PortBus();
        _chipset = new StandardChipset(
            new ChipsetOptions
            {
                ProcessorCount = definition.ProcessorCount,
                Clock = _clock,
                PowerEvents = _power,
                LowMemoryBytes = _ram.LowRamSize,
                HighMemoryBytes = _ram.HighRamSize,
                SerialBackends = [new SerialBackend(host.Serial)],
                HasDebugExit = definition.HasDebugExit,
            },
            ports,
            new MmioBus());
        var options = new HypervisorInterfaceOptions
        {
            VirtualProcessorCount = definition.ProcessorCount,
            Interrupts = _chipset.LocalApics,
            Notifications = _power,
            ApicTimerFrequency = (ulong)LocalApic.TimerFrequency,
            Apic = _chipset.LocalApics,
            Features = features,
        };
        _hypervisor = new HypervisorInterface(_gpa, _clock, options);
        _cpuid = promise?.Cpuid ?? ProcessorModel(engine, choice, features);
        _partition = engine.CreatePartition(new PartitionOptions
        {
            Gpa = _gpa,
            VirtualProcessorCount = definition.ProcessorCount,
            Cpuid = _cpuid,
            TscFrequency = promise is null ? choice.TscFrequency ?? EngineCatalog.HostTscFrequency : promise.TscFrequency,
            Clock = _clock,
            Intercepts = new InterceptRouter(ports, _chipset, _hypervisor),
            InterruptControllers = _chipset.InterruptControllers,
        });
        _partition.StopTime();
        foreach (var port in _chipset.CoalescablePorts)
        {
            _partition.CoalesceWrites(port);
        }

        _hypervisor.Attach(_partition);
        _chipset.AttachProcessors(_partition.VirtualProcessors, _partition.LocalApics);
        _threads = [.. _partition.VirtualProcessors.Select(vp => new VirtualProcessorThread(vp, OnProcessorExit))];
        _synthetic = new SyntheticDevices(_hypervisor.Ports, _gpa, _clock, definition, _log);

        var ended = new TaskCompletionSource<MachineEnd>(TaskCreationOptions.RunContinuationsAsynchronously);
        _complete = end => ended.TrySetResult(end);
        Ended = ended.Task;
    }

    /// <summary>The engine that runs the machine.</summary>
    public string EngineName { get; }

    /// <summary>Completes when the machine has ended and stopped.</summary>
    public Task<MachineEnd> Ended { get; }

    private IEnumerable<IVirtualDevice> Devices => [_chipset, _hypervisor, .. _synthetic.Devices];

    /// <summary>Builds a machine and loads its kernel; nothing runs yet.</summary>
    /// <exception cref="DefinitionException">The definition, or a file it names, cannot be used.</exception>
    public static VirtualMachine Create(VirtualMachineDefinition definition, VirtualMachineHost host)
    {
        var machine = Build(definition, host, promise: null);
        try
        {
            machine.RequireTscFrequency();
            BootImage.Load(machine._definition, machine._gpa, machine._chipset, machine._partition);
            return machine;
        }
        catch
        {
            machine.Abandon();
            throw;
        }
    }

    /// <summary>Starts the machine.</summary>
    /// <exception cref="InvalidOperationException">It was started before.</exception>
    public void Start()
    {
        if (_started)
        {
            throw new InvalidOperationException("A machine starts once.");
        }

        _started = true;
        _startup = StartupCost.Now();
        StartAll();
        _control = Task.Run(ControlAsync);
    }

    /// <summary>Turns the machine off at once.</summary>
    public void TurnOff() => _power.RequestPowerOff();

    /// <summary>Resets the machine at once.</summary>
    public void Reset() => _power.RequestReset("the host");

    /// <summary>Asks the guest to shut down or restart through the shutdown integration service.</summary>
    public async Task<GuestRequestOutcome> ShutDownGuestAsync(bool restart)
    {
        var outcome = await _synthetic.Shutdown.RequestAsync(
            restart ? ShutdownKind.Restart : ShutdownKind.PowerOff, force: false, "Requested by the host.", TimeSpan.FromSeconds(15));
        return outcome switch
        {
            ShutdownOutcome.Accepted => GuestRequestOutcome.Accepted,
            ShutdownOutcome.Refused => GuestRequestOutcome.Refused,
            _ => GuestRequestOutcome.NoContact,
        };
    }

    /// <summary>Types a text on the synthetic keyboard (US layout); false when the guest has no driver for it or the text has other characters.</summary>
    public bool TypeText(string text) => _synthetic.Keyboard.TryType(text);

    /// <summary>Copies one of the machine's disks as it is at one moment; the guest goes on using it.</summary>
    /// <exception cref="BlockIOException">The machine has no such disk, the options are not allowed, or a file fails.</exception>
    public void CopyDisk(
        string path, string targetPath, DiskCreateOptions target, IProgress<DiskProgress>? progress = null, CancellationToken cancellation = default) =>
        DiskCopy.Run(_synthetic.Disk(path), targetPath, target, progress: progress, cancellation: cancellation);

    /// <summary>Passes bytes to the guest's first serial port; completes when they are queued.</summary>
    public async ValueTask ReceiveSerialAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        var port = _chipset.SerialPorts[0]!;
        while (!bytes.IsEmpty)
        {
            bytes = bytes[port.Receive(bytes.Span)..];
            if (!bytes.IsEmpty)
            {
                await port.WaitForRoomAsync(cancellationToken);
            }
        }
    }

    /// <inheritdoc/>
    public void Inspect(InspectNode node)
    {
        node.Value("name", _definition.Name)
            .Value("engine", EngineName)
            .Value("memory", ByteSize.Format(_definition.MemoryBytes))
            .Value("uptimeNanoseconds", _clock.Nanoseconds)
            .Value("resets", Interlocked.Read(ref _resets))
            .Value("processorCompileMilliseconds", (long)_threads.Sum(thread => thread.Compiling.TotalMilliseconds))
            .Child("partition", _partition);
        if (_startup is not null)
        {
            node.Child("startup", _startup);
        }

        foreach (var device in Devices)
        {
            node.Child(device.Name, device);
        }
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (_started)
        {
            TurnOff();
            await Ended;
            await _control;
        }

        await _synthetic.DisposeAsync();
        Release();
    }

    private static VirtualMachine Build(VirtualMachineDefinition definition, VirtualMachineHost host, GuestPromise? promise)
    {
        try
        {
            return new VirtualMachine(definition, host, promise);
        }
        catch (Platform.PlatformException error)
        {
            throw HostMemory.Explain(definition, error);
        }
        catch (HypervisorException error)
        {
            throw new DefinitionException("--engine", $"{error.Message} 'vitro doctor' says what this host offers.");
        }
    }

    // A machine that could not be made ready, before its first start.
    private void Abandon()
    {
        _synthetic.DisposeAsync().AsTask().GetAwaiter().GetResult();
        Release();
    }

    // What the host's memory is tied up in.
    private void Release()
    {
        _partition.Dispose();
        _gpa.Dispose();
        _ram.Dispose();
        _clock.Dispose();
    }

    private static ProcessorChoice Choose(string? text) => ProcessorChoice.TryParse(text, out var choice, out var problem)
        ? choice
        : throw new DefinitionException("--cpu", problem, "Write MODEL,-FEATURE,...");

    private static CpuidTable ProcessorModel(IHypervisorEngine engine, ProcessorChoice choice, HypervFeatures features)
    {
        if (!engine.TryGetProcessorModel(choice.Model ?? engine.ProcessorModels[0], out var cpuid))
        {
            throw new DefinitionException(
                "--cpu",
                $"'{choice.Model}' is no processor model of the {engine.Name} engine",
                $"Use {string.Join(" or ", engine.ProcessorModels)}");
        }

        choice.ApplyTo(cpuid);
        if (choice.Model is null)
        {
            EngineCatalog.Narrow(cpuid);
        }

        HypervCpuid.AddTo(cpuid, features);
        return cpuid;
    }

    private void RequireTscFrequency()
    {
        if (Choose(_definition.ProcessorModel).TscFrequency is { } wanted && !TscRate.IsSame(wanted, _partition.TscFrequency))
        {
            throw new DefinitionException(
                "--cpu",
                $"the {EngineName} engine cannot give the guest a time stamp counter of {wanted} Hz on this host",
                $"Leave tsc-frequency out, which makes it {_partition.TscFrequency} Hz");
        }
    }

    private void OnProcessorExit(IVirtualProcessor processor, VpExit exit)
    {
        var kind = exit.Reason == VpExitReason.TripleFault ? MachineEndKind.TripleFault : MachineEndKind.InternalError;
        _power.RequestEnd(new MachineEnd(kind, $"Virtual processor {processor.Index}: {exit.Detail}"));
    }

    private async Task ControlAsync()
    {
        var end = new MachineEnd(MachineEndKind.PowerOff);
        try
        {
            await foreach (var request in _power.Reader.ReadAllAsync())
            {
                await StopAllAsync();
                if (request.End is not null)
                {
                    end = request.End;
                    break;
                }

                if (request.Save is { } save)
                {
                    if (_power.Reader.TryPeek(out _))
                    {
                        // What the guest did while it was being stopped comes first.
                        _power.TryRequestSave(save);
                        continue;
                    }

                    if (await TrySaveAsync(save) is { } saved)
                    {
                        end = saved;
                        break;
                    }

                    StartAll();
                    continue;
                }

                _log.LogInformation("The machine resets: {Source}", request.Source);
                Interlocked.Increment(ref _resets);
                ResetAll();
                StartAll();
            }
        }
        catch (Exception error)
        {
            // The control task's top: a device that cannot stop or reset ends the machine with a report.
            end = new MachineEnd(MachineEndKind.InternalError, error.ToString());
        }

        _power.Close();
        _complete(end);
    }

    private void StartAll()
    {
        _clock.Resume();
        _partition.StartTime();
        foreach (var device in Devices)
        {
            device.Start();
        }

        foreach (var thread in _threads)
        {
            thread.Start();
        }
    }

    private async Task StopAllAsync()
    {
        foreach (var thread in _threads)
        {
            thread.RequestStop();
        }

        foreach (var thread in _threads)
        {
            thread.Join();
        }

        // The guest's time stands still as soon as its processors do.
        _clock.Pause();
        _partition.StopTime();

        // Services before the bus, the bus before the interrupts it raises.
        foreach (var device in Devices.Reverse())
        {
            await device.StopAsync();
        }
    }

    private void ResetAll()
    {
        // A reset before the guest read what was queued must not leave a second one behind.
        while (_power.Reader.TryPeek(out var next) && next is { End: null, Save: null } && _power.Reader.TryRead(out _))
        {
        }

        foreach (var device in Devices)
        {
            device.Reset(ResetKind.Warm);
        }

        foreach (var processor in _partition.VirtualProcessors)
        {
            processor.Reset();
        }

        BootImage.Load(_definition, _gpa, _chipset, _partition);
    }
}
