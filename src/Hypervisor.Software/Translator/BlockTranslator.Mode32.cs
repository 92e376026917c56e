using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Emitter;
using Vitro.Hypervisor.Software.Thunks;

namespace Vitro.Hypervisor.Software.Translator;

/// <content>
/// What differs in 32-bit code. CS, SS, DS and ES are flat, or the code is interpreted; addresses, stack words and EIP are 32 bits wide. The
/// upper halves of registers are nobody's: no instruction there sees them.
/// </content>
internal unsafe ref partial struct BlockTranslator
{
    private const uint DataSegmentMask =
        SegmentBits.Unusable | SegmentBits.Present | SegmentBits.Code | SegmentBits.ExpandDown | SegmentBits.Writable;

    // Not those with 16-bit addresses or a 16-bit EIP, nor those that ignore a bit which selects a wider operand on the host.
    private static bool IsPlainIn32(DecodedInstruction* i)
    {
        if (i->AddressSize != 4 && (i->IsMemory || i->Operation is Operation.Jrcxz or Operation.Loop))
        {
            return false;
        }

        switch (i->Operation)
        {
            case Operation.Jcc or Operation.Jmp or Operation.JmpIndirect or Operation.Call or Operation.CallIndirect or Operation.Ret
                or Operation.Jrcxz or Operation.Loop:
                return i->OperandSize == 4;
            case Operation.Swapgs or Operation.Syscall or Operation.Sysret or Operation.Iret:
                return false;
            case Operation.Vector:
                return (i->Prefixes & Prefixes.RexW) == 0 || !VectorForm.TryFind(i, out var form)
                    || (form.Reg != OperandKind.General && form.Rm != OperandKind.General);
            default:
                return true;
        }
    }

    // RDI is an offset in FS or GS, and becomes the linear address. The interpreter does accesses to segments with limits or other types.
    private void EmitSegment32(int segment)
    {
        var place = segment == 4 ? StateLayout.FsBase : StateLayout.GsBase;
        _c.RegisterMemory(
            OpcodePrefix.None, OpcodeMap.Primary, 0x83, false, 7, HostRegister.Rsp, place + StateLayout.LimitBehindBase); // cmp limit, -1
        _c.Byte(0xFF);
        EmitColdBranch(0x85);
        _c.Load32(HostRegister.Rcx, HostRegister.Rsp, place + StateLayout.AttributesBehindBase);
        _c.Arithmetic32(4, HostRegister.Rcx, (int)DataSegmentMask);
        _c.Arithmetic32(7, HostRegister.Rcx, (int)(SegmentBits.Present | SegmentBits.Writable));
        EmitColdBranch(0x85);
        _c.Load32(HostRegister.Rcx, HostRegister.Rsp, place);
        _c.Bytes(0x8D, 0x3C, 0x0F); // lea edi, [rdi + rcx]
    }
}
