namespace Vitro.Hypervisor.Software;

/// <summary>Values of 1, 2, 4 or 8 bytes in host memory, each moved by one access, as a guest expects of its own.</summary>
internal static unsafe class HostValue
{
    /// <summary>Reads a value, the bits above its size zero.</summary>
    internal static ulong Read(byte* address, int size) => size switch
    {
        1 => *address,
        2 => *(ushort*)address,
        4 => *(uint*)address,
        _ => *(ulong*)address,
    };

    /// <summary>Writes the low bytes of a value.</summary>
    internal static void Write(byte* address, int size, ulong value)
    {
        switch (size)
        {
            case 1:
                *address = (byte)value;
                break;
            case 2:
                *(ushort*)address = (ushort)value;
                break;
            case 4:
                *(uint*)address = (uint)value;
                break;
            default:
                *(ulong*)address = value;
                break;
        }
    }
}
