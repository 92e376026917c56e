using System.CommandLine.Parsing;
using System.Globalization;

namespace Vitro.Cli.Vhd;

/// <summary>Sizes as people write them: 512, 64K, 2M, 40G, 2T; also with iB or B. Powers of 1024.</summary>
internal static class ByteSize
{
    private const string Units = "KMGT";

    internal static bool TryParse(string text, out long bytes)
    {
        var trimmed = text.Trim().ToUpperInvariant();
        trimmed = trimmed.EndsWith("IB", StringComparison.Ordinal) ? trimmed[..^2] : trimmed.EndsWith('B') ? trimmed[..^1] : trimmed;
        var unit = trimmed.Length == 0 ? -1 : Units.IndexOf(trimmed[^1], StringComparison.Ordinal);
        var number = unit < 0 ? trimmed : trimmed[..^1];
        bytes = 0;
        if (!decimal.TryParse(number, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var value)
            || value > long.MaxValue >> (10 * (unit + 1)))
        {
            return false;
        }

        bytes = (long)(value * (1L << (10 * (unit + 1))));
        return true;
    }

    /// <summary>For an option or argument that takes a size.</summary>
    internal static long Parse(ArgumentResult result)
    {
        if (TryParse(result.Tokens[0].Value, out var bytes))
        {
            return bytes;
        }

        result.AddError($"'{result.Tokens[0].Value}' is not a size; write 40G, 512M or a number of bytes.");
        return 0;
    }

    internal static string Format(long bytes)
    {
        if (bytes < 1024)
        {
            return $"{bytes} B";
        }

        var unit = -1;
        var value = (double)bytes;
        while (value >= 1024 && unit < Units.Length - 1)
        {
            value /= 1024;
            unit++;
        }

        return value.ToString("0.##", CultureInfo.InvariantCulture) + $" {Units[unit]}iB";
    }
}
