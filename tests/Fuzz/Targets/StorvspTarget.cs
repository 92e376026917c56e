using Vitro.Hypervisor.Vid;
using Vitro.Storage;
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
        var channel = new Channel(_memory, ring);
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

    private static void Step(StorageController controller, Channel channel, ref FuzzInput fuzz)
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

    private sealed class Channel(GpaSpace memory, RingMemory ring) : IVmBusChannel
    {
        private readonly RingWriter _writer = new(ring);
        private readonly RingReader _reader = new(ring);

        public uint ChannelId => 1;

        public ushort SubChannelIndex => 0;

        public ReadOnlySpan<byte> OpenData => [];

        public uint VmBusVersion => 0x00050003;

        public bool IsRestored => false;

        public bool IsOpen => true;

        public GpaSpace Memory => memory;

        public int SendCapacity => 4096;

        public object? Tag { get; set; }

        internal int Wanted { get; private set; }

        internal int Completed { get; private set; }

        public bool TryReceive(out VmBusPacket packet)
        {
            var received = _reader.TryRead(out packet, out _) == RingReadResult.Packet;
            Wanted += received && packet.CompletionRequested ? 1 : 0;
            return received;
        }

        public bool TrySend(VmBusPacketType type, VmBusPacketFlags flags, ulong transactionId, ReadOnlySpan<byte> payload)
        {
            Completed += type == VmBusPacketType.Completion ? 1 : 0;
            return true;
        }

        public void Send(VmBusPacketType type, VmBusPacketFlags flags, ulong transactionId, ReadOnlySpan<byte> payload) =>
            TrySend(type, flags, transactionId, payload);

        public void BeginBatch()
        {
        }

        public void EndBatch()
        {
        }

        public void Wake()
        {
        }

        public void OfferSubChannels(int count)
        {
        }

        public bool TryGetGpadl(uint handle, out Gpadl gpadl)
        {
            gpadl = null!;
            return false;
        }

        internal void Write(VmBusPacketType type, VmBusPacketFlags flags, ReadOnlySpan<byte> payload, ReadOnlySpan<byte> extension)
        {
            _writer.TryWrite(type, flags, 1, payload, extension);
            _writer.Publish();
        }
    }

    /// <summary>Checks what reaches it and keeps nothing.</summary>
    private sealed class VoidDisk : IBlockDevice
    {
        public long Length => 1 << 20;

        public int LogicalSectorSize => 512;

        public int PhysicalSectorSize => 4096;

        public bool IsReadOnly => false;

        public Guid Identity => Guid.Empty;

        public bool SupportsTrim => true;

        public ValueTask ReadAsync(long offset, ReadOnlyMemory<Memory<byte>> buffers, CancellationToken cancellationToken = default)
        {
            long length = 0;
            foreach (var buffer in buffers.Span)
            {
                buffer.Span.Fill(0xCC);
                length += buffer.Length;
            }

            return Check(offset, length);
        }

        public ValueTask WriteAsync(
            long offset, ReadOnlyMemory<Memory<byte>> buffers, bool forceUnitAccess = false, CancellationToken cancellationToken = default)
        {
            long length = 0;
            foreach (var buffer in buffers.Span)
            {
                length += buffer.Length;
            }

            return Check(offset, length);
        }

        public ValueTask FlushAsync(CancellationToken cancellationToken = default) => ValueTask.CompletedTask;

        public ValueTask TrimAsync(long offset, long length, CancellationToken cancellationToken = default) => Check(offset, length);

        public ValueTask ZeroAsync(long offset, long length, CancellationToken cancellationToken = default) => Check(offset, length);

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;

        private ValueTask Check(long offset, long length)
        {
            // Not a BlockIOException: the controller would answer it, and the fault would go unseen.
            if (offset < 0 || length <= 0 || offset + length > Length || offset % 512 != 0 || length % 512 != 0)
            {
                Environment.FailFast($"The disk was asked for {length} bytes at {offset}.");
            }

            return ValueTask.CompletedTask;
        }
    }
}
