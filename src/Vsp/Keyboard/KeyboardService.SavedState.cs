using System.Runtime.InteropServices;
using Vitro.Foundation;

namespace Vitro.Vsp.Keyboard;

public sealed partial class KeyboardService
{
    private const byte ReleaseBit = 0x80;

    /// <inheritdoc/>
    public void Save(SavedStateWriter writer)
    {
        lock (_gate)
        {
            writer.Bool(Tag.Accepted, _accepted);
            writer.UInt32(Tag.Leds, _leds);

            // Two bytes a keystroke: make code with the break bit, then whether it is extended.
            var bytes = new byte[_queue.Count * 2];
            foreach (var (index, keystroke) in _queue.Index())
            {
                bytes[index * 2] = (byte)(keystroke.Key.Code | (keystroke.IsRelease ? ReleaseBit : 0));
                bytes[(index * 2) + 1] = keystroke.Key.IsExtended ? (byte)1 : (byte)0;
            }

            writer.Bytes(Tag.Queue, bytes);
        }
    }

    /// <inheritdoc/>
    public void Restore(SavedStateReader reader)
    {
        Reset(ResetKind.Cold);
        var queue = reader.Bytes(Tag.Queue);
        if (queue.Length > QueueLimit * 2 || queue.Length % 2 != 0)
        {
            throw new SavedStateException($"Saved keyboard queue has {queue.Length} bytes.");
        }

        lock (_gate)
        {
            _accepted = reader.Bool(Tag.Accepted);
            _leds = (ushort)reader.UInt32(Tag.Leds);
            foreach (var pair in MemoryMarshal.Cast<byte, ushort>(queue))
            {
                var code = (byte)pair;
                _queue.Enqueue(new Keystroke(
                    new ScanCode((byte)(code & ~ReleaseBit), pair >> 8 != 0), (code & ReleaseBit) != 0));
            }
        }
    }

    private static class Tag
    {
        internal const ushort Accepted = 1;
        internal const ushort Leds = 2;
        internal const ushort Queue = 3;
    }
}
