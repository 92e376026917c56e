using System.Net.Sockets;

namespace Vitro.Configuration.Control;

/// <summary>Where the control sockets of running machines lie.</summary>
public static class ControlSocketPath
{
    /// <summary>The folder of this user's sockets: below XDG_RUNTIME_DIR, or a private folder in the temporary directory.</summary>
    public static string Folder
    {
        get
        {
            var runtime = Environment.GetEnvironmentVariable("XDG_RUNTIME_DIR");
            return string.IsNullOrEmpty(runtime) || !Directory.Exists(runtime)
                ? Path.Combine(Path.GetTempPath(), $"vitro-{Environment.UserName}")
                : Path.Combine(runtime, "vitro");
        }
    }

    /// <summary>The socket of a machine.</summary>
    public static string Of(string machineName) => Path.Combine(Folder, machineName + ".sock");

    /// <summary>Names of the machines that run: those whose socket somebody serves.</summary>
    public static IEnumerable<string> RunningMachines() =>
        Directory.Exists(Folder)
            ? Directory.EnumerateFiles(Folder, "*.sock").Where(IsServed).Select(file => Path.GetFileNameWithoutExtension(file))
                .Order(StringComparer.Ordinal)
            : [];

    /// <summary>Whether a worker serves the socket; one that was killed leaves its file behind.</summary>
    public static bool IsServed(string socketPath)
    {
        using var probe = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            probe.Connect(new UnixDomainSocketEndPoint(socketPath));
            return true;
        }
        catch (Exception error) when (error is SocketException or ArgumentException)
        {
            return false;
        }
    }
}
