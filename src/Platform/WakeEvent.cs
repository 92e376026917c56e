using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vitro.Platform;

/// <summary>A wake-up that one thread waits for and that any thread gives, or the host's kernel through the file (eventfd(2)).</summary>
/// <remarks>Wake-ups that come while nobody waits are kept and count as one. Thread-safe.</remarks>
public sealed class WakeEvent : IDisposable
{
    /// <summary>Creates one that nobody has given yet.</summary>
    /// <exception cref="PlatformException">The host has no file left.</exception>
    public WakeEvent()
    {
        File = new SafeFileHandle(Libc.Eventfd(0, Libc.EventCloexec), ownsHandle: true);
        if (File.IsInvalid)
        {
            throw PlatformException.Last("eventfd");
        }
    }

    /// <summary>The event counter: whoever adds to it gives the wake-up.</summary>
    public SafeFileHandle File { get; }

    /// <summary>Gives the wake-up; nothing happens once it has been disposed, when nobody waits any more.</summary>
    public void Set()
    {
        try
        {
            // Fails only when the counter is full, and then the wake-up has been given.
            _ = Libc.Write(File, 1, sizeof(ulong));
        }
        catch (ObjectDisposedException)
        {
            // It was taken down meanwhile.
        }
    }

    /// <summary>Waits for the wake-up and takes it.</summary>
    public void Wait()
    {
        ulong count = 0;
        while (Libc.Read(File, ref count, sizeof(ulong)) < 0)
        {
            if (Marshal.GetLastPInvokeError() != Libc.ErrorInterrupted)
            {
                throw PlatformException.Last("reading an event counter");
            }
        }
    }

    /// <summary>Waits for the wake-up and takes it; false when it has not come within so many milliseconds.</summary>
    public bool TryWait(int milliseconds)
    {
        var file = new Libc.Pollfd { File = (int)File.DangerousGetHandle(), Events = Libc.PollIn };
        var isGiven = Libc.Poll(ref file, 1, milliseconds) > 0;
        GC.KeepAlive(this);
        if (isGiven)
        {
            Wait();
        }

        return isGiven;
    }

    /// <inheritdoc/>
    public void Dispose() => File.Dispose();
}
