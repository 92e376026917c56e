using Vitro.Hypervisor.Vid;
using Vitro.VmBus;
using Vitro.VmBus.Rings;

namespace Vitro.Fuzz.Targets;

/// <summary>A ring whose indexes and content the guest chose: control words first, then the data area.</summary>
internal sealed class VmBusRingTarget : IFuzzTarget, IDisposable
{
    private const ulong ControlGpa = 16 * GuestMemory.PageSize;
    private const int DataPages = 3;

    private readonly GuestMemory _ram = GuestMemory.Create(1 << 20);
    private readonly GpaSpace _memory;

    internal VmBusRingTarget() => _memory = new GpaSpace(_ram);

    public string Name => "vmbus-ring";

    public void Run(ReadOnlySpan<byte> input)
    {
        if (!RingMemory.TryMap(_memory, [16, 19, 17, 18], out var ring))
        {
            throw new InvalidOperationException("The ring does not map.");
        }

        var fuzz = new FuzzInput(input);
        _memory.TryWrite(ControlGpa, new byte[(DataPages + 1) * GuestMemory.PageSize]);
        _memory.TryWrite(ControlGpa, fuzz.Bytes(16));
        var content = fuzz.Bytes(DataPages * GuestMemory.PageSize);
        _memory.TryWrite(ControlGpa + GuestMemory.PageSize, content);

        var reader = new RingReader(ring);
        var read = 0L;
        while (reader.TryRead(out var packet, out _) == RingReadResult.Packet)
        {
            read += packet.Payload.Length + packet.Extension.Length;
            foreach (var range in packet.Ranges)
            {
                if (range.ByteCount == 0 || range.ByteOffset >= 4096 || range.PageNumbers.IsEmpty)
                {
                    throw new InvalidOperationException("A malformed range got through.");
                }
            }

            if (read > ring.DataSize)
            {
                throw new InvalidOperationException("More came out of the ring than fits.");
            }
        }

        var writer = new RingWriter(ring);
        for (var i = 0; i < 4 && writer.TryWrite(VmBusPacketType.InBand, VmBusPacketFlags.None, 1, new byte[1000]); i++)
        {
            writer.Publish();
        }
    }

    public void Dispose()
    {
        _memory.Dispose();
        _ram.Dispose();
    }
}
