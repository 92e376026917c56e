using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using Vitro.Hypervisor.Software.Decoding;

namespace Vitro.Hypervisor.Software.Interpreter;

/// <content>
/// The hot switch: the forms that nearly all executed instructions have, in flat address spaces. Each case either
/// completes the instruction or changes nothing and breaks to the general switch (translation not in the TLB, and the like).
/// </content>
/// <remarks>
/// While a block runs VpState.Rip is the address of its start; addresses and branch targets were biased for that by the
/// decoder. Optimised from the first call: it is hot at once, and too large to be compiled several times on the way.
/// The method must stay below the sizes at which the JIT gives up optimising (60 KB of IL, 2000 basic blocks).
/// </remarks>
internal sealed unsafe partial class InstructionInterpreter
{
    private const uint PageSize = 4096;

    /// <summary>Runs blocks, starting with one, until a request, an undelivered fault in fetching, or an instruction that must leave.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Execute(VpState* vp, CodeBlock* block)
    {
        var i = CodeBlock.Instructions(block);
        while (true)
        {
            ulong linear;
            ulong left;
            ulong result;
            byte* p;
            CodeBlock* next;
            switch ((Handler)i->Handler)
            {
                case Handler.BlockEnd:
                    vp->Rip += i->Offset;
                    goto FallThrough;
                case Handler.Nop:
                    break;
                case Handler.MovRR64:
                    *Rm(vp, i) = *Reg(vp, i);
                    break;
                case Handler.MovRR32:
                    *Rm(vp, i) = (uint)*Reg(vp, i);
                    break;
                case Handler.MovRI:
                    *Rm(vp, i) = i->Immediate;
                    break;
                case Handler.MovRM64B:
                    if (!Load(vp, AddressOfBase(vp, i), 8, out p)) goto General;
                    *Reg(vp, i) = *(ulong*)p;
                    break;
                case Handler.MovMR64B:
                    if (!Store(vp, AddressOfBase(vp, i), 8, out p)) goto General;
                    *(ulong*)p = *Reg(vp, i);
                    break;
                case Handler.MovRM64:
                    if (!Load(vp, Address(vp, i), 8, out p)) goto General;
                    *Reg(vp, i) = *(ulong*)p;
                    break;
                case Handler.MovMR64:
                    if (!Store(vp, Address(vp, i), 8, out p)) goto General;
                    *(ulong*)p = *Reg(vp, i);
                    break;
                case Handler.MovMI64:
                    if (!Store(vp, Address(vp, i), 8, out p)) goto General;
                    *(ulong*)p = i->Immediate;
                    break;
                case Handler.MovRM32B:
                    if (!Load(vp, AddressOfBase(vp, i), 4, out p)) goto General;
                    *Reg(vp, i) = *(uint*)p;
                    break;
                case Handler.MovMR32B:
                    if (!Store(vp, AddressOfBase(vp, i), 4, out p)) goto General;
                    *(uint*)p = (uint)*Reg(vp, i);
                    break;
                case Handler.MovRM32:
                    if (!Load(vp, Address(vp, i), 4, out p)) goto General;
                    *Reg(vp, i) = *(uint*)p;
                    break;
                case Handler.MovMR32:
                    if (!Store(vp, Address(vp, i), 4, out p)) goto General;
                    *(uint*)p = (uint)*Reg(vp, i);
                    break;
                case Handler.MovMI32:
                    if (!Store(vp, Address(vp, i), 4, out p)) goto General;
                    *(uint*)p = (uint)i->Immediate;
                    break;
                case Handler.MovRM8:
                    if (!Load(vp, Address(vp, i), 1, out p)) goto General;
                    *Reg8(vp, i) = *(byte*)p;
                    break;
                case Handler.MovMR8:
                    if (!Store(vp, Address(vp, i), 1, out p)) goto General;
                    *(byte*)p = *Reg8(vp, i);
                    break;
                case Handler.MovMI8:
                    if (!Store(vp, Address(vp, i), 1, out p)) goto General;
                    *(byte*)p = (byte)i->Immediate;
                    break;
                case Handler.MovRR8:
                    *Rm8(vp, i) = *Reg8(vp, i);
                    break;
                case Handler.MovMR16:
                    if (!Store(vp, Address(vp, i), 2, out p)) goto General;
                    *(ushort*)p = (ushort)*Reg(vp, i);
                    break;
                case Handler.MovMI16:
                    if (!Store(vp, Address(vp, i), 2, out p)) goto General;
                    *(ushort*)p = (ushort)i->Immediate;
                    break;
                case Handler.MovzxRR8:
                    *Reg(vp, i) = *Rm8(vp, i);
                    break;
                case Handler.MovzxRR16:
                    *Reg(vp, i) = (ushort)*Rm(vp, i);
                    break;
                case Handler.MovzxRM8:
                    if (!Load(vp, Address(vp, i), 1, out p)) goto General;
                    *Reg(vp, i) = *(byte*)p;
                    break;
                case Handler.MovzxRM16:
                    if (!Load(vp, Address(vp, i), 2, out p)) goto General;
                    *Reg(vp, i) = *(ushort*)p;
                    break;
                case Handler.MovsxdRR:
                    *Reg(vp, i) = (ulong)(int)*Rm(vp, i);
                    break;
                case Handler.MovsxdRM:
                    if (!Load(vp, Address(vp, i), 4, out p)) goto General;
                    *Reg(vp, i) = (ulong)*(int*)p;
                    break;
                case Handler.MovsxRR8To32:
                    *Reg(vp, i) = (uint)(sbyte)*Rm8(vp, i);
                    break;
                case Handler.MovsxRM8To32:
                    if (!Load(vp, Address(vp, i), 1, out p)) goto General;
                    *Reg(vp, i) = (uint)*(sbyte*)p;
                    break;
                case Handler.LeaB:
                    *Reg(vp, i) = AddressOfBase(vp, i);
                    break;
                case Handler.Lea64:
                    *Reg(vp, i) = AddressOfIndex(vp, i);
                    break;
                case Handler.Lea32:
                    *Reg(vp, i) = (uint)AddressOfIndex(vp, i);
                    break;
                case Handler.PushR:
                    linear = vp->Gpr[4] - 8;
                    if (!Store(vp, linear, 8, out p)) goto General;
                    *(ulong*)p = *Rm(vp, i);
                    vp->Gpr[4] = linear;
                    break;
                case Handler.PushI:
                    linear = vp->Gpr[4] - 8;
                    if (!Store(vp, linear, 8, out p)) goto General;
                    *(ulong*)p = i->Immediate;
                    vp->Gpr[4] = linear;
                    break;
                case Handler.PopR:
                    linear = vp->Gpr[4];
                    if (!Load(vp, linear, 8, out p)) goto General;
                    vp->Gpr[4] = linear + 8;
                    *Rm(vp, i) = *(ulong*)p;
                    break;
                case Handler.LeaveFrame:
                    linear = vp->Gpr[5];
                    if (!Load(vp, linear, 8, out p)) goto General;
                    vp->Gpr[4] = linear + 8;
                    vp->Gpr[5] = *(ulong*)p;
                    break;
                case Handler.CallRelative:
                    linear = vp->Gpr[4] - 8;
                    if (!Store(vp, linear, 8, out p)) goto General;
                    *(ulong*)p = vp->Rip + i->Offset + i->Length;
                    vp->Gpr[4] = linear;
                    goto Taken;
                case Handler.CallRegister:
                    linear = vp->Gpr[4] - 8;
                    if (!Store(vp, linear, 8, out p)) goto General;
                    result = *Rm(vp, i);
                    *(ulong*)p = vp->Rip + i->Offset + i->Length;
                    vp->Gpr[4] = linear;
                    vp->Rip = result;
                    goto Indirect;
                case Handler.JmpRegister:
                    vp->Rip = *Rm(vp, i);
                    goto Indirect;
                case Handler.Ret:
                    linear = vp->Gpr[4];
                    if (!Load(vp, linear, 8, out p)) goto General;
                    vp->Gpr[4] = linear + 8 + i->Immediate;
                    vp->Rip = *(ulong*)p;
                    goto Indirect;
                case Handler.Jmp:
                    goto Taken;
                case Handler.Jo:
                    if (Condition.IsOverflow(vp)) goto Taken;
                    goto NotTaken;
                case Handler.Jno:
                    if (!Condition.IsOverflow(vp)) goto Taken;
                    goto NotTaken;
                case Handler.Jb:
                    if (Condition.IsBelow(vp)) goto Taken;
                    goto NotTaken;
                case Handler.Jae:
                    if (!Condition.IsBelow(vp)) goto Taken;
                    goto NotTaken;
                case Handler.Je:
                    if (Condition.IsEqual(vp)) goto Taken;
                    goto NotTaken;
                case Handler.Jne:
                    if (!Condition.IsEqual(vp)) goto Taken;
                    goto NotTaken;
                case Handler.Jbe:
                    if (Condition.IsBelowOrEqual(vp)) goto Taken;
                    goto NotTaken;
                case Handler.Ja:
                    if (!Condition.IsBelowOrEqual(vp)) goto Taken;
                    goto NotTaken;
                case Handler.Js:
                    if (Condition.IsSign(vp)) goto Taken;
                    goto NotTaken;
                case Handler.Jns:
                    if (!Condition.IsSign(vp)) goto Taken;
                    goto NotTaken;
                case Handler.Jp:
                    if (Condition.IsParity(vp)) goto Taken;
                    goto NotTaken;
                case Handler.Jnp:
                    if (!Condition.IsParity(vp)) goto Taken;
                    goto NotTaken;
                case Handler.Jl:
                    if (Condition.IsLess(vp)) goto Taken;
                    goto NotTaken;
                case Handler.Jge:
                    if (!Condition.IsLess(vp)) goto Taken;
                    goto NotTaken;
                case Handler.Jle:
                    if (Condition.IsLessOrEqual(vp)) goto Taken;
                    goto NotTaken;
                case Handler.Jg:
                    if (!Condition.IsLessOrEqual(vp)) goto Taken;
                    goto NotTaken;
                case Handler.AddRR64:
                    left = *Rm(vp, i);
                    result = SetAddFlags64(vp, left, *Reg(vp, i));
                    *Rm(vp, i) = result;
                    break;
                case Handler.AddRI64:
                    left = *Rm(vp, i);
                    result = SetAddFlags64(vp, left, i->Immediate);
                    *Rm(vp, i) = result;
                    break;
                case Handler.AddRM64:
                    if (!Load(vp, Address(vp, i), 8, out p)) goto General;
                    left = *Reg(vp, i);
                    result = SetAddFlags64(vp, left, *(ulong*)p);
                    *Reg(vp, i) = result;
                    break;
                case Handler.AddMR64:
                    if (!Store(vp, Address(vp, i), 8, out p)) goto General;
                    left = *(ulong*)p;
                    result = SetAddFlags64(vp, left, *Reg(vp, i));
                    *(ulong*)p = result;
                    break;
                case Handler.AddMI64:
                    if (!Store(vp, Address(vp, i), 8, out p)) goto General;
                    left = *(ulong*)p;
                    result = SetAddFlags64(vp, left, i->Immediate);
                    *(ulong*)p = result;
                    break;
                case Handler.AddRR32:
                    left = (ulong)(int)*Rm(vp, i);
                    result = SetAddFlags32(vp, left, (ulong)(int)*Reg(vp, i));
                    *Rm(vp, i) = (uint)result;
                    break;
                case Handler.AddRI32:
                    left = (ulong)(int)*Rm(vp, i);
                    result = SetAddFlags32(vp, left, (ulong)(int)i->Immediate);
                    *Rm(vp, i) = (uint)result;
                    break;
                case Handler.AddRM32:
                    if (!Load(vp, Address(vp, i), 4, out p)) goto General;
                    left = (ulong)(int)*Reg(vp, i);
                    result = SetAddFlags32(vp, left, (ulong)(int)*(uint*)p);
                    *Reg(vp, i) = (uint)result;
                    break;
                case Handler.AddMR32:
                    if (!Store(vp, Address(vp, i), 4, out p)) goto General;
                    left = (ulong)(int)*(uint*)p;
                    result = SetAddFlags32(vp, left, (ulong)(int)*Reg(vp, i));
                    *(uint*)p = (uint)result;
                    break;
                case Handler.AddMI32:
                    if (!Store(vp, Address(vp, i), 4, out p)) goto General;
                    left = (ulong)(int)*(uint*)p;
                    result = SetAddFlags32(vp, left, (ulong)(int)i->Immediate);
                    *(uint*)p = (uint)result;
                    break;
                case Handler.OrRR64:
                    result = *Rm(vp, i) | *Reg(vp, i);
                    SetLogicFlags(vp, result);
                    *Rm(vp, i) = result;
                    break;
                case Handler.OrRI64:
                    result = *Rm(vp, i) | i->Immediate;
                    SetLogicFlags(vp, result);
                    *Rm(vp, i) = result;
                    break;
                case Handler.OrRM64:
                    if (!Load(vp, Address(vp, i), 8, out p)) goto General;
                    result = *Reg(vp, i) | *(ulong*)p;
                    SetLogicFlags(vp, result);
                    *Reg(vp, i) = result;
                    break;
                case Handler.OrMR64:
                    if (!Store(vp, Address(vp, i), 8, out p)) goto General;
                    result = *(ulong*)p | *Reg(vp, i);
                    SetLogicFlags(vp, result);
                    *(ulong*)p = result;
                    break;
                case Handler.OrMI64:
                    if (!Store(vp, Address(vp, i), 8, out p)) goto General;
                    result = *(ulong*)p | i->Immediate;
                    SetLogicFlags(vp, result);
                    *(ulong*)p = result;
                    break;
                case Handler.OrRR32:
                    result = (ulong)(int)*Rm(vp, i) | (ulong)(int)*Reg(vp, i);
                    SetLogicFlags(vp, result);
                    *Rm(vp, i) = (uint)result;
                    break;
                case Handler.OrRI32:
                    result = (ulong)(int)*Rm(vp, i) | (ulong)(int)i->Immediate;
                    SetLogicFlags(vp, result);
                    *Rm(vp, i) = (uint)result;
                    break;
                case Handler.OrRM32:
                    if (!Load(vp, Address(vp, i), 4, out p)) goto General;
                    result = (ulong)(int)*Reg(vp, i) | (ulong)(int)*(uint*)p;
                    SetLogicFlags(vp, result);
                    *Reg(vp, i) = (uint)result;
                    break;
                case Handler.OrMR32:
                    if (!Store(vp, Address(vp, i), 4, out p)) goto General;
                    result = (ulong)(int)*(uint*)p | (ulong)(int)*Reg(vp, i);
                    SetLogicFlags(vp, result);
                    *(uint*)p = (uint)result;
                    break;
                case Handler.OrMI32:
                    if (!Store(vp, Address(vp, i), 4, out p)) goto General;
                    result = (ulong)(int)*(uint*)p | (ulong)(int)i->Immediate;
                    SetLogicFlags(vp, result);
                    *(uint*)p = (uint)result;
                    break;
                case Handler.AndRR64:
                    result = *Rm(vp, i) & *Reg(vp, i);
                    SetLogicFlags(vp, result);
                    *Rm(vp, i) = result;
                    break;
                case Handler.AndRI64:
                    result = *Rm(vp, i) & i->Immediate;
                    SetLogicFlags(vp, result);
                    *Rm(vp, i) = result;
                    break;
                case Handler.AndRM64:
                    if (!Load(vp, Address(vp, i), 8, out p)) goto General;
                    result = *Reg(vp, i) & *(ulong*)p;
                    SetLogicFlags(vp, result);
                    *Reg(vp, i) = result;
                    break;
                case Handler.AndMR64:
                    if (!Store(vp, Address(vp, i), 8, out p)) goto General;
                    result = *(ulong*)p & *Reg(vp, i);
                    SetLogicFlags(vp, result);
                    *(ulong*)p = result;
                    break;
                case Handler.AndMI64:
                    if (!Store(vp, Address(vp, i), 8, out p)) goto General;
                    result = *(ulong*)p & i->Immediate;
                    SetLogicFlags(vp, result);
                    *(ulong*)p = result;
                    break;
                case Handler.AndRR32:
                    result = (ulong)(int)*Rm(vp, i) & (ulong)(int)*Reg(vp, i);
                    SetLogicFlags(vp, result);
                    *Rm(vp, i) = (uint)result;
                    break;
                case Handler.AndRI32:
                    result = (ulong)(int)*Rm(vp, i) & (ulong)(int)i->Immediate;
                    SetLogicFlags(vp, result);
                    *Rm(vp, i) = (uint)result;
                    break;
                case Handler.AndRM32:
                    if (!Load(vp, Address(vp, i), 4, out p)) goto General;
                    result = (ulong)(int)*Reg(vp, i) & (ulong)(int)*(uint*)p;
                    SetLogicFlags(vp, result);
                    *Reg(vp, i) = (uint)result;
                    break;
                case Handler.AndMR32:
                    if (!Store(vp, Address(vp, i), 4, out p)) goto General;
                    result = (ulong)(int)*(uint*)p & (ulong)(int)*Reg(vp, i);
                    SetLogicFlags(vp, result);
                    *(uint*)p = (uint)result;
                    break;
                case Handler.AndMI32:
                    if (!Store(vp, Address(vp, i), 4, out p)) goto General;
                    result = (ulong)(int)*(uint*)p & (ulong)(int)i->Immediate;
                    SetLogicFlags(vp, result);
                    *(uint*)p = (uint)result;
                    break;
                case Handler.SubRR64:
                    left = *Rm(vp, i);
                    result = SetSubtractFlags64(vp, left, *Reg(vp, i));
                    *Rm(vp, i) = result;
                    break;
                case Handler.SubRI64:
                    left = *Rm(vp, i);
                    result = SetSubtractFlags64(vp, left, i->Immediate);
                    *Rm(vp, i) = result;
                    break;
                case Handler.SubRM64:
                    if (!Load(vp, Address(vp, i), 8, out p)) goto General;
                    left = *Reg(vp, i);
                    result = SetSubtractFlags64(vp, left, *(ulong*)p);
                    *Reg(vp, i) = result;
                    break;
                case Handler.SubMR64:
                    if (!Store(vp, Address(vp, i), 8, out p)) goto General;
                    left = *(ulong*)p;
                    result = SetSubtractFlags64(vp, left, *Reg(vp, i));
                    *(ulong*)p = result;
                    break;
                case Handler.SubMI64:
                    if (!Store(vp, Address(vp, i), 8, out p)) goto General;
                    left = *(ulong*)p;
                    result = SetSubtractFlags64(vp, left, i->Immediate);
                    *(ulong*)p = result;
                    break;
                case Handler.SubRR32:
                    left = (ulong)(int)*Rm(vp, i);
                    result = SetSubtractFlags32(vp, left, (ulong)(int)*Reg(vp, i));
                    *Rm(vp, i) = (uint)result;
                    break;
                case Handler.SubRI32:
                    left = (ulong)(int)*Rm(vp, i);
                    result = SetSubtractFlags32(vp, left, (ulong)(int)i->Immediate);
                    *Rm(vp, i) = (uint)result;
                    break;
                case Handler.SubRM32:
                    if (!Load(vp, Address(vp, i), 4, out p)) goto General;
                    left = (ulong)(int)*Reg(vp, i);
                    result = SetSubtractFlags32(vp, left, (ulong)(int)*(uint*)p);
                    *Reg(vp, i) = (uint)result;
                    break;
                case Handler.SubMR32:
                    if (!Store(vp, Address(vp, i), 4, out p)) goto General;
                    left = (ulong)(int)*(uint*)p;
                    result = SetSubtractFlags32(vp, left, (ulong)(int)*Reg(vp, i));
                    *(uint*)p = (uint)result;
                    break;
                case Handler.SubMI32:
                    if (!Store(vp, Address(vp, i), 4, out p)) goto General;
                    left = (ulong)(int)*(uint*)p;
                    result = SetSubtractFlags32(vp, left, (ulong)(int)i->Immediate);
                    *(uint*)p = (uint)result;
                    break;
                case Handler.XorRR64:
                    result = *Rm(vp, i) ^ *Reg(vp, i);
                    SetLogicFlags(vp, result);
                    *Rm(vp, i) = result;
                    break;
                case Handler.XorRI64:
                    result = *Rm(vp, i) ^ i->Immediate;
                    SetLogicFlags(vp, result);
                    *Rm(vp, i) = result;
                    break;
                case Handler.XorRM64:
                    if (!Load(vp, Address(vp, i), 8, out p)) goto General;
                    result = *Reg(vp, i) ^ *(ulong*)p;
                    SetLogicFlags(vp, result);
                    *Reg(vp, i) = result;
                    break;
                case Handler.XorMR64:
                    if (!Store(vp, Address(vp, i), 8, out p)) goto General;
                    result = *(ulong*)p ^ *Reg(vp, i);
                    SetLogicFlags(vp, result);
                    *(ulong*)p = result;
                    break;
                case Handler.XorMI64:
                    if (!Store(vp, Address(vp, i), 8, out p)) goto General;
                    result = *(ulong*)p ^ i->Immediate;
                    SetLogicFlags(vp, result);
                    *(ulong*)p = result;
                    break;
                case Handler.XorRR32:
                    result = (ulong)(int)*Rm(vp, i) ^ (ulong)(int)*Reg(vp, i);
                    SetLogicFlags(vp, result);
                    *Rm(vp, i) = (uint)result;
                    break;
                case Handler.XorRI32:
                    result = (ulong)(int)*Rm(vp, i) ^ (ulong)(int)i->Immediate;
                    SetLogicFlags(vp, result);
                    *Rm(vp, i) = (uint)result;
                    break;
                case Handler.XorRM32:
                    if (!Load(vp, Address(vp, i), 4, out p)) goto General;
                    result = (ulong)(int)*Reg(vp, i) ^ (ulong)(int)*(uint*)p;
                    SetLogicFlags(vp, result);
                    *Reg(vp, i) = (uint)result;
                    break;
                case Handler.XorMR32:
                    if (!Store(vp, Address(vp, i), 4, out p)) goto General;
                    result = (ulong)(int)*(uint*)p ^ (ulong)(int)*Reg(vp, i);
                    SetLogicFlags(vp, result);
                    *(uint*)p = (uint)result;
                    break;
                case Handler.XorMI32:
                    if (!Store(vp, Address(vp, i), 4, out p)) goto General;
                    result = (ulong)(int)*(uint*)p ^ (ulong)(int)i->Immediate;
                    SetLogicFlags(vp, result);
                    *(uint*)p = (uint)result;
                    break;
                case Handler.CmpRR64:
                    left = *Rm(vp, i);
                    SetSubtractFlags64(vp, left, *Reg(vp, i));
                    break;
                case Handler.CmpRI64:
                    left = *Rm(vp, i);
                    SetSubtractFlags64(vp, left, i->Immediate);
                    break;
                case Handler.CmpRM64:
                    if (!Load(vp, Address(vp, i), 8, out p)) goto General;
                    left = *Reg(vp, i);
                    SetSubtractFlags64(vp, left, *(ulong*)p);
                    break;
                case Handler.CmpMR64:
                    if (!Load(vp, Address(vp, i), 8, out p)) goto General;
                    left = *(ulong*)p;
                    SetSubtractFlags64(vp, left, *Reg(vp, i));
                    break;
                case Handler.CmpMI64:
                    if (!Load(vp, Address(vp, i), 8, out p)) goto General;
                    left = *(ulong*)p;
                    SetSubtractFlags64(vp, left, i->Immediate);
                    break;
                case Handler.CmpRR32:
                    left = (ulong)(int)*Rm(vp, i);
                    SetSubtractFlags32(vp, left, (ulong)(int)*Reg(vp, i));
                    break;
                case Handler.CmpRI32:
                    left = (ulong)(int)*Rm(vp, i);
                    SetSubtractFlags32(vp, left, (ulong)(int)i->Immediate);
                    break;
                case Handler.CmpRM32:
                    if (!Load(vp, Address(vp, i), 4, out p)) goto General;
                    left = (ulong)(int)*Reg(vp, i);
                    SetSubtractFlags32(vp, left, (ulong)(int)*(uint*)p);
                    break;
                case Handler.CmpMR32:
                    if (!Load(vp, Address(vp, i), 4, out p)) goto General;
                    left = (ulong)(int)*(uint*)p;
                    SetSubtractFlags32(vp, left, (ulong)(int)*Reg(vp, i));
                    break;
                case Handler.CmpMI32:
                    if (!Load(vp, Address(vp, i), 4, out p)) goto General;
                    left = (ulong)(int)*(uint*)p;
                    SetSubtractFlags32(vp, left, (ulong)(int)i->Immediate);
                    break;
                case Handler.TestRR64:
                    result = *Rm(vp, i) & *Reg(vp, i);
                    SetLogicFlags(vp, result);
                    break;
                case Handler.TestRI64:
                    result = *Rm(vp, i) & i->Immediate;
                    SetLogicFlags(vp, result);
                    break;
                case Handler.TestMR64:
                    if (!Load(vp, Address(vp, i), 8, out p)) goto General;
                    result = *(ulong*)p & *Reg(vp, i);
                    SetLogicFlags(vp, result);
                    break;
                case Handler.TestMI64:
                    if (!Load(vp, Address(vp, i), 8, out p)) goto General;
                    result = *(ulong*)p & i->Immediate;
                    SetLogicFlags(vp, result);
                    break;
                case Handler.TestRR32:
                    result = (ulong)(int)*Rm(vp, i) & (ulong)(int)*Reg(vp, i);
                    SetLogicFlags(vp, result);
                    break;
                case Handler.TestRI32:
                    result = (ulong)(int)*Rm(vp, i) & (ulong)(int)i->Immediate;
                    SetLogicFlags(vp, result);
                    break;
                case Handler.TestMR32:
                    if (!Load(vp, Address(vp, i), 4, out p)) goto General;
                    result = (ulong)(int)*(uint*)p & (ulong)(int)*Reg(vp, i);
                    SetLogicFlags(vp, result);
                    break;
                case Handler.TestMI32:
                    if (!Load(vp, Address(vp, i), 4, out p)) goto General;
                    result = (ulong)(int)*(uint*)p & (ulong)(int)i->Immediate;
                    SetLogicFlags(vp, result);
                    break;
                case Handler.CmpRR8:
                    SetSubtractFlags8(vp, (ulong)(sbyte)*Rm8(vp, i), (ulong)(sbyte)*Reg8(vp, i));
                    break;
                case Handler.CmpRI8:
                    SetSubtractFlags8(vp, (ulong)(sbyte)*Rm8(vp, i), i->Immediate);
                    break;
                case Handler.CmpMI8:
                    if (!Load(vp, Address(vp, i), 1, out p)) goto General;
                    SetSubtractFlags8(vp, (ulong)*(sbyte*)p, i->Immediate);
                    break;
                case Handler.CmpMR8:
                    if (!Load(vp, Address(vp, i), 1, out p)) goto General;
                    SetSubtractFlags8(vp, (ulong)*(sbyte*)p, (ulong)(sbyte)*Reg8(vp, i));
                    break;
                case Handler.CmpRM8:
                    if (!Load(vp, Address(vp, i), 1, out p)) goto General;
                    SetSubtractFlags8(vp, (ulong)(sbyte)*Reg8(vp, i), (ulong)*(sbyte*)p);
                    break;
                case Handler.TestRR8:
                    SetLogicFlags(vp, (ulong)((sbyte)*Rm8(vp, i) & (sbyte)*Reg8(vp, i)));
                    break;
                case Handler.TestRI8:
                    SetLogicFlags(vp, (ulong)(sbyte)*Rm8(vp, i) & i->Immediate);
                    break;
                case Handler.TestMI8:
                    if (!Load(vp, Address(vp, i), 1, out p)) goto General;
                    SetLogicFlags(vp, (ulong)*(sbyte*)p & i->Immediate);
                    break;
                case Handler.ZeroR:
                    *Rm(vp, i) = 0;
                    SetLogicFlags(vp, 0);
                    break;
                case Handler.IncR64:
                    result = *Rm(vp, i) + 1;
                    SetIncrementFlags64(vp, result);
                    *Rm(vp, i) = result;
                    break;
                case Handler.DecR64:
                    result = *Rm(vp, i) - 1;
                    SetDecrementFlags64(vp, result);
                    *Rm(vp, i) = result;
                    break;
                case Handler.ShlRI64:
                    *Rm(vp, i) = ShiftLeft(vp, *Rm(vp, i), (int)i->Immediate, 64);
                    break;
                case Handler.ShrRI64:
                    *Rm(vp, i) = ShiftRight(vp, *Rm(vp, i), (int)i->Immediate, 64);
                    break;
                case Handler.SarRI64:
                    *Rm(vp, i) = ShiftRightSigned(vp, *Rm(vp, i), (int)i->Immediate);
                    break;
                case Handler.ImulRR64:
                    *Reg(vp, i) = MultiplyFlags(vp, *Reg(vp, i), *Rm(vp, i));
                    break;
                case Handler.ImulRI64:
                    *Reg(vp, i) = MultiplyFlags(vp, *Rm(vp, i), i->Immediate);
                    break;
                case Handler.NotR64:
                    *Rm(vp, i) = ~*Rm(vp, i);
                    break;
                case Handler.NegR64:
                    left = *Rm(vp, i);
                    result = SetSubtractFlags64(vp, 0, left);
                    *Rm(vp, i) = result;
                    break;
                case Handler.IncR32:
                    result = (ulong)(int)(*Rm(vp, i) + 1);
                    SetIncrementFlags32(vp, result);
                    *Rm(vp, i) = (uint)result;
                    break;
                case Handler.DecR32:
                    result = (ulong)(int)(*Rm(vp, i) - 1);
                    SetDecrementFlags32(vp, result);
                    *Rm(vp, i) = (uint)result;
                    break;
                case Handler.ShlRI32:
                    *Rm(vp, i) = ShiftLeft(vp, (uint)*Rm(vp, i), (int)i->Immediate, 32);
                    break;
                case Handler.ShrRI32:
                    *Rm(vp, i) = ShiftRight(vp, (uint)*Rm(vp, i), (int)i->Immediate, 32);
                    break;
                case Handler.SarRI32:
                    *Rm(vp, i) = (uint)ShiftRightSigned(vp, (ulong)(int)*Rm(vp, i), (int)i->Immediate);
                    break;
                case Handler.ImulRR32:
                    *Reg(vp, i) = MultiplyFlags32(vp, (ulong)(int)*Reg(vp, i), (ulong)(int)*Rm(vp, i));
                    break;
                case Handler.NotR32:
                    *Rm(vp, i) = ~(uint)*Rm(vp, i);
                    break;
                case Handler.NegR32:
                    left = (ulong)(int)*Rm(vp, i);
                    result = SetSubtractFlags32(vp, 0, left);
                    *Rm(vp, i) = (uint)result;
                    break;
                case Handler.SetccR:
                    *Rm8(vp, i) = Condition.Test(vp, i->Opcode) ? (byte)1 : (byte)0;
                    break;
                case Handler.CmovccRR64:
                    if (Condition.Test(vp, i->Opcode))
                    {
                        *Reg(vp, i) = *Rm(vp, i);
                    }
                    break;
                case Handler.CmovccRR32:
                    *Reg(vp, i) = (uint)*(Condition.Test(vp, i->Opcode) ? Rm(vp, i) : Reg(vp, i));
                    break;
                case Handler.AdcRR64:
                    *Rm(vp, i) = AddCarry64(vp, *Rm(vp, i), *Reg(vp, i));
                    break;
                case Handler.AdcRI64:
                    *Rm(vp, i) = AddCarry64(vp, *Rm(vp, i), i->Immediate);
                    break;
                case Handler.AdcRM64:
                    if (!Load(vp, Address(vp, i), 8, out p)) goto General;
                    *Reg(vp, i) = AddCarry64(vp, *Reg(vp, i), *(ulong*)p);
                    break;
                case Handler.SbbRR64:
                    *Rm(vp, i) = SubtractBorrow64(vp, *Rm(vp, i), *Reg(vp, i));
                    break;
                case Handler.SbbRR32:
                    *Rm(vp, i) = SubtractBorrow32(vp, (ulong)(int)*Rm(vp, i), (ulong)(int)*Reg(vp, i));
                    break;
                case Handler.RolRI64:
                    *Rm(vp, i) = RotateLeft64(vp, *Rm(vp, i), (int)i->Immediate);
                    break;
                case Handler.RorRI64:
                    *Rm(vp, i) = RotateRight64(vp, *Rm(vp, i), (int)i->Immediate);
                    break;
                case Handler.ShlRC64:
                    *Rm(vp, i) = ShiftLeft(vp, *Rm(vp, i), (int)vp->Gpr[1] & 63, 64);
                    break;
                case Handler.ShrRC64:
                    *Rm(vp, i) = ShiftRight(vp, *Rm(vp, i), (int)vp->Gpr[1] & 63, 64);
                    break;
                case Handler.BswapR64:
                    *Rm(vp, i) = BinaryPrimitives.ReverseEndianness(*Rm(vp, i));
                    break;
                case Handler.IncM64:
                    if (!Store(vp, Address(vp, i), 8, out p)) goto General;
                    Increment64(vp, p);
                    break;
                case Handler.DecM64:
                    if (!Store(vp, Address(vp, i), 8, out p)) goto General;
                    Decrement64(vp, p);
                    break;
                case Handler.BtRI64:
                    SetBitTestFlag(vp, *Rm(vp, i), 1UL << (int)i->Immediate);
                    break;
                case Handler.RolRI32:
                    *Rm(vp, i) = RotateLeft32(vp, (uint)*Rm(vp, i), (int)i->Immediate);
                    break;
                case Handler.RorRI32:
                    *Rm(vp, i) = RotateRight32(vp, (uint)*Rm(vp, i), (int)i->Immediate);
                    break;
                case Handler.ShlRC32:
                    *Rm(vp, i) = ShiftLeft(vp, (uint)*Rm(vp, i), (int)vp->Gpr[1] & 31, 32);
                    break;
                case Handler.ShrRC32:
                    *Rm(vp, i) = ShiftRight(vp, (uint)*Rm(vp, i), (int)vp->Gpr[1] & 31, 32);
                    break;
                case Handler.BswapR32:
                    *Rm(vp, i) = BinaryPrimitives.ReverseEndianness((uint)*Rm(vp, i));
                    break;
                case Handler.IncM32:
                    if (!Store(vp, Address(vp, i), 4, out p)) goto General;
                    Increment32(vp, p);
                    break;
                case Handler.DecM32:
                    if (!Store(vp, Address(vp, i), 4, out p)) goto General;
                    Decrement32(vp, p);
                    break;
                case Handler.BtRI32:
                    SetBitTestFlag(vp, *Rm(vp, i), 1UL << (int)i->Immediate);
                    break;
                case Handler.OrRR8:
                    result = (ulong)((sbyte)*Rm8(vp, i) | (sbyte)*Reg8(vp, i));
                    SetLogicFlags(vp, result);
                    *Rm8(vp, i) = (byte)result;
                    break;
                case Handler.AndRI8:
                    result = (ulong)(sbyte)*Rm8(vp, i) & i->Immediate;
                    SetLogicFlags(vp, result);
                    *Rm8(vp, i) = (byte)result;
                    break;
                case Handler.XorRM8:
                    if (!Load(vp, Address(vp, i), 1, out p)) goto General;
                    result = (ulong)(*(sbyte*)p ^ (sbyte)*Reg8(vp, i));
                    SetLogicFlags(vp, result);
                    *Reg8(vp, i) = (byte)result;
                    break;
                case Handler.CmpMI16:
                    if (!Load(vp, Address(vp, i), 2, out p)) goto General;
                    SetSubtractFlags16(vp, (ulong)*(short*)p, i->Immediate);
                    break;
                case Handler.CmpRR16:
                    SetSubtractFlags16(vp, (ulong)(short)*Rm(vp, i), (ulong)(short)*Reg(vp, i));
                    break;
                case Handler.CmpRI16:
                    SetSubtractFlags16(vp, (ulong)(short)*Rm(vp, i), i->Immediate);
                    break;
                case Handler.Cdqe:
                    vp->Gpr[0] = (ulong)(int)vp->Gpr[0];
                    break;
                case Handler.MovsxRM8To64:
                    if (!Load(vp, Address(vp, i), 1, out p)) goto General;
                    *Reg(vp, i) = (ulong)*(sbyte*)p;
                    break;
                case Handler.MovsxRM16:
                    if (!Load(vp, Address(vp, i), 2, out p)) goto General;
                    *Reg(vp, i) = i->OperandSize == 8 ? (ulong)*(short*)p : (uint)*(short*)p;
                    break;
                case Handler.MovRM16:
                    if (!Load(vp, Address(vp, i), 2, out p)) goto General;
                    *(ushort*)Reg(vp, i) = *(ushort*)p;
                    break;
                case Handler.MulR64:
                    vp->Gpr[2] = Math.BigMul(vp->Gpr[0], *Rm(vp, i), out linear);
                    vp->Gpr[0] = linear;
                    SetMultiplyFlags(vp, linear, vp->Gpr[2] != 0);
                    break;
                case Handler.CallMemory:
                    if (!Load(vp, Address(vp, i), 8, out p)) goto General;
                    result = *(ulong*)p;
                    linear = vp->Gpr[4] - 8;
                    if (!Store(vp, linear, 8, out p)) goto General;
                    *(ulong*)p = vp->Rip + i->Offset + i->Length;
                    vp->Gpr[4] = linear;
                    vp->Rip = result;
                    goto Indirect;
                case Handler.JmpMemory:
                    if (!Load(vp, Address(vp, i), 8, out p)) goto General;
                    vp->Rip = *(ulong*)p;
                    goto Indirect;
                case Handler.TestRR64ThenJe:
                    result = TestFlags(vp, *Rm(vp, i) & *Reg(vp, i));
                    goto IfZero;
                case Handler.CmpRR64ThenJe:
                    result = SetSubtractFlags64(vp, *Rm(vp, i), *Reg(vp, i));
                    goto IfZero;
                case Handler.CmpRI64ThenJe:
                    result = SetSubtractFlags64(vp, *Rm(vp, i), i->Immediate);
                    goto IfZero;
                case Handler.CmpMI64ThenJe:
                    if (!Load(vp, Address(vp, i), 8, out p)) goto General;
                    result = SetSubtractFlags64(vp, *(ulong*)p, i->Immediate);
                    goto IfZero;
                case Handler.CmpRM64ThenJe:
                    if (!Load(vp, Address(vp, i), 8, out p)) goto General;
                    result = SetSubtractFlags64(vp, *Reg(vp, i), *(ulong*)p);
                    goto IfZero;
                case Handler.TestRR32ThenJe:
                    result = TestFlags(vp, (ulong)(int)*Rm(vp, i) & (ulong)(int)*Reg(vp, i));
                    goto IfZero;
                case Handler.CmpRR32ThenJe:
                    result = SetSubtractFlags32(vp, (ulong)(int)*Rm(vp, i), (ulong)(int)*Reg(vp, i));
                    goto IfZero;
                case Handler.CmpRI32ThenJe:
                    result = SetSubtractFlags32(vp, (ulong)(int)*Rm(vp, i), i->Immediate);
                    goto IfZero;
                case Handler.CmpMI32ThenJe:
                    if (!Load(vp, Address(vp, i), 4, out p)) goto General;
                    result = SetSubtractFlags32(vp, (ulong)(int)*(uint*)p, i->Immediate);
                    goto IfZero;
                case Handler.CmpRM32ThenJe:
                    if (!Load(vp, Address(vp, i), 4, out p)) goto General;
                    result = SetSubtractFlags32(vp, (ulong)(int)*Reg(vp, i), (ulong)(int)*(uint*)p);
                    goto IfZero;
                case Handler.TestRI32ThenJe:
                    result = TestFlags(vp, (ulong)(int)*Rm(vp, i) & i->Immediate);
                    goto IfZero;
                case Handler.TestRR8ThenJe:
                    result = TestFlags(vp, (ulong)((sbyte)*Rm8(vp, i) & (sbyte)*Reg8(vp, i)));
                    goto IfZero;
                case Handler.TestRI8ThenJe:
                    result = TestFlags(vp, (ulong)(sbyte)*Rm8(vp, i) & i->Immediate);
                    goto IfZero;
                case Handler.TestMI8ThenJe:
                    if (!Load(vp, Address(vp, i), 1, out p)) goto General;
                    result = TestFlags(vp, (ulong)*(sbyte*)p & i->Immediate);
                    goto IfZero;
                case Handler.CmpMI8ThenJe:
                    if (!Load(vp, Address(vp, i), 1, out p)) goto General;
                    result = SetSubtractFlags8(vp, (ulong)*(sbyte*)p, i->Immediate);
                    goto IfZero;
                default:
                    goto General;
            }

            i++;
            continue;

            // A comparison and the JE or JNE behind it in one step.
        IfZero:
            i++;
            if ((result == 0) != ((i->Opcode & 1) != 0)) goto Taken;
            goto NotTaken;
        General:
            switch (ExecuteGeneral(vp, block, i))
            {
                case NextStep.Continue:
                    i++;
                    continue;
                case NextStep.Return:
                    return;
                default:
                    goto LookUp;
            }

        Taken:
            vp->Rip += i->Immediate;
            vp->InstructionCount += (uint)block->Count;
            if (vp->Requests != 0)
            {
                return;
            }

            next = (CodeBlock*)i->Link;
            if (next == null)
            {
                next = i->Immediate2 == 0 ? Find(vp) : LinkTaken(vp, block, i);
            }

            goto Enter;
        NotTaken:
            vp->Rip += (uint)(i->Offset + i->Length);
        FallThrough:
            vp->InstructionCount += (uint)block->Count;
            if (vp->Requests != 0)
            {
                return;
            }

            next = *CodeBlock.FallThrough(block);
            if (next == null)
            {
                next = LinkFallThrough(vp, block);
            }

            goto Enter;
        Indirect:
            vp->InstructionCount += (uint)block->Count;
            if (vp->Requests != 0)
            {
                return;
            }

        LookUp:
            next = Find(vp);
        Enter:
            if (next == null)
            {
                return;
            }

            block = next;
            i = CodeBlock.Instructions(block);
        }
    }
}
