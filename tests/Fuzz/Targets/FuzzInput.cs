namespace Vitro.Fuzz.Targets;

/// <summary>Takes an input apart; when it runs out there are only zeroes.</summary>
internal ref struct FuzzInput(ReadOnlySpan<byte> bytes)
{
    private ReadOnlySpan<byte> _rest = bytes;

    internal readonly bool IsEmpty => _rest.IsEmpty;

    internal byte Byte() => Bytes(1) is [var value] ? value : (byte)0;

    internal uint UInt32()
    {
        Span<byte> word = stackalloc byte[4];
        word.Clear();
        Bytes(4).CopyTo(word);
        return BitConverter.ToUInt32(word);
    }

    internal ReadOnlySpan<byte> Bytes(int count)
    {
        var taken = _rest[..Math.Min(count, _rest.Length)];
        _rest = _rest[taken.Length..];
        return taken;
    }
}
