using System.Collections.Concurrent;
using System.Net.Sockets;
using Microsoft.Extensions.Logging;
using Vitro.Configuration.Control;

namespace Vitro.WorkerProcess;

/// <summary>Serves a machine's control socket: a Unix socket that only this user can reach.</summary>
internal sealed class ControlServer : IAsyncDisposable
{
    private readonly Socket _listener;
    private readonly string _path;
    private readonly Func<ControlRequest, RequestProgress, CancellationToken, Task<ControlResponse>> _serve;
    private readonly ILogger _log;
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _accepting;
    private readonly ConcurrentDictionary<Task, bool> _serving = new();

    // How long a client may take to read the last answer.
    private static readonly TimeSpan AnswerPatience = TimeSpan.FromSeconds(2);

    private static readonly TimeSpan ProgressInterval = TimeSpan.FromMilliseconds(200);

    private ControlServer(
        Socket listener, string path, Func<ControlRequest, RequestProgress, CancellationToken, Task<ControlResponse>> serve, ILogger log)
    {
        _listener = listener;
        _path = path;
        _serve = serve;
        _log = log;
        _accepting = AcceptAsync();
    }

    /// <summary>Opens the socket of a machine.</summary>
    /// <exception cref="IOException">Another worker serves a machine of that name, or the folder cannot be used.</exception>
    internal static ControlServer Open(
        string machineName, Func<ControlRequest, RequestProgress, CancellationToken, Task<ControlResponse>> serve, ILogger log)
    {
        var path = ControlSocketPath.Of(machineName);
        Directory.CreateDirectory(ControlSocketPath.Folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        if (File.Exists(path))
        {
            if (ControlSocketPath.IsServed(path))
            {
                throw new IOException($"A machine named '{machineName}' runs already for this user.");
            }

            // Left behind by a worker that was killed.
            File.Delete(path);
        }

        var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            listener.Bind(new UnixDomainSocketEndPoint(path));
            listener.Listen(16);
        }
        catch (Exception error) when (error is SocketException or ArgumentException)
        {
            listener.Dispose();
            throw new IOException($"The control socket '{path}' cannot be opened: {error.Message}", error);
        }

        return new ControlServer(listener, path, serve, log);
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        _listener.Dispose();
        await _accepting;

        // The request that ended the machine still gets its answer.
        await Task.WhenAny(Task.WhenAll(_serving.Keys), Task.Delay(AnswerPatience, TimeProvider.System));
        File.Delete(_path);
        _stop.Dispose();
    }

    private async Task AcceptAsync()
    {
        while (!_stop.IsCancellationRequested)
        {
            Socket connection;
            try
            {
                connection = await _listener.AcceptAsync(_stop.Token);
            }
            catch (Exception error) when (error is OperationCanceledException or ObjectDisposedException or SocketException)
            {
                return;
            }

            var serving = ServeAsync(connection);
            _serving[serving] = true;
            _ = serving.ContinueWith(done => _serving.TryRemove(done, out _), TaskScheduler.Default);
        }
    }

    private async Task ServeAsync(Socket connection)
    {
        await using var stream = new NetworkStream(connection, ownsSocket: true);
        var reading = ReadAsync(stream);
        try
        {
            while (await reading is { } request)
            {
                using var leaving = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token);
                var progress = new RequestProgress();
                var serving = ServeOneAsync(request, progress, leaving.Token);
                reading = ReadAsync(stream);
                await WatchAsync(stream, request, progress, serving, reading, leaving);
                await ControlFraming.WriteAsync(stream, await serving, ControlJsonContext.Default.ControlResponse, CancellationToken.None);
            }
        }
        catch (Exception error) when (error is IOException or InvalidDataException or OperationCanceledException or ObjectDisposedException)
        {
            _log.LogDebug("A control connection ended: {Reason}", error.Message);
        }
    }

    // While a request is served: tells the client how far it is, and the request when the client has gone.
    private static async Task WatchAsync(
        Stream stream, ControlRequest request, RequestProgress progress, Task serving, Task<ControlRequest?> reading, CancellationTokenSource leaving)
    {
        ControlProgress? told = null;
        while (!serving.IsCompleted)
        {
            var tick = Task.Delay(ProgressInterval, TimeProvider.System, CancellationToken.None);
            _ = await (reading.IsCompleted ? Task.WhenAny(serving, tick) : Task.WhenAny(serving, reading, tick));
            if (reading is { IsCompletedSuccessfully: true, Result: null } or { IsFaulted: true })
            {
                await leaving.CancelAsync();
            }
            else if (request.Progress && progress.Last is { } now && now != told && !serving.IsCompleted)
            {
                told = now;
                try
                {
                    await ControlFraming.WriteAsync(
                        stream, new ControlResponse(null, Progress: now), ControlJsonContext.Default.ControlResponse, CancellationToken.None);
                }
                catch (IOException)
                {
                    await leaving.CancelAsync();
                }
            }
        }
    }

    private Task<ControlRequest?> ReadAsync(Stream stream) =>
        ControlFraming.ReadAsync(stream, ControlJsonContext.Default.ControlRequest, _stop.Token);

    private async Task<ControlResponse> ServeOneAsync(ControlRequest request, RequestProgress progress, CancellationToken cancellationToken)
    {
        try
        {
            return await _serve(request, progress, cancellationToken);
        }
        catch (Exception error) when (error is not OperationCanceledException)
        {
            return new ControlResponse($"The request '{request.Verb}' failed: {error.Message}");
        }
    }
}
