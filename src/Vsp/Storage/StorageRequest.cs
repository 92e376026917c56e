using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using Vitro.Hypervisor.Vid;
using Vitro.VmBus;
using Vitro.Vsp.Storage.Scsi;

namespace Vitro.Vsp.Storage;

/// <summary>
/// One SCSI request block in flight: a copy of its packet, the guest memory it names, and the wait for the disk. Pooled
/// by its channel, so that a request costs no allocation.
/// </summary>
internal sealed class StorageRequest
{
    private readonly StorageChannel _owner;
    private readonly byte[] _packet = new byte[StorvspPacket.Size];
    private readonly ScsiRequest _scsi = new();
    private readonly Action _continuation;
    private (ulong Gpa, ulong Length)[] _extents = new (ulong, ulong)[32];
    private int _extentCount;
    private ConfiguredValueTaskAwaitable.ConfiguredValueTaskAwaiter _awaiter;
    private StorageLun? _lun;
    private ulong _transactionId;
    private bool _completionRequested;

    internal StorageRequest(StorageChannel owner)
    {
        _owner = owner;
        _continuation = OnIOCompleted;
    }

    /// <summary>Takes the packet and runs it; the completion goes out sooner or later, on any thread.</summary>
    internal void Run(in VmBusPacket packet, GpaSpace memory)
    {
        _transactionId = packet.TransactionId;
        _completionRequested = packet.CompletionRequested;
        Array.Clear(_packet);
        packet.Payload[..Math.Min(packet.Payload.Length, _packet.Length)].CopyTo(_packet);
        _extentCount = 0;
        _lun = null;
        var cdbLength = Math.Min((int)_packet[StorvspPacket.CdbLengthOffset], StorvspPacket.CdbSize);
        _scsi.Begin(_packet.AsSpan(StorvspPacket.CdbOffset, cdbLength));
        if (cdbLength == 0 || !TryMapBuffers(in packet, memory))
        {
            _scsi.Refuse(SrbStatus.InvalidRequest);
        }
        else
        {
            Start();
            return;
        }

        Complete();
    }

    private void Start()
    {
        var controller = _owner.Controller;
        if (_packet[StorvspPacket.PathOffset] != 0 || _packet[StorvspPacket.TargetOffset] != 0)
        {
            RunAbsent();
        }
        else if (_scsi.Opcode == ScsiOpcode.ReportLuns)
        {
            controller.ReportLuns(_scsi);
        }
        else if (!controller.TryEnter(_packet[StorvspPacket.LunOffset], out var lun))
        {
            RunAbsent();
        }
        else
        {
            _lun = lun;
            StartOnDisk(lun.Disk);
            return;
        }

        Complete();
    }

    private void StartOnDisk(ScsiDisk disk)
    {
        try
        {
            if (disk.TryStart(_scsi, out var pending))
            {
                _awaiter = pending.ConfigureAwait(false).GetAwaiter();
                if (!_awaiter.IsCompleted)
                {
                    _awaiter.UnsafeOnCompleted(_continuation);
                    return;
                }

                FinishIO();
            }
        }
        catch (Exception e)
        {
            _owner.Controller.OnDiskFailure(e);
            disk.Fail(_scsi);
        }

        Complete();
    }

    private void OnIOCompleted()
    {
        FinishIO();
        Complete();
    }

    private void FinishIO()
    {
        var disk = _lun!.Disk;
        try
        {
            _awaiter.GetResult();
            disk.Finish(_scsi);
        }
        catch (Exception e)
        {
            // Whatever a disk throws, the guest gets its answer: it would wait for ever.
            _owner.Controller.OnDiskFailure(e);
            disk.Fail(_scsi);
        }
        finally
        {
            _awaiter = default;
        }
    }

    // INQUIRY must say that nothing is here; guests take a failed one for a disk that is ill. An empty target has an
    // empty list of units: a refusal would send guests through all of them one by one.
    private void RunAbsent()
    {
        if (_scsi.Opcode == ScsiOpcode.Inquiry)
        {
            ScsiDisk.InquireAbsent(_scsi);
        }
        else if (_scsi.Opcode == ScsiOpcode.ReportLuns)
        {
            Span<byte> none = stackalloc byte[8];
            none.Clear();
            _scsi.Reply(none, none.Length);
        }
        else
        {
            _scsi.Fail(ScsiSense.LogicalUnitNotSupported, SrbStatus.InvalidLun);
        }
    }

    private void Complete()
    {
        if (_packet[StorvspPacket.DirectionOffset] != 0)
        {
            for (var i = 0; i < _extentCount; i++)
            {
                _owner.Channel.Memory.NotifyWritten(_extents[i].Gpa, _extents[i].Length);
            }
        }

        _lun?.Leave();
        _lun = null;
        var status = (byte)_scsi.SrbStatus;
        BinaryPrimitives.WriteUInt32LittleEndian(_packet, (uint)StorvspOperation.CompleteIO);
        BinaryPrimitives.WriteUInt32LittleEndian(_packet.AsSpan(StorvspPacket.StatusOffset), StorvspPacket.StatusSuccess);
        _packet.AsSpan(StorvspPacket.CdbOffset, StorvspPacket.SenseSize).Clear();
        _packet[StorvspPacket.SenseLengthOffset] = 0;
        if (_scsi.Status == ScsiStatus.CheckCondition)
        {
            status |= (byte)SrbStatus.AutosenseValid;
            _packet[StorvspPacket.SenseLengthOffset] = ScsiSense.FixedSize;
            _scsi.Sense.WriteFixed(_packet.AsSpan(StorvspPacket.CdbOffset));
        }

        _packet[StorvspPacket.SrbStatusOffset] = status;
        _packet[StorvspPacket.ScsiStatusOffset] = (byte)_scsi.Status;
        BinaryPrimitives.WriteUInt32LittleEndian(_packet.AsSpan(StorvspPacket.TransferLengthOffset), (uint)_scsi.Transferred);
        if (_completionRequested)
        {
            _owner.Channel.SendCompletion(_transactionId, _packet);
        }

        _owner.Return(this);
    }

    // Neighbouring pages become one buffer; the buffers end where the block's transfer length does.
    private bool TryMapBuffers(in VmBusPacket packet, GpaSpace memory)
    {
        var left = (ulong)BinaryPrimitives.ReadUInt32LittleEndian(_packet.AsSpan(StorvspPacket.TransferLengthOffset));
        if (left > StorageController.AcceptedTransfer)
        {
            return false;
        }

        foreach (var range in packet.Ranges)
        {
            var inRange = Math.Min(left, range.ByteCount);
            var offset = (ulong)range.ByteOffset;
            left -= inRange;
            for (var page = 0; page < range.PageNumbers.Length && inRange > 0;)
            {
                if (range.PageNumbers[page] > ulong.MaxValue / GuestMemory.PageSize - 1)
                {
                    return false;
                }

                var gpa = (range.PageNumbers[page] * GuestMemory.PageSize) + offset;
                var length = GuestMemory.PageSize - offset;
                var first = range.PageNumbers[page++];
                for (var next = first + 1; page < range.PageNumbers.Length && length < inRange && range.PageNumbers[page] == next; next++, page++)
                {
                    length += GuestMemory.PageSize;
                }

                length = Math.Min(length, inRange);
                if (!TryAddExtent(memory, gpa, length))
                {
                    return false;
                }

                inRange -= length;
                offset = 0;
            }

            if (inRange > 0)
            {
                return false;
            }
        }

        return left == 0;
    }

    private bool TryAddExtent(GpaSpace memory, ulong gpa, ulong length)
    {
        if (memory.TryGetMemory(gpa, (int)length, out var buffer))
        {
            _scsi.AddBuffer(buffer);
        }
        else
        {
            // A run of pages may cross from one mapping to the next; each page of it lies in one.
            for (ulong done = 0; done < length;)
            {
                var part = Math.Min(length - done, GuestMemory.PageSize - ((gpa + done) % GuestMemory.PageSize));
                if (!memory.TryGetMemory(gpa + done, (int)part, out buffer))
                {
                    return false;
                }

                _scsi.AddBuffer(buffer);
                done += part;
            }
        }

        if (_extentCount == _extents.Length)
        {
            Array.Resize(ref _extents, _extentCount * 2);
        }

        _extents[_extentCount++] = (gpa, length);
        return true;
    }
}
