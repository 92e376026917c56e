using System.Buffers.Binary;
using Microsoft.Extensions.Time.Testing;
using Vitro.Foundation;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Software;
using Vitro.Hypervisor.Vid;

namespace Vitro.UnitTests.Hypervisor.Software;

/// <summary>
/// A partition of one processor (or more, all in the reset state but the first) with 16 MiB of RAM and nothing behind its intercepts, with the tables of the processor's
/// modes written by hand.
/// </summary>
internal sealed unsafe class TestProcessor : IInterceptHandler, ILocalInterruptController, IDisposable
{
    public const ulong Pml4 = 0x10_0000;
    public const ulong Gdt = 0x20_0000;
    public const ulong Idt = 0x20_1000;
    public const ulong Tss = 0x20_3000;
    public const ulong Code = 0x30_0000;
    public const ulong Handler = 0x31_0000;
    public const ulong Stack = 0x40_0000;
    public const ulong InnerStack = 0x41_0000;
    public const ulong IstStack = 0x42_0000;
    public const ulong SecondTss = 0x20_4000;
    public const ulong CallTarget = 0x33_0000;

    public const ushort KernelCode = 0x08;
    public const ushort KernelData = 0x10;
    public const ushort UserCode32 = 0x1B;
    public const ushort UserData = 0x23;
    public const ushort UserCode = 0x2B;
    public const ushort TaskState = 0x30;

    private readonly GuestMemory _ram = GuestMemory.Create(16 << 20);
    private readonly GpaSpace _gpa;
    private readonly VmClock _clock;
    private readonly SoftwarePartition _partition;

    /// <summary>Creates it, on the interpreter unless another way of execution is given; time stands still unless it is given.</summary>
    public TestProcessor(IExecutionFactory? execution = null, int processors = 1, TimeProvider? time = null, ulong tscFrequency = 0)
    {
        _clock = new VmClock(time ?? new FakeTimeProvider());
        _gpa = new GpaSpace(_ram);
        _partition = new SoftwarePartition(
            new PartitionOptions
            {
                Gpa = _gpa,
                VirtualProcessorCount = processors,
                Cpuid = CpuModel.X8664V2.Cpuid,
                Clock = _clock,
                TscFrequency = tscFrequency,
                Intercepts = this,
                InterruptControllers = [.. Enumerable.Repeat(this, processors)],
            },
            execution ?? new InterpreterFactory());
    }

    public SoftwarePartition Partition => _partition;

    public SoftwareVirtualProcessor Vp => _partition.Processors[0];

    public VpState* State => Vp.State;

    public GpaSpace Gpa => _gpa;

    public byte? PendingVector { get; set; }

    public List<(ulong Gpa, int Size, ulong Value)> MmioWrites { get; } = [];

    public List<(ushort Port, int Size, uint Value)> PortWrites { get; } = [];

    public bool HasPendingInterrupt => PendingVector is not null;

    public byte Cr8 { get; set; }

    public void Write(ulong gpa, params ReadOnlySpan<byte> bytes) => Assert(_gpa.TryWrite(gpa, bytes));

    public void WriteWord(ulong gpa, ulong value)
    {
        Span<byte> bytes = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        Write(gpa, bytes);
    }

    public uint ReadDoubleWord(ulong gpa) => (uint)ReadWord(gpa);

    public ulong ReadWord(ulong gpa)
    {
        Span<byte> bytes = stackalloc byte[8];
        Assert(_gpa.TryRead(gpa, bytes));
        return BinaryPrimitives.ReadUInt64LittleEndian(bytes);
    }

    /// <summary>Executes instructions one by one.</summary>
    public void Step(int count = 1)
    {
        Vp.EnterGuest();
        for (var i = 0; i < count; i++)
        {
            Vp.Core.Step(Vp);
        }

        Vp.LeaveGuest();
    }

    /// <summary>
    /// 64-bit code at <see cref="Code"/> with all RAM mapped on itself for everybody, a GDT, a TSS with stacks, and an IDT
    /// whose handlers are the bytes at <see cref="Handler"/> plus 16 times the vector.
    /// </summary>
    public void EnterLongMode(uint cpl = 0)
    {
        WriteWord(Pml4, (Pml4 + 0x1000) | 7);
        WriteWord(Pml4 + 0x1000, (Pml4 + 0x2000) | 7);
        for (var i = 0u; i < 8; i++)
        {
            WriteWord(Pml4 + 0x2000 + (i * 8), ((ulong)i << 21) | 0x87);
        }

        WriteWord(Gdt + KernelCode, 0x00AF_9B00_0000_FFFF);
        WriteWord(Gdt + KernelData, 0x00CF_9300_0000_FFFF);
        WriteWord(Gdt + (UserCode32 & ~7u), 0x00CF_FB00_0000_FFFF);
        WriteWord(Gdt + (UserData & ~7u), 0x00CF_F300_0000_FFFF);
        WriteWord(Gdt + (UserCode & ~7u), 0x00AF_FB00_0000_FFFF);
        WriteWord(Gdt + TaskState, 0x0000_8920_3000_0067);
        WriteWord(Gdt + TaskState + 8, 0);
        WriteWord(Tss + 4, InnerStack);
        WriteWord(Tss + 0x24, IstStack);
        for (var vector = 0u; vector < 256; vector++)
        {
            SetGate(vector, Handler + (vector * 16));
        }

        var state = new VirtualProcessorState
        {
            Rip = Code,
            Cs = cpl == 0 ? new SegmentState(KernelCode, 0, uint.MaxValue, 0xA09B) : new SegmentState(UserCode, 0, uint.MaxValue, 0xA0FB),
            Ss = cpl == 0 ? new SegmentState(KernelData, 0, uint.MaxValue, 0xC093) : new SegmentState(UserData, 0, uint.MaxValue, 0xC0F3),
            Ds = new SegmentState(UserData, 0, uint.MaxValue, 0xC0F3),
            Es = new SegmentState(UserData, 0, uint.MaxValue, 0xC0F3),
            Fs = new SegmentState(0, 0, 0, 0x1_0000),
            Gs = new SegmentState(0, 0, 0, 0x1_0000),
            Ldtr = new SegmentState(0, 0, 0, 0x1_0000),
            Tr = new SegmentState(TaskState, Tss, 0x67, 0x8B),
            Gdtr = new TableState(Gdt, 0x3F),
            Idtr = new TableState(Idt, 0xFFF),
            Cr0 = 0x8001_0033,
            Cr3 = Pml4,
            Cr4 = 0x6A0,
            Efer = 0xD01,
        };
        state.Gpr[4] = Stack;
        state.Dr[6] = 0xFFFF_0FF0;
        state.Dr[7] = 0x400;
        Vp.SetState(state);
        Interlocked.Exchange(ref State->Requests, 0);
    }

    /// <summary>Writes a 64-bit interrupt gate.</summary>
    public void SetGate(uint vector, ulong handler, uint dpl = 0, uint ist = 0, uint type = 0x8E)
    {
        WriteWord(
            Idt + (vector * 16),
            (handler & 0xFFFF) | ((ulong)KernelCode << 16) | ((ulong)ist << 32) | ((ulong)(type | (dpl << 5)) << 40)
                | ((handler >> 16 & 0xFFFF) << 48));
        WriteWord(Idt + (vector * 16) + 8, handler >> 32);
    }

    /// <summary>
    /// 32-bit code at <see cref="Code"/> without paging: a GDT with flat and odd segments, a TSS with an inner stack, and
    /// an IDT of 32-bit gates as in <see cref="EnterLongMode"/>.
    /// </summary>
    public void EnterProtectedMode(uint cpl = 0)
    {
        WriteWord(Gdt + KernelCode, 0x00CF_9B00_0000_FFFF);
        WriteWord(Gdt + KernelData, 0x00CF_9300_0000_FFFF);
        WriteWord(Gdt + (UserCode32 & ~7u), 0x00CF_FB00_0000_FFFF);
        WriteWord(Gdt + (UserData & ~7u), 0x00CF_F300_0000_FFFF);

        // 0x28: expand-down data below 0x1000; 0x30: the TSS; 0x38: not present; 0x40: call gate to ring 0; 0x48: second TSS.
        WriteWord(Gdt + 0x28, 0x0040_9700_0000_0FFF);
        WriteWord(Gdt + TaskState, 0x0000_8B20_3000_0067);
        WriteWord(Gdt + 0x38, 0x00CF_1300_0000_FFFF);
        WriteWord(Gdt + 0x40, (CallTarget & 0xFFFF) | ((ulong)KernelCode << 16) | (0xEC01UL << 32) | (CallTarget >> 16 << 48));
        WriteWord(Gdt + 0x48, 0x0000_8920_4000_0067);
        WriteWord(Tss + 4, InnerStack | ((ulong)KernelData << 32));
        for (var vector = 0u; vector < 256; vector++)
        {
            var handler = Handler + (vector * 16);
            WriteWord(Idt + (vector * 8), (handler & 0xFFFF) | ((ulong)KernelCode << 16) | (0x8EUL << 40) | (handler >> 16 << 48));
        }

        var state = new VirtualProcessorState
        {
            Rip = Code,
            Cs = cpl == 0 ? new SegmentState(KernelCode, 0, uint.MaxValue, 0xC09B) : new SegmentState(UserCode32, 0, uint.MaxValue, 0xC0FB),
            Ss = cpl == 0 ? new SegmentState(KernelData, 0, uint.MaxValue, 0xC093) : new SegmentState(UserData, 0, uint.MaxValue, 0xC0F3),
            Ds = new SegmentState(UserData, 0, uint.MaxValue, 0xC0F3),
            Es = new SegmentState(UserData, 0, uint.MaxValue, 0xC0F3),
            Fs = new SegmentState(0, 0, 0, 0x1_0000),
            Gs = new SegmentState(0, 0, 0, 0x1_0000),
            Ldtr = new SegmentState(0, 0, 0, 0x1_0000),
            Tr = new SegmentState(TaskState, Tss, 0x67, 0x8B),
            Gdtr = new TableState(Gdt, 0x4F),
            Idtr = new TableState(Idt, 0x7FF),
            Cr0 = 0x33,
        };
        state.Gpr[4] = Stack;
        state.Dr[6] = 0xFFFF_0FF0;
        state.Dr[7] = 0x400;
        Vp.SetState(state);
        Interlocked.Exchange(ref State->Requests, 0);
    }

    public uint ReadPort(IVirtualProcessor vp, ushort port, int size) => port;

    public void WritePort(IVirtualProcessor vp, ushort port, int size, uint value) => PortWrites.Add((port, size, value));

    public ulong ReadMmio(IVirtualProcessor vp, ulong gpa, int size) => gpa;

    public void WriteMmio(IVirtualProcessor vp, ulong gpa, int size, ulong value) => MmioWrites.Add((gpa, size, value));

    public bool TryReadMsr(IVirtualProcessor vp, uint msr, out ulong value)
    {
        value = msr;
        return msr >> 16 == 0x4000;
    }

    public bool TryWriteMsr(IVirtualProcessor vp, uint msr, ulong value) => msr >> 16 == 0x4000;

    public bool TryHypercall(IVirtualProcessor vp, in HypercallRegisters registers, out ulong result)
    {
        result = registers.Control + registers.Input + registers.Output;
        return true;
    }

    public bool TryAcknowledge(out byte vector)
    {
        vector = PendingVector.GetValueOrDefault();
        var had = PendingVector is not null;
        PendingVector = null;
        return had;
    }

    public void Dispose()
    {
        _partition.Dispose();
        _gpa.Dispose();
        _ram.Dispose();
        _clock.Dispose();
    }

    private static void Assert(bool condition) => Xunit.Assert.True(condition);
}
