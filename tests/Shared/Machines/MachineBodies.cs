using Vitro.Configuration;
using Vitro.SystemTests.Linux;
using Vitro.Tests;
using Vitro.WorkerProcess;

namespace Vitro.SystemTests;

/// <summary>What a whole machine must do on every engine; each runner gives its own definitions.</summary>
internal static class MachineBodies
{
    /// <summary>Boots from the root disk, finds the driver of every device bound, shuts down when asked.</summary>
    /// <param name="definition">A machine of the guest image with its root disk.</param>
    /// <param name="patience">How much longer than on an idle machine the guest's own checks may take.</param>
    internal static async Task BootsBoundAndShutsDownAsync(VirtualMachineDefinition definition, int patience = 1)
    {
        await using var shell = await LinuxShell.BootAsync(definition);
        Check.Equal($"{definition.ProcessorCount}\n", await shell.RunAsync("nproc", seconds: 20 * patience));
        var checks = (await shell.RunAsync("/etc/vitro/check none", seconds: 60 * patience)).Split('\n')
            .Where(line => line.StartsWith("VITRO-CHECK ", StringComparison.Ordinal)).ToList();
        Check.That(checks.Count >= 10, "the guest made its ten checks: " + string.Join('\n', checks));
        foreach (var line in checks)
        {
            Check.Equal("ok", line.Split(' ')[2], line);
        }

        Check.Equal(GuestRequestOutcome.Accepted, await shell.Machine.ShutDownGuestAsync(restart: false));
        Check.Equal(MachineEndKind.PowerOff, (await shell.EndAsync()).Kind);
    }
}
