using Vitro.Hypervisor.Engine;
using Iced.Intel;
using Vitro.Hypervisor.Software;
using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Thunks;
using Xunit;
using Decoder = Vitro.Hypervisor.Software.Decoding.Decoder;

namespace Vitro.UnitTests.Hypervisor.Software.Decoding;

/// <summary>VEX-encoded instructions against Iced: which exist, how long they are, and what they address and need.</summary>
public sealed unsafe class VexDecoderTests
{
    private static readonly Dictionary<CpuidFeature, CpuFeatures> Features = new()
    {
        [CpuidFeature.AVX] = CpuFeatures.Avx,
        [CpuidFeature.AVX2] = CpuFeatures.Avx | CpuFeatures.Avx2,
        [CpuidFeature.FMA] = CpuFeatures.Avx | CpuFeatures.Fma,
        [CpuidFeature.F16C] = CpuFeatures.Avx | CpuFeatures.F16c,
        [CpuidFeature.BMI1] = CpuFeatures.Bmi1,
        [CpuidFeature.BMI2] = CpuFeatures.Bmi2,
        [CpuidFeature.AES] = CpuFeatures.Aes,
        [CpuidFeature.PCLMULQDQ] = CpuFeatures.Pclmul,
    };

    // No operand, low and high registers, memory with and without SIB, RIP-relative.
    private static readonly byte[] ModRms = [0xC0, 0xC9, 0xD1, 0xDA, 0xE3, 0xEC, 0xF5, 0xFE, 0x03, 0x4C, 0x54, 0x9E, 0x25];

    [Theory]
    [InlineData(1, 64)]
    [InlineData(2, 64)]
    [InlineData(3, 64)]
    [InlineData(1, 32)]
    [InlineData(2, 32)]
    [InlineData(3, 32)]
    public void Instructions_decode_as_in_Iced(int map, int bitness)
    {
        var mismatches = new List<string>();
        Span<byte> code = stackalloc byte[32];
        for (var n = 0; n < 1 << 14; n++)
        {
            foreach (var vvvv in (ReadOnlySpan<int>)[15, 8])
            {
                foreach (var inverted in bitness == 64 ? (ReadOnlySpan<int>)[7, 0] : [7])
                {
                    foreach (var modRm in ModRms)
                    {
                        for (var at = 6; at < code.Length; at++)
                        {
                            code[at] = (byte)(0x10 + at);
                        }

                        code[0] = 0xC4;
                        code[1] = (byte)((inverted << 5) | map);
                        code[2] = (byte)(((n & 8) << 4) | (vvvv << 3) | (n & 7));
                        code[3] = (byte)(n >> 4);
                        code[4] = modRm;
                        code[5] = 0x6B;
                        Compare(code, bitness, mismatches);
                    }
                }
            }

        }

        Assert.True(mismatches.Count == 0, mismatches.Count + "\n" + string.Join('\n', mismatches.Take(60)));
    }

    private static void Compare(ReadOnlySpan<byte> code, int bitness, List<string> mismatches)
    {
        var iced = Iced.Intel.Decoder.Create(bitness, new ByteArrayCodeReader(code.ToArray()));
        iced.IP = 0x1000;
        var expected = iced.Decode();
        DecodedInstruction actual;
        var mode = (bitness == 64 ? VpMode.Code64 | VpMode.LongMode : VpMode.Code32) | VpMode.Protected;
        fixed (byte* bytes = code)
        {
            Decoder.Decode(bytes, code.Length, mode, 0, &actual);
        }

        var isOurs = actual.Operation != Operation.Invalid
            && (actual.Operation != Operation.Vector || VexTable.TryFind(&actual, out _));
        var needed = CpuFeatures.None;
        var isOffered = !expected.IsInvalid;
        foreach (var feature in isOffered ? expected.CpuidFeatures : [])
        {
            isOffered &= Features.TryGetValue(feature, out var ours);
            needed |= ours;
        }

        var text = $"{bitness}: {Convert.ToHexString(code[..8])} Iced {expected}, ours {actual.Operation}";
        if (isOurs != isOffered)
        {
            mismatches.Add((isOurs ? "accepted " : "rejected ") + text);
        }
        else if (isOurs)
        {
            Check(expected, actual, needed, text, mismatches);
        }
    }

    private static void Check(in Instruction expected, DecodedInstruction actual, CpuFeatures needed, string text, List<string> mismatches)
    {
        if (expected.Length != actual.Length)
        {
            mismatches.Add($"length {expected.Length} not {actual.Length} {text}");
        }

        var gated = actual;
        FeatureGate.Apply(&gated, needed);
        var isRight = gated.Operation != Operation.Invalid;
        for (var rest = needed; rest != CpuFeatures.None; rest &= rest - 1)
        {
            var without = actual;
            FeatureGate.Apply(&without, ~(rest & ~(rest - 1)));
            isRight &= without.Operation == Operation.Invalid;
        }

        if (!isRight)
        {
            mismatches.Add($"needs {needed}: {text}");
        }

        if (actual.Operation == Operation.Vector && actual.IsMemory && VexTable.TryFind(&actual, out var form) && !form.Has(ThunkTraits.Gather))
        {
            var size = VexTable.MemorySize(&actual, form);
            if (size != expected.MemorySize.GetSize())
            {
                mismatches.Add($"size {size} not {expected.MemorySize.GetSize()} {text}");
            }
        }
    }
}
