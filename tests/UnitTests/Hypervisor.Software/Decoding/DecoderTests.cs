using Iced.Intel;
using Vitro.Hypervisor.Software;
using Vitro.Hypervisor.Software.Decoding;
using Xunit;
using Decoder = Vitro.Hypervisor.Software.Decoding.Decoder;

namespace Vitro.UnitTests.Hypervisor.Software.Decoding;

/// <summary>The decoder against Iced, over every opcode of every map with prefixes and operand forms.</summary>
public sealed unsafe class DecoderTests
{
    private static readonly byte[][] Prefixes =
    [
        [], [0x66], [0xF2], [0xF3], [0x67], [0xF0], [0x48], [0x41], [0x44], [0x66, 0x48], [0xF3, 0x48], [0xF2, 0x48], [0x65], [0x66, 0xF3], [0x2E],
    ];

    private static readonly byte[] SibForms = [0x24, 0x25, 0x65, 0x88, 0xE5];

    // Extensions the engine does not have: #UD is right although the encoding exists.
    private static readonly HashSet<Mnemonic> Absent =
    [
        Mnemonic.Getsec, Mnemonic.Getsecq, Mnemonic.Ccs_hash, Mnemonic.Ccs_encrypt, Mnemonic.Vmread, Mnemonic.Vmwrite, Mnemonic.Vmptrld, Mnemonic.Vmptrst, Mnemonic.Vmclear, Mnemonic.Vmxon,
        Mnemonic.Vmlaunch, Mnemonic.Vmresume, Mnemonic.Vmxoff, Mnemonic.Vmfunc, Mnemonic.Vmrun, Mnemonic.Vmload, Mnemonic.Vmsave,
        Mnemonic.Stgi, Mnemonic.Clgi, Mnemonic.Skinit, Mnemonic.Invlpga, Mnemonic.Invlpgb, Mnemonic.Tlbsync, Mnemonic.Psmash,
        Mnemonic.Pvalidate, Mnemonic.Rmpadjust, Mnemonic.Rmpupdate, Mnemonic.Vmgexit, Mnemonic.Invept, Mnemonic.Invvpid,
        Mnemonic.Xbegin, Mnemonic.Xabort, Mnemonic.Xend, Mnemonic.Xtest, Mnemonic.Xsusldtrk, Mnemonic.Xresldtrk, Mnemonic.Rdpkru,
        Mnemonic.Wrpkru, Mnemonic.Monitorx, Mnemonic.Mwaitx, Mnemonic.Clzero, Mnemonic.Mcommit, Mnemonic.Rdpru, Mnemonic.Encls,
        Mnemonic.Enclu, Mnemonic.Enclv, Mnemonic.Pconfig, Mnemonic.Serialize, Mnemonic.Setssbsy, Mnemonic.Saveprevssp, Mnemonic.Rstorssp,
        Mnemonic.Clrssbsy, Mnemonic.Incsspd, Mnemonic.Incsspq, Mnemonic.Wrssd, Mnemonic.Wrssq, Mnemonic.Wrussd, Mnemonic.Wrussq,
        Mnemonic.Ptwrite, Mnemonic.Tpause, Mnemonic.Umonitor, Mnemonic.Umwait, Mnemonic.Senduipi, Mnemonic.Uiret, Mnemonic.Testui,
        Mnemonic.Clui, Mnemonic.Stui, Mnemonic.Movdir64b, Mnemonic.Movdiri, Mnemonic.Enqcmd, Mnemonic.Enqcmds, Mnemonic.Hreset,
        Mnemonic.Seamcall, Mnemonic.Seamops, Mnemonic.Seamret, Mnemonic.Tdcall, Mnemonic.Pcommit, Mnemonic.Ud0, Mnemonic.Ud1, Mnemonic.Ud2,
        Mnemonic.Femms, Mnemonic.Extrq, Mnemonic.Insertq, Mnemonic.Loadall, Mnemonic.Jmpe,
        Mnemonic.Loadiwkey, Mnemonic.Encodekey128, Mnemonic.Encodekey256, Mnemonic.Wrmsrns, Mnemonic.Rdmsrlist, Mnemonic.Wrmsrlist,
        Mnemonic.Erets, Mnemonic.Eretu, Mnemonic.Lkgs, Mnemonic.Aadd, Mnemonic.Aand, Mnemonic.Aor, Mnemonic.Axor, Mnemonic.Rdudbg,
        Mnemonic.Wrudbg, Mnemonic.Pbndkb, Mnemonic.Rmpquery, Mnemonic.Aesenc128kl, Mnemonic.Aesenc256kl, Mnemonic.Aesdec128kl, Mnemonic.Aesdec256kl, Mnemonic.Aesencwide128kl,
        Mnemonic.Aesdecwide128kl, Mnemonic.Aesencwide256kl, Mnemonic.Aesdecwide256kl, Mnemonic.Gf2p8mulb, Mnemonic.Gf2p8affineqb, Mnemonic.Gf2p8affineinvqb,
        Mnemonic.Movntsd, Mnemonic.Movntss,
    ];

    /// <summary>Whether an instruction is of an extension that the engine does not have.</summary>
    internal static bool IsAbsent(in Instruction instruction) => Absent.Contains(instruction.Mnemonic);

    [Theory]
    [InlineData(16)]
    [InlineData(32)]
    [InlineData(64)]
    public void One_byte_opcodes_decode_as_in_Iced(int bitness) => CompareMap(bitness, []);

    [Theory]
    [InlineData(16)]
    [InlineData(32)]
    [InlineData(64)]
    public void Two_byte_opcodes_decode_as_in_Iced(int bitness) => CompareMap(bitness, [0x0F]);

    [Theory]
    [InlineData(16)]
    [InlineData(32)]
    [InlineData(64)]
    public void Opcodes_of_the_0F38_map_decode_as_in_Iced(int bitness) => CompareMap(bitness, [0x0F, 0x38]);

    [Theory]
    [InlineData(16)]
    [InlineData(32)]
    [InlineData(64)]
    public void Opcodes_of_the_0F3A_map_decode_as_in_Iced(int bitness) => CompareMap(bitness, [0x0F, 0x3A]);

    [Fact]
    public void Sixteen_bytes_are_too_long()
    {
        Span<byte> code = stackalloc byte[32];
        code.Fill(0x66);
        code[14] = 0x01;
        DecodedInstruction instruction;
        fixed (byte* bytes = code)
        {
            Assert.Equal(DecodeStatus.TooLong, Decoder.Decode(bytes, 32, VpMode.Code64, 0, &instruction));
            bytes[13] = 0x01;
            bytes[14] = 0xC0;
            Assert.Equal(DecodeStatus.Decoded, Decoder.Decode(bytes, 32, VpMode.Code64, 0, &instruction));
            Assert.Equal(15, instruction.Length);
        }
    }

    [Fact]
    public void An_instruction_cut_short_needs_more()
    {
        ReadOnlySpan<byte> code = [0x48, 0x8B, 0x84, 0x24, 0x10, 0x00, 0x00, 0x00];
        DecodedInstruction instruction;
        fixed (byte* bytes = code)
        {
            for (var available = 1; available < code.Length; available++)
            {
                Assert.Equal(DecodeStatus.NeedMore, Decoder.Decode(bytes, available, VpMode.Code64, 0, &instruction));
            }

            Assert.Equal(DecodeStatus.Decoded, Decoder.Decode(bytes, code.Length, VpMode.Code64, 0, &instruction));
        }
    }

    private static void CompareMap(int bitness, byte[] map)
    {
        var mismatches = new List<string>();
        foreach (var prefix in Prefixes)
        {
            if (bitness != 64 && prefix.Length > 0 && (prefix[^1] & 0xF0) == 0x40)
            {
                continue;
            }

            for (var opcode = 0; opcode < 256; opcode++)
            {
                if (IsOtherKind(opcode, map, bitness))
                {
                    continue;
                }

                foreach (var modrm in (int[])[.. Enumerable.Range(0, 256)])
                {
                    foreach (var sib in (modrm & 7) == 4 && modrm < 0xC0 && (modrm & 0x38) == 0x10 ? SibForms : [0x24])
                    {
                        Compare(bitness, [.. prefix, .. map, (byte)opcode, (byte)modrm, sib], mismatches);
                    }
                }
            }
        }

        Assert.True(mismatches.Count == 0, mismatches.Count + "\n" + string.Join("\n", mismatches.Take(40)));
    }

    // Prefixes, escapes, EVEX and 3DNow! and, with MAP 0F, the maps of their own.
    private static bool IsOtherKind(int opcode, byte[] map, int bitness) => map.Length switch
    {
        0 => opcode is 0x0F or 0x26 or 0x2E or 0x36 or 0x3E or 0x64 or 0x65 or 0x66 or 0x67 or 0xF0 or 0xF2 or 0xF3 or 0x62 or 0xC4 or 0xC5 or 0x8F
            || (bitness == 64 && opcode is >= 0x40 and <= 0x4F),
        1 => opcode is 0x38 or 0x3A or 0x0F or 0x0E or 0xA6 or 0xA7,
        _ => false,
    };

    private static void Compare(int bitness, byte[] start, List<string> mismatches)
    {
        var code = new byte[32];
        start.CopyTo(code, 0);
        for (var n = start.Length; n < code.Length; n++)
        {
            code[n] = (byte)(0x10 + n);
        }

        var iced = Iced.Intel.Decoder.Create(bitness, new ByteArrayCodeReader(code), DecoderOptions.NoWbnoinvd);
        iced.IP = 0x1000;
        var expected = iced.Decode();
        DecodedInstruction actual;
        var mode = (bitness switch { 64 => VpMode.Code64 | VpMode.LongMode, 32 => VpMode.Code32, _ => VpMode.None }) | VpMode.Protected;
        fixed (byte* bytes = code)
        {
            Decoder.Decode(bytes, code.Length, mode, 0, &actual);
        }

        var text = $"{bitness}: {Convert.ToHexString(start)} Iced {expected} ({expected.Length}), ours {actual.Operation} ({actual.Length})";
        if (actual.Operation == Operation.Invalid)
        {
            if (!expected.IsInvalid && !Absent.Contains(expected.Mnemonic))
            {
                mismatches.Add("rejected " + text);
            }

            return;
        }

        // Which vector and x87 encodings exist is their executor's table.
        if (expected.IsInvalid)
        {
            if (actual.Operation is not (Operation.Vector or Operation.X87))
            {
                mismatches.Add("accepted " + text);
            }

            return;
        }

        if (expected.Length != actual.Length)
        {
            mismatches.Add("length " + text);
            return;
        }

        CompareMemory(expected, actual, bitness, text, mismatches);
    }

    private static void CompareMemory(
        in Instruction expected, in DecodedInstruction actual, int bitness, string text, List<string> mismatches)
    {
        var memory = false;
        for (var n = 0; n < expected.OpCount; n++)
        {
            memory |= expected.GetOpKind(n) == OpKind.Memory;
        }

        if (!memory || !actual.IsMemory || actual.Operation == Operation.Nop)
        {
            return;
        }

        var expectedBase = RegisterNumber(expected.MemoryBase);
        var expectedIndex = RegisterNumber(expected.MemoryIndex);
        ulong displacement = (ulong)actual.Displacement & actual.AddressMask;
        var expectedDisplacement = expected.MemoryDisplacement64 & actual.AddressMask;
        if (actual.Base == DecodedInstruction.RipBase)
        {
            displacement = ((ulong)actual.Displacement + 0x1000) & actual.AddressMask;
        }

        var segment = (int)(expected.MemorySegment - Register.ES);
        var sameSegment = segment == actual.Segment || (bitness == 64 && segment < 4 && actual.Segment < 4);
        if (expectedBase != actual.Base || expectedIndex != actual.Index || expectedDisplacement != displacement || !sameSegment
            || (actual.Index != DecodedInstruction.NoRegister && 1 << actual.Scale != expected.MemoryIndexScale))
        {
            mismatches.Add(
                $"memory {text}: base {actual.Base} index {actual.Index} displacement {displacement:x} segment {actual.Segment}, "
                + $"Iced {expectedBase} {expectedIndex} {expectedDisplacement:x} {segment}");
        }
    }

    private static int RegisterNumber(Register register) => register switch
    {
        Register.None => DecodedInstruction.NoRegister,
        Register.RIP or Register.EIP => DecodedInstruction.RipBase,
        _ => register.GetNumber(),
    };
}
