using System.Globalization;

namespace Vitro.Tests;

/// <summary>What a case demands; the same in every program that runs the cases.</summary>
internal static class Check
{
    internal static void That(bool holds, string what)
    {
        if (!holds)
        {
            throw new CheckFailedException("It does not hold that " + what + ".");
        }
    }

    internal static void Equal<T>(T expected, T actual, string detail = "")
    {
        if (!EqualityComparer<T>.Default.Equals(expected, actual))
        {
            throw new CheckFailedException(string.Create(CultureInfo.InvariantCulture, $"Expected {expected}, got {actual}. {detail}"));
        }
    }
}

/// <summary>A case that failed.</summary>
internal sealed class CheckFailedException(string message) : Exception(message);
