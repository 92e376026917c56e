using Vitro.Hypervisor.Software.Decoding;

namespace Vitro.Hypervisor.Software;

/// <content>IN, OUT, INS and OUTS with the I/O permission bitmap (Intel SDM volume 1, chapter 19).</content>
internal sealed unsafe partial class SoftwareVirtualProcessor
{
    private bool MayAccessPort(ushort port, int size)
    {
        if (!IsProtected || (State->Cpl <= Iopl && !IsVirtual8086))
        {
            return true;
        }

        if ((State->Tr.Attributes & SegmentBits.Unusable) != 0 || State->Tr.Limit < 103 || (State->Tr.Attributes & 8) == 0)
        {
            return Fault.Protection(State);
        }

        if (!Mmu.TryLoadSystem(TableAddress(State->Tr.Base + 0x66), 2, out var mapBase))
        {
            return false;
        }

        var at = (uint)mapBase + (port / 8u);
        if (at + 1 > State->Tr.Limit)
        {
            return Fault.Protection(State);
        }

        if (!Mmu.TryLoadSystem(TableAddress(State->Tr.Base + at), 2, out var bits))
        {
            return false;
        }

        return ((bits >> (port & 7)) & ((1u << size) - 1)) == 0 || Fault.Protection(State);
    }

    private uint ReadPort(ushort port, int size)
    {
        Counters.PortIo++;
        NotePortAccess(port, size);
        LeaveGuest();
        try
        {
            return _intercepts.ReadPort(this, port, size);
        }
        finally
        {
            EnterGuest();
        }
    }

    private void WritePort(ushort port, int size, uint value)
    {
        Counters.PortIo++;
        NotePortAccess(port, size);
        LeaveGuest();
        try
        {
            _intercepts.WritePort(this, port, size, value);
        }
        finally
        {
            EnterGuest();
        }
    }

    private InstructionResult ExecuteIn(DecodedInstruction* instruction)
    {
        var size = Math.Min((int)instruction->OperandSize, 4);
        var port = PortOf(instruction);
        if (!MayAccessPort(port, size))
        {
            return InstructionResult.Fault;
        }

        var value = ReadPort(port, size);
        State->Gpr[0] = size switch
        {
            1 => (State->Gpr[0] & ~0xFFUL) | (byte)value,
            2 => (State->Gpr[0] & ~0xFFFFUL) | (ushort)value,
            _ => value,
        };
        return InstructionResult.Next;
    }

    private InstructionResult ExecuteOut(DecodedInstruction* instruction)
    {
        var size = Math.Min((int)instruction->OperandSize, 4);
        var port = PortOf(instruction);
        if (!MayAccessPort(port, size))
        {
            return InstructionResult.Fault;
        }

        var value = (uint)State->Gpr[0];
        WritePort(port, size, size == 1 ? (byte)value : size == 2 ? (ushort)value : value);
        return InstructionResult.Next;
    }

    private ushort PortOf(DecodedInstruction* instruction) =>
        instruction->Form == OperandForm.Immediate ? (byte)instruction->Immediate : (ushort)State->Gpr[2];

    /// <summary>INS and OUTS, repeated or not; a request interrupts the repetition between two items.</summary>
    private InstructionResult ExecuteStringPort(DecodedInstruction* instruction, bool isInput)
    {
        var size = Math.Min((int)instruction->OperandSize, 4);
        var port = (ushort)State->Gpr[2];
        if (!MayAccessPort(port, size))
        {
            return InstructionResult.Fault;
        }

        var mask = instruction->AddressSize switch { 2 => 0xFFFFUL, 4 => uint.MaxValue, _ => ulong.MaxValue };
        var isRepeated = (instruction->Prefixes & (Prefixes.Rep | Prefixes.Repne)) != 0;
        var step = (State->SystemFlags & RFlags.Df) != 0 ? -(long)size : size;
        var pointer = isInput ? 7 : 6;
        while (true)
        {
            if (isRepeated && (State->Gpr[1] & mask) == 0)
            {
                return InstructionResult.Next;
            }

            if (!TryLinear(isInput ? Es : instruction->Segment, State->Gpr[pointer] & mask, size, isInput, out var linear))
            {
                return InstructionResult.Fault;
            }

            if (isInput)
            {
                // The device must not be read when the store would fault.
                if (!Mmu.TryProbeStore(linear, size) || !Mmu.TryStore(linear, size, ReadPort(port, size)))
                {
                    return InstructionResult.Fault;
                }
            }
            else
            {
                if (!Mmu.TryLoad(linear, size, out var value))
                {
                    return InstructionResult.Fault;
                }

                WritePort(port, size, (uint)value);
            }

            WriteAddressRegister(pointer, State->Gpr[pointer] + (ulong)step, mask);
            if (!isRepeated)
            {
                return InstructionResult.Next;
            }

            WriteAddressRegister(1, State->Gpr[1] - 1, mask);
            if (Volatile.Read(ref State->Requests) != 0 && (State->Gpr[1] & mask) != 0)
            {
                return InstructionResult.Jump;
            }
        }
    }

    private void WriteAddressRegister(int number, ulong value, ulong mask) =>
        State->Gpr[number] = mask == 0xFFFF ? (State->Gpr[number] & ~mask) | (value & mask) : value & mask;
}
