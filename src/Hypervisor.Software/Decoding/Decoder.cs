namespace Vitro.Hypervisor.Software.Decoding;

/// <summary>Decodes x86-64 instructions by tables (Intel SDM volume 2, AMD64 APM volume 3). No state, no allocation; any thread.</summary>
internal static unsafe partial class Decoder
{
    /// <summary>Longest legal instruction in bytes.</summary>
    public const int MaximumLength = 15;

    /// <summary>
    /// Decodes one instruction.
    /// </summary>
    /// <param name="code">Its bytes.</param>
    /// <param name="available">How many of them may be read.</param>
    /// <param name="mode">Code size and the rest that decoding depends on.</param>
    /// <param name="offset">Where it lies in its block, for <see cref="DecodedInstruction.Offset"/>.</param>
    /// <param name="instruction">The result. Illegal encodings give <see cref="Operation.Invalid"/> with the length read so far.</param>
    public static partial DecodeStatus Decode(byte* code, int available, VpMode mode, int offset, DecodedInstruction* instruction);
}

/// <summary>How decoding went.</summary>
internal enum DecodeStatus
{
    /// <summary>Decoded (perhaps as an invalid opcode).</summary>
    Decoded,

    /// <summary>More bytes are needed than were available.</summary>
    NeedMore,

    /// <summary>Longer than 15 bytes: raises #GP(0).</summary>
    TooLong,
}
