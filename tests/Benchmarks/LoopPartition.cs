using System.Buffers.Binary;
using Vitro.Foundation;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Software;
using Vitro.Hypervisor.Vid;
using Vitro.Tests;

namespace Vitro.Benchmarks;

/// <summary>
/// A partition of one processor in 64-bit mode that runs a few bytes of code, with no devices but what it is given. RBX holds the address of its data.
/// </summary>
internal sealed class LoopPartition : IDisposable
{
    internal const int DataAddress = 0x20000;
    private const int CodeAddress = 0x10000;
    private const int TableAddress = 0x1000;
    private readonly GuestMemory _ram = GuestMemory.Create(16 << 20);
    private readonly GpaSpace _gpa;
    private readonly VmClock _clock = new(TimeProvider.System);
    private readonly IPartition _partition;

    /// <summary>Creates it on the engine's usual way of execution, or a given one, and without devices, or with given ones.</summary>
    internal LoopPartition(ReadOnlySpan<byte> code, IExecutionFactory? execution = null, ulong address = CodeAddress, IInterceptHandler? devices = null)
    {
        _gpa = new GpaSpace(_ram);
        _gpa.TryWrite(address, code);
        WritePageTables(_gpa);
        var engine = new SoftwareEngine();
        var empty = new EmptyMachine();
        var options = new PartitionOptions
        {
            Gpa = _gpa,
            VirtualProcessorCount = 1,
            Cpuid = engine.GetSupportedCpuid(),
            Clock = _clock,
            Intercepts = devices ?? empty,
            InterruptControllers = [empty],
        };
        _partition = execution == null ? engine.CreatePartition(options) : new SoftwarePartition(options, execution);
        Processor.SetState(InitialState(address));
    }

    internal IVirtualProcessor Processor => _partition.VirtualProcessors[0];

    /// <summary>How long making room in a full code memory has taken at most, in milliseconds.</summary>
    internal double LongestEviction
    {
        get
        {
            var node = new InspectNode();
            _partition.Inspect(node);
            return (long)node.Find("code/longest_eviction_us")! / 1e3;
        }
    }

    /// <summary>A word of the data.</summary>
    internal ulong Read(int index)
    {
        Span<byte> word = stackalloc byte[8];
        _gpa.TryRead((ulong)(DataAddress + (index * 8)), word);
        return BinaryPrimitives.ReadUInt64LittleEndian(word);
    }

    /// <summary>What the guest's time stamp counter says, in nanoseconds.</summary>
    internal ulong Time => (ulong)_clock.Nanoseconds;

    /// <summary>Sets the first page of the data to zero.</summary>
    internal void Clear() => _gpa.TryWrite(DataAddress, new byte[4096]);

    public void Dispose()
    {
        _partition.Dispose();
        _gpa.Dispose();
        _ram.Dispose();
        _clock.Dispose();
    }

    private static void WritePageTables(GpaSpace gpa)
    {
        Span<byte> entry = stackalloc byte[8];
        ReadOnlySpan<(ulong At, ulong Value)> entries = [(0, 0x2003), (0x1000, 0x3003), (0x2000, 0x83), (0x2008, 0x20_0083)];
        foreach (var (at, value) in entries)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(entry, value);
            gpa.TryWrite(TableAddress + at, entry);
        }
    }

    private static VirtualProcessorState InitialState(ulong address)
    {
        var state = new VirtualProcessorState
        {
            Rip = address,
            Cr0 = 0x8000_0033,
            Cr3 = TableAddress,
            Cr4 = 0x620,
            Efer = 0x500,
            Cs = new SegmentState(8, 0, uint.MaxValue, 0xA09B),
            Ss = new SegmentState(16, 0, uint.MaxValue, 0xC093),
            Ds = new SegmentState(16, 0, uint.MaxValue, 0xC093),
            Es = new SegmentState(16, 0, uint.MaxValue, 0xC093),
        };
        state.Gpr[3] = DataAddress;
        state.Gpr[4] = 0x9000;
        return state;
    }
}
