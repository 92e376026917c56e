namespace Vitro.Chipset;

/// <summary>Registers of the 16550A (National Semiconductor PC16550D).</summary>
internal static class UartSpec
{
    internal const int PortCount = 8;
    internal const int FifoSize = 16;

    internal const int Data = 0;
    internal const int InterruptEnable = 1;
    internal const int InterruptIdentification = 2;
    internal const int LineControl = 3;
    internal const int ModemControl = 4;
    internal const int LineStatus = 5;
    internal const int ModemStatus = 6;
    internal const int Scratch = 7;

    internal const byte EnableReceive = 0x01;
    internal const byte EnableTransmit = 0x02;
    internal const byte EnableLineStatus = 0x04;
    internal const byte EnableModemStatus = 0x08;

    internal const byte IdNone = 0x01;
    internal const byte IdModemStatus = 0x00;
    internal const byte IdTransmit = 0x02;
    internal const byte IdReceive = 0x04;
    internal const byte IdLineStatus = 0x06;
    internal const byte IdTimeout = 0x0C;
    internal const byte IdFifosOn = 0xC0;

    internal const byte FifoEnable = 0x01;
    internal const byte FifoClearReceive = 0x02;
    internal const byte FifoClearTransmit = 0x04;

    internal const byte DivisorLatch = 0x80;

    internal const byte ModemDtr = 0x01;
    internal const byte ModemRts = 0x02;
    internal const byte ModemOut1 = 0x04;
    internal const byte ModemOut2 = 0x08;
    internal const byte ModemLoopback = 0x10;

    internal const byte StatusDataReady = 0x01;
    internal const byte StatusOverrun = 0x02;
    internal const byte StatusBreak = 0x10;
    internal const byte StatusHoldingEmpty = 0x20;
    internal const byte StatusTransmitterEmpty = 0x40;
    internal const byte StatusErrors = 0x1E;

    internal const byte SignalCts = 0x10;
    internal const byte SignalDsr = 0x20;
    internal const byte SignalRing = 0x40;
    internal const byte SignalCarrier = 0x80;
}
