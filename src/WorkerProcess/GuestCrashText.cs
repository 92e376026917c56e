using System.Text;
using Vitro.Hypervisor.Tlfs;

namespace Vitro.WorkerProcess;

/// <summary>A guest's crash report as text.</summary>
internal static class GuestCrashText
{
    // The log's end holds the panic message; a guest may give a page of it or more.
    private const int LogCharacters = 4096;

    internal static string Describe(GuestCrashReport report)
    {
        var text = new StringBuilder();
        text.Append("Virtual processor ").Append(report.VpIndex).Append(" reported:");
        for (var i = 0; i < report.Parameters.Count; i++)
        {
            text.Append(" P").Append(i).Append("=0x").Append(report.Parameters[i].ToString("x"));
        }

        if (report.Log is { Length: > 0 } log)
        {
            text.AppendLine().Append("The end of the guest's kernel log:").AppendLine();
            text.Append(log.Length > LogCharacters ? log[^LogCharacters..] : log);
        }

        return text.ToString();
    }
}
