namespace Vitro.Hypervisor.Software.Vector;

/// <summary>
/// The four layouts of the environment that FNSTENV and FNSAVE store and FLDENV and FRSTOR load (Intel SDM volume 1, section
/// 8.1.10). Code and data selectors are stored as zero, as processors do that have deprecated them.
/// </summary>
internal static unsafe class X87Environment
{
    private const uint Valid = 0;
    private const uint Zero = 1;
    private const uint Special = 2;
    private const uint Empty = 3;

    /// <summary>Stores the environment of an XSAVE image.</summary>
    public static void Write(byte* area, byte* destination, bool isNarrow, bool isProtected)
    {
        var control = *(ushort*)(area + XsaveArea.ControlWord);
        var status = *(ushort*)(area + XsaveArea.StatusWord);
        var tags = FullTags(area);
        uint opcode = *(ushort*)(area + XsaveArea.LastOpcode);
        var instruction = *(uint*)(area + XsaveArea.InstructionPointer);
        var data = *(uint*)(area + XsaveArea.DataPointer);
        if (isNarrow)
        {
            var words = (ushort*)destination;
            words[0] = control;
            words[1] = status;
            words[2] = tags;
            words[3] = (ushort)instruction;
            words[4] = (ushort)(isProtected ? 0 : ((instruction >> 4) & 0xF000) | opcode);
            words[5] = (ushort)data;
            words[6] = (ushort)(isProtected ? 0 : (data >> 4) & 0xF000);
            return;
        }

        // The upper halves of the control, status and tag words, and of the last selector, are stored as ones.
        var doubles = (uint*)destination;
        doubles[0] = 0xFFFF_0000 | control;
        doubles[1] = 0xFFFF_0000 | status;
        doubles[2] = 0xFFFF_0000 | tags;
        if (isProtected)
        {
            doubles[3] = instruction;
            doubles[4] = opcode << 16;
            doubles[5] = data;
            doubles[6] = 0xFFFF_0000;
        }
        else
        {
            doubles[3] = 0xFFFF_0000 | (instruction & 0xFFFF);
            doubles[4] = ((instruction >> 4) & 0x0FFF_F000) | opcode;
            doubles[5] = 0xFFFF_0000 | (data & 0xFFFF);
            doubles[6] = (data >> 4) & 0x0FFF_F000;
        }
    }

    /// <summary>Loads an environment into an XSAVE image.</summary>
    public static void Read(byte* area, byte* source, bool isNarrow, bool isProtected)
    {
        ushort control, status, tags;
        uint instruction, data, opcode;
        if (isNarrow)
        {
            var words = (ushort*)source;
            (control, status, tags) = (words[0], words[1], words[2]);
            instruction = words[3] | (isProtected ? 0 : (words[4] & 0xF000u) << 4);
            data = words[5] | (isProtected ? 0 : (words[6] & 0xF000u) << 4);
            opcode = isProtected ? 0 : words[4] & 0x7FFu;
        }
        else
        {
            var doubles = (uint*)source;
            (control, status, tags) = ((ushort)doubles[0], (ushort)doubles[1], (ushort)doubles[2]);
            instruction = isProtected ? doubles[3] : (doubles[3] & 0xFFFF) | ((doubles[4] & 0x0FFF_F000) << 4);
            data = isProtected ? doubles[5] : (doubles[5] & 0xFFFF) | ((doubles[6] & 0x0FFF_F000) << 4);
            opcode = (isProtected ? doubles[4] >> 16 : doubles[4]) & 0x7FF;
        }

        XsaveArea.SetTop(area, (status >> 11) & 7);
        *(ushort*)(area + XsaveArea.StatusWord) = status;
        byte present = 0;
        for (var i = 0; i < 8; i++)
        {
            present |= (byte)(((tags >> (2 * i)) & 3) != Empty ? 1 << i : 0);
        }

        area[XsaveArea.TagByte] = present;
        *(ushort*)(area + XsaveArea.LastOpcode) = (ushort)opcode;
        *(ulong*)(area + XsaveArea.InstructionPointer) = instruction;
        *(ulong*)(area + XsaveArea.DataPointer) = data;
        XsaveArea.SetControlWord(area, control);
    }

    /// <summary>The two-bit tags of the physical registers, as their contents say.</summary>
    private static ushort FullTags(byte* area)
    {
        var top = (*(ushort*)(area + XsaveArea.StatusWord) >> 11) & 7;
        var tags = 0u;
        for (var i = 0; i < 8; i++)
        {
            var slot = area + XsaveArea.X87Registers + (16 * ((i - top) & 7));
            tags |= ((area[XsaveArea.TagByte] >> i) & 1) == 0 ? Empty << (2 * i) : Classify(slot) << (2 * i);
        }

        return (ushort)tags;
    }

    private static uint Classify(byte* slot)
    {
        var significand = *(ulong*)slot;
        var exponent = *(ushort*)(slot + 8) & 0x7FFF;
        if (exponent == 0 && significand == 0)
        {
            return Zero;
        }

        return exponent is not 0 and not 0x7FFF && (significand >> 63) != 0 ? Valid : Special;
    }
}
