using System.Buffers.Binary;

namespace Vitro.Vsp.Storage.Scsi;

/// <content>UNMAP and WRITE SAME. Rare, so they may allocate.</content>
public sealed partial class ScsiDisk
{
    private const int MaximumUnmapDescriptors = 256;
    private const int MaximumUnmapSectors = 1 << 22;
    private const int MaximumWriteSameSectors = 1 << 22;
    private const int PatternChunk = 64 << 10;

    private bool StartUnmap(ScsiRequest request, out ValueTask pending)
    {
        pending = default;
        var parameterLength = BinaryPrimitives.ReadUInt16BigEndian(request.Cdb[7..]);
        if (parameterLength == 0)
        {
            request.Succeed();
            return false;
        }

        if (!_device.SupportsTrim)
        {
            request.Fail(ScsiSense.InvalidOperationCode);
            return false;
        }

        if (IsWriteProtected(request))
        {
            return false;
        }

        var parameters = new byte[parameterLength];
        if (parameterLength < 8 || !request.TryCopyOut(parameters))
        {
            request.Fail(ScsiSense.InvalidFieldInCdb);
            return false;
        }

        var length = BinaryPrimitives.ReadUInt16BigEndian(parameters.AsSpan(2));
        var count = Math.Min(length, parameterLength - 8) / 16;
        if (count > MaximumUnmapDescriptors)
        {
            request.Fail(ScsiSense.InvalidFieldInParameters);
            return false;
        }

        for (var i = 0; i < count; i++)
        {
            var (address, sectors) = UnmapDescriptor(parameters, i);
            if (sectors > MaximumUnmapSectors)
            {
                request.Fail(ScsiSense.InvalidFieldInParameters);
                return false;
            }

            if (!IsInRange(address, sectors))
            {
                request.Fail(ScsiSense.AddressOutOfRange);
                return false;
            }
        }

        pending = UnmapAsync(parameters, count);
        return true;
    }

    private async ValueTask UnmapAsync(byte[] parameters, int count)
    {
        for (var i = 0; i < count; i++)
        {
            var (address, sectors) = UnmapDescriptor(parameters, i);
            if (sectors > 0)
            {
                await _device.TrimAsync((long)address * _sectorSize, (long)sectors * _sectorSize);
            }
        }
    }

    private static (ulong Address, uint Sectors) UnmapDescriptor(byte[] parameters, int index)
    {
        var descriptor = parameters.AsSpan(8 + (index * 16));
        return (BinaryPrimitives.ReadUInt64BigEndian(descriptor), BinaryPrimitives.ReadUInt32BigEndian(descriptor[8..]));
    }

    private bool StartWriteSame(ScsiRequest request, out ValueTask pending)
    {
        pending = default;
        Decode(request.Cdb, out var address, out var count);
        var noDataOut = request.Opcode == ScsiOpcode.WriteSame16 && (request.Cdb[1] & 0x01) != 0;
        if (count is 0 or > MaximumWriteSameSectors)
        {
            request.Fail(ScsiSense.InvalidFieldInCdb);
            return false;
        }

        if (!IsInRange(address, count))
        {
            request.Fail(ScsiSense.AddressOutOfRange);
            return false;
        }

        if (IsWriteProtected(request))
        {
            return false;
        }

        var pattern = new byte[_sectorSize];
        if (!noDataOut && !request.TryCopyOut(pattern))
        {
            request.Refuse(SrbStatus.DataOverrun);
            return false;
        }

        Interlocked.Increment(ref _writes);
        var offset = (long)address * _sectorSize;
        var length = (long)count * _sectorSize;
        pending = pattern.AsSpan().ContainsAnyExcept((byte)0)
            ? WritePatternAsync(offset, length, pattern)
            : _device.ZeroAsync(offset, length);
        return true;
    }

    private async ValueTask WritePatternAsync(long offset, long length, byte[] pattern)
    {
        var chunk = new byte[Math.Min(length, PatternChunk)];
        for (var at = 0; at < chunk.Length; at += pattern.Length)
        {
            pattern.CopyTo(chunk, at);
        }

        var buffers = new Memory<byte>[1];
        while (length > 0)
        {
            buffers[0] = chunk.AsMemory(0, (int)Math.Min(length, chunk.Length));
            await _device.WriteAsync(offset, buffers);
            offset += buffers[0].Length;
            length -= buffers[0].Length;
        }
    }
}
