namespace Vitro.Chipset;

/// <summary>A bounded queue of bytes. Not thread-safe.</summary>
internal sealed class ByteRing(int capacity)
{
    private readonly byte[] _bytes = new byte[capacity];
    private int _head;

    internal int Count { get; private set; }

    internal int Room => _bytes.Length - Count;

    internal void Clear() => Count = 0;

    internal bool TryAdd(byte value)
    {
        if (Room == 0)
        {
            return false;
        }

        _bytes[(_head + Count) % _bytes.Length] = value;
        Count++;
        return true;
    }

    internal int Add(ReadOnlySpan<byte> values)
    {
        var taken = Math.Min(values.Length, Room);
        foreach (var value in values[..taken])
        {
            TryAdd(value);
        }

        return taken;
    }

    internal bool TryTake(out byte value)
    {
        value = 0;
        if (Count == 0)
        {
            return false;
        }

        value = _bytes[_head];
        _head = (_head + 1) % _bytes.Length;
        Count--;
        return true;
    }

    internal int Take(Span<byte> destination)
    {
        var taken = Math.Min(destination.Length, Count);
        for (var i = 0; i < taken; i++)
        {
            TryTake(out destination[i]);
        }

        return taken;
    }

    internal byte[] ToArray()
    {
        var copy = new byte[Count];
        for (var i = 0; i < copy.Length; i++)
        {
            copy[i] = _bytes[(_head + i) % _bytes.Length];
        }

        return copy;
    }
}
