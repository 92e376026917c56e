using System.Runtime.InteropServices;

namespace Vitro.Platform;

/// <summary>Unpacks .xz streams with the host's liblzma (package liblzma5, which Debian's package manager itself needs).</summary>
/// <remarks>Thread-safe. The interface is that of lzma/container.h, version 5.</remarks>
public static unsafe partial class Liblzma
{
    // The dictionary goes to the output itself, so this bounds the decoder's own tables only.
    private const ulong MemoryLimit = 256 << 20;

    private enum Status
    {
        Ok = 0,
        NoMemory = 5,
        MemoryLimit = 6,
        Format = 7,
        Options = 8,
        Data = 9,
        Buffer = 10,
    }

    /// <summary>Unpacks the stream at the beginning of <paramref name="packed"/>; what follows it is left alone.</summary>
    /// <returns>Bytes written.</returns>
    /// <exception cref="InvalidDataException">The stream is damaged, or does not fit into <paramref name="output"/>.</exception>
    /// <exception cref="PlatformNotSupportedException">The host has no liblzma.</exception>
    public static int DecodeXz(ReadOnlySpan<byte> packed, Span<byte> output)
    {
        nuint inputPosition = 0;
        nuint outputPosition = 0;
        var limit = MemoryLimit;
        Status status;
        fixed (byte* input = packed)
        fixed (byte* to = output)
        {
            try
            {
                status = StreamBufferDecode(
                    ref limit, 0, 0, input, ref inputPosition, (nuint)packed.Length, to, ref outputPosition, (nuint)output.Length);
            }
            catch (DllNotFoundException error)
            {
                throw new PlatformNotSupportedException("install the Debian package liblzma5, its liblzma.so.5 is missing", error);
            }
        }

        return status switch
        {
            Status.Ok => (int)outputPosition,
            Status.Buffer => throw new InvalidDataException("it unpacks to more than it says"),
            Status.NoMemory or Status.MemoryLimit => throw new InvalidDataException("it asks for more memory than there is"),
            Status.Options => throw new InvalidDataException("it uses a feature of a later version of xz"),
            _ => throw new InvalidDataException("it does not match its checksums"),
        };
    }

    [LibraryImport("liblzma.so.5", EntryPoint = "lzma_stream_buffer_decode")]
    private static partial Status StreamBufferDecode(
        ref ulong memoryLimit,
        uint flags,
        nint allocator,
        byte* input,
        ref nuint inputPosition,
        nuint inputSize,
        byte* output,
        ref nuint outputPosition,
        nuint outputSize);
}
