using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using Iced.Intel;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Kvm.Interop;

namespace Vitro.Hypervisor.Kvm;

/// <summary>Says for people why a guest cannot go on, and at which instruction it stands.</summary>
internal static unsafe class FailureReport
{
    private const int LongestInstruction = 15;
    private const uint EmulationFailure = 1;

    /// <summary>What an exit that ends the machine means.</summary>
    internal static string Explain(KvmRun* run) => run->ExitReason switch
    {
        KvmExit.InternalError => ExplainInternalError(run),
        KvmExit.FailedEntry => string.Create(
            CultureInfo.InvariantCulture,
            $"the processor refuses to enter the guest, hardware reason 0x{run->HardwareReason:x}: its state is one that the processor does not allow"),
        KvmExit.Unknown => string.Create(
            CultureInfo.InvariantCulture, $"the guest left for a reason that the host's KVM does not know, hardware reason 0x{run->HardwareReason:x}"),
        KvmExit.SystemEvent => string.Create(CultureInfo.InvariantCulture, $"system event {run->SystemEventType}"),
        _ => string.Create(CultureInfo.InvariantCulture, $"unexpected exit {(uint)run->ExitReason}"),
    };

    /// <summary>What it means that KVM_RUN itself fails.</summary>
    internal static string ExplainRun(int error) => error switch
    {
        KvmFile.Fault => "the host cannot give the memory that the guest uses: it has none left, or what lies behind the memory is gone (errno 14)",
        KvmFile.OutOfMemory => "the host has no memory left to run the guest (errno 12): give the machine less, or free some",
        KvmFile.HardwarePoison => "the host's memory behind the guest's is damaged, its hardware says (errno 133)",
        _ => string.Create(CultureInfo.InvariantCulture, $"KVM_RUN: {Marshal.GetPInvokeErrorMessage(error)} (errno {error})"),
    };

    /// <summary>A failure with the processor's registers and the instruction it stands at.</summary>
    internal static string Describe(KvmVirtualProcessor processor, KvmRun* run, string what)
    {
        var text = new StringBuilder(what);
        try
        {
            var state = processor.GetState();
            var width = (state.Cs.Attributes & 0x2000) != 0 && (state.Efer & 0x400) != 0 ? 64 : (state.Cs.Attributes & 0x4000) != 0 ? 32 : 16;
            text.Append(
                CultureInfo.InvariantCulture,
                $"; vp {processor.Index} at {state.Cs.Selector:x}:{state.Rip:x} ({width} bit) cr0 {state.Cr0:x} cr2 {state.Cr2:x} cr3 {state.Cr3:x} cr4 {state.Cr4:x} efer {state.Efer:x} rflags {state.Rflags:x} rsp {state.Gpr[4]:x}");
            var bytes = InstructionBytes(processor, run, state);
            text.Append(bytes.Length == 0 ? "; the instruction is not in memory" : "; instruction " + Disassemble(bytes, state.Rip, width));
        }
        catch (HypervisorException error)
        {
            text.Append(CultureInfo.InvariantCulture, $"; its state cannot be read: {error.Message}");
        }

        return text.ToString();
    }

    /// <summary>One instruction as text, with its bytes.</summary>
    internal static string Disassemble(ReadOnlySpan<byte> code, ulong address, int width)
    {
        var decoder = Iced.Intel.Decoder.Create(width, code.ToArray(), address);
        var instruction = decoder.Decode();
        if (instruction.IsInvalid)
        {
            return $"that no processor knows ({Convert.ToHexStringLower(code)})";
        }

        var output = new StringOutput();
        new IntelFormatter().Format(instruction, output);
        return $"'{output.ToStringAndReset()}' ({Convert.ToHexStringLower(code[..instruction.Length])})";
    }

    private static string ExplainInternalError(KvmRun* run)
    {
        switch (run->SubError)
        {
            case EmulationFailure:
                return "the host's KVM cannot emulate the instruction";
            case 2:
                return "KVM met an exception while it delivered another" + Data(run);
            case 3:
                return "the processor left the guest while an event was being delivered" + Data(run);
            case 4:
                return "the guest left for a reason that KVM does not expect" + Data(run);
            default:
                return string.Create(CultureInfo.InvariantCulture, $"KVM internal error {run->SubError}") + Data(run);
        }
    }

    private static string Data(KvmRun* run)
    {
        var text = new StringBuilder(" (data");
        for (var i = 0; i < Math.Min(run->DataCount, 16); i++)
        {
            text.Append(CultureInfo.InvariantCulture, $" 0x{run->Data[i]:x}");
        }

        return text.Append(')').ToString();
    }

    private static byte[] InstructionBytes(KvmVirtualProcessor processor, KvmRun* run, VirtualProcessorState state)
    {
        // What the kernel fetched itself is what it failed on, whatever lies in memory by now.
        if (run->ExitReason == KvmExit.InternalError && run->SubError == EmulationFailure && run->DataCount >= 4
            && run->InstructionSize is > 0 and <= LongestInstruction)
        {
            return new ReadOnlySpan<byte>(run->InstructionBytes, run->InstructionSize).ToArray();
        }

        var bytes = new byte[LongestInstruction];
        for (var i = 0; i < bytes.Length; i++)
        {
            if (!processor.TryReadLinear(state.Cs.Base + state.Rip + (uint)i, out bytes[i]))
            {
                return bytes[..i];
            }
        }

        return bytes;
    }
}
