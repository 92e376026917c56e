namespace Vitro.UnitTests.Hypervisor.Software.Translator;

/// <summary>
/// What random programs do seldom by themselves: accesses that fault, alone, across a page's end or amid others by the same base; stores into
/// code that has run or is about to; calls that leave the flags to whoever reads them afterwards.
/// </summary>
/// <param name="random">Decides everything.</param>
/// <param name="code">The program so far.</param>
/// <param name="is64">64-bit code, else 32-bit.</param>
/// <param name="register">Gives a register, that may be written or not.</param>
internal sealed class ProgramHazards(Random random, List<byte> code, bool is64, Func<bool, int> register)
{
    private const int ChangeLength = 7;

    // Bytes of instructions that may be changed, and the bits of them that may.
    private readonly List<(int Place, byte Bits)> _changeable = [];

    /// <summary>One of them, or nothing.</summary>
    internal void Emit()
    {
        switch (random.Next(6))
        {
            case 0 when random.Next(2) == 0:
                EmitAccesses();
                break;
            case 1:
                EmitChangeable();
                break;
            case 2 or 3 when _changeable.Count > 0:
                EmitChange(_changeable[random.Next(_changeable.Count)]);
                break;
            case 4:
                EmitChangeAhead();
                break;
            default:
                break;
        }
    }

    /// <summary>Instructions that leave the flags alone, as the body of a function.</summary>
    internal void EmitFlagless()
    {
        for (var n = random.Next(1, 5); n > 0; n--)
        {
            switch (random.Next(4))
            {
                case 0:
                    EmitMove(0x8B, register(true), (sbyte)random.Next(-64, 64));
                    break;
                case 1:
                    EmitMove(0x89, register(false), (sbyte)random.Next(-9, 4));
                    break;
                case 2:
                    EmitMove(0x8D, register(true), (sbyte)random.Next(-128, 128));
                    break;
                default:
                    code.AddRange([0x51, 0x59]); // push ecx; pop ecx
                    break;
            }
        }
    }

    /// <summary>A condition, a call of a function that leaves flags alone, and a reader of flags.</summary>
    /// <param name="target">Where the function is.</param>
    internal void EmitCallAmidFlags(int target)
    {
        // cmp, add or dec of EAX and its like
        code.AddRange(random.Next(3) switch { 0 => [0x39, 0xC8], 1 => [0x01, 0xD0], _ => (byte[])[0x83, 0xE8, 0x01] });
        code.Add(0xE8);
        code.AddRange(BitConverter.GetBytes(target - (code.Count + 4)));
        switch (random.Next(4))
        {
            case 0:
                code.AddRange([0x0F, (byte)(0x90 | random.Next(16)), 0xC2]); // setcc dl
                break;
            case 1:
                code.AddRange([0x0F, (byte)(0x40 | random.Next(16)), 0xD1]); // cmovcc edx, ecx
                break;
            case 2:
                code.AddRange([0x83, 0xD2, 0x03]); // adc edx, 3
                break;
            default:
                code.AddRange([(byte)(0x70 | random.Next(16)), 0x02, 0x31, 0xD2]); // jcc over; xor edx, edx
                break;
        }
    }

    // Up to three of them by EBX, with growing displacements, around the end of the data: then there is no page, and then one to read only.
    private void EmitAccesses()
    {
        var displacement = ProgramMachine.HoleOffset + (random.Next(3) == 0 ? 0x1000 : 0) + random.Next(-24, 2);
        for (var n = random.Next(1, 4); n > 0; n--)
        {
            var reg = register(true);
            byte[] opcode = random.Next(9) switch
            {
                0 or 1 => [0x8B],
                2 or 3 => [0x89],
                4 => [0x01],
                5 => [0x0F, 0x10],
                6 => [0x0F, 0x11],
                7 => [0x0F, 0xB1],
                _ => [0xFF],
            };
            if (opcode[0] == 0xFF)
            {
                reg = 6; // push
            }

            EmitRex(reg, wide: opcode.Length == 1 && random.Next(2) == 0);
            code.AddRange([.. opcode, (byte)(0x83 | ((reg & 7) << 3)), .. BitConverter.GetBytes(displacement)]);
            displacement += random.Next(12);
        }
    }

    // add ecx, n; or inc ecx, which may become dec
    private void EmitChangeable()
    {
        if (random.Next(2) == 0)
        {
            code.AddRange([0x81, 0xC1, (byte)random.Next(256), (byte)random.Next(256), 0, 0]);
            _changeable.Add((code.Count - 4, 0xFF));
        }
        else
        {
            code.AddRange([0xFF, 0xC1]);
            _changeable.Add((code.Count - 1, 8));
        }
    }

    // xor byte [place], bits; or for an immediate mov byte [place], n, which leaves the flags alone
    private void EmitChange((int Place, byte Bits) changed)
    {
        var replaces = changed.Bits == 0xFF && random.Next(2) == 0;
        code.AddRange(replaces ? [0xC6, 0x05] : [0x80, 0x35]);
        EmitPlace(changed.Place, behind: 5);
        code.Add((byte)(replaces || changed.Bits == 0xFF ? random.Next(256) : changed.Bits));
    }

    // The instruction changed comes next, or nearly so.
    private void EmitChangeAhead()
    {
        var between = random.Next(3);
        EmitChange((code.Count + ChangeLength + (2 * between) + 2, 0xFF));
        for (var n = 0; n < between; n++)
        {
            code.AddRange([0x89, 0xC2]); // mov edx, eax
        }

        code.AddRange([0x81, 0xC1, 1, 2, 0, 0]);
    }

    // Relative to the instruction pointer, of which so many bytes of the instruction lie before what follows; or absolute.
    private void EmitPlace(int place, int behind) =>
        code.AddRange(BitConverter.GetBytes(is64 ? place - (code.Count + behind) : (int)ProgramMachine.CodeAddress + place));

    private void EmitMove(byte opcode, int reg, sbyte displacement)
    {
        EmitRex(reg, wide: random.Next(2) == 0);
        code.AddRange([opcode, (byte)(0x43 | ((reg & 7) << 3)), (byte)displacement]);
    }

    private void EmitRex(int reg, bool wide)
    {
        if (is64 && (wide || reg >= 8))
        {
            code.Add((byte)(0x40 | (wide ? 8 : 0) | (reg >= 8 ? 4 : 0)));
        }
    }
}
