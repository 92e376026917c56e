using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Vitro.Foundation;

namespace Vitro.Hypervisor.Engine;

/// <content>The record as it is saved: the same for every engine, so that a machine can go on under another one.</content>
public sealed partial class VirtualProcessorState
{
    private const int MsrEntrySize = 12;
    private const int MaximumMsrs = 4096;
    private const int SmallestXsave = 512 + 64;
    private const int LargestXsave = 16 << 10;

    // A vector that there may be or not.
    private const uint VectorMark = 0x100;

    /// <summary>Writes the record.</summary>
    public void Save(SavedStateWriter writer)
    {
        writer.UInt32(Tag.Version, Version);
        writer.Bytes(Tag.Gpr, MemoryMarshal.AsBytes(Gpr.AsSpan()));
        writer.UInt64(Tag.Rip, Rip);
        writer.UInt64(Tag.Rflags, Rflags);
        SaveSegment(writer, Tag.Cs, Cs);
        SaveSegment(writer, Tag.Ss, Ss);
        SaveSegment(writer, Tag.Ds, Ds);
        SaveSegment(writer, Tag.Es, Es);
        SaveSegment(writer, Tag.Fs, Fs);
        SaveSegment(writer, Tag.Gs, Gs);
        SaveSegment(writer, Tag.Ldtr, Ldtr);
        SaveSegment(writer, Tag.Tr, Tr);
        SaveTable(writer, Tag.Gdtr, Gdtr);
        SaveTable(writer, Tag.Idtr, Idtr);
        writer.UInt64(Tag.Cr0, Cr0);
        writer.UInt64(Tag.Cr2, Cr2);
        writer.UInt64(Tag.Cr3, Cr3);
        writer.UInt64(Tag.Cr4, Cr4);
        writer.UInt64(Tag.Efer, Efer);
        writer.UInt64(Tag.Xcr0, Xcr0);
        writer.Bytes(Tag.Dr, MemoryMarshal.AsBytes(Dr.AsSpan()));
        SaveMsrs(writer);
        writer.UInt64(Tag.TscOffset, TscOffset);
        writer.Bytes(Tag.Xsave, Xsave);
        writer.Byte(Tag.Activity, (byte)Activity);
        writer.Bool(Tag.InterruptShadow, InterruptShadow);
        writer.Bool(Tag.NmiPending, NmiPending);
        writer.Bool(Tag.NmiBlocked, NmiBlocked);
        writer.Bool(Tag.InitPending, InitPending);
        SaveVector(writer, Tag.PendingStartup, PendingStartup);
        SaveVector(writer, Tag.AcknowledgedInterrupt, AcknowledgedInterrupt);
        writer.UInt64(Tag.PendingDebug, PendingDebug);
        writer.Bool(Tag.SmiPending, SmiPending);
        writer.Bool(Tag.InSystemManagement, InSystemManagement);
        writer.Bool(Tag.SystemManagementInNmi, SystemManagementInNmi);
    }

    /// <summary>Reads a record.</summary>
    /// <exception cref="SavedStateException">It is damaged, or a later build's.</exception>
    public static VirtualProcessorState Load(SavedStateReader reader)
    {
        var version = reader.UInt32(Tag.Version, 1);
        var activity = reader.Byte(Tag.Activity);
        if (version is 0 or > Version)
        {
            throw new SavedStateException($"Processor state of version {version} is not known here.");
        }

        if (activity > (byte)VpActivity.WaitForStartup)
        {
            throw new SavedStateException($"Saved processor activity {activity} does not exist.");
        }

        return new VirtualProcessorState
        {
            Gpr = Words(reader, Tag.Gpr, 16),
            Rip = reader.UInt64(Tag.Rip),
            Rflags = reader.UInt64(Tag.Rflags, 2) | 2,
            Cs = LoadSegment(reader, Tag.Cs),
            Ss = LoadSegment(reader, Tag.Ss),
            Ds = LoadSegment(reader, Tag.Ds),
            Es = LoadSegment(reader, Tag.Es),
            Fs = LoadSegment(reader, Tag.Fs),
            Gs = LoadSegment(reader, Tag.Gs),
            Ldtr = LoadSegment(reader, Tag.Ldtr),
            Tr = LoadSegment(reader, Tag.Tr),
            Gdtr = LoadTable(reader, Tag.Gdtr),
            Idtr = LoadTable(reader, Tag.Idtr),
            Cr0 = reader.UInt64(Tag.Cr0),
            Cr2 = reader.UInt64(Tag.Cr2),
            Cr3 = reader.UInt64(Tag.Cr3),
            Cr4 = reader.UInt64(Tag.Cr4),
            Efer = reader.UInt64(Tag.Efer),
            Xcr0 = reader.UInt64(Tag.Xcr0, 1),
            Dr = Words(reader, Tag.Dr, 8),
            Msrs = LoadMsrs(reader),
            TscOffset = reader.UInt64(Tag.TscOffset),
            Xsave = LoadXsave(reader),
            Activity = (VpActivity)activity,
            InterruptShadow = reader.Bool(Tag.InterruptShadow),
            NmiPending = reader.Bool(Tag.NmiPending),
            NmiBlocked = reader.Bool(Tag.NmiBlocked),
            InitPending = reader.Bool(Tag.InitPending),
            PendingStartup = LoadVector(reader, Tag.PendingStartup),
            AcknowledgedInterrupt = LoadVector(reader, Tag.AcknowledgedInterrupt),
            PendingDebug = reader.UInt64(Tag.PendingDebug),
            SmiPending = reader.Bool(Tag.SmiPending),
            InSystemManagement = reader.Bool(Tag.InSystemManagement),
            SystemManagementInNmi = reader.Bool(Tag.SystemManagementInNmi),
        };
    }

    private static void SaveVector(SavedStateWriter writer, ushort tag, byte? vector)
    {
        if (vector is { } value)
        {
            writer.UInt32(tag, VectorMark | value);
        }
    }

    private static byte? LoadVector(SavedStateReader reader, ushort tag)
    {
        var value = reader.UInt32(tag);
        return (value & ~0xFFu) switch
        {
            0 when value == 0 => null,
            VectorMark => (byte)value,
            _ => throw new SavedStateException($"Saved interrupt vector 0x{value:x} does not exist."),
        };
    }

    private void SaveMsrs(SavedStateWriter writer)
    {
        var bytes = new byte[Msrs.Count * MsrEntrySize];
        var at = 0;
        foreach (var (number, value) in Msrs.OrderBy(static entry => entry.Key))
        {
            BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(at), number);
            BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(at + 4), value);
            at += MsrEntrySize;
        }

        writer.Bytes(Tag.Msrs, bytes);
    }

    private static Dictionary<uint, ulong> LoadMsrs(SavedStateReader reader)
    {
        var bytes = reader.Bytes(Tag.Msrs);
        if (bytes.Length % MsrEntrySize != 0 || bytes.Length > MaximumMsrs * MsrEntrySize)
        {
            throw new SavedStateException($"Saved model-specific registers have {bytes.Length} bytes.");
        }

        var msrs = new Dictionary<uint, ulong>();
        for (; !bytes.IsEmpty; bytes = bytes[MsrEntrySize..])
        {
            msrs[BinaryPrimitives.ReadUInt32LittleEndian(bytes)] = BinaryPrimitives.ReadUInt64LittleEndian(bytes[4..]);
        }

        return msrs;
    }

    private static byte[] LoadXsave(SavedStateReader reader)
    {
        var bytes = reader.Bytes(Tag.Xsave);
        return bytes.Length is >= SmallestXsave and <= LargestXsave
            ? bytes.ToArray()
            : throw new SavedStateException($"A saved XSAVE image has {bytes.Length} bytes.");
    }

    private static ulong[] Words(SavedStateReader reader, ushort tag, int count)
    {
        var bytes = reader.Bytes(tag);
        return bytes.Length == count * 8
            ? MemoryMarshal.Cast<byte, ulong>(bytes).ToArray()
            : throw new SavedStateException($"Saved processor field {tag} has {bytes.Length} bytes instead of {count * 8}.");
    }

    private static void SaveSegment(SavedStateWriter writer, ushort tag, SegmentState segment) => writer.Group(tag, inner =>
    {
        inner.UInt32(SegmentTag.Selector, segment.Selector);
        inner.UInt64(SegmentTag.Base, segment.Base);
        inner.UInt32(SegmentTag.Limit, segment.Limit);
        inner.UInt32(SegmentTag.Attributes, segment.Attributes);
    });

    private static SegmentState LoadSegment(SavedStateReader reader, ushort tag)
    {
        var group = reader.Group(tag);
        return new SegmentState(
            (ushort)group.UInt32(SegmentTag.Selector),
            group.UInt64(SegmentTag.Base),
            group.UInt32(SegmentTag.Limit),
            group.UInt32(SegmentTag.Attributes));
    }

    private static void SaveTable(SavedStateWriter writer, ushort tag, TableState table) => writer.Group(tag, inner =>
    {
        inner.UInt64(SegmentTag.Base, table.Base);
        inner.UInt32(SegmentTag.Limit, table.Limit);
    });

    private static TableState LoadTable(SavedStateReader reader, ushort tag)
    {
        var group = reader.Group(tag);
        return new TableState(group.UInt64(SegmentTag.Base), (ushort)group.UInt32(SegmentTag.Limit));
    }

    private static class Tag
    {
        internal const ushort Version = 1;
        internal const ushort Gpr = 2;
        internal const ushort Rip = 3;
        internal const ushort Rflags = 4;
        internal const ushort Cs = 5;
        internal const ushort Ss = 6;
        internal const ushort Ds = 7;
        internal const ushort Es = 8;
        internal const ushort Fs = 9;
        internal const ushort Gs = 10;
        internal const ushort Ldtr = 11;
        internal const ushort Tr = 12;
        internal const ushort Gdtr = 13;
        internal const ushort Idtr = 14;
        internal const ushort Cr0 = 15;
        internal const ushort Cr2 = 16;
        internal const ushort Cr3 = 17;
        internal const ushort Cr4 = 18;
        internal const ushort Efer = 19;
        internal const ushort Xcr0 = 20;
        internal const ushort Dr = 21;
        internal const ushort Msrs = 22;
        internal const ushort TscOffset = 23;
        internal const ushort Xsave = 24;
        internal const ushort Activity = 25;
        internal const ushort InterruptShadow = 26;
        internal const ushort NmiPending = 27;
        internal const ushort NmiBlocked = 28;
        internal const ushort InitPending = 29;
        internal const ushort PendingStartup = 30;
        internal const ushort AcknowledgedInterrupt = 31;
        internal const ushort PendingDebug = 32;
        internal const ushort SmiPending = 33;
        internal const ushort InSystemManagement = 34;
        internal const ushort SystemManagementInNmi = 35;
    }

    private static class SegmentTag
    {
        internal const ushort Selector = 1;
        internal const ushort Base = 2;
        internal const ushort Limit = 3;
        internal const ushort Attributes = 4;
    }
}
