using System.Buffers.Binary;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Vitro.Foundation;
using Vitro.Storage;
using Vitro.VmBus;
using Vitro.Vsp.Storage.Scsi;

namespace Vitro.Vsp.Storage;

/// <summary>
/// The synthetic SCSI controller: storage protocol 6.2, 6.0 and 5.1 over VMBus, up to 64 disks on one target, any number
/// of requests in flight on the primary channel and sub-channels. Guest driver: drivers/scsi/storvsc_drv.c.
/// </summary>
/// <remarks>
/// Data moves between disk and guest memory without copies. Every request is completed whatever happens to its disk: guests
/// wait without end. Disks belong to the caller, who disposes of one after <see cref="RemoveDiskAsync"/>.
/// </remarks>
public sealed partial class StorageController : IVirtualDevice, IVmBusService
{
    /// <summary>Disks on a controller.</summary>
    public const int MaximumDisks = 64;

    /// <summary>The largest transfer guests are asked to keep to, in bytes.</summary>
    public const int MaximumTransfer = 256 << 10;

    /// <summary>The largest transfer taken, in bytes.</summary>
    internal const int AcceptedTransfer = 16 << 20;

    // Packets between two publications: few enough that other threads' completions do not wait long.
    private const int BatchSize = 16;

    private readonly Lock _gate = new();
    private readonly ILogger _logger;
    private readonly GuestEventLimiter _failures = new();
    private readonly GuestEventLimiter _violations = new();
    private readonly HashSet<StorageChannel> _channels = [];
    private readonly int _maximumSubChannels;
    private StorageLun?[] _luns = new StorageLun?[MaximumDisks];
    private InitializationStep _step;
    private ushort _version;
    private volatile bool _running;

    /// <summary>Creates a controller without disks.</summary>
    /// <param name="instanceId">Stable over restarts: guests name the controller after it.</param>
    /// <param name="name">Name on the bus and in saved state.</param>
    /// <param name="maximumSubChannels">Channels beside the primary one, 0 to 64; one for each further processor is useful.</param>
    /// <param name="logger">Where failures of disks are told.</param>
    public StorageController(Guid instanceId, string name = "scsi0", int maximumSubChannels = 0, ILogger? logger = null)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)maximumSubChannels, 64u, nameof(maximumSubChannels));
        _maximumSubChannels = maximumSubChannels;
        _logger = logger ?? NullLogger.Instance;
        Name = name;
        Offer = new VmBusOffer
        {
            Name = name,
            InterfaceType = VmBusClass.Scsi,
            InstanceId = instanceId,
            Flags = VmBusOfferFlags.EnumerateDeviceInterface,
            MaximumSubChannels = maximumSubChannels,
        };
    }

    /// <inheritdoc/>
    public string Name { get; }

    /// <inheritdoc/>
    public VmBusOffer Offer { get; }

    /// <summary>The protocol version agreed on with the guest, as 0x0602 for 6.2; 0 before.</summary>
    public ushort ProtocolVersion => _version;

    /// <summary>Puts a disk at a logical unit; a running guest is told to look.</summary>
    /// <exception cref="InvalidOperationException">There is a disk at that unit.</exception>
    public void AddDisk(int lun, IBlockDevice device)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)lun, (uint)MaximumDisks, nameof(lun));
        lock (_gate)
        {
            if (_luns[lun] is not null)
            {
                throw new InvalidOperationException($"{Name}: there is a disk at location {lun} already.");
            }

            ReplaceLun(lun, new StorageLun(new ScsiDisk(device)));
        }

        NotifyGuest();
    }

    /// <summary>Takes a disk out; completes when no command uses it any more. False when there was none.</summary>
    public async ValueTask<bool> RemoveDiskAsync(int lun)
    {
        StorageLun? removed;
        lock (_gate)
        {
            removed = (uint)lun < MaximumDisks ? _luns[lun] : null;
            if (removed is null)
            {
                return false;
            }

            ReplaceLun(lun, null);
        }

        NotifyGuest();
        removed.Leave();
        await removed.Drained;
        return true;
    }

    /// <summary>Tells the guest that a disk has another size now.</summary>
    public void NotifyCapacityChanged(int lun)
    {
        if (Volatile.Read(ref _luns)[lun] is { } entry)
        {
            entry.Disk.NotifyCapacityChanged();
            NotifyGuest();
        }
    }

    /// <inheritdoc/>
    public void Start()
    {
        lock (_gate)
        {
            _running = true;
            foreach (var channel in _channels)
            {
                channel.Channel.Wake();
            }
        }
    }

    /// <inheritdoc/>
    /// <remarks>Requests in flight end first; those still in the rings stay there.</remarks>
    public async ValueTask StopAsync()
    {
        StorageChannel[] channels;
        lock (_gate)
        {
            _running = false;
            channels = [.. _channels];
        }

        await Task.Run(() =>
        {
            foreach (var channel in channels)
            {
                lock (channel.BatchGate)
                {
                    // A batch that began before the stop has ended: what it took is counted.
                }

                channel.Drain();
            }
        });
    }

    /// <inheritdoc/>
    public void Reset(ResetKind kind)
    {
        _step = InitializationStep.None;
        _version = 0;
    }

    /// <inheritdoc/>
    public void OnOpened(IVmBusChannel channel)
    {
        var state = new StorageChannel(this, channel);
        channel.Tag = state;
        lock (_gate)
        {
            _channels.Add(state);
            if (channel.SubChannelIndex == 0 && !channel.IsRestored)
            {
                _step = InitializationStep.None;
                _version = 0;
            }
        }
    }

    /// <inheritdoc/>
    public void OnSignalled(IVmBusChannel channel)
    {
        var state = (StorageChannel)channel.Tag!;
        var more = true;
        while (more)
        {
            lock (state.BatchGate)
            {
                more = _running && TakeBatch(state);
            }
        }
    }

    private bool TakeBatch(StorageChannel state)
    {
        var channel = state.Channel;
        channel.BeginBatch();
        try
        {
            var more = true;
            for (var i = 0; i < BatchSize && more; i++)
            {
                more = state.HasRoom() && channel.TryReceive(out var packet) && Take(state, in packet);
            }

            return more;
        }
        finally
        {
            channel.EndBatch();
        }
    }

    /// <inheritdoc/>
    public void OnClosed(IVmBusChannel channel)
    {
        var state = (StorageChannel)channel.Tag!;
        state.Drain();
        lock (_gate)
        {
            _channels.Remove(state);
        }
    }

    /// <inheritdoc/>
    public void Inspect(InspectNode node)
    {
        lock (_gate)
        {
            node.Hex("protocolVersion", _version)
                .Value("initialization", _step.ToString())
                .Value("inFlight", _channels.Sum(channel => channel.InFlight))
                .Value("diskFailures", _failures.Count)
                .Value("violations", _violations.Count);
            var disks = node.Child("disks");
            for (var lun = 0; lun < _luns.Length; lun++)
            {
                if (_luns[lun] is { } entry)
                {
                    disks.Child(lun.ToString(System.Globalization.CultureInfo.InvariantCulture), entry.Disk);
                }
            }
        }
    }

    /// <summary>Finds a disk and keeps it in place until its <see cref="StorageLun.Leave"/>.</summary>
    internal bool TryEnter(byte lun, out StorageLun entry)
    {
        entry = null!;
        var luns = Volatile.Read(ref _luns);
        if (lun >= luns.Length || luns[lun] is not { } found || !found.TryEnter())
        {
            return false;
        }

        entry = found;
        return true;
    }

    /// <summary>Answers REPORT LUNS. Unit 0 is always listed, as the place to ask (SPC-4, 6.33).</summary>
    internal void ReportLuns(ScsiRequest request)
    {
        var luns = Volatile.Read(ref _luns);
        Span<byte> data = stackalloc byte[8 + (8 * MaximumDisks)];
        data.Clear();
        var length = 8;
        for (var lun = 0; lun < luns.Length; lun++)
        {
            if (lun == 0 || luns[lun] is not null)
            {
                data[length + 1] = (byte)lun;
                length += 8;
            }
        }

        BinaryPrimitives.WriteInt32BigEndian(data, length - 8);
        request.Reply(data[..length], (int)Math.Min(int.MaxValue, BinaryPrimitives.ReadUInt32BigEndian(request.Cdb[6..])));
    }

    internal void OnDiskFailure(Exception error)
    {
        if (_failures.ShouldLog())
        {
            _logger.LogError(error, "A disk of {Controller} failed a request ({Count} so far).", Name, _failures.Count);
        }
    }

    private void ReplaceLun(int lun, StorageLun? entry)
    {
        var luns = (StorageLun?[])_luns.Clone();
        luns[lun] = entry;
        Volatile.Write(ref _luns, luns);
    }

    private void NotifyGuest()
    {
        Span<byte> packet = stackalloc byte[StorvspPacket.Size];
        packet.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(packet, (uint)StorvspOperation.EnumerateBus);
        lock (_gate)
        {
            foreach (var channel in _channels)
            {
                if (channel.Channel.SubChannelIndex == 0 && _step == InitializationStep.Done)
                {
                    channel.Channel.SendInBand(packet);
                }
            }
        }
    }
}
