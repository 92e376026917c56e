using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using System.Text;

namespace Vitro.Storage.Vhdx;

/// <summary>The names by which a differencing disk finds its parent ([MS-VHDX] 2.6.2.6).</summary>
internal sealed class ParentLocator
{
    internal const string Linkage = "parent_linkage";
    internal const string Linkage2 = "parent_linkage2";
    internal const string RelativePath = "relative_path";
    internal const string VolumePath = "volume_path";
    internal const string AbsolutePath = "absolute_win32_path";

    private const int HeaderSize = 20;
    private const int EntrySize = 12;

    private static readonly Guid VhdxType = new("B04AEFB7-D19E-4A81-B789-25B8E9445913");

    internal ParentLocator(IReadOnlyDictionary<string, string> values) => Values = values;

    internal IReadOnlyDictionary<string, string> Values { get; }

    /// <summary>The identity the parent's data must have; <see cref="Linkage2"/> is that of an interrupted change.</summary>
    internal bool Accepts(Guid parentIdentity) => Matches(Linkage, parentIdentity) || Matches(Linkage2, parentIdentity);

    internal static bool TryRead(ReadOnlySpan<byte> source, [NotNullWhen(true)] out ParentLocator? locator, out string problem)
    {
        locator = null;
        problem = "";
        if (source.Length < HeaderSize || new Guid(source[..16]) != VhdxType)
        {
            problem = "the locator's type is not that of a VHDX parent";
            return false;
        }

        var count = BinaryPrimitives.ReadUInt16LittleEndian(source[18..]);
        if (HeaderSize + (count * EntrySize) > source.Length)
        {
            problem = $"{count} entries do not fit its {source.Length} bytes";
            return false;
        }

        var values = new Dictionary<string, string>(StringComparer.Ordinal);
        for (var i = 0; i < count; i++)
        {
            var entry = source[(HeaderSize + (i * EntrySize))..];
            if (!TryText(source, BinaryPrimitives.ReadUInt32LittleEndian(entry), BinaryPrimitives.ReadUInt16LittleEndian(entry[8..]), out var key)
                || !TryText(source, BinaryPrimitives.ReadUInt32LittleEndian(entry[4..]), BinaryPrimitives.ReadUInt16LittleEndian(entry[10..]), out var value))
            {
                problem = $"entry {i} points outside it";
                return false;
            }

            values[key] = value;
        }

        if (!values.ContainsKey(Linkage))
        {
            problem = "it names no parent_linkage";
            return false;
        }

        locator = new ParentLocator(values);
        return true;
    }

    internal byte[] Build()
    {
        var texts = Values.Select(pair => (Key: Encoding.Unicode.GetBytes(pair.Key), Value: Encoding.Unicode.GetBytes(pair.Value))).ToArray();
        var next = HeaderSize + (texts.Length * EntrySize);
        var result = new byte[next + texts.Sum(text => text.Key.Length + text.Value.Length)];
        _ = VhdxType.TryWriteBytes(result);
        BinaryPrimitives.WriteUInt16LittleEndian(result.AsSpan(18), (ushort)texts.Length);
        for (var i = 0; i < texts.Length; i++)
        {
            var entry = result.AsSpan(HeaderSize + (i * EntrySize));
            var (key, value) = texts[i];
            BinaryPrimitives.WriteUInt32LittleEndian(entry, (uint)next);
            BinaryPrimitives.WriteUInt32LittleEndian(entry[4..], (uint)(next + key.Length));
            BinaryPrimitives.WriteUInt16LittleEndian(entry[8..], (ushort)key.Length);
            BinaryPrimitives.WriteUInt16LittleEndian(entry[10..], (ushort)value.Length);
            key.CopyTo(result, next);
            value.CopyTo(result, next + key.Length);
            next += key.Length + value.Length;
        }

        return result;
    }

    private static bool TryText(ReadOnlySpan<byte> source, uint offset, ushort length, out string text)
    {
        var inside = offset <= source.Length && length <= source.Length - offset;
        text = inside ? Encoding.Unicode.GetString(source.Slice((int)offset, length)) : "";
        return inside;
    }

    private bool Matches(string key, Guid identity) => Values.TryGetValue(key, out var text) && Guid.TryParse(text, out var id) && id == identity;
}
