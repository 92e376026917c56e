using System.Runtime.CompilerServices;
using Vitro.Hypervisor.Software.Decoding;

namespace Vitro.Hypervisor.Software.Interpreter;

/// <content>
/// String instructions. Repeated ones go page by page through host memory; a fault or a request in the middle leaves the
/// registers at the element reached, and RIP at the instruction.
/// </content>
internal sealed unsafe partial class InstructionInterpreter
{
    // Elements between two looks at requests: a page's worth of bytes at least.
    private const ulong RepeatChunk = 4096;

    private InstructionResult String(VpState* vp, DecodedInstruction* i)
    {
        var size = i->OperandSize;
        var mask = i->AddressMask;
        var step = (vp->SystemFlags & RFlags.Df) != 0 ? (ulong)-size : (ulong)size;
        if ((i->Prefixes & (Prefixes.Rep | Prefixes.Repne)) == 0)
        {
            return Outcome(StringStep(vp, i, size, mask, step));
        }

        var compares = i->Operation is Operation.Cmps or Operation.Scas;
        var wantEqual = (i->Prefixes & Prefixes.Rep) != 0;
        while (true)
        {
            var count = vp->Gpr[1] & mask;
            if (count == 0)
            {
                return InstructionResult.Next;
            }

            if (!compares && (vp->SystemFlags & RFlags.Df) == 0)
            {
                var done = BulkStep(vp, i, size, mask, Math.Min(count, RepeatChunk));
                if (done > 0)
                {
                    WriteRegister(vp, 8, i->AddressSize, count - done);
                    if (_codeModified || Volatile.Read(ref vp->Requests) != 0)
                    {
                        return count == done ? InstructionResult.Next : Suspend();
                    }

                    continue;
                }
            }

            if (!StringStep(vp, i, size, mask, step))
            {
                return InstructionResult.Fault;
            }

            WriteRegister(vp, 8, i->AddressSize, count - 1);
            if (compares && Condition.IsEqual(vp) != wantEqual)
            {
                return InstructionResult.Next;
            }

            if (count != 1 && (_codeModified || Volatile.Read(ref vp->Requests) != 0 || (vp->Mode & (uint)VpMode.Stepping) != 0))
            {
                return Suspend();
            }
        }
    }

    // RIP stays; the block is left, and the instruction goes on when it is looked up again.
    private InstructionResult Suspend()
    {
        ClearCodeModified();
        return InstructionResult.Jump;
    }

    private bool StringStep(VpState* vp, DecodedInstruction* i, int size, ulong mask, ulong step)
    {
        ulong value = 0;
        ulong other;
        var sourceOffset = vp->Gpr[6] & mask;
        var targetOffset = vp->Gpr[7] & mask;
        var source = 0UL;
        var target = 0UL;
        if (i->Operation is Operation.Movs or Operation.Lods or Operation.Cmps)
        {
            if (!OperandAddress.TryGetLinear(vp, i->Segment, sourceOffset, size, isStore: false, out source)
                || !LoadLinear(source, size, i->Segment, out value))
            {
                return false;
            }
        }

        var stores = i->Operation is Operation.Movs or Operation.Stos;
        if (i->Operation != Operation.Lods && !OperandAddress.TryGetLinear(vp, 0, targetOffset, size, stores, out target))
        {
            return false;
        }

        switch (i->Operation)
        {
            case Operation.Movs:
                if (!StoreLinear(target, size, 0, value))
                {
                    return false;
                }

                WriteRegister(vp, 6 * 8, i->AddressSize, sourceOffset + step);
                break;
            case Operation.Stos:
                if (!StoreLinear(target, size, 0, vp->Gpr[0]))
                {
                    return false;
                }

                break;
            case Operation.Lods:
                WriteRegister(vp, 0, size, value);
                WriteRegister(vp, 6 * 8, i->AddressSize, sourceOffset + step);
                return true;
            case Operation.Cmps:
                if (!LoadLinear(target, size, 0, out other))
                {
                    return false;
                }

                _ = Compute(vp, Operation.Cmp, size, value, other);
                WriteRegister(vp, 6 * 8, i->AddressSize, sourceOffset + step);
                break;
            default:
                if (!LoadLinear(target, size, 0, out other))
                {
                    return false;
                }

                _ = Compute(vp, Operation.Cmp, size, vp->Gpr[0], other);
                break;
        }

        WriteRegister(vp, 7 * 8, i->AddressSize, targetOffset + step);
        return true;
    }

    // As many elements at once as lie in the present page or pages; zero sends the next one to the single step.
    private ulong BulkStep(VpState* vp, DecodedInstruction* i, int size, ulong mask, ulong count)
    {
        if (i->Operation is not (Operation.Movs or Operation.Stos) || (vp->Mode & (uint)VpMode.FlatSegments) == 0 || i->AddressSize == 2
            || (vp->Mode & (uint)VpMode.Stepping) != 0)
        {
            return 0;
        }

        var targetOffset = vp->Gpr[7] & mask;
        if (!OperandAddress.TryGetLinear(vp, 0, targetOffset, size, isStore: true, out var target))
        {
            return 0;
        }

        count = Math.Min(count, (PageSize - (target & 0xFFF)) / (uint)size);
        if (count == 0)
        {
            return 0;
        }

        if (!HostStore(target, size, out var to))
        {
            return BulkStepOverCode(vp, i, size, mask, count, target);
        }

        if (i->Operation == Operation.Stos)
        {
            Fill(to, size, count, vp->Gpr[0]);
        }
        else
        {
            var sourceOffset = vp->Gpr[6] & mask;
            if (!OperandAddress.TryGetLinear(vp, i->Segment, sourceOffset, size, isStore: false, out var source))
            {
                return 0;
            }

            count = Math.Min(count, (PageSize - (source & 0xFFF)) / (uint)size);
            if (count == 0 || !HostLoad(source, size, out var from))
            {
                return 0;
            }

            var distance = (ulong)(to - from);
            if (distance < count * (uint)size)
            {
                // The target runs over what is still to be read: element by element, the pattern repeats.
                CopyForward(from, to, size, count);
            }
            else
            {
                Unsafe.CopyBlockUnaligned(to, from, (uint)(count * (uint)size));
            }

            WriteRegister(vp, 6 * 8, i->AddressSize, sourceOffset + (count * (uint)size));
        }

        WriteRegister(vp, 7 * 8, i->AddressSize, targetOffset + (count * (uint)size));
        return count;
    }

    // The same to a page with code, as a kernel clears or fills what it has freed: the page's blocks are looked through once.
    private ulong BulkStepOverCode(VpState* vp, DecodedInstruction* i, int size, ulong mask, ulong count, ulong target)
    {
        var buffer = stackalloc byte[(int)PageSize];
        var source = buffer;
        var sourceOffset = vp->Gpr[6] & mask;
        if (i->Operation == Operation.Stos)
        {
            Fill(buffer, size, count, vp->Gpr[0]);
        }
        else
        {
            if (!OperandAddress.TryGetLinear(vp, i->Segment, sourceOffset, size, isStore: false, out var from))
            {
                _ = DropFault();
                return 0;
            }

            count = Math.Min(count, (PageSize - (from & 0xFFF)) / (uint)size);
            if (count == 0 || !HostLoad(from, size, out source))
            {
                return 0;
            }
        }

        if (!Mmu.TryStoreOverCode(target, source, (int)count * size))
        {
            _ = DropFault();
            return 0;
        }

        if (i->Operation == Operation.Movs)
        {
            WriteRegister(vp, 6 * 8, i->AddressSize, sourceOffset + (count * (uint)size));
        }

        WriteRegister(vp, 7 * 8, i->AddressSize, (vp->Gpr[7] & mask) + (count * (uint)size));
        return count;
    }

    private bool HostStore(ulong linear, int size, out byte* address)
    {
        if (Store(_state, linear, (uint)size, out address))
        {
            return true;
        }

        address = Mmu.StorePointer(linear, size);
        return address != null || DropFault();
    }

    private bool HostLoad(ulong linear, int size, out byte* address)
    {
        if (Load(_state, linear, (uint)size, out address))
        {
            return true;
        }

        address = Mmu.LoadPointer(linear, size);
        return address != null || DropFault();
    }

    // The single step raises it again, in the order the instruction has it.
    private bool DropFault()
    {
        _state->FaultVector = -1;
        return false;
    }

    private static void Fill(byte* to, int size, ulong count, ulong value)
    {
        switch (size)
        {
            case 1:
                new Span<byte>(to, (int)count).Fill((byte)value);
                break;
            case 2:
                new Span<ushort>(to, (int)count).Fill((ushort)value);
                break;
            case 4:
                new Span<uint>(to, (int)count).Fill((uint)value);
                break;
            default:
                new Span<ulong>(to, (int)count).Fill(value);
                break;
        }
    }

    private static void CopyForward(byte* from, byte* to, int size, ulong count)
    {
        for (; count > 0; count--, from += size, to += size)
        {
            HostValue.Write(to, size, HostValue.Read(from, size));
        }
    }
}
