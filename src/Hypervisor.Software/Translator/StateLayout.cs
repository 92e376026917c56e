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

    static StateLayout()
    {
        VpState state;
        var start = (byte*)&state;
        Requests = (int)((byte*)&state.Requests - start) - Bias;
        LoadTlb = (int)((byte*)&state.LoadTlb - start) - Bias;
        StoreTlb = (int)((byte*)&state.StoreTlb - start) - Bias;
        Parked = (int)((byte*)&state.Parked - start) - Bias;
        ParkedFlags = (int)((byte*)&state.ParkedFlags - start) - Bias;
        ParkedRax = (int)((byte*)&state.ParkedRax - start) - Bias;
        FirstWindow = (int)((byte*)state.Windows - start) - Bias;
        ExitRecord = (int)((byte*)&state.ExitRecord - start) - Bias;
        HostStack = (int)((byte*)&state.HostStack - start) - Bias;
        InstructionCount = (int)((byte*)&state.InstructionCount - start) - Bias;
        FlagLeft = (int)((byte*)&state.FlagLeft - start) - Bias;
        FlagOperation = (int)((byte*)&state.FlagOperation - start) - Bias;
        SystemFlags = (int)((byte*)&state.SystemFlags - start) - Bias;
        FsBase = (int)((byte*)&state.Fs.Base - start) - Bias;
        GsBase = (int)((byte*)&state.Gs.Base - start) - Bias;
        Mode = (int)((byte*)&state.Mode - start) - Bias;
        Cr4 = (int)((byte*)&state.Cr4 - start) - Bias;
        Xcr0 = (int)((byte*)&state.Xcr0 - start) - Bias;
        Xsave = (int)((byte*)&state.Xsave - start) - Bias;
        VectorsAbsent = (int)((byte*)&state.VectorsAbsent - start) - Bias;
        AvxAbsent = (int)((byte*)&state.AvxAbsent - start) - Bias;
        X87Absent = (int)((byte*)&state.X87Absent - start) - Bias;
        X87Opcode = (int)((byte*)&state.X87Opcode - start) - Bias;
        X87Instruction = (int)((byte*)&state.X87Instruction - start) - Bias;
        X87Data = (int)((byte*)&state.X87Data - start) - Bias;
        UppersInUse = (int)((byte*)&state.UppersInUse - start) - Bias;
        KernelGsBase = (int)((byte*)&state.KernelGsBase - start) - Bias;
        DeferredRequests = (int)((byte*)&state.DeferredRequests - start) - Bias;
        InterruptShadow = (int)((byte*)&state.InterruptShadow - start) - Bias;
        KernelLoadTlb = (int)((byte*)&state.KernelLoadTlb - start) - Bias;
        KernelStoreTlb = (int)((byte*)&state.KernelStoreTlb - start) - Bias;
        SuspendedLoadTlb = (int)((byte*)&state.SuspendedLoadTlb - start) - Bias;
        SuspendedStoreTlb = (int)((byte*)&state.SuspendedStoreTlb - start) - Bias;
        UserLoadTlb = (int)((byte*)&state.UserLoadTlb - start) - Bias;
        UserStoreTlb = (int)((byte*)&state.UserStoreTlb - start) - Bias;
        UserFetchTlb = (int)((byte*)&state.UserFetchTlb - start) - Bias;
        KernelFetchTlb = (int)((byte*)&state.KernelFetchTlb - start) - Bias;
        FetchTlb = (int)((byte*)&state.FetchTlb - start) - Bias;
        FirstTableMode = (int)((byte*)state.TableModes - start) - Bias;
        Cpl = (int)((byte*)&state.Cpl - start) - Bias;
        Efer = (int)((byte*)&state.Efer - start) - Bias;
        Star = (int)((byte*)&state.Star - start) - Bias;
        Lstar = (int)((byte*)&state.Lstar - start) - Bias;
        SyscallMask = (int)((byte*)&state.SyscallMask - start) - Bias;
        GdtBase = (int)((byte*)&state.GdtBase - start) - Bias;
        GdtLimit = (int)((byte*)&state.GdtLimit - start) - Bias;
        HasHostClock = (int)((byte*)&state.HasHostClock - start) - Bias;
        HostClockOrigin = (int)((byte*)&state.HostClockOrigin - start) - Bias;
        TscFrequency = (int)((byte*)&state.TscFrequency - start) - Bias;
        TscBase = (int)((byte*)&state.TscBase - start) - Bias;
        TscOffset = (int)((byte*)&state.TscOffset - start) - Bias;
        TscAux = (int)((byte*)&state.TscAux - start) - Bias;
        NmiBlocked = (int)((byte*)&state.NmiBlocked - start) - Bias;
        Cr0 = (int)((byte*)&state.Cr0 - start) - Bias;
        Cr2 = (int)((byte*)&state.Cr2 - start) - Bias;
        Cr3 = (int)((byte*)&state.Cr3 - start) - Bias;
        FirstPageSlot = (int)((byte*)state.PageSlots - start) - Bias;
        SlotRax = (int)((byte*)&state.SlotRax - start) - Bias;
        SlotRdx = (int)((byte*)&state.SlotRdx - start) - Bias;
        SlotReturn = (int)((byte*)&state.SlotReturn - start) - Bias;
        FirstSelector = (int)((byte*)&state.Es.Selector - start) - Bias;
    }

    public static int Requests { get; }

    public static int LoadTlb { get; }

    public static int StoreTlb { get; }

    public static int Parked { get; }

    public static int ParkedFlags { get; }

    public static int ParkedRax { get; }

    public static int ExitRecord { get; }

    public static int HostStack { get; }

    public static int InstructionCount { get; }

    public static int FlagLeft { get; }

    public static int FlagOperation { get; }

    public static int SystemFlags { get; }

    public static int FsBase { get; }

    public static int GsBase { get; }

    public static int Mode { get; }

    public static int Cr4 { get; }

    public static int Xcr0 { get; }

    public static int Xsave { get; }

    public static int VectorsAbsent { get; }

    public static int AvxAbsent { get; }

    public static int X87Absent { get; }

    public static int X87Opcode { get; }

    public static int X87Instruction { get; }

    public static int X87Data { get; }

    public static int UppersInUse { get; }

    public static int KernelGsBase { get; }

    public static int DeferredRequests { get; }

    public static int InterruptShadow { get; }

    public static int KernelLoadTlb { get; }

    public static int KernelStoreTlb { get; }

    public static int SuspendedLoadTlb { get; }

    public static int SuspendedStoreTlb { get; }

    public static int UserLoadTlb { get; }

    public static int UserStoreTlb { get; }

    public static int UserFetchTlb { get; }

    public static int KernelFetchTlb { get; }

    public static int FetchTlb { get; }

    public static int Cpl { get; }

    public static int Efer { get; }

    public static int Star { get; }

    public static int Lstar { get; }

    public static int SyscallMask { get; }

    public static int GdtBase { get; }

    public static int GdtLimit { get; }

    public static int NmiBlocked { get; }

    public static int HasHostClock { get; }

    public static int HostClockOrigin { get; }

    public static int TscFrequency { get; }

    public static int TscBase { get; }

    public static int TscOffset { get; }

    public static int TscAux { get; }

    public static int SlotRax { get; }

    public static int SlotRdx { get; }

    public static int SlotReturn { get; }

    private static int FirstPageSlot { get; }

    private static int FirstTableMode { get; }

    private static int FirstWindow { get; }

    private static int Cr0 { get; }

    private static int Cr2 { get; }

    private static int Cr3 { get; }

    private static int FirstSelector { get; }

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
