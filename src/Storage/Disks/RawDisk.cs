using Vitro.Storage.Files;

namespace Vitro.Storage.Disks;

/// <summary>A file that is the disk byte for byte: raw images, ISO images, block devices.</summary>
internal sealed class RawDisk : VirtualDisk
{
    private readonly IDiskFile _file;
    private readonly long _length;

    internal RawDisk(IDiskFile file, int sectorSize)
        : base(file.Path)
    {
        _file = file;
        LogicalSectorSize = sectorSize;

        // A last sector that the file does not fill reads as if zeroes followed.
        _length = (file.Length + sectorSize - 1) & -sectorSize;
    }

    public override DiskFormat Format => DiskFormat.Raw;

    public override DiskKind Kind => DiskKind.Fixed;

    public override long Length => _length;

    public override int LogicalSectorSize { get; }

    public override int PhysicalSectorSize => 4096;

    public override bool IsReadOnly => _file.IsReadOnly;

    public override Guid Identity => Guid.Empty;

    public override bool SupportsTrim => true;

    internal override bool Read(long offset, in BufferSlice target, bool cachedOnly)
    {
        var got = _file.Read(offset, target, cachedOnly);
        if (got < 0)
        {
            return false;
        }

        if (got < target.Length)
        {
            target.Slice(got, target.Length - got).Clear();
        }

        return true;
    }

    internal override void Write(long offset, in BufferSlice source, bool durable) => _file.Write(offset, source, durable);

    internal override void Flush() => _file.Flush();

    internal override void Trim(long offset, long length) => Zero(offset, length);

    internal override void Zero(long offset, long length)
    {
        if (length > 0)
        {
            _file.Zero(offset, length);
        }
    }

    internal override RangeContent Describe(long offset, out long length)
    {
        var data = Math.Min(_file.NextData(offset), _length);
        if (data > offset)
        {
            length = data - offset;
            return RangeContent.Zero;
        }

        var hole = Math.Min(_file.NextHole(offset), _length);
        length = Math.Max(hole - offset, 1);
        return RangeContent.Data;
    }

    internal override void Close()
    {
        try
        {
            if (!IsReadOnly)
            {
                _file.Flush();
            }
        }
        finally
        {
            _file.Dispose();
        }
    }
}
