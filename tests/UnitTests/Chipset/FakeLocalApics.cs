using System.Buffers.Binary;
using Vitro.Hypervisor.Engine;

namespace Vitro.UnitTests.Chipset;

/// <summary>Local APICs of an engine that hold registers and do nothing.</summary>
internal sealed class FakeLocalApics : IEngineLocalApics
{
    private LocalApicRegisters _registers = new();

    public void Send(ulong address, uint data) => throw new NotSupportedException();

    public void SetPinMessage(int pin, ulong address, uint data)
    {
    }

    public void ConnectEndOfInterrupt(Action<byte> target)
    {
    }

    public bool TryReadMsr(int vpIndex, uint msr, out ulong value) => throw new NotSupportedException();

    public bool TryWriteMsr(int vpIndex, uint msr, ulong value) => throw new NotSupportedException();

    public LocalApicRegisters Read(int vpIndex) => _registers;

    public void Write(int vpIndex, LocalApicRegisters registers) => _registers = registers;

    internal void Put(int register, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(_registers.Page.AsSpan(register * 16), value);
}
