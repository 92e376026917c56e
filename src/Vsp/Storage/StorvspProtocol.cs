using System.Buffers.Binary;

namespace Vitro.Vsp.Storage;

/// <summary>Operations of storage packets (drivers/scsi/storvsc_drv.c, enum vstor_packet_operation).</summary>
public enum StorvspOperation : uint
{
    /// <summary>Host: answer to a request.</summary>
    CompleteIO = 1,

    /// <summary>Host: the controller goes away.</summary>
    RemoveDevice = 2,

    /// <summary>Guest: execute a SCSI request block.</summary>
    ExecuteSrb = 3,

    /// <summary>Guest: reset a logical unit.</summary>
    ResetLun = 4,

    /// <summary>Guest: reset the adapter.</summary>
    ResetAdapter = 5,

    /// <summary>Guest: reset the bus.</summary>
    ResetBus = 6,

    /// <summary>Guest: first step of initialisation.</summary>
    BeginInitialization = 7,

    /// <summary>Guest: last step of initialisation.</summary>
    EndInitialization = 8,

    /// <summary>Guest: is this version spoken.</summary>
    QueryProtocolVersion = 9,

    /// <summary>Guest: what can the controller do.</summary>
    QueryProperties = 10,

    /// <summary>Host: disks have come or gone, scan again.</summary>
    EnumerateBus = 11,

    /// <summary>Guest: data of a Fibre Channel adapter.</summary>
    FibreChannelHbaData = 12,

    /// <summary>Guest: offer me sub-channels.</summary>
    CreateSubChannels = 13,
}

/// <summary>SRB status values; the upper bit says that sense data is valid.</summary>
public enum SrbStatus : byte
{
    /// <summary>Still running.</summary>
    Pending = 0,

    /// <summary>Done.</summary>
    Success = 1,

    /// <summary>Failed; see SCSI status.</summary>
    Error = 4,

    /// <summary>The block is malformed.</summary>
    InvalidRequest = 6,

    /// <summary>More data than the buffer holds.</summary>
    DataOverrun = 0x12,

    /// <summary>No such logical unit.</summary>
    InvalidLun = 0x20,

    /// <summary>Flag: sense data is valid.</summary>
    AutosenseValid = 0x80,
}

/// <summary>Layout of the 64-byte storage packet and the SCSI request block in it.</summary>
public static class StorvspPacket
{
    /// <summary>Bytes of every packet to the guest.</summary>
    public const int Size = 64;

    /// <summary>Fewest bytes of a packet from the guest: older protocols end before the block's extension.</summary>
    public const int MinimumSize = 48;

    /// <summary>Operation, u32.</summary>
    public const int OperationOffset = 0;

    /// <summary>Flags, u32; bit 0: a completion is wanted.</summary>
    public const int FlagsOffset = 4;

    /// <summary>NTSTATUS, u32.</summary>
    public const int StatusOffset = 8;

    /// <summary>Start of the operation's own data; of the SCSI request block with its length, u16.</summary>
    public const int PayloadOffset = 12;

    /// <summary>SRB status, u8.</summary>
    public const int SrbStatusOffset = 14;

    /// <summary>SCSI status, u8.</summary>
    public const int ScsiStatusOffset = 15;

    /// <summary>Path (bus), u8.</summary>
    public const int PathOffset = 17;

    /// <summary>Target, u8.</summary>
    public const int TargetOffset = 18;

    /// <summary>Logical unit, u8.</summary>
    public const int LunOffset = 19;

    /// <summary>Bytes of the CDB, u8.</summary>
    public const int CdbLengthOffset = 20;

    /// <summary>Bytes of sense data, u8.</summary>
    public const int SenseLengthOffset = 21;

    /// <summary>Direction of data, u8: 0 to the disk, 1 from the disk, 2 none.</summary>
    public const int DirectionOffset = 22;

    /// <summary>Bytes to transfer, and transferred, u32.</summary>
    public const int TransferLengthOffset = 24;

    /// <summary>CDB, 16 bytes; in answers sense data, 20 bytes.</summary>
    public const int CdbOffset = 28;

    /// <summary>Bytes of the CDB field.</summary>
    public const int CdbSize = 16;

    /// <summary>Bytes of the sense field.</summary>
    public const int SenseSize = 20;

    /// <summary>Properties: channels beside the primary one, u16.</summary>
    public const int MaximumChannelsOffset = 16;

    /// <summary>Properties: flags, u32; bit 0: several channels.</summary>
    public const int PropertyFlagsOffset = 20;

    /// <summary>Properties: largest transfer in bytes, u32.</summary>
    public const int MaximumTransferOffset = 24;

    /// <summary>NTSTATUS of success.</summary>
    public const uint StatusSuccess = 0;

    /// <summary>STATUS_REVISION_MISMATCH.</summary>
    public const uint StatusRevisionMismatch = 0xC000_0059;

    /// <summary>STATUS_INVALID_DEVICE_STATE.</summary>
    public const uint StatusInvalidDeviceState = 0xC000_0184;

    /// <summary>STATUS_INVALID_PARAMETER.</summary>
    public const uint StatusInvalidParameter = 0xC000_000D;

    /// <summary>Reads the operation.</summary>
    public static StorvspOperation Operation(ReadOnlySpan<byte> packet) =>
        (StorvspOperation)BinaryPrimitives.ReadUInt32LittleEndian(packet[OperationOffset..]);

    /// <summary>Whether this host speaks a storage protocol version.</summary>
    public static bool IsSupportedVersion(ushort version) => version is 0x0602 or 0x0600 or 0x0501;
}
