using System.Runtime.CompilerServices;

namespace Vitro.Firmware.LinuxBoot.Payload;

/// <summary>
/// LZMA2 from memory to memory: chunks of LZMA or of plain bytes, with resets of dictionary, state and properties between
/// them. The output buffer is the dictionary.
/// </summary>
/// <remarks>
/// Every index is checked by the spans, every distance against what was written since the dictionary's start. Running past
/// the input ends in <see cref="InvalidDataException"/>.
/// </remarks>
internal ref struct Lzma2Decoder
{
    private const int StateCount = 12;
    private const int PositionStatesMaximum = 16;
    private const int MinimumMatch = 2;
    private const int FirstDistanceModel = 4;
    private const int LastDistanceModel = 14;
    private const int AlignBits = 4;
    private const int LiteralCoderSize = 0x300;
    private const ushort EvenProbability = 1024;

    // Offsets into the one array of probabilities.
    private const int IsMatch = 0;
    private const int IsRepeat = IsMatch + (StateCount * PositionStatesMaximum);
    private const int IsRepeat0 = IsRepeat + StateCount;
    private const int IsRepeat1 = IsRepeat0 + StateCount;
    private const int IsRepeat2 = IsRepeat1 + StateCount;
    private const int IsRepeat0Long = IsRepeat2 + StateCount;
    private const int DistanceSlot = IsRepeat0Long + (StateCount * PositionStatesMaximum);
    private const int DistanceSpecial = DistanceSlot + (4 * 64);
    private const int DistanceAlign = DistanceSpecial + 128;
    private const int MatchLength = DistanceAlign + (1 << AlignBits);
    private const int LengthCoderSize = 2 + (PositionStatesMaximum * 8 * 2) + 256;
    private const int RepeatLength = MatchLength + LengthCoderSize;
    private const int Literal = RepeatLength + LengthCoderSize;

    /// <summary>LZMA2 limits lc + lp to 4.</summary>
    private const int ProbabilityCount = Literal + (LiteralCoderSize << 4);

    private readonly ReadOnlySpan<byte> _input;
    private readonly Span<byte> _output;
    private readonly Span<ushort> _probabilities;
    private int _in;
    private int _out;
    private int _dictionaryStart;
    private uint _range;
    private uint _code;
    private int _state;
    private uint _distance0;
    private uint _distance1;
    private uint _distance2;
    private uint _distance3;
    private int _literalContextBits;
    private uint _literalPositionMask;
    private uint _positionMask;

    internal Lzma2Decoder(ReadOnlySpan<byte> input, int start, Span<byte> output)
    {
        _input = input;
        _in = start;
        _output = output;
        _probabilities = new ushort[ProbabilityCount];
    }

    /// <summary>Index of the byte after those read.</summary>
    internal readonly int InputPosition => _in;

    /// <summary>Bytes written.</summary>
    internal readonly int OutputPosition => _out;

    /// <summary>Decodes all chunks up to the end marker.</summary>
    internal void Run()
    {
        var needDictionary = true;
        var needProperties = true;
        var needState = true;
        while (true)
        {
            int control = Next();
            if (control == 0)
            {
                return;
            }

            if (control is 1 or >= 0xE0)
            {
                needDictionary = false;
                _dictionaryStart = _out;
            }
            else if (needDictionary || control is > 2 and < 0x80)
            {
                throw new InvalidDataException("a chunk is of an unknown kind");
            }

            var size = Next() << 8;
            size += Next() + 1;
            if (control < 0x80)
            {
                CopyPlain(size);
                continue;
            }

            size += (control & 0x1F) << 16;
            var packed = Next() << 8;
            packed += Next() + 1;
            if (control >= 0xC0)
            {
                SetProperties(Next());
                needProperties = false;
                needState = false;
            }
            else if (control >= 0xA0)
            {
                if (needProperties)
                {
                    throw new InvalidDataException("the first chunk has no properties");
                }

                needState = false;
            }
            else if (needState)
            {
                throw new InvalidDataException("a chunk has no state to go on from");
            }

            if (control >= 0xA0)
            {
                ResetState();
            }

            DecodeChunk(size, packed);
        }
    }

    private void CopyPlain(int size)
    {
        if (size > _input.Length - _in || size > _output.Length - _out)
        {
            throw new InvalidDataException("a chunk does not fit");
        }

        _input.Slice(_in, size).CopyTo(_output[_out..]);
        _in += size;
        _out += size;
    }

    private void SetProperties(int properties)
    {
        if (properties >= 9 * 5 * 5)
        {
            throw new InvalidDataException("the properties are out of range");
        }

        _literalContextBits = properties % 9;
        var literalPositionBits = properties / 9 % 5;
        if (_literalContextBits + literalPositionBits > 4)
        {
            throw new InvalidDataException("the properties are out of range");
        }

        _literalPositionMask = (1u << literalPositionBits) - 1;
        _positionMask = (1u << (properties / 45)) - 1;
    }

    private void ResetState()
    {
        _probabilities.Fill(EvenProbability);
        _state = 0;
        _distance0 = _distance1 = _distance2 = _distance3 = 0;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void DecodeChunk(int size, int packed)
    {
        if (packed > _input.Length - _in || size > _output.Length - _out || packed < 5)
        {
            throw new InvalidDataException("a chunk does not fit");
        }

        var inputEnd = _in + packed;
        var end = _out + size;
        _range = uint.MaxValue;
        _in++;
        _code = 0;
        for (var index = 0; index < 4; index++)
        {
            _code = (_code << 8) | Next();
        }

        while (_out < end)
        {
            var position = (uint)(_out - _dictionaryStart);
            var positionState = (int)(position & _positionMask);
            if (Bit(IsMatch + (_state * PositionStatesMaximum) + positionState) == 0)
            {
                DecodeLiteral(position);
                continue;
            }

            int length;
            if (Bit(IsRepeat + _state) == 0)
            {
                _distance3 = _distance2;
                _distance2 = _distance1;
                _distance1 = _distance0;
                length = DecodeLength(MatchLength, positionState);
                _distance0 = DecodeDistance(length);
                _state = _state < 7 ? 7 : 10;
            }
            else if (Bit(IsRepeat0 + _state) == 0)
            {
                if (Bit(IsRepeat0Long + (_state * PositionStatesMaximum) + positionState) == 0)
                {
                    _state = _state < 7 ? 9 : 11;
                    CopyMatch(1, end);
                    continue;
                }

                length = DecodeLength(RepeatLength, positionState);
                _state = _state < 7 ? 8 : 11;
            }
            else
            {
                uint distance;
                if (Bit(IsRepeat1 + _state) == 0)
                {
                    distance = _distance1;
                }
                else
                {
                    if (Bit(IsRepeat2 + _state) == 0)
                    {
                        distance = _distance2;
                    }
                    else
                    {
                        distance = _distance3;
                        _distance3 = _distance2;
                    }

                    _distance2 = _distance1;
                }

                _distance1 = _distance0;
                _distance0 = distance;
                length = DecodeLength(RepeatLength, positionState);
                _state = _state < 7 ? 8 : 11;
            }

            CopyMatch(length, end);
        }

        Normalize();
        if (_in != inputEnd)
        {
            throw new InvalidDataException("a chunk has another length than it says");
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void DecodeLiteral(uint position)
    {
        var previous = position == 0 ? 0u : _output[_out - 1];
        var context = ((position & _literalPositionMask) << _literalContextBits) + (previous >> (8 - _literalContextBits));
        var coder = Literal + ((int)context * LiteralCoderSize);
        var symbol = 1u;
        if (_state >= 7)
        {
            // After a match the byte at the last distance predicts this one until they differ.
            uint match = _output[MatchSource()];
            var offset = 0x100u;
            do
            {
                match <<= 1;
                var matchBit = match & offset;
                var bit = Bit(coder + (int)(offset + matchBit + symbol));
                symbol = (symbol << 1) | bit;
                offset &= bit != 0 ? match : ~match;
            }
            while (symbol < 0x100);
        }
        else
        {
            do
            {
                symbol = (symbol << 1) | Bit(coder + (int)symbol);
            }
            while (symbol < 0x100);
        }

        _output[_out++] = (byte)symbol;
        _state = _state < 4 ? 0 : _state < 10 ? _state - 3 : _state - 6;
    }

    private int DecodeLength(int coder, int positionState)
    {
        if (Bit(coder) == 0)
        {
            return MinimumMatch + (int)Tree(coder + 2 + (positionState * 8), 3);
        }

        return Bit(coder + 1) == 0
            ? MinimumMatch + 8 + (int)Tree(coder + 2 + ((PositionStatesMaximum + positionState) * 8), 3)
            : MinimumMatch + 16 + (int)Tree(coder + 2 + (PositionStatesMaximum * 16), 8);
    }

    private uint DecodeDistance(int length)
    {
        var slot = Tree(DistanceSlot + (Math.Min(length - MinimumMatch, 3) * 64), 6);
        if (slot < FirstDistanceModel)
        {
            return slot;
        }

        var bits = (int)(slot >> 1) - 1;
        var distance = (2 | (slot & 1)) << bits;
        if (slot < LastDistanceModel)
        {
            return distance + ReverseTree(DistanceSpecial + (int)(distance - slot), bits);
        }

        var direct = 0u;
        for (var count = bits - AlignBits; count > 0; count--)
        {
            Normalize();
            _range >>= 1;
            _code -= _range;
            var mask = 0 - (_code >> 31);
            _code += _range & mask;
            direct = (direct << 1) + mask + 1;
        }

        return distance + (direct << AlignBits) + ReverseTree(DistanceAlign, AlignBits);
    }

    private readonly int MatchSource()
    {
        if (_distance0 >= (uint)(_out - _dictionaryStart))
        {
            throw new InvalidDataException("a match reaches before the start");
        }

        return _out - 1 - (int)_distance0;
    }

    private void CopyMatch(int length, int end)
    {
        var source = MatchSource();
        if (length > end - _out)
        {
            throw new InvalidDataException("a match runs past its chunk");
        }

        if (_out - source >= length)
        {
            _output.Slice(source, length).CopyTo(_output[_out..]);
            _out += length;
            return;
        }

        for (; length > 0; length--)
        {
            _output[_out++] = _output[source++];
        }
    }

    private uint Tree(int coder, int bits)
    {
        var symbol = 1u;
        for (var count = bits; count > 0; count--)
        {
            symbol = (symbol << 1) | Bit(coder + (int)symbol);
        }

        return symbol - (1u << bits);
    }

    private uint ReverseTree(int coder, int bits)
    {
        var symbol = 1u;
        var result = 0u;
        for (var index = 0; index < bits; index++)
        {
            var bit = Bit(coder + (int)symbol);
            symbol = (symbol << 1) | bit;
            result |= bit << index;
        }

        return result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private uint Bit(int index)
    {
        Normalize();
        ref var probability = ref _probabilities[index];
        var bound = (_range >> 11) * probability;
        if (_code < bound)
        {
            _range = bound;
            probability += (ushort)((2048 - probability) >> 5);
            return 0;
        }

        _range -= bound;
        _code -= bound;
        probability -= (ushort)(probability >> 5);
        return 1;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Normalize()
    {
        if (_range < 1 << 24)
        {
            _range <<= 8;
            _code = (_code << 8) | Next();
        }
    }

    private byte Next() => (uint)_in < (uint)_input.Length ? _input[_in++] : throw new InvalidDataException("the stream is cut off");
}
