namespace Vitro.Chipset;

/// <summary>Registers of the MC146818 real-time clock and the CMOS bytes PC firmware keeps behind it.</summary>
internal static class RtcSpec
{
    internal const ushort IndexPort = 0x70;
    internal const ushort DataPort = 0x71;
    internal const int MemorySize = 128;

    internal const int Seconds = 0;
    internal const int SecondsAlarm = 1;
    internal const int Minutes = 2;
    internal const int MinutesAlarm = 3;
    internal const int Hours = 4;
    internal const int HoursAlarm = 5;
    internal const int Weekday = 6;
    internal const int Day = 7;
    internal const int Month = 8;
    internal const int Year = 9;
    internal const int RegisterA = 10;
    internal const int RegisterB = 11;
    internal const int RegisterC = 12;
    internal const int RegisterD = 13;
    internal const int Century = 0x32;

    internal const byte UpdateInProgress = 0x80;
    internal const byte DividerMask = 0x70;
    internal const byte DividerRuns = 0x20;

    internal const byte SetMode = 0x80;
    internal const byte PeriodicEnable = 0x40;
    internal const byte AlarmEnable = 0x20;
    internal const byte UpdateEnable = 0x10;
    internal const byte Binary = 0x04;
    internal const byte TwentyFourHours = 0x02;

    internal const byte InterruptRequest = 0x80;
    internal const byte PeriodicFlag = 0x40;
    internal const byte AlarmFlag = 0x20;
    internal const byte UpdateFlag = 0x10;

    internal const byte ValidRam = 0x80;

    /// <summary>The update-in-progress bit is up this long before each second begins, in nanoseconds.</summary>
    internal const long UpdateNotice = 244_000;

    /// <summary>Period of the periodic interrupt in nanoseconds for a rate select of register A; 0 is off.</summary>
    internal static long PeriodOf(int rateSelect)
    {
        var shift = rateSelect is 1 or 2 ? rateSelect + 6 : rateSelect - 1;
        return rateSelect == 0 ? 0 : (1L << shift) * 1_000_000_000 / 32_768;
    }
}
