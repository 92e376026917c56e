using Vitro.Foundation;

namespace Vitro.Hypervisor.Tlfs.Synic;

internal sealed partial class SynicProcessor
{
    internal void Save(SavedStateWriter writer)
    {
        lock (_gate)
        {
            writer.UInt64(Tag.Control, _control);
            writer.UInt64(Tag.Siefp, _siefp);
            writer.UInt64(Tag.Simp, _simp);
            for (var i = 0; i < _sints.Length; i++)
            {
                var sint = i;
                if (_sints[i] != SintValue.ResetValue || _queues[i].Count > 0)
                {
                    writer.Group(Tag.Sint, inner => SaveSint(inner, sint));
                }
            }

            for (var i = 0; i < _timerMessages.Length; i++)
            {
                var (timer, message) = (i, _timerMessages[i]);
                if (message.IsWaiting)
                {
                    writer.Group(Tag.TimerMessage, inner =>
                    {
                        inner.UInt32(TimerTag.Timer, (uint)timer);
                        inner.UInt32(TimerTag.Sint, (uint)message.Sint);
                        inner.UInt64(TimerTag.Expiration, message.Expiration);
                    });
                }
            }
        }
    }

    internal void Restore(SavedStateReader reader)
    {
        Reset();
        lock (_gate)
        {
            _control = reader.UInt64(Tag.Control);
            _siefp = reader.UInt64(Tag.Siefp);
            _simp = reader.UInt64(Tag.Simp);
            foreach (var sint in reader.Groups(Tag.Sint))
            {
                RestoreSint(sint);
            }

            foreach (var message in reader.Groups(Tag.TimerMessage))
            {
                var timer = message.UInt32(TimerTag.Timer);
                var sint = message.UInt32(TimerTag.Sint);
                if (timer >= TimerCount || sint >= ISynicPorts.SintCount)
                {
                    throw new SavedStateException($"Saved timer message names timer {timer} and SINT {sint}.");
                }

                _timerMessages[timer] = new TimerMessage(true, (int)sint, message.UInt64(TimerTag.Expiration));
            }
        }
    }

    private void SaveSint(SavedStateWriter writer, int sint)
    {
        writer.UInt32(SintTag.Number, (uint)sint);
        writer.UInt64(SintTag.Register, _sints[sint]);
        foreach (var queued in _queues[sint])
        {
            writer.Group(SintTag.Message, inner =>
            {
                inner.UInt32(MessageTag.Type, queued.Type);
                inner.UInt64(MessageTag.Sender, queued.Sender);
                inner.Bytes(MessageTag.Payload, queued.Payload);
            });
        }
    }

    private void RestoreSint(SavedStateReader reader)
    {
        var number = reader.UInt32(SintTag.Number);
        if (number >= ISynicPorts.SintCount)
        {
            throw new SavedStateException($"Saved SynIC names SINT {number}.");
        }

        var register = reader.UInt64(SintTag.Register, SintValue.ResetValue);
        if (!new SintValue(register).IsValid)
        {
            throw new SavedStateException($"Saved SINT {number} has an invalid register 0x{register:x}.");
        }

        _sints[number] = register;
        foreach (var message in reader.Groups(SintTag.Message))
        {
            var payload = message.Bytes(MessageTag.Payload);
            var type = message.UInt32(MessageTag.Type);
            if (payload.Length > ISynicPorts.MaxPayload || type == 0 || _queues[number].Count >= ISynicPorts.MessageQueueLimit)
            {
                throw new SavedStateException($"Saved SINT {number} holds a malformed message.");
            }

            _queues[number].Enqueue(new SynicMessage(type, message.UInt64(MessageTag.Sender), payload));
        }
    }

    private static class Tag
    {
        internal const ushort Control = 1;
        internal const ushort Siefp = 2;
        internal const ushort Simp = 3;
        internal const ushort Sint = 4;
        internal const ushort TimerMessage = 5;
    }

    private static class SintTag
    {
        internal const ushort Number = 1;
        internal const ushort Register = 2;
        internal const ushort Message = 3;
    }

    private static class MessageTag
    {
        internal const ushort Type = 1;
        internal const ushort Sender = 2;
        internal const ushort Payload = 3;
    }

    private static class TimerTag
    {
        internal const ushort Timer = 1;
        internal const ushort Sint = 2;
        internal const ushort Expiration = 3;
    }
}
