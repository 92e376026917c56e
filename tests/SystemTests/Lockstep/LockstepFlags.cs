using System.Globalization;
using Iced.Intel;
using Vitro.Hypervisor.Software;
using Vitro.Hypervisor.Software.Decoding;

namespace Vitro.SystemTests.Lockstep;

/// <summary>
/// Arithmetic flags in which the machines differ at a place that both have come to, until instructions replace them. Such flags are the rule, for the
/// translator leaves out those that it knows to be replaced, and instructions leave some undefined; one that an instruction reads for
/// itself is a mistake, even when its branch goes the same way. AF is left out there, since no 64-bit instruction reads it for itself.
/// </summary>
internal sealed class LockstepFlags : CodeReader
{
    private const RflagsBits Compared = RflagsBits.CF | RflagsBits.PF | RflagsBits.ZF | RflagsBits.SF | RflagsBits.OF;
    private readonly byte[] _code = new byte[15];
    private readonly Iced.Intel.Decoder _decoder;
    private RflagsBits _differing;
    private int _position;
    private int _length;

    internal LockstepFlags() => _decoder = Iced.Intel.Decoder.Create(64, this);

    /// <summary>Whether there are any.</summary>
    internal bool IsAny => _differing != RflagsBits.None;

    /// <summary>How many instructions were looked at because some flags differed.</summary>
    internal long Followed { get; private set; }

    public override int ReadByte() => _position < _length ? _code[_position++] : -1;

    /// <summary>Both machines are at the same place.</summary>
    internal unsafe void Compare(VpState* first, VpState* second)
    {
        var differing = LazyFlags.Get(first) ^ LazyFlags.Get(second);
        _differing = differing == 0 || (second->Mode & (uint)VpMode.Code64) == 0
            ? RflagsBits.None
            : Compared & OfRegister(differing);
    }

    /// <summary>The next instruction: what it reads wrongly, or null.</summary>
    /// <param name="address">Where it is.</param>
    /// <param name="code">Its bytes, and some behind it.</param>
    internal string? Follow(ulong address, ReadOnlySpan<byte> code)
    {
        Decode(address, code, out var instruction);
        var read = instruction.RflagsRead & Compared;
        Followed++;

        // What stores all flags stores the undefined ones too.
        if (read != Compared && (read & _differing) != RflagsBits.None)
        {
            return string.Create(CultureInfo.InvariantCulture, $"{instruction} at 0x{address:x} reads {read & _differing}, which translated code left wrong.");
        }

        _differing &= ~instruction.RflagsModified;
        return null;
    }

    /// <summary>Decodes an instruction.</summary>
    /// <param name="address">Where it is.</param>
    /// <param name="code">Its bytes, and some behind it.</param>
    /// <param name="instruction">Invalid when the bytes are none.</param>
    internal void Decode(ulong address, ReadOnlySpan<byte> code, out Instruction instruction)
    {
        _length = Math.Min(code.Length, _code.Length);
        code[.._length].CopyTo(_code);
        _position = 0;
        _decoder.IP = address;
        _decoder.Decode(out instruction);
    }

    /// <summary>The arithmetic flags of a flags register.</summary>
    internal static RflagsBits OfRegister(ulong flags) =>
        Bit((uint)flags, LazyFlags.Carry, RflagsBits.CF) | Bit((uint)flags, LazyFlags.Parity, RflagsBits.PF) | Bit((uint)flags, LazyFlags.Adjust, RflagsBits.AF)
        | Bit((uint)flags, LazyFlags.Zero, RflagsBits.ZF) | Bit((uint)flags, LazyFlags.Sign, RflagsBits.SF) | Bit((uint)flags, LazyFlags.Overflow, RflagsBits.OF);

    private static RflagsBits Bit(uint flags, uint flag, RflagsBits bit) => (flags & flag) != 0 ? bit : RflagsBits.None;
}
