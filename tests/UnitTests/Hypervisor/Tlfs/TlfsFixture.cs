using System.Buffers.Binary;
using Microsoft.Extensions.Time.Testing;
using Vitro.Foundation;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Tlfs;
using Vitro.Hypervisor.Tlfs.Synic;
using Vitro.Hypervisor.Vid;

namespace Vitro.UnitTests.Hypervisor.Tlfs;

/// <summary>A partition without an engine: memory, a stepped clock and the hypervisor interface, with a guest played by the test.</summary>
internal sealed partial class TlfsFixture : IPartition, ISynicInterruptSink, IGuestNotifications
{
    internal const ulong MessagePage = 0x10000;
    internal const ulong EventPage = 0x11000;
    internal const ulong HypercallPage = 0x12000;
    internal const ulong TscPage = 0x13000;
    internal const ulong Input = 0x14000;
    internal const byte Vector = 0xF3;
    private readonly GuestMemory _memory = GuestMemory.Create(1 << 20);

    internal TlfsFixture(int processors = 2, HypervFeatures? features = null, bool start = true, IEngineTimers? timers = null)
    {
        Timers = timers;
        Gpa = new GpaSpace(_memory);
        Clock = new VmClock(Time);
        Interface = new HypervisorInterface(Gpa, Clock, new HypervisorInterfaceOptions
        {
            VirtualProcessorCount = processors,
            Interrupts = this,
            Notifications = this,
            ApicTimerFrequency = 200_000_000,
            Features = features ?? new HypervFeatures(),
        });
        Interface.Attach(this);
        if (start)
        {
            Interface.Start();
        }
    }

    internal FakeTimeProvider Time { get; } = new();

    internal GpaSpace Gpa { get; }

    internal VmClock Clock { get; }

    internal HypervisorInterface Interface { get; }

    internal ISynicPorts Ports => Interface.Ports;

    internal List<(int Vp, byte Vector, bool AutoEoi)> Raised { get; } = [];

    internal Action<int, byte>? OnRaise { get; set; }

    internal List<GuestCrashReport> Crashes { get; } = [];

    internal int Resets { get; private set; }

    internal List<int> Flushes { get; } = [];

    internal bool CanFlush { get; set; } = true;

    public IEngineTimers? Timers { get; }

    public IReadOnlyList<IVirtualProcessor> VirtualProcessors => [];

    public ReadOnlySpan<byte> HypercallPageCode => [0x0F, 0x01, 0xC1, 0xC3];

    public ulong TscFrequency { get; set; } = 2_400_000_000;

    public ulong ReadTsc() => (ulong)((UInt128)(ulong)Clock.Nanoseconds * TscFrequency / 1_000_000_000);

    public void TakeDirtyPages(Span<ulong> pages) => Gpa.TakeDirtyPages(pages);

    public void SetTsc(ulong value) => throw new NotSupportedException();

    public bool TryFlushTranslations(int vpIndex)
    {
        Flushes.Add(vpIndex);
        return CanFlush;
    }

    public void Inspect(InspectNode node)
    {
        // Nothing to show.
    }

    public void Raise(int vpIndex, byte vector, bool autoEoi)
    {
        if (OnRaise is { } handler)
        {
            handler(vpIndex, vector);
            return;
        }

        lock (Raised)
        {
            Raised.Add((vpIndex, vector, autoEoi));
        }
    }

    public void OnGuestCrash(GuestCrashReport report) => Crashes.Add(report);

    public void OnResetRequested(int vpIndex) => Resets++;

    public void Dispose()
    {
        Clock.Dispose();
        Gpa.Dispose();
        _memory.Dispose();
    }

    internal bool Write(uint msr, ulong value, int vp = 0) => Interface.TryWriteMsr(vp, msr, value);

    internal ulong Read(uint msr, int vp = 0) =>
        Interface.TryReadMsr(vp, msr, out var value) ? value : throw new InvalidOperationException($"MSR 0x{msr:x} faults.");

    /// <summary>What Linux does before its VMBus driver connects, on one processor.</summary>
    internal void EnableSynic(int vp = 0, int sint = 2, ulong sintValue = Vector)
    {
        Write(0x4000_0083, (MessagePage + ((ulong)vp << 16)) | 1, vp);
        Write(0x4000_0082, (EventPage + ((ulong)vp << 16)) | 1, vp);
        Write(0x4000_0090 + (uint)sint, sintValue, vp);
        Write(0x4000_0080, 1, vp);
    }

    internal void EnableHypercalls()
    {
        Write(0x4000_0000, 0x8100UL << 48);
        Write(0x4000_0001, HypercallPage | 1);
    }

    internal uint ReadUInt32(ulong gpa)
    {
        Span<byte> bytes = stackalloc byte[4];
        Gpa.TryRead(gpa, bytes);
        return BinaryPrimitives.ReadUInt32LittleEndian(bytes);
    }

    internal ulong ReadUInt64(ulong gpa)
    {
        Span<byte> bytes = stackalloc byte[8];
        Gpa.TryRead(gpa, bytes);
        return BinaryPrimitives.ReadUInt64LittleEndian(bytes);
    }

    internal void WriteUInt32(ulong gpa, uint value)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        Gpa.TryWrite(gpa, bytes);
    }

    internal void WriteUInt64(ulong gpa, ulong value)
    {
        Span<byte> bytes = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        Gpa.TryWrite(gpa, bytes);
    }

    internal ulong Hypercall(ulong control, ulong input = 0, ulong output = 0, int vp = 0) =>
        Interface.TryHypercall(vp, new HypercallRegisters(control, input, output), out var result)
            ? result
            : throw new InvalidOperationException("Hypercalls are not enabled.");

    internal void WriteMessage(uint connection, uint type, ReadOnlySpan<byte> payload, ulong address = Input)
    {
        WriteUInt32(address, connection);
        WriteUInt32(address + 4, 0);
        WriteUInt32(address + 8, type);
        WriteUInt32(address + 12, (uint)payload.Length);
        Gpa.TryWrite(address + 16, payload);
    }
}
