namespace Vitro.UnitTests.Hypervisor.Software.Translator;

/// <summary>
/// Random 64-bit programs of the kernel: a loop of integer and system, and if wanted vector, instructions with branches forward, loads
/// and stores around a page border, calls of a function in another page, and <see cref="ProgramHazards"/>. RBX points to the data, R14 counts, RSP is the stack;
/// nothing else is fixed.
/// </summary>
internal static class ProgramGenerator
{
    private const int FunctionOffset = 0x1000 + 0x40;

    private static readonly byte[] TwoOperand =
        [0x01, 0x03, 0x09, 0x0B, 0x11, 0x13, 0x19, 0x1B, 0x21, 0x23, 0x29, 0x2B, 0x31, 0x33, 0x39, 0x3B, 0x85, 0x89, 0x8B, 0x63];

    /// <summary>A program with its function; it ends with HLT.</summary>
    /// <param name="random">Decides everything.</param>
    /// <param name="vectors">How many of ten instructions are vector instructions.</param>
    internal static byte[] Generate(Random random, int vectors = 0)
    {
        var code = new List<byte>();
        Emit(code, 0x41, 0xBE, (byte)random.Next(1, 6), 0, 0, 0); // mov r14d, n
        var loop = code.Count;
        var count = random.Next(5, 60);
        var open = new List<(int Place, int Left)>();
        var hazards = new ProgramHazards(random, code, is64: true, isWritten => Register(random, isWritten));
        var isFlagless = random.Next(2) == 0;
        for (var n = 0; n < count; n++)
        {
            if (random.Next(10) < vectors)
            {
                VectorGenerator.Emit(random, code, isWritten => Register(random, isWritten));
            }
            else
            {
                EmitOne(random, code, open, hazards, isFlagless);
            }

            Close(code, open, all: false);
        }

        Close(code, open, all: true);
        Emit(code, 0x41, 0x83, 0xEE, 1, 0x0F, 0x85); // sub r14d, 1; jnz loop
        code.AddRange(BitConverter.GetBytes(loop - (code.Count + 4)));
        Emit(code, 0xF4);
        while (code.Count < FunctionOffset)
        {
            Emit(code, 0xF4);
        }

        if (isFlagless)
        {
            hazards.EmitFlagless();
        }

        for (var n = isFlagless ? 0 : random.Next(1, 6); n > 0; n--)
        {
            EmitPlain(random, code);
        }

        Emit(code, 0xC3);
        return [.. code];
    }

    private static void EmitOne(Random random, List<byte> code, List<(int Place, int Left)> open, ProgramHazards hazards, bool isFlagless)
    {
        switch (random.Next(16))
        {
            case 0:
                Emit(code, 0x0F, (byte)(0x80 | random.Next(16)), 0, 0, 0, 0);
                open.Add((code.Count - 4, random.Next(1, 8)));
                break;
            case 1 when isFlagless:
                hazards.EmitCallAmidFlags(FunctionOffset);
                break;
            case 1 when random.Next(3) == 0:
                Emit(code, 0xE8);
                code.AddRange(BitConverter.GetBytes(FunctionOffset - (code.Count + 4)));
                break;
            case 2:
                EmitPushPop(random, code);
                break;
            case 3:
                EmitSystem(random, code);
                break;
            case 4:
                EmitWide(random, code);
                break;
            case 5:
                EmitStackRun(random, code);
                break;
            case 6:
                EmitCountBranch(random, code);
                break;
            case 7:
                hazards.Emit();
                break;
            default:
                EmitPlain(random, code);
                break;
        }
    }

    // As functions begin and end: pushes, and pops behind an addition to the stack pointer, or a frame and LEAVE.
    private static void EmitStackRun(Random random, List<byte> code)
    {
        if (random.Next(4) == 0)
        {
            // A function of one RET: call $+5+n; jmp; push rbp; mov rbp, rsp; leave; ret
            Emit(code, 0xE8, 2, 0, 0, 0, 0xEB, 6, 0x55, 0x48, 0x89, 0xE5, 0xC9, 0xC3);
            return;
        }

        var pushes = random.Next(1, 8);
        for (var n = 0; n < pushes; n++)
        {
            if (random.Next(5) == 0)
            {
                Emit(code, 0x6A, (byte)random.Next(256));
            }
            else
            {
                EmitStackOperand(code, 0x50, Register(random, isWritten: true));
            }
        }

        EmitPlain(random, code);
        var skipped = random.Next(pushes);
        if (skipped > 0 || random.Next(2) == 0)
        {
            Emit(code, 0x48, 0x83, 0xC4, (byte)(8 * skipped)); // add rsp, n
        }

        for (var n = skipped; n < pushes; n++)
        {
            EmitStackOperand(code, 0x58, Register(random, isWritten: true));
        }
    }

    private static void EmitStackOperand(List<byte> code, int opcode, int register)
    {
        if (register >= 8)
        {
            Emit(code, 0x41);
        }

        Emit(code, (byte)(opcode | (register & 7)));
    }

    // JRCXZ and LOOP over an instruction, by RCX or ECX.
    private static void EmitCountBranch(Random random, List<byte> code)
    {
        switch (random.Next(3))
        {
            case 0:
                Emit(code, 0xB9, 0, 0, 0, 0); // mov ecx, 0
                break;
            case 1:
                Emit(code, 0xB9, 1, 0, 0, 0);
                break;
            default:
                break;
        }

        if (random.Next(3) == 0)
        {
            Emit(code, 0x67);
        }

        Emit(code, (byte)(0xE2 + random.Next(2)), 0);
        var place = code.Count;
        EmitPlain(random, code);
        code[place - 1] = (byte)(code.Count - place);
    }

    private static void EmitSystem(Random random, List<byte> code)
    {
        switch (random.Next(7))
        {
            case 0:
                Emit(code, 0xFA); // cli
                break;
            case 1:
                Emit(code, 0xFB); // sti
                break;
            case 2:
                Emit(code, 0x0F, 0x01, 0xF8); // swapgs
                break;
            case 3:
                Emit(code, 0x0F, 0x01, (byte)(0xCA + random.Next(2))); // clac, stac
                break;
            case 4:
                Emit(code, 0x8C, (byte)(0xC0 | (random.Next(6) << 3))); // mov eax, segment
                break;
            case 5:
                Emit(code, 0xFC); // cld
                break;
            default:
                Emit(code, 0x9C); // pushfq
                EmitPlain(random, code);
                Emit(code, 0x9D); // popfq
                break;
        }
    }

    // Divisions, bit strings, wide exchanges and repeated strings, all near the page border.
    private static void EmitWide(Random random, List<byte> code)
    {
        var wide = (byte)(0x40 | (random.Next(2) * 8));
        switch (random.Next(6))
        {
            case 0:
                Emit(code, wide, 0x99, wide, 0xF7, (byte)(0x7B - (random.Next(2) * 8)), (byte)random.Next(-64, 56)); // cqo; idiv, div [rbx + n]
                break;
            case 1:
                Emit(code, 0x31, 0xD2, wide, 0xF7, (byte)(random.Next(2) == 0 ? 0xF6 : 0xF1)); // xor edx, edx; div rsi, rcx
                break;
            case 2:
                Emit(code, 0x81, 0xE1, 0xFF, 0x3F, 0, 0, wide, 0x0F, (byte)(0xA3 + (random.Next(4) * 8)), 0x4B, (byte)random.Next(-64, 64));
                break;
            case 3:
                Emit(code, wide, 0x0F, 0xC7, 0x4B, (byte)(random.Next(-4, 4) * 16)); // cmpxchg16b, cmpxchg8b [rbx + n]
                break;
            default:
                Emit(code, 0x48, 0x8D, 0x7B, (byte)random.Next(-64, 64)); // lea rdi, [rbx + n]
                Emit(code, 0x48, 0x8D, 0x73, (byte)random.Next(-64, 64)); // lea rsi, [rbx + n]
                Emit(code, 0xB9, (byte)random.Next(20), 0, 0, 0); // mov ecx, n
                if (random.Next(2) == 0)
                {
                    Emit(code, 0xF3, wide, (byte)(random.Next(2) == 0 ? 0xA4 + random.Next(2) : 0xAA + random.Next(2))); // rep movs, stos
                }
                else
                {
                    // Without a prefix, repe, repne.
                    byte[] operations = [0xA4, 0xA5, 0xA6, 0xA7, 0xA6, 0xA7, 0xAA, 0xAB, 0xAC, 0xAD, 0xAE, 0xAF];
                    Emit(code, random.Next(3) switch { 0 => [], 1 => [0xF3], _ => [0xF2] });
                    Emit(code, wide, operations[random.Next(operations.Length)]);
                }

                break;
        }
    }

    private static void EmitPushPop(Random random, List<byte> code)
    {
        var from = Register(random, isWritten: false);
        var to = Register(random, isWritten: true);
        EmitStackOperand(code, 0x50, from);
        EmitPlain(random, code);
        EmitStackOperand(code, 0x58, to);
    }

    private static void EmitPlain(Random random, List<byte> code)
    {
        var wide = random.Next(2) * 8;
        var kind = random.Next(12);
        if (random.Next(6) == 0)
        {
            Emit(code, 0x66);
        }

        switch (kind)
        {
            case 0: // setcc, cmovcc
                EmitOperands(random, code, wide, [0x0F, (byte)(0x40 | random.Next(16))], regWritten: true, rmWritten: false, -1);
                break;
            case 1:
                EmitOperands(random, code, 0, [0x0F, (byte)(0x90 | random.Next(16))], regWritten: false, rmWritten: true, 0);
                break;
            case 2: // inc, dec
                EmitOperands(random, code, wide, [0xFF], regWritten: false, rmWritten: true, random.Next(2));
                break;
            case 3: // arithmetic with a byte
                EmitOperands(random, code, wide, [0x83], regWritten: false, rmWritten: true, random.Next(8));
                Emit(code, (byte)random.Next(256));
                break;
            case 4: // movzx, movsx
                EmitOperands(random, code, wide, [0x0F, (byte)(0xB6 + (random.Next(2) * 8) + random.Next(2))], true, false, -1);
                break;
            case 5: // xchg, xadd
                EmitOperands(random, code, wide, random.Next(2) == 0 ? [0x87] : [0x0F, 0xC1], true, true, -1);
                break;
            case 6: // shl, shr, sar, rol, ror by one: all but AF is defined
                EmitOperands(random, code, wide, [0xD1], false, true, random.Next(3) switch { 0 => 4, 1 => 5, _ => 7 });
                break;
            default:
                var opcode = TwoOperand[random.Next(TwoOperand.Length)];
                EmitOperands(random, code, wide, [opcode], (opcode & 2) != 0, (opcode & 2) == 0 && opcode != 0x85, -1);
                break;
        }
    }

    private static void EmitOperands(
        Random random, List<byte> code, int wide, ReadOnlySpan<byte> opcode, bool regWritten, bool rmWritten, int extension)
    {
        var reg = extension >= 0 ? extension : Register(random, regWritten);
        var memory = random.Next(2) == 0;
        var rm = memory ? 3 : Register(random, rmWritten);
        var rex = 0x40 | wide | (extension < 0 && reg >= 8 ? 4 : 0) | (rm >= 8 ? 1 : 0);
        if (rex != 0x40 || random.Next(2) == 0)
        {
            Emit(code, (byte)rex);
        }

        foreach (var part in opcode)
        {
            Emit(code, part);
        }

        Emit(code, (byte)((memory ? 0x40 : 0xC0) | ((reg & 7) << 3) | (rm & 7)));
        if (memory)
        {
            // Around the page border RBX points to, often across it.
            Emit(code, (byte)(sbyte)(random.Next(3) == 0 ? random.Next(-9, 3) : random.Next(-64, 64)));
        }
    }

    // RBX, RSP and R14 keep their values; without REX, 4 to 7 may be AH to BH, so those stay byte-safe too.
    private static int Register(Random random, bool isWritten)
    {
        while (true)
        {
            var register = random.Next(16);
            if (!isWritten || register is not (3 or 4 or 7 or 14))
            {
                return register;
            }
        }
    }

    /// <summary>Lets the branches of <paramref name="open"/> that have had their instructions, or all, lead to the present end of the code.</summary>
    internal static void Close(List<byte> code, List<(int Place, int Left)> open, bool all)
    {
        for (var n = open.Count - 1; n >= 0; n--)
        {
            var (place, left) = open[n];
            if (!all && left > 0)
            {
                open[n] = (place, left - 1);
                continue;
            }

            var distance = BitConverter.GetBytes(code.Count - (place + 4));
            for (var part = 0; part < 4; part++)
            {
                code[place + part] = distance[part];
            }

            open.RemoveAt(n);
        }
    }

    private static void Emit(List<byte> code, params ReadOnlySpan<byte> bytes)
    {
        foreach (var part in bytes)
        {
            code.Add(part);
        }
    }
}
