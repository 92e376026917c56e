using Vitro.Hypervisor.Vid;

namespace Vitro.Firmware.LinuxBoot;

/// <summary>Reads kernels and modules from host files, with errors a user can act on.</summary>
internal static class BootFile
{
    /// <summary>Linux kernels stay below 100 MiB even unpacked; the bound keeps a wrong path from eating the host.</summary>
    private const long MaximumKernelSize = 512L << 20;

    internal static ScratchBuffer Read(string path, string kind)
    {
        using var file = Open(path, kind);
        if (file.Length is 0 or > MaximumKernelSize)
        {
            throw new BootException(path, $"a {kind} of {file.Length} bytes cannot be booted", "give a kernel of 1 byte to 512 MiB");
        }

        var buffer = new ScratchBuffer((int)file.Length);
        try
        {
            file.ReadExactly(buffer.Span);
            return buffer;
        }
        catch (IOException error)
        {
            buffer.Dispose();
            throw Unreadable(path, kind, error);
        }
    }

    internal static long Length(string path, string kind)
    {
        using var file = Open(path, kind);
        return file.Length;
    }

    /// <summary>Reads a whole file to a guest physical address that the caller has checked to be RAM.</summary>
    internal static void ReadToGuest(string path, string kind, long length, ulong gpa, GpaSpace space)
    {
        const int ChunkSize = 16 << 20;
        using var file = Open(path, kind);
        try
        {
            for (long done = 0; done < length;)
            {
                var count = (int)Math.Min(ChunkSize, length - done);
                if (!space.TryGetSpan(gpa + (ulong)done, count, out var span))
                {
                    throw new BootException(path, "it does not fit into the guest's memory", "give the machine more memory");
                }

                file.ReadExactly(span);
                space.NotifyWritten(gpa + (ulong)done, (ulong)count);
                done += count;
            }
        }
        catch (IOException error)
        {
            throw Unreadable(path, kind, error);
        }
    }

    private static FileStream Open(string path, string kind)
    {
        try
        {
            return new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0, FileOptions.SequentialScan);
        }
        catch (Exception error) when (error is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new BootException(path, $"the {kind} does not exist", "check the path", error);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw Unreadable(path, kind, error);
        }
    }

    private static BootException Unreadable(string path, string kind, Exception error) =>
        new(path, $"the {kind} cannot be read ({error.Message.TrimEnd('.')})", "check that it is a readable file", error);
}
