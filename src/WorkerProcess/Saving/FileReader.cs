using Microsoft.Win32.SafeHandles;

namespace Vitro.WorkerProcess.Saving;

/// <summary>Reads from a file at a place.</summary>
internal static class FileReader
{
    /// <summary>Fills <paramref name="bytes"/> as far as the file goes; returns how far.</summary>
    internal static int ReadFully(SafeFileHandle file, Span<byte> bytes, long offset)
    {
        var done = 0;
        int count;
        while (done < bytes.Length && (count = RandomAccess.Read(file, bytes[done..], offset + done)) > 0)
        {
            done += count;
        }

        return done;
    }
}
