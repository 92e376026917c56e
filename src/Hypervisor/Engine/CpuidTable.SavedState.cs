using System.Buffers.Binary;
using Vitro.Foundation;

namespace Vitro.Hypervisor.Engine;

/// <content>The table as it is saved: what a guest was once promised stays so wherever it goes on.</content>
public sealed partial class CpuidTable
{
    private const ushort EntriesTag = 1;
    private const int EntrySize = 24;
    private const int MaximumEntries = 1024;

    /// <summary>Writes the table.</summary>
    public void Save(SavedStateWriter writer)
    {
        var bytes = new byte[_leaves.Count * EntrySize];
        var at = bytes.AsSpan();
        foreach (var ((leaf, subleaf), result) in _leaves.OrderBy(static entry => entry.Key))
        {
            foreach (var word in (ReadOnlySpan<uint>)[leaf, subleaf, result.Eax, result.Ebx, result.Ecx, result.Edx])
            {
                BinaryPrimitives.WriteUInt32LittleEndian(at, word);
                at = at[4..];
            }
        }

        writer.Bytes(EntriesTag, bytes);
    }

    /// <summary>Reads a table.</summary>
    /// <exception cref="SavedStateException">It is damaged.</exception>
    public static CpuidTable Load(SavedStateReader reader)
    {
        var bytes = reader.Bytes(EntriesTag);
        if (bytes.IsEmpty || bytes.Length % EntrySize != 0 || bytes.Length > MaximumEntries * EntrySize)
        {
            throw new SavedStateException($"The saved CPUID table has {bytes.Length} bytes.");
        }

        var table = new CpuidTable();
        for (; !bytes.IsEmpty; bytes = bytes[EntrySize..])
        {
            table._leaves[(Word(bytes, 0), Word(bytes, 1))] = new CpuidResult(Word(bytes, 2), Word(bytes, 3), Word(bytes, 4), Word(bytes, 5));
        }

        return table;
    }

    private static uint Word(ReadOnlySpan<byte> bytes, int index) => BinaryPrimitives.ReadUInt32LittleEndian(bytes[(index * 4)..]);
}
