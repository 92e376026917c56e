using Vitro.Hypervisor.Software.Emitter;

namespace Vitro.Hypervisor.Software.Thunks;

/// <content>x87 instructions: the whole x87 state goes through the host's registers.</content>
internal static unsafe partial class ThunkBuilder
{
    /// <summary>
    /// Emits an x87 instruction (opcodes D8 to DF) that is not a control instruction: arguments as of any thunk, RSI the
    /// memory operand, R8 the flags that FCMOVcc reads; the result is the flags after it.
    /// </summary>
    /// <remarks>
    /// The host runs it with the guest's own exception masks: an unmasked exception only becomes pending, is saved so and
    /// cleared with FNINIT. The caller never runs one while an exception is pending.
    /// </remarks>
    /// <param name="opcode">D8 to DF.</param>
    /// <param name="modRm">For memory forms only the bits of ModRM.reg count.</param>
    internal static void EmitX87(ref CodeEmitter code, int opcode, int modRm)
    {
        code.Load64(HostRegister.R10, HostRegister.Rcx, XsaveOffset);
        code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Escape0F, 0xAE, true, 1, HostRegister.R10, 0); // fxrstor64
        code.Push(HostRegister.R8);
        code.PopFlags();
        code.Byte(opcode);
        if (modRm < 0xC0)
        {
            code.ModRmMemory((modRm >> 3) & 7, (int)HostRegister.Rsi, 0);
        }
        else
        {
            code.Byte(modRm);
        }

        code.PushFlags();
        code.Pop(HostRegister.Rax);
        code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Escape0F, 0xAE, true, 0, HostRegister.R10, 0); // fxsave64
        code.Bytes(0xDB, 0xE3); // fninit
        EmitHostMxcsr(ref code);
        code.Return();
    }
}
