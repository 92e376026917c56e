using System.Buffers.Binary;
using Vitro.Foundation;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Kvm;
using Vitro.Hypervisor.Tlfs;
using Vitro.Hypervisor.Vid;
using Vitro.Platform;
using Vitro.Tests;

namespace Vitro.KvmTests;

/// <summary>A partition of the KVM engine with nothing around it: it records what leaves the guest.</summary>
internal sealed class KvmMachine : IInterceptHandler, IDisposable
{
    internal const ulong Code = 0x8000;
    internal const ulong Stack = 0x7000;
    internal const ulong Idt = 0x3000;
    internal const ulong Gdt = 0x4000;
    internal const ulong PageTables = 0x10000;
    internal const ulong Unbacked = 0x3000_0000;
    internal const ushort StopPort = 0x200;
    internal const ulong MemorySize = 16 << 20;

    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(20);
    private readonly VmClock _clock = new(TimeProvider.System);
    private readonly GuestMemory _ram;

    internal KvmMachine(
        int processors = 1, ulong? tscFrequency = null, KvmAccelerations? accelerations = null, bool isHyperv = false, MemoryPages pages = MemoryPages.Ordinary)
    {
        _ram = GuestMemory.Create(MemorySize, pages);
        Gpa = new GpaSpace(_ram);
        External = new ExternalInterrupts();
        var engine = new KvmEngine(accelerations ?? new KvmAccelerations());
        engine.TryGetProcessorModel(engine.ProcessorModels[0], out var cpuid);
        if (isHyperv)
        {
            HypervCpuid.AddTo(cpuid!, engine.Features);
        }

        Partition = engine.CreatePartition(new PartitionOptions
        {
            Gpa = Gpa,
            VirtualProcessorCount = processors,
            Cpuid = cpuid!,
            Clock = _clock,
            TscFrequency = tscFrequency,
            Intercepts = this,
            InterruptControllers = [.. Enumerable.Range(0, processors).Select(i => i == 0 ? External : new ExternalInterrupts())],
        });
    }

    internal GpaSpace Gpa { get; }

    internal IPartition Partition { get; }

    internal ExternalInterrupts External { get; }

    internal IVirtualProcessor Processor => Partition.VirtualProcessors[0];

    /// <summary>What left the guest, in order, as text.</summary>
    internal List<string> Log { get; } = [];

    /// <summary>Answers reads.</summary>
    internal Func<ulong, int, ulong> Read { get; set; } = (_, _) => 0;

    /// <summary>Answers hypercalls; null refuses them.</summary>
    internal Func<HypercallRegisters, ulong>? Hypercall { get; set; }

    /// <summary>Takes writes of synthetic MSRs; null leaves them without effect.</summary>
    internal Func<uint, ulong, bool>? WriteMsr { get; set; }

    /// <summary>Keeps nothing of what leaves the guest.</summary>
    internal bool IsQuiet { get; set; }

    /// <summary>Whether accesses of synthetic MSRs succeed.</summary>
    internal bool MsrsWork { get; set; } = true;

    /// <summary>Runs processor 0 until the guest writes to <see cref="StopPort"/>; it must not end otherwise.</summary>
    internal void RunToStop()
    {
        var exit = RunToEnd(Processor);
        Check.Equal(VpExitReason.Cancelled, exit.Reason, exit.Detail);
    }

    /// <summary>Runs a processor until something ends it.</summary>
    internal static VpExit RunToEnd(IVirtualProcessor processor)
    {
        var late = false;
        using var patience = new Timer(
            _ =>
            {
                late = true;
                processor.Cancel();
            },
            null,
            Limit,
            Timeout.InfiniteTimeSpan);
        var exit = processor.Run();
        if (Volatile.Read(ref late))
        {
            var state = processor.GetState();
            throw new CheckFailedException($"The guest did not stop: it is {state.Activity} at {state.Cs.Selector:x}:{state.Rip:x}.");
        }

        return exit;
    }

    /// <summary>Places code and starts processor 0 at it in real mode with flat 64 KiB segments at 0.</summary>
    internal void StartReal(params ReadOnlySpan<byte> code)
    {
        Write(Code, code);
        var state = Processor.GetState();
        var data = new SegmentState(0, 0, 0xFFFF, 0x93);
        state.Cs = new SegmentState(0, 0, 0xFFFF, 0x9B);
        state.Ds = state.Es = state.Ss = data;
        state.Rip = Code;
        state.Gpr[4] = Stack;
        state.Rflags = 2;
        state.Activity = VpActivity.Running;
        Processor.SetState(state);
    }

    /// <summary>Places code and starts a processor at it in 64-bit mode, memory mapped one to one, at a privilege level.</summary>
    internal void StartLong(ReadOnlySpan<byte> code, int privilege = 0, int processor = 0, ulong at = Code)
    {
        Write(at, code);
        MakeTables();
        var vp = Partition.VirtualProcessors[processor];
        var state = vp.GetState();
        SetLong(state, privilege);
        state.Rip = at;
        state.Gpr[4] = Stack;
        state.Rflags = 2;
        state.Activity = VpActivity.Running;
        state.PendingDebug = 0;
        state.SmiPending = state.InSystemManagement = false;
        vp.SetState(state);
    }

    /// <summary>Sets an interrupt gate to code; its handler runs at privilege level 0 on the same stack.</summary>
    internal void SetGate(int vector, ulong handler, ReadOnlySpan<byte> code)
    {
        Write(handler, code);
        Span<byte> gate = stackalloc byte[16];
        BinaryPrimitives.WriteUInt16LittleEndian(gate, (ushort)handler);
        BinaryPrimitives.WriteUInt16LittleEndian(gate[2..], 8);
        gate[5] = 0x8E;
        BinaryPrimitives.WriteUInt16LittleEndian(gate[6..], (ushort)(handler >> 16));
        Write(Idt + ((ulong)vector * 16), gate);
    }

    internal void Write(ulong address, ReadOnlySpan<byte> bytes) => Check.That(Gpa.TryWrite(address, bytes), "the address is memory");

    internal ulong ReadQword(ulong address)
    {
        Span<byte> bytes = stackalloc byte[8];
        Check.That(Gpa.TryRead(address, bytes), "the address is memory");
        return BinaryPrimitives.ReadUInt64LittleEndian(bytes);
    }

    public uint ReadPort(IVirtualProcessor vp, ushort port, int size)
    {
        Note("in", port, size);
        return (uint)Read(port, size);
    }

    public void WritePort(IVirtualProcessor vp, ushort port, int size, uint value)
    {
        if (port == StopPort)
        {
            vp.Cancel();
            return;
        }

        Note("out", port, size, value);
    }

    public ulong ReadMmio(IVirtualProcessor vp, ulong gpa, int size)
    {
        Note("load", gpa, size);
        return Read(gpa, size);
    }

    public void WriteMmio(IVirtualProcessor vp, ulong gpa, int size, ulong value) => Note("store", gpa, size, value);

    public bool TryReadMsr(IVirtualProcessor vp, uint msr, out ulong value)
    {
        if (!IsQuiet)
        {
            Log.Add($"rdmsr {msr:x}");
        }

        value = Read(msr, 8);
        return MsrsWork;
    }

    public bool TryWriteMsr(IVirtualProcessor vp, uint msr, ulong value)
    {
        Log.Add($"wrmsr {msr:x} {value:x}");
        return WriteMsr?.Invoke(msr, value) ?? MsrsWork;
    }

    public bool TryHypercall(IVirtualProcessor vp, in HypercallRegisters registers, out ulong result)
    {
        result = Hypercall?.Invoke(registers) ?? 0;
        return Hypercall is not null;
    }

    public void Dispose()
    {
        Partition.Dispose();
        Gpa.Dispose();
        _ram.Dispose();
        _clock.Dispose();
    }

    private void Note(string what, ulong place, int size, ulong? value = null)
    {
        if (!IsQuiet)
        {
            Log.Add(value is null ? $"{what} {place:x} {size}" : $"{what} {place:x} {size} {value:x}");
        }
    }

    private static void SetLong(VirtualProcessorState state, int privilege)
    {
        var dpl = (uint)privilege << 5;
        state.Cs = new SegmentState((ushort)(privilege == 0 ? 8 : 0x1B), 0, uint.MaxValue, 0xA09B | dpl);
        state.Ss = state.Ds = state.Es = new SegmentState((ushort)(privilege == 0 ? 0x10 : 0x23), 0, uint.MaxValue, 0xC093 | dpl);
        state.Tr = new SegmentState(0x28, 0x5000, 0x67, 0x8B);
        state.Gdtr = new TableState(Gdt, 0x2F);
        state.Idtr = new TableState(Idt, 0xFFF);
        state.Cr0 = 0x8000_0031;
        state.Cr3 = PageTables;
        state.Cr4 = 0x620;
        state.Efer = 0x500;
    }

    // One table of 2 MiB pages for the first GiB, open to user mode; kernel code and data segments.
    private void MakeTables()
    {
        Span<byte> table = stackalloc byte[4096];
        table.Clear();
        BinaryPrimitives.WriteUInt64LittleEndian(table, (PageTables + 0x1000) | 7);
        Write(PageTables, table);
        BinaryPrimitives.WriteUInt64LittleEndian(table, (PageTables + 0x2000) | 7);
        Write(PageTables + 0x1000, table);
        for (var i = 0; i < 512; i++)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(table[(i * 8)..], ((ulong)i << 21) | 0x87);
        }

        Write(PageTables + 0x2000, table);
        Span<byte> segments = stackalloc byte[0x30];
        segments.Clear();
        BinaryPrimitives.WriteUInt64LittleEndian(segments[0x08..], 0x00AF_9B00_0000_FFFF);
        BinaryPrimitives.WriteUInt64LittleEndian(segments[0x10..], 0x00CF_9300_0000_FFFF);
        BinaryPrimitives.WriteUInt64LittleEndian(segments[0x18..], 0x00AF_FB00_0000_FFFF);
        BinaryPrimitives.WriteUInt64LittleEndian(segments[0x20..], 0x00CF_F300_0000_FFFF);
        Write(Gdt, segments);

        // The stack of privilege level 0, for interrupts of user mode.
        Span<byte> stack = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(stack, Stack);
        Write(0x5004, stack);
    }

    /// <summary>Stands for the 8259 pair.</summary>
    internal sealed class ExternalInterrupts : ILocalInterruptController
    {
        private int _pending = -1;

        public bool HasPendingInterrupt => Volatile.Read(ref _pending) >= 0;

        public byte Cr8 { get; set; }

        internal void Raise(byte vector) => Volatile.Write(ref _pending, vector);

        public bool TryAcknowledge(out byte vector)
        {
            var pending = Interlocked.Exchange(ref _pending, -1);
            vector = (byte)pending;
            return pending >= 0;
        }
    }
}
