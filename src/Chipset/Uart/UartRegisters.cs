using static Vitro.Chipset.UartSpec;

namespace Vitro.Chipset;

/// <summary>
/// The 16550A as a state machine: register accesses and received bytes in, bytes to transmit and an interrupt level out.
/// Transmission takes no time: whether the holding register is empty is up to the queue behind it.
/// </summary>
internal sealed class UartRegisters
{
    private readonly Queue<byte> _receive = new(FifoSize);
    private byte _enable;
    private byte _fifoControl;
    private byte _lineControl;
    private byte _modemControl;
    private byte _lineErrors;
    private byte _modemDelta;
    private byte _modemLines;
    private byte _scratch;
    private byte _holding;
    private ushort _divisor = 12;
    private bool _transmitPending;

    /// <summary>Whether the queue behind the transmitter takes another byte.</summary>
    internal bool TransmitReady { get; private set; } = true;

    /// <summary>Nothing waits in the queue either.</summary>
    internal bool TransmitIdle { get; set; } = true;

    /// <summary>Bytes the receiver holds.</summary>
    internal int Received => _receive.Count;

    /// <summary>Bytes the receiver takes before an overrun.</summary>
    internal int ReceiveRoom => Math.Max(0, (FifosOn ? FifoSize : 1) - _receive.Count);

    internal bool IsLoopback => (_modemControl & ModemLoopback) != 0;

    internal int Baud => _divisor == 0 ? 0 : 115_200 / _divisor;

    internal byte ModemControlValue => _modemControl;

    /// <summary>The interrupt pin, gated by OUT2 as on PC serial ports.</summary>
    internal bool Interrupt => (_modemControl & (ModemOut2 | ModemLoopback)) == ModemOut2 && Identify() != IdNone;

    private bool FifosOn => (_fifoControl & FifoEnable) != 0;

    private int Trigger => (_fifoControl >> 6) switch
    {
        0 => 1,
        1 => 4,
        2 => 8,
        _ => 14,
    };

    internal void Reset()
    {
        _receive.Clear();
        _enable = 0;
        _fifoControl = 0;
        _lineControl = 0;
        _modemControl = 0;
        _lineErrors = 0;
        _modemDelta = 0;
        // A back end is always there: clear to send, data set ready, carrier.
        _modemLines = SignalCts | SignalDsr | SignalCarrier;
        _scratch = 0;
        _holding = 0;
        _divisor = 12;
        _transmitPending = false;
        TransmitReady = true;
        TransmitIdle = true;
    }

    internal void Receive(byte value)
    {
        if (ReceiveRoom > 0)
        {
            _receive.Enqueue(value);
        }
        else
        {
            _lineErrors |= StatusOverrun;
        }
    }

    internal void SetTransmitReady(bool ready)
    {
        if (ready && !TransmitReady)
        {
            _transmitPending = true;
        }

        TransmitReady = ready;
    }

    internal byte Read(int register)
    {
        switch (register)
        {
            case Data:
                if ((_lineControl & DivisorLatch) != 0)
                {
                    return (byte)_divisor;
                }

                if (_receive.TryDequeue(out var value))
                {
                    _holding = value;
                }

                return _holding;
            case InterruptEnable:
                return (_lineControl & DivisorLatch) != 0 ? (byte)(_divisor >> 8) : _enable;
            case InterruptIdentification:
                var id = Identify();
                if (id == IdTransmit)
                {
                    _transmitPending = false;
                }

                return (byte)(id | (FifosOn ? IdFifosOn : 0));
            case LineControl:
                return _lineControl;
            case ModemControl:
                return _modemControl;
            case LineStatus:
                var status = LineStatusNow();
                _lineErrors = 0;
                return status;
            case ModemStatus:
                var modem = (byte)(ModemLinesNow() | _modemDelta);
                _modemDelta = 0;
                return modem;
            default:
                return _scratch;
        }
    }

    /// <summary>Writes a register; true when <paramref name="value"/> is a byte to transmit.</summary>
    internal bool Write(int register, byte value)
    {
        switch (register)
        {
            case Data:
                if ((_lineControl & DivisorLatch) != 0)
                {
                    _divisor = (ushort)((_divisor & 0xFF00) | value);
                    return false;
                }

                // Sent at once: the holding register is empty again, which is a new interrupt.
                _transmitPending = true;
                if (IsLoopback)
                {
                    Receive(value);
                    return false;
                }

                return true;
            case InterruptEnable:
                if ((_lineControl & DivisorLatch) != 0)
                {
                    _divisor = (ushort)((_divisor & 0x00FF) | (value << 8));
                    return false;
                }

                if ((value & EnableTransmit) != 0 && (_enable & EnableTransmit) == 0 && TransmitReady)
                {
                    _transmitPending = true;
                }

                _enable = (byte)(value & 0x0F);
                return false;
            case InterruptIdentification:
                WriteFifoControl(value);
                return false;
            case LineControl:
                _lineControl = value;
                return false;
            case ModemControl:
                var before = ModemLinesNow();
                _modemControl = (byte)(value & 0x1F);
                NoteModemChange(before);
                return false;
            case Scratch:
                _scratch = value;
                return false;
            default:
                return false;
        }
    }

    internal UartSavedState Save() => new()
    {
        Receive = [.. _receive],
        Enable = _enable,
        FifoControl = _fifoControl,
        LineControl = _lineControl,
        ModemControl = _modemControl,
        LineErrors = _lineErrors,
        ModemDelta = _modemDelta,
        Scratch = _scratch,
        Holding = _holding,
        Divisor = _divisor,
        TransmitPending = _transmitPending,
    };

    internal void Load(UartSavedState state)
    {
        Reset();
        foreach (var value in state.Receive)
        {
            _receive.Enqueue(value);
        }

        _enable = (byte)(state.Enable & 0x0F);
        _fifoControl = state.FifoControl;
        _lineControl = state.LineControl;
        _modemControl = (byte)(state.ModemControl & 0x1F);
        _lineErrors = (byte)(state.LineErrors & StatusErrors);
        _modemDelta = (byte)(state.ModemDelta & 0x0F);
        _scratch = state.Scratch;
        _holding = state.Holding;
        _divisor = (ushort)state.Divisor;
        _transmitPending = state.TransmitPending;
    }

    private byte LineStatusNow() => (byte)(
        _lineErrors |
        (_receive.Count > 0 ? StatusDataReady : 0) |
        (TransmitReady ? StatusHoldingEmpty : 0) |
        (TransmitReady && TransmitIdle ? StatusTransmitterEmpty : 0));

    private byte ModemLinesNow()
    {
        if (!IsLoopback)
        {
            return _modemLines;
        }

        return (byte)(
            ((_modemControl & ModemRts) != 0 ? SignalCts : 0) |
            ((_modemControl & ModemDtr) != 0 ? SignalDsr : 0) |
            ((_modemControl & ModemOut1) != 0 ? SignalRing : 0) |
            ((_modemControl & ModemOut2) != 0 ? SignalCarrier : 0));
    }

    private void NoteModemChange(byte before)
    {
        var now = ModemLinesNow();
        var changed = now ^ before;
        // Delta bits lie four below their lines; the ring bit counts the end of a ring only.
        var delta = (changed & (SignalCts | SignalDsr | SignalCarrier)) | (changed & before & SignalRing);
        _modemDelta |= (byte)(delta >> 4);
    }

    private byte Identify()
    {
        if ((_enable & EnableLineStatus) != 0 && _lineErrors != 0)
        {
            return IdLineStatus;
        }

        if ((_enable & EnableReceive) != 0 && _receive.Count > 0)
        {
            // Input arrives all at once, so a FIFO below its trigger level has already timed out.
            return !FifosOn || _receive.Count >= Trigger ? IdReceive : IdTimeout;
        }

        if ((_enable & EnableTransmit) != 0 && _transmitPending && TransmitReady)
        {
            return IdTransmit;
        }

        return (_enable & EnableModemStatus) != 0 && _modemDelta != 0 ? IdModemStatus : IdNone;
    }

    private void WriteFifoControl(byte value)
    {
        if (((value ^ _fifoControl) & FifoEnable) != 0 || (value & FifoClearReceive) != 0)
        {
            _receive.Clear();
        }

        // Other bits stick only while the FIFOs are on.
        _fifoControl = (value & FifoEnable) != 0 ? (byte)(value & 0xC9) : (byte)0;
    }
}
