using Vitro.Foundation;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software;
using Vitro.Hypervisor.Vid;
using Vitro.Tests;

namespace Vitro.UnitTests.Hypervisor.Software.Differential;

/// <summary>
/// A partition in 64-bit mode whose page tables map guest RAM at the linear addresses where the host has it: the same
/// instruction with the same registers touches the same bytes in the guest and on the host.
/// </summary>
internal sealed unsafe class DifferentialMachine : IDisposable
{
    internal const int WindowSize = 512;
    private const ulong RamSize = 8 << 20;
    private const ulong TablesGpa = 0x10000;
    private const ulong GdtGpa = 0x4000;
    private const ulong IdtGpa = 0x5000;
    private const ulong TssGpa = 0x6000;
    private const ulong HandlersGpa = 0x7000;
    private const ulong FaultStackGpa = 0xA000;
    private const ulong WindowGpa = 0x200000;
    private const ulong StackGpa = 0x300000;
    private const ulong UnmappedGpa = 0x381000;
    private const ulong CodeGpa = 0x400000;
    private const int CodeSlot = 128;
    private const int CodeSlots = (2 << 20) / CodeSlot;

    private readonly GuestMemory _ram = GuestMemory.Create(RamSize);
    private readonly GpaSpace _gpa;
    private readonly VmClock _clock = new(TimeProvider.System);
    private readonly SoftwarePartition _partition;
    private readonly SoftwareVirtualProcessor _vp;
    private ulong _nextTable = TablesGpa + 0x1000;
    private int _nextSlot;

    /// <summary>Builds the machine; on the engine's usual way of execution, or a given one.</summary>
    internal DifferentialMachine(IExecutionFactory? execution = null)
    {
        _gpa = new GpaSpace(_ram);
        var empty = new EmptyMachine();
        var options = new PartitionOptions
        {
            Gpa = _gpa,
            VirtualProcessorCount = 1,
            Cpuid = new SoftwareEngine().GetSupportedCpuid(),
            Clock = _clock,
            Intercepts = empty,
            InterruptControllers = [empty],
        };
        _partition = execution == null
            ? (SoftwarePartition)new SoftwareEngine().CreatePartition(options)
            : new SoftwarePartition(options, execution);
        _vp = _partition.Processors[0];
        MapRam();
        BuildDescriptors();
        EnterLongMode();
    }

    internal VpState* State => _vp.State;

    /// <summary>Middle of the data window: a page border.</summary>
    internal ulong Window => HostOf(WindowGpa);

    /// <summary>Middle of the stack window.</summary>
    internal ulong Stack => HostOf(StackGpa);

    /// <summary>A page border with nothing mapped above it.</summary>
    internal ulong Unmapped => HostOf(UnmappedGpa);

    public void Dispose()
    {
        _partition.Dispose();
        _gpa.Dispose();
        _clock.Dispose();
        _ram.Dispose();
    }

    /// <summary>Changes bits of CR0 and CR4 as MOV does.</summary>
    internal void SetControl(ulong cr0, ulong cr4)
    {
        State->Cr0 = cr0;
        State->Cr4 = cr4;
        _vp.UpdateMode();
    }

    /// <summary>Places code at a fresh address, followed by HLT.</summary>
    internal ulong Place(ReadOnlySpan<byte> code)
    {
        if (_nextSlot == CodeSlots)
        {
            _nextSlot = 0;
            _gpa.NotifyWritten(CodeGpa, CodeSlots * CodeSlot);
        }

        var gpa = CodeGpa + (ulong)(_nextSlot++ * CodeSlot);
        var host = (byte*)HostOf(gpa);
        new Span<byte>(host, CodeSlot).Fill(0xF4);
        code.CopyTo(new Span<byte>(host, CodeSlot));
        return HostOf(gpa);
    }

    /// <summary>Runs from <paramref name="rip"/> to the HLT; the vector of the fault when one was raised, else -1.</summary>
    internal int Run(ulong rip, bool step)
    {
        State->Rip = rip;
        State->FaultVector = -1;
        State->Activity = 0;
        State->Requests = 0;
        if (step)
        {
            _vp.Core.Step(_vp);
        }
        else
        {
            _vp.Core.Run(_vp);
        }

        State->Activity = 0;
        var handler = State->Rip - HostOf(HandlersGpa);
        if (handler < 32 * 16)
        {
            return (int)(handler / 16);
        }

        return -1;
    }

    private ulong HostOf(ulong gpa) => (ulong)_ram.Host.Address + gpa;

    private ulong* Table(ulong gpa) => (ulong*)HostOf(gpa);

    private void MapRam()
    {
        for (ulong gpa = 0; gpa < RamSize; gpa += 4096)
        {
            var linear = HostOf(gpa);
            var table = TablesGpa;
            for (var shift = 39; shift > 12; shift -= 9)
            {
                var entry = Table(table) + ((linear >> shift) & 511);
                if (*entry == 0)
                {
                    *entry = _nextTable | 7;
                    _nextTable += 0x1000;
                }

                table = *entry & ~0xFFFUL;
            }

            Table(table)[(linear >> 12) & 511] = gpa == UnmappedGpa ? 0 : gpa | 0x67;
        }
    }

    private void BuildDescriptors()
    {
        var gdt = Table(GdtGpa);
        gdt[1] = 0x00AF9B000000FFFF;
        gdt[2] = 0x00CF93000000FFFF;

        // Every handler is a HLT on a stack of its own, so that a fault is seen by where the processor halts.
        *(ulong*)(HostOf(TssGpa) + 0x24) = HostOf(FaultStackGpa);
        new Span<byte>((byte*)HostOf(HandlersGpa), 32 * 16).Fill(0xF4);
        for (var vector = 0; vector < 32; vector++)
        {
            var handler = HostOf(HandlersGpa) + (ulong)(vector * 16);
            var gate = Table(IdtGpa) + (vector * 2);
            gate[0] = (handler & 0xFFFF) | (8 << 16) | (1UL << 32) | (0x8EUL << 40) | ((handler >> 16 & 0xFFFF) << 48);
            gate[1] = handler >> 32;
        }
    }

    private void EnterLongMode()
    {
        var data = new SegmentState(16, 0, uint.MaxValue, 0xC093);
        _vp.SetState(new VirtualProcessorState
        {
            Cs = new SegmentState(8, 0, uint.MaxValue, 0xA09B),
            Ss = data,
            Ds = data,
            Es = data,
            Fs = data,
            Gs = data,
            Ldtr = new SegmentState(0, 0, 0, 0x10000),
            Tr = new SegmentState(24, HostOf(TssGpa), 0x67, 0x8B),
            Gdtr = new TableState(HostOf(GdtGpa), 0xFF),
            Idtr = new TableState(HostOf(IdtGpa), 0x1FF),
            Cr0 = 0x80010033,
            Cr3 = TablesGpa,
            Cr4 = 0x6A0,
            Efer = 0xD01,
        });
    }
}
