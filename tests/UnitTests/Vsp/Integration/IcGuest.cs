using System.Buffers.Binary;
using Vitro.VmBus;

namespace Vitro.UnitTests.Vsp.Integration;

/// <summary>The guest's side of an integration service, as Linux's hv_utils plays it.</summary>
internal sealed class IcGuest
{
    private readonly (ushort Major, ushort Minor)[] _versions;

    internal IcGuest(IVmBusService service, params (ushort Major, ushort Minor)[] versions)
    {
        _versions = versions;
        Channel = new FakeChannel(service);
    }

    internal FakeChannel Channel { get; }

    /// <summary>Opens the channel and answers the negotiation with the best version both have; none at all is a refusal.</summary>
    internal void Connect()
    {
        Channel.Open();
        Negotiate();
    }

    internal void Negotiate()
    {
        var packet = Channel.Take();
        var frameworks = ReadVersions(packet, 36, BinaryPrimitives.ReadUInt16LittleEndian(packet.AsSpan(28)));
        var messages = ReadVersions(packet, 36 + (frameworks.Length * 4), BinaryPrimitives.ReadUInt16LittleEndian(packet.AsSpan(30)));
        var chosen = _versions.Where(messages.Contains).Take(1).ToArray();
        packet.AsSpan(28).Clear();
        if (chosen.Length > 0)
        {
            packet[28] = 1;
            packet[30] = 1;
            Write(packet, 36, frameworks.Max());
            Write(packet, 40, chosen[0]);
        }

        packet[25] = 1 | 4;
        Channel.FromGuest(packet);
    }

    /// <summary>Sends a request back as its answer.</summary>
    internal void Answer(byte[] packet, uint status = 0)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(packet.AsSpan(20), status);
        packet[25] = 1 | 4;
        Channel.FromGuest(packet);
    }

    private static (ushort Major, ushort Minor)[] ReadVersions(byte[] packet, int offset, int count) =>
        [.. Enumerable.Range(0, count).Select(i => (
            BinaryPrimitives.ReadUInt16LittleEndian(packet.AsSpan(offset + (i * 4))),
            BinaryPrimitives.ReadUInt16LittleEndian(packet.AsSpan(offset + (i * 4) + 2))))];

    private static void Write(byte[] packet, int offset, (ushort Major, ushort Minor) version)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(packet.AsSpan(offset), version.Major);
        BinaryPrimitives.WriteUInt16LittleEndian(packet.AsSpan(offset + 2), version.Minor);
    }
}
