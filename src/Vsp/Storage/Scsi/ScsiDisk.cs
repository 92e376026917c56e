using System.Buffers.Binary;
using Vitro.Foundation;
using Vitro.Storage;

namespace Vitro.Vsp.Storage.Scsi;

/// <summary>
/// A SCSI direct-access device over a block device: the commands that Linux and Windows send to disks (SPC-4, SBC-3).
/// </summary>
/// <remarks>
/// Thread-safe. A command either ends at once or leaves a block request to wait for; then <see cref="Finish"/> ends it.
/// Reads and writes allocate nothing. The write cache is the host's page cache: SYNCHRONIZE CACHE and FUA make data durable.
/// </remarks>
public sealed partial class ScsiDisk : IInspectable
{
    private readonly IBlockDevice _device;
    private readonly int _sectorSize;
    private long _reads;
    private long _writes;
    private long _flushes;
    private long _failures;
    private volatile bool _capacityChanged;

    /// <summary>Creates the device.</summary>
    public ScsiDisk(IBlockDevice device)
    {
        _device = device;
        _sectorSize = device.LogicalSectorSize;
    }

    /// <summary>The block device behind it.</summary>
    public IBlockDevice Device => _device;

    private long SectorCount => _device.Length / _sectorSize;

    /// <summary>Makes the next command say that the capacity has changed.</summary>
    public void NotifyCapacityChanged() => _capacityChanged = true;

    /// <summary>
    /// Starts a command. True when <paramref name="pending"/> is to be waited for and <see cref="Finish"/> or
    /// <see cref="Fail"/> called then; false when the request has its result.
    /// </summary>
    public bool TryStart(ScsiRequest request, out ValueTask pending)
    {
        pending = default;
        if (_capacityChanged && request.Opcode is not (ScsiOpcode.Inquiry or ScsiOpcode.ReportLuns or ScsiOpcode.RequestSense))
        {
            _capacityChanged = false;
            request.Fail(ScsiSense.CapacityChanged);
            return false;
        }

        var cdb = request.Cdb;
        switch (request.Opcode)
        {
            case ScsiOpcode.Read6:
            case ScsiOpcode.Read10:
            case ScsiOpcode.Read12:
            case ScsiOpcode.Read16:
                return StartRead(request, out pending);
            case ScsiOpcode.Write6:
            case ScsiOpcode.Write10:
            case ScsiOpcode.Write12:
            case ScsiOpcode.Write16:
                return StartWrite(request, out pending);
            case ScsiOpcode.SynchronizeCache10:
            case ScsiOpcode.SynchronizeCache16:
                Interlocked.Increment(ref _flushes);
                pending = _device.FlushAsync();
                return true;
            case ScsiOpcode.Unmap:
                return StartUnmap(request, out pending);
            case ScsiOpcode.WriteSame10:
            case ScsiOpcode.WriteSame16:
                return StartWriteSame(request, out pending);
            case ScsiOpcode.Verify10:
            case ScsiOpcode.Verify12:
            case ScsiOpcode.Verify16:
                Verify(request);
                return false;
            case ScsiOpcode.TestUnitReady:
            case ScsiOpcode.StartStopUnit:
            case ScsiOpcode.PreventAllowMediumRemoval:
                request.Succeed();
                return false;
            case ScsiOpcode.Inquiry:
                Inquiry(request);
                return false;
            case ScsiOpcode.RequestSense:
                Span<byte> sense = stackalloc byte[ScsiSense.FixedSize];
                ScsiSense.None.WriteFixed(sense);
                request.Reply(sense, cdb[4]);
                return false;
            case ScsiOpcode.ModeSense6:
            case ScsiOpcode.ModeSense10:
                ModeSense(request);
                return false;
            case ScsiOpcode.ReadCapacity10:
                ReadCapacity10(request);
                return false;
            case ScsiOpcode.ServiceActionIn16 when (cdb[1] & 0x1F) == 0x10:
                ReadCapacity16(request);
                return false;
            default:
                request.Fail(ScsiSense.InvalidOperationCode);
                return false;
        }
    }

    /// <summary>Ends a command whose block request has completed.</summary>
    public void Finish(ScsiRequest request)
    {
        // Commands that found an error in their parameters on the way have their result.
        if (request.SrbStatus == SrbStatus.Pending)
        {
            request.Succeed(TransfersData(request.Opcode) ? request.BufferLength : 0);
        }
    }

    /// <summary>Ends a command whose block request has failed.</summary>
    public void Fail(ScsiRequest request)
    {
        Interlocked.Increment(ref _failures);
        request.Fail(IsRead(request.Opcode) ? ScsiSense.UnrecoveredReadError : ScsiSense.WriteError);
    }

    /// <inheritdoc/>
    public void Inspect(InspectNode node) => node
        .Value("bytes", _device.Length)
        .Value("sectorSize", _sectorSize)
        .Value("readOnly", _device.IsReadOnly)
        .Value("identity", _device.Identity.ToString())
        .Value("reads", Interlocked.Read(ref _reads))
        .Value("writes", Interlocked.Read(ref _writes))
        .Value("flushes", Interlocked.Read(ref _flushes))
        .Value("failures", Interlocked.Read(ref _failures));

    private static bool IsRead(ScsiOpcode opcode) =>
        opcode is ScsiOpcode.Read6 or ScsiOpcode.Read10 or ScsiOpcode.Read12 or ScsiOpcode.Read16;

    private static bool TransfersData(ScsiOpcode opcode) => IsRead(opcode)
        || opcode is ScsiOpcode.Write6 or ScsiOpcode.Write10 or ScsiOpcode.Write12 or ScsiOpcode.Write16
            or ScsiOpcode.WriteSame10 or ScsiOpcode.WriteSame16 or ScsiOpcode.Unmap;

    private bool StartRead(ScsiRequest request, out ValueTask pending)
    {
        pending = default;
        if (!TryGetExtent(request, out var offset, out _))
        {
            return false;
        }

        Interlocked.Increment(ref _reads);
        if (request.BufferLength == 0)
        {
            request.Succeed();
            return false;
        }

        pending = _device.ReadAsync(offset, request.Buffers);
        return true;
    }

    private bool StartWrite(ScsiRequest request, out ValueTask pending)
    {
        pending = default;
        if (!TryGetExtent(request, out var offset, out var forceUnitAccess) || IsWriteProtected(request))
        {
            return false;
        }

        Interlocked.Increment(ref _writes);
        if (request.BufferLength == 0)
        {
            request.Succeed();
            return false;
        }

        pending = _device.WriteAsync(offset, request.Buffers, forceUnitAccess);
        return true;
    }

    private bool IsWriteProtected(ScsiRequest request)
    {
        if (!_device.IsReadOnly)
        {
            return false;
        }

        request.Fail(ScsiSense.WriteProtected);
        return true;
    }

    // Decodes address and length, checks both, and cuts the buffers to the length.
    private bool TryGetExtent(ScsiRequest request, out long offset, out bool forceUnitAccess)
    {
        Decode(request.Cdb, out var address, out var count);
        forceUnitAccess = request.Cdb[0] >= 0x20 && (request.Cdb[1] & 0x08) != 0;
        offset = 0;
        if (!IsInRange(address, count))
        {
            request.Fail(ScsiSense.AddressOutOfRange);
            return false;
        }

        if ((long)count * _sectorSize > request.BufferLength)
        {
            request.Refuse(SrbStatus.DataOverrun);
            return false;
        }

        request.TrimBuffers((int)count * _sectorSize);
        offset = (long)address * _sectorSize;
        return true;
    }

    private bool IsInRange(ulong address, uint count) =>
        address <= (ulong)SectorCount && count <= (ulong)SectorCount - address;

    // The group code in the upper three bits of the operation code gives the length of a CDB (SPC-4, 4.2.5.1).
    private static void Decode(ReadOnlySpan<byte> cdb, out ulong address, out uint count)
    {
        switch (cdb[0] >> 5)
        {
            case 0:
                address = ((uint)(cdb[1] & 0x1F) << 16) | ((uint)cdb[2] << 8) | cdb[3];
                count = cdb[4] == 0 ? 256u : cdb[4];
                break;
            case 4:
                address = BinaryPrimitives.ReadUInt64BigEndian(cdb[2..]);
                count = BinaryPrimitives.ReadUInt32BigEndian(cdb[10..]);
                break;
            case 5:
                address = BinaryPrimitives.ReadUInt32BigEndian(cdb[2..]);
                count = BinaryPrimitives.ReadUInt32BigEndian(cdb[6..]);
                break;
            default:
                address = BinaryPrimitives.ReadUInt32BigEndian(cdb[2..]);
                count = BinaryPrimitives.ReadUInt16BigEndian(cdb[7..]);
                break;
        }
    }

    private void Verify(ScsiRequest request)
    {
        Decode(request.Cdb, out var address, out var count);
        if ((request.Cdb[1] & 0x06) != 0)
        {
            // Comparing with data of the guest: no guest driver asks for it.
            request.Fail(ScsiSense.InvalidFieldInCdb);
        }
        else if (!IsInRange(address, count))
        {
            request.Fail(ScsiSense.AddressOutOfRange);
        }
        else
        {
            request.Succeed();
        }
    }
}
