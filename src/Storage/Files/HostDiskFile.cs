using Vitro.Platform;

namespace Vitro.Storage.Files;

/// <summary>A file of the host.</summary>
internal sealed class HostDiskFile(HostFile file, bool readOnly) : IDiskFile
{
    private const int ZeroChunk = 1 << 20;

    public string Path => file.Path;

    public bool IsReadOnly => readOnly;

    /// <summary>The file itself, for reads through a ring.</summary>
    internal HostFile Host => file;

    public long Length
    {
        get
        {
            try
            {
                return file.Length;
            }
            catch (PlatformException error)
            {
                throw Wrap(error);
            }
        }
    }

    public long AllocatedLength
    {
        get
        {
            try
            {
                return file.AllocatedLength;
            }
            catch (PlatformException error)
            {
                throw Wrap(error);
            }
        }
    }

    public int Read(long offset, Span<byte> buffer)
    {
        try
        {
            return file.Read(offset, buffer);
        }
        catch (PlatformException error)
        {
            throw Wrap(error);
        }
    }

    public int Read(long offset, in BufferSlice target, bool cachedOnly)
    {
        try
        {
            return file.Read(offset, target.Buffers.Span, target.Skip, target.Length, cachedOnly);
        }
        catch (PlatformException error)
        {
            throw Wrap(error);
        }
    }

    public void Write(long offset, ReadOnlySpan<byte> buffer)
    {
        try
        {
            file.Write(offset, buffer);
        }
        catch (PlatformException error)
        {
            throw Wrap(error);
        }
    }

    public void Write(long offset, in BufferSlice source, bool durable)
    {
        try
        {
            file.Write(offset, source.Buffers.Span, source.Skip, source.Length, durable);
        }
        catch (PlatformException error)
        {
            throw Wrap(error);
        }
    }

    public void Flush()
    {
        try
        {
            file.Sync();
        }
        catch (PlatformException error)
        {
            throw Wrap(error);
        }
    }

    public void SetLength(long length)
    {
        try
        {
            file.SetLength(length);
        }
        catch (PlatformException error)
        {
            throw Wrap(error);
        }
    }

    public void Zero(long offset, long length, bool keepSpace)
    {
        try
        {
            if (keepSpace ? file.TryZeroRange(offset, length) : file.TryPunchHole(offset, length))
            {
                return;
            }

            var zeroes = new byte[(int)Math.Min(length, ZeroChunk)];
            for (long done = 0; done < length;)
            {
                var take = (int)Math.Min(zeroes.Length, length - done);
                file.Write(offset + done, zeroes.AsSpan(0, take));
                done += take;
            }
        }
        catch (PlatformException error)
        {
            throw Wrap(error);
        }
    }

    public void Reserve(long offset, long length)
    {
        try
        {
            _ = file.TryReserve(offset, length);
        }
        catch (PlatformException error)
        {
            throw Wrap(error);
        }
    }

    public long NextData(long offset) => file.NextData(offset);

    public long NextHole(long offset) => file.NextHole(offset);

    public void Dispose() => file.Dispose();

    internal static BlockIOException Wrap(PlatformException error) => new(error.Message, error);
}
