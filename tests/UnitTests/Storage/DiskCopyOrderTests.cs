using Vitro.Storage;
using Vitro.Storage.Files;
using Xunit;

namespace Vitro.UnitTests.Storage;

/// <summary>Who waits for whom while a disk in use is copied, with every step held until the one before it is done.</summary>
public sealed class DiskCopyOrderTests : IDisposable
{
    private const int Granule = 64 << 10;
    private const int Length = 16 * Granule;
    private const int Held = 10 * Granule;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    // Once the copy let go of the disk when its own threads were done, and the later of two writes to a part that the earlier one was
    // still copying came into the copy.
    [Fact]
    public void A_write_waits_for_a_part_that_another_one_still_copies_when_all_else_is_copied()
    {
        var content = DiskContent.Random(Length, 1);
        File.WriteAllBytes(_folder.File("disk"), content);
        using var files = new HeldFiles();
        var disk = DiskFactory.Open(_folder.File("disk"), new DiskOpenOptions { FileSystem = files });
        using var atMoment = new ManualResetEventSlim();
        using var waiting = new ManualResetEventSlim();
        var copying = new Thread(() => DiskCopy.Run(
            disk, _folder.File("copy"), new DiskCreateOptions { Format = DiskFormat.Raw, Kind = DiskKind.Fixed }, atMoment.Set,
            new Progress(value =>
            {
                if (value.Done == Length - Granule)
                {
                    waiting.Set();
                }
            })));
        var first = new Thread(() => disk.Put(Held, DiskContent.Random(512, 2)));
        var second = new Thread(() => disk.Put(Held + 4096, DiskContent.Random(512, 3)));

        copying.Start();
        atMoment.Wait(TestContext.Current.CancellationToken);
        files.Writer = first;
        first.Start(); // claims the part and is held while it copies it; meanwhile the copy's threads copy the rest
        waiting.Wait(TestContext.Current.CancellationToken);
        SpinWait.SpinUntil(() => copying.ThreadState.HasFlag(ThreadState.WaitSleepJoin));
        second.Start();
        SpinWait.SpinUntil(() => second.ThreadState.HasFlag(ThreadState.WaitSleepJoin) || !second.IsAlive);
        files.Release.Set();
        first.Join();
        second.Join();
        copying.Join();

        disk.Close();
        Assert.True(content.AsSpan().SequenceEqual(File.ReadAllBytes(_folder.File("copy"))));
        DiskContent.Random(512, 2).CopyTo(content, Held);
        DiskContent.Random(512, 3).CopyTo(content, Held + 4096);
        Assert.True(content.AsSpan().SequenceEqual(File.ReadAllBytes(_folder.File("disk"))));
    }

    private sealed class Progress(Action<DiskProgress> act) : IProgress<DiskProgress>
    {
        public void Report(DiskProgress value) => act(value);
    }

    /// <summary>The host's files; reads of one writer wait to be released, those of all others until the writer waits.</summary>
    private sealed class HeldFiles : IDiskFileSystem, IDisposable
    {
        private readonly ManualResetEventSlim _writerReads = new();

        internal ManualResetEventSlim Release { get; } = new();

        internal Thread? Writer { get; set; }

        public IDiskFile Open(string path, bool writable, DiskLocking locking) =>
            new HeldFile(HostDiskFileSystem.Instance.Open(path, writable, locking), this);

        public IDiskFile Create(string path) => HostDiskFileSystem.Instance.Create(path);

        public bool Exists(string path) => HostDiskFileSystem.Instance.Exists(path);

        public void Delete(string path) => HostDiskFileSystem.Instance.Delete(path);

        public void Replace(string temporary, string path, bool durable) => HostDiskFileSystem.Instance.Replace(temporary, path, durable);

        public void Dispose()
        {
            _writerReads.Dispose();
            Release.Dispose();
        }

        private void Hold()
        {
            if (ReferenceEquals(Thread.CurrentThread, Writer))
            {
                _writerReads.Set();
                Release.Wait();
            }
            else
            {
                _writerReads.Wait();
            }
        }

        private sealed class HeldFile(IDiskFile file, HeldFiles owner) : IDiskFile
        {
            public string Path => file.Path;

            public bool IsReadOnly => file.IsReadOnly;

            public long Length => file.Length;

            public long AllocatedLength => file.AllocatedLength;

            public int Read(long offset, Span<byte> buffer) => file.Read(offset, buffer);

            public int Read(long offset, in BufferSlice target, bool cachedOnly)
            {
                owner.Hold();
                return file.Read(offset, target, cachedOnly);
            }

            public void Write(long offset, ReadOnlySpan<byte> buffer) => file.Write(offset, buffer);

            public void Write(long offset, in BufferSlice source, bool durable) => file.Write(offset, source, durable);

            public void Flush() => file.Flush();

            public void SetLength(long length) => file.SetLength(length);

            public void Zero(long offset, long length, bool keepSpace) => file.Zero(offset, length, keepSpace);

            public void Reserve(long offset, long length) => file.Reserve(offset, length);

            public long NextData(long offset) => file.NextData(offset);

            public long NextHole(long offset) => file.NextHole(offset);

            public void Dispose() => file.Dispose();
        }
    }
}
