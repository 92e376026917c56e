namespace Vitro.Hypervisor.Tlfs.Synic;

/// <summary>Value of a SINT register (TLFS, "SINTx Registers").</summary>
internal readonly record struct SintValue(ulong Raw)
{
    internal const ulong ResetValue = MaskedBit;

    /// <summary>Vectors below this are exceptions.</summary>
    internal const byte FirstVector = 16;

    private const ulong MaskedBit = 1 << 16;
    private const ulong AutoEoiBit = 1 << 17;
    private const ulong PollingBit = 1 << 18;

    internal byte Vector => (byte)Raw;

    internal bool IsMasked => (Raw & MaskedBit) != 0;

    internal bool AutoEoi => (Raw & AutoEoiBit) != 0;

    /// <summary>The guest looks by itself and wants no interrupt.</summary>
    internal bool IsPolled => (Raw & PollingBit) != 0;

    internal bool IsValid => IsMasked || IsPolled || Vector >= FirstVector;
}
