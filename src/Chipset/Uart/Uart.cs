using System.Threading.Channels;
using Vitro.Foundation;
using Vitro.Hypervisor.Bus;

namespace Vitro.Chipset;

/// <summary>
/// A 16550A serial port. What the guest sends is gathered for a moment and given to the back end in blocks; what the back
/// end sends waits in a bounded queue. The line has no speed: bytes take no time.
/// </summary>
/// <remarks>Thread-safe. A slow back end holds the guest's transmitter busy and never a processor.</remarks>
public sealed class Uart : IVirtualDevice, IPortIo, ISerialInput
{
    /// <summary>Bytes that wait for the back end at most; then the transmitter is busy.</summary>
    public const int OutputCapacity = 16 * 1024;

    /// <summary>Bytes that wait for the guest at most.</summary>
    public const int InputCapacity = 4 * 1024;

    // Long enough to make blocks of a console's single bytes, short enough for a person not to notice.
    private const long GatherNanoseconds = 1_000_000;

    // How long a stopping machine waits for a back end to take the last of its output.
    private static readonly TimeSpan _drainLimit = TimeSpan.FromSeconds(2);

    private readonly ushort _firstPort;
    private readonly VmClock _clock;
    private readonly InterruptOutput _interrupt;
    private readonly VmTimer _gather;
    private readonly Lock _gate = new();
    private readonly UartRegisters _registers = new();
    private readonly ByteRing _output = new(OutputCapacity);
    private readonly ByteRing _input = new(InputCapacity);
    private readonly Channel<bool> _wake = Channel.CreateBounded<bool>(
        new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite, SingleReader = true });

    private readonly byte[] _block = new byte[OutputCapacity];
    private ISerialBackend? _backend;
    private TaskCompletionSource? _inputRoom;
    private Task? _pump;
    private Action? _abandonWrite;
    private bool _stopping;
    private bool _gathering;
    private bool _sending;
    private long _sent;
    private long _received;
    private long _dropped;

    /// <summary>Creates the port.</summary>
    /// <param name="name">Name in the inspect tree, such as <c>com1</c>.</param>
    /// <param name="firstPort">First of its 8 ports.</param>
    /// <param name="clock">Times the gathering of output.</param>
    /// <param name="line">Its interrupt line.</param>
    /// <param name="backend">Where its line leads; null swallows output.</param>
    public Uart(string name, ushort firstPort, VmClock clock, InterruptLine line, ISerialBackend? backend)
    {
        Name = name;
        _firstPort = firstPort;
        _clock = clock;
        _interrupt = new InterruptOutput(line);
        _gather = clock.CreateTimer(OnGathered);
        _backend = backend;
        _registers.Reset();
    }

    /// <inheritdoc/>
    public string Name { get; }

    /// <summary>Leads the line elsewhere; bytes already under way go to the old back end.</summary>
    public void Connect(ISerialBackend? backend) => Volatile.Write(ref _backend, backend);

    /// <inheritdoc/>
    public int Receive(ReadOnlySpan<byte> bytes)
    {
        int taken;
        lock (_gate)
        {
            taken = _input.Add(bytes);
            _received += taken;
            FillReceiver();
            Update();
        }

        _interrupt.Publish();
        return taken;
    }

    /// <inheritdoc/>
    public async ValueTask WaitForRoomAsync(CancellationToken cancellationToken)
    {
        Task room;
        lock (_gate)
        {
            if (_input.Room > 0)
            {
                return;
            }

            _inputRoom ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            room = _inputRoom.Task;
        }

        await room.WaitAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public uint ReadPort(ushort port, int size)
    {
        uint value;
        lock (_gate)
        {
            value = _registers.Read((port - _firstPort) & 7);
            FillReceiver();
            Update();
        }

        _interrupt.Publish();
        return value;
    }

    /// <inheritdoc/>
    public void WritePort(ushort port, int size, uint value)
    {
        var isFull = false;
        lock (_gate)
        {
            if (_registers.Write((port - _firstPort) & 7, (byte)value))
            {
                Transmit((byte)value, out isFull);
            }

            FillReceiver();
            Update();
        }

        if (isFull)
        {
            WakePump();
        }

        _interrupt.Publish();
    }

    /// <inheritdoc/>
    public void Start()
    {
        lock (_gate)
        {
            _stopping = false;
        }

        _pump = PumpAsync();
        WakePump();
    }

    /// <inheritdoc/>
    public async ValueTask StopAsync()
    {
        if (_pump is not { } pump)
        {
            return;
        }

        _gather.Disarm();
        lock (_gate)
        {
            _stopping = true;
        }

        WakePump();
        try
        {
            // The guest's last words still reach the terminal.
            await pump.WaitAsync(_drainLimit).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            Volatile.Read(ref _abandonWrite)?.Invoke();
            await pump.ConfigureAwait(false);
        }

        _pump = null;
    }

    /// <summary>Completes when the back end has all that the guest had sent, or after a back end has failed.</summary>
    public async ValueTask FlushAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            lock (_gate)
            {
                if ((_output.Count == 0 && !_sending) || _pump is not { IsCompleted: false })
                {
                    return;
                }
            }

            WakePump();
            await Task.Yield();
            cancellationToken.ThrowIfCancellationRequested();
        }
    }

    /// <inheritdoc/>
    public void Reset(ResetKind kind)
    {
        lock (_gate)
        {
            // Bytes under way are on the wire already and still arrive.
            _registers.Reset();
            Update();
        }

        _interrupt.Publish();
    }

    /// <inheritdoc/>
    public void Save(SavedStateWriter writer)
    {
        lock (_gate)
        {
            (_registers.Save() with { Output = _output.ToArray(), Input = _input.ToArray() }).Write(writer);
        }
    }

    /// <inheritdoc/>
    public void Restore(SavedStateReader reader)
    {
        Reset(ResetKind.Cold);
        var state = UartSavedState.Read(reader);
        lock (_gate)
        {
            _registers.Load(state);
            _output.Clear();
            _output.Add(state.Output);
            _input.Clear();
            _input.Add(state.Input);
            Update();
        }

        _interrupt.Publish();
    }

    /// <inheritdoc/>
    public void Inspect(InspectNode node)
    {
        lock (_gate)
        {
            node.Hex("port", _firstPort)
                .Value("baud", _registers.Baud)
                .Value("interrupt", _interrupt.Level)
                .Value("loopback", _registers.IsLoopback)
                .Value("sent", _sent)
                .Value("received", _received)
                .Value("dropped", _dropped)
                .Value("outputQueued", _output.Count)
                .Value("inputQueued", _input.Count + _registers.Received);
        }
    }

    private void Transmit(byte value, out bool isFull)
    {
        if (Volatile.Read(ref _backend) is null)
        {
            _sent++;
            isFull = false;
            return;
        }

        if (_output.TryAdd(value))
        {
            _sent++;
        }
        else
        {
            // The guest wrote without looking at the line status.
            _dropped++;
        }

        isFull = _output.Room <= OutputCapacity / 2;
        if (!_gathering && !_sending)
        {
            _gathering = true;
            _gather.Arm(_clock.Nanoseconds + GatherNanoseconds);
        }
    }

    private void FillReceiver()
    {
        if (_registers.IsLoopback)
        {
            return;
        }

        var moved = false;
        while (_registers.ReceiveRoom > 0 && _input.TryTake(out var value))
        {
            _registers.Receive(value);
            moved = true;
        }

        if (moved && _inputRoom is { } room)
        {
            _inputRoom = null;
            room.TrySetResult();
        }
    }

    private void Update()
    {
        _registers.TransmitIdle = _output.Count == 0 && !_sending;
        _registers.SetTransmitReady(_output.Room > 0);
        _interrupt.Level = _registers.Interrupt;
    }

    private void OnGathered() => WakePump();

    private void WakePump()
    {
        lock (_gate)
        {
            _gathering = false;
        }

        _wake.Writer.TryWrite(true);
    }

    private async Task PumpAsync()
    {
        // Leaves the caller's thread at once.
        await Task.CompletedTask.ConfigureAwait(ConfigureAwaitOptions.ForceYielding);
        using var cancellation = new CancellationTokenSource();
        Volatile.Write(ref _abandonWrite, cancellation.Cancel);
        var failed = false;
        while (true)
        {
            await _wake.Reader.ReadAsync(CancellationToken.None).ConfigureAwait(false);
            while (TakeBlock() is { Length: > 0 } block)
            {
                if (!failed && Volatile.Read(ref _backend) is { } backend)
                {
                    failed = !await TryWriteAsync(backend, block, cancellation.Token).ConfigureAwait(false);
                }

                EndBlock();
            }

            lock (_gate)
            {
                if (_stopping)
                {
                    Volatile.Write(ref _abandonWrite, null);
                    return;
                }
            }
        }
    }

    private static async ValueTask<bool> TryWriteAsync(ISerialBackend backend, ReadOnlyMemory<byte> block, CancellationToken stop)
    {
        try
        {
            await backend.WriteAsync(block, stop).ConfigureAwait(false);
            return true;
        }
        catch (Exception error) when (error is IOException or OperationCanceledException or ObjectDisposedException)
        {
            // The other end has gone; the guest's output goes nowhere from here, as on an unplugged cable.
            return false;
        }
    }

    private ReadOnlyMemory<byte> TakeBlock()
    {
        int length;
        lock (_gate)
        {
            length = _output.Take(_block);
            _sending = length > 0;
            Update();
        }

        _interrupt.Publish();
        return _block.AsMemory(0, length);
    }

    private void EndBlock()
    {
        lock (_gate)
        {
            _sending = false;
            Update();
        }
    }
}
