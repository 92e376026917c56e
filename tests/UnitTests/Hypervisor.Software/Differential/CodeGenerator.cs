namespace Vitro.UnitTests.Hypervisor.Software.Differential;

/// <summary>Random instructions over every opcode of every map, with the prefixes and operand forms that decide their meaning.</summary>
internal static class CodeGenerator
{
    /// <summary>Opcode slots: four legacy maps and three VEX maps of 256.</summary>
    internal const int Slots = 7 * 256;

    /// <summary>Writes up to 15 bytes of an instruction of a slot.</summary>
    internal static int Generate(Random random, int slot, Span<byte> code)
    {
        var map = slot >> 8;
        var opcode = (byte)slot;
        var length = 0;
        if (map >= 4)
        {
            code[length++] = 0xC4;
            code[length++] = (byte)((random.Next(8) << 5) | (map - 3));
            var vvvv = random.Next(2) == 0 ? 15 : random.Next(16);
            code[length++] = (byte)((random.Next(2) << 7) | (vvvv << 3) | random.Next(8));
        }
        else
        {
            length = Prefixes(random, map, code);
        }

        code[length++] = opcode;
        return Operands(random, code, length, opcode, map);
    }

    private static int Prefixes(Random random, int map, Span<byte> code)
    {
        var length = 0;
        if (random.Next(4) == 0)
        {
            code[length++] = 0x66;
        }

        switch (random.Next(8))
        {
            case 0:
                code[length++] = 0xF2;
                break;
            case 1:
                code[length++] = 0xF3;
                break;
        }

        switch (random.Next(32))
        {
            case 0 or 1:
                code[length++] = 0xF0;
                break;
            case 2:
                code[length++] = 0x67;
                break;
            case 3:
                code[length++] = 0x3E;
                break;
        }

        if (random.Next(5) < 3)
        {
            code[length++] = (byte)(0x40 | random.Next(16));
        }

        if (map > 0)
        {
            code[length++] = 0x0F;
            if (map > 1)
            {
                code[length++] = (byte)(map == 2 ? 0x38 : 0x3A);
            }
        }

        return length;
    }

    private static int Operands(Random random, Span<byte> code, int length, byte opcode, int map)
    {
        if (map == 0 && opcode == 0xC8)
        {
            code[length++] = (byte)random.Next(64);
            code[length++] = 0;
            code[length++] = (byte)random.Next(8);
            return length;
        }

        var modRm = random.Next(256);
        code[length++] = (byte)modRm;
        var mod = modRm >> 6;
        if (mod != 3)
        {
            var noBase = false;
            if ((modRm & 7) == 4)
            {
                var sib = random.Next(256);
                code[length++] = (byte)sib;
                noBase = (sib & 7) == 5;
            }

            var displacement = random.Next(-64, 64);
            if (mod == 1)
            {
                code[length++] = (byte)displacement;
            }
            else if (mod == 2 || noBase)
            {
                BitConverter.TryWriteBytes(code[length..], displacement);
                length += 4;
            }
        }

        while (length < 15)
        {
            code[length++] = (byte)(random.Next(3) == 0 ? random.Next(8) : random.Next(256));
        }

        return length;
    }
}
