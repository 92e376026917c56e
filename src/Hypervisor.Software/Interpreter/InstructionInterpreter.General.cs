using System.Runtime.CompilerServices;
using Vitro.Hypervisor.Software.Decoding;

namespace Vitro.Hypervisor.Software.Interpreter;

/// <content>The general switch: every instruction in every mode. RIP is the instruction's start.</content>
internal sealed unsafe partial class InstructionInterpreter
{
    private static InstructionResult Outcome(bool done) => done ? InstructionResult.Next : InstructionResult.Fault;

    private InstructionResult ExecuteOperation(VpState* vp, DecodedInstruction* i)
    {
        var operation = i->Operation;
        if (operation >= Operation.FirstSystem)
        {
            return operation >= Operation.FirstVector ? _vp.ExecuteVector(i) : _vp.ExecuteSystem(i);
        }

        switch (operation)
        {
            case Operation.Add or Operation.Or or Operation.Adc or Operation.Sbb or Operation.And or Operation.Sub or Operation.Xor
                or Operation.Cmp or Operation.Test:
                return Outcome(Arithmetic(vp, i));
            case Operation.Mov:
                return Outcome(Move(vp, i));
            case Operation.Movzx or Operation.Movsx:
                return Outcome(MoveExtended(vp, i));
            case Operation.Lea:
                WriteRegister(vp, i->RegOffset, i->OperandSize, OperandAddress.Effective(vp, i));
                return InstructionResult.Next;
            case Operation.Inc or Operation.Dec or Operation.Not or Operation.Neg:
                return Outcome(Unary(vp, i));
            case Operation.Rol or Operation.Ror or Operation.Rcl or Operation.Rcr or Operation.Shl or Operation.Shr or Operation.Sal
                or Operation.Sar:
                return Outcome(Shift(vp, i));
            case Operation.Setcc:
                return Outcome(WriteRm(i, 1, Condition.Test(vp, i->Opcode) ? 1u : 0));
            case Operation.Cmovcc:
                return Outcome(ConditionalMove(vp, i));
            case Operation.Push or Operation.Pop or Operation.PushAll or Operation.PopAll or Operation.Enter or Operation.Leave:
                return Outcome(Stack(vp, i));
            case Operation.Jcc or Operation.Jmp or Operation.JmpIndirect or Operation.Call or Operation.CallIndirect or Operation.Ret
                or Operation.Loop or Operation.Loope or Operation.Loopne or Operation.Jrcxz:
                return Branch(vp, i);
            case Operation.Movs or Operation.Cmps or Operation.Stos or Operation.Lods or Operation.Scas:
                return String(vp, i);
            case Operation.Xchg or Operation.Xadd or Operation.Cmpxchg or Operation.Cmpxchg8b or Operation.Cmpxchg16b:
                return Outcome(Exchange(vp, i));
            case Operation.Mul or Operation.ImulWide or Operation.Imul or Operation.Div or Operation.Idiv or Operation.Mulx:
                return Outcome(Multiply(vp, i));
            case >= Operation.Shld and <= Operation.Bswap:
                return Outcome(Bits(vp, i));
            case >= Operation.Movbe and <= Operation.Shrx:
                return Outcome(Extended(vp, i));
            case Operation.Nop or Operation.BlockEnd:
                return InstructionResult.Next;
            case Operation.Pause:
                Pause();
                return InstructionResult.Next;
            case Operation.Fence:
                Interlocked.MemoryBarrier();
                return InstructionResult.Next;
            default:
                return Outcome(Simple(vp, i));
        }
    }

    // A guest that spins for long waits for another processor, which may need this one's host processor.
    private void Pause()
    {
        if ((++_pauses & 63) == 0)
        {
            _ = Thread.Yield();
        }
        else
        {
            Thread.SpinWait(1);
        }
    }

    private bool Arithmetic(VpState* vp, DecodedInstruction* i)
    {
        var size = i->OperandSize;
        ulong right;
        ulong left;
        if (i->Form == OperandForm.RegRm)
        {
            if (!ReadRm(i, size, out right))
            {
                return false;
            }

            left = ReadRegister(vp, i->RegOffset, size);
            var value = Compute(vp, i->Operation, size, left, right);
            if (i->Operation != Operation.Cmp)
            {
                WriteRegister(vp, i->RegOffset, size, value);
            }

            return true;
        }

        right = i->Form == OperandForm.RmImmediate ? i->Immediate : ReadRegister(vp, i->RegOffset, size);
        if (i->Operation is Operation.Cmp or Operation.Test)
        {
            if (!ReadRm(i, size, out left))
            {
                return false;
            }

            _ = Compute(vp, i->Operation, size, left, right);
            return true;
        }

        if (!i->IsMemory)
        {
            WriteRegister(vp, i->RmOffset, size, Compute(vp, i->Operation, size, ReadRegister(vp, i->RmOffset, size), right));
            return true;
        }

        if (!TryLinear(i, size, isStore: true, out var linear))
        {
            return false;
        }

        var locked = (i->Prefixes & Prefixes.Lock) != 0;
        var address = BeginModify(i, linear, size, locked);
        if (address == null)
        {
            return false;
        }

        if (!locked)
        {
            HostValue.Write(address, size, Compute(vp, i->Operation, size, HostValue.Read(address, size), right));
            EndModify();
            return true;
        }

        var carry = LazyFlags.GetCarry(vp);
        ulong result;
        do
        {
            left = HostValue.Read(address, size);
            result = i->Operation switch
            {
                Operation.Add => left + right,
                Operation.Or => left | right,
                Operation.Adc => left + right + carry,
                Operation.Sbb => left - right - carry,
                Operation.And => left & right,
                Operation.Sub => left - right,
                _ => left ^ right,
            };
        }
        while (!CompareExchange(address, size, left, result));

        _ = Compute(vp, i->Operation, size, left, right);
        EndModify();
        return true;
    }

    private static ulong Compute(VpState* vp, Operation operation, int size, ulong left, ulong right)
    {
        left = SignExtend(left, size);
        right = SignExtend(right, size);
        ulong result;
        switch (operation)
        {
            case Operation.Add:
                result = SignExtend(left + right, size);
                SetFlags(vp, LazyFlags.Add, left, right, result);
                return result;
            case Operation.Adc:
                result = SignExtend(left + right + LazyFlags.GetCarry(vp), size);
                SetFlags(vp, LazyFlags.AddCarry, left, right, result);
                return result;
            case Operation.Sbb:
                result = SignExtend(left - right - LazyFlags.GetCarry(vp), size);
                SetFlags(vp, LazyFlags.SubtractBorrow, left, right, result);
                return result;
            case Operation.Sub or Operation.Cmp:
                result = SignExtend(left - right, size);
                SetFlags(vp, LazyFlags.Subtract, left, right, result);
                return result;
            case Operation.Or:
                result = left | right;
                break;
            case Operation.Xor:
                result = left ^ right;
                break;
            default:
                result = left & right;
                break;
        }

        SetLogicFlags(vp, result);
        return result;
    }

    private bool Move(VpState* vp, DecodedInstruction* i)
    {
        var size = i->OperandSize;
        switch (i->Form)
        {
            case OperandForm.RmImmediate:
                return WriteRm(i, size, i->Immediate);
            case OperandForm.RmReg:
                return WriteRm(i, size, ReadRegister(vp, i->RegOffset, size));
            default:
                if (!ReadRm(i, size, out var value))
                {
                    return false;
                }

                WriteRegister(vp, i->RegOffset, size, value);
                return true;
        }
    }

    private bool MoveExtended(VpState* vp, DecodedInstruction* i)
    {
        if (!ReadRm(i, i->SourceSize, out var value))
        {
            return false;
        }

        WriteRegister(vp, i->RegOffset, i->OperandSize, i->Operation == Operation.Movsx ? SignExtend(value, i->SourceSize) : value);
        return true;
    }

    private bool ConditionalMove(VpState* vp, DecodedInstruction* i)
    {
        var size = i->OperandSize;
        if (!ReadRm(i, size, out var value))
        {
            return false;
        }

        // A doubleword destination is zero-extended even when the condition does not hold.
        WriteRegister(vp, i->RegOffset, size, Condition.Test(vp, i->Opcode) ? value : ReadRegister(vp, i->RegOffset, size));
        return true;
    }

    private bool Unary(VpState* vp, DecodedInstruction* i)
    {
        var size = i->OperandSize;
        if (!i->IsMemory)
        {
            var value = ReadRegister(vp, i->RmOffset, size);
            WriteRegister(vp, i->RmOffset, size, ComputeUnary(i->Operation, value));
            SetUnaryFlags(vp, i->Operation, size, value);
            return true;
        }

        if (!TryLinear(i, size, isStore: true, out var linear))
        {
            return false;
        }

        var locked = (i->Prefixes & Prefixes.Lock) != 0;
        var address = BeginModify(i, linear, size, locked);
        if (address == null)
        {
            return false;
        }

        ulong old;
        do
        {
            old = HostValue.Read(address, size);
            if (!locked)
            {
                HostValue.Write(address, size, ComputeUnary(i->Operation, old));
                break;
            }
        }
        while (!CompareExchange(address, size, old, ComputeUnary(i->Operation, old)));

        SetUnaryFlags(vp, i->Operation, size, old);
        EndModify();
        return true;
    }

    private static ulong ComputeUnary(Operation operation, ulong value) => operation switch
    {
        Operation.Inc => value + 1,
        Operation.Dec => value - 1,
        Operation.Not => ~value,
        _ => 0 - value,
    };

    private static void SetUnaryFlags(VpState* vp, Operation operation, int size, ulong old)
    {
        var shift = 64 - (size * 8);
        switch (operation)
        {
            case Operation.Inc:
                SetIncrementFlags(vp, SignExtend(old + 1, size), (ulong)(long.MinValue >> shift));
                break;
            case Operation.Dec:
                SetDecrementFlags(vp, SignExtend(old - 1, size), (ulong)(long.MaxValue >> shift));
                break;
            case Operation.Neg:
                SetFlags(vp, LazyFlags.Subtract, 0, SignExtend(old, size), SignExtend(0 - old, size));
                break;
            default:
                break;
        }
    }

    private bool Simple(VpState* vp, DecodedInstruction* i)
    {
        var size = i->OperandSize;
        switch (i->Operation)
        {
            case Operation.Cbw:
                WriteRegister(vp, 0, size, SignExtend(vp->Gpr[0], size / 2));
                return true;
            case Operation.Cwd:
                WriteRegister(vp, 16, size, (ulong)((long)SignExtend(vp->Gpr[0], size) >> 63));
                return true;
            case Operation.Lahf:
                *((byte*)vp + 1) = (byte)(LazyFlags.Get(vp) | 2);
                return true;
            case Operation.Sahf:
                LazyFlags.Set(vp, (LazyFlags.Get(vp) & LazyFlags.Overflow) | (*((byte*)vp + 1) & ~2u));
                return true;
            case Operation.Cmc:
                LazyFlags.Set(vp, LazyFlags.Get(vp) ^ LazyFlags.Carry);
                return true;
            case Operation.Clc:
                LazyFlags.Set(vp, LazyFlags.Get(vp) & ~LazyFlags.Carry);
                return true;
            case Operation.Stc:
                LazyFlags.Set(vp, LazyFlags.Get(vp) | LazyFlags.Carry);
                return true;
            case Operation.Cld:
                vp->SystemFlags &= ~RFlags.Df;
                return true;
            case Operation.Std:
                vp->SystemFlags |= RFlags.Df;
                return true;
            case Operation.Xlat:
                var offset = (vp->Gpr[3] + (byte)vp->Gpr[0]) & i->AddressMask;
                if (!OperandAddress.TryGetLinear(vp, i->Segment, offset, 1, isStore: false, out var linear)
                    || !LoadLinear(linear, 1, i->Segment, out var value))
                {
                    return false;
                }

                *(byte*)vp = (byte)value;
                return true;
            case Operation.Rdrand or Operation.Rdseed:
                ulong random = 0;
                System.Security.Cryptography.RandomNumberGenerator.Fill(new Span<byte>(&random, 8));
                WriteRegister(vp, i->RmOffset, size, random);
                LazyFlags.Set(vp, LazyFlags.Carry);
                return true;
            case Operation.Salc:
                *(byte*)vp = (byte)(0 - LazyFlags.GetCarry(vp));
                return true;
            case Operation.Daa or Operation.Das or Operation.Aaa or Operation.Aas or Operation.Aam or Operation.Aad:
                return Decimal(vp, i);
            default:
                return i->Immediate == Fault.GeneralProtection && i->Length == Decoder.MaximumLength && i->ImmediateSize == 0
                    ? Fault.Protection(vp)
                    : Fault.Undefined(vp);
        }
    }

    private static bool Decimal(VpState* vp, DecodedInstruction* i)
    {
        var flags = LazyFlags.Get(vp);
        var al = (byte)vp->Gpr[0];
        var carry = (flags & LazyFlags.Carry) != 0;
        var adjust = (flags & LazyFlags.Adjust) != 0;
        var low = (al & 15) > 9 || adjust;
        switch (i->Operation)
        {
            case Operation.Daa or Operation.Das:
                var high = al > 0x99 || carry;
                var change = (low ? 6 : 0) + (high ? 0x60 : 0);
                var result = (byte)(i->Operation == Operation.Daa ? al + change : al - change);
                if (i->Operation == Operation.Das && low && al < 6)
                {
                    high = true;
                }

                *(byte*)vp = result;
                SetDecimalFlags(vp, result, (high ? LazyFlags.Carry : 0) | (low ? LazyFlags.Adjust : 0));
                return true;
            case Operation.Aaa or Operation.Aas:
                var ax = (ushort)vp->Gpr[0];
                if (low)
                {
                    ax = (ushort)(i->Operation == Operation.Aaa ? ax + 0x106 : ax - 0x106);
                }

                *(ushort*)vp = (ushort)(ax & 0xFF0F);
                SetDecimalFlags(vp, (byte)(ax & 15), low ? LazyFlags.Carry | LazyFlags.Adjust : 0);
                return true;
            case Operation.Aam:
                if ((byte)i->Immediate == 0)
                {
                    return Fault.Raise(vp, Fault.DivideError);
                }

                *((byte*)vp + 1) = (byte)(al / (byte)i->Immediate);
                *(byte*)vp = (byte)(al % (byte)i->Immediate);
                SetDecimalFlags(vp, *(byte*)vp, 0);
                return true;
            default:
                var sum = (byte)(al + (*((byte*)vp + 1) * (byte)i->Immediate));
                *(ushort*)vp = sum;
                SetDecimalFlags(vp, sum, 0);
                return true;
        }
    }

    private static void SetDecimalFlags(VpState* vp, byte result, uint flags)
    {
        vp->FlagResult = (ulong)(sbyte)result;
        vp->FlagLeft = flags;
        vp->FlagOperation = LazyFlags.Result;
    }
}
