using System.Globalization;
using System.Text;

namespace Vitro.Hypervisor.Software;

/// <summary>The last exceptions of a processor, for inspection and for the message of a triple fault.</summary>
internal sealed class FaultHistory
{
    private const int Capacity = 16;

    private readonly Entry[] _entries = new Entry[Capacity];
    private long _count;

    private struct Entry
    {
        public ulong Rip;
        public ulong Address;
        public uint ErrorCode;
        public int Vector;
    }

    /// <summary>Exceptions so far.</summary>
    public long Count => _count;

    /// <summary>Adds one; the oldest gives way.</summary>
    public void Add(int vector, uint errorCode, ulong rip, ulong address)
    {
        _entries[_count++ & (Capacity - 1)] = new Entry { Vector = vector, ErrorCode = errorCode, Rip = rip, Address = address };
    }

    /// <summary>The last few, newest first.</summary>
    public string Describe(int maximum)
    {
        var text = new StringBuilder();
        for (var i = 1; i <= Math.Min(Math.Min(maximum, Capacity), _count); i++)
        {
            var entry = _entries[(_count - i) & (Capacity - 1)];
            text.Append(CultureInfo.InvariantCulture, $"{(i > 1 ? ", " : "")}#{entry.Vector} error 0x{entry.ErrorCode:x} at 0x{entry.Rip:x}");
            if (entry.Vector == Fault.PageFault)
            {
                text.Append(CultureInfo.InvariantCulture, $" on 0x{entry.Address:x}");
            }
        }

        return text.ToString();
    }
}
