using System.Buffers.Binary;
using System.Numerics;
using Vitro.Foundation;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Tlfs.Synic;
using Vitro.Hypervisor.Vid;

namespace Vitro.Hypervisor.Tlfs;

/// <summary>Decodes hypercalls and carries them out (TLFS, "Hypercall Interface").</summary>
internal sealed class HypercallDispatcher(GpaSpace gpa, SynicPorts ports, ISynicInterruptSink sink) : IInspectable
{
    private const ulong FastFlag = 1 << 16;
    private const int RepeatShift = 32;
    private const ulong RepeatMask = 0xFFF;
    private const int MessageHeader = 16;
    private const int MaxBanks = 64;
    private const int FlushHeader = 24;
    private IPartition? _partition;
    private long _calls;
    private long _refused;

    private enum CallCode : ushort
    {
        FlushVirtualAddressSpace = 0x0002,
        FlushVirtualAddressList = 0x0003,
        NotifyLongSpinWait = 0x0008,
        SendSyntheticClusterIpi = 0x000B,
        FlushVirtualAddressSpaceEx = 0x0013,
        FlushVirtualAddressListEx = 0x0014,
        SendSyntheticClusterIpiEx = 0x0015,
        PostMessage = 0x005C,
        SignalEvent = 0x005D,
    }

    public void Inspect(InspectNode node) => node.Value("calls", Interlocked.Read(ref _calls)).Value("refused", Interlocked.Read(ref _refused));

    internal void Attach(IPartition partition) => _partition = partition;

    /// <summary>Carries out one call and gives the result value: the status, and for calls that repeat how many elements are done.</summary>
    internal ulong Dispatch(int vpIndex, in HypercallRegisters registers)
    {
        Interlocked.Increment(ref _calls);
        var code = (CallCode)registers.Control;
        var repeats = (registers.Control >> RepeatShift) & RepeatMask;
        var status = IsKnown(code) && (repeats != 0) != Repeats(code) ? HypercallStatus.InvalidHypercallInput : Execute(vpIndex, registers);
        if (status != HypercallStatus.Success)
        {
            Interlocked.Increment(ref _refused);
        }

        // Elements are done all together or not at all.
        return (ulong)status | (status == HypercallStatus.Success ? repeats << RepeatShift : 0);
    }

    private static bool IsKnown(CallCode code) => Repeats(code)
        || code is CallCode.FlushVirtualAddressSpace or CallCode.FlushVirtualAddressSpaceEx or CallCode.NotifyLongSpinWait
            or CallCode.SendSyntheticClusterIpi or CallCode.SendSyntheticClusterIpiEx or CallCode.PostMessage or CallCode.SignalEvent;

    private static bool Repeats(CallCode code) => code is CallCode.FlushVirtualAddressList or CallCode.FlushVirtualAddressListEx;

    private HypercallStatus Execute(int vpIndex, in HypercallRegisters registers)
    {
        var fast = (registers.Control & FastFlag) != 0;
        return (CallCode)registers.Control switch
        {
            CallCode.SignalEvent => SignalEvent(registers, fast),
            CallCode.PostMessage => PostMessage(vpIndex, registers, fast),
            CallCode.SendSyntheticClusterIpi => SendClusterIpi(registers, fast),
            CallCode.SendSyntheticClusterIpiEx => SendClusterIpiEx(registers, fast),
            CallCode.FlushVirtualAddressSpace or CallCode.FlushVirtualAddressList or CallCode.FlushVirtualAddressSpaceEx
                or CallCode.FlushVirtualAddressListEx => Flush(vpIndex, registers, fast),
            CallCode.NotifyLongSpinWait => HypercallStatus.Success,
            _ => HypercallStatus.InvalidHypercallCode,
        };
    }

    private HypercallStatus PostMessage(int vpIndex, in HypercallRegisters registers, bool fast)
    {
        if (fast)
        {
            return HypercallStatus.InvalidHypercallInput;
        }

        Span<byte> header = stackalloc byte[MessageHeader];
        var status = TryReadInput(registers.Input, header);
        if (status != HypercallStatus.Success)
        {
            return status;
        }

        var connectionId = BinaryPrimitives.ReadUInt32LittleEndian(header);
        var type = BinaryPrimitives.ReadUInt32LittleEndian(header[8..]);
        var size = BinaryPrimitives.ReadUInt32LittleEndian(header[12..]);

        // Types with the top bit set are the hypervisor's own.
        if (size > ISynicPorts.MaxPayload || type is 0 or >= 0x8000_0000)
        {
            return HypercallStatus.InvalidParameter;
        }

        Span<byte> payload = stackalloc byte[(int)size];
        status = TryReadInput(registers.Input + MessageHeader, payload);
        return status == HypercallStatus.Success ? ports.OnMessage(vpIndex, connectionId, type, payload) : status;
    }

    private HypercallStatus SignalEvent(in HypercallRegisters registers, bool fast)
    {
        var parameters = registers.Input;
        if (!fast)
        {
            var status = TryReadInput(registers.Input, out parameters);
            if (status != HypercallStatus.Success)
            {
                return status;
            }
        }

        var flag = (ushort)(parameters >> 32);
        return flag < ISynicPorts.EventFlagCount ? ports.OnSignal((uint)parameters, flag) : HypercallStatus.InvalidParameter;
    }

    // More may be dropped than the guest asks for. All of all processors is what every engine can do, so what else the call says
    // (which space, which addresses, whose processors) need not be looked at.
    private HypercallStatus Flush(int vpIndex, in HypercallRegisters registers, bool fast)
    {
        if (fast)
        {
            return HypercallStatus.InvalidHypercallInput;
        }

        Span<byte> header = stackalloc byte[FlushHeader];
        var status = TryReadInput(registers.Input, header);
        return status != HypercallStatus.Success ? status
            : _partition is { } partition && partition.TryFlushTranslations(vpIndex) ? HypercallStatus.Success
            : HypercallStatus.InvalidHypercallCode;
    }

    private HypercallStatus SendClusterIpi(in HypercallRegisters registers, bool fast)
    {
        var (vector, mask) = ((uint)registers.Input, registers.Output);
        if (!fast)
        {
            Span<byte> input = stackalloc byte[16];
            var status = TryReadInput(registers.Input, input);
            if (status != HypercallStatus.Success)
            {
                return status;
            }

            vector = BinaryPrimitives.ReadUInt32LittleEndian(input);
            mask = BinaryPrimitives.ReadUInt64LittleEndian(input[8..]);
        }

        if (!IsInterruptVector(vector))
        {
            return HypercallStatus.InvalidParameter;
        }

        RaiseBank((byte)vector, 0, mask);
        return HypercallStatus.Success;
    }

    private HypercallStatus SendClusterIpiEx(in HypercallRegisters registers, bool fast)
    {
        if (fast)
        {
            return HypercallStatus.InvalidHypercallInput;
        }

        Span<byte> input = stackalloc byte[24 + (MaxBanks * 8)];
        var status = TryReadInput(registers.Input, input[..24]);
        if (status != HypercallStatus.Success)
        {
            return status;
        }

        var vector = BinaryPrimitives.ReadUInt32LittleEndian(input);
        var format = BinaryPrimitives.ReadUInt64LittleEndian(input[8..]);
        var bankMask = BinaryPrimitives.ReadUInt64LittleEndian(input[16..]);
        if (!IsInterruptVector(vector) || format > 1)
        {
            return HypercallStatus.InvalidParameter;
        }

        if (format == 1)
        {
            for (var vp = 0; vp < ports.VirtualProcessorCount; vp++)
            {
                sink.Raise(vp, (byte)vector, autoEoi: false);
            }

            return HypercallStatus.Success;
        }

        var banks = input.Slice(24, BitOperations.PopCount(bankMask) * 8);
        status = TryReadInput(registers.Input + 24, banks);
        for (; status == HypercallStatus.Success && bankMask != 0; bankMask &= bankMask - 1)
        {
            RaiseBank((byte)vector, BitOperations.TrailingZeroCount(bankMask) * 64, BinaryPrimitives.ReadUInt64LittleEndian(banks));
            banks = banks[8..];
        }

        return status;
    }

    private static bool IsInterruptVector(uint vector) => vector is >= SintValue.FirstVector and <= byte.MaxValue;

    private void RaiseBank(byte vector, int firstVp, ulong mask)
    {
        for (; mask != 0; mask &= mask - 1)
        {
            var vp = firstVp + BitOperations.TrailingZeroCount(mask);
            if (vp < ports.VirtualProcessorCount)
            {
                sink.Raise(vp, vector, autoEoi: false);
            }
        }
    }

    private HypercallStatus TryReadInput(ulong address, out ulong value)
    {
        Span<byte> input = stackalloc byte[8];
        var status = TryReadInput(address, input);
        value = BinaryPrimitives.ReadUInt64LittleEndian(input);
        return status;
    }

    // Parameter blocks are 8-byte aligned and stay within a page.
    private HypercallStatus TryReadInput(ulong address, Span<byte> input) =>
        address % 8 == 0 && (address % GuestMemory.PageSize) + (ulong)input.Length <= GuestMemory.PageSize && gpa.TryRead(address, input)
            ? HypercallStatus.Success
            : HypercallStatus.InvalidAlignment;
}
