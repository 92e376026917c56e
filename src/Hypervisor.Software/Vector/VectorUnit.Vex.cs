using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Interpreter;
using Vitro.Hypervisor.Software.Thunks;

namespace Vitro.Hypervisor.Software.Vector;

/// <content>VEX-encoded vector instructions.</content>
internal sealed unsafe partial class VectorUnit
{
    private bool ExecuteVex(DecodedInstruction* instruction)
    {
        if (!IsAvxUsable())
        {
            return false;
        }

        var thunk = (Thunk*)instruction->Link;
        if (thunk == null)
        {
            thunk = ResolveVex(instruction);
            if (thunk == null)
            {
                return Fault.Undefined(_state);
            }

            instruction->Link = thunk;
        }

        var form = &thunk->Form;
        if (form->Has(ThunkTraits.ClearsUppers))
        {
            ClearUppers((instruction->Prefixes & Prefixes.VexL) != 0);
            return true;
        }

        _state->UppersInUse = 1;
        if (form->Has(ThunkTraits.MaskedStore))
        {
            return ExecuteOdd(instruction, thunk);
        }

        if (form->Has(ThunkTraits.Gather))
        {
            return ExecuteGather(instruction);
        }

        var reg = Slot(form->Reg, instruction->Reg);
        var vvvv = Slot(OperandKind.Xmm, instruction->Vvvv);
        if (!instruction->IsMemory)
        {
            return Complete(thunk, thunk->Code(reg, Slot(form->Rm, instruction->Rm), vvvv, _state, 0));
        }

        var size = VexTable.MemorySize(instruction, *form);
        if (form->Has(ThunkTraits.MaskedMove))
        {
            return ExecuteMaskedMove(instruction, thunk, size);
        }

        return TryGetLinear(instruction, size, form->Traits, out var linear)
            && ExecuteSlowly(instruction, thunk, reg, vvvv, linear, size);
    }

    /// <summary>#UD and #NM of VEX-encoded instructions (SDM volume 2, section 2.4).</summary>
    private bool IsAvxUsable()
    {
        const ulong needed = XsaveArea.ComponentSse | XsaveArea.ComponentAvx;
        if ((_state->Cr4 & ControlBits.Cr4Osxsave) == 0 || (_state->Xcr0 & needed) != needed)
        {
            return Fault.Undefined(_state);
        }

        return (_state->Cr0 & ControlBits.Cr0TaskSwitched) == 0 || Fault.Raise(_state, Fault.DeviceNotAvailable);
    }

    private void ClearUppers(bool all)
    {
        var count = (IsCode64 ? 16 : 8) * 16;
        new Span<byte>(Area + XsaveArea.YmmHigh, count).Clear();
        _state->UppersInUse &= IsCode64 ? 0u : 1;
        if (all)
        {
            new Span<byte>(Area + XsaveArea.Xmm, count).Clear();
        }
    }

    private Thunk* ResolveVex(DecodedInstruction* instruction)
    {
        if (!VexTable.TryFind(instruction, out var form))
        {
            return null;
        }

        var isGeneral = form.Reg == OperandKind.General || form.Rm == OperandKind.General;
        return _thunks.GetVector(
            new ThunkKey(
                instruction->Map,
                instruction->Opcode,
                (byte)ThunkTable.PrefixOf(instruction),
                (byte)(form.Has(ThunkTraits.Group) ? instruction->Extension : 0),
                (byte)instruction->Immediate,
                (instruction->Prefixes & Prefixes.RexW) != 0 && (instruction->OperandSize == 8 || !isGeneral),
                instruction->IsMemory,
                Vex: true,
                (instruction->Prefixes & Prefixes.VexL) != 0),
            form);
    }

    /// <summary>Only the elements that the mask selects are read or written, and may fault.</summary>
    private bool ExecuteMaskedMove(DecodedInstruction* instruction, Thunk* thunk, int size)
    {
        var isStore = thunk->Form.Has(ThunkTraits.WritesRm);
        var element = instruction->Opcode switch
        {
            0x2C or 0x2E => 4,
            0x2D or 0x2F => 8,
            _ => (instruction->Prefixes & Prefixes.RexW) != 0 ? 8 : 4,
        };
        var offset = OperandAddress.Effective(_state, instruction);
        var reg = Slot(OperandKind.Xmm, instruction->Reg);
        var mask = Slot(OperandKind.Xmm, instruction->Vvvv);
        new Span<byte>(_bounce, size).Clear();
        for (var at = 0; at < size; at += element)
        {
            if (Element(mask, at)[element - 1] < 0x80)
            {
                continue;
            }

            if (!OperandAddress.TryGetLinear(
                    _state, instruction->Segment, (offset + (uint)at) & instruction->AddressMask, element, isStore, out var linear))
            {
                return false;
            }

            if (isStore ? !_mmu.TryProbeStore(linear, element) : !_mmu.TryLoadBytes(linear, _bounce + at, element))
            {
                return StackFaultIfStack(instruction);
            }
        }

        if (!isStore)
        {
            Buffer.MemoryCopy(_bounce, reg, 16, 16);
            new Span<byte>(reg + Uppers, 16).Clear();
            Buffer.MemoryCopy(_bounce + 16, reg + Uppers, 16, size - 16);
            return true;
        }

        for (var at = 0; at < size; at += element)
        {
            if (Element(mask, at)[element - 1] >= 0x80)
            {
                _ = OperandAddress.TryGetLinear(
                    _state, instruction->Segment, (offset + (uint)at) & instruction->AddressMask, element, isStore, out var linear);
                if (!_mmu.TryStoreBytes(linear, Element(reg, at), element))
                {
                    return false;
                }
            }
        }

        return true;
    }

    /// <summary>
    /// VPGATHER and VGATHER: an element is loaded when its mask's sign bit is set, which is then cleared, so that after a fault
    /// the rest follows.
    /// </summary>
    private bool ExecuteGather(DecodedInstruction* instruction)
    {
        var element = (instruction->Prefixes & Prefixes.RexW) != 0 ? 8 : 4;
        var indexSize = (instruction->Opcode & 1) != 0 ? 8 : 4;
        var width = (instruction->Prefixes & Prefixes.VexL) != 0 ? 32 : 16;
        var count = width / Math.Max(element, indexSize);
        var reg = Slot(OperandKind.Xmm, instruction->Reg);
        var mask = Slot(OperandKind.Xmm, instruction->Vvvv);
        var indices = Slot(OperandKind.Xmm, instruction->Index);
        var start = (instruction->Base < DecodedInstruction.NoRegister ? _state->Gpr[instruction->Base] : 0) + (ulong)instruction->Displacement;
        for (var n = 0; n < count; n++)
        {
            var selector = Element(mask, n * element);
            if (selector[element - 1] < 0x80)
            {
                continue;
            }

            var place = Element(indices, n * indexSize);
            var index = indexSize == 8 ? *(long*)place : *(int*)place;
            var offset = (start + ((ulong)index << instruction->Scale)) & instruction->AddressMask;
            if (!OperandAddress.TryGetLinear(_state, instruction->Segment, offset, element, isStore: false, out var linear)
                || !_mmu.TryLoadBytes(linear, _bounce, element))
            {
                return StackFaultIfStack(instruction);
            }

            Buffer.MemoryCopy(_bounce, Element(reg, n * element), element, element);
            new Span<byte>(selector, element).Clear();
        }

        for (var at = 0; at < 32; at += 8)
        {
            *(ulong*)Element(mask, at) = 0;
            if (at >= count * element)
            {
                *(ulong*)Element(reg, at) = 0;
            }
        }

        return true;
    }

    private const int Uppers = XsaveArea.YmmHigh - XsaveArea.Xmm;

    // A byte of a register: the upper half lies elsewhere.
    private static byte* Element(byte* register, int at) => at < 16 ? register + at : register + Uppers + (at - 16);
}
