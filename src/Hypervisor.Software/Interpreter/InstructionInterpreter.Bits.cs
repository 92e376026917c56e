using System.Buffers.Binary;
using System.Numerics;
using Vitro.Hypervisor.Software.Decoding;

namespace Vitro.Hypervisor.Software.Interpreter;

/// <content>Bit tests, scans, counts and the BMI extensions.</content>
internal sealed unsafe partial class InstructionInterpreter
{
    private bool Bits(VpState* vp, DecodedInstruction* i)
    {
        var size = i->OperandSize;
        switch (i->Operation)
        {
            case Operation.Shld or Operation.Shrd:
                return DoubleShift(vp, i);
            case Operation.Bt or Operation.Bts or Operation.Btr or Operation.Btc:
                return BitTest(vp, i, size);
            case Operation.Bswap:
                var value = ReadRegister(vp, i->RmOffset, size);
                WriteRegister(vp, i->RmOffset, size, size switch
                {
                    8 => BinaryPrimitives.ReverseEndianness(value),
                    4 => BinaryPrimitives.ReverseEndianness((uint)value),
                    _ => 0,
                });
                return true;
            default:
                return Scan(vp, i, size);
        }
    }

    private bool Scan(VpState* vp, DecodedInstruction* i, int size)
    {
        if (!ReadRm(i, size, out var value))
        {
            return false;
        }

        var bits = (uint)(size * 8);
        ulong result;
        switch (i->Operation)
        {
            case Operation.Bsf or Operation.Bsr:
                if (value == 0)
                {
                    // The destination stays, as every processor does it and AMD documents.
                    LazyFlags.Set(vp, LazyFlags.Zero | LazyFlags.Parity);
                    return true;
                }

                result = i->Operation == Operation.Bsf ? (uint)BitOperations.TrailingZeroCount(value) : (uint)BitOperations.Log2(value);
                LazyFlags.Set(vp, 0);
                break;
            case Operation.Popcnt:
                result = (uint)BitOperations.PopCount(value);
                LazyFlags.Set(vp, result == 0 ? LazyFlags.Zero : 0);
                break;
            default:
                result = value == 0 ? bits
                    : i->Operation == Operation.Tzcnt ? (uint)BitOperations.TrailingZeroCount(value)
                    : (uint)BitOperations.LeadingZeroCount(value) - (64 - bits);
                LazyFlags.Set(vp, (value == 0 ? LazyFlags.Carry : 0) | (result == 0 ? LazyFlags.Zero : 0));
                break;
        }

        WriteRegister(vp, i->RegOffset, size, result);
        return true;
    }

    private bool BitTest(VpState* vp, DecodedInstruction* i, int size)
    {
        var bits = size * 8;
        var immediate = i->Form == OperandForm.RmImmediate;
        var index = immediate ? i->Immediate : ReadRegister(vp, i->RegOffset, size);
        var mask = 1UL << ((int)index & (bits - 1));
        if (!i->IsMemory)
        {
            var value = ReadRegister(vp, i->RmOffset, size);
            SetBitTestFlag(vp, value, mask);
            if (i->Operation != Operation.Bt)
            {
                WriteRegister(vp, i->RmOffset, size, ComputeBit(i->Operation, value, mask));
            }

            return true;
        }

        var offset = OperandAddress.Effective(vp, i);
        if (!immediate)
        {
            // The bit string extends both ways from the operand.
            offset += (ulong)(((long)SignExtend(index, size) >> (size == 8 ? 6 : size == 4 ? 5 : 4)) * size);
            offset &= i->AddressMask;
        }

        var isStore = i->Operation != Operation.Bt;
        if (!OperandAddress.TryGetLinear(vp, i->Segment, offset, size, isStore, out var linear))
        {
            return false;
        }

        if (!isStore)
        {
            if (!LoadLinear(linear, size, i->Segment, out var value))
            {
                return false;
            }

            SetBitTestFlag(vp, value, mask);
            return true;
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
                HostValue.Write(address, size, ComputeBit(i->Operation, old, mask));
                break;
            }
        }
        while (!CompareExchange(address, size, old, ComputeBit(i->Operation, old, mask)));

        SetBitTestFlag(vp, old, mask);
        EndModify();
        return true;
    }

    private static ulong ComputeBit(Operation operation, ulong value, ulong mask) => operation switch
    {
        Operation.Bts => value | mask,
        Operation.Btr => value & ~mask,
        _ => value ^ mask,
    };

    private static void SetBitTestFlag(VpState* vp, ulong value, ulong mask) =>
        LazyFlags.Set(vp, (LazyFlags.Get(vp) & ~LazyFlags.Carry) | ((value & mask) != 0 ? LazyFlags.Carry : 0));

    private bool Extended(VpState* vp, DecodedInstruction* i)
    {
        var size = i->OperandSize;
        if (i->Operation == Operation.Movbe && i->Form == OperandForm.RmReg)
        {
            return WriteRm(i, size, Swap(ReadRegister(vp, i->RegOffset, size), size));
        }

        if (!ReadRm(i, i->SourceSize, out var source))
        {
            return false;
        }

        var vvvv = Truncate(vp->Gpr[i->Vvvv], size);
        ulong result;
        switch (i->Operation)
        {
            case Operation.Movbe:
                result = Swap(source, size);
                break;
            case Operation.Crc32:
                result = Crc32((uint)vp->Gpr[i->Reg], source, i->SourceSize);
                break;
            case Operation.Adcx or Operation.Adox:
                return AddWithFlag(vp, i, size, source);
            case Operation.Andn:
                result = ~vvvv & source;
                SetLogicFlags(vp, SignExtend(result, size));
                break;
            case Operation.Bextr:
                result = ExtractBits(source, (int)(byte)vvvv, (int)(byte)(vvvv >> 8));
                SetLogicFlags(vp, SignExtend(result, size));
                break;
            case Operation.Blsr:
                result = source & (source - 1);
                SetResetFlags(vp, SignExtend(result, size), source == 0);
                WriteRegister(vp, i->Vvvv * 8, size, result);
                return true;
            case Operation.Blsmsk:
                result = Truncate(source ^ (source - 1), size);
                SetResetFlags(vp, SignExtend(result, size), source == 0);
                WriteRegister(vp, i->Vvvv * 8, size, result);
                return true;
            case Operation.Blsi:
                result = source & (0 - source);
                SetResetFlags(vp, SignExtend(result, size), source != 0);
                WriteRegister(vp, i->Vvvv * 8, size, result);
                return true;
            case Operation.Bzhi:
                var start = (int)(byte)vvvv;
                result = start < size * 8 ? source & ((1UL << start) - 1) : source;
                SetResetFlags(vp, SignExtend(result, size), start >= size * 8);
                break;
            case Operation.Pdep:
                result = Deposit(vvvv, source);
                break;
            case Operation.Pext:
                result = Extract(vvvv, source);
                break;
            case Operation.Rorx:
                var count = (int)i->Immediate & ((size * 8) - 1);
                result = size == 8 ? BitOperations.RotateRight(source, count) : BitOperations.RotateRight((uint)source, count);
                break;
            default:
                var shift = (int)vvvv & ((size * 8) - 1);
                result = i->Operation switch
                {
                    Operation.Shlx => source << shift,
                    Operation.Shrx => source >> shift,
                    _ => (ulong)((long)SignExtend(source, size) >> shift),
                };
                break;
        }

        WriteRegister(vp, i->Reg * 8, size, result);
        return true;
    }

    private static bool AddWithFlag(VpState* vp, DecodedInstruction* i, int size, ulong source)
    {
        var flags = LazyFlags.Get(vp);
        var flag = i->Operation == Operation.Adcx ? LazyFlags.Carry : LazyFlags.Overflow;
        var left = ReadRegister(vp, i->Reg * 8, size);
        var sum = (UInt128)left + source + ((flags & flag) != 0 ? 1u : 0);
        LazyFlags.Set(vp, (flags & ~flag) | ((sum >> (size * 8)) != 0 ? flag : 0));
        WriteRegister(vp, i->Reg * 8, size, (ulong)sum);
        return true;
    }

    private static void SetResetFlags(VpState* vp, ulong result, bool carry)
    {
        vp->FlagResult = result;
        vp->FlagLeft = carry ? LazyFlags.Carry : 0;
        vp->FlagOperation = LazyFlags.Result;
    }

    private static ulong Swap(ulong value, int size) => BinaryPrimitives.ReverseEndianness(value) >> (64 - (size * 8));

    private static ulong ExtractBits(ulong value, int start, int length)
    {
        if (start >= 64)
        {
            return 0;
        }

        value >>= start;
        return length >= 64 ? value : value & ((1UL << length) - 1);
    }

    private static ulong Deposit(ulong value, ulong mask)
    {
        ulong result = 0;
        for (; mask != 0; mask &= mask - 1, value >>= 1)
        {
            if ((value & 1) != 0)
            {
                result |= mask & (0 - mask);
            }
        }

        return result;
    }

    private static ulong Extract(ulong value, ulong mask)
    {
        ulong result = 0;
        for (var n = 0; mask != 0; mask &= mask - 1, n++)
        {
            if ((value & mask & (0 - mask)) != 0)
            {
                result |= 1UL << n;
            }
        }

        return result;
    }

    private static uint Crc32(uint crc, ulong data, int size) => size switch
    {
        1 => BitOperations.Crc32C(crc, (byte)data),
        2 => BitOperations.Crc32C(crc, (ushort)data),
        4 => BitOperations.Crc32C(crc, (uint)data),
        _ => BitOperations.Crc32C(crc, data),
    };
}
