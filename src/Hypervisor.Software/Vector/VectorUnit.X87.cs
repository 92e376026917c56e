using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Interpreter;
using Vitro.Hypervisor.Software.Thunks;

namespace Vitro.Hypervisor.Software.Vector;

/// <content>x87: checks, operands and control instructions; arithmetic runs in thunks.</content>
internal sealed unsafe partial class VectorUnit
{
    private bool ExecuteFwait()
    {
        const ulong both = ControlBits.Cr0MonitorCoprocessor | ControlBits.Cr0TaskSwitched;
        if ((_state->Cr0 & both) == both)
        {
            return Fault.Raise(_state, Fault.DeviceNotAvailable);
        }

        return !XsaveArea.HasPendingException(Area) || Fault.Raise(_state, Fault.FloatingPoint);
    }

    private bool ExecuteX87(DecodedInstruction* instruction)
    {
        if ((_state->Cr0 & (ControlBits.Cr0Emulation | ControlBits.Cr0TaskSwitched)) != 0)
        {
            return Fault.Raise(_state, Fault.DeviceNotAvailable);
        }

        return instruction->IsMemory ? ExecuteX87Memory(instruction) : ExecuteX87Register(instruction);
    }

    private bool ExecuteX87Register(DecodedInstruction* instruction)
    {
        int opcode = instruction->Opcode;
        int modRm = instruction->ModRm;
        switch ((opcode << 8) | modRm)
        {
            case 0xDFE0:
                *(ushort*)_state->Gpr = *(ushort*)(Area + XsaveArea.StatusWord);
                return true;
            case 0xDBE3:
                XsaveArea.InitializeX87(Area);
                return true;
            case 0xDBE2:
                *(ushort*)(Area + XsaveArea.StatusWord) &= 0x7F00;
                return true;
            case 0xDBE0 or 0xDBE1 or 0xDBE4:
                return true; // the 8087's and 80287's FNENI, FNDISI, FNSETPM do nothing
            default:
                break;
        }

        if (!X87Form.IsRegisterForm(opcode, modRm))
        {
            return Fault.Undefined(_state);
        }

        return RunX87(instruction, modRm, null, 0);
    }

    private bool ExecuteX87Memory(DecodedInstruction* instruction)
    {
        int opcode = instruction->Opcode;
        var extension = instruction->Extension;
        switch ((opcode << 8) | extension)
        {
            case 0xD904:
                return LoadEnvironment(instruction, withRegisters: false);
            case 0xD905:
                return LoadControlWord(instruction);
            case 0xD906:
                return StoreEnvironment(instruction, withRegisters: false);
            case 0xD907:
                return StoreWord(instruction, *(ushort*)(Area + XsaveArea.ControlWord));
            case 0xDD04:
                return LoadEnvironment(instruction, withRegisters: true);
            case 0xDD06:
                return StoreEnvironment(instruction, withRegisters: true);
            case 0xDD07:
                return StoreWord(instruction, *(ushort*)(Area + XsaveArea.StatusWord));
            default:
                break;
        }

        var size = X87Form.MemorySize(opcode, extension, out var isStore);
        if (size == 0)
        {
            return Fault.Undefined(_state);
        }

        if (XsaveArea.HasPendingException(Area))
        {
            return Fault.Raise(_state, Fault.FloatingPoint);
        }

        if (!TryLinear(instruction, size, 1, isStore, out var linear))
        {
            return false;
        }

        var modRm = extension << 3;
        var host = isStore ? _mmu.StorePointer(linear, size) : _mmu.LoadPointer(linear, size);
        if (host != null)
        {
            return RunX87(instruction, modRm, host, OperandAddress.Effective(_state, instruction));
        }

        if (_state->FaultVector >= 0)
        {
            return StackFaultIfStack(instruction);
        }

        // A store that raises an unmasked exception leaves memory alone: then what was there before is stored again.
        if ((isStore && !_mmu.TryProbeStore(linear, size)) || !_mmu.TryLoadBytes(linear, _bounce, size))
        {
            return StackFaultIfStack(instruction);
        }

        return RunX87(instruction, modRm, _bounce, OperandAddress.Effective(_state, instruction))
            && (!isStore || _mmu.TryStoreBytes(linear, _bounce, size));
    }

    /// <summary>Runs an arithmetic instruction and notes it as the last one, which the host would do with addresses of its own.</summary>
    private bool RunX87(DecodedInstruction* instruction, int modRm, byte* memory, ulong dataPointer)
    {
        if (XsaveArea.HasPendingException(Area))
        {
            return Fault.Raise(_state, Fault.FloatingPoint);
        }

        var thunk = (Thunk*)instruction->Link;
        if (thunk == null)
        {
            thunk = _thunks.GetX87(instruction->Opcode, modRm);
            if (thunk == null)
            {
                return Fault.Undefined(_state);
            }

            instruction->Link = thunk;
        }

        var area = Area;
        var oldPointer = *(ulong*)(area + XsaveArea.DataPointer);
        var readsFlags = X87Form.ReadsFlags(instruction->Opcode, modRm);
        var flags = thunk->Code(null, memory, null, _state, readsFlags ? LazyFlags.Get(_state) : 2);
        if (X87Form.SetsFlags(instruction->Opcode, modRm))
        {
            LazyFlags.Set(_state, (uint)flags);
        }

        *(ushort*)(area + XsaveArea.LastOpcode) = (ushort)(((instruction->Opcode & 7) << 8) | instruction->ModRm);
        *(ulong*)(area + XsaveArea.InstructionPointer) = _state->Rip;
        *(ulong*)(area + XsaveArea.DataPointer) = memory != null ? dataPointer : oldPointer;
        *(uint*)(area + XsaveArea.MxcsrMask) = XsaveArea.MxcsrSupported;
        return true;
    }

    private bool StoreWord(DecodedInstruction* instruction, ushort value) =>
        TryLinear(instruction, 2, 1, isStore: true, out var linear)
        && (_mmu.TryStore(linear, 2, value) || StackFaultIfStack(instruction));

    private bool LoadControlWord(DecodedInstruction* instruction)
    {
        if (XsaveArea.HasPendingException(Area))
        {
            return Fault.Raise(_state, Fault.FloatingPoint);
        }

        if (!TryLinear(instruction, 2, 1, isStore: false, out var linear))
        {
            return false;
        }

        if (!_mmu.TryLoad(linear, 2, out var value))
        {
            return StackFaultIfStack(instruction);
        }

        XsaveArea.SetControlWord(Area, (ushort)value);
        return true;
    }

    private bool StoreEnvironment(DecodedInstruction* instruction, bool withRegisters)
    {
        var environment = instruction->OperandSize == 2 ? 14 : 28;
        var size = environment + (withRegisters ? 80 : 0);
        if (!TryLinear(instruction, size, 1, isStore: true, out var linear))
        {
            return false;
        }

        X87Environment.Write(Area, _bounce, instruction->OperandSize == 2, IsProtectedFormat);
        for (var i = 0; withRegisters && i < 8; i++)
        {
            Buffer.MemoryCopy(Area + XsaveArea.X87Registers + (16 * i), _bounce + environment + (10 * i), 10, 10);
        }

        if (!_mmu.TryStoreBytes(linear, _bounce, size))
        {
            return StackFaultIfStack(instruction);
        }

        if (withRegisters)
        {
            XsaveArea.InitializeX87(Area);
        }
        else
        {
            XsaveArea.SetControlWord(Area, (ushort)(*(ushort*)(Area + XsaveArea.ControlWord) | 0x3F));
        }

        return true;
    }

    private bool LoadEnvironment(DecodedInstruction* instruction, bool withRegisters)
    {
        if (XsaveArea.HasPendingException(Area))
        {
            return Fault.Raise(_state, Fault.FloatingPoint);
        }

        var environment = instruction->OperandSize == 2 ? 14 : 28;
        var size = environment + (withRegisters ? 80 : 0);
        if (!TryLinear(instruction, size, 1, isStore: false, out var linear))
        {
            return false;
        }

        if (!_mmu.TryLoadBytes(linear, _bounce, size))
        {
            return StackFaultIfStack(instruction);
        }

        X87Environment.Read(Area, _bounce, instruction->OperandSize == 2, IsProtectedFormat);
        for (var i = 0; withRegisters && i < 8; i++)
        {
            Buffer.MemoryCopy(_bounce + environment + (10 * i), Area + XsaveArea.X87Registers + (16 * i), 10, 10);
        }

        return true;
    }

    private bool IsProtectedFormat =>
        (_state->Mode & (uint)(VpMode.Protected | VpMode.Virtual8086)) == (uint)VpMode.Protected;
}
