using Xunit;

namespace Vitro.UnitTests.Hypervisor.Software.Translator;

/// <summary>Instructions on AH, CH, DH and BH, which no REX prefix goes with, are translated.</summary>
public sealed class HighByteTests
{
    public static TheoryData<string> Instructions =>
    [
        "80E502", // and ch, 2
        "F6C540", // test ch, 40h
        "B577", // mov ch, 77h
        "D0ED", // shr ch, 1
        "C0E503", // shl ch, 3
        "FEC5", // inc ch
        "F6D5", // not ch
        "0F94C5", // sete ch
        "88CF", // mov bh, cl
        "00EF", // add bh, ch
        "00E5", // add ch, ah
        "86E9", // xchg cl, ch
        "0FC0CC", // xadd ah, cl
        "0FB0CC", // cmpxchg ah, cl
        "86EC", // xchg ah, ch
        "0FB6CD", // movzx ecx, ch
        "0FB6F5", // movzx esi, ch
        "0FB6CE", // movzx ecx, dh
        "0FBEFC", // movsx edi, ah
        "0FBED7", // movsx edx, bh
        "882B", // mov [rbx], ch
        "002B", // add [rbx], ch
        "38ABF80F0000", // cmp [rbx + 4088], ch
        "842B", // test [rbx], ch
        "8A23", // mov ah, [rbx]
    ];

    [Theory]
    [MemberData(nameof(Instructions))]
    public void Leave_what_the_interpreter_leaves_without_an_exit_to_it(string code)
    {
        foreach (var mode in (ReadOnlySpan<ProgramMode>)[ProgramMode.User64, ProgramMode.Compatibility])
        {
            using var pair = new ProgramPair(mode);

            // It changes the flags of add eax, edx, and they are read.
            byte[] program = [0x01, 0xD0, .. Convert.FromHexString(code), 0x0F, 0x92, 0xC2, 0xF4];
            for (var seed = 1; seed < 20; seed++)
            {
                Assert.Equal("", pair.Compare(program, seed));
            }

            Assert.Equal(CountInterpreted(pair.Translated, [0xF4]), CountInterpreted(pair.Translated, program));
        }
    }

    private static long CountInterpreted(ProgramMachine machine, byte[] program)
    {
        var exits = machine.Exits("interpret");
        machine.Run(program, 20);
        return machine.Exits("interpret") - exits;
    }
}
