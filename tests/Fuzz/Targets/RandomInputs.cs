namespace Vitro.Fuzz.Targets;

/// <summary>Random inputs for a target, half of them with small numbers, which get past more checks than large ones.</summary>
internal static class RandomInputs
{
    internal static void Run(IFuzzTarget target, int count, int seed)
    {
        var random = new Random(seed);
        for (var i = 0; i < count; i++)
        {
            var input = new byte[random.Next(4000)];
            random.NextBytes(input);
            if (i % 2 == 0)
            {
                for (var at = 0; at < input.Length; at++)
                {
                    if (random.Next(4) != 0)
                    {
                        input[at] = (byte)(random.Next(8) == 0 ? random.Next(32) : 0);
                    }
                }
            }

            target.Run(input);
        }
    }
}
