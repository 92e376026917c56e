using static Vitro.Chipset.IoApicSpec;

namespace Vitro.Chipset;

/// <summary>One redirection entry with its wire: decides when a message goes out.</summary>
internal struct IoApicPin
{
    /// <summary>The redirection entry, remote IRR included.</summary>
    internal ulong Entry;

    /// <summary>The wire's level.</summary>
    internal bool IsHigh;

    internal readonly byte Vector => (byte)Entry;

    private readonly bool IsLevel => (Entry & EntryLevel) != 0;

    internal readonly InterruptMessage Message
    {
        get
        {
            var logical = (Entry & EntryLogical) != 0;
            var destination = (uint)(Entry >> 56) | ((uint)((Entry >> 49) & 0x7F) << 8);
            return new InterruptMessage(
                destination == 0xFF && !logical ? InterruptMessage.Broadcast : destination,
                logical,
                (DeliveryMode)((Entry >> 8) & 7),
                Vector,
                IsLevel);
        }
    }

    /// <summary>Sets the wire; true when a message must be sent. An edge at a masked pin is lost, as on the 82093AA.</summary>
    internal bool SetLevel(bool high)
    {
        var rose = high && !IsHigh;
        IsHigh = high;
        return IsLevel ? TryAssertLevel() : rose && (Entry & EntryMasked) == 0;
    }

    /// <summary>Writes one half of the entry; true when a message must be sent.</summary>
    internal bool WriteHalf(bool high, uint value)
    {
        var written = high ? (Entry & uint.MaxValue) | ((ulong)value << 32) : (Entry & ~(ulong)uint.MaxValue) | value;
        Entry = (written & EntryWritable) | (Entry & EntryRemoteIrr);
        if (!IsLevel)
        {
            // A switch to edge and back is how software without the EOI register clears remote IRR.
            Entry &= ~EntryRemoteIrr;
            return false;
        }

        return TryAssertLevel();
    }

    /// <summary>The end of an interrupt with <paramref name="vector"/>; true when the wire is still high and a message must be sent.</summary>
    internal bool End(byte vector)
    {
        if (!IsLevel || Vector != vector || (Entry & EntryRemoteIrr) == 0)
        {
            return false;
        }

        Entry &= ~EntryRemoteIrr;
        return TryAssertLevel();
    }

    private bool TryAssertLevel()
    {
        if (!IsHigh || (Entry & (EntryMasked | EntryRemoteIrr)) != 0)
        {
            return false;
        }

        Entry |= EntryRemoteIrr;
        return true;
    }
}
