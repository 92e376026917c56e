namespace Vitro.Hypervisor.Software.Vector;

/// <summary>
/// The XSAVE image that holds a processor's x87 and vector registers (Intel SDM volume 1, chapters 10.5 and 13): offsets, initial
/// values, and what keeps it loadable by the host whatever a guest or a saved state puts in.
/// </summary>
internal static unsafe class XsaveArea
{
    public const int ControlWord = 0;
    public const int StatusWord = 2;

    /// <summary>Abridged tags: a bit for each physical register that is not empty.</summary>
    public const int TagByte = 4;
    public const int LastOpcode = 6;
    public const int InstructionPointer = 8;
    public const int DataPointer = 16;
    public const int Mxcsr = 24;
    public const int MxcsrMask = 28;
    public const int X87Registers = 32;
    public const int Xmm = 160;
    public const int LegacySize = 512;
    public const int StateBitmap = 512;
    public const int CompactionBitmap = 520;
    public const int YmmHigh = 576;

    /// <summary>Bytes of the whole image.</summary>
    public const int Size = 832;

    public const ulong ComponentX87 = 1;
    public const ulong ComponentSse = 2;
    public const ulong ComponentAvx = 4;

    public const uint MxcsrDefault = 0x1F80;

    /// <summary>Bits of MXCSR the guest may set (no misaligned-SSE mode).</summary>
    public const uint MxcsrSupported = 0xFFFF;
    public const ushort ControlWordDefault = 0x37F;

    private const ushort StatusErrorSummary = 0x8080;
    private const ushort ExceptionFlags = 0x3F;

    /// <summary>The state after reset.</summary>
    public static void Initialize(byte* area)
    {
        new Span<byte>(area, Size).Clear();
        InitializeX87(area);
        *(uint*)(area + Mxcsr) = MxcsrDefault;
        *(uint*)(area + MxcsrMask) = MxcsrSupported;
        *(ulong*)(area + StateBitmap) = ComponentX87 | ComponentSse | ComponentAvx;
    }

    /// <summary>The state after FNINIT; the registers' contents stay.</summary>
    public static void InitializeX87(byte* area)
    {
        SetTop(area, 0);
        *(ulong*)area = ControlWordDefault;
        *(ulong*)(area + InstructionPointer) = 0;
        *(ulong*)(area + DataPointer) = 0;
    }

    /// <summary>Whether an x87 exception is unmasked and flagged: the next waiting instruction raises #MF.</summary>
    public static bool HasPendingException(byte* area) =>
        (*(ushort*)(area + StatusWord) & ~*(ushort*)(area + ControlWord) & ExceptionFlags) != 0;

    /// <summary>Makes an image from outside one that the host's FXRSTOR takes: reserved bits cleared, error summary as the flags say.</summary>
    public static void Sanitize(byte* area)
    {
        *(uint*)(area + Mxcsr) &= MxcsrSupported;
        *(uint*)(area + MxcsrMask) = MxcsrSupported;
        area[TagByte + 1] = 0;
        *(ushort*)(area + LastOpcode) &= 0x7FF;
        *(ulong*)(area + StateBitmap) = ComponentX87 | ComponentSse | ComponentAvx;
        new Span<byte>(area + CompactionBitmap, 56).Clear();
        SetControlWord(area, *(ushort*)(area + ControlWord));
        SanitizeRegisters(area);
    }

    /// <summary>Sets the x87 control word as FLDCW does: an exception flagged before may become pending.</summary>
    public static void SetControlWord(byte* area, ushort value)
    {
        *(ushort*)(area + ControlWord) = (ushort)((value & 0x1F3F) | 0x40);
        SummarizeErrors(area);
    }

    /// <summary>Keeps the error summary and busy bits as flags and masks say.</summary>
    public static void SummarizeErrors(byte* area)
    {
        var status = (ushort)(*(ushort*)(area + StatusWord) & ~StatusErrorSummary);
        *(ushort*)(area + StatusWord) = HasPendingException(area) ? (ushort)(status | StatusErrorSummary) : status;
    }

    /// <summary>Clears the padding behind each 80-bit register.</summary>
    public static void SanitizeRegisters(byte* area)
    {
        for (var i = 0; i < 8; i++)
        {
            var slot = area + X87Registers + (16 * i);
            *(ushort*)(slot + 10) = 0;
            *(uint*)(slot + 12) = 0;
        }
    }

    /// <summary>
    /// What every MMX instruction does to the x87 state: the stack top becomes 0, so that MMi lies in slot i, and no
    /// register is empty.
    /// </summary>
    public static void EnterMmx(byte* area)
    {
        SetTop(area, 0);
        area[TagByte] = 0xFF;
    }

    /// <summary>
    /// Moves the stack top in the status word. The image holds the registers in stack order, so that they change slots for
    /// each to stay what it is.
    /// </summary>
    public static void SetTop(byte* area, int top)
    {
        var status = *(ushort*)(area + StatusWord);
        var shift = ((status >> 11) - top) & 7;
        if (shift != 0)
        {
            var old = stackalloc byte[128];
            Buffer.MemoryCopy(area + X87Registers, old, 128, 128);
            for (var i = 0; i < 8; i++)
            {
                Buffer.MemoryCopy(old + (16 * i), area + X87Registers + (16 * ((i + shift) & 7)), 16, 16);
            }
        }

        *(ushort*)(area + StatusWord) = (ushort)((status & ~0x3800) | (top << 11));
    }
}
