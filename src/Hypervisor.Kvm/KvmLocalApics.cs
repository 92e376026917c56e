using System.Diagnostics.CodeAnalysis;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Kvm.Interop;
using Vitro.Platform;

namespace Vitro.Hypervisor.Kvm;

/// <summary>The local APICs in the host's kernel and the messages to them.</summary>
/// <param name="vm">The machine.</param>
/// <param name="processors">All of its processors; they may be made later.</param>
/// <param name="hasEvents">Whether messages get event counters (KVM_IRQFD) when they are first sent.</param>
internal sealed unsafe class KvmLocalApics(KvmFile vm, KvmVirtualProcessor[] processors, bool hasEvents) : IEngineLocalApics, IDisposable
{
    /// <summary>Pins of the IO-APIC whose level-triggered interrupts' ends come back.</summary>
    internal const int PinCount = 24;

    /// <summary>Address of a message to APIC id 0.</summary>
    internal const ulong MessageAddress = 0xFEE0_0000;

    /// <summary>Messages with an event counter at most; a guest that programs more of them has the others sent without.</summary>
    internal const int MaximumEvents = 256;

    // Delivery mode and trigger mode: edge-triggered interrupts of a fixed vector have neither.
    private const uint NotFixedOrEdge = 0x8700;

    private readonly Lock _gate = new();
    private readonly (ulong Address, uint Data)[] _pins = new (ulong, uint)[PinCount];
    private readonly List<(ulong Address, uint Data)> _messages = [];
    private Dictionary<(ulong Address, uint Data), WakeEvent> _events = [];
    private Action<byte>? _endOfInterrupt;
    private bool _isDisposed;

    /// <summary>Messages that have an event counter.</summary>
    internal int EventCount => Volatile.Read(ref _events).Count;

    /// <inheritdoc/>
    public void Send(ulong address, uint data)
    {
        if (hasEvents && (data & NotFixedOrEdge) == 0 && TryGetEvent(address, data, out var interrupt))
        {
            interrupt.Set();
            return;
        }

        var message = new KvmMsi { AddressLow = (uint)address, AddressHigh = (uint)(address >> 32), Data = data };

        // 0 means that the addressed APICs do not take it now, which is the guest's business.
        _ = vm.Try(KvmRequest.SignalMsi, ref message);
    }

    /// <inheritdoc/>
    public void SetPinMessage(int pin, ulong address, uint data)
    {
        lock (_gate)
        {
            if (_pins[pin] != (address, data))
            {
                _pins[pin] = (address, data);
                SetRoutes();
            }
        }
    }

    /// <inheritdoc/>
    public void ConnectEndOfInterrupt(Action<byte> target) => _endOfInterrupt = target;

    /// <inheritdoc/>
    public bool TryReadMsr(int vpIndex, uint msr, out ulong value) => MsrList.TryRead(processors[vpIndex].File, msr, out value);

    /// <inheritdoc/>
    public bool TryWriteMsr(int vpIndex, uint msr, ulong value) => MsrList.TryWrite(processors[vpIndex].File, msr, value);

    /// <inheritdoc/>
    public LocalApicRegisters Read(int vpIndex) => processors[vpIndex].ReadLocalApic();

    /// <inheritdoc/>
    public void Write(int vpIndex, LocalApicRegisters registers) => processors[vpIndex].WriteLocalApic(registers);

    internal void OnEndOfInterrupt(byte vector) => _endOfInterrupt?.Invoke(vector);

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_gate)
        {
            _isDisposed = true;
            foreach (var interrupt in _events.Values)
            {
                interrupt.Dispose();
            }
        }
    }

    // Looked up without a lock at every message; one that is sent for the first time changes a copy of the table.
    private bool TryGetEvent(ulong address, uint data, [NotNullWhen(true)] out WakeEvent? interrupt)
    {
        if (Volatile.Read(ref _events).TryGetValue((address, data), out interrupt))
        {
            return true;
        }

        lock (_gate)
        {
            if (_events.TryGetValue((address, data), out interrupt) || _isDisposed || _events.Count >= MaximumEvents)
            {
                return interrupt is not null;
            }

            interrupt = new WakeEvent();
            var assignment = new KvmIrqFd { Descriptor = (int)interrupt.File.DangerousGetHandle(), Gsi = (uint)(PinCount + _messages.Count) };
            _messages.Add((address, data));
            SetRoutes();
            vm.Call("Giving an interrupt its event counter", KvmRequest.AssignIrqFd, ref assignment);
            Volatile.Write(ref _events, new Dictionary<(ulong, uint), WakeEvent>(_events) { [(address, data)] = interrupt });
            return true;
        }
    }

    // The pins that send a message now, and behind them the messages with event counters in the order of their first sending.
    private void SetRoutes()
    {
        var buffer = new byte[8 + ((PinCount + _messages.Count) * sizeof(KvmRoutingEntry))];
        fixed (byte* bytes = buffer)
        {
            var entries = (KvmRoutingEntry*)(bytes + 8);
            var (gsi, count) = (0u, 0u);
            foreach (var (address, data) in _pins.Concat(_messages))
            {
                if (gsi >= PinCount || data != 0)
                {
                    entries[count++] = new KvmRoutingEntry
                    {
                        Gsi = gsi,
                        Type = KvmRoutingEntry.TypeMsi,
                        AddressLow = (uint)address,
                        AddressHigh = (uint)(address >> 32),
                        Data = data,
                    };
                }

                gsi++;
            }

            *(uint*)bytes = count;
            vm.Call("Routing interrupts", KvmRequest.SetGsiRouting, bytes);
        }
    }
}
