namespace Vitro.Storage.Files;

/// <summary>What the formats need of a file: the seam below which every byte a disk issues can be seen, delayed or lost.</summary>
/// <remarks>Thread-safe. Failures are <see cref="BlockIOException"/>.</remarks>
internal interface IDiskFile : IDisposable
{
    string Path { get; }

    bool IsReadOnly { get; }

    long Length { get; }

    /// <summary>Reads until the buffer is full or the file ends; returns the bytes read.</summary>
    int Read(long offset, Span<byte> buffer);

    /// <summary>The same into a list of buffers; -1 when <paramref name="cachedOnly"/> and the storage would have to be waited for.</summary>
    int Read(long offset, in BufferSlice target, bool cachedOnly);

    void Write(long offset, ReadOnlySpan<byte> buffer);

    void Write(long offset, in BufferSlice source, bool durable);

    /// <summary>Makes all completed writes durable.</summary>
    void Flush();

    void SetLength(long length);

    /// <summary>Bytes of storage the file takes or has reserved.</summary>
    long AllocatedLength { get; }

    /// <summary>
    /// Makes a range inside the file read as zero, giving its space back where the file system can, or keeping it reserved with
    /// <paramref name="keepSpace"/>.
    /// </summary>
    void Zero(long offset, long length, bool keepSpace = false);

    /// <summary>Reserves space, so that later writes do not fail for the want of it; best effort.</summary>
    void Reserve(long offset, long length);

    long NextData(long offset);

    long NextHole(long offset);
}
