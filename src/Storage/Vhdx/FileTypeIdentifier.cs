using System.Text;

namespace Vitro.Storage.Vhdx;

/// <summary>The first bytes of a VHDX file and who made it ([MS-VHDX] 2.2.1).</summary>
internal static class FileTypeIdentifier
{
    internal const int Size = 520;

    private const int CreatorOffset = 8;

    private static ReadOnlySpan<byte> Signature => "vhdxfile"u8;

    internal static bool IsPresent(ReadOnlySpan<byte> start) => start.StartsWith(Signature);

    internal static string ReadCreator(ReadOnlySpan<byte> source)
    {
        var text = Encoding.Unicode.GetString(source[CreatorOffset..Size]);
        var end = text.IndexOf('\0', StringComparison.Ordinal);
        return end < 0 ? text : text[..end];
    }

    internal static void Write(Span<byte> target, string creator)
    {
        target[..Size].Clear();
        Signature.CopyTo(target);
        _ = Encoding.Unicode.GetBytes(creator, target[CreatorOffset..(Size - 2)]);
    }
}
