using Vitro.VmBus.Protocol;

namespace Vitro.VmBus.Channels;

/// <content>Opening, closing, moving channels, and their GPADLs.</content>
public sealed partial class VmBusConnection
{
    /// <summary>The service of a channel has let go, as <see cref="IConnectionActions.Close"/> asked.</summary>
    public void OnChannelClosed(OfferedChannel channel)
    {
        if (channel.State != ChannelState.Closing)
        {
            return;
        }

        channel.State = ChannelState.Closed;
        foreach (var handle in channel.PendingTeardowns)
        {
            _gpadls.Remove(handle);
            Send(new GpadlTorndown(handle));
        }

        channel.PendingTeardowns.Clear();
        if (channel.PendingOpen is { } request)
        {
            channel.PendingOpen = null;
            OnOpenChannel(in request);
        }

        RemoveIfDone(channel);
        FinishResetIfQuiet();
    }

    private void OnOpenChannel(in OpenChannel request)
    {
        var channel = Find(request.ChannelId);
        if (channel is { State: ChannelState.Closing, IsRescinded: false, PendingOpen: null })
        {
            channel.PendingOpen = request;
            return;
        }

        if (channel is null || channel.State != ChannelState.Closed || channel.IsRescinded || !channel.IsAnnounced
            || request.TargetVp >= (uint)_virtualProcessorCount
            || !_gpadls.TryGet(request.ChannelId, request.RingGpadl, out var rings)
            || !TryOpen(channel, rings, in request))
        {
            _actions.OnViolation($"Opening channel {request.ChannelId} was refused.");
            Send(new OpenChannelResult(request.ChannelId, request.OpenId, StatusUnsuccessful));
            return;
        }

        Send(new OpenChannelResult(request.ChannelId, request.OpenId, 0));
        _actions.Start(channel);
    }

    private bool TryOpen(OfferedChannel channel, Gpadl rings, in OpenChannel request)
    {
        channel.TargetVp = request.TargetVp;
        channel.OpenRequest = request;
        if (!_actions.TryOpen(channel, rings, in request))
        {
            return false;
        }

        channel.State = ChannelState.Open;
        return true;
    }

    private void OnCloseChannel(in CloseChannel close)
    {
        var channel = Find(close.ChannelId);
        if (channel is null)
        {
            _actions.OnViolation($"Closing unknown channel {close.ChannelId} was dropped.");
            return;
        }

        channel.PendingOpen = null;
        BeginClose(channel);

        // A service's sub-channels belong to one opening of its primary channel; the next opening asks anew.
        RescindSubChannels(channel);
    }

    private void BeginClose(OfferedChannel channel)
    {
        if (channel.State == ChannelState.Open)
        {
            channel.State = ChannelState.Closing;
            _actions.Close(channel);
        }
    }

    private void OnModifyChannel(in ModifyChannel modify)
    {
        var channel = Find(modify.ChannelId);
        var good = channel is { State: ChannelState.Open } && modify.TargetVp < (uint)_virtualProcessorCount;
        if (good)
        {
            channel!.TargetVp = modify.TargetVp;
            _actions.Retarget(channel);
        }
        else
        {
            _actions.OnViolation($"Moving channel {modify.ChannelId} to processor {modify.TargetVp} was refused.");
        }

        if (Version >= VmBusVersion.V5_3)
        {
            Send(new ModifyChannelResponse(modify.ChannelId, good ? 0 : StatusInvalidParameter));
        }
    }

    private void OnGpadlHeader(ReadOnlySpan<byte> message)
    {
        if (!ChannelMessage.TryReadBody<GpadlHeader>(message, out var header))
        {
            _actions.OnViolation("A GPADL header that is too short was dropped.");
            return;
        }

        var assembly = _channels.ContainsKey(header.ChannelId)
            ? _gpadls.Begin(header.ChannelId, header.Handle, header.RangeCount, message[GpadlHeader.RangesOffset..])
            : null;
        AnswerGpadl(header.ChannelId, header.Handle, assembly);
    }

    private void OnGpadlBody(ReadOnlySpan<byte> message)
    {
        if (!ChannelMessage.TryReadBody<GpadlBody>(message, out var body) || _gpadls.FindIncomplete(body.Handle) is not { } assembly)
        {
            // The rest of a list that was refused with its header comes here too.
            _actions.OnViolation("A GPADL body without a header was dropped.");
            return;
        }

        AnswerGpadl(assembly.ChannelId, body.Handle, _gpadls.Append(assembly, message[GpadlBody.RangesOffset..]) ? assembly : null);
    }

    private void AnswerGpadl(uint channelId, uint handle, GpadlAssembly? assembly)
    {
        if (assembly is null)
        {
            _actions.OnViolation($"GPADL 0x{handle:x} of channel {channelId} was refused.");
            Send(new GpadlCreated(channelId, handle, StatusInvalidParameter));
        }
        else if (assembly.IsComplete)
        {
            Send(new GpadlCreated(channelId, handle, 0));
        }
    }

    private void OnGpadlTeardown(in GpadlTeardown teardown)
    {
        var channel = Find(teardown.ChannelId);
        if (channel is not null && _gpadls.TryGet(teardown.ChannelId, teardown.Handle, out _))
        {
            if (channel.State == ChannelState.Open && channel.OpenRequest.RingGpadl == teardown.Handle)
            {
                _actions.OnViolation($"The rings of channel {teardown.ChannelId} were torn down while open; it was closed.");
                BeginClose(channel);
            }

            if (channel.State == ChannelState.Closing)
            {
                // A repetition gets the one answer, so a guest cannot make the list grow.
                if (!channel.PendingTeardowns.Contains(teardown.Handle))
                {
                    channel.PendingTeardowns.Add(teardown.Handle);
                }

                return;
            }
        }

        if (_gpadls.TryGet(teardown.ChannelId, teardown.Handle, out _)
            || _gpadls.FindIncomplete(teardown.Handle)?.ChannelId == teardown.ChannelId)
        {
            _gpadls.Remove(teardown.Handle);
        }

        Send(new GpadlTorndown(teardown.Handle));
    }
}
