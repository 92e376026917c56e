using Vitro.Hypervisor.Vid;
using Vitro.VmBus;
using Vitro.VmBus.Rings;
using Vitro.Vsp.Storage;

namespace Vitro.Fuzz.Targets;

/// <summary>
/// Storage packets into a controller with one disk. A kind byte: bit 0 GPA-direct, bit 1 makes it an SRB on the disk,
/// bit 2 no completion wanted; then the extension's length in words and the payload's in bytes, then both. Each packet that
/// wants a completion must get one.
/// </summary>
internal sealed class StorvspTarget : IFuzzTarget, IDisposable
{
    private readonly GuestMemory _ram = GuestMemory.Create(1 << 20);
    private readonly GpaSpace _memory;

    internal StorvspTarget() => _memory = new GpaSpace(_ram);

    public string Name => "storvsp";

    public void Run(ReadOnlySpan<byte> input)
    {
        var controller = new StorageController(Guid.Empty);
        controller.AddDisk(0, new VoidDisk());
        controller.Start();
        if (!RingMemory.TryMap(_memory, [16, 17, 18, 19], out var ring))
        {
            throw new InvalidOperationException("The ring does not map.");
        }

        ring.Initialize();
        var channel = new RingChannel(_memory, ring);
        controller.OnOpened(channel);
        var packet = new byte[StorvspPacket.Size];
        foreach (var step in (ReadOnlySpan<byte>)[7, 9, 10, 8])
        {
            packet[0] = step;
            packet[12] = 2;
            packet[13] = 6;
            channel.Write(VmBusPacketType.InBand, VmBusPacketFlags.CompletionRequested, packet, []);
            controller.OnSignalled(channel);
        }

        var fuzz = new FuzzInput(input);
        while (!fuzz.IsEmpty)
        {
            Step(controller, channel, ref fuzz);
        }

        controller.OnClosed(channel);
        if (channel.Wanted != channel.Completed)
        {
            throw new InvalidOperationException($"{channel.Wanted} completions were wanted and {channel.Completed} came.");
        }
    }

    public void Dispose()
    {
        _memory.Dispose();
        _ram.Dispose();
    }

    private static void Step(StorageController controller, RingChannel channel, ref FuzzInput fuzz)
    {
        var kind = fuzz.Byte();
        var extension = new byte[fuzz.Byte() % 40 * 8];
        var payload = new byte[(kind & 2) != 0 ? StorvspPacket.Size : fuzz.Byte()];
        fuzz.Bytes(extension.Length).CopyTo(extension);
        fuzz.Bytes(payload.Length).CopyTo(payload);
        if ((kind & 2) != 0)
        {
            payload[0] = (byte)StorvspOperation.ExecuteSrb;
            payload.AsSpan(1, 3).Clear();
            payload[StorvspPacket.PathOffset] &= 1;
            payload[StorvspPacket.TargetOffset] &= 1;
            payload[StorvspPacket.LunOffset] &= 1;
            payload.AsSpan(StorvspPacket.TransferLengthOffset + 2, 2).Clear();
        }

        channel.Write(
            (kind & 1) != 0 ? VmBusPacketType.GpaDirect : VmBusPacketType.InBand,
            (kind & 4) != 0 ? VmBusPacketFlags.None : VmBusPacketFlags.CompletionRequested,
            payload,
            extension);
        controller.OnSignalled(channel);
    }
}
