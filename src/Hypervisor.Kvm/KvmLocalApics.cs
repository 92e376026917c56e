using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Kvm.Interop;

namespace Vitro.Hypervisor.Kvm;

/// <summary>The local APICs in the host's kernel and the messages to them.</summary>
internal sealed unsafe class KvmLocalApics(KvmFile vm, KvmVirtualProcessor[] processors) : IEngineLocalApics
{
    /// <summary>Pins of the IO-APIC whose level-triggered interrupts' ends come back.</summary>
    internal const int PinCount = 24;

    /// <summary>Address of a message to APIC id 0.</summary>
    internal const ulong MessageAddress = 0xFEE0_0000;

    private readonly Lock _gate = new();
    private readonly (ulong Address, uint Data)[] _pins = new (ulong, uint)[PinCount];
    private Action<byte>? _endOfInterrupt;

    /// <inheritdoc/>
    public void Send(ulong address, uint data)
    {
        var message = new KvmMsi { AddressLow = (uint)address, AddressHigh = (uint)(address >> 32), Data = data };

        // 0 means that the addressed APICs do not take it now, which is the guest's business.
        _ = vm.Try(KvmRequest.SignalMsi, ref message);
    }

    /// <inheritdoc/>
    public void SetPinMessage(int pin, ulong address, uint data)
    {
        lock (_gate)
        {
            if (_pins[pin] == (address, data))
            {
                return;
            }

            _pins[pin] = (address, data);
            Span<byte> buffer = stackalloc byte[8 + (PinCount * sizeof(KvmRoutingEntry))];
            buffer.Clear();
            fixed (byte* bytes = buffer)
            {
                var entries = (KvmRoutingEntry*)(bytes + 8);
                var count = 0u;
                for (var i = 0u; i < PinCount; i++)
                {
                    if (_pins[i].Data != 0)
                    {
                        entries[count++] = new KvmRoutingEntry
                        {
                            Gsi = i,
                            Type = KvmRoutingEntry.TypeMsi,
                            AddressLow = (uint)_pins[i].Address,
                            AddressHigh = (uint)(_pins[i].Address >> 32),
                            Data = _pins[i].Data,
                        };
                    }
                }

                *(uint*)bytes = count;
                vm.Call("Routing the interrupts of the IO-APIC", KvmRequest.SetGsiRouting, bytes);
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
}
