using Iced.Intel;

namespace Vitro.UnitTests.Hypervisor.Software.Differential;

/// <summary>Follows a sequence's arithmetic flags: which are undefined where, and whether an instruction reads one that is.</summary>
internal sealed class SequenceFlags
{
    private const RflagsBits Arithmetic = RflagsBits.OF | RflagsBits.SF | RflagsBits.ZF | RflagsBits.AF | RflagsBits.CF | RflagsBits.PF;
    private RflagsBits _undefined;

    /// <summary>RFLAGS bits that are undefined at the end.</summary>
    internal ulong Undefined =>
        Bit(RflagsBits.CF, 1) | Bit(RflagsBits.PF, 4) | Bit(RflagsBits.AF, 0x10) | Bit(RflagsBits.ZF, 0x40) | Bit(RflagsBits.SF, 0x80)
        | Bit(RflagsBits.OF, 0x800);

    /// <summary>The disassembly.</summary>
    internal string Text { get; private set; } = "";

    internal void Reset() => _undefined = RflagsBits.None;

    /// <summary>Goes through a whole sequence.</summary>
    internal void Follow(ReadOnlySpan<byte> code)
    {
        Reset();
        var decoder = Iced.Intel.Decoder.Create(64, new ByteArrayCodeReader(code.ToArray()));
        var lines = new List<string>();
        while (decoder.IP < (ulong)code.Length)
        {
            var instruction = decoder.Decode();
            lines.Add(instruction.ToString());
            TryAdd(instruction);
        }

        Text = string.Join(" | ", lines);
    }

    /// <summary>Goes past an instruction; false, and nothing changes, when it depends on an undefined flag.</summary>
    internal bool TryAdd(in Instruction instruction)
    {
        var mayDoNothing = MayDoNothing(instruction);
        var reads = instruction.RflagsRead & Arithmetic;
        if ((reads & _undefined) != 0)
        {
            return false;
        }

        if (!mayDoNothing)
        {
            _undefined &= ~(instruction.RflagsWritten | instruction.RflagsCleared | instruction.RflagsSet);
        }

        _undefined |= instruction.RflagsUndefined & Arithmetic;
        if (IsShift(instruction))
        {
            // By how much is not looked at: OF is defined for one bit only, CF for less than the operand's.
            _undefined |= RflagsBits.OF | RflagsBits.AF | RflagsBits.CF;
        }

        return true;
    }

    private static bool IsShift(in Instruction instruction) => instruction.Mnemonic is Mnemonic.Shl or Mnemonic.Shr or Mnemonic.Sar or Mnemonic.Sal
        or Mnemonic.Rol or Mnemonic.Ror or Mnemonic.Rcl or Mnemonic.Rcr or Mnemonic.Shld or Mnemonic.Shrd
        && !(instruction.OpCount == 2 && instruction.Op1Kind == OpKind.Immediate8 && instruction.Immediate8 == 1);

    // A branch may jump over the next instruction, which is then not known to have written anything.
    private static bool MayDoNothing(in Instruction instruction) => IsShift(instruction);

    private ulong Bit(RflagsBits flag, ulong bit) => (_undefined & flag) != 0 ? bit : 0;
}
