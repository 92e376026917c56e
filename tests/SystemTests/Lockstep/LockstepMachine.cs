using System.Text;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using Vitro.Chipset;
using Vitro.Configuration;
using Vitro.Foundation;
using Vitro.Hypervisor.Bus;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Software;
using Vitro.Hypervisor.Tlfs;
using Vitro.Hypervisor.Vid;
using Vitro.WorkerProcess;

namespace Vitro.SystemTests.Lockstep;

/// <summary>
/// A machine that runs on the test's thread: time passes and the VMBus works when the test says so, nothing in it happens on another thread,
/// and of several processors one runs at a time, the one that the test chooses. It has all devices of a whole machine.
/// </summary>
internal sealed unsafe class LockstepMachine : IDisposable
{
    private const int SerialPort = 0x3F8;
    private readonly FakeTimeProvider _time = new(new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero));
    private readonly VmClock _clock;
    private readonly GuestMemory _ram;
    private readonly SoftwarePartition _partition;
    private readonly LockstepWorkers _workers = new();
    private readonly SyntheticDevices _synthetic;
    private readonly LockstepDisk[] _disks;

    internal LockstepMachine(VirtualMachineDefinition definition, IExecutionFactory execution)
    {
        _clock = new VmClock(_time);
        _ram = GuestMemory.Create((ulong)definition.MemoryBytes);
        Gpa = new GpaSpace(_ram);
        var power = new PowerEvents();
        var ports = new PortBus();
        var chipset = new StandardChipset(
            new ChipsetOptions
            {
                ProcessorCount = definition.ProcessorCount,
                Clock = _clock,
                PowerEvents = power,
                LowMemoryBytes = _ram.LowRamSize,
                HighMemoryBytes = _ram.HighRamSize,
                SerialBackends = [new SerialBackend(new SerialTranscript())],
            },
            ports,
            new MmioBus());

        // What the guest sends is read at the port itself.
        chipset.SerialPorts[0]!.Connect(null);
        var options = new HypervisorInterfaceOptions
        {
            VirtualProcessorCount = definition.ProcessorCount,
            Interrupts = chipset.LocalApics,
            Notifications = power,
            ApicTimerFrequency = (ulong)LocalApic.TimerFrequency,
            Apic = chipset.LocalApics,
        };
        var hypervisor = new HypervisorInterface(Gpa, _clock, options);
        _partition = new SoftwarePartition(
            new PartitionOptions
            {
                Gpa = Gpa,
                VirtualProcessorCount = definition.ProcessorCount,
                Cpuid = Cpuid(options.Features),
                Clock = _clock,
                Intercepts = new Listener(this, new InterceptRouter(ports, chipset, hypervisor)),
                InterruptControllers = chipset.InterruptControllers,
            },
            execution);
        hypervisor.Attach(_partition);
        chipset.AttachProcessors(_partition.VirtualProcessors);
        var withoutDisks = definition with { Disks = [] };
        _synthetic = new SyntheticDevices(hypervisor.Ports, Gpa, _clock, withoutDisks, NullLogger.Instance, _workers);
        _disks = [.. definition.Disks.Select(disk => new LockstepDisk(DiskFiles.Open(disk)))];
        for (var lun = 0; lun < _disks.Length; lun++)
        {
            _synthetic.Storage.AddDisk(lun, _disks[lun]);
        }

        BootImage.Load(definition, Gpa, chipset, _partition);
        chipset.Start();

        // Its pump, which has a thread, looks at the port once after the start: on a busy host while the guest uses it.
        Wait(chipset.SerialPorts[0]!.StopAsync());
        hypervisor.Start();
        foreach (var device in _synthetic.Devices)
        {
            device.Start();
        }

        Processor = _partition.Processors[0];
        Processor.EnterGuest();
    }

    internal GpaSpace Gpa { get; }

    internal IReadOnlyList<LockstepDisk> Disks => _disks;

    internal ReadOnlySpan<SoftwareVirtualProcessor> Processors => _partition.Processors;

    /// <summary>The one that runs; to the others it is the only one in guest code, so that nothing waits for them.</summary>
    internal SoftwareVirtualProcessor Processor { get; private set; }

    internal VpState* State => Processor.State;

    /// <summary>What the guest wrote to its first serial port.</summary>
    internal StringBuilder Serial { get; } = new();

    /// <summary>Lets time pass; timers that fall due ask the processor for interrupts.</summary>
    internal void Advance(TimeSpan time) => _time.Advance(time);

    /// <summary>Does what the guest and the clock have left the VMBus to do: requests are answered, disks read and written.</summary>
    internal void Work() => _workers.Run();

    /// <summary>Whether a processor has instructions to execute, or may when it is served.</summary>
    internal bool HasWork(int processor)
    {
        var state = Processors[processor].State;
        return state->Activity == (uint)VpActivity.Running || (state->Requests & ~(uint)VpRequest.Pause) != 0;
    }

    /// <summary>Has another processor run.</summary>
    internal void Switch(int processor)
    {
        Processor.LeaveGuest();
        Processor = Processors[processor];
        Processor.EnterGuest();
    }

    /// <summary>Serves what is requested of the processor: interrupts are delivered.</summary>
    internal void Serve()
    {
        while ((State->Requests & ~(uint)VpRequest.Pause) != 0 && Processor.ServiceRequests(out _))
        {
        }
    }

    /// <summary>Executes to the first look at requests.</summary>
    internal void RunBriefly()
    {
        Processor.Request(VpRequest.Pause);
        Processor.Core.Run(Processor);
        Interlocked.And(ref State->Requests, ~(uint)VpRequest.Pause);
    }

    /// <summary>From here to <see cref="EndSteps"/> the processor executes by steps; no request is served meanwhile.</summary>
    internal void BeginSteps() => Processor.Request(VpRequest.Pause);

    /// <summary>Ends what <see cref="BeginSteps"/> began.</summary>
    internal void EndSteps() => Interlocked.And(ref State->Requests, ~(uint)VpRequest.Pause);

    /// <summary>Executes one instruction, or as much of a repeated one as is done between two looks at requests.</summary>
    internal void Step()
    {
        var isInShadow = State->InterruptShadow != 0;
        Processor.Core.Step(Processor);
        if (isInShadow)
        {
            State->InterruptShadow = 0;
        }
    }

    public void Dispose()
    {
        Processor.LeaveGuest();
        Wait(_synthetic.DisposeAsync());
        _workers.Run();
        for (var lun = 0; lun < _disks.Length; lun++)
        {
            Wait(_disks[lun].DisposeAsync());
        }

        _partition.Dispose();
        Gpa.Dispose();
        _ram.Dispose();
        _clock.Dispose();
    }

    private static void Wait(ValueTask task) => task.AsTask().GetAwaiter().GetResult();

    // Without what gives each of the two another random number.
    private static CpuidTable Cpuid(HypervFeatures features)
    {
        const uint Rdrand = 1u << 30;
        const uint Rdseed = 1u << 18;
        var cpuid = new SoftwareEngine().GetSupportedCpuid();
        cpuid[1] = cpuid[1] with { Ecx = cpuid[1].Ecx & ~Rdrand };
        cpuid[7, 0] = cpuid[7, 0] with { Ebx = cpuid[7, 0].Ebx & ~Rdseed };
        HypervCpuid.AddTo(cpuid, features);
        return cpuid;
    }

    private sealed class Listener(LockstepMachine machine, IInterceptHandler next) : IInterceptHandler
    {
        public uint ReadPort(IVirtualProcessor vp, ushort port, int size) => next.ReadPort(vp, port, size);

        public void WritePort(IVirtualProcessor vp, ushort port, int size, uint value)
        {
            if (port == SerialPort && size == 1 && value is '\n' or (>= ' ' and < 127))
            {
                machine.Serial.Append((char)value);
            }

            next.WritePort(vp, port, size, value);
        }

        public ulong ReadMmio(IVirtualProcessor vp, ulong gpa, int size) => next.ReadMmio(vp, gpa, size);

        public void WriteMmio(IVirtualProcessor vp, ulong gpa, int size, ulong value) => next.WriteMmio(vp, gpa, size, value);

        public bool TryReadMsr(IVirtualProcessor vp, uint msr, out ulong value) => next.TryReadMsr(vp, msr, out value);

        public bool TryWriteMsr(IVirtualProcessor vp, uint msr, ulong value) => next.TryWriteMsr(vp, msr, value);

        public bool TryHypercall(IVirtualProcessor vp, in HypercallRegisters registers, out ulong result) =>
            next.TryHypercall(vp, registers, out result);
    }
}
