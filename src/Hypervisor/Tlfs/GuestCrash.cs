using System.Text;
using Vitro.Foundation;
using Vitro.Hypervisor.Vid;

namespace Vitro.Hypervisor.Tlfs;

/// <summary>The crash MSRs (TLFS, "Guest Crash Enlightenment"): a dying guest leaves five words and its kernel log.</summary>
internal sealed class GuestCrash(GpaSpace gpa, IGuestNotifications notifications) : IInspectable
{
    /// <summary>CRASH_CTL: the guest's request to report, and the host's statement that it takes reports.</summary>
    internal const ulong Notify = 1UL << 63;

    /// <summary>CRASH_CTL: P3 and P4 are address and length of the log; Linux offers its log only if it reads this bit set.</summary>
    internal const ulong NotifyMessage = 1UL << 62;

    // The guest hands over one page; more is nonsense.
    private const int MaxLog = GuestMemory.PageSize;
    private readonly GuestEventLimiter _limiter = new();
    private readonly ulong[] _parameters = new ulong[5];

    public void Inspect(InspectNode node)
    {
        for (var i = 0; i < _parameters.Length; i++)
        {
            node.Hex("p" + i, _parameters[i]);
        }

        node.Value("reports", _limiter.Count);
    }

    internal ulong Read(int index) => Volatile.Read(ref _parameters[index]);

    internal void Write(int index, ulong value) => Volatile.Write(ref _parameters[index], value);

    internal void Reset() => Array.Clear(_parameters);

    internal void WriteControl(int vpIndex, ulong value)
    {
        // A guest can write this register for ever; only some of its reports are passed on.
        if ((value & Notify) == 0 || !_limiter.ShouldLog())
        {
            return;
        }

        var log = (value & NotifyMessage) != 0 ? ReadLog(_parameters[3], _parameters[4]) : null;
        notifications.OnGuestCrash(new GuestCrashReport(vpIndex, (ulong[])_parameters.Clone(), log));
    }

    private string? ReadLog(ulong address, ulong length)
    {
        var bytes = new byte[(int)Math.Min(length, MaxLog)];
        return gpa.TryRead(address, bytes) ? ToPrintable(bytes) : null;
    }

    // The text goes to terminals and logs, so it keeps no control characters but the end of a line.
    private static string ToPrintable(ReadOnlySpan<byte> bytes)
    {
        var text = new StringBuilder(Encoding.UTF8.GetString(bytes));
        for (var i = 0; i < text.Length; i++)
        {
            if (char.IsControl(text[i]) && text[i] is not ('\n' or '\t'))
            {
                text[i] = text[i] == '\0' ? ' ' : '\uFFFD';
            }
        }

        return text.ToString().TrimEnd();
    }
}
