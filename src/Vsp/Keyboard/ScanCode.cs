namespace Vitro.Vsp.Keyboard;

/// <summary>A key by its make code in PC scan code set 1.</summary>
/// <param name="Code">Make code, 0x01 to 0x7F.</param>
/// <param name="IsExtended">The code has the E0 prefix: arrows, right control, and their like.</param>
public readonly record struct ScanCode(byte Code, bool IsExtended = false)
{
    /// <summary>Left control.</summary>
    public static readonly ScanCode Control = new(0x1D);

    /// <summary>Left shift.</summary>
    public static readonly ScanCode Shift = new(0x2A);

    /// <summary>Left alt.</summary>
    public static readonly ScanCode Alt = new(0x38);

    /// <summary>Delete.</summary>
    public static readonly ScanCode Delete = new(0x53, IsExtended: true);

    /// <summary>Enter.</summary>
    public static readonly ScanCode Enter = new(0x1C);

    /// <summary>Escape.</summary>
    public static readonly ScanCode Escape = new(0x01);
}

/// <summary>A key going down or up.</summary>
/// <param name="Key">Which key.</param>
/// <param name="IsRelease">It goes up.</param>
public readonly record struct Keystroke(ScanCode Key, bool IsRelease);
