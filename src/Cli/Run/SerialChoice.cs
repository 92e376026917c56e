using Vitro.Configuration;

namespace Vitro.Cli.Run;

/// <summary>Where the first serial port leads.</summary>
/// <param name="Kind">The kind of end.</param>
/// <param name="Path">Path of the file or socket.</param>
internal sealed record SerialChoice(SerialKind Kind, string Path)
{
    internal static SerialChoice Parse(string text)
    {
        if (text == "stdio")
        {
            return new SerialChoice(SerialKind.Stdio, "");
        }

        var colon = text.IndexOf(':', StringComparison.Ordinal);
        var path = colon < 0 ? "" : text[(colon + 1)..];
        return (colon < 0 ? text : text[..colon], path.Length) switch
        {
            ("file", > 0) => new SerialChoice(SerialKind.File, path),
            ("socket", > 0) => new SerialChoice(SerialKind.Socket, path),
            _ => throw new DefinitionException("--serial", $"'{text}' is no serial port", "Use stdio, file:PATH or socket:PATH"),
        };
    }
}

/// <summary>Kinds of ends of a serial port.</summary>
internal enum SerialKind
{
    Stdio,
    File,
    Socket,
}
