using CsCheck;
using Vitro.Foundation;
using Xunit;

namespace Vitro.UnitTests.Chipset;

public sealed class StandardChipsetTests
{
    [Fact]
    public void Every_device_shows_itself_under_its_name()
    {
        using var machine = new ChipsetFixture(2);
        var node = new InspectNode();

        machine.Chipset.Inspect(node);

        foreach (var device in machine.Chipset.Devices)
        {
            Assert.IsType<InspectNode>(node.Find(device.Name));
        }

        Assert.Equal("xapic", node.Find("lapic1/mode"));
    }

    [Fact]
    public void Every_device_saves_restores_and_saves_the_same()
    {
        Gen.Select(Gen.Int[0, Ports.Length - 1], Gen.Byte).Array[0, 200].Sample(
            accesses =>
            {
                using var machine = new ChipsetFixture(start: false);
                foreach (var (port, value) in accesses)
                {
                    machine.Ports.Write(Ports[port], 1, value);
                    machine.Ports.Read(Ports[port], 1);
                }

                var saved = machine.SaveState();
                using var other = new ChipsetFixture(start: false);
                other.Chipset.Restore(new SavedStateReader(saved));
                return saved.AsSpan().SequenceEqual(other.SaveState());
            },
            iter: 60);
    }

    [Fact]
    public void No_access_by_a_guest_throws()
    {
        var sizes = new[] { 1, 2, 4, 8 };
        Gen.Select(Gen.ULong[0, 0xFFF], Gen.Int[0, 3], Gen.ULong, Gen.Int[0, Ports.Length - 1], Gen.Int[0, 1]).Array[1, 300].Sample(
            accesses =>
            {
                using var machine = new ChipsetFixture(2);
                foreach (var (offset, size, value, port, target) in accesses)
                {
                    var gpa = (target == 0 ? 0xFEE0_0000UL : 0xFEC0_0000UL) + offset;
                    machine.Chipset.WriteMmio(1, gpa, sizes[size], value);
                    machine.Chipset.ReadMmio(1, gpa, sizes[size]);
                    machine.Ports.Write(Ports[port], sizes[size & 1], (uint)value & 0xFFFF);
                    machine.Ports.Read(Ports[port], sizes[size & 1]);
                    machine.Chipset.TryWriteMsr(0, 0x800 + (uint)(offset & 0xFF), value);
                    machine.Chipset.TryReadMsr(0, 0x800 + (uint)(offset & 0xFF), out _);
                    machine.Chipset.TryWriteMsr(0, 0x1B, value);
                    machine.Advance((long)(value & 0xF_FFFF));
                    machine.TakeAll();
                    machine.TakeAll(1);
                }
            },
            iter: 40);
    }

    [Fact]
    public void A_reset_silences_every_line()
    {
        using var machine = new ChipsetFixture();
        machine.Chipset.PrepareForDirectBoot();
        machine.Out(0x43, 0x34);
        machine.Out(0x60, 0xF2);
        machine.Chipset.Pm.PressPowerButton();

        machine.Chipset.Reset(ResetKind.Warm);
        machine.EnableApics();
        for (var pin = 0; pin < 16; pin++)
        {
            machine.RoutePin(pin, (uint)(0x8040 + pin));
        }

        Assert.Empty(machine.TakeAll());
    }

    [Fact]
    public void Sending_interrupts_allocates_nothing()
    {
        using var machine = new ChipsetFixture(4);
        machine.EnableApics();
        var apic = machine.Chipset.LocalApics.Apics[1];
        Round();
        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var i = 0; i < 100; i++)
        {
            Round();
        }

        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());

        void Round()
        {
            machine.Chipset.LocalApics.SendFixed(1, 0xF3);
            machine.Chipset.LocalApics.SendMsi(0xFEE0_1000, 0x61);
            machine.WriteApic(0x30, 0xC_0040);
            while (apic.TryAcknowledge(out _))
            {
                apic.EndOfInterrupt();
            }
        }
    }

    private static ushort[] Ports { get; } =
    [
        0x20, 0x21, 0xA0, 0xA1, 0x4D0, 0x4D1, 0x40, 0x41, 0x42, 0x43, 0x61, 0x70, 0x71, 0x60, 0x64, 0x600, 0x601, 0x602, 0x603, 0x604, 0x605, 0x608,
        0x92, 0xCF9, 0x80, 0x3F8, 0x3F9, 0x3FA, 0x3FB, 0x3FC, 0x3FD, 0x3FE, 0x3FF,
    ];
}
