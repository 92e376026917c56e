using System.Runtime.CompilerServices;
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
/// in the state or yet to be made anew (<see cref="_flags"/>). RDI and RCX are free.
/// </remarks>
internal unsafe ref partial struct BlockTranslator
{
    private const int MaximumInstructions = 66;
    private const int MaximumColds = 4 * MaximumInstructions;
    private const byte T0 = (byte)HostRegister.Rdi;
    private const byte T1 = (byte)HostRegister.Rcx;
    private const byte Sp = (byte)HostRegister.Rsp;

    private readonly BlockTranslations _owner;
    private readonly VpState* _state;
    private readonly uint* _live;
    private readonly byte** _starts;
    private readonly HostRegisters* _startIn;
    private readonly Cold* _colds;
    private readonly Window* _windows;
    private readonly Access* _accesses;
    private readonly bool* _translatable;
    private CodeEmitter _c;
    private CodeEmitter _cold;
    private TranslatedBlock* _block;
    private DecodedInstruction* _instructions;
    private ulong _linear;
    private bool _isCode64;
    private int _count;
    private int _coldCount;
    private int _index;
    private int _flags = FlagsInRegister;
    private HostRegisters _in;
    private int _lastVector;
    private int _lastX87;
    private int _windowCount;

    // The window whose place in the host RCX holds, and the end of the code that left it there.
    private int _windowInRcx = -1;
    private byte* _windowInRcxUntil;
    private bool _isWindowed;
    private int _place;
    private uint _strides;
    private int _strideCount;

    // The last instruction of the common kind.
    private byte* _comparison;
    private byte* _comparisonEnd;

    // The displacement of the last jump that may be linked, and where it leads.
    private int* _tail;
    private ulong _tailOffset;

    /// <summary>Prepares to write a block: what it executes at one place, its header and what it rarely executes at another.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public BlockTranslator(BlockTranslations owner, CodeEmitter code, CodeEmitter cold, byte* scratch, VpState* state)
    {
        _cold = cold;
        _owner = owner;
        _state = state;
        _c = code;
        _live = (uint*)scratch;
        _starts = (byte**)(_live + (2 * MaximumInstructions));
        _startIn = (HostRegisters*)(_starts + (2 * MaximumInstructions));
        _colds = (Cold*)(_startIn + (4 * MaximumInstructions));
        _windows = (Window*)(_colds + MaximumColds);
        _accesses = (Access*)(_windows + MaximumInstructions);
        _translatable = (bool*)(_accesses + MaximumInstructions);
    }

    /// <summary>End of what was written, in the writable view.</summary>
    public byte* End { get; private set; }

    /// <summary>End of what was written at the other place.</summary>
    public readonly byte* ColdEnd => _c.Cursor;

    /// <summary>Memory for the work on one block.</summary>
    public static byte* AllocateScratch() => (byte*)NativeMemory.AlignedAlloc(
        (nuint)((MaximumInstructions * (41 + sizeof(Window) + sizeof(Access))) + (MaximumColds * sizeof(Cold))), 64);

    /// <summary>Frees it.</summary>
    public static void FreeScratch(byte* scratch) => NativeMemory.AlignedFree(scratch);

    /// <summary>
    /// Translates a block, whose instructions are plain (<see cref="CodeCache.Plain"/>). With <paramref name="adjoins"/> its code begins just
    /// where it is written, behind a jump to it that is left out then; what is needed to enter it from elsewhere lies apart, as it does
    /// for arrivals that come later.
    /// </summary>
    public TranslatedBlock* Translate(
        CodeBlock* block, DecodedInstruction* instructions, ulong linear, uint privilege, bool isWindowless, bool adjoins, Arrival arrival,
        long toExecutable)
    {
        _linear = linear;
        _isCode64 = (block->Mode & (uint)VpMode.Code64) != 0;
        _count = block->Count;
        _instructions = instructions;
        _cold.Align(8);
        _block = (TranslatedBlock*)_cold.Cursor;
        TranslatedBlock.Begin(_block, block, linear, privilege, isWindowless, toExecutable);
        _cold.Skip(sizeof(TranslatedBlock));
        var last = _instructions + _count - 1;
        var accesses = 0;
        for (var n = 0; n < _count; n++)
        {
            var i = _instructions + n;
            _translatable[n] = IsTranslatable(i, privilege, _isCode64);
            accesses += i->IsMemory || i->Operation is Operation.Push or Operation.Pop or Operation.Call or Operation.Ret ? 1 : 0;
        }

        ComputeLiveness();
        _block->LiveFlags = _live[0];
        FindWindows(accesses);
        FindStrides();
        EmitEntry(adjoins, arrival);
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
        if (last->Operation is Operation.Call or Operation.CallIndirect)
        {
            _block->SetCalls();
        }

        if (_tail + 1 == (int*)End)
        {
            _block->SetTail(_tail, AddressOf(_tailOffset));
        }

        return _block;
    }

    /// <summary>Writes what another kind of arrival needs in front of a block, apart from it.</summary>
    public void AddEntry(TranslatedBlock* block, Arrival arrival)
    {
        _block = block;
        _linear = block->Linear;
        _live[0] = block->LiveFlags;
        _c = _cold;
        var entry = arrival == Arrival.Indirect ? EmitAddressTest() : null;

        if (block->Checked == null)
        {
            EmitRequestTest();
            EmitJump(block->Body);
        }
        else
        {
            EmitJump(block->Checked);
        }

        EmitColds();

        // Other processors look for it without the lock: not before it is whole.
        if (entry != null)
        {
            block->Entry = entry;
        }
    }

    // The linear address of what lies so many bytes behind the block's start.
    private readonly ulong AddressOf(ulong offset) => Wrapped(_linear + offset);

    private readonly ulong Wrapped(ulong linear) => _isCode64 ? linear : (uint)linear;

    private void EmitEntry(bool adjoins, Arrival arrival)
    {
        var last = _instructions + _count - 1;
        var isLoop = last->Operation is Operation.Jcc or Operation.Jmp && Wrapped(last->Immediate) == 0;
        if (adjoins && arrival != Arrival.Forward && (!isLoop || arrival == Arrival.Indirect))
        {
            var hot = _c;
            _c = _cold;
            if (arrival == Arrival.Indirect)
            {
                _block->Entry = EmitAddressTest();
            }

            if (!isLoop)
            {
                EmitRequestTest();
            }

            EmitJump(hot.Executable);
            _cold = _c;
            _c = hot;
        }
        else if (!adjoins && arrival == Arrival.Indirect)
        {
            _block->Entry = EmitAddressTest();
        }

        if (isLoop || (!adjoins && arrival != Arrival.Forward))
        {
            EmitRequestTest();
        }

        if (adjoins)
        {
            _block->SetAdjoining(isChecked: isLoop);
        }

        _block->Body = _c.Executable;
        if (_owner.CountsInstructions)
        {
            EmitCount();
        }
    }

    // Where it begins, in the executable view.
    private byte* EmitAddressTest()
    {
        _c.Align(16);
        var entry = _c.Executable;
        _c.Bytes(0x0F, 0x1F, 0x44, 0x00, 0x00); // nop: replaced by a jump when the block is dropped
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
            _c.Bytes(0x48, 0x8D, 0x0C, 0x39); // lea rcx, [rcx + rdi]
        }

        _c.Bytes(0xE3, 0x05); // jrcxz over the jump
        EmitJump(_owner.Misses.Of(_block->Privilege));
        return entry;
    }

    private void EmitRequestTest()
    {
        _block->Checked = _c.Executable;
        if (_live[0] == 0)
        {
            _c.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x83, false, 7, HostRegister.Rsp, StateLayout.Requests); // cmp 0
            _c.Byte(0);
            _c.Bytes(0x0F, 0x85); // jne
        }
        else
        {
            // By instructions that leave the flags alone.
            _c.Load32(HostRegister.Rcx, HostRegister.Rsp, StateLayout.Requests);
            _c.Bytes(0xE3, 0x05);
            _c.Byte(0xE9);
        }

        AddCold(ColdKind.Request);
        _c.Int32(0);
    }

    private void EmitCount()
    {
        if (_live[0] == 0)
        {
            _c.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x83, true, 0, HostRegister.Rsp, StateLayout.InstructionCount); // add
            _c.Byte(_count);
            return;
        }

        _c.Load64(HostRegister.Rcx, HostRegister.Rsp, StateLayout.InstructionCount);
        _c.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x8D, true, T1, HostRegister.Rcx, _count);
        _c.Store64(HostRegister.Rsp, StateLayout.InstructionCount, HostRegister.Rcx);
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
}
