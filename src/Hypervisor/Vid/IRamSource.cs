namespace Vitro.Hypervisor.Vid;

/// <summary>
/// Where the content of RAM comes from that is not there yet: a saved machine goes on before its memory is unpacked.
/// </summary>
/// <remarks>Thread-safe. Disposed by the <see cref="GuestMemory"/> it was given to.</remarks>
public interface IRamSource : IDisposable
{
    /// <summary>Puts a range into the memory; returns when all of it is there, whoever put it there.</summary>
    /// <param name="offset">Byte in the memory.</param>
    /// <param name="length">Bytes; the range lies inside the file.</param>
    void Fill(ulong offset, ulong length);
}
