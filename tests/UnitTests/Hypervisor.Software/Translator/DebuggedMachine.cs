using Iced.Intel;
using Vitro.Foundation;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Software;
using Vitro.Hypervisor.Software.Interpreter;
using Vitro.Hypervisor.Software.Translator;
using static Iced.Intel.AssemblerRegisters;

namespace Vitro.UnitTests.Hypervisor.Software.Translator;

/// <summary>
/// A processor in 64-bit mode whose handler of debug exceptions notes where each came and what DR6 said, and goes on. Programs end with HLT,
/// in user code with <see cref="Stop"/>.
/// </summary>
internal sealed unsafe class DebuggedMachine : IDisposable
{
    internal const ulong Data = 0x50_0000;

    /// <summary>Interrupts that user code may raise: one halts, one writes DR7 with RAX.</summary>
    internal const byte Stop = 0x80;
    internal const byte SetDr7 = 0x81;

    private const ulong HandlerCode = 0x32_0000;
    private const ulong StopCode = 0x32_1000;
    private const ulong SetDr7Code = 0x32_2000;

    // Where the next note goes, what the handler sets in the frame's RFLAGS, and what it leaves of them.
    private const ulong NextNote = 0x60_0000;
    private const ulong SetFlags = 0x60_0008;
    private const ulong KeptFlags = 0x60_0010;
    private const ulong Notes = 0x60_1000;

    private readonly TestProcessor _processor;

    internal DebuggedMachine(bool translates, uint cpl = 0, TimeProvider? time = null, ulong tscFrequency = 0)
    {
        _processor = new TestProcessor(translates ? new TranslatorFactory() : new InterpreterFactory(), time: time, tscFrequency: tscFrequency);
        _processor.EnterLongMode(cpl);
        _processor.SetGate(1, HandlerCode, ist: 1);
        _processor.SetGate(Stop, StopCode, dpl: 3);
        _processor.SetGate(SetDr7, SetDr7Code, dpl: 3);
        _processor.Write(StopCode, 0xF4);
        Write(SetDr7Code, c =>
        {
            c.mov(dr7, rax);
            c.iretq();
        });
        Write(HandlerCode, WriteHandler);
        _processor.WriteWord(NextNote, Notes);
        _processor.WriteWord(KeptFlags, ulong.MaxValue);
    }

    internal VpState* State => _processor.State;

    internal SoftwareVirtualProcessor Vp => _processor.Vp;

    internal CodeCache Cache => (CodeCache)_processor.Vp.Partition.CodePages;

    /// <summary>Instructions at which debug exceptions stopped, with DR6.</summary>
    internal List<(ulong Rip, uint Dr6)> Stops
    {
        get
        {
            List<(ulong, uint)> stops = [];
            for (var at = Notes; at < _processor.ReadWord(NextNote); at += 16)
            {
                stops.Add((_processor.ReadWord(at), (uint)_processor.ReadWord(at + 8)));
            }

            return stops;
        }
    }

    /// <summary>How often translated code was left for whatever reason.</summary>
    internal long Exits
    {
        get
        {
            var node = new InspectNode();
            (Vp.Core as TranslatedCore)?.Inspect(node);
            return Enum.GetNames<ExitKind>().Sum(kind => (long?)node.Find(kind.ToLowerInvariant()) ?? 0);
        }
    }

    /// <summary>Has the handler resume with RF set, as debuggers do behind an instruction breakpoint.</summary>
    internal void ResumeWithRf() => _processor.WriteWord(SetFlags, RFlags.Rf);

    internal void SetGate(uint vector, ulong handler, uint dpl = 0, uint ist = 0) => _processor.SetGate(vector, handler, dpl, ist);

    internal void WriteWord(ulong gpa, ulong value) => _processor.WriteWord(gpa, value);

    internal ulong ReadWord(ulong gpa) => _processor.ReadWord(gpa);

    /// <summary>Assembles code at an address; what it returns are the addresses of all its instructions and of the end.</summary>
    internal ulong[] Write(ulong address, Action<Assembler> program)
    {
        var assembler = new Assembler(64);
        program(assembler);
        using var stream = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(stream), address);
        var code = stream.ToArray();
        _processor.Write(address, code);
        List<ulong> addresses = [];
        var decoder = Decoder.Create(64, new ByteArrayCodeReader(code), address);
        while (decoder.IP < address + (uint)code.Length)
        {
            addresses.Add(decoder.IP);
            decoder.Decode();
        }

        return [.. addresses, decoder.IP];
    }

    /// <summary>Runs from an address until the processor halts.</summary>
    internal void Run(ulong rip = TestProcessor.Code)
    {
        State->Rip = rip;
        State->Activity = (uint)VpActivity.Running;
        Vp.EnterGuest();
        for (var n = 0; n < 1000 && State->Activity == (uint)VpActivity.Running; n++)
        {
            Vp.Core.Run(Vp);
        }

        Vp.LeaveGuest();
        Xunit.Assert.True(State->Activity == (uint)VpActivity.Halted, $"The processor is at {State->Rip:x}, CPL {State->Cpl}, flags {State->SystemFlags:x}, requests {State->Requests:x}.");
    }

    /// <summary>Runs one block and what follows it without a look at requests.</summary>
    internal void RunBlock(ulong rip)
    {
        State->Rip = rip;
        State->Activity = (uint)VpActivity.Running;
        Interlocked.Exchange(ref State->Requests, (uint)VpRequest.Cancel);
        Vp.EnterGuest();
        Vp.Core.Run(Vp);
        Vp.LeaveGuest();
        Interlocked.Exchange(ref State->Requests, 0);
    }

    /// <summary>Puts the processor back into the kernel, wherever it is; the TLB is emptied.</summary>
    internal void EnterKernel() => _processor.EnterLongMode();

    /// <summary>How many of some instructions were left to the interpreter by translated code.</summary>
    internal long Interpreted(params ReadOnlySpan<string> operations)
    {
        var node = new InspectNode();
        (Vp.Core as TranslatedCore)?.Inspect(node);
        var sum = 0L;
        foreach (var operation in operations)
        {
            sum += ((long?)node.Find("interpreted/" + operation) ?? 0) + ((long?)node.Find("missed/" + operation) ?? 0);
        }

        return sum;
    }

    public void Dispose() => _processor.Dispose();

    private static void WriteHandler(Assembler c)
    {
        c.push(rax);
        c.push(rcx);
        c.mov(rcx, __qword_ptr[NextNote]);
        c.mov(rax, __qword_ptr[rsp + 16]);
        c.mov(__qword_ptr[rcx], rax);
        c.mov(rax, dr6);
        c.mov(__qword_ptr[rcx + 8], rax);
        c.add(__qword_ptr[NextNote], 16);
        c.xor(eax, eax);
        c.mov(dr6, rax);
        c.mov(rax, __qword_ptr[SetFlags]);
        c.or(__qword_ptr[rsp + 32], rax);
        c.mov(rax, __qword_ptr[KeptFlags]);
        c.and(__qword_ptr[rsp + 32], rax);
        c.pop(rcx);
        c.pop(rax);
        c.iretq();
    }
}
