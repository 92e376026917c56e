using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vitro.Platform;

/// <summary>Unpacks .xz streams with the host's liblzma (package liblzma5, which Debian's package manager itself needs).</summary>
/// <remarks>Thread-safe. The interface is that of lzma/container.h, version 5.</remarks>
public static unsafe partial class Liblzma
{
    // The decoder's dictionary, as large as the stream says, and its tables.
    private const ulong MemoryLimit = 256 << 20;
    private const nuint LargeMemory = 2 << 20;

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
        var allocator = new Allocator { Allocate = &Allocate, Free = &Free };
        Status status;
        fixed (byte* input = packed)
        fixed (byte* to = output)
        {
            try
            {
                status = StreamBufferDecode(
                    ref limit, 0, &allocator, input, ref inputPosition, (nuint)packed.Length, to, ref outputPosition, (nuint)output.Length);
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

    // The dictionary is written once from end to end: by pages, faults take more than a third of the time that unpacking takes.
    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static void* Allocate(void* opaque, nuint count, nuint size)
    {
        try
        {
            var length = checked(count * size);
            return length >= LargeMemory ? BackedMemory.AllocateLarge(length) : NativeMemory.AlignedAlloc(Math.Max(length, 1), 64);
        }
        catch (Exception error) when (error is OutOfMemoryException or OverflowException)
        {
            return null;
        }
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static void Free(void* opaque, void* memory) => BackedMemory.Free(memory);

    // lzma_allocator
    [StructLayout(LayoutKind.Sequential)]
    private struct Allocator
    {
        public delegate* unmanaged[Cdecl]<void*, nuint, nuint, void*> Allocate;
        public delegate* unmanaged[Cdecl]<void*, void*, void> Free;
        public void* Opaque;
    }

    [LibraryImport("liblzma.so.5", EntryPoint = "lzma_stream_buffer_decode")]
    private static partial Status StreamBufferDecode(
        ref ulong memoryLimit,
        uint flags,
        Allocator* allocator,
        byte* input,
        ref nuint inputPosition,
        nuint inputSize,
        byte* output,
        ref nuint outputPosition,
        nuint outputSize);
}
