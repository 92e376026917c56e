using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Software;
using Vitro.Hypervisor.Software.Interpreter;

namespace Vitro.UnitTests.Hypervisor.Software.Interpreter;

/// <summary>A processor in 64-bit mode that runs a few bytes of code until HLT or its first exception.</summary>
internal sealed unsafe class InterpreterMachine : IDisposable
{
    /// <summary>A 2 MiB page that tests may unmap, after one they may not.</summary>
    public const ulong Hole = 0x60_0000;

    public const ulong Data = 0x50_0000;

    private readonly TestProcessor _processor = new();

    public InterpreterMachine()
    {
        // Every handler halts, so that a run ends there.
        for (var vector = 0u; vector < 32; vector++)
        {
            _processor.Write(TestProcessor.Handler + (vector * 16), 0xF4);
        }
    }

    public VpState* State => _processor.State;

    public CodeCache Cache => (CodeCache)_processor.Vp.Partition.CodePages;

    /// <summary>Vector of the exception that ended the run, or -1.</summary>
    public int Vector { get; private set; }

    public ref ulong Rax => ref State->Gpr[0];

    public ref ulong Rcx => ref State->Gpr[1];

    public ref ulong Rsi => ref State->Gpr[6];

    public ref ulong Rdi => ref State->Gpr[7];

    public void Write(ulong gpa, params ReadOnlySpan<byte> bytes) => _processor.Write(gpa, bytes);

    public byte[] Read(ulong gpa, int length)
    {
        var bytes = new byte[length];
        Xunit.Assert.True(_processor.Gpa.TryRead(gpa, bytes));
        return bytes;
    }

    public ulong ReadWord(ulong gpa) => _processor.ReadWord(gpa);

    /// <summary>Enters 64-bit mode at CPL 0 with registers at zero and the hole unmapped or not.</summary>
    public void Start(ulong rip = TestProcessor.Code, bool withHole = false)
    {
        _processor.EnterLongMode();
        if (withHole)
        {
            _processor.WriteWord(TestProcessor.Pml4 + 0x2000 + ((Hole >> 21) * 8), 0);
        }

        State->Rip = rip;
    }

    /// <summary>Makes a linear 2 MiB page show another physical one.</summary>
    public void Alias(ulong linear, ulong gpa)
    {
        _processor.WriteWord(TestProcessor.Pml4 + 0x2000 + ((linear >> 21) * 8), gpa | 0x87);
        _processor.Vp.Mmu.FlushAll();
    }

    /// <summary>Runs until the processor halts or a request ends the run.</summary>
    public void Run()
    {
        State->Activity = (uint)VpActivity.Running;
        _processor.Vp.EnterGuest();
        _processor.Vp.Core.Run(_processor.Vp);
        _processor.Vp.LeaveGuest();
        var handler = State->Rip - 1 - TestProcessor.Handler;
        Vector = handler < 32 * 16 && handler % 16 == 0 ? (int)(handler / 16) : -1;
    }

    /// <summary>RIP in the exception's frame.</summary>
    public ulong FaultRip(bool hasErrorCode) => ReadWord(State->Gpr[4] + (hasErrorCode ? 8u : 0));

    public void Dispose() => _processor.Dispose();
}
