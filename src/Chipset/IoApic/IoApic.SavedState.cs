using System.Buffers.Binary;
using Vitro.Foundation;
using static Vitro.Chipset.IoApicSpec;

namespace Vitro.Chipset;

/// <summary>The IO-APIC's state as it is saved.</summary>
internal sealed record IoApicSavedState
{
    internal byte Select { get; init; }

    internal uint Id { get; init; }

    internal ulong[] Entries { get; init; } = [];

    internal uint Levels { get; init; }

    internal void Write(SavedStateWriter writer)
    {
        var entries = new byte[Entries.Length * 8];
        for (var i = 0; i < Entries.Length; i++)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(entries.AsSpan(i * 8), Entries[i]);
        }

        writer.Byte(1, Select);
        writer.UInt32(2, Id);
        writer.Bytes(3, entries);
        writer.UInt32(4, Levels);
    }

    internal static IoApicSavedState Read(SavedStateReader reader)
    {
        var bytes = reader.Bytes(3);
        if (bytes.Length != PinCount * 8)
        {
            throw new SavedStateException($"The IO-APIC has {PinCount} redirection entries; {bytes.Length} bytes were saved.");
        }

        var entries = new ulong[PinCount];
        for (var i = 0; i < PinCount; i++)
        {
            entries[i] = BinaryPrimitives.ReadUInt64LittleEndian(bytes[(i * 8)..]);
        }

        return new IoApicSavedState { Select = reader.Byte(1), Id = reader.UInt32(2), Entries = entries, Levels = reader.UInt32(4) };
    }
}
