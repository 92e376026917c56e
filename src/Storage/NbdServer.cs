using System.Net.Sockets;
using Vitro.Storage.Nbd;

namespace Vitro.Storage;

/// <summary>Serves an open disk, or a partition of it, as a network block device on a Unix socket.</summary>
/// <remarks>Any export name is this disk. Several clients may connect at once; a flush by one covers the writes of all.</remarks>
public sealed class NbdServer : IDisposable
{
    private readonly VirtualDisk _disk;
    private readonly string _socketPath;
    private readonly long _start;
    private readonly long _length;
    private readonly Socket _listener;

    /// <summary>Creates the socket, which must not exist; clients can connect from now on.</summary>
    /// <param name="disk">The disk, which stays the caller's; a read-only disk is served read-only.</param>
    /// <param name="socketPath">The socket's path; only its owner may connect.</param>
    /// <param name="partition">The part of the disk to serve; null is all.</param>
    /// <exception cref="IOException">The socket cannot be made.</exception>
    public NbdServer(VirtualDisk disk, string socketPath, DiskPartition? partition = null)
    {
        ArgumentNullException.ThrowIfNull(disk);
        _disk = disk;
        _socketPath = socketPath;
        _start = partition?.Offset ?? 0;
        _length = partition?.Length ?? disk.Length;
        _listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            _listener.Bind(new UnixDomainSocketEndPoint(socketPath));
            if (OperatingSystem.IsLinux())
            {
                File.SetUnixFileMode(socketPath, UnixFileMode.UserRead | UnixFileMode.UserWrite);
            }

            _listener.Listen();
        }
        catch (SocketException error)
        {
            _listener.Dispose();
            throw new IOException($"{socketPath}: {error.Message}", error);
        }
    }

    /// <summary>Accepts clients until cancelled, then ends their connections.</summary>
    public async Task RunAsync(CancellationToken cancellation)
    {
        var clients = new List<Task>();
        try
        {
            while (true)
            {
                var socket = await _listener.AcceptAsync(cancellation);
                clients.RemoveAll(client => client.IsCompleted);
                clients.Add(ServeAsync(socket, cancellation));
            }
        }
        catch (OperationCanceledException)
        {
            await Task.WhenAll(clients);
        }
    }

    /// <summary>Closes and removes the socket.</summary>
    public void Dispose()
    {
        _listener.Dispose();
        File.Delete(_socketPath);
    }

    private async Task ServeAsync(Socket socket, CancellationToken cancellation)
    {
        using var connection = new NbdConnection(_disk, _start, _length, new NetworkStream(socket, ownsSocket: true));
        await connection.RunAsync(cancellation);
    }
}
