using Vitro.Foundation;

namespace Vitro.Chipset;

/// <summary>The keyboard controller's state as it is saved.</summary>
internal sealed record I8042SavedState
{
    internal byte[] Output { get; init; } = [];

    internal byte Config { get; init; }

    internal byte Awaiting { get; init; }

    internal byte Last { get; init; }

    internal bool LastWriteWasCommand { get; init; }

    internal byte KeyboardAwaiting { get; init; }

    internal byte KeyboardScanCodeSet { get; init; }

    internal byte KeyboardLeds { get; init; }

    internal void Write(SavedStateWriter writer)
    {
        writer.Bytes(1, Output);
        writer.Byte(2, Config);
        writer.Byte(3, Awaiting);
        writer.Byte(4, Last);
        writer.Bool(5, LastWriteWasCommand);
        writer.Byte(6, KeyboardAwaiting);
        writer.Byte(7, KeyboardScanCodeSet);
        writer.Byte(8, KeyboardLeds);
    }

    internal static I8042SavedState Read(SavedStateReader reader)
    {
        var state = new I8042SavedState
        {
            Output = reader.Bytes(1).ToArray(),
            Config = reader.Byte(2),
            Awaiting = reader.Byte(3),
            Last = reader.Byte(4),
            LastWriteWasCommand = reader.Bool(5),
            KeyboardAwaiting = reader.Byte(6),
            KeyboardScanCodeSet = reader.Byte(7, 2),
            KeyboardLeds = reader.Byte(8),
        };
        return state.Output.Length <= 16
            ? state
            : throw new SavedStateException($"The keyboard controller queues 16 bytes; {state.Output.Length} were saved.");
    }
}
