using Vitro.Storage;
using Vitro.Storage.Files;

namespace Vitro.UnitTests.Storage.Crash;

/// <summary>What of the writes since a file's last flush a crash lets through.</summary>
internal enum CrashMode
{
    /// <summary>All of them.</summary>
    All,

    /// <summary>None.</summary>
    None,

    /// <summary>Any of them, in effect in any order.</summary>
    Some,

    /// <summary>Any of their 512-byte sectors.</summary>
    Torn,
}

/// <summary>
/// Files in memory that record everything done to them, so that the state after a crash at any point can be made: what was flushed
/// is there, and of the rest what <see cref="CrashMode"/> says. Names are durable at once, as the library syncs directories.
/// </summary>
internal sealed class CrashFileSystem : IDiskFileSystem
{
    private readonly List<Event> _events = [];
    private readonly Dictionary<string, RecordedFile> _files = [];
    private readonly Dictionary<string, RecordedFile> _first = [];

    internal CrashFileSystem()
    {
    }

    private CrashFileSystem(Dictionary<string, SparseImage> images)
    {
        foreach (var (path, image) in images)
        {
            _files[path] = _first[path] = new RecordedFile(this, path, image);
            _first[path].Base = new SparseImage(image);
        }
    }

    private enum Kind
    {
        Write,
        Zero,
        SetLength,
        Flush,
        Create,
        Replace,
        Delete,
    }

    /// <summary>Things done so far.</summary>
    internal int Events
    {
        get
        {
            lock (_events)
            {
                return _events.Count;
            }
        }
    }

    internal IEnumerable<string> Paths => _files.Keys;

    public bool Exists(string path) => _files.ContainsKey(path);

    public IDiskFile Open(string path, bool writable, DiskLocking locking) =>
        _files.TryGetValue(path, out var file) ? new Handle(file, !writable) : throw new BlockIOException(path + ": no such file");

    public IDiskFile Create(string path)
    {
        var file = new RecordedFile(this, path, new SparseImage());
        _files.Add(path, file);
        Record(new Event(Kind.Create, file) { Path = path });
        return new Handle(file, readOnly: false);
    }

    public void Delete(string path)
    {
        _files.Remove(path, out var file);
        Record(new Event(Kind.Delete, file!) { Path = path });
    }

    public void Replace(string temporary, string path, bool durable)
    {
        _files.Remove(temporary, out var file);
        _files[path] = file!;
        file!.Path = path;
        Record(new Event(Kind.Replace, file) { Path = path, From = temporary });
    }

    /// <summary>The same files, with nothing recorded yet.</summary>
    internal CrashFileSystem Settled() => new(_files.ToDictionary(pair => pair.Key, pair => new SparseImage(pair.Value.Image)));

    /// <summary>The files as a crash after the first <paramref name="count"/> things would leave them.</summary>
    internal CrashFileSystem After(int count, CrashMode mode, Random random)
    {
        var names = new Dictionary<string, RecordedFile>(_first);
        var images = new Dictionary<RecordedFile, SparseImage>();
        var pending = new Dictionary<RecordedFile, List<Event>>();
        foreach (var file in _first.Values)
        {
            images[file] = new SparseImage(file.Base!);
            pending[file] = [];
        }

        foreach (var item in _events.Take(count))
        {
            switch (item.Kind)
            {
                case Kind.Create:
                    names[item.Path] = item.File;
                    images[item.File] = new SparseImage();
                    pending[item.File] = [];
                    break;
                case Kind.Replace:
                    names.Remove(item.From);
                    names[item.Path] = item.File;
                    break;
                case Kind.Delete:
                    names.Remove(item.Path);
                    break;
                case Kind.Flush:
                    pending[item.File].ForEach(change => Apply(images[item.File], change, CrashMode.All, random));
                    pending[item.File].Clear();
                    break;
                default:
                    pending[item.File].Add(item);
                    break;
            }
        }

        foreach (var (file, changes) in pending)
        {
            changes.ForEach(change => Apply(images[file], change, mode, random));
        }

        return new CrashFileSystem(names.ToDictionary(pair => pair.Key, pair => images[pair.Value]));
    }

    private static void Apply(SparseImage image, Event change, CrashMode mode, Random random)
    {
        if (mode == CrashMode.None || (mode == CrashMode.Some && random.Next(2) == 0))
        {
            return;
        }

        if (change.Kind == Kind.SetLength)
        {
            if (mode != CrashMode.Torn || random.Next(2) == 0)
            {
                image.SetLength(change.Offset);
            }

            return;
        }

        var length = change.Kind == Kind.Zero ? change.Length : change.Data!.Length;
        var step = mode == CrashMode.Torn && length <= (64 << 10) ? 512 : Math.Max(length, 1);
        for (long at = 0; at < length; at += step)
        {
            if (mode == CrashMode.Torn && random.Next(2) == 0)
            {
                continue;
            }

            var take = Math.Min(step, length - at);
            if (change.Kind == Kind.Zero)
            {
                image.Zero(change.Offset + at, take);
            }
            else
            {
                image.Write(change.Offset + at, change.Data.AsSpan((int)at, (int)take));
            }
        }
    }

    private void Record(Event item)
    {
        lock (_events)
        {
            _events.Add(item);
        }
    }

    private sealed record Event(Kind Kind, RecordedFile File)
    {
        internal long Offset { get; init; }

        internal long Length { get; init; }

        internal byte[]? Data { get; init; }

        internal string Path { get; init; } = "";

        internal string From { get; init; } = "";
    }

    private sealed class RecordedFile(CrashFileSystem files, string path, SparseImage image)
    {
        internal CrashFileSystem Files { get; } = files;

        internal string Path { get; set; } = path;

        internal SparseImage Image { get; } = image;

        internal SparseImage? Base { get; set; }
    }

    private sealed class Handle(RecordedFile file, bool readOnly) : IDiskFile
    {
        public string Path => file.Path;

        public bool IsReadOnly => readOnly;

        public long Length
        {
            get
            {
                lock (file)
                {
                    return file.Image.Length;
                }
            }
        }

        public long AllocatedLength => Length;

        public int Read(long offset, Span<byte> buffer)
        {
            lock (file)
            {
                return file.Image.Read(offset, buffer);
            }
        }

        public int Read(long offset, in BufferSlice target, bool cachedOnly)
        {
            Span<byte> piece = stackalloc byte[4096];
            var done = 0;
            while (done < target.Length)
            {
                var got = Read(offset + done, piece[..Math.Min(piece.Length, target.Length - done)]);
                target.Slice(done, got).CopyFrom(piece[..got]);
                done += got;
                if (got == 0)
                {
                    break;
                }
            }

            return done;
        }

        public void Write(long offset, ReadOnlySpan<byte> buffer)
        {
            var data = buffer.ToArray();
            Do(new Event(Kind.Write, file) { Offset = offset, Data = data }, () => file.Image.Write(offset, data));
        }

        public void Write(long offset, in BufferSlice source, bool durable)
        {
            var data = new byte[source.Length];
            source.CopyTo(data);
            Write(offset, data);
            if (durable)
            {
                Flush(); // stronger than what is promised, but it is what the file would do last
            }
        }

        public void Flush() => Do(new Event(Kind.Flush, file), () => { });

        public void SetLength(long length) => Do(new Event(Kind.SetLength, file) { Offset = length }, () => file.Image.SetLength(length));

        public void Zero(long offset, long length, bool keepSpace) =>
            Do(new Event(Kind.Zero, file) { Offset = offset, Length = length }, () => file.Image.Zero(offset, length));

        public void Reserve(long offset, long length) => SetLength(Math.Max(Length, offset + length));

        public long NextData(long offset)
        {
            lock (file)
            {
                return file.Image.NextData(offset);
            }
        }

        public long NextHole(long offset)
        {
            lock (file)
            {
                return file.Image.NextHole(offset);
            }
        }

        public void Dispose()
        {
            // Nothing is held.
        }

        private void Do(Event item, Action act)
        {
            if (readOnly && item.Kind != Kind.Flush)
            {
                throw new InvalidOperationException("A file opened for reading was written to.");
            }

            lock (file)
            {
                file.Files.Record(item);
                act();
            }
        }
    }
}
