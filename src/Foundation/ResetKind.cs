namespace Vitro.Foundation;

/// <summary>Why a device is being reset.</summary>
public enum ResetKind
{
    /// <summary>Power-on or power-cycle: all state goes, battery-backed state excepted.</summary>
    Cold,

    /// <summary>The guest or its firmware asked for a system reset; memory content stays.</summary>
    Warm,
}
