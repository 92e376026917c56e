using Vitro.UnitTests.Storage;
using Vitro.WorkerProcess.Saving;
using Xunit;

namespace Vitro.UnitTests.Vsp.Storage;

/// <summary>
/// A storage controller saved with an open channel, requests in its ring and answers not taken: as it is saved now, and as former
/// builds saved it (docs/system-tests.md).
/// </summary>
public sealed class GoldenControllerTests : IDisposable
{
    private const uint ChannelId = 1;
    private const uint RingGpadl = 0xE1E10;
    private const ulong FirstRingPage = 16;
    private const ulong FirstTransaction = 105;

    private readonly TemporaryFolder _folder = new();
    private readonly MemoryDisk _disk = new(4 << 20);

    public GoldenControllerTests() => new Random(3).NextBytes(_disk.Content);

    public static TheoryData<string> Files =>
        [.. Directory.EnumerateFiles(Golden, "controller-*.vmrs").Select(file => Path.GetFileName(file)).Order(StringComparer.Ordinal)];

    private static string Golden => Path.Combine(AppContext.BaseDirectory, "Golden");

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task A_controller_goes_on_with_its_channel_open()
    {
        var path = await SaveAsync();
        if (Environment.GetEnvironmentVariable("VITRO_KEEP_SAVED_CONTROLLER") is { Length: > 0 } kept)
        {
            File.Copy(path, kept, overwrite: false);
        }

        GoOn(path);
    }

    [Theory]
    [MemberData(nameof(Files))]
    public void A_controller_saved_by_a_former_build_goes_on(string file) => GoOn(Path.Combine(Golden, file));

    private async Task<string> SaveAsync()
    {
        using var storage = new StorageFixture(_disk).Initialize();
        Assert.Equal((ChannelId, RingGpadl), (storage.Channel.ChannelId, storage.Channel.RingGpadl));
        Assert.Equal(FirstRingPage + 64, storage.Page);

        // One answer lies in the ring untaken; five requests lie in the other ring unread.
        Assert.Equal(FirstTransaction, storage.Send(Read(sector: 1), 512));
        while (storage.Channel.Incoming.WriteIndex == storage.Channel.Incoming.ReadIndex)
        {
            Thread.Yield();
        }

        await storage.StopAsync();
        for (byte sector = 2; sector <= 6; sector++)
        {
            storage.Send(Read(sector), 512, page: storage.Page + sector);
        }

        return storage.Save(_folder);
    }

    private void GoOn(string path)
    {
        using var saved = SavedMachine.Open(path);
        using var storage = new StorageFixture(saved, _disk, ChannelId, RingGpadl, FirstRingPage);

        var answers = Enumerable.Range(0, 6).Select(_ => storage.Receive()).ToList();

        Assert.All(answers, answer => Assert.Equal((1, 512), (answer.SrbStatus, answer.Transferred)));
        Assert.Equal(Enumerable.Range(0, 6).Select(i => FirstTransaction + (ulong)i), answers.Select(answer => answer.Transaction).Order());
        var data = storage.Data(7 * 4096);
        Assert.True(data[..512].SequenceEqual(_disk.Content.AsSpan(512, 512)));
        for (var sector = 2; sector <= 6; sector++)
        {
            Assert.True(data.Slice(sector * 4096, 512).SequenceEqual(_disk.Content.AsSpan(sector * 512, 512)), $"Sector {sector}.");
        }

        Assert.Equal(1, storage.Execute(Read(sector: 9), 512).SrbStatus);
        storage.Bus.Guest.Close(storage.Channel);
    }

    private static byte[] Read(byte sector) => [0x28, 0, 0, 0, 0, sector, 0, 0, 1, 0];
}
