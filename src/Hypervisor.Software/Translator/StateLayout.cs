namespace Vitro.Hypervisor.Software.Translator;

/// <summary>
/// Distances from the stack pointer of translated code to fields of the state. The pointer is 128 bytes into the state, so that
/// the hot fields have one-byte displacements; signal frames skip the 128 bytes below it, as the System V convention has it.
/// </summary>
internal static unsafe class StateLayout
{
    /// <summary>From the state to the stack pointer.</summary>
    public const int Bias = 128;

    /// <summary>From a segment's base to its limit, to its attributes and to its number.</summary>
    public const int LimitBehindBase = 8;
    public const int AttributesBehindBase = 12;
    private const int SelectorBehindBase = 16;

    public const int Requests = 48;

    public const int LoadTlb = 56;

    public const int StoreTlb = 64;

    public const int Parked = 80;

    public const int ParkedFlags = 88;

    public const int ParkedRax = 96;

    public const int ExitRecord = 176;

    public const int HostStack = 184;

    public const int InstructionCount = 72;

    public const int FlagLeft = 24;

    public const int FlagOperation = 40;

    public const int SystemFlags = 44;

    public const int FsBase = 328;

    public const int GsBase = 352;

    public const int Mode = 196;

    public const int Cr4 = 472;

    public const int Xcr0 = 488;

    public const int Xsave = 760;

    public const int VectorsAbsent = 768;

    public const int AvxAbsent = 772;

    public const int X87Absent = 776;

    public const int X87Opcode = 780;

    public const int X87Instruction = 784;

    public const int X87Data = 792;

    public const int UppersInUse = 804;

    public const int KernelGsBase = 592;

    public const int DeferredRequests = 52;

    public const int InterruptShadow = 224;

    public const int KernelLoadTlb = 648;

    public const int KernelStoreTlb = 656;

    public const int SuspendedLoadTlb = 664;

    public const int SuspendedStoreTlb = 672;

    public const int UserLoadTlb = 680;

    public const int UserStoreTlb = 688;

    public const int UserFetchTlb = 696;

    public const int KernelFetchTlb = 704;

    public const int FetchTlb = 168;

    public const int Cpl = 192;

    public const int Efer = 480;

    public const int Star = 560;

    public const int Lstar = 568;

    public const int SyscallMask = 584;

    public const int GdtBase = 424;

    public const int GdtLimit = 440;

    public const int NmiBlocked = 752;

    public const int HasHostClock = 720;

    public const int HostClockOrigin = 728;

    public const int TscFrequency = 736;

    public const int TscBase = 744;

    public const int TscOffset = 632;

    public const int TscAux = 624;

    public const int SlotRax = 1192;

    public const int SlotRdx = 1200;

    public const int SlotReturn = 1208;

    public const int FirstPageSlot = 808;

    public const int FirstTableMode = 712;

    public const int FirstWindow = 104;

    public const int Cr0 = 448;

    public const int Cr2 = 456;

    public const int Cr3 = 464;

    public const int FirstSelector = 248;

    /// <summary>How many windows there is room for.</summary>
    public const int Windows = VpState.WindowCount;

    /// <summary>Where a window is kept.</summary>
    public static int Window(int slot) => FirstWindow + (slot * 8);

    /// <summary>The tag of a remembered page, which its host page follows.</summary>
    public static int PageSlot(int number) => FirstPageSlot + (number * sizeof(TlbEntry));

    /// <summary>The place of a guest register.</summary>
    public static int Gpr(int number) => (number * 8) - Bias;

    /// <summary>Control register 0, 2, 3 or 4.</summary>
    public static int Control(int number) => number switch { 0 => Cr0, 2 => Cr2, 3 => Cr3, _ => Cr4 };

    /// <summary>The number in a segment register: ES, CS, SS, DS, FS, GS.</summary>
    public static int Selector(int segment) => FirstSelector + (segment * sizeof(SegmentCache));

    /// <summary>The base of ES, CS, SS, DS, FS, GS.</summary>
    public static int SegmentBase(int segment) => Selector(segment) - SelectorBehindBase;

    /// <summary>Its limit, and behind that its attributes.</summary>
    public static int SegmentLimit(int segment) => SegmentBase(segment) + LimitBehindBase;

    /// <summary>The mode of a privilege's jump cache.</summary>
    public static int TableMode(uint privilege) => FirstTableMode + ((int)privilege * 4);

    /// <summary>RIP, which follows the general registers.</summary>
    public static int Rip => Gpr(16);

    /// <summary>The set of programs for loads or stores.</summary>
    public static int UserTlb(bool isStore) => ProcessorMemory.TlbSets + ((isStore ? Mmu.UserStoreSet : Mmu.UserLoadSet) * TlbEntry.Size) - Bias;

    /// <summary>A privilege's jump cache.</summary>
    public static int JumpTable(uint privilege) => JumpCache.TableDistance(privilege) - Bias;

    /// <summary>Its second table.</summary>
    public static int SecondJumpTable(uint privilege) => JumpCache.SecondTableDistance(privilege) - Bias;

    /// <summary>The word of a linear address in a privilege's <see cref="CodeMappings"/>.</summary>
    public static int CodeMapping(uint privilege, ulong linear) => CodeMappings.WordDistance(privilege, linear) - Bias;
}
