using Vitro.Foundation;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Vid;

namespace Vitro.Hypervisor.Tlfs;

/// <summary>The guest OS identity and the hypercall page (TLFS, "Establishing the Hypercall Interface").</summary>
internal sealed class HypercallPage(GpaSpace gpa) : IInspectable
{
    private const ulong Locked = 2;
    private readonly Lock _gate = new();
    private IPartition? _partition;
    private ulong _guestOsId;
    private ulong _register;

    internal ulong GuestOsId => Volatile.Read(ref _guestOsId);

    internal ulong Register => Volatile.Read(ref _register);

    internal bool IsEnabled => (Register & SyntheticMsr.PageEnable) != 0;

    public void Inspect(InspectNode node) => node.Hex("guestOsId", GuestOsId).Hex("register", Register);

    internal void Attach(IPartition partition) => _partition = partition;

    internal void WriteGuestOsId(ulong value)
    {
        lock (_gate)
        {
            Volatile.Write(ref _guestOsId, value);
            if (value == 0)
            {
                Volatile.Write(ref _register, _register & ~SyntheticMsr.PageEnable);
            }
        }
    }

    /// <summary>Writes the hypercall register; false when the page is not writable memory.</summary>
    internal bool TryWriteRegister(ulong value)
    {
        lock (_gate)
        {
            if ((_register & Locked) != 0)
            {
                return true;
            }

            // Without an identity the interface stays off; the rest of the register is kept as written.
            if (_guestOsId == 0)
            {
                value &= ~SyntheticMsr.PageEnable;
            }

            if ((value & SyntheticMsr.PageEnable) != 0 && !TryFill(value & SyntheticMsr.PageAddress))
            {
                return false;
            }

            Volatile.Write(ref _register, value);
            return true;
        }
    }

    /// <summary>Writes the page anew: after a restore it may hold another engine's instructions.</summary>
    internal void Refresh()
    {
        lock (_gate)
        {
            if ((_register & SyntheticMsr.PageEnable) != 0)
            {
                TryFill(_register & SyntheticMsr.PageAddress);
            }
        }
    }

    internal void Set(ulong guestOsId, ulong register)
    {
        lock (_gate)
        {
            Volatile.Write(ref _guestOsId, guestOsId);
            Volatile.Write(ref _register, register);
        }
    }

    private bool TryFill(ulong address)
    {
        var code = (_partition ?? throw new InvalidOperationException("No partition is attached.")).HypercallPageCode;
        return GuestPage.TryGet(gpa, address, GuestMemory.PageSize, out _) && gpa.TryWrite(address, code);
    }
}
