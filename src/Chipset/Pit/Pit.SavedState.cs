using Vitro.Foundation;

namespace Vitro.Chipset;

/// <summary>One 8254 counter's state as it is saved. Times are ticks of its input clock since the machine's clock began.</summary>
internal sealed record PitCounterSavedState
{
    internal byte Mode { get; init; }

    internal bool IsBcd { get; init; }

    internal bool Gate { get; init; }

    internal uint Reload { get; init; }

    internal byte Access { get; init; }

    internal byte WriteLow { get; init; }

    internal bool WriteHighNext { get; init; }

    internal bool ReadHighNext { get; init; }

    internal uint Latched { get; init; }

    internal byte LatchedBytes { get; init; }

    internal bool HasLatchedStatus { get; init; }

    internal byte LatchedStatus { get; init; }

    internal bool Loaded { get; init; }

    internal bool Triggered { get; init; }

    internal bool Counts { get; init; }

    internal ulong Start { get; init; }

    internal ulong PausedElapsed { get; init; }

    internal void Write(SavedStateWriter writer)
    {
        writer.Byte(1, Mode);
        writer.Bool(2, IsBcd);
        writer.Bool(3, Gate);
        writer.UInt32(4, Reload);
        writer.Byte(5, Access);
        writer.Byte(6, WriteLow);
        writer.Bool(7, WriteHighNext);
        writer.Bool(8, ReadHighNext);
        writer.UInt32(9, Latched);
        writer.Byte(10, LatchedBytes);
        writer.Bool(11, HasLatchedStatus);
        writer.Byte(12, LatchedStatus);
        writer.Bool(13, Loaded);
        writer.Bool(14, Triggered);
        writer.Bool(15, Counts);
        writer.UInt64(16, Start);
        writer.UInt64(17, PausedElapsed);
    }

    internal static PitCounterSavedState Read(SavedStateReader reader)
    {
        var state = new PitCounterSavedState
        {
            Mode = reader.Byte(1),
            IsBcd = reader.Bool(2),
            Gate = reader.Bool(3),
            Reload = reader.UInt32(4),
            Access = reader.Byte(5, 3),
            WriteLow = reader.Byte(6),
            WriteHighNext = reader.Bool(7),
            ReadHighNext = reader.Bool(8),
            Latched = reader.UInt32(9),
            LatchedBytes = reader.Byte(10),
            HasLatchedStatus = reader.Bool(11),
            LatchedStatus = reader.Byte(12),
            Loaded = reader.Bool(13),
            Triggered = reader.Bool(14),
            Counts = reader.Bool(15),
            Start = reader.UInt64(16),
            PausedElapsed = reader.UInt64(17),
        };
        return state is { Mode: <= 5, Reload: <= 0xFFFF, Access: >= 1 and <= 3, LatchedBytes: <= 2, Start: <= long.MaxValue, PausedElapsed: <= long.MaxValue }
            ? state
            : throw new SavedStateException("An 8254 counter's saved mode, count or access is out of range.");
    }
}
