using System.Buffers.Binary;
using System.Globalization;
using System.Numerics;
using System.Text;

namespace Vitro.Vsp.Storage.Scsi;

/// <content>What the disk is: INQUIRY with its vital product data, capacity and mode pages.</content>
public sealed partial class ScsiDisk
{
    private const byte CachingPage = 0x08;
    private const byte ControlPage = 0x0A;
    private const byte AllPages = 0x3F;

    private static ReadOnlySpan<byte> VpdPages => [0x00, 0x80, 0x83, 0xB0, 0xB1, 0xB2];

    /// <summary>Writes the INQUIRY answer of a logical unit that does not exist: nothing here, and nothing can be.</summary>
    internal static void InquireAbsent(ScsiRequest request)
    {
        Span<byte> data = stackalloc byte[36];
        data.Clear();
        data[0] = 0x7F;
        data[2] = 0x06;
        data[3] = 0x02;
        data[4] = (byte)(data.Length - 5);
        request.Reply(data, BinaryPrimitives.ReadUInt16BigEndian(request.Cdb[3..]));
    }

    private void Inquiry(ScsiRequest request)
    {
        var cdb = request.Cdb;
        var allocationLength = BinaryPrimitives.ReadUInt16BigEndian(cdb[3..]);
        Span<byte> data = stackalloc byte[128];
        data.Clear();
        int length;
        if ((cdb[1] & 0x01) != 0)
        {
            length = WriteVpd(cdb[2], data);
            if (length == 0)
            {
                request.Fail(ScsiSense.InvalidFieldInCdb);
                return;
            }
        }
        else if (cdb[2] != 0)
        {
            request.Fail(ScsiSense.InvalidFieldInCdb);
            return;
        }
        else
        {
            length = WriteStandardInquiry(data);
        }

        request.Reply(data[..length], allocationLength);
    }

    private static int WriteStandardInquiry(Span<byte> data)
    {
        const int Length = 74;
        data[2] = 0x06;
        data[3] = 0x12;
        data[4] = Length - 5;
        data[7] = 0x02;

        // These names switch on what Linux knows of this kind of disk (storvsc_drv.c, storvsc_device_configure).
        "Msft    Virtual Disk    1.0 "u8.CopyTo(data[8..]);

        // Version descriptors: SAM-5, SPC-4, SBC-3.
        BinaryPrimitives.WriteUInt16BigEndian(data[58..], 0x00A0);
        BinaryPrimitives.WriteUInt16BigEndian(data[60..], 0x0460);
        BinaryPrimitives.WriteUInt16BigEndian(data[62..], 0x04C0);
        return Length;
    }

    private int WriteVpd(byte page, Span<byte> data)
    {
        data[1] = page;
        var length = page switch
        {
            0x00 => WriteSupportedPages(data),
            0x80 => WriteSerialNumber(data),
            0x83 => WriteIdentification(data),
            0xB0 => WriteBlockLimits(data),
            0xB1 => WriteCharacteristics(data),
            0xB2 => WriteProvisioning(data),
            _ => 0,
        };
        if (length > 0)
        {
            BinaryPrimitives.WriteUInt16BigEndian(data[2..], (ushort)(length - 4));
        }

        return length;
    }

    private static int WriteSupportedPages(Span<byte> data)
    {
        VpdPages.CopyTo(data[4..]);
        return 4 + VpdPages.Length;
    }

    private int WriteSerialNumber(Span<byte> data)
    {
        _device.Identity.TryFormat(data[4..], out var written, "N");
        return 4 + written;
    }

    // One NAA 6 designator (company id 00-22-48 and 12 bytes of identity) and one in T10 form.
    private int WriteIdentification(Span<byte> data)
    {
        Span<byte> identity = stackalloc byte[16];
        _device.Identity.TryWriteBytes(identity, bigEndian: true, out _);
        var naa = data[4..];
        naa[0] = 0x01;
        naa[1] = 0x03;
        naa[3] = 16;
        naa[4] = 0x60;
        naa[5] = 0x02;
        naa[6] = 0x24;
        naa[7] = (byte)(0x80 | (identity[0] >> 4));
        identity[4..].CopyTo(naa[8..]);
        var t10 = data[24..];
        t10[0] = 0x02;
        t10[1] = 0x01;
        t10[3] = 40;
        "Msft    "u8.CopyTo(t10[4..]);
        Encoding.ASCII.GetBytes(_device.Identity.ToString("N", CultureInfo.InvariantCulture), t10[12..]);
        return 24 + 44;
    }

    private int WriteBlockLimits(Span<byte> data)
    {
        BinaryPrimitives.WriteUInt16BigEndian(data[6..], (ushort)Math.Max(1, _device.PhysicalSectorSize / _sectorSize));
        BinaryPrimitives.WriteUInt32BigEndian(data[8..], (uint)(StorageController.MaximumTransfer / _sectorSize));
        if (_device.SupportsTrim)
        {
            BinaryPrimitives.WriteUInt32BigEndian(data[20..], MaximumUnmapSectors);
            BinaryPrimitives.WriteUInt32BigEndian(data[24..], MaximumUnmapDescriptors);
            BinaryPrimitives.WriteUInt32BigEndian(data[28..], (uint)Math.Max(1, _device.PhysicalSectorSize / _sectorSize));
        }

        BinaryPrimitives.WriteUInt64BigEndian(data[36..], MaximumWriteSameSectors);
        return 64;
    }

    private static int WriteCharacteristics(Span<byte> data)
    {
        // Non-rotating: guests need not sort requests.
        BinaryPrimitives.WriteUInt16BigEndian(data[4..], 1);
        return 64;
    }

    private int WriteProvisioning(Span<byte> data)
    {
        if (_device.SupportsTrim)
        {
            data[5] = 0xE0;
            data[6] = 0x02;
        }

        return 8;
    }

    private void ReadCapacity10(ScsiRequest request)
    {
        Span<byte> data = stackalloc byte[8];
        BinaryPrimitives.WriteUInt32BigEndian(data, (uint)Math.Min(uint.MaxValue, (ulong)SectorCount - 1));
        BinaryPrimitives.WriteUInt32BigEndian(data[4..], (uint)_sectorSize);
        request.Reply(data, data.Length);
    }

    private void ReadCapacity16(ScsiRequest request)
    {
        Span<byte> data = stackalloc byte[32];
        data.Clear();
        BinaryPrimitives.WriteUInt64BigEndian(data, (ulong)SectorCount - 1);
        BinaryPrimitives.WriteUInt32BigEndian(data[8..], (uint)_sectorSize);
        data[13] = (byte)BitOperations.Log2((uint)Math.Max(1, _device.PhysicalSectorSize / _sectorSize));
        data[14] = (byte)(_device.SupportsTrim ? 0x80 : 0);
        request.Reply(data, (int)Math.Min(int.MaxValue, BinaryPrimitives.ReadUInt32BigEndian(request.Cdb[10..])));
    }

    private void ModeSense(ScsiRequest request)
    {
        var cdb = request.Cdb;
        var isLong = request.Opcode == ScsiOpcode.ModeSense10;
        var page = (byte)(cdb[2] & 0x3F);
        var control = cdb[2] >> 6;
        if (control == 3)
        {
            request.Fail(ScsiSense.SavingNotSupported);
            return;
        }

        if (page is not (CachingPage or ControlPage or AllPages))
        {
            request.Fail(ScsiSense.InvalidFieldInCdb);
            return;
        }

        Span<byte> data = stackalloc byte[64];
        data.Clear();
        var length = isLong ? 8 : 4;
        data[isLong ? 3 : 2] = (byte)((_device.IsReadOnly ? 0x80 : 0) | 0x10);
        if (page is CachingPage or AllPages)
        {
            data[length] = CachingPage;
            data[length + 1] = 0x12;

            // The host caches writes. Nothing here can be changed, so the mask of changeable fields is zero.
            data[length + 2] = (byte)(control == 1 ? 0 : 0x04);
            length += 20;
        }

        if (page is ControlPage or AllPages)
        {
            data[length] = ControlPage;
            data[length + 1] = 0x0A;
            length += 12;
        }

        if (isLong)
        {
            BinaryPrimitives.WriteUInt16BigEndian(data, (ushort)(length - 2));
            request.Reply(data[..length], BinaryPrimitives.ReadUInt16BigEndian(cdb[7..]));
        }
        else
        {
            data[0] = (byte)(length - 1);
            request.Reply(data[..length], cdb[4]);
        }
    }
}
