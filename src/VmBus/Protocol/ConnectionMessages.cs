using System.Runtime.InteropServices;

namespace Vitro.VmBus.Protocol;

/// <summary>INITIATE_CONTACT, 40 bytes with the header: the guest names the version it wants to speak.</summary>
/// <param name="Version">Wanted version.</param>
/// <param name="TargetVp">Processor that takes the host's messages.</param>
/// <param name="InterruptPageOrTarget">
/// Below 5.0 the GPA of the interrupt page; from 5.0 the SINT in bits 7:0, VTL in 15:8 and feature flags in 63:32.
/// </param>
/// <param name="MonitorPage1">GPA of the host-to-guest monitor page; not used by this host.</param>
/// <param name="MonitorPage2">GPA of the guest-to-host monitor page; not used by this host.</param>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
public readonly record struct InitiateContact(
    VmBusVersion Version, uint TargetVp, ulong InterruptPageOrTarget, ulong MonitorPage1, ulong MonitorPage2) : IChannelMessageBody
{
    /// <inheritdoc/>
    public static ChannelMessageType Type => ChannelMessageType.InitiateContact;

    /// <summary>The SINT that takes the host's messages, from version 5.0.</summary>
    public byte Sint => (byte)InterruptPageOrTarget;

    /// <summary>Feature flags, from version 5.0.</summary>
    public uint FeatureFlags => (uint)(InterruptPageOrTarget >> 32);
}

/// <summary>VERSION_RESPONSE, 16 bytes.</summary>
/// <param name="VersionSupported">1 when accepted.</param>
/// <param name="ConnectionState">0 when connected.</param>
/// <param name="Padding">0.</param>
/// <param name="MessageConnectionId">Where the guest posts its messages from now on (from 5.0).</param>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
public readonly record struct VersionResponse(byte VersionSupported, byte ConnectionState, ushort Padding, uint MessageConnectionId)
    : IChannelMessageBody
{
    /// <inheritdoc/>
    public static ChannelMessageType Type => ChannelMessageType.VersionResponse;
}

/// <summary>TL_CONNECT_REQUEST, 40 bytes: the guest wants a hypervisor socket to a service of the host.</summary>
/// <param name="GuestEndpointId">The guest's end.</param>
/// <param name="HostServiceId">The host's service.</param>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
public readonly record struct TlConnectRequest(Guid GuestEndpointId, Guid HostServiceId) : IChannelMessageBody
{
    /// <inheritdoc/>
    public static ChannelMessageType Type => ChannelMessageType.TlConnectRequest;
}

/// <summary>TL_CONNECT_RESULT, 44 bytes.</summary>
/// <param name="GuestEndpointId">As asked.</param>
/// <param name="HostServiceId">As asked.</param>
/// <param name="Status">NTSTATUS; 0 is success.</param>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
public readonly record struct TlConnectResult(Guid GuestEndpointId, Guid HostServiceId, uint Status) : IChannelMessageBody
{
    /// <summary>STATUS_CONNECTION_REFUSED: nobody listens.</summary>
    public const uint ConnectionRefused = 0xC000_0236;

    /// <inheritdoc/>
    public static ChannelMessageType Type => ChannelMessageType.TlConnectResult;
}
