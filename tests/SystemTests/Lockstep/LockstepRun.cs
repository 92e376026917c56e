using System.Globalization;
using System.Text;
using Iced.Intel;
using Vitro.Configuration;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Software;
using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Interpreter;
using Vitro.Hypervisor.Software.Translator;
using Vitro.Hypervisor.Vid;

namespace Vitro.SystemTests.Lockstep;

/// <summary>
/// Two machines of the same definition: the first runs translated code up to its next look at requests, the second interprets
/// one instruction after the other until its registers are those of the first. Then time passes on both, by the instructions
/// that the first has executed, devices work, and interrupts arrive on both at this same place. Several processors take turns, at the same places on both.
/// </summary>
/// <remarks>
/// General registers and RIP are compared each time, all other registers and memory now and then. The arithmetic flags are when an
/// instruction reads them (<see cref="LockstepFlags"/>): the translator leaves out those that nothing reads before they are replaced.
/// </remarks>
internal sealed unsafe class LockstepRun : IDisposable
{
    // A rest of the clock that is not yet worth the call that advances it.
    private const ulong ClockStep = 2000;
    private const ulong HaltedStep = 50_000;
    private const ulong StateInterval = 1 << 16;
    private const int Margin = 4096;
    private const ulong Turn = 50;
    private const int TraceLength = 64;
    private const ulong FlagBits = LazyFlags.All;

    private readonly LockstepMachine _translated;
    private readonly LockstepMachine _interpreted;
    private readonly ulong[] _trace = new ulong[TraceLength];
    private readonly ulong[] _firstSteps = new ulong[TraceLength];
    private readonly ulong[] _start = new ulong[17];
    private readonly byte[] _instruction = new byte[15];
    private readonly LockstepFlags _flags = new();
    private ulong _steps;
    private readonly ulong[] _counted;
    private int _current;
    private ulong _unspent;
    private ulong _quanta;

    /// <summary>Makes the two machines.</summary>
    /// <param name="definition">What both are like.</param>
    /// <param name="interpretedRuns">How often the first machine interprets a block before it translates it.</param>
    /// <param name="otherDisks">The second machine's disks, of the same content as the first's, which <paramref name="definition"/> names.</param>
    internal LockstepRun(VirtualMachineDefinition definition, int interpretedRuns, params IReadOnlyList<DiskDefinition> otherDisks)
    {
        _translated = new LockstepMachine(definition, new TranslatorFactory { CountsInstructions = true, InterpretedRuns = interpretedRuns });
        _interpreted = new LockstepMachine(definition with { Disks = otherDisks }, new InterpreterFactory());
        _counted = new ulong[definition.ProcessorCount];
    }

    /// <summary>Instructions that the interpreter has executed.</summary>
    internal ulong Instructions => _steps;

    /// <summary>Instructions before which some flags differed.</summary>
    internal long WithOtherFlags => _flags.Followed;

    /// <summary>What the guest wrote to its serial port.</summary>
    internal string Serial => _translated.Serial.ToString();

    /// <summary>Goes on until a text is on the serial port or so many instructions are done.</summary>
    /// <returns>The first difference, with the code that led to it; null when there is none.</returns>
    internal string? Run(string until, ulong instructions)
    {
        var seen = 0;
        while (_steps < instructions)
        {
            _translated.Work();
            _interpreted.Work();
            if (!Choose())
            {
                Advance(HaltedStep);
                continue;
            }

            _translated.Serve();
            _interpreted.Serve();
            if (_translated.State->Activity == (uint)VpActivity.Running && RunQuantum() is { } difference)
            {
                return difference;
            }

            if (++_quanta % StateInterval == 0 && (CompareStates() ?? CompareDisks()) is { } other)
            {
                return other;
            }

            if (_translated.Serial.Length != seen)
            {
                seen = _translated.Serial.Length;
                if (Serial.Contains(until, StringComparison.Ordinal))
                {
                    break;
                }
            }
        }

        return CompareStates() ?? CompareMemory() ?? CompareDisks() ?? (Serial == _interpreted.Serial.ToString() ? null : "The serial ports differ.");
    }

    public void Dispose()
    {
        _translated.Dispose();
        _interpreted.Dispose();
    }

    // The processor that goes on: another one after each turn, or when the present one has nothing to do. False when none has.
    private bool Choose()
    {
        var count = _counted.Length;
        var first = _quanta % Turn == 0 ? 1 : 0;
        for (var i = first; i < first + count; i++)
        {
            var next = (_current + i) % count;
            if (!_translated.HasWork(next))
            {
                continue;
            }

            if (next != _current)
            {
                _current = next;
                _translated.Switch(next);
                _interpreted.Switch(next);
            }

            return true;
        }

        return false;
    }

    private string? RunQuantum()
    {
        var state = _translated.State;
        Keep(_interpreted.State);
        _flags.Compare(state, _interpreted.State);
        _translated.RunBriefly();

        // Where a repeated instruction pauses is each one's own affair: to its end.
        if (IsRepeated(state->Rip))
        {
            _translated.BeginSteps();
            for (var rip = state->Rip; state->Rip == rip && IsRepeated(rip);)
            {
                _translated.Step();
            }

            _translated.EndSteps();
        }

        var executed = state->InstructionCount - _counted[_current];
        _counted[_current] = state->InstructionCount;
        _interpreted.BeginSteps();
        var difference = Follow(executed);
        _interpreted.EndSteps();
        return difference;
    }

    // Has the interpreter come where translated code has come.
    private string? Follow(ulong executed)
    {
        var firstStep = _steps;
        for (var step = 0UL; step < executed + Margin; step++)
        {
            var rip = _interpreted.State->Rip;
            _trace[_steps++ % TraceLength] = rip;
            if (step < TraceLength)
            {
                _firstSteps[step] = rip;
            }

            if (_flags.IsAny && _flags.Follow(rip, CodeOf(rip)) is { } wrong)
            {
                return $"{wrong}\n{Describe()}";
            }

            _interpreted.Step();
            if (HasCaughtUp(firstStep))
            {
                // Translated code lets the shadow of STI stand until an interrupt comes, which then waits for one instruction more.
                _translated.State->InterruptShadow = _interpreted.State->InterruptShadow;
                Spend(executed);
                return null;
            }

            if (_interpreted.State->Activity != (uint)VpActivity.Running)
            {
                break;
            }
        }

        return Describe();
    }

    private bool HasCaughtUp(ulong firstStep)
    {
        var first = _translated.State;
        var second = _interpreted.State;
        return first->Rip == second->Rip
            && first->Activity == second->Activity
            && (new ReadOnlySpan<ulong>(first->Gpr, 16).SequenceEqual(new ReadOnlySpan<ulong>(second->Gpr, 16)) || DiffersByFlags(firstStep));
    }

    /// <summary>
    /// Whether all that differs are arithmetic flags in registers, behind an instruction that put them there, and the instructions before it left
    /// them undefined. Then the interpreter goes on with the translator's.
    /// </summary>
    private bool DiffersByFlags(ulong firstStep)
    {
        var first = _translated.State;
        var second = _interpreted.State;
        var differing = 0UL;
        for (var i = 0; i < 16; i++)
        {
            differing |= first->Gpr[i] ^ second->Gpr[i];
        }

        if ((differing & ~FlagBits) != 0)
        {
            return false;
        }

        var oldest = _steps - Math.Min(_steps, TraceLength);
        for (var step = Math.Max(firstStep, oldest); step < _steps; step++)
        {
            _flags.Decode(_trace[step % TraceLength], CodeOf(_trace[step % TraceLength]), out var storing);
            if (storing.Mnemonic is Mnemonic.Pushf or Mnemonic.Pushfd or Mnemonic.Pushfq or Mnemonic.Syscall
                && AreUndefined(LockstepFlags.OfRegister(differing), step, oldest))
            {
                new ReadOnlySpan<ulong>(first->Gpr, 16).CopyTo(new Span<ulong>(second->Gpr, 16));
                return true;
            }
        }

        return false;
    }

    // Whether some flags are as instructions before a step left them without saying how. What goes back beyond what is known is believed.
    private bool AreUndefined(RflagsBits flags, ulong step, ulong oldest)
    {
        while (flags != RflagsBits.None && step-- > oldest)
        {
            _flags.Decode(_trace[step % TraceLength], CodeOf(_trace[step % TraceLength]), out var instruction);
            if (instruction.Mnemonic is Mnemonic.Popf or Mnemonic.Popfd or Mnemonic.Popfq or Mnemonic.Iret or Mnemonic.Iretd or Mnemonic.Iretq or Mnemonic.Sysretq)
            {
                // They were judged when they were stored.
                return true;
            }

            if ((instruction.RflagsModified & ~instruction.RflagsUndefined & flags) != 0)
            {
                return false;
            }

            flags &= ~instruction.RflagsModified;
        }

        return true;
    }

    private bool IsRepeated(ulong address)
    {
        if (CodeAt(_translated, address) is not (0xF2 or 0xF3))
        {
            return false;
        }

        var next = CodeAt(_translated, address + 1);
        var opcode = next is >= 0x40 and < 0x50 ? CodeAt(_translated, address + 2) : next;
        return opcode is >= 0xA4 and <= 0xAF and not (0xA8 or 0xA9);
    }

    // A byte of code; null where none is mapped.
    private static byte? CodeAt(LockstepMachine machine, ulong address)
    {
        var code = CodeAddress(machine, address);
        return code == null ? null : *code;
    }

    private static byte* CodeAddress(LockstepMachine machine, ulong address)
    {
        var state = machine.State;
        var mmu = machine.Processor.Mmu;

        // A program's page is none for the kernel, which has just been entered from there.
        var (present, other) = (state->Mode & (uint)VpMode.User) != 0 ? (MmuPrivilege.User, MmuPrivilege.Kernel) : (MmuPrivilege.Kernel, MmuPrivilege.User);
        var code = mmu.TryTranslate(address, MmuAccess.Fetch, present, out var translation)
            || mmu.TryTranslate(address, MmuAccess.Fetch, other, out translation) ? translation.Host : null;
        state->FaultVector = -1;
        return code;
    }

    // An instruction's bytes on the interpreting machine, and those behind it.
    private ReadOnlySpan<byte> CodeOf(ulong address)
    {
        const ulong PageSize = 4096;
        if (CodeAddress(_interpreted, address) is var first && first == null)
        {
            return [];
        }

        var inPage = (int)Math.Min((ulong)_instruction.Length, PageSize - (address & (PageSize - 1)));
        new ReadOnlySpan<byte>(first, inPage).CopyTo(_instruction);
        var second = inPage == _instruction.Length ? null : CodeAddress(_interpreted, address + (uint)inPage);
        if (second == null)
        {
            return _instruction.AsSpan(0, inPage);
        }

        new ReadOnlySpan<byte>(second, _instruction.Length - inPage).CopyTo(_instruction.AsSpan(inPage));
        return _instruction;
    }

    private void Spend(ulong nanoseconds)
    {
        _unspent += nanoseconds;
        if (_unspent >= ClockStep)
        {
            Advance(_unspent);
            _unspent = 0;
        }
    }

    private void Advance(ulong nanoseconds)
    {
        var time = TimeSpan.FromTicks((long)(nanoseconds / 100));
        _translated.Advance(time);
        _interpreted.Advance(time);
    }

    private void Keep(VpState* state)
    {
        new ReadOnlySpan<ulong>(state->Gpr, 16).CopyTo(_start);
        _start[16] = state->Rip;
    }

    /// <summary>All registers but the arithmetic flags.</summary>
    private string? CompareStates() => Enumerable.Range(0, _counted.Length).Select(CompareStates).FirstOrDefault(difference => difference != null);

    private string? CompareStates(int processor)
    {
        var first = _translated.Processors[processor].GetState();
        var second = _interpreted.Processors[processor].GetState();
        var text = new StringBuilder();
        foreach (var property in typeof(VirtualProcessorState).GetProperties())
        {
            var left = property.GetValue(first);
            var right = property.GetValue(second);
            var isEqual = (left, right) switch
            {
                (byte[] a, byte[] b) => a.AsSpan().SequenceEqual(b),
                (ulong[] a, ulong[] b) => a.AsSpan().SequenceEqual(b),
                (IDictionary<uint, ulong> a, IDictionary<uint, ulong> b) => a.Count == b.Count && !a.Except(b).Any(),
                (ulong a, ulong b) when property.Name == nameof(VirtualProcessorState.Rflags) => ((a ^ b) & ~FlagBits) == 0,
                _ => Equals(left, right),
            };
            if (!isEqual)
            {
                text.Append(CultureInfo.InvariantCulture, $"{property.Name}: translated {Show(left)}, interpreted {Show(right)}\n");
            }
        }

        return text.Length == 0 ? null : $"After {_steps} instructions registers of processor {processor} differ:\n{text}";
    }

    /// <summary>
    /// All of RAM. What a page's accessed and dirty bits and a stored flags register's arithmetic bits say may differ: the former depend on
    /// what is still in a TLB, the latter are those that nothing reads.
    /// </summary>
    private string? CompareMemory()
    {
        const ulong AccessedAndDirty = 0x60;
        const int Chunk = 1 << 20;
        var length = _translated.Gpa.Ram.LowRamSize;
        for (var at = 0UL; at < length; at += Chunk)
        {
            var left = System.Runtime.InteropServices.MemoryMarshal.Cast<byte, ulong>(_translated.Gpa.GetRam(at, Chunk));
            var right = System.Runtime.InteropServices.MemoryMarshal.Cast<byte, ulong>(_interpreted.Gpa.GetRam(at, Chunk));
            if (left.SequenceEqual(right))
            {
                continue;
            }

            for (var i = 0; i < left.Length; i++)
            {
                if (((left[i] ^ right[i]) & ~(FlagBits | AccessedAndDirty)) != 0)
                {
                    return $"After {_steps} instructions memory differs at 0x{at + (ulong)(i * 8):x}: translated {left[i]:x}, interpreted {right[i]:x}.";
                }
            }
        }

        return null;
    }

    private string? CompareDisks()
    {
        for (var lun = 0; lun < _translated.Disks.Count; lun++)
        {
            var (first, second) = (_translated.Disks[lun].Changes, _interpreted.Disks[lun].Changes);
            if (first != second)
            {
                return $"After {_steps} instructions disk {lun} has other changes: translated {first}, interpreted {second}.";
            }
        }

        return null;
    }

    private string Describe()
    {
        var text = new StringBuilder();
        text.Append(
            CultureInfo.InvariantCulture,
            $"After {_steps} instructions the interpreter, on processor {_current}, does not come where translated code came. The serial port ends with:\n");
        text.AppendLine(Serial[Math.Max(0, Serial.Length - 300)..]);
        text.AppendLine("register: before, translated, interpreted");
        for (var i = 0; i <= 16; i++)
        {
            var name = i == 16 ? "RIP" : (Register.RAX + i).ToString();
            var first = i == 16 ? _translated.State->Rip : _translated.State->Gpr[i];
            var second = i == 16 ? _interpreted.State->Rip : _interpreted.State->Gpr[i];
            text.AppendLine(CultureInfo.InvariantCulture, $"{name,-4} {_start[i],16:x} {first,16:x} {second,16:x}{(first == second ? "" : " *")}");
        }

        text.AppendLine(CultureInfo.InvariantCulture, $"CR2: translated {_translated.State->Cr2:x}, interpreted {_interpreted.State->Cr2:x}");
        text.AppendLine("The interpreter's first steps: " + string.Join(' ', _firstSteps.Select(address => address.ToString("x", CultureInfo.InvariantCulture))));
        text.AppendLine("Code from where both were equal:");
        Disassemble(text, _start[16]);
        text.AppendLine("Code where the translated code stopped:");
        Disassemble(text, _translated.State->Rip);
        return text.ToString();
    }

    private void Disassemble(StringBuilder text, ulong address)
    {
        var code = new List<byte>();
        while (code.Count < 160 && CodeAt(_interpreted, address + (uint)code.Count) is { } next)
        {
            code.Add(next);
        }

        var bits = (_interpreted.State->Mode & (uint)VpMode.Code64) != 0 ? 64 : 32;
        var decoder = Iced.Intel.Decoder.Create(bits, new ByteArrayCodeReader([.. code]), address);
        var formatter = new NasmFormatter();
        var output = new StringOutput();
        while (decoder.IP < address + (uint)Math.Max(0, code.Count - 15))
        {
            decoder.Decode(out var instruction);
            formatter.Format(instruction, output);
            text.AppendLine(CultureInfo.InvariantCulture, $"  {instruction.IP:x} {output.ToStringAndReset()}");
        }
    }

    private static string Show(object? value) => value switch
    {
        ulong number => number.ToString("x", CultureInfo.InvariantCulture),
        byte[] bytes => Convert.ToHexString(bytes.AsSpan(0, Math.Min(64, bytes.Length))),
        IDictionary<uint, ulong> msrs => string.Join(' ', msrs.Select(msr => string.Create(CultureInfo.InvariantCulture, $"{msr.Key:x}={msr.Value:x}"))),
        ulong[] numbers => string.Join(' ', numbers.Select(number => number.ToString("x", CultureInfo.InvariantCulture))),
        _ => value?.ToString() ?? "nothing",
    };
}
