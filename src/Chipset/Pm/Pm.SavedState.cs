using Vitro.Foundation;

namespace Vitro.Chipset;

/// <summary>The power management block's state as it is saved; the PM timer follows the machine's clock.</summary>
internal sealed record PmSavedState
{
    internal uint Status { get; init; }

    internal uint Enable { get; init; }

    internal uint Control { get; init; }

    internal byte Reset { get; init; }

    internal byte FastReset { get; init; }

    internal void Write(SavedStateWriter writer)
    {
        writer.UInt32(1, Status);
        writer.UInt32(2, Enable);
        writer.UInt32(3, Control);
        writer.Byte(4, Reset);
        writer.Byte(5, FastReset);
    }

    internal static PmSavedState Read(SavedStateReader reader) => new()
    {
        Status = reader.UInt32(1),
        Enable = reader.UInt32(2),
        Control = reader.UInt32(3),
        Reset = reader.Byte(4),
        FastReset = reader.Byte(5, PmSpec.FastA20),
    };
}
