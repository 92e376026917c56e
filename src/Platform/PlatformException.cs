using System.Runtime.InteropServices;

namespace Vitro.Platform;

/// <summary>A host operation failed; the message names the operation and the operating system's reason.</summary>
public sealed class PlatformException(string operation, int error)
    : IOException($"{operation}: {Marshal.GetPInvokeErrorMessage(error)} (errno {error})")
{
    /// <summary>The operating system's error number.</summary>
    public int Error { get; } = error;

    internal static PlatformException Last(string operation) => new(operation, Marshal.GetLastPInvokeError());
}
