using System.Net.Sockets;
using Vitro.Configuration.Control;

namespace Vitro.Client;

/// <summary>A connection to the control socket of a running machine.</summary>
/// <remarks>One request at a time; not thread-safe.</remarks>
public sealed class ControlClient : IAsyncDisposable
{
    private readonly NetworkStream _stream;

    private ControlClient(NetworkStream stream) => _stream = stream;

    /// <summary>Connects to a machine by name.</summary>
    /// <exception cref="ControlException">No such machine runs.</exception>
    public static async Task<ControlClient> ConnectAsync(string machineName, CancellationToken cancellationToken = default)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(ControlSocketPath.Of(machineName)), cancellationToken);
            return new ControlClient(new NetworkStream(socket, ownsSocket: true));
        }
        catch (Exception error) when (error is SocketException or ArgumentException)
        {
            socket.Dispose();
            var running = string.Join(", ", ControlSocketPath.RunningMachines());
            throw new ControlException(
                $"No machine named '{machineName}' runs for this user. " + (running.Length == 0 ? "None runs." : $"Running: {running}."));
        }
    }

    /// <summary>Sends a request and gives its result.</summary>
    /// <exception cref="ControlException">The worker refused it, or went away.</exception>
    public Task<System.Text.Json.Nodes.JsonNode?> RequestAsync(
        string verb, string? argument = null, CancellationToken cancellationToken = default) =>
        RequestAsync(verb, argument, progress: null, cancellationToken);

    /// <summary>The same with word of its progress, for the verbs that tell it. The worker gives a cancelled one up when this is disposed.</summary>
    /// <exception cref="ControlException">The worker refused it, or went away.</exception>
    public async Task<System.Text.Json.Nodes.JsonNode?> RequestAsync(
        string verb, string? argument, IProgress<ControlProgress>? progress, CancellationToken cancellationToken)
    {
        try
        {
            await ControlFraming.WriteAsync(
                _stream, new ControlRequest(verb, argument, progress is not null), ControlJsonContext.Default.ControlRequest, cancellationToken);
            ControlResponse response;
            while (true)
            {
                response = await ControlFraming.ReadAsync(_stream, ControlJsonContext.Default.ControlResponse, cancellationToken)
                    ?? throw new ControlException("The machine ended before it answered.");
                if (response.Progress is not { } now)
                {
                    break;
                }

                progress?.Report(now);
            }

            return response.Error is null ? response.Result : throw new ControlException(response.Error);
        }
        catch (Exception error) when (error is IOException or InvalidDataException)
        {
            throw new ControlException("The connection to the machine broke: " + error.Message);
        }
    }

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => _stream.DisposeAsync();
}

/// <summary>A request to a running machine failed; the message is for people.</summary>
public sealed class ControlException(string message) : Exception(message);
