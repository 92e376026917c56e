using Vitro.Hypervisor.Bus;

namespace Vitro.Chipset;

/// <summary>
/// Takes devices' interrupt lines by global system interrupt number and drives both interrupt controllers: lines 0 to 15
/// reach the 8259 pair, all lines their IO-APIC pin, line 0 pin 2 (the override the MADT tells of).
/// </summary>
/// <remarks>Thread-safe; holds no lock of its own.</remarks>
public sealed class InterruptRouter(IoApic ioApic, Pic pic) : IInterruptLineTarget
{
    /// <summary>The IO-APIC pin of ISA interrupt 0.</summary>
    public const int TimerPin = 2;

    /// <inheritdoc/>
    public void SetLine(int line, bool high)
    {
        if (line is >= 0 and < 16 and not Pic.CascadeLine)
        {
            pic.SetLine(line, high);
        }

        switch (line)
        {
            case 0:
                ioApic.SetLine(TimerPin, high);
                break;
            case TimerPin:
                // The cascade: no device has this line.
                break;
            default:
                ioApic.SetLine(line, high);
                break;
        }
    }
}
