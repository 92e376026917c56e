using System.Buffers.Binary;
using System.Text;
using Vitro.Foundation;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Interpreter;
using Vitro.Hypervisor.Software.Translator;
using Vitro.Hypervisor.Software.Vector;
using Vitro.Hypervisor.Software;
using Vitro.Hypervisor.Vid;
using Vitro.Tests;

namespace Vitro.UnitTests.Hypervisor.Software.Translator;

/// <summary>Kinds of code a <see cref="ProgramMachine"/> runs.</summary>
public enum ProgramMode
{
    Code64,

    /// <summary>The same at CPL 3, where the HLT at the end faults like any other.</summary>
    User64,

    /// <summary>32-bit code under a 64-bit kernel.</summary>
    Compatibility,

    /// <summary>Protected mode without paging.</summary>
    Protected,
}

/// <summary>A machine with small pages mapped one to one, for programs that end with HLT.</summary>
internal sealed unsafe class ProgramMachine : IDisposable
{
    internal const ulong CodeAddress = 0x100000;
    internal const ulong DataAddress = 0x181000;
    internal const int DataSize = 0x2000;

    /// <summary>How far behind <see cref="DataAddress"/> a page lies that is not mapped, and then one to read only; with paging.</summary>
    internal const int HoleOffset = 0x1000;

    /// <summary>From here on, each of 512 pages is the first page of code again.</summary>
    internal const ulong AliasAddress = 0x400000;

    /// <summary>Selectors: all of the address space, and its first part up to the middle of the data.</summary>
    internal const byte FlatData = 16;
    internal const byte SmallData = 32;
    private const byte UserData = 40;
    private const byte UserCode = 48;

    // Runs of pushes go across a page border.
    private const ulong StackAddress = 0x191018;
    private const ulong TableAddress = 0x1000;
    private const ulong HandlersAddress = 0x60000;
    private const ulong IdtAddress = 0x61000;
    private const ulong GdtAddress = 0x62000;
    private const ulong TssAddress = 0x63000;

    // The frame of a fault in a program at CPL 3: error code, RIP, CS, RFLAGS, RSP, SS below this.
    private const ulong KernelStackAddress = 0x65000;
    private const int FrameSize = 48;

    private readonly GuestMemory _ram = GuestMemory.Create(4 << 20);
    private readonly GpaSpace _gpa;
    private readonly VmClock _clock = new(TimeProvider.System);
    private readonly SoftwarePartition _partition;
    private readonly SoftwareVirtualProcessor _vp;
    private readonly ProgramMode _mode;
    private SegmentCache _code;
    private SegmentCache _data;

    internal ProgramMachine(IExecutionFactory execution, ProgramMode mode = ProgramMode.Code64)
    {
        _mode = mode;
        _gpa = new GpaSpace(_ram);
        var empty = new EmptyMachine();
        _partition = new SoftwarePartition(
            new PartitionOptions
            {
                Gpa = _gpa,
                VirtualProcessorCount = 1,
                Cpuid = new SoftwareEngine().GetSupportedCpuid(),
                Clock = _clock,
                Intercepts = empty,
                InterruptControllers = [empty],
            },
            execution);
        _vp = _partition.Processors[0];
        BuildTables();
        SetState();
        _vp.State->Cr4 |= ControlBits.Cr4Osxsave;
        _vp.State->Xcr0 = 7;
    }

    internal CodeCache Cache => (CodeCache)_partition.CodePages;

    internal ulong Rip => _vp.State->Rip;

    /// <summary>Jumps for which translated code was left.</summary>
    internal long Jumps => Exits("jump");

    /// <summary>Whether it halted in a handler.</summary>
    internal bool HasFaulted => _vp.State->Rip - HandlersAddress < 16;

    /// <summary>Where a program at CPL 3 ended: error code, RIP and RSP.</summary>
    internal string Frame
    {
        get
        {
            var frame = (ulong*)(_ram.Host.Address + (nint)KernelStackAddress - FrameSize);
            return _mode == ProgramMode.User64 ? $"{frame[0]:x} {frame[1]:x} {frame[4]:x}" : "";
        }
    }

    internal uint Flags => LazyFlags.Get(_vp.State);

    /// <summary>XMM registers, and the upper halves of YMM.</summary>
    internal ReadOnlySpan<byte> Vectors => new(_vp.State->Xsave + XsaveArea.Xmm, 256);

    internal ReadOnlySpan<byte> Uppers => new(_vp.State->Xsave + XsaveArea.YmmHigh, 256);

    /// <summary>The x87 state: control, status and tag words, last instruction, registers.</summary>
    internal byte[] X87 =>
    [
        .. new ReadOnlySpan<byte>(_vp.State->Xsave, XsaveArea.Mxcsr),
        .. new ReadOnlySpan<byte>(_vp.State->Xsave + XsaveArea.X87Registers, 128),
    ];

    internal uint Mxcsr => *(uint*)(_vp.State->Xsave + XsaveArea.Mxcsr);

    internal uint SystemFlags => _vp.State->SystemFlags & ~RFlags.Rf;

    internal ulong GsBase => _vp.State->Gs.Base;

    internal ReadOnlySpan<byte> Data => new((byte*)_ram.Host.Address + DataAddress - (DataSize / 2), DataSize);

    /// <summary>The program, as it has become.</summary>
    internal ReadOnlySpan<byte> Code => new((byte*)_ram.Host.Address + CodeAddress, 0x2000);

    public void Dispose()
    {
        _partition.Dispose();
        _gpa.Dispose();
        _clock.Dispose();
        _ram.Dispose();
    }

    internal ulong Gpr(int number) => _vp.State->Gpr[number];

    /// <summary>How often translated code was left for a reason.</summary>
    internal long Exits(string kind)
    {
        var node = new InspectNode();
        ((TranslatedCore)_vp.Core).Inspect(node);
        return (long)node.Find(kind)!;
    }

    internal void Cancel() => _vp.Cancel();

    internal Mmu Mmu => _vp.Mmu;

    internal byte* HostOf(ulong gpa) => (byte*)_ram.Host.Address + gpa;

    /// <summary>Whether translated programs remember a page.</summary>
    internal bool HasRemembered(ulong linear)
    {
        for (var slot = 0; slot < VpState.PageSlotCount; slot++)
        {
            if (_vp.State->PageSlots[2 * slot] == linear)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Maps a page of the first 4 MiB to another one, without flushing.</summary>
    internal void Map(ulong linear, ulong gpa) => Write(0x4000 + (linear >> 12 << 3), gpa | 0x67);

    /// <summary>Drops the translation of a page, or more.</summary>
    internal void Flush(PageSlotTests.Flush flush, ulong linear)
    {
        switch (flush)
        {
            case PageSlotTests.Flush.Page:
                Mmu.FlushPage(linear);
                break;
            case PageSlotTests.Flush.Local:
                Mmu.FlushLocal();
                break;
            case PageSlotTests.Flush.Context:
                Mmu.FlushContext(0);
                break;
            case PageSlotTests.Flush.Switch:
                Mmu.SwitchContext(0, keep: false);
                break;
            default:
                Mmu.FlushAll();
                break;
        }
    }

    /// <summary>Runs a program until it halts, from registers and data made of a seed.</summary>
    internal void Run(ReadOnlySpan<byte> program, int seed, ulong address = CodeAddress)
    {
        Place(program, seed);
        _vp.State->Rip = address;
        for (var n = 0; n < 1000 && _vp.State->Activity == 0; n++)
        {
            _vp.State->Requests = 0;
            _vp.Core.Run(_vp);
        }
    }

    /// <summary>Runs a program until it halts, with something requested at the start of each run.</summary>
    /// <returns>How many runs ended where they began.</returns>
    internal int RunInPieces(ReadOnlySpan<byte> program, int seed, ulong address)
    {
        Place(program, seed);
        var state = _vp.State;
        state->Rip = address;
        var idle = 0;
        for (var n = 0; n < 1000 && state->Activity == 0; n++)
        {
            var (rip, stack) = (state->Rip, state->Gpr[4]);
            state->Requests = (uint)VpRequest.Pause;
            _vp.Core.Run(_vp);
            idle += state->Rip == rip && state->Gpr[4] == stack ? 1 : 0;
        }

        return idle;
    }

    /// <summary>Runs a program until somebody requests something.</summary>
    internal void RunUntilRequested(ReadOnlySpan<byte> program, int seed)
    {
        Place(program, seed);
        _vp.Core.Run(_vp);
    }

    private void Place(ReadOnlySpan<byte> program, int seed)
    {
        _gpa.TryWrite(CodeAddress, program);
        var random = new Random(seed);
        Span<byte> data = new byte[DataSize];
        random.NextBytes(data);
        _gpa.TryWrite(DataAddress - (DataSize / 2), data);
        var state = _vp.State;
        for (var n = 0; n < 16; n++)
        {
            state->Gpr[n] = random.Next(4) == 0 ? (ulong)random.Next(-3, 3) : (ulong)random.NextInt64();
        }

        for (var n = 0; n < 64; n++)
        {
            ((uint*)(state->Xsave + XsaveArea.Xmm))[n] = random.Next(3) == 0 ? (uint)random.NextInt64() : 0x3F800000 + (uint)random.Next(1 << 24);
        }

        if (_mode is ProgramMode.Compatibility or ProgramMode.Protected)
        {
            LeaveUpperHalves(random);
        }

        XsaveArea.InitializeX87(state->Xsave);
        new Span<byte>(state->Xsave + XsaveArea.X87Registers, 128).Clear();
        if (random.Next(8) == 0)
        {
            XsaveArea.SetControlWord(state->Xsave, (ushort)random.Next(0x10000));
        }

        new Span<byte>(state->Xsave + XsaveArea.YmmHigh, 256).Clear();
        state->UppersInUse = 0;
        if (random.Next(2) == 0)
        {
            random.NextBytes(new Span<byte>(state->Xsave + XsaveArea.YmmHigh, 256));
            state->UppersInUse = 1;
        }

        // Seldom an unmasked exception.
        *(uint*)(state->Xsave + XsaveArea.Mxcsr) = 0x1F80 ^ (random.Next(8) == 0 ? 0x80u << random.Next(6) : 0) | ((uint)random.Next(8) << 13);
        state->Gpr[3] = DataAddress;
        state->Gpr[4] = StackAddress;
        LazyFlags.SetRflags(state, 2);
        state->Gs.Base = 1;
        state->KernelGsBase = 2;
        state->Cs = _code;
        state->Ss = _data;
        state->Es = state->Ss;
        state->Ds = state->Ss;
        state->Fs = state->Ss;
        state->Cpl = _mode == ProgramMode.User64 ? 3u : 0;
        state->SystemFlags &= ~RFlags.Rf;
        _vp.UpdateMode();
        state->InterruptShadow = 0;
        state->Rip = CodeAddress;
        state->FaultVector = -1;
        state->Activity = 0;
        state->Requests = 0;
    }

    // What instructions do to upper halves that no 32-bit code sees is each engine's own affair, so there is nothing in them.
    private void LeaveUpperHalves(Random random)
    {
        for (var n = 0; n < 16; n++)
        {
            _vp.State->Gpr[n] = n < 8 ? (uint)_vp.State->Gpr[n] : 0;
        }

        _vp.State->Gs.Limit = random.Next(3) == 0 ? (uint)DataAddress + 8 : uint.MaxValue;
    }

    private void BuildTables()
    {
        Write(TableAddress, 0x2007);
        Write(0x2000, 0x3007);
        Write(0x3000, 0x4007);
        Write(0x3008, 0x5007);
        Write(0x3010, 0x6007);
        for (var page = 0UL; page < 512; page++)
        {
            Write(0x6000 + (page * 8), CodeAddress | 0x67);
        }

        for (var page = 0UL; page < 1024; page++)
        {
            Write(0x4000 + (page * 8), (page << 12) | 0x67);
        }

        Write(0x4000 + ((DataAddress + HoleOffset) >> 12 << 3), 0);
        Write(0x4000 + ((DataAddress + HoleOffset + 0x1000) >> 12 << 3), (DataAddress + HoleOffset + 0x1000) | 0x65);

        for (var vector = 0UL; vector < 32; vector++)
        {
            var gate = (HandlersAddress & 0xFFFF) | (8 << 16) | (0x8EUL << 40) | ((HandlersAddress >> 16) << 48);
            Write(IdtAddress + (vector * (_mode == ProgramMode.Protected ? 8u : 16)), gate);
        }

        Write(GdtAddress + 8, _mode == ProgramMode.Protected ? 0x00CF9B000000FFFF : 0x00AF9B000000FFFFUL);
        Write(GdtAddress + FlatData, 0x00CF93000000FFFF);
        Write(GdtAddress + 24, 0x00CF9B000000FFFF);
        Write(GdtAddress + SmallData, 0x00C0930000000180);
        Write(GdtAddress + UserData, 0x00CFF3000000FFFF);
        Write(GdtAddress + UserCode, 0x00AFFB000000FFFF);
        Write(TssAddress + 4, KernelStackAddress);
        Write(HandlersAddress, 0xF4F4F4F4F4F4F4F4);
    }

    private void Write(ulong gpa, ulong value)
    {
        Span<byte> bytes = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        _gpa.TryWrite(gpa, bytes);
    }

    private void SetState()
    {
        var data = _mode == ProgramMode.User64 ? new SegmentState(UserData | 3, 0, uint.MaxValue, 0xC0F3) : new SegmentState(FlatData, 0, uint.MaxValue, 0xC093);
        _vp.SetState(new VirtualProcessorState
        {
            Cs = _mode switch
            {
                ProgramMode.Code64 => new SegmentState(8, 0, uint.MaxValue, 0xA09B),
                ProgramMode.User64 => new SegmentState(UserCode | 3, 0, uint.MaxValue, 0xA0FB),
                _ => new SegmentState(24, 0, uint.MaxValue, 0xC09B),
            },
            Ss = data,
            Ds = data,
            Es = data,
            Fs = data,
            Gs = data,
            Tr = new SegmentState(56, TssAddress, 0x67, 0x8B),
            Gdtr = new TableState(GdtAddress, 0x37),
            Idtr = new TableState(IdtAddress, 0x1FF),
            Cr0 = _mode == ProgramMode.Protected ? 0x00010033UL : 0x80010033,
            Cr3 = TableAddress,
            Cr4 = 0x6A0,
            Efer = _mode == ProgramMode.Protected ? 0x801UL : 0xD01,
        });
        _code = _vp.State->Cs;
        _data = _vp.State->Ss;
    }
}

/// <summary>The same machine twice: interpreted and translated.</summary>
internal sealed class ProgramPair(ProgramMode mode = ProgramMode.Code64, int interpretedRuns = 0) : IDisposable
{
    private const uint DefinedFlags = LazyFlags.All & ~LazyFlags.Adjust;

    internal ProgramMachine Interpreted { get; } = new(new InterpreterFactory(), mode);

    internal ProgramMachine Translated { get; } = new(new TranslatorFactory { InterpretedRuns = interpretedRuns }, mode);

    public void Dispose()
    {
        Interpreted.Dispose();
        Translated.Dispose();
    }

    /// <summary>Runs a program on both; what differs afterwards, or nothing.</summary>
    internal string Compare(ReadOnlySpan<byte> program, int seed)
    {
        Interpreted.Run(program, seed);
        Translated.Run(program, seed);
        var text = new StringBuilder();
        for (var n = 0; n < 16; n++)
        {
            if (Interpreted.Gpr(n) != Translated.Gpr(n))
            {
                text.Append($" gpr{n} {Translated.Gpr(n):x} not {Interpreted.Gpr(n):x}");
            }
        }

        if (Interpreted.Frame != Translated.Frame)
        {
            text.Append($" frame {Translated.Frame} not {Interpreted.Frame}");
        }

        if (Interpreted.Rip != Translated.Rip)
        {
            text.Append($" rip {Translated.Rip:x} not {Interpreted.Rip:x}");
        }

        // Flags that nobody was to read any more are not kept for a fault.
        if (!Interpreted.HasFaulted && (Interpreted.Flags & DefinedFlags) != (Translated.Flags & DefinedFlags))
        {
            text.Append($" flags {Translated.Flags:x} not {Interpreted.Flags:x}");
        }

        if (Interpreted.Mxcsr != Translated.Mxcsr)
        {
            text.Append($" mxcsr {Translated.Mxcsr:x} not {Interpreted.Mxcsr:x}");
        }

        var same = Interpreted.Vectors.CommonPrefixLength(Translated.Vectors);
        if (same < Interpreted.Vectors.Length)
        {
            text.Append($" xmm{same / 16}");
        }

        if (Interpreted.SystemFlags != Translated.SystemFlags)
        {
            text.Append($" system flags {Translated.SystemFlags:x} not {Interpreted.SystemFlags:x}");
        }

        if (Interpreted.GsBase != Translated.GsBase)
        {
            text.Append($" gs base {Translated.GsBase:x} not {Interpreted.GsBase:x}");
        }

        if (!Interpreted.X87.AsSpan().SequenceEqual(Translated.X87))
        {
            text.Append($" x87 {Convert.ToHexString(Translated.X87)} not {Convert.ToHexString(Interpreted.X87)}");
        }

        same = Interpreted.Uppers.CommonPrefixLength(Translated.Uppers);
        if (same < Interpreted.Uppers.Length)
        {
            text.Append($" ymm{same / 16}");
        }

        var at = Interpreted.Data.CommonPrefixLength(Translated.Data);
        if (at < ProgramMachine.DataSize)
        {
            text.Append($" data at {at - (ProgramMachine.DataSize / 2):+0;-0}");
        }

        at = Interpreted.Code.CommonPrefixLength(Translated.Code);
        if (at < Interpreted.Code.Length)
        {
            text.Append($" code at {at:x}");
        }

        return text.ToString();
    }
}
