using Vitro.Platform;
using Xunit;

namespace Vitro.UnitTests.Platform;

public sealed class IoRingTests : IDisposable
{
    private readonly string _path = Path.GetTempFileName();

    public void Dispose() => File.Delete(_path);

    [Fact]
    public void Reads_arrive_in_their_buffers_and_a_short_one_says_how_short()
    {
        using var ring = Create(4);
        var content = new byte[10_000];
        new Random(1).NextBytes(content);
        File.WriteAllBytes(_path, content);
        using var file = HostFile.Open(_path, HostFileMode.Read);
        var one = new Memory<byte>[] { new byte[100], new byte[4000] };
        var two = new Memory<byte>[] { new byte[4096] };

        Assert.True(ring.TryPrepareRead(0, file, 1000, one, skip: 50, length: 4000));
        Assert.True(ring.TryPrepareRead(3, file, 8000, two, skip: 0, length: 4096));
        var results = new Dictionary<int, int>();
        while (results.Count < 2)
        {
            ring.Enter(wait: true);
            while (ring.TryReap(out var slot, out var result))
            {
                results.Add(slot, result);
            }
        }

        Assert.Equal(4000, results[0]);
        Assert.Equal(2000, results[3]);
        Assert.Equal(content[1000..1050], one[0][50..].ToArray());
        Assert.Equal(content[1050..5000], one[1][..3950].ToArray());
        Assert.Equal(content[8000..], two[0][..2000].ToArray());
    }

    [Fact]
    public async Task A_wake_up_ends_the_wait_each_time()
    {
        using var ring = Create(1);
        for (var i = 0; i < 3; i++)
        {
            var waking = Task.Run(ring.Wake, TestContext.Current.CancellationToken);
            ring.Enter(wait: true);
            Assert.False(ring.TryReap(out _, out _));
            await waking;
        }
    }

    [Fact]
    public void More_buffers_than_it_has_room_for_are_refused_and_the_slot_is_free()
    {
        using var ring = Create(1);
        using var file = HostFile.Open(_path, HostFileMode.Read);
        var many = Enumerable.Range(0, IoRing.VectorsPerRead + 1).Select(_ => new Memory<byte>(new byte[16])).ToArray();

        Assert.False(ring.TryPrepareRead(0, file, 0, many, skip: 0, length: many.Length * 16));
        Assert.True(ring.TryPrepareRead(0, file, 0, many, skip: 0, length: IoRing.VectorsPerRead * 16));
        ring.Enter(wait: true);
        Assert.True(ring.TryReap(out var slot, out var result));
        Assert.Equal((0, 0), (slot, result)); // the file is empty
    }

    private static IoRing Create(int slots)
    {
        var ring = IoRing.TryCreate(slots);
        Assert.SkipWhen(ring is null, "This host has no io_uring, or forbids it; reads wait on threads here.");
        return ring!;
    }
}
