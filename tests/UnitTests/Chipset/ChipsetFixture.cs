using Microsoft.Extensions.Time.Testing;
using Vitro.Chipset;
using Vitro.Foundation;
using Vitro.Hypervisor.Bus;

namespace Vitro.UnitTests.Chipset;

/// <summary>A standard chipset on a stepped clock with processors that count their signals.</summary>
internal sealed class ChipsetFixture : IDisposable, IPowerEvents
{
    internal ChipsetFixture(int processors = 1, bool hasX2Apic = true, Func<ulong, long>? tscToNanoseconds = null, bool start = true)
    {
        Time = new FakeTimeProvider(new DateTimeOffset(2024, 2, 28, 23, 59, 58, TimeSpan.Zero));
        Clock = new VmClock(Time);
        Chipset = new StandardChipset(
            new ChipsetOptions
            {
                ProcessorCount = processors,
                Clock = Clock,
                PowerEvents = this,
                LowMemoryBytes = 1UL << 30,
                HighMemoryBytes = 2UL << 30,
                HasDebugExit = true,
                HasX2Apic = hasX2Apic,
                TscToNanoseconds = tscToNanoseconds,
                SerialBackends = [Serial],
            },
            Ports,
            Mmio);
        Processors = [.. Enumerable.Range(0, processors).Select(index => new FakeProcessor(index))];
        Chipset.AttachProcessors(Processors);
        if (start)
        {
            Chipset.Start();
        }
    }

    internal FakeTimeProvider Time { get; }

    internal VmClock Clock { get; }

    internal PortBus Ports { get; } = new();

    internal MmioBus Mmio { get; } = new();

    internal StandardChipset Chipset { get; }

    internal FakeProcessor[] Processors { get; }

    internal FakeSerialBackend Serial { get; } = new();

    internal List<string> Resets { get; } = [];

    internal int PowerOffs { get; private set; }

    internal uint? DebugExit { get; private set; }

    public void RequestReset(string source) => Resets.Add(source);

    public void RequestPowerOff() => PowerOffs++;

    public void RequestDebugExit(uint code) => DebugExit = code;

    public void Dispose() => Clock.Dispose();

    internal void Advance(long nanoseconds) => Time.Advance(TimeSpan.FromTicks(nanoseconds / 100));

    internal byte In(ushort port) => (byte)Ports.Read(port, 1);

    internal void Out(ushort port, byte value) => Ports.Write(port, 1, value);

    internal uint ReadApic(int register, int vp = 0) => (uint)Chipset.ReadMmio(vp, 0xFEE0_0000UL + (ulong)(register << 4), 4);

    internal void WriteApic(int register, uint value, int vp = 0) => Chipset.WriteMmio(vp, 0xFEE0_0000UL + (ulong)(register << 4), 4, value);

    internal void EnableApics()
    {
        for (var vp = 0; vp < Processors.Length; vp++)
        {
            WriteApic(0x0F, 0x1FF, vp);
        }
    }

    internal void EnterX2Apic()
    {
        for (var vp = 0; vp < Processors.Length; vp++)
        {
            Assert(Chipset.TryReadMsr(vp, 0x1B, out var value));
            Assert(Chipset.TryWriteMsr(vp, 0x1B, value | 0x400));
            Assert(Chipset.TryWriteMsr(vp, 0x80F, 0x1FF));
        }

        static void Assert(bool done) => Xunit.Assert.True(done);
    }

    internal void WriteIoApic(byte register, uint value)
    {
        Chipset.WriteMmio(0, 0xFEC0_0000, 4, register);
        Chipset.WriteMmio(0, 0xFEC0_0010, 4, value);
    }

    internal uint ReadIoApic(byte register)
    {
        Chipset.WriteMmio(0, 0xFEC0_0000, 4, register);
        return (uint)Chipset.ReadMmio(0, 0xFEC0_0010, 4);
    }

    internal void RoutePin(int pin, uint low, byte destination = 0)
    {
        WriteIoApic((byte)(0x11 + (2 * pin)), (uint)destination << 24);
        WriteIoApic((byte)(0x10 + (2 * pin)), low);
    }

    /// <summary>The vectors the processor takes now, in order, ending each.</summary>
    internal List<int> TakeAll(int vp = 0)
    {
        var vectors = new List<int>();
        var apic = Chipset.LocalApics.Apics[vp];
        while (vectors.Count < 300 && apic.TryAcknowledge(out var vector))
        {
            vectors.Add(vector);
            apic.EndOfInterrupt();
        }

        return vectors;
    }

    internal byte[] SaveState()
    {
        var writer = new SavedStateWriter();
        Chipset.Save(writer);
        return writer.WrittenSpan.ToArray();
    }
}
