namespace Vitro.Hypervisor.Vid;

/// <summary>Per-page marks of RAM, kept by <see cref="GpaSpace"/>.</summary>
[Flags]
public enum GpaPageFlags : byte
{
    /// <summary>Nothing known.</summary>
    None = 0,

    /// <summary>The engine holds decoded or translated code of this page.</summary>
    HasCode = 1,

    /// <summary>The page was written since its dirty mark was last cleared.</summary>
    Dirty = 2,

    /// <summary>A virtual processor may hold the page in a cache of writable translations; cleared once none does.</summary>
    StoreMapped = 4,
}
