using Vitro.Foundation;
using Vitro.Platform;
using static Vitro.WorkerProcess.Saving.SavedMachineFormat;

namespace Vitro.WorkerProcess.Saving;

/// <summary>
/// Writes the file of a saved machine under a name of its own beside the real one, which it gets when it is complete and durable.
/// </summary>
/// <remarks>
/// The file is this user's alone: it holds all that was in the guest's memory. <see cref="Append"/> is thread-safe, the rest
/// belongs to one thread. Every failure of the host is an <see cref="IOException"/>.
/// </remarks>
internal sealed class SavedMachineWriter : IDisposable
{
    private readonly FileStream _file;
    private readonly List<Entry> _records = [];
    private long _end = HeaderSize;
    private bool _isKept;

    private SavedMachineWriter(string path, string temporaryPath, FileStream file)
    {
        Path = path;
        TemporaryPath = temporaryPath;
        _file = file;
    }

    /// <summary>The name it will have.</summary>
    internal string Path { get; }

    /// <summary>The name it has until then.</summary>
    internal string TemporaryPath { get; }

    /// <summary>Bytes of the whole file.</summary>
    internal long Length { get; private set; }

    /// <summary>Creates the file.</summary>
    /// <exception cref="IOException">The folder does not exist or cannot be written.</exception>
    internal static SavedMachineWriter Create(string path)
    {
        var full = System.IO.Path.GetFullPath(path);
        if (Directory.Exists(full))
        {
            throw new IOException($"'{full}' is a folder.");
        }

        var temporary = System.IO.Path.Combine(
            System.IO.Path.GetDirectoryName(full)!, $".{System.IO.Path.GetFileName(full)}.{Guid.NewGuid():N}.new");
        try
        {
            return new SavedMachineWriter(full, temporary, new FileStream(temporary, new FileStreamOptions
            {
                Mode = FileMode.CreateNew,
                Access = FileAccess.ReadWrite,
                Share = FileShare.None,
                BufferSize = 0,
                UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
            }));
        }
        catch (UnauthorizedAccessException error)
        {
            throw new IOException(error.Message, error);
        }
    }

    /// <summary>Writes bytes somewhere in the file.</summary>
    /// <returns>Where.</returns>
    internal long Append(ReadOnlySpan<byte> bytes)
    {
        var offset = Interlocked.Add(ref _end, bytes.Length) - bytes.Length;
        RandomAccess.Write(_file.SafeFileHandle, bytes, offset);
        return offset;
    }

    /// <summary>Adds a record.</summary>
    /// <param name="name">Its name, unique in the file.</param>
    /// <param name="version">Version of its content.</param>
    /// <param name="isRequired">A build that does not know the record must not restore the machine.</param>
    /// <param name="write">Writes the content.</param>
    internal void AddRecord(string name, int version, bool isRequired, Action<SavedStateWriter> write)
    {
        var content = new SavedStateWriter();
        write(content);
        AddRecord(name, version, isRequired, content.WrittenSpan);
    }

    /// <summary>Adds a record whose content is there already.</summary>
    internal void AddRecord(string name, int version, bool isRequired, ReadOnlySpan<byte> content) =>
        _records.Add(new Entry(name, version, isRequired, Append(content), content.Length, Crc32C.Compute(content)));

    /// <summary>Writes a record's content again, in place; its length is the same.</summary>
    internal void ReplaceRecord(string name, Action<SavedStateWriter> write)
    {
        var index = _records.FindIndex(record => record.Name == name);
        var content = new SavedStateWriter();
        write(content);
        if (content.WrittenSpan.Length != _records[index].Length)
        {
            throw new InvalidOperationException($"The record {name} has changed its length.");
        }

        RandomAccess.Write(_file.SafeFileHandle, content.WrittenSpan, _records[index].Offset);
        _records[index] = _records[index] with { Checksum = Crc32C.Compute(content.WrittenSpan) };
    }

    /// <summary>Writes directory and header and makes the file durable. It may be sealed again after <see cref="ReplaceRecord"/>.</summary>
    internal void Seal()
    {
        var directory = new SavedStateWriter();
        foreach (var record in _records)
        {
            directory.Group(DirectoryTag.Record, group =>
            {
                group.Text(DirectoryTag.Name, record.Name);
                group.UInt32(DirectoryTag.Version, (uint)record.Version);
                group.Bool(DirectoryTag.Required, record.IsRequired);
                group.UInt64(DirectoryTag.Offset, (ulong)record.Offset);
                group.UInt64(DirectoryTag.Length, (ulong)record.Length);
                group.UInt32(DirectoryTag.Checksum, record.Checksum);
            });
        }

        var bytes = directory.WrittenSpan;
        RandomAccess.Write(_file.SafeFileHandle, bytes, _end);
        Length = _end + bytes.Length;
        Span<byte> header = stackalloc byte[HeaderSize];
        new SavedMachineHeader(SavedMachineFormat.Version, _end, bytes.Length, Crc32C.Compute(bytes), Length).Write(header);
        RandomAccess.Write(_file.SafeFileHandle, header, 0);
        RandomAccess.FlushToDisk(_file.SafeFileHandle);
    }

    /// <summary>Gives the sealed file its name, durably; a file of that name is replaced.</summary>
    internal void Publish()
    {
        File.Move(TemporaryPath, Path, overwrite: true);
        _isKept = true;
        HostFile.SyncDirectory(System.IO.Path.GetDirectoryName(Path)!);
    }

    /// <summary>Keeps the file under its temporary name whatever happens: it has become the only copy of the machine.</summary>
    internal void Keep() => _isKept = true;

    /// <summary>Closes the file, and deletes it when it was neither published nor kept.</summary>
    public void Dispose()
    {
        _file.Dispose();
        if (!_isKept)
        {
            File.Delete(TemporaryPath);
        }
    }

    private sealed record Entry(string Name, int Version, bool IsRequired, long Offset, int Length, uint Checksum);
}
