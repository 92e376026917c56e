using System.Text;
using Iced.Intel;
using Vitro.Hypervisor.Software;
using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Thunks;
using Vitro.Hypervisor.Software.Vector;
using Decoder = Vitro.Hypervisor.Software.Decoding.Decoder;

namespace Vitro.UnitTests.Hypervisor.Software.Differential;

/// <summary>How a case went.</summary>
internal enum CaseOutcome
{
    /// <summary>Not an instruction that can be compared.</summary>
    Skipped,
    Agreed,
    Differed,
}

/// <summary>Executes one instruction by the engine and by the host's processor from the same state and compares all they left.</summary>
internal sealed unsafe class DifferentialRunner : IDisposable
{
    private const int DivideError = 0;
    private const int NowhereNear = 255;
    private const int Half = DifferentialMachine.WindowSize / 2;

    private static readonly HashSet<CpuidFeature> Features =
    [
        CpuidFeature.INTEL8086, CpuidFeature.INTEL8086_ONLY, CpuidFeature.INTEL186, CpuidFeature.INTEL286, CpuidFeature.INTEL386,
        CpuidFeature.INTEL486, CpuidFeature.X64, CpuidFeature.FPU, CpuidFeature.FPU287, CpuidFeature.FPU387, CpuidFeature.MMX,
        CpuidFeature.SSE, CpuidFeature.SSE2, CpuidFeature.SSE3, CpuidFeature.SSSE3, CpuidFeature.SSE4_1, CpuidFeature.SSE4_2,
        CpuidFeature.AES, CpuidFeature.PCLMULQDQ, CpuidFeature.BMI1, CpuidFeature.BMI2, CpuidFeature.ADX, CpuidFeature.MOVBE,
        CpuidFeature.POPCNT, CpuidFeature.LZCNT, CpuidFeature.CMOV, CpuidFeature.CX8, CpuidFeature.CMPXCHG16B, CpuidFeature.SHA,
        CpuidFeature.MULTIBYTENOP, CpuidFeature.PAUSE, CpuidFeature.AVX, CpuidFeature.AVX2, CpuidFeature.FMA, CpuidFeature.F16C,
    ];

    private readonly DifferentialMachine _machine;
    private readonly NativeProcessor _native = new();
    private readonly CaseState _state;
    private readonly byte[] _before = new byte[2 * DifferentialMachine.WindowSize];
    private readonly byte[] _guestMemory = new byte[2 * DifferentialMachine.WindowSize];
    private readonly byte[] _hostMemory = new byte[2 * DifferentialMachine.WindowSize];
    private readonly byte[] _code = new byte[15];
    private readonly SequenceFlags _sequenceFlags = new();

    internal DifferentialRunner(IExecutionFactory? execution = null)
    {
        _machine = new DifferentialMachine(execution);
        _state = new CaseState(_machine);
        _machine.State->Cr4 |= ControlBits.Cr4Osxsave;
        _machine.State->Xcr0 = XsaveArea.ComponentX87 | XsaveArea.ComponentSse | XsaveArea.ComponentAvx;
    }

    /// <summary>Where each case is written before the host runs it, so that one that ends the process is known; VITRO_TEST_TRACE names the file.</summary>
    internal TextWriter? Trace { get; } = Environment.GetEnvironmentVariable("VITRO_TEST_TRACE") is { Length: > 0 } path
        ? new StreamWriter(path) { AutoFlush = true }
        : null;

    /// <summary>Which forms the host has run: operation, map, opcode, mandatory prefix, operand in memory, VEX and its L.</summary>
    internal HashSet<(Operation Operation, int Map, int Opcode, int Prefix, bool IsMemory, Prefixes Vex)> Compared { get; } = [];

    /// <summary>What differed.</summary>
    internal string Report { get; private set; } = "";

    public void Dispose()
    {
        Trace?.Dispose();
        _native.Dispose();
        _machine.Dispose();
    }

    /// <summary>Runs one case.</summary>
    /// <param name="bytes">At least the instruction's.</param>
    /// <param name="seed">What registers and memory are made of.</param>
    /// <param name="step">By single step, so through the general switch, else in a block.</param>
    internal CaseOutcome Run(ReadOnlySpan<byte> bytes, int seed, bool step)
    {
        _code.AsSpan().Clear();
        bytes[..Math.Min(bytes.Length, 15)].CopyTo(_code);
        DecodedInstruction decoded;
        DecodeStatus status;
        fixed (byte* code = _code)
        {
            status = Decoder.Decode(code, 15, VpMode.Code64 | VpMode.LongMode | VpMode.Protected | VpMode.Paging, 0, &decoded);
        }

        if (status != DecodeStatus.Decoded || !IsComparable(&decoded))
        {
            return CaseOutcome.Skipped;
        }

        var instruction = Disassemble();
        if (instruction.IsInvalid || instruction.Length != decoded.Length || !IsOffered(instruction)
            || !_state.TryFill(&decoded, seed, _native.In))
        {
            return CaseOutcome.Skipped;
        }

        if (Undefined.HasUndefinedResult(&decoded, _native.In))
        {
            return CaseOutcome.Skipped;
        }

        CopyMemory(_before);
        var fault = RunGuest(decoded.Length, step);
        CopyMemory(_guestMemory);
        RestoreMemory();
        var expectsFault = DivisionModel.Faults(&decoded, _native.In, Operand(&decoded));
        if (fault >= 0 || expectsFault)
        {
            if (expectsFault && fault == DivideError)
            {
                return CaseOutcome.Agreed;
            }

            Report = $"{Convert.ToHexString(_code.AsSpan(0, decoded.Length))} {seed} ; {instruction}: "
                + (expectsFault ? $"#DE expected, got {fault}" : $"fault {fault}");
            return CaseOutcome.Differed;
        }

        Trace?.WriteLine($"{Convert.ToHexString(_code.AsSpan(0, decoded.Length))} {seed} ; {instruction}");
        _native.Run(_code.AsSpan(0, decoded.Length));
        CopyMemory(_hostMemory);
        Compared.Add((
            decoded.Operation, decoded.Map, decoded.Opcode, decoded.MandatoryPrefix, decoded.IsMemory,
            decoded.Prefixes & (Prefixes.Vex | Prefixes.VexL)));
        var flagMask = Undefined.DefinedFlags(instruction, &decoded, _native.In);
        return Compare(_code.AsSpan(0, decoded.Length), instruction.ToString(), seed, flagMask) ? CaseOutcome.Agreed : CaseOutcome.Differed;
    }

    /// <summary>
    /// Runs a sequence of instructions that <see cref="SequenceGenerator"/> made, twice by the engine: the second time its blocks
    /// are cached and linked.
    /// </summary>
    internal CaseOutcome RunSequence(ReadOnlySpan<byte> code, int seed)
    {
        _sequenceFlags.Follow(code);
        _state.FillForSequence(seed, _native.In);
        CopyMemory(_before);
        Trace?.WriteLine($"{Convert.ToHexString(code)} {seed}");
        _native.Run(code);
        CopyMemory(_hostMemory);
        var rip = _machine.Place(code);
        for (var time = 0; time < 2; time++)
        {
            RestoreMemory();
            LoadGuest();
            var fault = _machine.Run(rip, step: false);
            CopyMemory(_guestMemory);
            if (fault >= 0)
            {
                Report = $"{Convert.ToHexString(code)} {seed} ; fault {fault}: {_sequenceFlags.Text}";
                return CaseOutcome.Differed;
            }

            if (!Compare(code, _sequenceFlags.Text, seed, 0xCD5 & ~_sequenceFlags.Undefined))
            {
                return CaseOutcome.Differed;
            }
        }

        return CaseOutcome.Agreed;
    }

    private Instruction Disassemble()
    {
        var decoder = Iced.Intel.Decoder.Create(64, new ByteArrayCodeReader(_code));
        decoder.IP = 0x1000;
        return decoder.Decode();
    }

    internal static bool IsOffered(in Instruction instruction)
    {
        foreach (var feature in instruction.CpuidFeatures)
        {
            if (!Features.Contains(feature))
            {
                return false;
            }
        }

        return true;
    }

    internal static bool IsComparable(DecodedInstruction* i)
    {
        if (i->Base == DecodedInstruction.RipBase || (i->IsMemory && i->Segment >= 4))
        {
            return false;
        }

        var implicitAddress = i->Operation is Operation.Movs or Operation.Cmps or Operation.Stos or Operation.Lods or Operation.Scas
            or Operation.Xlat || (i->Operation == Operation.Vector && i->Map == 1 && i->Opcode == 0xF7);
        if (implicitAddress && (i->AddressSize != 8 || i->Segment >= 4))
        {
            return false;
        }

        switch (i->Operation)
        {
            case Operation.Invalid or Operation.Jcc or Operation.Jmp or Operation.JmpIndirect or Operation.Call or Operation.CallIndirect
                or Operation.Ret or Operation.Loop or Operation.Loope or Operation.Loopne or Operation.Jrcxz or Operation.Rdrand
                or Operation.Rdseed or Operation.BlockEnd:
                return false;
            case Operation.Nop when i->Opcode == 0x0D && !i->IsMemory:
                // A reserved NOP for some processors, undefined for others.
                return false;
            case Operation.Enter:
                // Deep nesting would leave the window.
                return (i->Immediate2 & 31) < 8;
            case Operation.Vector:
                // Gathers have a test of their own: their indices must lead somewhere.
                return (i->Prefixes & Prefixes.Vex) == 0 || (VexTable.TryFind(i, out var form) && !form.Has(ThunkTraits.Gather));
            case Operation.X87 or Operation.Fwait or Operation.Stmxcsr:
                return true;
            default:
                return i->Operation < Operation.FirstSystem;
        }
    }

    private int RunGuest(int length, bool step)
    {
        LoadGuest();
        var rip = _machine.Place(_code.AsSpan(0, length));
        var fault = _machine.Run(rip, step);
        if (fault < 0 && !step)
        {
            // Once more, now that the block is there and its thunks are compiled.
            RestoreMemory();
            LoadGuest();
            fault = _machine.Run(rip, step: false);
        }

        return fault < 0 && _machine.State->Rip - rip != (ulong)(step ? length : length + 1) ? NowhereNear : fault;
    }

    private void LoadGuest()
    {
        var state = _machine.State;
        var input = _native.In;
        for (var i = 0; i < 16; i++)
        {
            state->Gpr[i] = input->Gpr[i];
        }

        LazyFlags.SetRflags(state, input->Flags);
        Buffer.MemoryCopy(input->Fx, state->Xsave, 416, 416);
        new Span<byte>(state->Xsave + 6, 18).Clear();
        Buffer.MemoryCopy(input->Uppers, state->Xsave + XsaveArea.YmmHigh, 256, 256);
        state->UppersInUse = new ReadOnlySpan<byte>(input->Uppers, 256).ContainsAnyExcept((byte)0) ? 1u : 0;
        *(uint*)(state->Xsave + XsaveArea.MxcsrMask) = XsaveArea.MxcsrSupported;
    }

    private ulong Operand(DecodedInstruction* i)
    {
        var input = _native.In;
        if (!i->IsMemory)
        {
            return *(ulong*)((byte*)input->Gpr + i->RmOffset);
        }

        var index = i->Index < 16 ? input->Gpr[i->Index] << i->Scale : 0;
        var address = (i->Base < 16 ? input->Gpr[i->Base] : 0) + index + (ulong)i->Displacement;
        return address - (_machine.Window - Half) < DifferentialMachine.WindowSize ? *(ulong*)address : 0;
    }

    private bool Compare(ReadOnlySpan<byte> code, string name, int seed, ulong flagMask)
    {
        var state = _machine.State;
        var output = _native.Out;
        var text = new StringBuilder();
        for (var i = 0; i < 16; i++)
        {
            Note(text, "gpr" + i, state->Gpr[i], output->Gpr[i]);
        }

        Note(text, "flags", LazyFlags.GetRflags(state) & flagMask, output->Flags & flagMask);
        Note(text, "mxcsr", *(uint*)(state->Xsave + 24), *(uint*)(output->Fx + 24));
        Note(text, "fcw", *(ushort*)state->Xsave, *(ushort*)output->Fx);
        Note(text, "fsw", *(ushort*)(state->Xsave + 2), *(ushort*)(output->Fx + 2));
        Note(text, "ftw", state->Xsave[4], output->Fx[4]);
        for (var i = 0; i < 8; i++)
        {
            var offset = XsaveArea.X87Registers + (16 * i);
            Note(text, "st" + i, *(ulong*)(state->Xsave + offset), *(ulong*)(output->Fx + offset));
            Note(text, "exponent" + i, *(ushort*)(state->Xsave + offset + 8), *(ushort*)(output->Fx + offset + 8));
        }

        for (var i = 0; i < 32; i++)
        {
            var offset = XsaveArea.Xmm + (8 * i);
            Note(text, $"xmm{i / 2}.{i % 2}", *(ulong*)(state->Xsave + offset), *(ulong*)(output->Fx + offset));
        }

        for (var i = 0; i < 32; i++)
        {
            Note(text, $"upper{i / 2}.{i % 2}", *(ulong*)(state->Xsave + XsaveArea.YmmHigh + (8 * i)), *(ulong*)(output->Uppers + (8 * i)));
        }

        if (!_guestMemory.AsSpan().SequenceEqual(_hostMemory))
        {
            var at = _guestMemory.AsSpan().CommonPrefixLength(_hostMemory);
            text.Append($" memory at {(at < DifferentialMachine.WindowSize ? "window" : "stack")}{(at % DifferentialMachine.WindowSize) - Half:+0;-0}:"
                + $" {_guestMemory[at]:x2} not {_hostMemory[at]:x2} (was {_before[at]:x2})");
        }

        if (text.Length == 0)
        {
            return true;
        }

        Report = $"{Convert.ToHexString(code)} {seed} ; {name}:{text} ; flags in {_native.In->Flags:x}";
        return false;
    }

    private static void Note(StringBuilder text, string name, ulong guest, ulong host)
    {
        if (guest != host)
        {
            text.Append($" {name} {guest:x} not {host:x}");
        }
    }

    private void CopyMemory(byte[] destination)
    {
        const int size = DifferentialMachine.WindowSize;
        new ReadOnlySpan<byte>((byte*)_machine.Window - Half, size).CopyTo(destination);
        new ReadOnlySpan<byte>((byte*)_machine.Stack - Half, size).CopyTo(destination.AsSpan(size));
    }

    private void RestoreMemory()
    {
        const int size = DifferentialMachine.WindowSize;
        _before.AsSpan(0, size).CopyTo(new Span<byte>((byte*)_machine.Window - Half, size));
        _before.AsSpan(size).CopyTo(new Span<byte>((byte*)_machine.Stack - Half, size));
    }
}
