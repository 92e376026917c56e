using System.Buffers.Binary;
using Microsoft.Extensions.Logging;
using Vitro.Foundation;
using Vitro.VmBus;

namespace Vitro.Vsp.Storage;

/// <content>Initialisation and dispatch of packets, and saved state.</content>
public sealed partial class StorageController
{
    private const ushort VersionTag = 1;
    private const ushort StepTag = 2;

    private enum InitializationStep : byte
    {
        None,
        Begun,
        VersionAgreed,
        PropertiesTold,
        Done,
    }

    /// <inheritdoc/>
    public void Save(SavedStateWriter writer)
    {
        writer.UInt32(VersionTag, _version);
        writer.Byte(StepTag, (byte)_step);
    }

    /// <inheritdoc/>
    public void Restore(SavedStateReader reader)
    {
        Reset(ResetKind.Cold);
        var version = (ushort)reader.UInt32(VersionTag);
        var step = (InitializationStep)reader.Byte(StepTag);
        if (step > InitializationStep.Done || (version != 0 && !StorvspPacket.IsSupportedVersion(version)))
        {
            throw new SavedStateException($"{Name}: saved state has step {(int)step} of storage protocol 0x{version:x}, which does not exist.");
        }

        _version = version;
        _step = step;
    }

    private bool Take(StorageChannel state, in VmBusPacket packet)
    {
        var channel = state.Channel;
        if (packet.Type == VmBusPacketType.Completion)
        {
            return true;
        }

        if (packet.Type is not (VmBusPacketType.InBand or VmBusPacketType.GpaDirect) || packet.Payload.Length < StorvspPacket.MinimumSize)
        {
            Refuse(channel, in packet, StorvspPacket.StatusInvalidParameter, "A malformed storage packet was refused.");
            return true;
        }

        if (StorvspPacket.Operation(packet.Payload) == StorvspOperation.ExecuteSrb)
        {
            if (_step == InitializationStep.Done)
            {
                state.Take().Run(in packet, channel.Memory);
            }
            else
            {
                Refuse(channel, in packet, StorvspPacket.StatusInvalidDeviceState, "A request before the end of initialisation was refused.");
            }

            return true;
        }

        Control(channel, in packet);
        return true;
    }

    private void Control(IVmBusChannel channel, in VmBusPacket packet)
    {
        Span<byte> answer = stackalloc byte[StorvspPacket.Size];
        answer.Clear();
        packet.Payload[..Math.Min(packet.Payload.Length, answer.Length)].CopyTo(answer);
        var operation = StorvspPacket.Operation(answer);
        if (channel.SubChannelIndex != 0 && operation is not (StorvspOperation.ResetLun or StorvspOperation.ResetAdapter or StorvspOperation.ResetBus))
        {
            Refuse(channel, in packet, StorvspPacket.StatusInvalidDeviceState, "Initialisation on a sub-channel was refused.");
            return;
        }

        uint status;
        var subChannels = 0;
        switch (operation)
        {
            case StorvspOperation.BeginInitialization:
                // From the start again at any time: a new kernel may have taken the channel over.
                _version = 0;
                status = Advance(true, InitializationStep.Begun);
                break;
            case StorvspOperation.QueryProtocolVersion:
                status = AgreeOnVersion(BinaryPrimitives.ReadUInt16LittleEndian(answer[StorvspPacket.PayloadOffset..]));
                break;
            case StorvspOperation.QueryProperties:
                status = Advance(_step >= InitializationStep.VersionAgreed, InitializationStep.PropertiesTold);
                WriteProperties(answer);
                break;
            case StorvspOperation.EndInitialization:
                status = Advance(_step >= InitializationStep.PropertiesTold, InitializationStep.Done);
                break;
            case StorvspOperation.CreateSubChannels:
                subChannels = BinaryPrimitives.ReadUInt16LittleEndian(answer[StorvspPacket.PayloadOffset..]);
                status = _step == InitializationStep.Done && subChannels <= _maximumSubChannels
                    ? StorvspPacket.StatusSuccess
                    : StorvspPacket.StatusInvalidParameter;
                break;
            case StorvspOperation.ResetLun:
            case StorvspOperation.ResetAdapter:
            case StorvspOperation.ResetBus:
                // Requests in flight end by themselves, each with its own completion; there is nothing else to reset.
                status = StorvspPacket.StatusSuccess;
                break;
            default:
                status = StorvspPacket.StatusInvalidParameter;
                OnViolation($"Storage operation {(uint)operation} is unknown and was refused.");
                break;
        }

        Answer(channel, in packet, answer, status);
        if (subChannels > 0 && status == StorvspPacket.StatusSuccess)
        {
            channel.OfferSubChannels(subChannels);
        }
    }

    private uint Advance(bool allowed, InitializationStep next)
    {
        if (!allowed)
        {
            OnViolation($"Initialisation step {next} in the wrong order was refused.");
            return StorvspPacket.StatusInvalidDeviceState;
        }

        _step = next;
        return StorvspPacket.StatusSuccess;
    }

    private uint AgreeOnVersion(ushort version)
    {
        if (!StorvspPacket.IsSupportedVersion(version))
        {
            return StorvspPacket.StatusRevisionMismatch;
        }

        var status = Advance(_step is InitializationStep.Begun or InitializationStep.VersionAgreed, InitializationStep.VersionAgreed);
        if (status == StorvspPacket.StatusSuccess)
        {
            _version = version;
        }

        return status;
    }

    private void WriteProperties(Span<byte> answer)
    {
        answer[StorvspPacket.PayloadOffset..].Clear();
        BinaryPrimitives.WriteUInt16LittleEndian(answer[StorvspPacket.MaximumChannelsOffset..], (ushort)_maximumSubChannels);
        BinaryPrimitives.WriteUInt32LittleEndian(answer[StorvspPacket.PropertyFlagsOffset..], _maximumSubChannels > 0 ? 1u : 0u);
        BinaryPrimitives.WriteUInt32LittleEndian(answer[StorvspPacket.MaximumTransferOffset..], MaximumTransfer);
    }

    private void Refuse(IVmBusChannel channel, in VmBusPacket packet, uint status, string what)
    {
        OnViolation(what);
        Span<byte> answer = stackalloc byte[StorvspPacket.Size];
        answer.Clear();
        packet.Payload[..Math.Min(packet.Payload.Length, answer.Length)].CopyTo(answer);
        answer[StorvspPacket.SrbStatusOffset] = (byte)SrbStatus.InvalidRequest;
        Answer(channel, in packet, answer, status);
    }

    private static void Answer(IVmBusChannel channel, in VmBusPacket packet, Span<byte> answer, uint status)
    {
        if (packet.CompletionRequested)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(answer, (uint)StorvspOperation.CompleteIO);
            BinaryPrimitives.WriteUInt32LittleEndian(answer[StorvspPacket.StatusOffset..], status);
            channel.SendCompletion(packet.TransactionId, answer);
        }
    }

    private void OnViolation(string what)
    {
        if (_violations.ShouldLog())
        {
            _logger.LogWarning("{Controller}: {What}", Name, what);
        }
    }
}
