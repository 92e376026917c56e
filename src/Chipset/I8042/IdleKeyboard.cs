using static Vitro.Chipset.I8042Spec;

namespace Vitro.Chipset;

/// <summary>An AT keyboard nobody types on: answers its commands. Text reaches guests through the synthetic keyboard.</summary>
internal sealed class IdleKeyboard
{
    /// <summary>The command that waits for its parameter, or 0.</summary>
    internal byte Awaiting { get; set; }

    internal byte ScanCodeSet { get; set; } = 2;

    internal byte Leds { get; set; }

    internal void Reset()
    {
        Awaiting = 0;
        ScanCodeSet = 2;
        Leds = 0;
    }

    /// <summary>Takes a byte from the controller and writes the answer; returns its length.</summary>
    internal int Write(byte value, Span<byte> answer)
    {
        answer[0] = Acknowledge;
        if (Awaiting != 0)
        {
            return WriteParameter(value, answer);
        }

        switch (value)
        {
            case KeyboardSetLeds or KeyboardScanCodeSet or KeyboardTypematic:
                Awaiting = value;
                return 1;
            case KeyboardEcho:
                answer[0] = KeyboardEcho;
                return 1;
            case KeyboardIdentify:
                answer[1] = 0xAB;
                answer[2] = 0x83;
                return 3;
            case KeyboardDefaults:
                Reset();
                return 1;
            case KeyboardEnable or KeyboardDisable:
                return 1;
            case KeyboardReset:
                Reset();
                answer[1] = BasicAssurancePassed;
                return 2;
            default:
                answer[0] = Resend;
                return 1;
        }
    }

    private int WriteParameter(byte value, Span<byte> answer)
    {
        var command = Awaiting;
        Awaiting = 0;
        switch (command)
        {
            case KeyboardSetLeds:
                Leds = (byte)(value & 7);
                return 1;
            case KeyboardScanCodeSet when value == 0:
                answer[1] = ScanCodeSet;
                return 2;
            case KeyboardScanCodeSet when value is 1 or 2 or 3:
                ScanCodeSet = value;
                return 1;
            case KeyboardTypematic:
                return 1;
            default:
                answer[0] = Resend;
                return 1;
        }
    }
}
