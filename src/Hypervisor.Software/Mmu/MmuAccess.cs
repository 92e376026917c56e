namespace Vitro.Hypervisor.Software;

/// <summary>What an instruction does with a linear address.</summary>
internal enum MmuAccess
{
    Load = 0,
    Store = 1,
    Fetch = 2,
}

/// <summary>With whose rights it does it.</summary>
internal enum MmuPrivilege
{
    /// <summary>CPL 3.</summary>
    User = 0,

    /// <summary>Supervisor; with CR4.SMAP, user pages are out of reach. Also all implicit accesses to descriptor tables and the TSS.</summary>
    Kernel = 1,

    /// <summary>Supervisor with RFLAGS.AC set, which suspends SMAP.</summary>
    KernelAc = 2,
}

/// <summary>Where a linear address leads.</summary>
internal unsafe struct Translation
{
    /// <summary>Guest physical address, exact to the byte.</summary>
    public ulong Gpa;

    /// <summary>Host address of the byte; null when the access goes to the intercept handler.</summary>
    public byte* Host;

    /// <summary>The page's marks; null outside RAM.</summary>
    public byte* PageFlags;
}

/// <summary>The block cache, as the memory side sees it.</summary>
internal interface ICodePageObserver
{
    /// <summary>
    /// The guest stored into a page marked HasCode, after the store. Drops the blocks made of these bytes. The processor
    /// leaves its present block after the instruction when that one was hit: the implementation arranges it.
    /// </summary>
    void OnGuestStore(SoftwareVirtualProcessor vp, ulong gpa, int length);

    /// <summary>The host stored into a page marked HasCode, within one page; on any thread. Drops the blocks made of these bytes.</summary>
    void OnHostStore(ulong gpa, int length);

    /// <summary>Host memory behind guest physical space was mapped or unmapped: drops every block. On any thread.</summary>
    void OnRegionsChanged();

    /// <summary>The processor's translations were dropped, perhaps but for the global ones: what is looked up by linear address is stale.</summary>
    void OnFetchTlbFlushed(SoftwareVirtualProcessor vp, bool isGlobalKept);

    /// <summary>The same for one page.</summary>
    void OnFetchPageFlushed(SoftwareVirtualProcessor vp, ulong linear);
}
