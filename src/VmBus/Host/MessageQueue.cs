using Vitro.Hypervisor.Tlfs.Synic;

namespace Vitro.VmBus.Host;

/// <summary>Messages the guest has posted and the host has not looked at: bounded, in order, allocated once.</summary>
/// <remarks>Thread-safe: processors add, one worker takes.</remarks>
internal sealed class MessageQueue
{
    internal const int Capacity = 256;

    private readonly Lock _gate = new();
    private readonly byte[] _bytes = new byte[Capacity * ISynicPorts.MaxPayload];
    private readonly int[] _lengths = new int[Capacity];
    private int _first;
    private int _count;

    internal int Count => Volatile.Read(ref _count);

    internal bool TryAdd(ReadOnlySpan<byte> message)
    {
        lock (_gate)
        {
            if (_count == Capacity || message.Length > ISynicPorts.MaxPayload)
            {
                return false;
            }

            var slot = (_first + _count) % Capacity;
            message.CopyTo(_bytes.AsSpan(slot * ISynicPorts.MaxPayload));
            _lengths[slot] = message.Length;
            _count++;
            return true;
        }
    }

    internal bool TryTake(Span<byte> destination, out int length)
    {
        lock (_gate)
        {
            if (_count == 0)
            {
                length = 0;
                return false;
            }

            length = _lengths[_first];
            _bytes.AsSpan(_first * ISynicPorts.MaxPayload, length).CopyTo(destination);
            _first = (_first + 1) % Capacity;
            _count--;
            return true;
        }
    }

    internal void Clear()
    {
        lock (_gate)
        {
            _count = 0;
        }
    }

    /// <summary>The messages in order, for saved state.</summary>
    internal List<byte[]> ToList()
    {
        lock (_gate)
        {
            var list = new List<byte[]>();
            for (var i = 0; i < _count; i++)
            {
                var slot = (_first + i) % Capacity;
                list.Add(_bytes.AsSpan(slot * ISynicPorts.MaxPayload, _lengths[slot]).ToArray());
            }

            return list;
        }
    }
}
