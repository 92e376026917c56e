using System.Globalization;

namespace Vitro.Configuration;

/// <summary>Sizes as people write them: a number with an optional binary suffix (K, M, G, T, with or without iB or B).</summary>
public static class ByteSize
{
    /// <summary>Parses a size in bytes.</summary>
    public static bool TryParse(string text, out long bytes)
    {
        bytes = 0;
        var end = text.Length;
        while (end > 0 && char.IsAsciiLetter(text[end - 1]))
        {
            end--;
        }

        int? shift = text[end..].ToUpperInvariant() switch
        {
            "" or "B" => 0,
            "K" or "KB" or "KIB" => 10,
            "M" or "MB" or "MIB" => 20,
            "G" or "GB" or "GIB" => 30,
            "T" or "TB" or "TIB" => 40,
            _ => null,
        };
        if (shift is null || !decimal.TryParse(text[..end], NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var number))
        {
            return false;
        }

        if (number > (decimal)long.MaxValue / (1L << shift.Value))
        {
            return false;
        }

        var exact = number * (1L << shift.Value);
        bytes = (long)exact;
        return exact == bytes;
    }

    /// <summary>Shows a size with the largest unit that keeps it short.</summary>
    public static string Format(long bytes)
    {
        string[] units = ["B", "KiB", "MiB", "GiB", "TiB"];
        double value = bytes;
        var unit = 0;
        while (value >= 1024 && unit < units.Length - 1)
        {
            value /= 1024;
            unit++;
        }

        return string.Create(CultureInfo.InvariantCulture, $"{value:0.##} {units[unit]}");
    }
}
