using Microsoft.Extensions.Logging.Abstractions;
using Vitro.Client;
using Vitro.Configuration.Control;
using Vitro.Storage;
using Vitro.WorkerProcess;
using Xunit;

namespace Vitro.UnitTests.WorkerProcess;

/// <summary>A machine's control socket with both its ends.</summary>
public sealed class ControlServerTests
{
    private readonly string _name = "test-" + Guid.NewGuid().ToString("N");

    [Fact]
    public async Task Progress_comes_before_the_answer_to_who_asked_for_it()
    {
        var told = new TaskCompletionSource();
        await using var server = Open(async (_, progress, _) =>
        {
            progress.Report(new DiskProgress(3, 7));
            await told.Task;
            return new ControlResponse(null, "done");
        });
        await using var client = await ControlClient.ConnectAsync(_name, TestContext.Current.CancellationToken);
        var seen = new List<ControlProgress>();

        var result = await client.RequestAsync("work", null, new Listener(value =>
        {
            seen.Add(value);
            told.SetResult();
        }), TestContext.Current.CancellationToken);

        Assert.Equal("done", (string?)result);
        Assert.Equal([new ControlProgress(3, 7)], seen);

        // On the same connection, without being asked for: nothing but the answer.
        Assert.Equal("done", (string?)await client.RequestAsync("work", cancellationToken: TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task A_client_that_leaves_takes_its_request_with_it()
    {
        var begun = new TaskCompletionSource();
        var ended = new TaskCompletionSource<bool>();
        await using var server = Open(async (_, _, cancellation) =>
        {
            using var registration = cancellation.Register(() => ended.SetResult(true));
            begun.SetResult();
            await ended.Task;
            cancellation.ThrowIfCancellationRequested();
            return new ControlResponse(null);
        });
        using var cancel = new CancellationTokenSource();
        var client = await ControlClient.ConnectAsync(_name, TestContext.Current.CancellationToken);
        var request = client.RequestAsync("work", null, progress: null, cancel.Token);
        await begun.Task;

        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => request);
        await client.DisposeAsync();

        Assert.True(await ended.Task.WaitAsync(TimeSpan.FromMinutes(1), TimeProvider.System, TestContext.Current.CancellationToken));
    }

    private ControlServer Open(Func<ControlRequest, RequestProgress, CancellationToken, Task<ControlResponse>> serve) =>
        ControlServer.Open(_name, serve, NullLogger.Instance);

    private sealed class Listener(Action<ControlProgress> act) : IProgress<ControlProgress>
    {
        public void Report(ControlProgress value) => act(value);
    }
}
