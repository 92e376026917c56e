using Vitro.Foundation;

namespace Vitro.Chipset;

/// <summary>One 8259A's state as it is saved.</summary>
internal sealed record PicChipSavedState
{
    internal byte Request { get; init; }

    internal byte InService { get; init; }

    internal byte Mask { get; init; }

    internal byte Lines { get; init; }

    internal byte Elcr { get; init; }

    internal byte VectorBase { get; init; }

    internal byte LowestPriority { get; init; }

    internal byte InitStep { get; init; }

    internal bool ReadInService { get; init; }

    internal bool SpecialMask { get; init; }

    internal bool AutoEoi { get; init; }

    internal bool RotateOnAutoEoi { get; init; }

    internal bool SpecialFullyNested { get; init; }

    internal bool Poll { get; init; }

    internal bool Initialised { get; init; }

    internal bool NeedsIcw4 { get; init; }

    internal bool Single { get; init; }

    internal void Write(SavedStateWriter writer)
    {
        writer.Byte(1, Request);
        writer.Byte(2, InService);
        writer.Byte(3, Mask);
        writer.Byte(4, Lines);
        writer.Byte(5, Elcr);
        writer.Byte(6, VectorBase);
        writer.Byte(7, LowestPriority);
        writer.Byte(8, InitStep);
        writer.Bool(9, ReadInService);
        writer.Bool(10, SpecialMask);
        writer.Bool(11, AutoEoi);
        writer.Bool(12, RotateOnAutoEoi);
        writer.Bool(13, SpecialFullyNested);
        writer.Bool(14, Poll);
        writer.Bool(15, Initialised);
        writer.Bool(16, NeedsIcw4);
        writer.Bool(17, Single);
    }

    internal static PicChipSavedState Read(SavedStateReader reader)
    {
        var state = new PicChipSavedState
        {
            Request = reader.Byte(1),
            InService = reader.Byte(2),
            Mask = reader.Byte(3),
            Lines = reader.Byte(4),
            Elcr = reader.Byte(5),
            VectorBase = reader.Byte(6),
            LowestPriority = reader.Byte(7, 7),
            InitStep = reader.Byte(8),
            ReadInService = reader.Bool(9),
            SpecialMask = reader.Bool(10),
            AutoEoi = reader.Bool(11),
            RotateOnAutoEoi = reader.Bool(12),
            SpecialFullyNested = reader.Bool(13),
            Poll = reader.Bool(14),
            Initialised = reader.Bool(15),
            NeedsIcw4 = reader.Bool(16),
            Single = reader.Bool(17),
        };
        return state.InitStep is 0 or 2 or 3 or 4
            ? state
            : throw new SavedStateException($"An 8259A has no initialisation step {state.InitStep}.");
    }
}
