using System.Net.Sockets;
using Microsoft.Win32.SafeHandles;
using Vitro.Configuration;
using Vitro.WorkerProcess;

namespace Vitro.Cli.Run;

/// <summary>The host's end of the guest's first serial port: the terminal, a file, or a Unix socket.</summary>
internal abstract class SerialEnd : ISerialEnd, IAsyncDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private Task _pump = Task.CompletedTask;

    internal static SerialEnd Open(SerialChoice choice) => choice.Kind switch
    {
        SerialKind.File => new SerialFile(choice.Path),
        SerialKind.Socket => new SerialSocket(choice.Path),
        _ => new SerialTerminal(),
    };

    /// <summary>Writes what the guest sent. Called on one thread at a time.</summary>
    public abstract void Write(ReadOnlySpan<byte> data);

    /// <summary>Starts passing input to the guest.</summary>
    /// <param name="receive">Takes bytes for the guest; completes when they are taken.</param>
    /// <param name="detach">Called when the user asks to leave.</param>
    internal void Attach(Func<ReadOnlyMemory<byte>, CancellationToken, ValueTask> receive, Action detach) =>
        _pump = Task.Run(() => PumpAsync(receive, detach, _stop.Token));

    /// <summary>Makes sure that everything written has left.</summary>
    internal virtual Task DrainAsync() => Task.CompletedTask;

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await CloseAsync();
        // A read of the terminal cannot be cancelled; its thread ends with the process.
        await Task.WhenAny(_pump, Task.Delay(TimeSpan.FromMilliseconds(100), TimeProvider.System));
        _stop.Dispose();
    }

    protected abstract Task PumpAsync(
        Func<ReadOnlyMemory<byte>, CancellationToken, ValueTask> receive, Action detach, CancellationToken cancellationToken);

    protected abstract ValueTask CloseAsync();

    private sealed class SerialTerminal : SerialEnd
    {
        // Ctrl-] as telnet and virsh have it.
        private const byte DetachKey = 0x1d;
        private readonly Stream _output = Console.OpenStandardOutput();

        public override void Write(ReadOnlySpan<byte> data)
        {
            _output.Write(data);
            _output.Flush();
        }

        protected override async Task PumpAsync(
            Func<ReadOnlyMemory<byte>, CancellationToken, ValueTask> receive, Action detach, CancellationToken cancellationToken)
        {
            // The console class edits whole lines of a terminal; a serial line wants each key as it is pressed.
            using var handle = new SafeFileHandle(0, ownsHandle: false);
            using var input = new FileStream(handle, FileAccess.Read, bufferSize: 0);
            var buffer = new byte[256];
            int count;
            while ((count = await input.ReadAsync(buffer, cancellationToken)) > 0)
            {
                var key = buffer.AsSpan(0, count).IndexOf(DetachKey);
                await receive(buffer.AsMemory(0, key < 0 ? count : key), cancellationToken);
                if (key >= 0)
                {
                    detach();
                }
            }
        }

        protected override ValueTask CloseAsync() => ValueTask.CompletedTask;
    }

    private sealed class SerialFile : SerialEnd
    {
        private readonly FileStream _file;

        internal SerialFile(string path)
        {
            try
            {
                _file = new FileStream(path, FileMode.Create, FileAccess.Write, FileShare.Read, bufferSize: 0);
            }
            catch (Exception error) when (error is IOException or UnauthorizedAccessException)
            {
                throw new DefinitionException("--serial", $"'{path}' cannot be written ({error.Message})", "Name a file in a folder you may write");
            }
        }

        public override void Write(ReadOnlySpan<byte> data) => _file.Write(data);

        protected override Task PumpAsync(
            Func<ReadOnlyMemory<byte>, CancellationToken, ValueTask> receive, Action detach, CancellationToken cancellationToken) =>
            Task.CompletedTask;

        protected override ValueTask CloseAsync() => _file.DisposeAsync();
    }

    private sealed class SerialSocket : SerialEnd
    {
        private readonly Socket _listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        private readonly string _path;
        private Socket? _peer;

        internal SerialSocket(string path)
        {
            _path = path;
            try
            {
                File.Delete(path);
                _listener.Bind(new UnixDomainSocketEndPoint(path));
                _listener.Listen(1);
            }
            catch (Exception error) when (error is SocketException or ArgumentException or IOException or UnauthorizedAccessException)
            {
                _listener.Dispose();
                throw new DefinitionException("--serial", $"'{path}' cannot be a socket ({error.Message})", "Name a file in a folder you may write");
            }
        }

        /// <summary>Bytes sent while nobody is connected are lost, as on a cable that is not plugged in.</summary>
        public override void Write(ReadOnlySpan<byte> data)
        {
            var peer = Volatile.Read(ref _peer);
            try
            {
                while (peer is not null && !data.IsEmpty)
                {
                    data = data[peer.Send(data)..];
                }
            }
            catch (Exception error) when (error is SocketException or ObjectDisposedException)
            {
                Interlocked.CompareExchange(ref _peer, null, peer);
            }
        }

        protected override async Task PumpAsync(
            Func<ReadOnlyMemory<byte>, CancellationToken, ValueTask> receive, Action detach, CancellationToken cancellationToken)
        {
            var buffer = new byte[4096];
            while (!cancellationToken.IsCancellationRequested)
            {
                using var peer = await _listener.AcceptAsync(cancellationToken);
                Volatile.Write(ref _peer, peer);
                try
                {
                    int count;
                    while ((count = await peer.ReceiveAsync(buffer, cancellationToken)) > 0)
                    {
                        await receive(buffer.AsMemory(0, count), cancellationToken);
                    }
                }
                catch (SocketException)
                {
                    // The peer went away; the next one may come.
                }

                Interlocked.CompareExchange(ref _peer, null, peer);
            }
        }

        protected override ValueTask CloseAsync()
        {
            _listener.Dispose();
            File.Delete(_path);
            return ValueTask.CompletedTask;
        }
    }
}
