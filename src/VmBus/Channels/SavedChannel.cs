using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vitro.Foundation;
using Vitro.VmBus.Protocol;

namespace Vitro.VmBus.Channels;

/// <summary>A channel in saved state.</summary>
internal sealed class SavedChannel
{
    private const ushort ChannelIdTag = 1;
    private const ushort NameTag = 2;
    private const ushort SubChannelTag = 3;
    private const ushort ParentTag = 4;
    private const ushort AnnouncedTag = 5;
    private const ushort RescindedTag = 6;
    private const ushort TargetVpTag = 7;
    private const ushort OpenRequestTag = 8;
    private const ushort InterfaceTypeTag = 9;
    private const ushort InstanceTag = 10;

    internal required uint ChannelId { get; init; }

    internal required string Name { get; init; }

    internal required Guid InterfaceType { get; init; }

    internal required Guid InstanceId { get; init; }

    internal required ushort SubChannelIndex { get; init; }

    internal required uint ParentId { get; init; }

    internal required bool IsAnnounced { get; init; }

    internal required bool IsRescinded { get; init; }

    internal required uint TargetVp { get; init; }

    /// <summary>The open request's body; empty when the channel was closed.</summary>
    internal required byte[] OpenRequest { get; init; }

    internal static void Write(SavedStateWriter writer, OfferedChannel channel)
    {
        writer.UInt32(ChannelIdTag, channel.ChannelId);
        writer.Text(NameTag, channel.Offer.Name);
        writer.Bytes(InterfaceTypeTag, channel.Offer.InterfaceType.ToByteArray());
        writer.Bytes(InstanceTag, channel.Offer.InstanceId.ToByteArray());
        writer.UInt32(SubChannelTag, channel.SubChannelIndex);
        writer.UInt32(ParentTag, channel.Parent?.ChannelId ?? 0);
        writer.Bool(AnnouncedTag, channel.IsAnnounced);
        writer.Bool(RescindedTag, channel.IsRescinded);
        writer.UInt32(TargetVpTag, channel.TargetVp);
        if (channel.State == ChannelState.Open)
        {
            var request = channel.OpenRequest;
            Span<byte> bytes = stackalloc byte[Unsafe.SizeOf<OpenChannel>()];
            MemoryMarshal.Write(bytes, in request);
            writer.Bytes(OpenRequestTag, bytes);
        }
    }

    internal static SavedChannel Read(SavedStateReader reader) => new()
    {
        ChannelId = reader.UInt32(ChannelIdTag),
        Name = reader.Text(NameTag) ?? "",
        InterfaceType = ReadGuid(reader.Bytes(InterfaceTypeTag)),
        InstanceId = ReadGuid(reader.Bytes(InstanceTag)),
        SubChannelIndex = (ushort)reader.UInt32(SubChannelTag),
        ParentId = reader.UInt32(ParentTag),
        IsAnnounced = reader.Bool(AnnouncedTag),
        IsRescinded = reader.Bool(RescindedTag),
        TargetVp = reader.UInt32(TargetVpTag),
        OpenRequest = reader.Bytes(OpenRequestTag).ToArray(),
    };

    private static Guid ReadGuid(ReadOnlySpan<byte> bytes) => bytes.Length == 16 ? new Guid(bytes) : Guid.Empty;
}
