using System.Diagnostics.CodeAnalysis;
using Vitro.Storage.Files;
using Vitro.Storage.Vhd;

namespace Vitro.Storage.Disks;

/// <summary>A file that is the disk byte for byte: raw images, ISO images, block devices, and fixed VHDs but for their footer.</summary>
internal sealed class FlatDisk : VirtualDisk
{
    private readonly IDiskFile _file;
    private readonly VhdFooter? _footer;
    private readonly long _length;
    private bool _closed;

    /// <summary>A raw file.</summary>
    internal FlatDisk(IDiskFile file, int sectorSize)
        : base(file.Path)
    {
        _file = file;
        LogicalSectorSize = sectorSize;
        PhysicalSectorSize = 4096;

        // A last sector that the file does not fill reads as if zeroes followed.
        _length = (file.Length + sectorSize - 1) & -sectorSize;
    }

    /// <summary>A fixed VHD, whose footer follows the content.</summary>
    internal FlatDisk(IDiskFile file, VhdFooter footer)
        : base(file.Path)
    {
        _file = file;
        _footer = footer;
        _length = footer.DiskSize;
        LogicalSectorSize = 512;
        PhysicalSectorSize = 512;
        Identity = footer.UniqueId;
        Format = DiskFormat.Vhd;
    }

    public override DiskFormat Format { get; }

    public override DiskKind Kind => DiskKind.Fixed;

    public override long Length => _length;

    public override int LogicalSectorSize { get; }

    public override int PhysicalSectorSize { get; }

    public override bool IsReadOnly => _file.IsReadOnly;

    public override Guid Identity { get; }

    // A fixed VHD is chosen for its space; a raw file has no kind.
    public override bool SupportsTrim => _footer is null;

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

    internal override bool TryLocate(long offset, int length, [NotNullWhen(true)] out IDiskFile? file, out long fileOffset)
    {
        file = _file;
        fileOffset = offset;
        return true;
    }

    internal override void Write(long offset, in BufferSlice source, bool durable)
    {
        var epoch = Changes.Enter();
        try
        {
            Changes.Announce(offset, source.Length);
            _file.Write(offset, source, durable);
        }
        finally
        {
            Changes.Exit(epoch);
        }
    }

    internal override void Flush() => _file.Flush();

    internal override void Trim(long offset, long length)
    {
        if (SupportsTrim)
        {
            Zero(offset, length, keepSpace: false);
        }
    }

    internal override void Zero(long offset, long length) => Zero(offset, length, keepSpace: _file.AllocatedLength >= _length);

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

    internal void SetLength(long length)
    {
        if (_footer is null)
        {
            _file.SetLength(length);
            _file.Flush();
            return;
        }

        // The new footer is durable before the old one goes.
        var resized = _footer with { CurrentSize = length, Geometry = VhdGeometry.For(length / VhdLayout.SectorSize), Creator = "win " };
        if (length > _length)
        {
            _file.SetLength(length + VhdFooter.Size);
        }

        _file.Write(length, resized.Build());
        _file.Flush();
        if (length > _length)
        {
            _file.Zero(_length, Math.Min(VhdFooter.Size, length - _length));
        }
        else
        {
            _file.SetLength(length + VhdFooter.Size);
        }

        _file.Flush();
    }

    internal void TakeIdentity(Guid identity)
    {
        _file.Write(_length, (_footer! with { UniqueId = identity }).Build());
        _file.Flush();
    }

    internal override void Close()
    {
        if (_closed)
        {
            return;
        }

        _closed = true;
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

    private void Zero(long offset, long length, bool keepSpace)
    {
        if (length == 0)
        {
            return;
        }

        var epoch = Changes.Enter();
        try
        {
            Changes.Announce(offset, length);
            _file.Zero(offset, length, keepSpace);
        }
        finally
        {
            Changes.Exit(epoch);
        }
    }
}
