namespace Vitro.Hypervisor.Software.Vector;

/// <summary>Which x87 arithmetic instructions exist (opcodes D8 to DF); control instructions are not among them.</summary>
internal static class X87Form
{
    // Bytes of the memory operand by opcode (D8 to DF) and ModRM.reg; negative when it is stored, 0 when there is no such instruction.
    private static ReadOnlySpan<sbyte> MemoryOperands =>
    [
        4, 4, 4, 4, 4, 4, 4, 4,
        4, 0, -4, -4, 0, 0, 0, 0,
        4, 4, 4, 4, 4, 4, 4, 4,
        4, -4, -4, -4, 0, 10, 0, -10,
        8, 8, 8, 8, 8, 8, 8, 8,
        8, -8, -8, -8, 0, 0, 0, 0,
        2, 2, 2, 2, 2, 2, 2, 2,
        2, -2, -2, -2, 10, 8, -10, -8,
    ];

    /// <summary>Bytes of the memory operand of a memory form, 0 when there is no such arithmetic instruction.</summary>
    /// <param name="opcode">D8 to DF.</param>
    /// <param name="extension">ModRM.reg.</param>
    /// <param name="isStore">Whether it is stored.</param>
    public static int MemorySize(int opcode, int extension, out bool isStore)
    {
        int size = MemoryOperands[((opcode & 7) << 3) | extension];
        isStore = size < 0;
        return Math.Abs(size);
    }

    /// <summary>Whether there is such an arithmetic instruction between registers.</summary>
    public static bool IsRegisterForm(int opcode, int modRm) => opcode switch
    {
        0xD8 or 0xDC => true,
        0xD9 => modRm is < 0xD1 or (>= 0xD8 and <= 0xE1) or 0xE4 or 0xE5 or (>= 0xE8 and not 0xEF),
        0xDA => modRm is < 0xE0 or 0xE9,
        0xDB => modRm is < 0xE0 or (>= 0xE8 and < 0xF8),
        0xDD => modRm < 0xF0,
        0xDE => modRm is < 0xD8 or 0xD9 or >= 0xE0,
        _ => modRm is < 0xE0 or (>= 0xE8 and < 0xF8),
    };

    /// <summary>FCMOVcc.</summary>
    public static bool ReadsFlags(int opcode, int modRm) => modRm is >= 0xC0 and < 0xE0 && opcode is 0xDA or 0xDB;

    /// <summary>FCOMI and its kin.</summary>
    public static bool SetsFlags(int opcode, int modRm) => modRm >= 0xE8 && opcode is 0xDB or 0xDF;
}
