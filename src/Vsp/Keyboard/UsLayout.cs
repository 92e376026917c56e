namespace Vitro.Vsp.Keyboard;

/// <summary>The keys that type a character on a US keyboard.</summary>
internal static class UsLayout
{
    // Characters of each key row from its first scan code on, plain and with shift.
    private static readonly (byte First, string Plain, string Shifted)[] Rows =
    [
        (0x02, "1234567890-=", "!@#$%^&*()_+"),
        (0x10, "qwertyuiop[]", "QWERTYUIOP{}"),
        (0x1E, "asdfghjkl;'`", "ASDFGHJKL:\"~"),
        (0x2B, "\\zxcvbnm,./", "|ZXCVBNM<>?"),
        (0x39, " ", ""),
        (0x01, "\u001b", ""),
        (0x0E, "\b\t", ""),
        (0x1C, "\n", ""),
        (0x1C, "\r", ""),
        (0x0E, "\u007f", ""),
    ];

    /// <summary>
    /// Appends the presses and releases that type a character; control characters without a key of their own are typed
    /// with control. False when the layout lacks it.
    /// </summary>
    internal static bool TryType(char character, List<Keystroke> keystrokes)
    {
        if (TryFind(character, out var key, out var shifted))
        {
            Press(key, shifted ? ScanCode.Shift : null, keystrokes);
            return true;
        }

        if (character is >= '\u0001' and <= '\u001a' && TryFind((char)(character + 'a' - 1), out key, out _))
        {
            Press(key, ScanCode.Control, keystrokes);
            return true;
        }

        return false;
    }

    private static bool TryFind(char character, out ScanCode key, out bool shifted)
    {
        foreach (var (first, plain, shift) in Rows)
        {
            var index = plain.IndexOf(character, StringComparison.Ordinal);
            shifted = index < 0;
            index = shifted ? shift.IndexOf(character, StringComparison.Ordinal) : index;
            if (index >= 0)
            {
                key = new ScanCode((byte)(first + index));
                return true;
            }
        }

        (key, shifted) = (default, false);
        return false;
    }

    private static void Press(ScanCode key, ScanCode? modifier, List<Keystroke> keystrokes)
    {
        if (modifier is { } down)
        {
            keystrokes.Add(new Keystroke(down, IsRelease: false));
        }

        keystrokes.Add(new Keystroke(key, IsRelease: false));
        keystrokes.Add(new Keystroke(key, IsRelease: true));
        if (modifier is { } up)
        {
            keystrokes.Add(new Keystroke(up, IsRelease: true));
        }
    }
}
