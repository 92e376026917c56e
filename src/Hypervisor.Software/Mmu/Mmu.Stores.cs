using System.Runtime.InteropServices;

namespace Vitro.Hypervisor.Software;

/// <content>
/// Which store entries of the first level lead to a page of RAM: chains by the page's host address, so that a page that comes to
/// hold code is found without a look at all entries. What was filled stays in its chain until another page is filled there,
/// so that flushes have nothing to do with it.
/// </content>
internal sealed unsafe partial class Mmu
{
    private const int StoreChains = TlbEntry.SetSize;

    // Slots; 0, which is none of a store set, ends a chain.
    private readonly uint* _storeChains = (uint*)NativeMemory.AllocZeroed(StoreChains, sizeof(uint));
    private readonly uint* _storeNext = (uint*)NativeMemory.AllocZeroed(SlotCount, sizeof(uint));

    /// <summary>Empties the store entries of one page of RAM, which now holds code.</summary>
    public void DropStores(byte* hostPage)
    {
        ForgetPages();
        for (var slot = *StoreChain((ulong)hostPage); slot != 0; slot = _storeNext[slot])
        {
            if (_sets[slot].Host == (ulong)hostPage)
            {
                _sets[slot].Tag = TlbEntry.EmptyTag;
            }
        }
    }

    private static bool IsStoreSet(int set) => set < FetchSets && (set & 1) != 0;

    private uint* StoreChain(ulong hostPage) => _storeChains + ((hostPage >> 12) & (StoreChains - 1));

    // A slot of a store set is about to lead to another page of the host.
    private void Rechain(uint slot, ulong hostPage)
    {
        var former = _sets[slot].Host;
        if (former != 0)
        {
            var link = StoreChain(former);
            while (*link != slot)
            {
                link = _storeNext + *link;
            }

            *link = _storeNext[slot];
        }

        var chain = StoreChain(hostPage);
        _storeNext[slot] = *chain;
        *chain = slot;
    }

    private void FreeStoreChains()
    {
        NativeMemory.Free(_storeChains);
        NativeMemory.Free(_storeNext);
    }
}
