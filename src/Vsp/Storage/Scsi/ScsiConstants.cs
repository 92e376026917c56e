namespace Vitro.Vsp.Storage.Scsi;

/// <summary>Operation codes of SCSI commands that disks execute (SPC-4, SBC-3).</summary>
public enum ScsiOpcode : byte
{
    /// <summary>TEST UNIT READY.</summary>
    TestUnitReady = 0x00,

    /// <summary>REQUEST SENSE.</summary>
    RequestSense = 0x03,

    /// <summary>READ (6).</summary>
    Read6 = 0x08,

    /// <summary>WRITE (6).</summary>
    Write6 = 0x0A,

    /// <summary>INQUIRY.</summary>
    Inquiry = 0x12,

    /// <summary>MODE SENSE (6).</summary>
    ModeSense6 = 0x1A,

    /// <summary>START STOP UNIT.</summary>
    StartStopUnit = 0x1B,

    /// <summary>PREVENT ALLOW MEDIUM REMOVAL.</summary>
    PreventAllowMediumRemoval = 0x1E,

    /// <summary>READ CAPACITY (10).</summary>
    ReadCapacity10 = 0x25,

    /// <summary>READ (10).</summary>
    Read10 = 0x28,

    /// <summary>WRITE (10).</summary>
    Write10 = 0x2A,

    /// <summary>VERIFY (10).</summary>
    Verify10 = 0x2F,

    /// <summary>SYNCHRONIZE CACHE (10).</summary>
    SynchronizeCache10 = 0x35,

    /// <summary>WRITE SAME (10).</summary>
    WriteSame10 = 0x41,

    /// <summary>UNMAP.</summary>
    Unmap = 0x42,

    /// <summary>MODE SENSE (10).</summary>
    ModeSense10 = 0x5A,

    /// <summary>READ (16).</summary>
    Read16 = 0x88,

    /// <summary>WRITE (16).</summary>
    Write16 = 0x8A,

    /// <summary>VERIFY (16).</summary>
    Verify16 = 0x8F,

    /// <summary>SYNCHRONIZE CACHE (16).</summary>
    SynchronizeCache16 = 0x91,

    /// <summary>WRITE SAME (16).</summary>
    WriteSame16 = 0x93,

    /// <summary>SERVICE ACTION IN (16): READ CAPACITY (16) is action 0x10.</summary>
    ServiceActionIn16 = 0x9E,

    /// <summary>REPORT LUNS.</summary>
    ReportLuns = 0xA0,

    /// <summary>READ (12).</summary>
    Read12 = 0xA8,

    /// <summary>WRITE (12).</summary>
    Write12 = 0xAA,

    /// <summary>VERIFY (12).</summary>
    Verify12 = 0xAF,
}

/// <summary>SCSI status codes (SAM-5).</summary>
public enum ScsiStatus : byte
{
    /// <summary>Done.</summary>
    Good = 0,

    /// <summary>Failed; sense data says how.</summary>
    CheckCondition = 2,
}

/// <summary>What went wrong: sense key, additional code and qualifier (SPC-4).</summary>
/// <param name="Key">Sense key.</param>
/// <param name="Code">Additional sense code.</param>
/// <param name="Qualifier">Additional sense code qualifier.</param>
public readonly record struct ScsiSense(byte Key, byte Code, byte Qualifier)
{
    /// <summary>Bytes of fixed-format sense data.</summary>
    public const int FixedSize = 18;

    /// <summary>Nothing.</summary>
    public static readonly ScsiSense None;

    /// <summary>The medium cannot be read.</summary>
    public static readonly ScsiSense UnrecoveredReadError = new(0x3, 0x11, 0x00);

    /// <summary>The medium cannot be written.</summary>
    public static readonly ScsiSense WriteError = new(0x3, 0x0C, 0x00);

    /// <summary>No such operation code.</summary>
    public static readonly ScsiSense InvalidOperationCode = new(0x5, 0x20, 0x00);

    /// <summary>Logical block address out of range.</summary>
    public static readonly ScsiSense AddressOutOfRange = new(0x5, 0x21, 0x00);

    /// <summary>Invalid field in the CDB.</summary>
    public static readonly ScsiSense InvalidFieldInCdb = new(0x5, 0x24, 0x00);

    /// <summary>Logical unit not supported.</summary>
    public static readonly ScsiSense LogicalUnitNotSupported = new(0x5, 0x25, 0x00);

    /// <summary>Invalid field in the parameter list.</summary>
    public static readonly ScsiSense InvalidFieldInParameters = new(0x5, 0x26, 0x00);

    /// <summary>Saving parameters is not supported.</summary>
    public static readonly ScsiSense SavingNotSupported = new(0x5, 0x39, 0x00);

    /// <summary>Unit attention: the capacity has changed.</summary>
    public static readonly ScsiSense CapacityChanged = new(0x6, 0x2A, 0x09);

    /// <summary>The medium is write protected.</summary>
    public static readonly ScsiSense WriteProtected = new(0x7, 0x27, 0x00);

    /// <summary>Writes fixed-format sense data; <paramref name="destination"/> takes <see cref="FixedSize"/> bytes.</summary>
    public void WriteFixed(Span<byte> destination)
    {
        destination[..FixedSize].Clear();
        destination[0] = 0x70;
        destination[2] = Key;
        destination[7] = FixedSize - 8;
        destination[12] = Code;
        destination[13] = Qualifier;
    }
}
