using Vitro.Hypervisor.Software.Emitter;
using Vitro.Platform;

namespace Vitro.Hypervisor.Software.Interpreter;

/// <summary>The host's own LOCK CMPXCHG16B, which no C# operation gives.</summary>
internal static unsafe class WideExchange
{
    private static readonly ExecutableMemory Memory = Emit();
    private static readonly delegate* unmanaged[SuppressGCTransition]<ulong*, ulong*, int> Function =
        (delegate* unmanaged[SuppressGCTransition]<ulong*, ulong*, int>)Memory.Executable;

    /// <summary>
    /// Compares 16 bytes with RDX:RAX and stores RCX:RBX when equal; else loads RDX:RAX. True when they were equal.
    /// </summary>
    /// <param name="address">16-byte aligned host address.</param>
    /// <param name="registers">RAX, RCX, RDX, RBX: the order of the general registers.</param>
    public static bool CompareExchange(ulong* address, ulong* registers) => Function(address, registers) != 0;

    private static ExecutableMemory Emit()
    {
        var memory = ExecutableMemory.Create("vitro-wide-exchange", 4096);
        var emitter = new CodeEmitter(memory, 0, 4096);
        emitter.Push(HostRegister.Rbx);
        emitter.Bytes(
        [
            0x48, 0x8B, 0x06, // mov rax, [rsi]
            0x48, 0x8B, 0x4E, 0x08, // mov rcx, [rsi+8]
            0x48, 0x8B, 0x56, 0x10, // mov rdx, [rsi+16]
            0x48, 0x8B, 0x5E, 0x18, // mov rbx, [rsi+24]
            0xF0, 0x48, 0x0F, 0xC7, 0x0F, // lock cmpxchg16b [rdi]
            0x48, 0x89, 0x06, // mov [rsi], rax
            0x48, 0x89, 0x56, 0x10, // mov [rsi+16], rdx
            0x0F, 0x94, 0xC0, // sete al
            0x0F, 0xB6, 0xC0, // movzx eax, al
        ]);
        emitter.Pop(HostRegister.Rbx);
        emitter.Return();
        return memory;
    }
}
