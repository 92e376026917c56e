using Vitro.Hypervisor.Vid;

namespace Vitro.Hypervisor.Tlfs;

/// <summary>Finds pages that the guest places in its memory for the hypervisor to write.</summary>
internal static class GuestPage
{
    /// <summary>A range within one page as bytes; false when nothing backs it or the guest itself may not write there.</summary>
    internal static bool TryGet(GpaSpace gpa, ulong address, int length, out Span<byte> bytes)
    {
        if (gpa.TryGetHostAddress(address, (ulong)length, GpaAccess.Read | GpaAccess.Write, out _))
        {
            return gpa.TryGetSpan(address, length, out bytes);
        }

        bytes = default;
        return false;
    }

    /// <summary>Clears a page; false when it is not writable memory.</summary>
    internal static bool TryClear(GpaSpace gpa, ulong address)
    {
        if (!TryGet(gpa, address, GuestMemory.PageSize, out var page))
        {
            return false;
        }

        page.Clear();
        gpa.NotifyWritten(address, GuestMemory.PageSize);
        return true;
    }
}
