using System.Collections.Immutable;

namespace Vitro.VmBus;

/// <summary>
/// A GPA descriptor list: guest pages the guest shares with a channel's service under a handle, until it tears the list
/// down. Page numbers are as the guest gave them, not checked against its memory map.
/// </summary>
/// <param name="Handle">Chosen by the guest, unique in the partition.</param>
/// <param name="Ranges">At least one.</param>
public sealed record Gpadl(uint Handle, ImmutableArray<GpadlRange> Ranges);

/// <summary>One range of a GPADL.</summary>
/// <param name="ByteCount">Bytes in the range.</param>
/// <param name="ByteOffset">Offset of the first byte in the first page, below 4096.</param>
/// <param name="PageNumbers">4 KiB page numbers, as many as the bytes take.</param>
public sealed record GpadlRange(uint ByteCount, uint ByteOffset, ImmutableArray<ulong> PageNumbers);
