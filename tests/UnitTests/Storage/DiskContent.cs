using Vitro.Storage;
using Vitro.Storage.Files;

namespace Vitro.UnitTests.Storage;

/// <summary>Reads and writes disks in tests.</summary>
internal static class DiskContent
{
    internal static byte[] Random(int length, int seed)
    {
        var data = new byte[length];
        new Random(seed).NextBytes(data);
        return data;
    }

    internal static void Put(this VirtualDisk disk, long offset, byte[] data) => disk.Write(offset, BufferSlice.Of(data), durable: false);

    internal static byte[] Get(this VirtualDisk disk, long offset, int length)
    {
        var data = new byte[length];
        data.AsSpan().Fill(0xA5); // what a read leaves untouched shows
        disk.Read(offset, BufferSlice.Of(data), cachedOnly: false);
        return data;
    }

    internal static byte[] GetAll(this VirtualDisk disk) => disk.Get(0, checked((int)disk.Length));
}
