using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Logging;
using Vitro.Configuration.Control;
using Vitro.Foundation;
using Vitro.Storage;

namespace Vitro.WorkerProcess;

/// <summary>A running machine's control socket: what <c>vitro inspect</c> and other clients of this user talk to.</summary>
/// <remarks>Dispose it before the machine.</remarks>
public sealed class ControlEndpoint : IAsyncDisposable
{
    private readonly VirtualMachine _machine;
    private readonly ControlServer _server;

    /// <summary>Opens the socket of a machine.</summary>
    /// <exception cref="IOException">A machine of that name runs already for this user.</exception>
    public ControlEndpoint(string machineName, VirtualMachine machine, ILogger log)
    {
        _machine = machine;
        _server = ControlServer.Open(machineName, ServeAsync, log);
    }

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => _server.DisposeAsync();

    private async Task<ControlResponse> ServeAsync(ControlRequest request, RequestProgress progress, CancellationToken cancellationToken)
    {
        switch (request.Verb)
        {
            case ControlVerbs.Inspect:
                return Inspect(request.Argument ?? "");
            case ControlVerbs.Shutdown:
                return Answer(await _machine.ShutDownGuestAsync(restart: false));
            case ControlVerbs.Restart:
                return Answer(await _machine.ShutDownGuestAsync(restart: true));
            case ControlVerbs.TurnOff:
                _machine.TurnOff();
                return new ControlResponse(null);
            case ControlVerbs.Reset:
                _machine.Reset();
                return new ControlResponse(null);
            case ControlVerbs.Save:
                return new ControlResponse(null, JsonValue.Create(await _machine.SaveAsync(request.Argument ?? "")));
            case ControlVerbs.TypeText:
                return _machine.TypeText(request.Argument ?? "")
                    ? new ControlResponse(null)
                    : new ControlResponse("The text was not typed: the guest's keyboard driver is not bound, or a character is not on a US keyboard.");
            case ControlVerbs.CopyDisk:
                return await Task.Run(() => CopyDisk(request.Argument, progress, cancellationToken), cancellationToken);
            default:
                return new ControlResponse($"The worker does not know the request '{request.Verb}'.");
        }
    }

    private ControlResponse CopyDisk(string? argument, RequestProgress progress, CancellationToken cancellation)
    {
        DiskCopyRequest? request;
        try
        {
            request = JsonSerializer.Deserialize(argument ?? "null", ControlJsonContext.Default.DiskCopyRequest);
        }
        catch (JsonException)
        {
            request = null;
        }

        if (request is null || !Enum.TryParse<DiskFormat>(request.Format, ignoreCase: true, out var format))
        {
            return new ControlResponse("The request does not say which disk is to be copied where, and in which format.");
        }

        try
        {
            _machine.CopyDisk(request.Disk, request.Target, new DiskCreateOptions
            {
                Format = format,
                Kind = request.Fixed || format == DiskFormat.Raw ? DiskKind.Fixed : DiskKind.Dynamic,
                Sparse = request.Sparse,
                BlockSize = request.BlockSize,
                Overwrite = request.Overwrite,
            }, progress, cancellation);
            return new ControlResponse(null);
        }
        catch (BlockIOException error)
        {
            return new ControlResponse(error.Message);
        }
    }

    private ControlResponse Inspect(string path)
    {
        var root = new InspectNode();
        _machine.Inspect(root);
        return root.Find(path) switch
        {
            null => new ControlResponse($"Nothing is at '{path}'. The tree's branches: {string.Join(", ", root.Entries.Select(entry => entry.Key))}."),
            InspectNode node => new ControlResponse(null, node.ToJson()),
            long number => new ControlResponse(null, JsonValue.Create(number)),
            bool flag => new ControlResponse(null, JsonValue.Create(flag)),
            var text => new ControlResponse(null, JsonValue.Create((string)text)),
        };
    }

    private static ControlResponse Answer(GuestRequestOutcome outcome) => outcome switch
    {
        GuestRequestOutcome.Accepted => new ControlResponse(null),
        GuestRequestOutcome.Refused => new ControlResponse("The guest refused the request."),
        _ => new ControlResponse("The guest's shutdown service does not answer; it may not have started yet."),
    };
}
