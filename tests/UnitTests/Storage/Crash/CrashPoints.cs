namespace Vitro.UnitTests.Storage.Crash;

/// <summary>The moments at which crashes are tried: all of them in the long run, else some, the last always.</summary>
internal static class CrashPoints
{
    private const int ShortRun = 24;

    private static readonly bool Long = Environment.GetEnvironmentVariable("VITRO_LONG_TESTS") == "1";

    internal static IEnumerable<(int Count, CrashMode Mode)> Of(int events, Random random)
    {
        var stride = Long ? 1 : Math.Max(1, events * 4 / ShortRun);
        foreach (var mode in Enum.GetValues<CrashMode>())
        {
            for (var count = random.Next(stride); count < events; count += 1 + random.Next((2 * stride) - 1))
            {
                yield return (count, mode);
            }

            yield return (events, mode);
        }
    }
}
