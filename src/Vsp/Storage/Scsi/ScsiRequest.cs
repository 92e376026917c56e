namespace Vitro.Vsp.Storage.Scsi;

/// <summary>One SCSI command on its way through a disk: CDB and data buffers in, status, sense and length out.</summary>
/// <remarks>Used again and again: <see cref="Begin"/> starts the next command. One thread at a time.</remarks>
public sealed class ScsiRequest
{
    private readonly byte[] _cdb = new byte[StorvspPacket.CdbSize];
    private Memory<byte>[] _buffers = new Memory<byte>[32];
    private int _count;

    /// <summary>The command, zero behind its length.</summary>
    public ReadOnlySpan<byte> Cdb => _cdb;

    /// <summary>Operation code.</summary>
    public ScsiOpcode Opcode => (ScsiOpcode)_cdb[0];

    /// <summary>Bytes the buffers hold.</summary>
    public int BufferLength { get; private set; }

    /// <summary>The data buffers in order.</summary>
    public ReadOnlyMemory<Memory<byte>> Buffers => _buffers.AsMemory(0, _count);

    /// <summary>How the command ended.</summary>
    public ScsiStatus Status { get; private set; }

    /// <summary>SRB status without the autosense flag.</summary>
    public SrbStatus SrbStatus { get; private set; }

    /// <summary>What went wrong.</summary>
    public ScsiSense Sense { get; private set; }

    /// <summary>Bytes transferred.</summary>
    public int Transferred { get; private set; }

    /// <summary>Starts a command without buffers.</summary>
    public void Begin(ReadOnlySpan<byte> cdb)
    {
        Array.Clear(_cdb);
        cdb[..Math.Min(cdb.Length, _cdb.Length)].CopyTo(_cdb);
        _count = 0;
        BufferLength = 0;
        Transferred = 0;
        Status = ScsiStatus.Good;
        SrbStatus = SrbStatus.Pending;
        Sense = ScsiSense.None;
    }

    /// <summary>Adds a buffer behind the others.</summary>
    public void AddBuffer(Memory<byte> buffer)
    {
        if (_count == _buffers.Length)
        {
            Array.Resize(ref _buffers, _count * 2);
        }

        _buffers[_count++] = buffer;
        BufferLength += buffer.Length;
    }

    /// <summary>Cuts the buffers to a length they have.</summary>
    public void TrimBuffers(int length)
    {
        while (BufferLength > length)
        {
            ref var last = ref _buffers[_count - 1];
            var excess = BufferLength - length;
            if (excess >= last.Length)
            {
                BufferLength -= last.Length;
                _count--;
            }
            else
            {
                last = last[..^excess];
                BufferLength = length;
            }
        }
    }

    /// <summary>Ends well.</summary>
    public void Succeed(int transferred = 0)
    {
        SrbStatus = SrbStatus.Success;
        Transferred = transferred;
    }

    /// <summary>Ends with sense data.</summary>
    public void Fail(ScsiSense sense, SrbStatus status = SrbStatus.Error)
    {
        SrbStatus = status;
        Status = ScsiStatus.CheckCondition;
        Sense = sense;
        Transferred = 0;
    }

    /// <summary>Ends before the disk: a malformed or oversized request.</summary>
    public void Refuse(SrbStatus status)
    {
        SrbStatus = status;
        Transferred = 0;
    }

    /// <summary>Ends well with data for the guest, cut to the command's allocation length and the buffers.</summary>
    public void Reply(ReadOnlySpan<byte> data, int allocationLength)
    {
        data = data[..Math.Min(data.Length, Math.Min(allocationLength, BufferLength))];
        Succeed(data.Length);
        for (var i = 0; i < _count && !data.IsEmpty; i++)
        {
            var part = data[..Math.Min(data.Length, _buffers[i].Length)];
            part.CopyTo(_buffers[i].Span);
            data = data[part.Length..];
        }
    }

    /// <summary>Copies the first bytes of the buffers; false when they hold fewer.</summary>
    public bool TryCopyOut(Span<byte> destination)
    {
        if (destination.Length > BufferLength)
        {
            return false;
        }

        for (var i = 0; !destination.IsEmpty; i++)
        {
            var part = Math.Min(destination.Length, _buffers[i].Length);
            _buffers[i].Span[..part].CopyTo(destination);
            destination = destination[part..];
        }

        return true;
    }
}
