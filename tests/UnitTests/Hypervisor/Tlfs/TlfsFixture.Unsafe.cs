using Vitro.Hypervisor.Vid;

namespace Vitro.UnitTests.Hypervisor.Tlfs;

internal sealed unsafe partial class TlfsFixture : IGpaObserver
{
    private ulong _slotToFree;

    public void OnRegionsChanged()
    {
        // Regions do not change here.
    }

    /// <summary>A guest on another processor that acts in the middle of a host's write, and has looked at the flags before it.</summary>
    public void OnCodePageWritten(ulong gpa, ulong length)
    {
        var slot = _slotToFree;
        _slotToFree = 0;
        if (slot != 0)
        {
            WriteUInt32(slot, 0);
        }
    }

    /// <summary>Makes the guest free a message slot, without an end of message, at the host's next write to its page.</summary>
    internal void FreeSlotWhenWritten(ulong slot)
    {
        Gpa.Attach(this);
        GpaSpace.SetPageFlag(Gpa.PageFlags(slot), GpaPageFlags.HasCode);
        _slotToFree = slot;
    }
}
