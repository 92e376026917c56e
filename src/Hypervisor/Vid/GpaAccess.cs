namespace Vitro.Hypervisor.Vid;

/// <summary>What a guest may do with a mapped range of guest physical addresses.</summary>
[Flags]
public enum GpaAccess
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>Read.</summary>
    Read = 1,

    /// <summary>Write.</summary>
    Write = 2,

    /// <summary>Fetch instructions.</summary>
    Execute = 4,

    /// <summary>RAM.</summary>
    All = Read | Write | Execute,
}
