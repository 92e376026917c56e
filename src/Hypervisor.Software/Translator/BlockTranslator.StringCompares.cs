using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Emitter;

namespace Vitro.Hypervisor.Software.Translator;

/// <content>
/// REPE and REPNE with CMPS and SCAS, as many elements at a time as lie in a page, by the host's own; and string instructions without a prefix. Those
/// that go downward are the interpreter's.
/// </content>
internal unsafe ref partial struct BlockTranslator
{
    private void EmitStringCompare(DecodedInstruction* i)
    {
        var size = i->OperandSize;
        var comparesMemory = i->Operation == Operation.Cmps;
        var shift = ShiftOf(size);
        var target = (HostRegister)HomeOf(7);
        var count = (HostRegister)HomeOf(1);
        var differenceOfSource = StateLayout.Gpr(6);
        var differenceOfTarget = StateLayout.Gpr(7);
        var rest = StateLayout.Gpr(1);

        // Without elements the flags stay; with some they are the last comparison's.
        var keepsFlags = _live[_index] != 0;
        if (keepsFlags)
        {
            ParkFlagsInState();
        }

        EmitLeaveIfDownward();
        var again = _c.Executable;
        if (comparesMemory)
        {
            EmitStringPlace(HostRegister.Rsi, size, shift);
            _c.Store64(HostRegister.Rsp, StateLayout.Parked, HostRegister.Rcx);
            _c.Store64(HostRegister.Rsp, rest, HostRegister.Rdi);
            _c.Store64(HostRegister.Rsp, differenceOfSource, HostRegister.Rsi);
            _c.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x29, true, T1, HostRegister.Rsp, differenceOfSource); // sub
        }

        EmitStringPlace(target, size, shift);
        _c.Store64(HostRegister.Rsp, differenceOfTarget, target);
        _c.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x29, true, T1, HostRegister.Rsp, differenceOfTarget); // sub
        if (comparesMemory)
        {
            _c.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x3B, true, T0, HostRegister.Rsp, rest); // cmp
            _c.RegisterMemory(OpcodePrefix.None, OpcodeMap.Escape0F, 0x47, true, T0, HostRegister.Rsp, rest); // cmova
        }

        // RDI: the number of elements at once; RCX: where the target lies in the host.
        EmitCompare(_isCode64, T0, (int)count);
        _c.Opcode(OpcodePrefix.None, OpcodeMap.Escape0F, 0x47, _isCode64, T0, 0, (int)count); // cmova
        _c.ModRmRegister(T0, (int)count);
        _c.Store64(HostRegister.Rsp, rest, count);
        _c.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x29, true, T0, HostRegister.Rsp, rest); // sub
        _c.Bytes(0x48, 0x87, 0xF9); // xchg rcx, rdi
        if (comparesMemory)
        {
            _c.Load64(HostRegister.Rsi, HostRegister.Rsp, StateLayout.Parked);
        }

        if (keepsFlags)
        {
            _flags = FlagsInState;
            RestoreFlags(scratchFree: false);
        }

        var isWhileEqual = (i->Prefixes & Prefixes.Rep) != 0;
        _c.Byte(isWhileEqual ? 0xF3 : 0xF2);
        EmitStringOpcode(i->Opcode, size);

        // All that follows leaves the flags alone until it is known that they are not the last.
        _c.Move64(count, HostRegister.Rcx);
        EmitSum(target, HostRegister.Rdi, differenceOfTarget);
        if (comparesMemory)
        {
            EmitSum(HostRegister.Rsi, HostRegister.Rsi, differenceOfSource);
        }

        EmitSum(count, count, rest);
        _c.Bytes(isWhileEqual ? (byte)0x75 : (byte)0x74, 0x00); // jne, je: found
        var found = _c.Cursor;
        EmitMoveWord(T1, (int)count);
        _c.Bytes(0xE3, 0x00); // jrcxz: all compared
        var ended = _c.Cursor;
        _c.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x83, false, 7, HostRegister.Rsp, StateLayout.Requests); // cmp 0
        _c.Byte(0);
        EmitColdBranch(0x85);
        EmitJump(again);
        *(found - 1) = (byte)(_c.Cursor - found);
        *(ended - 1) = (byte)(_c.Cursor - ended);
    }

    // One element.
    private void EmitSingleString(DecodedInstruction* i)
    {
        var size = i->OperandSize;
        var target = (HostRegister)HomeOf(7);
        ParkLiveFlags();
        EmitLeaveIfDownward();
        if (i->Operation is Operation.Movs or Operation.Cmps or Operation.Lods)
        {
            EmitMoveWord(T0, (int)HostRegister.Rsi);
            EmitCheck(isStore: false, size);
            EmitStringAccess(0x8A, size, i->Operation == Operation.Lods ? (int)HostRegister.Rax : T0);
        }

        switch (i->Operation)
        {
            case Operation.Lods:
                EmitAddWord((int)HostRegister.Rsi, (int)HostRegister.Rsi, size);
                return;
            case Operation.Movs:
                _c.Store64(HostRegister.Rsp, StateLayout.Parked, HostRegister.Rdi);
                EmitMoveWord(T0, (int)target);
                EmitCheck(isStore: true, size);
                EmitHostAddress();
                _c.Load64(HostRegister.Rdi, HostRegister.Rsp, StateLayout.Parked);
                EmitSized(0x88, size, T0, T1, 0);
                EmitAddWord((int)HostRegister.Rsi, (int)HostRegister.Rsi, size);
                break;
            case Operation.Stos:
                EmitMoveWord(T0, (int)target);
                EmitCheck(isStore: true, size);
                EmitStringAccess(0x88, size, (int)HostRegister.Rax);
                break;
            case Operation.Cmps:
                _c.Store64(HostRegister.Rsp, StateLayout.Parked, HostRegister.Rdi);
                EmitMoveWord(T0, (int)target);
                EmitCheck(isStore: false, size);
                EmitStringAccess(0x8A, size, T0);
                EmitSized(0x38, size, T0, Sp, StateLayout.Parked); // cmp
                _flags = FlagsInRegister;
                EmitAddWord((int)HostRegister.Rsi, (int)HostRegister.Rsi, size);
                break;
            default:
                EmitMoveWord(T0, (int)target);
                EmitCheck(isStore: false, size);
                EmitStringAccess(0x3A, size, (int)HostRegister.Rax); // cmp
                _flags = FlagsInRegister;
                break;
        }

        EmitAddWord((int)target, (int)target, size);
    }

    private static int ShiftOf(int size) => size switch { 1 => 0, 2 => 1, 4 => 2, _ => 3 };

    private void EmitLeaveIfDownward()
    {
        _c.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0xF7, false, 0, HostRegister.Rsp, StateLayout.SystemFlags); // test
        _c.Int32((int)RFlags.Df);
        EmitColdBranch(0x85);
    }

    // RCX is where the operand lies in the host, RDI how many elements there are up to the page's end, one at least.
    private void EmitStringPlace(HostRegister address, int size, int shift)
    {
        EmitMoveWord(T0, (int)address);
        EmitCheck(isStore: false, size);
        _c.Bytes(0x48, 0x01, 0xF9); // add rcx, rdi
        _c.Bytes(0xF7, 0xDF); // neg edi
        _c.Arithmetic32(0, HostRegister.Rdi, 4096);
        _c.Bytes(0xC1, 0xEF, shift); // shr edi, shift
    }

    // destination = source + the word at a place of the state
    private void EmitSum(HostRegister destination, HostRegister source, int place)
    {
        _c.Load64(HostRegister.Rcx, HostRegister.Rsp, place);
        _c.Opcode(OpcodePrefix.None, OpcodeMap.Primary, 0x8D, _isCode64, (int)destination, T1, (int)source);
        _c.ModRmIndexed((int)destination, (int)source, T1, 0, 0);
    }

    private void EmitStringOpcode(int opcode, int size)
    {
        if (size == 2)
        {
            _c.Byte(0x66);
        }

        _c.Opcode(OpcodePrefix.None, OpcodeMap.Primary, opcode, size == 8, 0, 0, 0);
    }

    // An instruction of a register and [rdi + rcx]; DIL needs a REX prefix.
    private void EmitStringAccess(int opcode, int size, int register)
    {
        if (size == 2)
        {
            _c.Byte(0x66);
        }

        _c.Opcode(OpcodePrefix.None, OpcodeMap.Primary, size == 1 ? opcode : opcode + 1, size == 8, register, T1, T0, forceRex: size == 1 && register == T0);
        _c.ModRmIndexed(register, T0, T1, 0, 0);
    }

    private void EmitSized(int opcode, int size, int register, byte baseRegister, int displacement)
    {
        if (size == 2)
        {
            _c.Byte(0x66);
        }

        _c.Opcode(OpcodePrefix.None, OpcodeMap.Primary, size == 1 ? opcode : opcode + 1, size == 8, register, 0, baseRegister, forceRex: size == 1 && register == T0);
        _c.ModRmMemory(register, baseRegister, displacement);
    }
}
