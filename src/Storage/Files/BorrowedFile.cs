namespace Vitro.Storage.Files;

/// <summary>A file that its user does not close, nor, when told so, sync.</summary>
internal sealed class BorrowedFile(IDiskFile file, bool skipSync = false) : IDiskFile
{
    public string Path => file.Path;

    public bool IsReadOnly => file.IsReadOnly;

    public long Length => file.Length;

    public long AllocatedLength => file.AllocatedLength;

    public int Read(long offset, Span<byte> buffer) => file.Read(offset, buffer);

    public int Read(long offset, in BufferSlice target, bool cachedOnly) => file.Read(offset, target, cachedOnly);

    public void Write(long offset, ReadOnlySpan<byte> buffer) => file.Write(offset, buffer);

    public void Write(long offset, in BufferSlice source, bool durable) => file.Write(offset, source, durable);

    public void Flush()
    {
        if (!skipSync)
        {
            file.Flush();
        }
    }

    public void SetLength(long length) => file.SetLength(length);

    public void Zero(long offset, long length, bool keepSpace) => file.Zero(offset, length, keepSpace);

    public void Reserve(long offset, long length) => file.Reserve(offset, length);

    public long NextData(long offset) => file.NextData(offset);

    public long NextHole(long offset) => file.NextHole(offset);

    public void Dispose()
    {
        // The lender closes it.
    }
}
