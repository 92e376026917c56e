using System.Text;
using Iced.Intel;
using Vitro.Hypervisor.Software;
using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Thunks;
using Vitro.Hypervisor.Software.Translator;
using Xunit;
using Decoder = Vitro.Hypervisor.Software.Decoding.Decoder;

namespace Vitro.UnitTests.Hypervisor.Software.Decoding;

/// <summary>
/// The decoder against Iced over every opcode of every legacy map with all combinations of prefixes and all kinds of ModRM: which
/// exist, their length, registers, memory operands and immediates, and the flags that the translator believes they read and replace.
/// </summary>
public sealed unsafe class DecoderSweepTests
{
    private const ulong Address = 0x1000;
    private const int Shown = 40;

    // Each field of the immediates and displacements is another number.
    private static readonly byte[] Tail = [.. Enumerable.Range(0, 24).Select(n => (byte)(0x91 + (n * 7)))];

    // With two prefixes or more: all registers in reg, and of rm a register, RIP-relative or absolute, SIB with a byte, and disp32.
    private static readonly byte[] FewModRms =
        [.. Enumerable.Range(0, 8).SelectMany(reg => (byte[])[0xC1, 0xC6, 0x05, 0x44, 0x86]).Select((rm, n) => (byte)(rm | (n / 5 << 3)))];

    private static readonly byte[] AllModRms = [.. Enumerable.Range(0, 256).Select(n => (byte)n)];

    [Theory]
    [InlineData(16, 0)]
    [InlineData(16, 1)]
    [InlineData(16, 2)]
    [InlineData(16, 3)]
    [InlineData(32, 0)]
    [InlineData(32, 1)]
    [InlineData(32, 2)]
    [InlineData(32, 3)]
    [InlineData(64, 0)]
    [InlineData(64, 1)]
    [InlineData(64, 2)]
    [InlineData(64, 3)]
    public void Instructions_decode_as_in_Iced(int bitness, int map)
    {
        byte[] escape = map switch { 0 => [], 1 => [0x0F], 2 => [0x0F, 0x38], _ => [0x0F, 0x3A] };
        using var sweep = new Sweep(bitness);
        foreach (var prefixes in PrefixesOf(bitness))
        {
            byte[] start = [.. prefixes, .. escape];
            for (var opcode = 0; opcode < 256; opcode++)
            {
                if (!IsOther(opcode, map, bitness))
                {
                    foreach (var modRm in prefixes.Length < 2 ? AllModRms : FewModRms)
                    {
                        sweep.Compare(start, (byte)opcode, modRm);
                    }
                }
            }
        }

        Assert.True(sweep.Differences.Count == 0, $"{sweep.Count} compared\n" + string.Join('\n', sweep.Differences.Values.Take(Shown)));
        Assert.InRange(sweep.Count, 100_000, int.MaxValue);
    }

    // None or one of LOCK, F2, F3; with or without 66, 67, GS; REX last.
    private static List<byte[]> PrefixesOf(int bitness)
    {
        List<byte[]> all = [];
        foreach (byte[] repeat in (byte[][])[[], [0xF0], [0xF2], [0xF3]])
        {
            foreach (byte[] size in (byte[][])[[], [0x66]])
            {
                foreach (byte[] address in (byte[][])[[], [0x67]])
                {
                    foreach (byte[] segment in (byte[][])[[], [0x65], [0x36]])
                    {
                        foreach (byte[] rex in bitness == 64 ? (byte[][])[[], [0x40], [0x48], [0x41], [0x42], [0x44], [0x4F]] : [[]])
                        {
                            all.Add([.. size, .. address, .. segment, .. repeat, .. rex]);
                        }
                    }
                }
            }
        }

        return all;
    }

    // Prefixes and escapes, VEX and XOP, which VexDecoderTests have, and the opcodes of single makers behind 0F.
    private static bool IsOther(int opcode, int map, int bitness) => map switch
    {
        0 => opcode is 0x0F or 0x26 or 0x2E or 0x36 or 0x3E or 0x64 or 0x65 or 0x66 or 0x67 or 0xF0 or 0xF2 or 0xF3
            || (bitness == 64 && opcode is (>= 0x40 and <= 0x4F) or 0xC4 or 0xC5),
        1 => opcode is 0x38 or 0x3A or 0x0F or 0x0E or 0xA6 or 0xA7,
        _ => false,
    };

    /// <summary>Compares instructions of one code size.</summary>
    private sealed class Sweep : CodeReader, IDisposable
    {
        private readonly byte[] _code = new byte[64];
        private readonly Iced.Intel.Decoder _iced;
        private readonly int _bitness;
        private readonly VpMode _mode;
        private readonly Dictionary<(Code, int), bool?> _places = [];
        private int _position;

        internal Sweep(int bitness)
        {
            _bitness = bitness;
            _iced = Iced.Intel.Decoder.Create(bitness, this, DecoderOptions.NoWbnoinvd);
            _mode = (bitness switch { 64 => VpMode.Code64 | VpMode.LongMode, 32 => VpMode.Code32, _ => VpMode.None }) | VpMode.Protected;
        }

        internal int Count { get; private set; }

        /// <summary>The first difference of each kind, opcode and code.</summary>
        internal Dictionary<string, string> Differences { get; } = new(StringComparer.Ordinal);

        public override int ReadByte() => _code[_position++];

        public void Dispose()
        {
        }

        internal void Compare(ReadOnlySpan<byte> start, byte opcode, byte modRm)
        {
            start.CopyTo(_code);
            var length = start.Length;
            _code[length] = opcode;
            _code[length + 1] = modRm;
            _code[length + 2] = 0x9C;
            Tail.CopyTo(_code, length + 3);
            if (_bitness != 64 && opcode is 0xC4 or 0xC5 or 0x62 && modRm >= 0xC0 && start.IndexOf((byte)0x0F) < 0)
            {
                return;
            }

            if (opcode == 0x8F && (modRm & 0x38) != 0 && start.IndexOf((byte)0x0F) < 0)
            {
                return;
            }

            _position = 0;
            _iced.IP = Address;
            _iced.Decode(out var expected);
            DecodedInstruction actual;
            fixed (byte* code = _code)
            {
                _ = Decoder.Decode(code, _code.Length, _mode, 0, &actual);
            }

            Count++;
            var exists = actual.Operation != Operation.Invalid && (actual.Operation != Operation.Vector || IsVector(&actual));
            if (exists != !expected.IsInvalid)
            {
                if (actual.Operation != Operation.X87 && (exists || !DecoderTests.IsAbsent(expected)))
                {
                    Report(exists ? "accepted" : "rejected", expected, actual);
                }

                return;
            }

            if (exists)
            {
                if (expected.Length != actual.Length)
                {
                    Report("length", expected, actual);
                    return;
                }

                CompareOperands(expected, actual);
                CompareFlags(expected, actual);
            }
        }

        private static bool IsVector(DecodedInstruction* i) =>
            ThunkTable.TryFind(i->Map, i->Opcode, ThunkTable.PrefixOf(i), i->Extension, out var form)
            && !form.Has(i->IsMemory ? ThunkTraits.RegisterOnly : ThunkTraits.MemoryOnly);

        private void CompareOperands(in Instruction expected, in DecodedInstruction actual)
        {
            // RDSSP is a NOP where there are no shadow stacks.
            if (actual.Operation == Operation.Nop)
            {
                return;
            }

            if (actual.Operation >= Operation.FirstVector)
            {
                CompareVectorOperands(expected, actual);
                return;
            }

            var form = actual.Form;
            var first = 0;
            if (form is OperandForm.RegRm or OperandForm.RegRmImmediate)
            {
                CompareRegister(expected, actual, first++, isReg: true);
                CompareRm(expected, actual, first++);
            }
            else if (form is OperandForm.RmReg or OperandForm.RmRegImmediate or OperandForm.RmRegCl)
            {
                CompareRm(expected, actual, first++);
                CompareRegister(expected, actual, first++, isReg: true);
            }
            else if (form is OperandForm.Rm or OperandForm.RmImmediate or OperandForm.RmCl)
            {
                CompareRm(expected, actual, first++);
            }

            for (var n = 0; n < expected.OpCount; n++)
            {
                if (expected.GetOpKind(n) == OpKind.Memory)
                {
                    CompareMemory(expected, actual);
                }
                else if (actual.ImmediateSize != 0 || expected.GetOpKind(n) is OpKind.NearBranch16 or OpKind.NearBranch32 or OpKind.NearBranch64)
                {
                    CompareImmediate(expected, actual, n);
                }
            }
        }

        // Where their operands are is their executor's table; the numbers are the decoder's. What is not MMX, XMM or general, or fixed, is ST(i).
        private void CompareVectorOperands(in Instruction expected, in DecodedInstruction actual)
        {
            for (var n = 0; n < expected.OpCount; n++)
            {
                if (expected.GetOpKind(n) == OpKind.Memory)
                {
                    CompareMemory(expected, actual);
                    continue;
                }

                if (expected.GetOpKind(n) != OpKind.Register)
                {
                    CompareImmediate(expected, actual, n);
                    continue;
                }

                var register = expected.GetOpRegister(n);
                var isReg = PlaceOf(expected.Code, n);
                if (isReg is { } reg)
                {
                    var ours = reg ? actual.Reg : actual.Rm;
                    var number = register.IsGPR() ? register.GetFullRegister().GetNumber() : register.GetNumber();

                    // Where MMX registers are meant, REX adds nothing.
                    if (number != (register.IsMM() || register.IsST() ? ours & 7 : ours))
                    {
                        Report("register", expected, actual);
                    }
                }
            }
        }

        // Whether Iced takes an operand's register from ModRM.reg (true), from ModRM.rm (false), or from neither.
        private bool? PlaceOf(Code code, int operand)
        {
            if (!_places.TryGetValue((code, operand), out var place))
            {
                var kind = code.ToOpCode().GetOpKind(operand).ToString();
                place = kind.EndsWith("_reg", StringComparison.Ordinal) ? true
                    : kind.EndsWith("_rm", StringComparison.Ordinal) || kind.Contains("_or_mem", StringComparison.Ordinal) || kind == "sti_opcode" ? false
                    : null;
                _places[(code, operand)] = place;
            }

            return place;
        }

        private void CompareRm(in Instruction expected, in DecodedInstruction actual, int operand)
        {
            if (!actual.IsMemory)
            {
                CompareRegister(expected, actual, operand, isReg: false);
            }
            else if (expected.OpCount <= operand || expected.GetOpKind(operand) != OpKind.Memory)
            {
                Report("memory", expected, actual);
            }
        }

        private void CompareRegister(in Instruction expected, in DecodedInstruction actual, int operand, bool isReg)
        {
            if (expected.OpCount <= operand || expected.GetOpKind(operand) != OpKind.Register)
            {
                return;
            }

            var register = expected.GetOpRegister(operand);
            if (!register.IsGPR())
            {
                var ours = isReg ? actual.Reg : actual.Rm;
                if (register.GetNumber() != (register.IsSegmentRegister() ? ours & 7 : ours))
                {
                    Report("register", expected, actual);
                }

                return;
            }

            var size = register.GetSize();
            var isHigh = register is >= Register.AH and <= Register.BH;
            var offset = isHigh ? ((register - Register.AH) * 8) + 1 : register.GetFullRegister().GetNumber() * 8;
            if (offset != (isReg ? actual.RegOffset : actual.RmOffset)
                || (size != (isReg ? actual.OperandSize : actual.SourceSize) && !IsSizeFree(actual.Operation)))
            {
                Report("register", expected, actual);
            }
        }

        // Their executors know the size by themselves.
        private static bool IsSizeFree(Operation operation) => operation is
            Operation.MovFromControl or Operation.MovToControl or Operation.MovFromDebug or Operation.MovToDebug;

        private void CompareMemory(in Instruction expected, in DecodedInstruction actual)
        {
            if (!actual.IsMemory)
            {
                return;
            }

            var number = actual.Base == DecodedInstruction.RipBase ? (ulong)actual.Displacement + Address : (ulong)actual.Displacement;
            var segment = (int)(expected.MemorySegment - Register.ES);
            if (Number(expected.MemoryBase) != actual.Base || Number(expected.MemoryIndex) != actual.Index
                || ((number ^ expected.MemoryDisplacement64) & actual.AddressMask) != 0
                || (segment != actual.Segment && !(_bitness == 64 && segment < 4 && actual.Segment < 4))
                || (actual.Index != DecodedInstruction.NoRegister && 1 << actual.Scale != expected.MemoryIndexScale))
            {
                Report("address", expected, actual);
            }
        }

        private static int Number(Register register) => register switch
        {
            Register.None => DecodedInstruction.NoRegister,
            Register.RIP or Register.EIP => DecodedInstruction.RipBase,
            _ => register.GetNumber(),
        };

        private void CompareImmediate(in Instruction expected, in DecodedInstruction actual, int operand)
        {
            ulong number;
            var mask = (ulong)(actual.OperandSize switch { 1 => 0xFFUL, 2 => 0xFFFFUL, 4 => uint.MaxValue, _ => ulong.MaxValue });
            switch (expected.GetOpKind(operand))
            {
                case OpKind.NearBranch16 or OpKind.NearBranch32 or OpKind.NearBranch64:
                    number = expected.NearBranchTarget - Address;
                    mask = _bitness == 64 ? ulong.MaxValue : mask;
                    break;
                case OpKind.Immediate8 or OpKind.Immediate16 or OpKind.Immediate32 or OpKind.Immediate64 or OpKind.Immediate8to16
                    or OpKind.Immediate8to32 or OpKind.Immediate8to64 or OpKind.Immediate32to64:
                    number = expected.GetImmediate(operand);
                    mask = expected.GetOpKind(operand) == OpKind.Immediate8 ? 0xFFUL : mask;
                    break;
                case OpKind.Immediate8_2nd:
                    number = expected.Immediate8_2nd;
                    if (number != actual.Immediate2)
                    {
                        Report("second immediate", expected, actual);
                    }

                    return;
                default:
                    return;
            }

            if (((number ^ actual.Immediate) & mask) != 0 && expected.Op0Kind is not (OpKind.FarBranch16 or OpKind.FarBranch32))
            {
                Report("immediate", expected, actual);
            }
        }

        private void CompareFlags(in Instruction expected, DecodedInstruction actual)
        {
            var read = FlagUse.Read(&actual, out var replaced);
            var missing = Flags(expected.RflagsRead) & ~read;
            var kept = replaced & ~Flags(expected.RflagsModified);
            if (missing != 0 || kept != 0)
            {
                Report($"flags read unsaid {missing:x}, said to be replaced {kept:x}", expected, actual);
            }
        }

        private static uint Flags(RflagsBits bits) =>
            ((bits & RflagsBits.CF) != 0 ? LazyFlags.Carry : 0) | ((bits & RflagsBits.PF) != 0 ? LazyFlags.Parity : 0)
            | ((bits & RflagsBits.AF) != 0 ? LazyFlags.Adjust : 0) | ((bits & RflagsBits.ZF) != 0 ? LazyFlags.Zero : 0)
            | ((bits & RflagsBits.SF) != 0 ? LazyFlags.Sign : 0) | ((bits & RflagsBits.OF) != 0 ? LazyFlags.Overflow : 0);

        private void Report(string what, in Instruction expected, in DecodedInstruction actual)
        {
            var key = $"{what} {expected.Mnemonic} {actual.Operation}";
            if (!Differences.ContainsKey(key))
            {
                var text = new StringBuilder($"{what}: {Convert.ToHexString(_code.AsSpan(0, 10))}: Iced {expected} ({expected.Length}), ours ");
                text.Append($"{actual.Operation} ({actual.Length}) size {actual.OperandSize} from {actual.SourceSize} reg {actual.Reg} rm {actual.Rm} ");
                text.Append($"base {actual.Base} index {actual.Index} segment {actual.Segment} displacement {actual.Displacement:x} immediate {actual.Immediate:x}");
                Differences[key] = text.ToString();
            }
        }
    }
}
