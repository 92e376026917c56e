using Vitro.Hypervisor.Software.Decoding;

namespace Vitro.Hypervisor.Software;

/// <content>IRET in all modes (Intel SDM volume 2, IRET).</content>
internal sealed unsafe partial class SoftwareVirtualProcessor
{
    private InstructionResult ExecuteIret(int size)
    {
        bool done;
        if (!IsProtected)
        {
            done = TryIretReal(size);
        }
        else if (IsVirtual8086)
        {
            done = Iopl == 3 ? TryIretReal(size) : Fault.Protection(State);
        }
        else if (IsLongModeActive)
        {
            done = TryIretLong(size);
        }
        else
        {
            done = (State->SystemFlags & RFlags.Nt) != 0 ? TryReturnFromTask() : TryIretProtected(size);
        }

        if (!done)
        {
            return InstructionResult.Fault;
        }

        if ((State->Mode & (uint)VpMode.Stepping) == 0)
        {
            // The next instruction would clear it, which only code that is stepped does; it must not hide a breakpoint set later.
            State->SystemFlags &= ~RFlags.Rf;
        }

        State->NmiBlocked = 0;
        RestoreDeferredRequests();
        return InstructionResult.Jump;
    }

    /// <summary>Reads the stack at a distance from its top, without moving it.</summary>
    private bool TryPeek(ulong distance, int size, out ulong value)
    {
        value = 0;
        var mask = StackMask;
        if (!TryLinear(Ss, (State->Gpr[4] + distance) & mask, size, isStore: false, out var linear))
        {
            return false;
        }

        if (Mmu.TryLoad(linear, size, out value))
        {
            return true;
        }

        Fault.AsStackAccess(State);
        return false;
    }

    private bool TryPush(ulong value, int size)
    {
        var mask = StackMask;
        var top = (State->Gpr[4] - (uint)size) & mask;
        if (!TryLinear(Ss, top, size, isStore: true, out var linear))
        {
            return false;
        }

        if (!Mmu.TryStore(linear, size, value))
        {
            Fault.AsStackAccess(State);
            return false;
        }

        WriteStackPointer(top, mask);
        return true;
    }

    private ulong StackMask => IsCode64 ? ulong.MaxValue : (State->Mode & (uint)VpMode.Stack32) != 0 ? uint.MaxValue : 0xFFFFUL;

    private bool TryIretReal(int size)
    {
        if (!TryPeek(0, size, out var rip) || !TryPeek((uint)size, size, out var cs) || !TryPeek((uint)size * 2, size, out var flags))
        {
            return false;
        }

        if (rip > State->Cs.Limit)
        {
            return Fault.Protection(State);
        }

        WriteStackPointer(State->Gpr[4] + ((uint)size * 3), StackMask);
        State->Rip = rip;
        State->Cs.Selector = (ushort)cs;
        State->Cs.Base = (ulong)(ushort)cs << 4;
        var mask = LazyFlags.All | RFlags.Tf | RFlags.If | RFlags.Df | RFlags.Nt;
        if (!IsVirtual8086)
        {
            mask |= RFlags.Iopl;
        }

        if (size == 4)
        {
            mask |= RFlags.Rf | RFlags.Ac | RFlags.Id;
        }

        SetFlags(flags, mask);
        UpdateMode();
        return true;
    }

    /// <summary>Flags that IRET and POPF may change at a privilege level.</summary>
    private uint WritableFlags(int size, uint cpl)
    {
        var mask = LazyFlags.All | RFlags.Tf | RFlags.Df | RFlags.Nt;
        if (size > 2)
        {
            mask |= RFlags.Rf | RFlags.Ac | RFlags.Id;
        }

        if (cpl <= Iopl)
        {
            mask |= RFlags.If;
        }

        return cpl == 0 ? mask | RFlags.Iopl : mask;
    }

    private bool TryIretLong(int size)
    {
        if ((State->SystemFlags & RFlags.Nt) != 0)
        {
            return Fault.Protection(State);
        }

        var step = (uint)size;
        if (!TryPeek(0, size, out var rip) || !TryPeek(step, size, out var csValue) || !TryPeek(step * 2, size, out var flags))
        {
            return false;
        }

        if (!TryReadReturnCode((ushort)csValue, out var code, out var newCpl))
        {
            return false;
        }

        var toLong = (code.Attributes & SegmentBits.Long) != 0;
        if (toLong ? !IsCanonical(rip) : (uint)rip > code.Limit)
        {
            return Fault.Protection(State);
        }

        var isOuter = newCpl != State->Cpl;
        if (!IsCode64 && !isOuter)
        {
            WriteStackPointer(State->Gpr[4] + (step * 3), StackMask);
        }
        else
        {
            if (!TryPeek(step * 3, size, out var rsp) || !TryPeek(step * 4, size, out var ssValue)
                || !TryReadReturnStack((ushort)ssValue, newCpl, toLong, out var stack))
            {
                return false;
            }

            State->Ss = stack;

            // A 16-bit stack keeps the upper half of ESP.
            var mask = toLong ? ulong.MaxValue : (stack.Attributes & SegmentBits.Big) != 0 ? uint.MaxValue : 0xFFFFUL;
            WriteStackPointer(size == 8 && mask == uint.MaxValue ? (uint)rsp : rsp, mask);
        }

        CompleteReturn(code, newCpl, (ushort)csValue, toLong ? rip : (uint)rip, isOuter, flags, size);
        return true;
    }

    private void CompleteReturn(Descriptor code, uint newCpl, ushort selector, ulong rip, bool isOuter, ulong flags, int size)
    {
        var mask = WritableFlags(size, State->Cpl);
        State->Cs = code.ToCache(selector);
        State->Rip = rip;
        State->Cpl = newCpl;
        if (isOuter)
        {
            DropInnerSegments(newCpl);
        }

        SetFlags(flags, mask);
        UpdateMode();
    }

    /// <summary>The code segment that a return goes to: same or outer level.</summary>
    private bool TryReadReturnCode(ushort selector, out Descriptor code, out uint newCpl)
    {
        newCpl = (uint)selector & 3;
        code = default;
        var error = (uint)selector & 0xFFFC;
        if (error == 0)
        {
            return Fault.Protection(State);
        }

        if (!TryReadDescriptor(selector, Fault.GeneralProtection, 0, out code))
        {
            return false;
        }

        if (!code.IsCode || newCpl < State->Cpl
            || (code.IsConforming ? code.Dpl > newCpl : code.Dpl != newCpl)
            || (IsLongModeActive && (code.Attributes & (SegmentBits.Long | SegmentBits.Big)) == (SegmentBits.Long | SegmentBits.Big)))
        {
            return Fault.Protection(State, error);
        }

        if (!code.IsPresent)
        {
            return Fault.Raise(State, Fault.SegmentNotPresent, error);
        }

        return TryMarkAccessed(ref code);
    }

    private bool TryReadReturnStack(ushort selector, uint newCpl, bool toLong, out SegmentCache stack)
    {
        stack = default;
        var error = (uint)selector & 0xFFFC;
        if (error == 0)
        {
            if (!toLong || newCpl == 3 || (selector & 3) != newCpl)
            {
                return Fault.Protection(State);
            }

            stack = NullSegment(selector, newCpl);
            return true;
        }

        if (!TryReadDescriptor(selector, Fault.GeneralProtection, 0, out var descriptor))
        {
            return false;
        }

        if ((selector & 3) != newCpl || !descriptor.IsWritableData || descriptor.Dpl != newCpl)
        {
            return Fault.Protection(State, error);
        }

        if (!descriptor.IsPresent)
        {
            return Fault.Stack(State, error);
        }

        if (!TryMarkAccessed(ref descriptor))
        {
            return false;
        }

        stack = descriptor.ToCache(selector);
        return true;
    }

    private bool TryIretProtected(int size)
    {
        var step = (uint)size;
        if (!TryPeek(0, size, out var eip) || !TryPeek(step, size, out var csValue) || !TryPeek(step * 2, size, out var flags))
        {
            return false;
        }

        if (size == 4 && (flags & RFlags.Vm) != 0 && State->Cpl == 0)
        {
            return TryIretToVirtual8086(eip, (ushort)csValue, flags);
        }

        if (!TryReadReturnCode((ushort)csValue, out var code, out var newCpl))
        {
            return false;
        }

        if (eip > code.Limit)
        {
            return Fault.Protection(State);
        }

        var isOuter = newCpl != State->Cpl;
        if (isOuter)
        {
            if (!TryPeek(step * 3, size, out var esp) || !TryPeek(step * 4, size, out var ssValue)
                || !TryReadReturnStack((ushort)ssValue, newCpl, toLong: false, out var stack))
            {
                return false;
            }

            State->Ss = stack;
            WriteStackPointer(esp, (stack.Attributes & SegmentBits.Big) != 0 ? uint.MaxValue : 0xFFFFUL);
        }
        else
        {
            WriteStackPointer(State->Gpr[4] + (step * 3), StackMask);
        }

        CompleteReturn(code, newCpl, (ushort)csValue, eip, isOuter, flags, size);
        return true;
    }

    private bool TryIretToVirtual8086(ulong eip, ushort cs, ulong flags)
    {
        var words = stackalloc ulong[6];
        for (var i = 0u; i < 6; i++)
        {
            if (!TryPeek(12 + (i * 4), 4, out words[i]))
            {
                return false;
            }
        }

        State->Gpr[4] = (uint)words[0];
        LazyFlags.SetRflags(State, (flags & RFlags.Defined) | RFlags.Fixed);
        LoadRealSegment(Ss, (ushort)words[1]);
        LoadRealSegment(Es, (ushort)words[2]);
        LoadRealSegment(Ds, (ushort)words[3]);
        LoadRealSegment(Fs, (ushort)words[4]);
        LoadRealSegment(Gs, (ushort)words[5]);
        LoadRealSegment(Cs, cs);
        State->Rip = (ushort)eip;
        State->Cpl = 3;
        UpdateMode();
        return true;
    }
}
