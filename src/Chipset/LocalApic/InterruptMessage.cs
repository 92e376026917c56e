namespace Vitro.Chipset;

/// <summary>Delivery modes of interrupt messages (Intel SDM volume 3, "Interrupt Command Register").</summary>
public enum DeliveryMode : byte
{
    Fixed = 0,
    LowestPriority = 1,
    Smi = 2,
    Nmi = 4,
    Init = 5,
    Startup = 6,
    ExtInt = 7,
}

/// <summary>Shorthands of the interrupt command register.</summary>
public enum DestinationShorthand : byte
{
    None = 0,
    Self = 1,
    AllIncludingSelf = 2,
    AllExcludingSelf = 3,
}

/// <summary>A message on the interrupt bus between IO-APIC, MSI sources and local APICs.</summary>
/// <param name="Destination">
/// APIC id, or a logical destination in the form the receivers' mode defines; <see cref="Broadcast"/> reaches all.
/// </param>
/// <param name="IsLogical">The destination is logical.</param>
/// <param name="Delivery">What the receiver does.</param>
/// <param name="Vector">Vector, or the page number of a start-up message.</param>
/// <param name="IsLevel">Level triggered: the receiver's end of interrupt goes back to the IO-APIC.</param>
public readonly record struct InterruptMessage(uint Destination, bool IsLogical, DeliveryMode Delivery, byte Vector, bool IsLevel)
{
    /// <summary>The destination that means every local APIC.</summary>
    public const uint Broadcast = uint.MaxValue;

    /// <summary>Address of a message-signalled interrupt to APIC id 0.</summary>
    public const ulong MsiAddress = 0xFEE0_0000;

    /// <summary>Encodes the message as a message-signalled interrupt; level-triggered ones assert.</summary>
    public void EncodeMsi(out ulong address, out uint data)
    {
        var destination = Destination == Broadcast ? 0xFF : Destination;
        address = MsiAddress | ((destination & 0xFF) << 12) | (((destination >> 8) & 0x7F) << 5) | (IsLogical ? 4u : 0);
        data = Vector | ((uint)Delivery << 8) | (IsLevel ? 0xC000u : 0);
    }

    /// <summary>Decodes a message-signalled interrupt (Intel SDM volume 3, "Message Signalled Interrupts").</summary>
    /// <param name="address">
    /// Address 0xFEExxxxx; bits 19:12 are the destination and bits 11:5 its high part (extended destination id).
    /// </param>
    /// <param name="data">Vector, delivery mode, trigger mode.</param>
    public static bool TryDecodeMsi(ulong address, uint data, out InterruptMessage message)
    {
        message = default;
        if (address >> 20 != 0xFEE)
        {
            return false;
        }

        var logical = (address & 4) != 0;
        var destination = (uint)((address >> 12) & 0xFF) | ((uint)((address >> 5) & 0x7F) << 8);
        message = new InterruptMessage(
            destination == 0xFF && !logical ? Broadcast : destination,
            logical,
            (DeliveryMode)((data >> 8) & 7),
            (byte)data,
            (data & 0x8000) != 0);
        return true;
    }
}
