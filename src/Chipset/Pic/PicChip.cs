using static Vitro.Chipset.PicSpec;

namespace Vitro.Chipset;

/// <summary>One 8259A as a state machine: lines and command words in, an output level and vectors out.</summary>
internal sealed class PicChip(bool isMaster, byte elcrWritable)
{
    private bool _readInService;
    private bool _specialMask;
    private bool _autoEoi;
    private bool _rotateOnAutoEoi;
    private bool _specialFullyNested;
    private bool _poll;
    private bool _initialised;
    private int _initStep;
    private bool _needsIcw4;
    private bool _single;
    private byte _lowestPriority = 7;

    internal byte Request { get; private set; }

    internal byte InService { get; private set; }

    internal byte Mask { get; private set; }

    internal byte Lines { get; private set; }

    internal byte Elcr { get; private set; }

    internal byte VectorBase { get; private set; }

    /// <summary>The INT output.</summary>
    internal bool Output => _initialised && HighestRequest() >= 0;

    internal void Reset()
    {
        Restart();
        _initialised = false;
        _initStep = 0;
        Elcr = 0;
        VectorBase = 0;
    }

    internal void SetLine(int line, bool high)
    {
        var bit = (byte)(1 << line);
        if ((Elcr & bit) != 0 || (isMaster && line == Pic.CascadeLine))
        {
            Request = (byte)(high ? Request | bit : Request & ~bit);
        }
        else if (high && (Lines & bit) == 0)
        {
            // Stays requested after the line falls: models lower a pulse at once where hardware holds it until the acknowledge.
            Request |= bit;
        }

        Lines = (byte)(high ? Lines | bit : Lines & ~bit);
    }

    /// <summary>The acknowledge cycle: the line taken (7 when none is left: spurious) and whether it was real.</summary>
    internal (int Line, bool IsReal) Acknowledge()
    {
        var line = HighestRequest();
        if (line < 0)
        {
            return (7, false);
        }

        var bit = (byte)(1 << line);
        if ((Elcr & bit) == 0)
        {
            Request = (byte)(Request & ~bit);
        }

        if (_autoEoi)
        {
            if (_rotateOnAutoEoi)
            {
                _lowestPriority = (byte)line;
            }
        }
        else
        {
            InService |= bit;
        }

        return (line, true);
    }

    internal byte ReadCommand()
    {
        if (_poll)
        {
            _poll = false;
            var (line, isReal) = Acknowledge();
            return isReal ? (byte)(0x80 | line) : (byte)0;
        }

        return _readInService ? InService : Request;
    }

    internal byte ReadData() => Mask;

    internal void WriteElcr(byte value)
    {
        Elcr = (byte)(value & elcrWritable);
        // A line that has become level triggered follows its wire at once.
        Request = (byte)((Request & ~Elcr) | (Lines & Elcr));
    }

    internal void WriteCommand(byte value)
    {
        if ((value & Icw1) != 0)
        {
            Restart();
            _initialised = false;
            _needsIcw4 = (value & Icw1NeedsIcw4) != 0;
            _single = (value & Icw1Single) != 0;
            _initStep = 2;
            return;
        }

        if ((value & Ocw3) != 0)
        {
            _poll = (value & Ocw3Poll) != 0;
            if ((value & Ocw3ReadRegister) != 0)
            {
                _readInService = (value & Ocw3ReadInService) != 0;
            }

            if ((value & Ocw3SetSpecialMask) != 0)
            {
                _specialMask = (value & Ocw3SpecialMask) != 0;
            }

            return;
        }

        WriteOcw2(value);
    }

    internal void WriteData(byte value)
    {
        switch (_initStep)
        {
            case 2:
                VectorBase = (byte)(value & 0xF8);
                _initStep = _single ? (_needsIcw4 ? 4 : 0) : 3;
                break;
            case 3:
                // The cascade is wired; ICW3 cannot change it.
                _initStep = _needsIcw4 ? 4 : 0;
                break;
            case 4:
                _autoEoi = (value & Icw4AutoEoi) != 0;
                _specialFullyNested = (value & Icw4SpecialFullyNested) != 0;
                _initStep = 0;
                break;
            default:
                Mask = value;
                return;
        }

        _initialised = _initStep == 0;
    }

    internal PicChipSavedState Save() => new()
    {
        Request = Request,
        InService = InService,
        Mask = Mask,
        Lines = Lines,
        Elcr = Elcr,
        VectorBase = VectorBase,
        LowestPriority = _lowestPriority,
        InitStep = (byte)_initStep,
        ReadInService = _readInService,
        SpecialMask = _specialMask,
        AutoEoi = _autoEoi,
        RotateOnAutoEoi = _rotateOnAutoEoi,
        SpecialFullyNested = _specialFullyNested,
        Poll = _poll,
        Initialised = _initialised,
        NeedsIcw4 = _needsIcw4,
        Single = _single,
    };

    internal void Load(PicChipSavedState state)
    {
        Request = state.Request;
        InService = state.InService;
        Mask = state.Mask;
        Lines = state.Lines;
        Elcr = (byte)(state.Elcr & elcrWritable);
        VectorBase = (byte)(state.VectorBase & 0xF8);
        _lowestPriority = (byte)(state.LowestPriority & 7);
        _initStep = state.InitStep;
        _readInService = state.ReadInService;
        _specialMask = state.SpecialMask;
        _autoEoi = state.AutoEoi;
        _rotateOnAutoEoi = state.RotateOnAutoEoi;
        _specialFullyNested = state.SpecialFullyNested;
        _poll = state.Poll;
        _initialised = state.Initialised;
        _needsIcw4 = state.NeedsIcw4;
        _single = state.Single;
    }

    private void WriteOcw2(byte value)
    {
        var line = value & 7;
        switch (value >> 5)
        {
            case 0:
                _rotateOnAutoEoi = false;
                break;
            case 4:
                _rotateOnAutoEoi = true;
                break;
            case 1:
                EndHighest();
                break;
            case 3:
                InService = (byte)(InService & ~(1 << line));
                break;
            case 5:
                var ended = EndHighest();
                if (ended >= 0)
                {
                    _lowestPriority = (byte)ended;
                }

                break;
            case 6:
                _lowestPriority = (byte)line;
                break;
            case 7:
                InService = (byte)(InService & ~(1 << line));
                _lowestPriority = (byte)line;
                break;
            default:
                break;
        }
    }

    private int EndHighest()
    {
        var candidates = _specialMask ? (byte)(InService & ~Mask) : InService;
        for (var n = 1; n <= 8; n++)
        {
            var line = (_lowestPriority + n) & 7;
            if ((candidates >> line & 1) != 0)
            {
                InService = (byte)(InService & ~(1 << line));
                return line;
            }
        }

        return -1;
    }

    private int HighestRequest()
    {
        var requests = (byte)(Request & ~Mask);
        if (requests == 0)
        {
            return -1;
        }

        for (var n = 1; n <= 8; n++)
        {
            var line = (_lowestPriority + n) & 7;
            var bit = 1 << line;
            if ((requests & bit) != 0 && !(_specialMask && (InService & bit) != 0))
            {
                return line;
            }

            var blocks = (InService & bit) != 0 && !_specialMask;
            if (blocks && !(_specialFullyNested && isMaster && line == Pic.CascadeLine))
            {
                return -1;
            }
        }

        return -1;
    }

    private void Restart()
    {
        // ICW1 clears the edge sense: a line that is high must fall before it counts again. Level lines stay asserted.
        Request = (byte)(Lines & Elcr);
        InService = 0;
        Mask = 0;
        _lowestPriority = 7;
        _readInService = false;
        _specialMask = false;
        _autoEoi = false;
        _rotateOnAutoEoi = false;
        _specialFullyNested = false;
        _poll = false;
    }
}
