using Vitro.Hypervisor.Software.Decoding;

namespace Vitro.Hypervisor.Software.Interpreter;

/// <content>Exchanges, which are atomic with LOCK (XCHG with memory always).</content>
internal sealed unsafe partial class InstructionInterpreter
{
    private bool Exchange(VpState* vp, DecodedInstruction* i)
    {
        if (i->Operation is Operation.Cmpxchg8b or Operation.Cmpxchg16b)
        {
            return CompareExchangeWide(vp, i);
        }

        var size = i->OperandSize;
        var source = ReadRegister(vp, i->RegOffset, size);
        if (!i->IsMemory)
        {
            ExchangeRegisters(vp, i, size, source);
            return true;
        }

        if (!TryLinear(i, size, isStore: true, out var linear))
        {
            return false;
        }

        var locked = (i->Prefixes & Prefixes.Lock) != 0 || i->Operation == Operation.Xchg;
        var address = BeginModify(i, linear, size, locked);
        if (address == null)
        {
            return false;
        }

        ulong old;
        switch (i->Operation)
        {
            case Operation.Xchg:
                do
                {
                    old = HostValue.Read(address, size);
                }
                while (!CompareExchange(address, size, old, source));

                WriteRegister(vp, i->RegOffset, size, old);
                break;
            case Operation.Xadd:
                do
                {
                    old = HostValue.Read(address, size);
                    if (!locked)
                    {
                        HostValue.Write(address, size, old + source);
                        break;
                    }
                }
                while (!CompareExchange(address, size, old, old + source));

                _ = Compute(vp, Operation.Add, size, source, old);
                WriteRegister(vp, i->RegOffset, size, old);
                break;
            default:
                CompareExchangeMemory(vp, size, address, source, locked);
                break;
        }

        EndModify();
        return true;
    }

    private static void CompareExchangeMemory(VpState* vp, int size, byte* address, ulong source, bool locked)
    {
        var expected = Truncate(vp->Gpr[0], size);
        ulong old;
        do
        {
            old = HostValue.Read(address, size);
            if (old != expected)
            {
                break;
            }

            if (!locked)
            {
                HostValue.Write(address, size, source);
                break;
            }
        }
        while (!CompareExchange(address, size, old, source));

        _ = Compute(vp, Operation.Cmp, size, expected, old);
        if (old != expected)
        {
            WriteRegister(vp, 0, size, old);
        }
    }

    private static void ExchangeRegisters(VpState* vp, DecodedInstruction* i, int size, ulong source)
    {
        var old = ReadRegister(vp, i->RmOffset, size);
        switch (i->Operation)
        {
            case Operation.Xchg:
                WriteRegister(vp, i->RmOffset, size, source);
                WriteRegister(vp, i->RegOffset, size, old);
                break;
            case Operation.Xadd:
                var sum = Compute(vp, Operation.Add, size, source, old);
                WriteRegister(vp, i->RegOffset, size, old);
                WriteRegister(vp, i->RmOffset, size, sum);
                break;
            default:
                var expected = ReadRegister(vp, 0, size);
                _ = Compute(vp, Operation.Cmp, size, expected, old);
                if (old == expected)
                {
                    WriteRegister(vp, i->RmOffset, size, source);
                }
                else
                {
                    WriteRegister(vp, 0, size, old);
                }

                break;
        }
    }

    private bool CompareExchangeWide(VpState* vp, DecodedInstruction* i)
    {
        var wide = i->Operation == Operation.Cmpxchg16b;
        var size = wide ? 16 : 8;
        if (!TryLinear(i, size, isStore: true, out var linear))
        {
            return false;
        }

        if (wide && (linear & 15) != 0)
        {
            return Fault.Protection(vp);
        }

        var locked = (i->Prefixes & Prefixes.Lock) != 0;
        var address = BeginModify(i, linear, size, locked);
        if (address == null)
        {
            return false;
        }

        bool equal;
        if (wide)
        {
            equal = CompareExchange16(vp, (ulong*)address, locked);
        }
        else
        {
            var expected = (uint)vp->Gpr[0] | (vp->Gpr[2] << 32);
            var value = (uint)vp->Gpr[3] | (vp->Gpr[1] << 32);
            ulong old;
            if (locked)
            {
                old = Interlocked.CompareExchange(ref *(ulong*)address, value, expected);
            }
            else
            {
                old = *(ulong*)address;
                if (old == expected)
                {
                    *(ulong*)address = value;
                }
            }

            equal = old == expected;
            if (!equal)
            {
                vp->Gpr[0] = (uint)old;
                vp->Gpr[2] = old >> 32;
            }
        }

        LazyFlags.Set(vp, (LazyFlags.Get(vp) & ~LazyFlags.Zero) | (equal ? LazyFlags.Zero : 0));
        EndModify();
        return true;
    }

    private static bool CompareExchange16(VpState* vp, ulong* address, bool locked)
    {
        if (locked)
        {
            return WideExchange.CompareExchange(address, vp->Gpr);
        }

        var low = address[0];
        var high = address[1];
        var equal = low == vp->Gpr[0] && high == vp->Gpr[2];
        if (equal)
        {
            address[0] = vp->Gpr[3];
            address[1] = vp->Gpr[1];
        }
        else
        {
            vp->Gpr[0] = low;
            vp->Gpr[2] = high;
        }

        return equal;
    }
}
