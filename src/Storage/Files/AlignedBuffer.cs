using System.Runtime.InteropServices;

namespace Vitro.Storage.Files;

/// <summary>Buffers that begin at a page: processors copy between aligned places about half as fast again.</summary>
internal static class AlignedBuffer
{
    private const int Alignment = 4096;

    internal static Memory<byte> Allocate(int length)
    {
        var array = GC.AllocateUninitializedArray<byte>(length + Alignment, pinned: true);
        var address = Marshal.UnsafeAddrOfPinnedArrayElement(array, 0);
        return array.AsMemory((int)(-address & (Alignment - 1)), length);
    }
}
