using Vitro.Foundation;

namespace Vitro.Chipset;

/// <summary>A serial port's state as it is saved.</summary>
internal sealed record UartSavedState
{
    internal byte[] Receive { get; init; } = [];

    internal byte Enable { get; init; }

    internal byte FifoControl { get; init; }

    internal byte LineControl { get; init; }

    internal byte ModemControl { get; init; }

    internal byte LineErrors { get; init; }

    internal byte ModemDelta { get; init; }

    internal byte Scratch { get; init; }

    internal byte Holding { get; init; }

    internal uint Divisor { get; init; }

    internal bool TransmitPending { get; init; }

    internal byte[] Output { get; init; } = [];

    internal byte[] Input { get; init; } = [];

    internal void Write(SavedStateWriter writer)
    {
        writer.Bytes(1, Receive);
        writer.Byte(2, Enable);
        writer.Byte(3, FifoControl);
        writer.Byte(4, LineControl);
        writer.Byte(5, ModemControl);
        writer.Byte(6, LineErrors);
        writer.Byte(7, ModemDelta);
        writer.Byte(8, Scratch);
        writer.Byte(9, Holding);
        writer.UInt32(10, Divisor);
        writer.Bool(11, TransmitPending);
        writer.Bytes(12, Output);
        writer.Bytes(13, Input);
    }

    internal static UartSavedState Read(SavedStateReader reader)
    {
        var state = new UartSavedState
        {
            Receive = reader.Bytes(1).ToArray(),
            Enable = reader.Byte(2),
            FifoControl = reader.Byte(3),
            LineControl = reader.Byte(4),
            ModemControl = reader.Byte(5),
            LineErrors = reader.Byte(6),
            ModemDelta = reader.Byte(7),
            Scratch = reader.Byte(8),
            Holding = reader.Byte(9),
            Divisor = reader.UInt32(10, 12),
            TransmitPending = reader.Bool(11),
            Output = reader.Bytes(12).ToArray(),
            Input = reader.Bytes(13).ToArray(),
        };
        return state is { Receive.Length: <= UartSpec.FifoSize, Output.Length: <= Uart.OutputCapacity, Input.Length: <= Uart.InputCapacity, Divisor: <= 0xFFFF }
            ? state
            : throw new SavedStateException("A serial port's saved queues are longer than the port's own.");
    }
}
