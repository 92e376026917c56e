using static Vitro.Chipset.RtcSpec;

namespace Vitro.Chipset;

/// <summary>Time of day and date as the clock's registers hold them: BCD or binary, 12 or 24 hours.</summary>
internal static class RtcCalendar
{
    internal static byte Read(int register, DateTime time, byte registerB) => register switch
    {
        Seconds => Encode(time.Second, registerB),
        Minutes => Encode(time.Minute, registerB),
        Hours => EncodeHour(time.Hour, registerB),
        Weekday => Encode((int)time.DayOfWeek + 1, registerB),
        Day => Encode(time.Day, registerB),
        Month => Encode(time.Month, registerB),
        Year => Encode(time.Year % 100, registerB),
        _ => Encode(time.Year / 100, registerB),
    };

    /// <summary>The time with one register changed; values that name no time are brought into range.</summary>
    internal static DateTime Write(int register, byte value, DateTime time, byte registerB)
    {
        var number = Decode(value, registerB);
        var (year, month, day) = (time.Year, time.Month, time.Day);
        var (hour, minute, second) = (time.Hour, time.Minute, time.Second);
        switch (register)
        {
            case Seconds:
                second = Math.Min(number, 59);
                break;
            case Minutes:
                minute = Math.Min(number, 59);
                break;
            case Hours:
                hour = DecodeHour(value, registerB);
                break;
            case Day:
                day = Math.Clamp(number, 1, 31);
                break;
            case Month:
                month = Math.Clamp(number, 1, 12);
                break;
            case Year:
                year = (year / 100 * 100) + Math.Min(number, 99);
                break;
            case Century:
                year = (Math.Clamp(number, 1, 98) * 100) + (year % 100);
                break;
            default:
                // The day of the week follows from the date.
                break;
        }

        day = Math.Min(day, DateTime.DaysInMonth(year, month));
        return new DateTime(year, month, day, hour, minute, second, DateTimeKind.Utc).AddTicks(time.Ticks % TimeSpan.TicksPerSecond);
    }

    /// <summary>Whether the alarm registers name this second; a register of 0xC0 and above names every value.</summary>
    internal static bool AlarmMatches(ReadOnlySpan<byte> memory, DateTime time, byte registerB) =>
        Matches(memory[SecondsAlarm], Read(Seconds, time, registerB)) &&
        Matches(memory[MinutesAlarm], Read(Minutes, time, registerB)) &&
        Matches(memory[HoursAlarm], Read(Hours, time, registerB));

    internal static byte Encode(int value, byte registerB) =>
        (byte)((registerB & Binary) != 0 ? value : (value / 10 << 4) | (value % 10));

    private static bool Matches(byte alarm, byte value) => alarm >= 0xC0 || alarm == value;

    private static int Decode(byte value, byte registerB) => (registerB & Binary) != 0 ? value : ((value >> 4) * 10) + (value & 15);

    private static byte EncodeHour(int hour, byte registerB)
    {
        if ((registerB & TwentyFourHours) != 0)
        {
            return Encode(hour, registerB);
        }

        return (byte)(Encode(hour % 12 == 0 ? 12 : hour % 12, registerB) | (hour >= 12 ? 0x80 : 0));
    }

    private static int DecodeHour(byte value, byte registerB)
    {
        if ((registerB & TwentyFourHours) != 0)
        {
            return Math.Min(Decode(value, registerB), 23);
        }

        var hour = Math.Clamp(Decode((byte)(value & 0x7F), registerB), 1, 12) % 12;
        return (value & 0x80) != 0 ? hour + 12 : hour;
    }
}
