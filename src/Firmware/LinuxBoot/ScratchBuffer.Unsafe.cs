using Vitro.Platform;

namespace Vitro.Firmware.LinuxBoot;

/// <summary>
/// A large short-lived buffer outside the managed heap: files and unpacked kernels pass through it, and its memory goes
/// back to the system at once instead of staying in the worker for the life of the machine.
/// </summary>
internal sealed unsafe class ScratchBuffer : IDisposable
{
    private byte* _address;
    private readonly int _length;

    internal ScratchBuffer(int length)
    {
        _length = length;
        _address = (byte*)BackedMemory.AllocateLarge((nuint)Math.Max(length, 1));
    }

    internal Span<byte> Span
    {
        get
        {
            ObjectDisposedException.ThrowIf(_address == null, this);
            return new Span<byte>(_address, _length);
        }
    }

    public void Dispose()
    {
        BackedMemory.Free(_address);
        _address = null;
    }
}
