namespace Vitro.Firmware.LinuxBoot;

/// <summary>A kernel, initial RAM disk or command line cannot be booted. The message names the file, the cause and the cure in one line.</summary>
public sealed class BootException : Exception
{
    /// <summary>Creates the error.</summary>
    /// <param name="file">The file or argument at fault.</param>
    /// <param name="cause">What is wrong with it, as a clause.</param>
    /// <param name="cure">What the user can do, as an imperative.</param>
    /// <param name="inner">The error beneath, when there is one.</param>
    public BootException(string file, string cause, string cure, Exception? inner = null)
        : base($"{file}: {cause}; {cure}.", inner)
    {
        File = file;
        Cause = cause;
        Cure = cure;
    }

    /// <summary>The file or argument at fault.</summary>
    public string File { get; }

    /// <summary>What is wrong with it.</summary>
    public string Cause { get; }

    /// <summary>What the user can do.</summary>
    public string Cure { get; }
}
