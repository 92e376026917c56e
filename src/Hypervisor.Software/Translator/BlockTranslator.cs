using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Emitter;
using Vitro.Hypervisor.Software.Interpreter;

namespace Vitro.Hypervisor.Software.Translator;

/// <summary>
/// Translates one block of 64-bit code, or of 32-bit code in flat segments: each instruction becomes the same instruction on the
/// host registers that hold the guest's, with memory operands found through the TLB.
/// </summary>
/// <remarks>
/// At each instruction's start every guest register is in its home and the flags are in EFLAGS, or, within a block, parked
/// in the state (<see cref="_flagsParked"/>). RDI and RCX are free.
/// </remarks>
internal unsafe ref partial struct BlockTranslator
{
    private const int MaximumInstructions = 66;
    private const int MaximumColds = 4 * MaximumInstructions;
    private const int WindowSize = 64;
    private const byte T0 = (byte)HostRegister.Rdi;
    private const byte T1 = (byte)HostRegister.Rcx;
    private const byte Sp = (byte)HostRegister.Rsp;

    private readonly BlockTranslations _owner;
    private readonly VpState* _state;
    private readonly DecodedInstruction* _instructions;
    private readonly uint* _live;
    private readonly byte** _starts;
    private readonly HostRegisters* _startIn;
    private readonly Cold* _colds;
    private readonly byte* _window;
    private CodeEmitter _c;
    private CodeEmitter _cold;
    private TranslatedBlock* _block;
    private ulong _linear;
    private bool _isCode64;
    private int _count;
    private int _coldCount;
    private int _index;
    private bool _flagsParked;
    private HostRegisters _in;
    private int _lastVector;
    private int _lastX87;

    /// <summary>Prepares to write a block: what it executes at one place, its header and what it rarely executes at another.</summary>
    public BlockTranslator(BlockTranslations owner, CodeEmitter code, CodeEmitter cold, DecodedInstruction* scratch, VpState* state)
    {
        _cold = cold;
        _owner = owner;
        _state = state;
        _c = code;
        _instructions = scratch;
        _live = (uint*)(scratch + MaximumInstructions);
        _starts = (byte**)(_live + (2 * MaximumInstructions));
        _startIn = (HostRegisters*)(_starts + (2 * MaximumInstructions));
        _colds = (Cold*)(_startIn + (4 * MaximumInstructions));
        _window = (byte*)(_colds + MaximumColds);
    }

    /// <summary>End of what was written, in the writable view.</summary>
    public byte* End { get; private set; }

    /// <summary>End of what was written at the other place.</summary>
    public readonly byte* ColdEnd => _c.Cursor;

    /// <summary>Memory for the work on one block.</summary>
    public static DecodedInstruction* AllocateScratch() => (DecodedInstruction*)NativeMemory.AlignedAlloc(
        (nuint)((MaximumInstructions * sizeof(DecodedInstruction)) + (MaximumInstructions * 40) + (MaximumColds * sizeof(Cold)) + WindowSize), 64);

    /// <summary>Frees it.</summary>
    public static void FreeScratch(DecodedInstruction* scratch) => NativeMemory.AlignedFree(scratch);

    /// <summary>Translates; null when the block begins with something the translator leaves to the interpreter and nothing follows.</summary>
    public TranslatedBlock* Translate(CodeBlock* block, ulong linear, uint privilege, long toExecutable)
    {
        _linear = linear;
        _isCode64 = (block->Mode & (uint)VpMode.Code64) != 0;
        _count = block->Count;
        if (!Decode(block))
        {
            return null;
        }

        _cold.Align(8);
        _block = (TranslatedBlock*)_cold.Cursor;
        for (var n = 0; n < sizeof(TranslatedBlock); n++)
        {
            _cold.Byte(0);
        }

        _block->Block = block;
        _block->Linear = linear;
        _block->Privilege = privilege;
        _block->ToExecutable = toExecutable;
        ComputeLiveness();
        EmitEntry();
        var last = _instructions + _count - 1;
        var ends = false;
        for (_index = 0; _index < _count; _index++)
        {
            _starts[_index] = _c.Cursor;
            _startIn[_index] = _in;
            ends = TryEmitGroup(out var groupEnds) ? groupEnds : Emit(_instructions + _index);
        }

        _starts[_count] = _c.Cursor;
        if (!ends)
        {
            _index = _count - 1;
            RestoreFlags(scratchFree: true);
            EmitFallThrough((ulong)(last->Offset + last->Length));
        }

        End = _c.Cursor;
        _c = _cold;
        EmitColds();
        return _block;
    }

    // The interpreter's decoding has been adapted to its handlers; the translator needs the plain one, of the same bytes.
    private readonly bool Decode(CodeBlock* block)
    {
        var inPage = (int)(4096 - (_linear & 0xFFF));
        var source = CodeBlock.Instructions(block);
        var code = block->HostPc;
        if (block->SecondHost != null)
        {
            // One instruction across a page border.
            Buffer.MemoryCopy(code, _window, WindowSize, inPage);
            Buffer.MemoryCopy(block->SecondHost, _window + inPage, WindowSize - inPage, Decoder.MaximumLength);
            code = _window;
            inPage = WindowSize;
        }

        for (var n = 0; n < _count; n++)
        {
            var offset = source[n].Offset;
            if (source[n].Operation == Operation.Invalid
                || Decoder.Decode(code + offset, inPage - offset, (VpMode)block->Mode, offset, _instructions + n) != DecodeStatus.Decoded)
            {
                _instructions[n] = source[n];
                _instructions[n].Operation = Operation.Invalid;
                continue;
            }

            FeatureGate.Apply(_instructions + n, _state->Features);
            if (_instructions[n].Length != source[n].Length || _instructions[n].Operation != source[n].Operation)
            {
                // Another processor has just changed it: the block is about to be dropped.
                return false;
            }
        }

        return true;
    }

    private void ComputeLiveness()
    {
        _lastVector = -1;
        _lastX87 = -1;
        var last = _instructions + _count - 1;
        var live = LiveAtEnd(last);
        for (var n = _count - 1; n >= 0; n--)
        {
            var read = ReadFlags(_instructions + n, out var replaced);
            live = (live & ~replaced) | read;
            _live[n] = live;
            if (_lastVector < 0 && VectorForm.IsNative(_instructions + n))
            {
                _lastVector = n;
            }

            if (_lastX87 < 0 && VectorForm.UsesX87(_instructions + n))
            {
                _lastX87 = n;
            }
        }
    }

    // The interpreter wants all flags.
    private readonly uint ReadFlags(DecodedInstruction* i, out uint replaced)
    {
        if (IsTranslatable(i, _block->Privilege, _isCode64))
        {
            return FlagUse.Read(i, out replaced);
        }

        replaced = 0;
        return LazyFlags.All;
    }

    private readonly uint LiveAtEnd(DecodedInstruction* last)
    {
        var next = AddressOf((ulong)(last->Offset + last->Length));
        var target = AddressOf(last->Immediate);
        return last->Operation switch
        {
            Operation.Jcc or Operation.Jrcxz or Operation.Loop => LiveAt(next) | LiveAt(target),
            Operation.Jmp or Operation.Call => LiveAt(target),
            Operation.Ret or Operation.JmpIndirect or Operation.CallIndirect => LazyFlags.All,
            _ => LiveAt(next),
        };
    }

    // Flags that code at an address may read before it replaces them. No compiler leaves a flag for code that is patched at run time.
    private readonly uint LiveAt(ulong linear)
    {
        const int Depth = 8;
        var pending = LazyFlags.All;
        var live = 0u;
        DecodedInstruction instruction;
        for (var n = 0; n < Depth; n++)
        {
            byte* host;
            if (((linear ^ _linear) & ~0xFFFUL) == 0)
            {
                host = _block->Block->HostPc + (long)(linear - _linear);
            }
            else
            {
                var entry = _state->FetchTlb + ((linear >> 12) & (TlbEntry.SetSize - 1));
                if (linear - entry->Tag >= 4096)
                {
                    break;
                }

                host = (byte*)(entry->Host + (linear - entry->Tag));
            }

            if (Decoder.Decode(host, (int)(4096 - (linear & 0xFFF)), (VpMode)_block->Block->Mode, 0, &instruction) != DecodeStatus.Decoded)
            {
                break;
            }

            var read = ReadFlags(&instruction, out var replaced);
            live |= read & pending;
            pending &= ~replaced;
            if (pending == 0)
            {
                break;
            }

            switch (instruction.Operation)
            {
                case Operation.Jmp or Operation.Call:
                    linear = Wrapped(linear + instruction.Immediate);
                    continue;
                case Operation.Jcc or Operation.Jrcxz or Operation.Loop or Operation.Ret or Operation.JmpIndirect or Operation.CallIndirect:
                    return live | pending;
                default:
                    linear = Wrapped(linear + instruction.Length);
                    continue;
            }
        }

        return live | pending;
    }

    // The linear address of what lies so many bytes behind the block's start.
    private readonly ulong AddressOf(ulong offset) => Wrapped(_linear + offset);

    private readonly ulong Wrapped(ulong linear) => _isCode64 ? linear : (uint)linear;

    private void EmitEntry()
    {
        _c.Align(16);
        _block->Entry = _c.Executable;
        _c.Bytes([0x0F, 0x1F, 0x44, 0x00, 0x00]); // nop: replaced by a jump when the block is dropped
        var distance = -(long)_linear;
        if (distance == (int)distance)
        {
            _c.Opcode(OpcodePrefix.None, OpcodeMap.Primary, 0x8D, true, T1, 0, T0);
            _c.Byte(0x80 | (T1 << 3) | T0);
            _c.Int32((int)distance);
        }
        else
        {
            _c.MoveImmediate64(HostRegister.Rcx, distance);
            _c.Bytes([0x48, 0x8D, 0x0C, 0x39]); // lea rcx, [rcx + rdi]
        }

        _c.Bytes([0xE3, 0x05]); // jrcxz over the jump
        EmitJump(_owner.Misses.Of(_block->Privilege));
        _block->Checked = _c.Executable;
        if (_live[0] == 0)
        {
            _c.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x83, false, 7, HostRegister.Rsp, StateLayout.Requests); // cmp 0
            _c.Byte(0);
            _c.Bytes([0x0F, 0x85]); // jne
            AddCold(ColdKind.Request);
            _c.Int32(0);
            _block->Body = _c.Executable;
            _c.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x83, true, 0, HostRegister.Rsp, StateLayout.InstructionCount); // add
            _c.Byte(_count);
            return;
        }

        // The same by instructions that leave the flags alone.
        _c.Load32(HostRegister.Rcx, HostRegister.Rsp, StateLayout.Requests);
        _c.Bytes([0xE3, 0x05]);
        _c.Byte(0xE9);
        AddCold(ColdKind.Request);
        _c.Int32(0);
        _block->Body = _c.Executable;
        _c.Load64(HostRegister.Rcx, HostRegister.Rsp, StateLayout.InstructionCount);
        _c.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x8D, true, T1, HostRegister.Rcx, _count);
        _c.Store64(HostRegister.Rsp, StateLayout.InstructionCount, HostRegister.Rcx);
    }

    // Leaves for the interpreter to execute the present instruction, and comes back after it.
    private void EmitInterpret()
    {
        RestoreFlags(scratchFree: true);
        _in = default;
        _c.Byte(0xE9);
        AddCold(ColdKind.Interpret);
        _c.Int32(0);
    }

    // lea rdi, [record]; jmp leave; record. Resume counts from the start of this sequence.
    private void EmitRecordExit(ExitKind kind, ushort index, byte* start, int resume)
    {
        _c.Bytes([0x48, 0x8D, 0x3D]);
        _c.Int32(5);
        EmitJump(_owner.Leave);
        EmitRecord(kind, index, resume == 0 ? null : start + resume);
    }

    private void EmitRecord(ExitKind kind, ushort index, byte* resume, byte* retry = null)
    {
        var record = (ExitRecord*)_c.Cursor;
        record->Block = _block;
        record->Kind = kind;
        record->Index = index;
        record->Resume = resume == null ? 0 : (int)(resume - (byte*)record);
        record->Retry = retry == null ? 0 : (int)(retry - (byte*)record);
        Skip(sizeof(ExitRecord));
    }

    private void Skip(int bytes) => _c = new CodeEmitter(_c.Cursor + bytes, _c.Remaining - bytes, _c.Executable - _c.Cursor);

    private void EmitJump(byte* executableTarget)
    {
        _c.Byte(0xE9);
        _c.Int32((int)(executableTarget - (_c.Executable + 4)));
    }

    private void AddCold(ColdKind kind)
    {
        var cold = _colds + _coldCount++;
        cold->Place = (int*)_c.Cursor;
        cold->Kind = kind;
        cold->Index = _index;
        cold->FlagsParked = _flagsParked;
        cold->In = _in;
    }

    private void EmitColds()
    {
        for (var n = 0; n < _coldCount; n++)
        {
            var cold = _colds + n;
            var distance = (int)(_c.Cursor - ((byte*)cold->Place + 4));
            *cold->Place = distance;
            switch (cold->Kind)
            {
                case ColdKind.Request:
                    EmitRecordExit(ExitKind.Request, 0, _c.Cursor, 0);
                    break;
                case ColdKind.Interpret:
                    EmitInterpretCold(cold);
                    break;
                case ColdKind.MissedLoad or ColdKind.MissedStore:
                    EmitMissCold(cold);
                    break;
                case ColdKind.LoadGroup or ColdKind.StoreGroup:
                    EmitGroupCold(cold);
                    break;
                case ColdKind.Vectors or ColdKind.X87:
                    EmitVectorsCold(cold);
                    break;
                case ColdKind.Taken:
                    EmitRecordExit(ExitKind.Taken, (ushort)cold->Index, _c.Cursor, 0);
                    _block->Taken = cold->Place;
                    _block->TakenUnlinked = distance;
                    break;
                case ColdKind.FallThrough:
                    EmitRecordExit(ExitKind.FallThrough, (ushort)cold->Index, _c.Cursor, 0);
                    _block->FallThrough = cold->Place;
                    _block->FallThroughUnlinked = distance;
                    break;
                default:
                    EmitFarJump(AddressOf((_instructions + cold->Index)->Immediate));
                    break;
            }
        }

        _flagsParked = false;
    }

    // To another page: through the jump cache.
    private void EmitFarJump(ulong target)
    {
        EmitConstant(T0, target);
        _c.RegisterMemory(
            OpcodePrefix.None, OpcodeMap.Primary, 0xFF, false, 4, HostRegister.Rsp,
            StateLayout.JumpTable(_block->Privilege) + ((int)(target & (JumpCache.Slots - 1)) * 8));
    }

    // RDI is the target.
    private void EmitIndirectJump()
    {
        _c.Bytes([0x0F, 0xB7, 0xCF]); // movzx ecx, di
        _c.Byte(0xFF);
        _c.Byte(0x84 | (4 << 3));
        _c.Byte((3 << 6) | (T1 << 3) | Sp);
        _c.Int32(StateLayout.JumpTable(_block->Privilege));
    }

    // Whether a branch may be linked: to an instruction that lies in the block's page, all of it.
    private readonly bool IsLinkable(ulong offset)
    {
        var target = AddressOf(offset);
        if (((target ^ _linear) & ~0xFFFUL) != 0 || _block->Block->SecondHost != null)
        {
            return false;
        }

        var inPage = 4096 - (int)(target & 0xFFF);
        DecodedInstruction instruction;
        return inPage >= Decoder.MaximumLength
            || Decoder.Decode(_block->Block->HostPc + (long)offset, inPage, (VpMode)_block->Block->Mode, 0, &instruction) != DecodeStatus.NeedMore;
    }

    private void EmitFallThrough(ulong offset)
    {
        if (!IsLinkable(offset))
        {
            EmitFarJump(AddressOf(offset));
            return;
        }

        AlignDisplacement(1);
        _c.Byte(0xE9);
        AddCold(ColdKind.FallThrough);
        _c.Int32(0);
    }

    private void EmitTaken(ulong offset)
    {
        if (!IsLinkable(offset))
        {
            EmitFarJump(AddressOf(offset));
            return;
        }

        AlignDisplacement(1);
        _c.Byte(0xE9);
        AddCold(ColdKind.Taken);
        _c.Int32(0);
    }

    // Displacements that are patched while others run are aligned.
    private void AlignDisplacement(int opcodeLength)
    {
        while ((((nuint)_c.Cursor + (nuint)opcodeLength) & 3) != 0)
        {
            _c.Byte(0x90);
        }
    }

    private void EmitConstant(int register, ulong value)
    {
        if (value == (uint)value)
        {
            _c.Opcode(OpcodePrefix.None, OpcodeMap.Primary, 0xB8 | (register & 7), false, 0, 0, register);
            _c.Int32((int)value);
        }
        else if ((long)value == (int)value)
        {
            _c.Opcode(OpcodePrefix.None, OpcodeMap.Primary, 0xC7, true, 0, 0, register);
            _c.ModRmRegister(0, register);
            _c.Int32((int)value);
        }
        else
        {
            _c.MoveImmediate64((HostRegister)register, (long)value);
        }
    }

    private void ParkFlags()
    {
        if (_flagsParked)
        {
            return;
        }

        _flagsParked = true;
        _c.Move64(HostRegister.Rcx, HostRegister.Rax);
        TranslationStubs.EmitFlagsToAx(ref _c);
        _c.Store32(HostRegister.Rsp, StateLayout.ParkedFlags, HostRegister.Rax);
        _c.Move64(HostRegister.Rax, HostRegister.Rcx);
    }

    private void RestoreFlags(bool scratchFree)
    {
        if (!_flagsParked)
        {
            return;
        }

        _flagsParked = false;
        if (scratchFree)
        {
            _c.Move64(HostRegister.Rcx, HostRegister.Rax);
        }
        else
        {
            _c.Store64(HostRegister.Rsp, StateLayout.ParkedRax, HostRegister.Rax);
        }

        _c.Load32(HostRegister.Rax, HostRegister.Rsp, StateLayout.ParkedFlags);
        TranslationStubs.EmitFlagsFromAx(ref _c);
        if (scratchFree)
        {
            _c.Move64(HostRegister.Rax, HostRegister.Rcx);
        }
        else
        {
            _c.Load64(HostRegister.Rax, HostRegister.Rsp, StateLayout.ParkedRax);
        }
    }

    // Before an instruction proper: what it does to the flags decides where they must be.
    private void SettleFlags(DecodedInstruction* i, bool scratchFree)
    {
        if (!_flagsParked)
        {
            return;
        }

        var read = FlagUse.Read(i, out var replaced);
        if (replaced == LazyFlags.All && read == 0)
        {
            _flagsParked = false;
        }
        else if (read != 0 || replaced != 0 || MayTouchFlags(i->Operation))
        {
            RestoreFlags(scratchFree);
        }
    }

    private static bool MayTouchFlags(Operation operation) => operation is >= Operation.Rol and <= Operation.Shrd
        or Operation.Bsf or Operation.Bsr or Operation.Tzcnt or Operation.Lzcnt;

    private enum ColdKind
    {
        Interpret,
        MissedLoad,
        MissedStore,
        LoadGroup,
        StoreGroup,
        Vectors,
        X87,
        Request,
        Taken,
        FallThrough,
        FarTaken,
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct Cold
    {
        public int* Place;
        public ColdKind Kind;
        public int Index;
        public bool FlagsParked;
        public HostRegisters In;

        // Of groups: the last instruction, and whether the flags are parked behind it.
        public int Last;
        public bool ParkedBehind;
    }
}
