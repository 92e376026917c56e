using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Interpreter;
using Vitro.Hypervisor.Software.Thunks;

namespace Vitro.Hypervisor.Software.Vector;

/// <summary>
/// The x87, MMX, SSE and AVX instructions of one virtual processor. Checks and memory operands are handled here; the
/// operation itself is run by the host's own instruction in a cached thunk, so that results are the silicon's.
/// </summary>
/// <remarks>On the processor's thread only. VpState.Rip is the instruction's start throughout.</remarks>
internal sealed unsafe partial class VectorUnit : IDisposable
{
    private const int BounceSize = 1024;

    private readonly VpState* _state;
    private readonly Mmu _mmu;
    private readonly ThunkCache _thunks = ThunkCache.Shared;

    // Operand copies: across a page border, of devices, on code pages. The vector unit never leaves the host a fault.
    private readonly byte* _bounce = (byte*)NativeMemory.AlignedAlloc(BounceSize, 64);

    /// <summary>Creates the unit of a processor.</summary>
    internal VectorUnit(VpState* state, Mmu mmu)
    {
        _state = state;
        _mmu = mmu;
        XsaveArea.Sanitize(state->Xsave);
    }

    private byte* Area => _state->Xsave;

    /// <summary>Executes an instruction of the range from <see cref="Operation.FirstVector"/>.</summary>
    internal InstructionResult Execute(DecodedInstruction* instruction)
    {
        var done = instruction->Operation switch
        {
            Operation.Vector => ExecuteVector(instruction),
            Operation.X87 => ExecuteX87(instruction),
            Operation.Fwait => ExecuteFwait(),
            _ => ExecuteState(instruction),
        };
        return done ? InstructionResult.Next : InstructionResult.Fault;
    }

    /// <inheritdoc/>
    public void Dispose() => NativeMemory.AlignedFree(_bounce);

    private bool ExecuteVector(DecodedInstruction* instruction)
    {
        if ((instruction->Prefixes & Prefixes.Vex) != 0)
        {
            return ExecuteVex(instruction);
        }

        var thunk = (Thunk*)instruction->Link;
        if (thunk == null)
        {
            thunk = Resolve(instruction);
            if (thunk == null)
            {
                return Fault.Undefined(_state);
            }

            instruction->Link = thunk;
        }

        var form = &thunk->Form;
        var traits = form->Traits;
        if ((_state->Cr0 & (ControlBits.Cr0Emulation | ControlBits.Cr0TaskSwitched)) != 0
            || (_state->Cr4 & ControlBits.Cr4Osfxsr) == 0)
        {
            if (!IsAvailable(traits))
            {
                return false;
            }
        }

        if ((traits & (ThunkTraits.MaskedStore | ThunkTraits.EmptyMmx)) != 0)
        {
            return ExecuteOdd(instruction, thunk);
        }

        var isMemory = instruction->IsMemory;
        if ((traits & ThunkTraits.MmxTransition) != 0 || ((traits & ThunkTraits.MmxTransitionRegister) != 0 && !isMemory))
        {
            return ExecuteMmx(instruction, thunk);
        }

        var reg = Slot(form->Reg, instruction->Reg);
        var implicitOperand = Area + XsaveArea.Xmm;
        if (!isMemory)
        {
            return Complete(thunk, thunk->Code(reg, Slot(form->Rm, instruction->Rm), implicitOperand, _state, 0));
        }

        var size = MemorySize(instruction, form);
        if (!TryGetLinear(instruction, size, traits, out var linear))
        {
            return false;
        }

        var entry = ((traits & ThunkTraits.WritesRm) != 0 ? _state->StoreTlb : _state->LoadTlb) + ((linear >> 12) & (TlbEntry.SetSize - 1));
        var offset = linear - entry->Tag;
        if (offset <= 4096 - (ulong)size)
        {
            return Complete(thunk, thunk->Code(reg, (byte*)entry->Host + offset, implicitOperand, _state, 0));
        }

        return ExecuteSlowly(instruction, thunk, reg, implicitOperand, linear, size);
    }

    /// <summary>The memory operand is not in the TLB: a new translation, or a copy.</summary>
    private bool ExecuteSlowly(DecodedInstruction* instruction, Thunk* thunk, byte* reg, byte* implicitOperand, ulong linear, int size)
    {
        var isStore = (thunk->Form.Traits & ThunkTraits.WritesRm) != 0;
        var host = isStore ? _mmu.StorePointer(linear, size) : _mmu.LoadPointer(linear, size);
        if (host != null)
        {
            return Complete(thunk, thunk->Code(reg, host, implicitOperand, _state, 0));
        }

        if (_state->FaultVector >= 0)
        {
            return StackFaultIfStack(instruction);
        }

        if (!isStore)
        {
            return (_mmu.TryLoadBytes(linear, _bounce, size) || StackFaultIfStack(instruction))
                && Complete(thunk, thunk->Code(reg, _bounce, implicitOperand, _state, 0));
        }

        if (!_mmu.TryProbeStore(linear, size))
        {
            return StackFaultIfStack(instruction);
        }

        return Complete(thunk, thunk->Code(reg, _bounce, implicitOperand, _state, 0)) && _mmu.TryStoreBytes(linear, _bounce, size);
    }

    private bool Complete(Thunk* thunk, ulong result)
    {
        if ((thunk->Form.Traits & (ThunkTraits.FloatingPoint | ThunkTraits.SetsFlags)) == 0)
        {
            return true;
        }

        if ((result & Thunk.Faulted) != 0)
        {
            return (_state->Cr4 & ControlBits.Cr4Osxmmexcpt) != 0
                ? Fault.Raise(_state, Fault.SimdFloatingPoint)
                : Fault.Undefined(_state);
        }

        if ((thunk->Form.Traits & ThunkTraits.SetsFlags) != 0)
        {
            LazyFlags.Set(_state, (uint)result);
        }

        return true;
    }

    /// <summary>MMX registers as operands: pending x87 exceptions first, and the x87 state changes with it.</summary>
    private bool ExecuteMmx(DecodedInstruction* instruction, Thunk* thunk)
    {
        if (XsaveArea.HasPendingException(Area))
        {
            return Fault.Raise(_state, Fault.FloatingPoint);
        }

        var form = &thunk->Form;
        if (!instruction->IsMemory)
        {
            XsaveArea.EnterMmx(Area);
            return Complete(thunk, thunk->Code(Slot(form->Reg, instruction->Reg), Slot(form->Rm, instruction->Rm), Area, _state, 0));
        }

        var size = MemorySize(instruction, form);
        var isStore = (form->Traits & ThunkTraits.WritesRm) != 0;
        if (!TryGetLinear(instruction, size, form->Traits, out var linear))
        {
            return false;
        }

        if (isStore ? !_mmu.TryProbeStore(linear, size) : !_mmu.TryLoadBytes(linear, _bounce, size))
        {
            return StackFaultIfStack(instruction);
        }

        XsaveArea.EnterMmx(Area);
        return Complete(thunk, thunk->Code(Slot(form->Reg, instruction->Reg), _bounce, Area, _state, 0))
            && (!isStore || _mmu.TryStoreBytes(linear, _bounce, size));
    }

    private bool ExecuteOdd(DecodedInstruction* instruction, Thunk* thunk)
    {
        var traits = thunk->Form.Traits;
        var isMmx = thunk->Form.Reg != OperandKind.Xmm;
        if (isMmx && XsaveArea.HasPendingException(Area))
        {
            return Fault.Raise(_state, Fault.FloatingPoint);
        }

        if ((traits & ThunkTraits.EmptyMmx) != 0)
        {
            XsaveArea.EnterMmx(Area);
            Area[XsaveArea.TagByte] = 0;
            return true;
        }

        var size = isMmx ? 8 : 16;
        var offset = _state->Gpr[7] & instruction->AddressMask;
        if (!OperandAddress.TryGetLinear(_state, instruction->Segment, offset, size, isStore: true, out var linear)
            || !_mmu.TryProbeStore(linear, size)
            || !_mmu.TryLoadBytes(linear, _bounce, size))
        {
            return false;
        }

        if (isMmx)
        {
            XsaveArea.EnterMmx(Area);
        }

        thunk->Code(Slot(thunk->Form.Reg, instruction->Reg), Slot(thunk->Form.Rm, instruction->Rm), _bounce, _state, 0);

        // Byte by byte as masked: another processor may write the bytes between meanwhile.
        var mask = Slot(thunk->Form.Rm, instruction->Rm);
        for (var i = 0; i < size; i++)
        {
            if ((mask[i] & 0x80) != 0 && !_mmu.TryStoreBytes(linear + (uint)i, _bounce + i, 1))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>#UD and #NM by CR0 and CR4 (SDM volume 3, sections 2.5 and 13.1).</summary>
    private bool IsAvailable(ThunkTraits traits)
    {
        if ((_state->Cr0 & ControlBits.Cr0Emulation) != 0
            || ((traits & ThunkTraits.NoSse) == 0 && (_state->Cr4 & ControlBits.Cr4Osfxsr) == 0))
        {
            return Fault.Undefined(_state);
        }

        return (_state->Cr0 & ControlBits.Cr0TaskSwitched) == 0 || Fault.Raise(_state, Fault.DeviceNotAvailable);
    }

    private bool TryGetLinear(DecodedInstruction* instruction, int size, ThunkTraits traits, out ulong linear)
    {
        if (!OperandAddress.TryGetLinear(_state, instruction, size, (traits & ThunkTraits.WritesRm) != 0, out linear))
        {
            return false;
        }

        return (traits & ThunkTraits.Aligned) == 0 || (linear & (uint)(size - 1)) == 0 || Fault.Protection(_state);
    }

    private bool StackFaultIfStack(DecodedInstruction* instruction)
    {
        if (instruction->Segment == 2)
        {
            Fault.AsStackAccess(_state);
        }

        return false;
    }

    private static int MemorySize(DecodedInstruction* instruction, ThunkForm* form)
    {
        int size = form->MemorySize;
        if (size == 0)
        {
            size = (instruction->Prefixes & Prefixes.RexW) != 0 ? 8 : 4;
        }

        return size;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private byte* Slot(OperandKind kind, int number) => kind switch
    {
        OperandKind.Xmm => _state->Xsave + XsaveArea.Xmm + (16 * number),
        OperandKind.General => (byte*)_state + (8 * number),
        OperandKind.Mmx => _state->Xsave + XsaveArea.X87Registers + (16 * (number & 7)),
        _ => null,
    };

    private Thunk* Resolve(DecodedInstruction* instruction)
    {
        var prefix = ThunkTable.PrefixOf(instruction);
        if (!ThunkTable.TryFind(instruction->Map, instruction->Opcode, prefix, instruction->Extension, out var form)
            || form.Has(instruction->IsMemory ? ThunkTraits.RegisterOnly : ThunkTraits.MemoryOnly))
        {
            return null;
        }

        return _thunks.GetVector(
            new ThunkKey(
                instruction->Map,
                instruction->Opcode,
                (byte)prefix,
                (byte)(form.Has(ThunkTraits.Group) ? instruction->Extension : 0),
                (byte)instruction->Immediate,
                (instruction->Prefixes & Prefixes.RexW) != 0,
                instruction->IsMemory,
                Vex: false),
            form);
    }
}
