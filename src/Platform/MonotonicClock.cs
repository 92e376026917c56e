using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Vitro.Platform;

/// <summary>The clock of <see cref="Stopwatch"/>, for code that is not C#.</summary>
public static unsafe class MonotonicClock
{
    /// <summary>
    /// <c>int clock_gettime(int, struct timespec *)</c> of the C library, when its CLOCK_MONOTONIC is what <see cref="Stopwatch"/> counts in
    /// nanoseconds; else 0.
    /// </summary>
    public static nint Reader { get; } = Find();

    private static nint Find()
    {
        if (Stopwatch.Frequency != 1_000_000_000 || !NativeLibrary.TryLoad("libc.so.6", out var library)
            || !NativeLibrary.TryGetExport(library, "clock_gettime", out var reader))
        {
            return 0;
        }

        var time = stackalloc long[2];
        var before = Stopwatch.GetTimestamp();
        if (((delegate* unmanaged<int, long*, int>)reader)(Libc.ClockMonotonic, time) != 0)
        {
            return 0;
        }

        var now = (time[0] * 1_000_000_000) + time[1];
        return before <= now && now <= Stopwatch.GetTimestamp() ? reader : 0;
    }
}
