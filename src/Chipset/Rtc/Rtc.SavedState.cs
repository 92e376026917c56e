using Vitro.Foundation;

namespace Vitro.Chipset;

/// <summary>The real-time clock's state as it is saved.</summary>
internal sealed record RtcSavedState
{
    internal byte[] Memory { get; init; } = [];

    internal byte Index { get; init; }

    internal byte RegisterA { get; init; }

    internal byte RegisterB { get; init; }

    internal byte RegisterC { get; init; }

    /// <summary>Shown time minus the host's, in 100 ns, as a signed number.</summary>
    internal ulong OffsetTicks { get; init; }

    internal ulong FrozenTicks { get; init; }

    internal ulong NextPeriod { get; init; }

    internal void Write(SavedStateWriter writer)
    {
        writer.Bytes(1, Memory);
        writer.Byte(2, Index);
        writer.Byte(3, RegisterA);
        writer.Byte(4, RegisterB);
        writer.Byte(5, RegisterC);
        writer.UInt64(6, OffsetTicks);
        writer.UInt64(7, FrozenTicks);
        writer.UInt64(8, NextPeriod);
    }

    internal static RtcSavedState Read(SavedStateReader reader)
    {
        var state = new RtcSavedState
        {
            Memory = reader.Bytes(1).ToArray(),
            Index = reader.Byte(2),
            RegisterA = reader.Byte(3),
            RegisterB = reader.Byte(4),
            RegisterC = reader.Byte(5),
            OffsetTicks = reader.UInt64(6),
            FrozenTicks = reader.UInt64(7),
            NextPeriod = reader.UInt64(8),
        };
        if (state.Memory.Length != RtcSpec.MemorySize)
        {
            throw new SavedStateException($"CMOS memory has {RtcSpec.MemorySize} bytes; {state.Memory.Length} were saved.");
        }

        var limit = DateTime.MaxValue.Ticks;
        return state.FrozenTicks <= (ulong)limit && (long)state.OffsetTicks >= -limit && (long)state.OffsetTicks <= limit &&
            state.NextPeriod <= long.MaxValue
            ? state
            : throw new SavedStateException("The real-time clock's saved time is out of range.");
    }
}
