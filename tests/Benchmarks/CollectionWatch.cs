using System.Runtime.InteropServices;

namespace Vitro.Benchmarks;

/// <summary>
/// The processor time of the longest collection that a thread's own allocations started. A busy host does not stretch it, as it does the pauses
/// that it causes. What the collector does on a thread of its own is not in it.
/// </summary>
internal sealed partial class CollectionWatch
{
    private const int ThreadProcessorTime = 3; // CLOCK_THREAD_CPUTIME_ID
    private int _collections = GC.CollectionCount(0);
    private long _before;

    /// <summary>In milliseconds.</summary>
    internal double Longest { get; private set; }

    /// <summary>Before an allocation.</summary>
    internal void Begin() => _before = Now();

    /// <summary>After it, on the same thread.</summary>
    internal void End()
    {
        if (GC.CollectionCount(0) is var collections && collections != _collections)
        {
            _collections = collections;
            Longest = Math.Max(Longest, (Now() - _before) / 1e6);
        }
    }

    private static long Now()
    {
        _ = ReadClock(ThreadProcessorTime, out var time);
        return (time.Seconds * 1_000_000_000) + time.Nanoseconds;
    }

    [LibraryImport("libc", EntryPoint = "clock_gettime")]
    private static partial int ReadClock(int clock, out Timespec time);

    [StructLayout(LayoutKind.Sequential)]
    private struct Timespec
    {
        public long Seconds;
        public long Nanoseconds;
    }
}
