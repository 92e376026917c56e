using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Vid;

namespace Vitro.Hypervisor.Software.Interpreter;

/// <summary>
/// Makes blocks of the bytes at a linear address: where a block ends, what its instructions are to the translator or the
/// interpreter, and blocks of one instruction across a page border. Called under the block cache's lock, but for what is static.
/// </summary>
internal sealed unsafe class BlockDecoder(SoftwarePartition partition) : IDisposable
{
    /// <summary>Most bytes of one block, and of what may be read behind it.</summary>
    public const int MaximumSize = (MaximumInstructions + 2) * 64;

    /// <summary>Most instructions of one block.</summary>
    public const int MaximumInstructions = 64;

    private const int CopiedAtOnce = 64;
    private readonly byte* _window = (byte*)NativeMemory.AllocZeroed(64);

    /// <summary>
    /// Decodes the block at a linear address into <paramref name="place"/>, where <see cref="MaximumSize"/> bytes are free. Null after
    /// raising the fault that fetching it gives. The pages it lies in are marked as holding code. The instructions of a block of the translator
    /// are the processor's afterwards (<see cref="PlainInstructions"/>), with <paramref name="emptied"/>.
    /// </summary>
    public CodeBlock* Decode(SoftwareVirtualProcessor vp, ulong linear, uint mode, byte* place, ulong emptied)
    {
        if (!vp.Mmu.TryTranslateFetch(linear, out var first))
        {
            return null;
        }

        // Before its bytes are read.
        if (first.PageFlags != null)
        {
            partition.ProtectCodePage(vp, first.Gpa);
        }

        var block = (CodeBlock*)place;
        *block = default;
        var isPlain = (mode & CodeCache.Plain) != 0;
        var instructions = isPlain ? vp.Plain.Begin() : CodeBlock.Instructions(block);
        var code = isPlain ? CodeBlock.Bytes(block) : first.Host;
        var copied = 0;
        var inPage = (int)(GuestMemory.PageSize - (linear & 0xFFF));
        var maximum = (mode & ((uint)VpMode.Stepping | CodeCache.SingleInstruction)) != 0 ? 1 : MaximumInstructions;
        var offset = 0;
        var count = 0;
        while (count < maximum && offset < inPage)
        {
            while (isPlain && copied < inPage && copied < offset + Decoder.ReadAhead)
            {
                var size = Math.Min(CopiedAtOnce, inPage - copied);
                Unsafe.CopyBlockUnaligned(code + copied, first.Host + copied, (uint)size);
                copied += size;
            }

            var instruction = instructions + count;
            var status = Decoder.Decode(code + offset, inPage - offset, (VpMode)mode, offset, instruction);
            if (status == DecodeStatus.NeedMore)
            {
                if (count > 0)
                {
                    break;
                }

                return DecodeAcross(vp, linear, mode, first, block, emptied);
            }

            count++;
            if (status == DecodeStatus.TooLong)
            {
                MarkTooLong(instruction);
            }

            FeatureGate.Apply(instruction, vp.State->Features);
            if (!isPlain)
            {
                HandlerSelection.Select(instruction, (VpMode)mode);
                MarkLinkable(instruction, (int)(linear & 0xFFF));
                if (count > 1)
                {
                    HandlerSelection.Fuse(instruction - 1, instruction);
                }
            }

            offset += instruction->Length;
            if (EndsBlock(instruction->Operation))
            {
                break;
            }
        }

        if (isPlain)
        {
            vp.Plain.Complete(block, emptied);
        }

        return Complete(block, first, mode, offset, count);
    }

    /// <summary>
    /// Decodes an instruction of a block of the translator once more, which begins so many bytes behind the block's start. Any thread that holds
    /// the block, without the lock.
    /// </summary>
    public static void DecodeAgain(CodeBlock* block, int offset, CpuFeatures features, DecodedInstruction* instruction)
    {
        if (Decoder.Decode(CodeBlock.Bytes(block) + offset, Decoder.ReadAhead, (VpMode)block->Mode, offset, instruction) == DecodeStatus.TooLong)
        {
            MarkTooLong(instruction);
        }

        FeatureGate.Apply(instruction, features);
    }

    /// <summary>The linear address of the page behind one's, in the present mode.</summary>
    public static ulong NextPage(SoftwareVirtualProcessor vp, ulong linear)
    {
        var next = (linear & ~0xFFFUL) + GuestMemory.PageSize;
        return (vp.State->Mode & (uint)VpMode.Code64) != 0 ? next : (uint)next;
    }

    /// <inheritdoc/>
    public void Dispose() => NativeMemory.Free(_window);

    private static bool EndsBlock(Operation operation)
    {
        switch (operation)
        {
            case Operation.Jcc or Operation.Jmp or Operation.JmpIndirect or Operation.Call or Operation.CallIndirect or Operation.Ret
                or Operation.Loop or Operation.Loope or Operation.Loopne or Operation.Jrcxz or Operation.Invalid:
            case Operation.Sti or Operation.Popf or Operation.Hlt or Operation.Int or Operation.Int1 or Operation.Int3 or Operation.Iret
                or Operation.CallFar or Operation.CallFarIndirect or Operation.JmpFar or Operation.JmpFarIndirect or Operation.RetFar
                or Operation.Syscall or Operation.Sysret or Operation.Sysenter or Operation.Sysexit or Operation.MovToControl
                or Operation.Wrmsr or Operation.Lmsw or Operation.Vmcall or Operation.Vmmcall or Operation.Rsm:
                return true;
            default:
                return false;
        }
    }

    // The first instruction lies across a page border: a block of its own.
    private CodeBlock* DecodeAcross(SoftwareVirtualProcessor vp, ulong linear, uint mode, in Translation first, CodeBlock* block, ulong emptied)
    {
        var inPage = (int)(GuestMemory.PageSize - (linear & 0xFFF));
        if (!vp.Mmu.TryTranslateFetch(NextPage(vp, linear), out var second))
        {
            return null;
        }

        if (second.PageFlags != null)
        {
            partition.ProtectCodePage(vp, second.Gpa);
        }

        Unsafe.CopyBlockUnaligned(_window, first.Host, (uint)inPage);
        Unsafe.CopyBlockUnaligned(_window + inPage, second.Host, (uint)(32 - inPage));
        block->Crosses = true;
        *CodeBlock.Second(block) = new SecondPage { Host = second.Host, Gpa = second.Gpa };
        var isPlain = (mode & CodeCache.Plain) != 0;
        var instruction = isPlain ? vp.Plain.Begin() : CodeBlock.Instructions(block);
        if (Decoder.Decode(_window, 32, (VpMode)mode, 0, instruction) == DecodeStatus.TooLong)
        {
            MarkTooLong(instruction);
        }

        FeatureGate.Apply(instruction, vp.State->Features);
        if (isPlain)
        {
            Unsafe.CopyBlockUnaligned(CodeBlock.Bytes(block), _window, instruction->Length);
            vp.Plain.Complete(block, emptied);
        }
        else
        {
            HandlerSelection.Select(instruction, (VpMode)mode);
        }

        return Complete(block, first, mode, instruction->Length, 1);
    }

    private static CodeBlock* Complete(CodeBlock* block, in Translation first, uint mode, int length, int count)
    {
        if ((mode & CodeCache.Plain) == 0)
        {
            var end = CodeBlock.Instructions(block) + count;
            *end = default;
            end->Operation = Operation.BlockEnd;
            end->Handler = (ushort)Handler.BlockEnd;
            end->Offset = (ushort)length;
        }

        block->Mode = mode;
        block->Count = (byte)count;
        block->Length = (ushort)length;
        block->Gpa = first.Gpa;
        block->HostPc = first.Host;
        return block;
    }

    private static void MarkTooLong(DecodedInstruction* instruction)
    {
        instruction->Operation = Operation.Invalid;
        instruction->Length = Decoder.MaximumLength;
        instruction->Immediate = Fault.GeneralProtection;
        instruction->ImmediateSize = 0;
    }

    // Branches inside a page may be linked; Immediate2, unused by them, says so.
    private static void MarkLinkable(DecodedInstruction* instruction, int pageOffset)
    {
        if (instruction->Operation is Operation.Jcc or Operation.Jmp or Operation.Call)
        {
            instruction->Immediate2 = (ulong)(pageOffset + (long)instruction->Immediate) < GuestMemory.PageSize ? (ushort)1 : (ushort)0;
        }
    }
}
