using System.Collections.Concurrent;
using Vitro.Foundation;
using Vitro.Hypervisor.Vid;
using Vitro.UnitTests.Storage;
using Vitro.WorkerProcess.Saving;
using Xunit;

namespace Vitro.UnitTests.WorkerProcess.Saving;

public sealed class SavedMachineTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly GuestMemory _ram = GuestMemory.Create(SavedFile.MemoryBytes);

    public SavedMachineTests() => SavedFile.FillMemory(_ram);

    public void Dispose()
    {
        _ram.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public void Memory_and_definition_come_back()
    {
        using var saved = SavedMachine.Open(SavedFile.Write(_folder, _ram));

        Assert.Equivalent(SavedFile.Definition, saved.Definition, strict: true);
        Assert.Equal((123_456_789, 1_000_000_000UL, 42UL), (saved.Saved.Nanoseconds, saved.Saved.TscFrequency, saved.Saved.Tsc));
        Assert.Equal("software", saved.EngineName);
        using var ram = GuestMemory.Create(SavedFile.MemoryBytes);
        saved.ReadMemory(ram.Size).FillAll(ram);
        Assert.True(Content(_ram).AsSpan().SequenceEqual(Content(ram)));
    }

    [Fact]
    public void Memory_never_touched_takes_no_room_and_stays_untouched()
    {
        using var ram = GuestMemory.Create(8UL << 30);
        ram.Host.Write(5UL << 30, [1]);

        var path = SavedFile.Write(_folder, ram);

        Assert.InRange(new FileInfo(path).Length, 1, 4096);
        Assert.False(ram.Host.IsTouched(0, 4UL << 30), "Looking for data has touched memory.");
    }

    [Fact]
    public void The_file_is_its_users_alone_and_nothing_lies_beside_it()
    {
        var path = SavedFile.Write(_folder, _ram);

        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(path));
        Assert.Equal([path], Directory.GetFiles(_folder.Root));
    }

    [Fact]
    public void A_file_that_is_not_finished_leaves_the_old_one_and_nothing_else()
    {
        var path = SavedFile.Write(_folder, _ram);
        var before = File.ReadAllBytes(path);
        using (var file = SavedMachineWriter.Create(path))
        {
            MemoryWriter.Write(file, _ram);
        }

        Assert.Equal(before, File.ReadAllBytes(path));
        Assert.Equal([path], Directory.GetFiles(_folder.Root));
    }

    [Fact]
    public void A_record_may_be_written_again_in_place()
    {
        var path = SavedFile.Write(_folder, _ram, file =>
        {
            file.AddRecord("later", 1, isRequired: true, writer => writer.UInt64(1, 1));
            file.Seal();
            file.ReplaceRecord("later", writer => writer.UInt64(1, 2));
        });

        using var saved = SavedMachine.Open(path);
        Assert.Equal(2UL, saved.ReadRecord("later", 1).UInt64(1));
    }

    [Fact]
    public void A_part_that_is_not_known_is_refused_only_when_it_is_required()
    {
        var path = SavedFile.Write(_folder, _ram, file =>
        {
            file.AddRecord("optional", 1, isRequired: false, _ => { });
            file.AddRecord("required", 3, isRequired: true, _ => { });
        });
        using var saved = SavedMachine.Open(path);

        var known = new HashSet<string>(StringComparer.Ordinal) { "memory", "machine", "required" };
        saved.RequireKnown(known);
        known.Remove("required");

        Assert.Contains("'required'", Assert.Throws<SavedStateException>(() => saved.RequireKnown(known)).Message, StringComparison.Ordinal);
        Assert.Contains("version 3", Assert.Throws<SavedStateException>(() => saved.ReadRecord("required", 2)).Message, StringComparison.Ordinal);
        Assert.Throws<SavedStateException>(() => saved.ReadRecord("missing", 1));
    }

    [Fact]
    public void A_changed_bit_anywhere_is_found()
    {
        var path = SavedFile.Write(_folder, _ram);
        var bytes = File.ReadAllBytes(path);
        var random = new Random(2);
        using var ram = GuestMemory.Create(SavedFile.MemoryBytes);
        for (var i = 0; i < 300; i++)
        {
            // The header and the directory, which are small beside the memory, each get their share.
            var at = (i % 3) switch { 0 => random.Next(64), 1 => bytes.Length - 1 - random.Next(600), _ => random.Next(bytes.Length) };
            var bit = (byte)(1 << random.Next(8));
            bytes[at] ^= bit;
            File.WriteAllBytes(path, bytes);

            Assert.Throws<SavedStateException>(() => ReadAll(path, ram));
            Assert.Throws<SavedStateException>(() => CheckAll(path));
            bytes[at] ^= bit;
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(7)]
    [InlineData(63)]
    [InlineData(64)]
    [InlineData(100_000)]
    public void A_file_that_was_cut_is_refused(int length)
    {
        var path = SavedFile.Write(_folder, _ram);
        using (var file = File.OpenWrite(path))
        {
            file.SetLength(length);
        }

        Assert.Throws<SavedStateException>(() => SavedMachine.Open(path));
    }

    [Fact]
    public void Memory_is_there_whenever_it_is_looked_at_first()
    {
        using var saved = SavedMachine.Open(SavedFile.Write(_folder, _ram));
        var expected = Content(_ram);
        using var ram = GuestMemory.Create(SavedFile.MemoryBytes);
        using var gpa = new GpaSpace(ram);
        FillInBackground(saved, ram, Assert.Fail);

        // From the end, against the thread that fills from the start, on several threads at once.
        Parallel.For(0, 4, worker =>
        {
            var bytes = new byte[3000];
            for (var at = SavedFile.MemoryBytes - bytes.Length - worker; at >= 0; at -= 1999)
            {
                Assert.True(gpa.TryRead((ulong)at, bytes));
                Assert.True(bytes.AsSpan().SequenceEqual(expected.AsSpan(at, bytes.Length)), $"Byte {at} on.");
            }
        });
    }

    [Fact]
    public void A_machine_saved_again_before_its_memory_is_there_loses_nothing()
    {
        var path = SavedFile.Write(_folder, _ram);
        using var ram = GuestMemory.Create(SavedFile.MemoryBytes);
        using (var saved = SavedMachine.Open(path))
        {
            FillInBackground(saved, ram, Assert.Fail);
        }

        SavedFile.Write(_folder, ram);

        Assert.True(Content(_ram).AsSpan().SequenceEqual(Content(ram)));
        using var again = SavedMachine.Open(path);
        using var second = GuestMemory.Create(SavedFile.MemoryBytes);
        again.ReadMemory(second.Size).FillAll(second);
        Assert.True(Content(_ram).AsSpan().SequenceEqual(Content(second)));
    }

    [Fact]
    public void Memory_may_be_given_up_while_it_is_being_filled()
    {
        using var saved = SavedMachine.Open(SavedFile.Write(_folder, _ram));
        for (var i = 0; i < 20; i++)
        {
            using var ram = GuestMemory.Create(SavedFile.MemoryBytes);
            FillInBackground(saved, ram, Assert.Fail);
        }
    }

    [Fact]
    public void A_chunk_with_a_right_checksum_that_does_not_unpack_is_told()
    {
        using var saved = SavedMachine.Open(SavedFile.WriteBrokenChunk(_folder));
        using var ram = GuestMemory.Create(SavedFile.MemoryBytes);
        using var told = new BlockingCollection<string>();

        FillInBackground(saved, ram, told.Add);

        Assert.True(told.TryTake(out var damage, TimeSpan.FromSeconds(20)));
        Assert.Contains("chunk 0", damage, StringComparison.Ordinal);
        using var other = GuestMemory.Create(SavedFile.MemoryBytes);
        Assert.Throws<SavedStateException>(() => saved.ReadMemory(other.Size).FillAll(other));
    }

    [Fact]
    public void A_file_that_changes_after_it_was_checked_is_told()
    {
        var path = SavedFile.Write(_folder, _ram);
        using var saved = SavedMachine.Open(path);
        using var ram = GuestMemory.Create(SavedFile.MemoryBytes);
        using var told = new BlockingCollection<string>();
        var memory = saved.ReadMemory(ram.Size);
        memory.Attach(ram, told.Add);
        memory.BeginCheck();
        memory.FinishCheck();

        var bytes = File.ReadAllBytes(path);
        bytes.AsSpan(SavedMachineFormat.HeaderSize, 1000).Fill(0x55);
        File.WriteAllBytes(path, bytes);
        memory.FillInBackground();

        Assert.True(told.TryTake(out var damage, TimeSpan.FromSeconds(20)));
        Assert.Contains("checksum", damage, StringComparison.Ordinal);
    }

    [Fact]
    public void Memory_of_another_size_is_refused()
    {
        using var saved = SavedMachine.Open(SavedFile.Write(_folder, _ram));

        Assert.Throws<SavedStateException>(() => saved.ReadMemory(SavedFile.MemoryBytes / 2));
    }

    private static void FillInBackground(SavedMachine saved, GuestMemory ram, Action<string> onDamage)
    {
        var memory = saved.ReadMemory(ram.Size);
        memory.BeginCheck();
        memory.Attach(ram, onDamage);
        memory.FinishCheck();
        memory.FillInBackground();
    }

    private static byte[] Content(GuestMemory ram)
    {
        var bytes = new byte[ram.Size];
        ram.Host.Read(0, bytes);
        return bytes;
    }

    private static void ReadAll(string path, GuestMemory ram)
    {
        using var saved = SavedMachine.Open(path);
        saved.ReadMemory(ram.Size).FillAll(ram);
    }

    private static void CheckAll(string path)
    {
        using var saved = SavedMachine.Open(path);
        using var memory = saved.ReadMemory(SavedFile.MemoryBytes);
        memory.BeginCheck();
        memory.FinishCheck();
    }
}
