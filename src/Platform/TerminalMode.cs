using System.Runtime.InteropServices;

namespace Vitro.Platform;

/// <summary>Puts the controlling terminal into raw mode and gives it back as it was.</summary>
/// <remarks>Dispose restores the terminal; it is safe to call more than once.</remarks>
public sealed partial class TerminalMode : IDisposable
{
    // Large enough for struct termios of every Linux architecture; the C library fills and reads it.
    private const int TermiosSize = 256;
    private const int StandardInput = 0;
    private const int SetNow = 0;
    private readonly byte[] _saved;
    private bool _restored;

    private TerminalMode(byte[] saved) => _saved = saved;

    /// <summary>Whether standard input is a terminal.</summary>
    public static bool InputIsTerminal => Isatty(StandardInput) == 1;

    /// <summary>Makes standard input raw: each key arrives at once and as it is; null when it is no terminal.</summary>
    public static TerminalMode? EnterRaw()
    {
        if (!InputIsTerminal)
        {
            return null;
        }

        var saved = new byte[TermiosSize];
        if (Tcgetattr(StandardInput, saved) != 0)
        {
            return null;
        }

        var raw = (byte[])saved.Clone();
        Cfmakeraw(raw);
        _ = Tcsetattr(StandardInput, SetNow, raw);
        return new TerminalMode(saved);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (!_restored)
        {
            _restored = true;
            _ = Tcsetattr(StandardInput, SetNow, _saved);
        }
    }

    [LibraryImport("libc", EntryPoint = "isatty")]
    private static partial int Isatty(int fd);

    [LibraryImport("libc", EntryPoint = "tcgetattr")]
    private static partial int Tcgetattr(int fd, [Out] byte[] termios);

    [LibraryImport("libc", EntryPoint = "tcsetattr")]
    private static partial int Tcsetattr(int fd, int actions, byte[] termios);

    [LibraryImport("libc", EntryPoint = "cfmakeraw")]
    private static partial void Cfmakeraw([In, Out] byte[] termios);
}
