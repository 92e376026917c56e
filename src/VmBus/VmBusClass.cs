namespace Vitro.VmBus;

/// <summary>Interface type identifiers of the services guests have drivers for.</summary>
public static class VmBusClass
{
    /// <summary>Synthetic network adapter.</summary>
    public static readonly Guid Network = new("f8615163-df3e-46c5-913f-f2d2f965ed0e");

    /// <summary>Synthetic SCSI controller.</summary>
    public static readonly Guid Scsi = new("ba6163d9-04a1-4d29-b605-72e2ffb1dc7f");

    /// <summary>Synthetic path to the disks of the emulated IDE controller.</summary>
    public static readonly Guid Ide = new("32412632-86cb-44a2-9b5c-50d1417354f5");

    /// <summary>Synthetic keyboard.</summary>
    public static readonly Guid Keyboard = new("f912ad6d-2b17-48ea-bd65-f927a61c7684");

    /// <summary>Synthetic pointer.</summary>
    public static readonly Guid Mouse = new("cfa8b69e-5b4a-4cc0-b98b-8ba1a1f3f95a");

    /// <summary>Synthetic video.</summary>
    public static readonly Guid Video = new("da0a7802-e377-4aac-8e77-0558eb1073f8");

    /// <summary>Guest shutdown.</summary>
    public static readonly Guid Shutdown = new("0e0b6031-5213-4934-818b-38d90ced39db");

    /// <summary>Time synchronisation.</summary>
    public static readonly Guid TimeSync = new("9527e630-d0ae-497b-adce-e80ab0175caf");

    /// <summary>Heartbeat.</summary>
    public static readonly Guid Heartbeat = new("57164f39-9115-4e78-ab55-382f3bd5422d");

    /// <summary>Key-value pair exchange.</summary>
    public static readonly Guid KeyValuePair = new("a9a0f4e7-5a45-4d96-b827-8a841e8c03e6");

    /// <summary>Volume shadow copy (backup).</summary>
    public static readonly Guid Vss = new("35fa2e29-ea23-4236-96ae-3a6ebacba440");

    /// <summary>Copying files from the host into the guest.</summary>
    public static readonly Guid FileCopy = new("34d14be3-dee4-41c8-9ae7-6b174977c192");

    /// <summary>Dynamic memory.</summary>
    public static readonly Guid DynamicMemory = new("525074dc-8985-46e2-8057-a307dc18a502");
}
