namespace Vitro.UnitTests.Hypervisor.Software.Translator;

/// <summary>
/// Random 32-bit programs of the kernel: a loop of instructions with branches forward, loads and stores around a page border, by
/// DS, FS and GS, calls of a function in another page, <see cref="ProgramHazards"/>, and segment registers loaded with flat and with small segments. EBX points to the
/// data, EBP counts, ESP is the stack; nothing else is fixed.
/// </summary>
internal sealed class ProgramGenerator32
{
    private const int FunctionOffset = 0x1000 + 0x40;

    private static readonly byte[] TwoOperand = [0x01, 0x03, 0x09, 0x0B, 0x11, 0x13, 0x19, 0x1B, 0x21, 0x23, 0x29, 0x2B, 0x31, 0x33, 0x39, 0x3B, 0x85, 0x89, 0x8B];

    private readonly Random _random;
    private readonly List<byte> _code = [];
    private readonly List<(int Place, int Left)> _open = [];

    private readonly ProgramHazards _hazards;

    private ProgramGenerator32(Random random)
    {
        _random = random;
        _hazards = new ProgramHazards(random, _code, is64: false, Register);
    }

    /// <summary>A program with its function; it ends with HLT.</summary>
    internal static byte[] Generate(Random random) => new ProgramGenerator32(random).Generate();

    private byte[] Generate()
    {
        Emit(0xBD, (byte)_random.Next(1, 6), 0, 0, 0); // mov ebp, n
        var loop = _code.Count;
        for (var n = _random.Next(5, 60); n > 0; n--)
        {
            EmitOne();
            Close(all: false);
        }

        Close(all: true);
        Emit(0x4D, 0x0F, 0x85); // dec ebp; jnz loop
        Emit32(loop - (_code.Count + 4));
        while (_code.Count < FunctionOffset)
        {
            Emit(0xF4);
        }

        EmitFunction();
        return [.. _code];
    }

    // A run of pushes, and at the end one of pops, or LEAVE.
    private void EmitFunction()
    {
        var saved = _random.Next(5);
        var hasFrame = _random.Next(2) == 0;
        if (hasFrame)
        {
            Emit(0x55, 0x89, 0xE5); // push ebp; mov ebp, esp
        }

        for (var n = 0; n < saved; n++)
        {
            Emit((byte)(0x50 | _random.Next(8)));
        }

        for (var n = _random.Next(1, 6); n > 0; n--)
        {
            EmitPlain();
        }

        if (hasFrame)
        {
            Emit(0xC9);
        }
        else
        {
            var dropped = saved == 0 ? 0 : _random.Next(saved);
            Emit(0x83, 0xC4, (byte)(4 * dropped)); // add esp, n
            for (var n = dropped; n < saved; n++)
            {
                Emit((byte)(0x58 | Register(isWritten: true)));
            }
        }

        Emit(_random.Next(2) == 0 ? [0xC3] : [0xC2, 0, 0]);
    }

    private void EmitOne()
    {
        switch (_random.Next(16))
        {
            case 0:
                Emit(0x0F, (byte)(0x80 | _random.Next(16)), 0, 0, 0, 0);
                _open.Add((_code.Count - 4, _random.Next(1, 8)));
                break;
            case 1 when _random.Next(3) == 0:
                EmitCall();
                break;
            case 2:
                EmitStack();
                break;
            case 3:
                EmitSystem();
                break;
            case 4:
                EmitWide();
                break;
            case 5:
                EmitShort();
                break;
            case 6:
                _hazards.Emit();
                break;
            default:
                EmitPlain();
                break;
        }
    }

    private void EmitCall()
    {
        const int CodeStart = (int)ProgramMachine.CodeAddress;
        switch (_random.Next(3))
        {
            case 0:
                Emit(0xE8);
                Emit32(FunctionOffset - (_code.Count + 4));
                break;
            case 1:
                Emit(0xBE); // mov esi, function; call esi
                Emit32(CodeStart + FunctionOffset);
                Emit(0xFF, 0xD6);
                break;
            default:
                Emit(0xC7, 0x43, 0xFE); // mov dword [ebx - 2], function; call [ebx - 2]: across the page border
                Emit32(CodeStart + FunctionOffset);
                Emit(0xFF, 0x53, 0xFE);
                break;
        }
    }

    private void EmitStack()
    {
        switch (_random.Next(6))
        {
            case 0:
                Emit(0x6A, (byte)_random.Next(256)); // push byte
                break;
            case 1:
                Emit(0x68); // push dword
                Emit32(_random.Next(int.MinValue, int.MaxValue));
                break;
            case 2:
                Emit(0xFF, 0x73, (byte)_random.Next(-64, 60)); // push dword [ebx + n]
                break;
            case 3:
                Emit(0x55, 0x89, 0xE5); // push ebp; mov ebp, esp; leave
                EmitPlain();
                Emit(0xC9);
                return;
            case 4:
                Emit(0x60); // pushad; popad
                EmitPlain();
                Emit(0x61);
                return;
            default:
                Emit((byte)(0x50 | _random.Next(8)));
                break;
        }

        EmitPlain();
        Emit((byte)(0x58 | Register(isWritten: true)));
    }

    private void EmitSystem()
    {
        switch (_random.Next(9))
        {
            case 0:
                Emit(0xFA); // cli
                break;
            case 1:
                Emit(0xFB); // sti
                break;
            case 2:
                Emit(0x8C, (byte)(0xC0 | (_random.Next(6) << 3))); // mov eax, segment
                break;
            case 3:
                Emit(0xFC); // cld
                break;
            case 4:
                Emit(0xBA, ProgramMachine.FlatData, 0, 0, 0, 0x8E, 0xDA); // mov edx, flat; mov ds, edx
                break;
            case 5 when _random.Next(3) == 0:
                // A small segment for a while: the code is then interpreted.
                Emit(0xBA, ProgramMachine.SmallData, 0, 0, 0, 0x8E, 0xC2);
                EmitPlain();
                Emit(0xBA, ProgramMachine.FlatData, 0, 0, 0, 0x8E, 0xC2);
                break;
            case 6 when _random.Next(3) == 0:
                Emit(0xBA, _random.Next(2) == 0 ? ProgramMachine.SmallData : ProgramMachine.FlatData, 0, 0, 0, 0x8E, 0xE2); // mov fs, edx
                break;
            default:
                Emit(0x9C); // pushfd
                EmitPlain();
                Emit(0x9D); // popfd
                break;
        }
    }

    // Divisions, bit strings, wide exchanges and repeated strings, all near the page border.
    private void EmitWide()
    {
        switch (_random.Next(6))
        {
            case 0:
                Emit(0x99, 0xF7, (byte)(0x7B - (_random.Next(2) * 8)), (byte)_random.Next(-64, 60)); // cdq; idiv, div [ebx + n]
                break;
            case 1:
                Emit(0x31, 0xD2, 0xF7, (byte)(_random.Next(2) == 0 ? 0xF6 : 0xF1)); // xor edx, edx; div esi, ecx
                break;
            case 2:
                Emit(0x81, 0xE1, 0xFF, 0x3F, 0, 0, 0x0F, (byte)(0xA3 + (_random.Next(4) * 8)), 0x4B, (byte)_random.Next(-64, 64));
                break;
            case 3:
                Emit(0x0F, 0xC7, 0x4B, (byte)_random.Next(-64, 60)); // cmpxchg8b [ebx + n]
                break;
            default:
                Emit(0x8D, 0x7B, (byte)_random.Next(-64, 64)); // lea edi, [ebx + n]
                Emit(0x8D, 0x73, (byte)_random.Next(-64, 64)); // lea esi, [ebx + n]
                Emit(0xB9, (byte)_random.Next(20), 0, 0, 0); // mov ecx, n
                if (_random.Next(2) == 0)
                {
                    Emit(0xF3, (byte)(_random.Next(2) == 0 ? 0xA4 + _random.Next(2) : 0xAA + _random.Next(2))); // rep movs, stos
                }
                else
                {
                    // Without a prefix, repe, repne.
                    byte[] operations = [0xA4, 0xA5, 0xA6, 0xA7, 0xA6, 0xA7, 0xAA, 0xAB, 0xAC, 0xAD, 0xAE, 0xAF];
                    Emit(_random.Next(3) switch { 0 => [], 1 => [0xF3], _ => [0xF2] });
                    Emit(operations[_random.Next(operations.Length)]);
                }

                break;
        }
    }

    // Encodings that 64-bit code does not have, or has with another size.
    private void EmitShort()
    {
        var kind = _random.Next(6);
        if (kind != 5 && _random.Next(4) == 0)
        {
            Emit(0x66);
        }

        switch (kind)
        {
            case 5:
                Emit((byte)(0xE2 + _random.Next(2)), 2, 0x31, 0xC0); // loop or jecxz over xor eax, eax
                break;
            case 0:
                Emit((byte)(0x40 | (_random.Next(2) * 8) | Register(isWritten: true))); // inc, dec
                break;
            case 1:
                Emit((byte)(0xA0 | _random.Next(4))); // mov al, eax, [moffs]; mov [moffs], al, eax
                Emit32((int)ProgramMachine.DataAddress + _random.Next(-64, 64));
                break;
            case 2:
                Emit(0x8B, (byte)(0x05 | (Register(isWritten: true) << 3))); // mov register, [address]
                Emit32((int)ProgramMachine.DataAddress + _random.Next(-64, 64));
                break;
            case 3:
                Emit(0x90);
                Emit(0x8D, (byte)(0x44 | (Register(isWritten: true) << 3)), (byte)_random.Next(256), (byte)_random.Next(256)); // lea by SIB
                break;
            default:
                Emit((byte)(0x90 | (_random.Next(2) + 1))); // xchg eax, ecx or edx
                break;
        }
    }

    private void EmitPlain()
    {
        if (_random.Next(6) == 0)
        {
            Emit(0x66);
        }

        switch (_random.Next(12))
        {
            case 0:
                EmitOperands([0x0F, (byte)(0x40 | _random.Next(16))], regWritten: true, rmWritten: false, -1); // cmovcc
                break;
            case 1:
                EmitOperands([0x0F, (byte)(0x90 | _random.Next(16))], regWritten: false, rmWritten: true, 0); // setcc
                break;
            case 2:
                EmitOperands([0xFF], regWritten: false, rmWritten: true, _random.Next(2)); // inc, dec
                break;
            case 3:
                EmitOperands([0x83], regWritten: false, rmWritten: true, _random.Next(8));
                Emit((byte)_random.Next(256));
                break;
            case 4:
                EmitOperands([0x0F, (byte)(0xB6 + (_random.Next(2) * 8) + _random.Next(2))], true, false, -1); // movzx, movsx
                break;
            case 5:
                EmitOperands(_random.Next(2) == 0 ? [0x87] : [0x0F, 0xC1], true, true, -1); // xchg, xadd
                break;
            case 6:
                EmitOperands([0xD1], false, true, _random.Next(3) switch { 0 => 4, 1 => 5, _ => 7 }); // shl, shr, sar
                break;
            case 7:
                var bytes = (byte)(TwoOperand[_random.Next(TwoOperand.Length)] - 1);
                EmitOperands([bytes], (bytes & 2) != 0, (bytes & 2) == 0 && bytes != 0x84, -1);
                break;
            default:
                var opcode = TwoOperand[_random.Next(TwoOperand.Length)];
                EmitOperands([opcode], (opcode & 2) != 0, (opcode & 2) == 0 && opcode != 0x85, -1);
                break;
        }
    }

    private void EmitOperands(ReadOnlySpan<byte> opcode, bool regWritten, bool rmWritten, int extension)
    {
        var memory = _random.Next(2) == 0;
        if (memory && _random.Next(8) == 0)
        {
            // Behind prefixes of the instruction or before them, it is the same.
            Emit((byte)(0x64 + _random.Next(2)));
        }

        foreach (var part in opcode)
        {
            Emit(part);
        }

        var reg = extension >= 0 ? extension : Register(regWritten);
        var rm = memory ? 3 : Register(rmWritten);
        Emit((byte)((memory ? 0x40 : 0xC0) | (reg << 3) | rm));
        if (memory)
        {
            Emit((byte)(sbyte)(_random.Next(3) == 0 ? _random.Next(-9, 3) : _random.Next(-64, 64)));
        }
    }

    // EBX, ESP and EBP keep their values; as bytes, 5 to 7 are CH, DH and BH, of which the last must stay too.
    private int Register(bool isWritten)
    {
        while (true)
        {
            var register = _random.Next(8);
            if (!isWritten || register is not (3 or 4 or 5 or 7))
            {
                return register;
            }
        }
    }

    private void Close(bool all) => ProgramGenerator.Close(_code, _open, all);

    private void Emit32(int value) => _code.AddRange(BitConverter.GetBytes(value));

    private void Emit(params ReadOnlySpan<byte> bytes)
    {
        foreach (var part in bytes)
        {
            _code.Add(part);
        }
    }
}
