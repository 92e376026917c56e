using Vitro.Storage;
using Vitro.UnitTests.Storage.Crash;
using Xunit;

namespace Vitro.UnitTests.Storage.Operations;

/// <summary>One of the library's operations, ready to be run on small disks in memory and to be interrupted.</summary>
internal sealed class DiskOperationCase
{
    internal const int Megabyte = 1 << 20;
    internal const int Length = (6 * Megabyte) + 1536;
    private const string Base = "/disks/base";
    private const string Middle = "/disks/middle";
    private const string Top = "/disks/top";
    private const string New = "/disks/new";

    // The first entry of the table, and the footer or header of which another copy is left, in files of the library's own making.
    private const long VhdxTable = 3L << 20;
    private const long VhdxSecondHeader = 128 << 10;
    private const long VhdTable = 1536;
    private const long VhdFooterCopy = 0;

    private readonly DiskFormat _format;
    private readonly string _name;
    private readonly byte[] _content = new byte[Length];
    private readonly string _path;
    private readonly DiskOpenOptions _options;

    /// <summary>Makes the disks that the operation is for.</summary>
    internal DiskOperationCase(DiskFormat format, string name)
    {
        (_format, _name, _path) = (format, name, Base);
        var files = new CrashFileSystem();
        Create(files, Base, null);
        Change(files, Base, disk => Scribble(disk, 1));
        foreach (var (path, below, seed) in Children(name))
        {
            Create(files, path, below);
            Change(files, path, disk => Scribble(disk, seed));
            _path = path;
        }

        if (name.StartsWith("compact", StringComparison.Ordinal))
        {
            Change(files, Base, disk => disk.Zero(0, 2 * Megabyte));
            _content.AsSpan(0, 2 * Megabyte).Clear();
        }
        else if (name == "repair-copy")
        {
            Damage(files, format == DiskFormat.Vhdx ? VhdxSecondHeader : VhdFooterCopy, DiskContent.Random(64, 1));
        }
        else if (name == "repair-entry")
        {
            Damage(files, format == DiskFormat.Vhdx ? VhdxTable : VhdTable, format == DiskFormat.Vhdx ? [6, 0, 0xF0, 0xFF, 0xFF, 0xFF, 0x7F, 0] : [0x7F, 0xFF, 0xFF, 0xFE]);
            _content.AsSpan(0, Megabyte).Clear();
        }

        Files = files.Settled();
        _options = new DiskOpenOptions { FileSystem = Files };
    }

    /// <summary>All operations, those that change nothing with them.</summary>
    internal static IReadOnlyList<string> Names { get; } =
    [
        "create-fixed", "create-dynamic", "create-child", "convert", "convert-raw", "copy", "grow", "grow-table", "shrink", "compact", "compact-quick",
        "merge", "merge-levels", "merge-keep", "parent", "identity", "repair-copy", "repair-entry", "check", "compare", "info",
    ];

    /// <summary>The files, which record what is done to them.</summary>
    internal CrashFileSystem Files { get; }

    /// <summary>What the operation works through may be much or little; those that only write a few kilobytes are not cancelled.</summary>
    internal bool CanBeCancelled => _name is not ("create-fixed" or "create-dynamic" or "create-child" or "parent" or "identity");

    internal void Run(IProgress<DiskProgress>? progress = null, CancellationToken cancellation = default)
    {
        switch (_name)
        {
            case "create-fixed":
                Create(Files, New, null, DiskKind.Fixed);
                break;
            case "create-dynamic":
                Create(Files, New, null);
                break;
            case "create-child":
                Create(Files, New, Base);
                break;
            case "convert":
            case "convert-raw":
                DiskConversion.Convert(Base, New, Target(), progress: progress, cancellation: cancellation);
                break;
            case "copy":
                Change(Files, Base, disk => DiskCopy.Run(disk, New, Target(), progress: progress, cancellation: cancellation));
                break;
            case "grow":
                DiskResize.Resize(Base, 2 * Length, _options, progress, cancellation);
                break;
            case "grow-table":
                DiskResize.Resize(Base, _format == DiskFormat.Vhdx ? 200L << 30 : 20L << 30, _options, progress, cancellation);
                break;
            case "shrink":
                DiskResize.Resize(Base, 0, _options, progress, cancellation);
                break;
            case "compact":
            case "compact-quick":
                DiskCompaction.Compact(Base, _name == "compact" ? CompactionMode.Full : CompactionMode.Quick, _options, progress, cancellation);
                break;
            case "merge":
                DiskMerge.Merge(Top, options: _options, progress: progress, cancellation: cancellation);
                break;
            case "merge-levels":
                DiskMerge.Merge(Top, Base, options: _options, progress: progress, cancellation: cancellation);
                break;
            case "merge-keep":
                DiskMerge.Merge(Top, keepMerged: true, options: _options, progress: progress, cancellation: cancellation);
                break;
            case "parent":
                DiskIdentity.SetParent(Top, Base, options: _options);
                break;
            case "identity":
                DiskIdentity.Renew(Base, _options);
                break;
            case "compare":
                Change(Files, Base, disk => Assert.True(DiskComparison.Compare(disk, disk, progress, cancellation).IsNone));
                break;
            case "info":
                Assert.Equal(Length, DiskInfo.Of(Base, _options, progress, cancellation).Length);
                break;
            default:
                Assert.True(DiskCheck.Run(Base, repair: _name != "check", _options, progress, cancellation).IsSound);
                break;
        }
    }

    /// <summary>What was interrupted lost nothing: the disk is whole, a new one is whole or not there, and a repair can be done again.</summary>
    internal void AssertWhole(CrashFileSystem files, string point)
    {
        var options = new DiskOpenOptions { FileSystem = files };
        if (_name.StartsWith("repair", StringComparison.Ordinal))
        {
            Assert.True(DiskCheck.Run(Base, repair: true, options).IsSound, point);
        }

        AssertHolds(files, files.Exists(_path) ? _path : Base, _content, point); // a merged child is gone at the end
        if (files.Exists(New))
        {
            AssertHolds(files, New, _name is "create-fixed" or "create-dynamic" ? new byte[Length] : _content, point);
        }
    }

    private static IEnumerable<(string Path, string Below, int Seed)> Children(string name) => name switch
    {
        "merge" or "merge-keep" or "parent" => [(Top, Base, 2)],
        "merge-levels" => [(Middle, Base, 2), (Top, Middle, 3)],
        _ => [],
    };

    private static void AssertHolds(CrashFileSystem files, string path, byte[] content, string point)
    {
        var report = DiskCheck.Run(path, options: new DiskOpenOptions { FileSystem = files });
        Assert.True(report.Problems.Count == 0, $"{point}: {path}: {string.Join("; ", report.Problems)}");
        var disk = DiskFactory.Open(path, new DiskOpenOptions { FileSystem = files, ReadOnly = true });
        var length = (int)Math.Min(disk.Length, content.Length);
        Assert.True(content.AsSpan(0, length).SequenceEqual(disk.Get(0, length)), $"{point}: {path}: content");
        Assert.False(content.AsSpan(length).ContainsAnyExcept((byte)0), $"{point}: {path}: cut");
        disk.Close();
    }

    private static void Change(CrashFileSystem files, string path, Action<VirtualDisk> act)
    {
        var disk = DiskFactory.Open(path, new DiskOpenOptions { FileSystem = files });
        try
        {
            act(disk);
        }
        finally
        {
            disk.Close();
        }
    }

    private static void Damage(CrashFileSystem files, long offset, byte[] bytes)
    {
        using var file = files.Open(Base, writable: true, DiskLocking.Normal);
        file.Write(offset, bytes);
    }

    private DiskCreateOptions Target() => new()
    {
        Format = _name == "convert-raw" ? DiskFormat.Raw : _format,
        Kind = _name == "convert-raw" ? DiskKind.Fixed : DiskKind.Dynamic,
        FileSystem = Files,
    };

    private void Create(CrashFileSystem files, string path, string? parent, DiskKind kind = DiskKind.Dynamic) => DiskFactory.Create(path, new DiskCreateOptions
    {
        Format = _format,
        Kind = parent is null ? kind : DiskKind.Differencing,
        Length = parent is null ? Length : 0,
        BlockSize = Megabyte,
        ParentPath = parent,
        FileSystem = files,
    });

    // Something in the first block, and nothing in the last megabyte, so that there is something to lose and something to shrink.
    private void Scribble(VirtualDisk disk, int seed)
    {
        var random = new Random(seed);
        for (var i = 0; i < 6; i++)
        {
            var length = random.Next(1, 300) * 512;
            var offset = i == 0 ? 0 : random.Next((Length - Megabyte - length) / 512) * 512;
            var data = DiskContent.Random(length, (seed * 100) + i);
            disk.Put(offset, data);
            data.CopyTo(_content, offset);
        }
    }
}
