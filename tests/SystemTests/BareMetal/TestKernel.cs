using Vitro.Configuration;
using Vitro.WorkerProcess;
using Xunit;

namespace Vitro.SystemTests.BareMetal;

/// <summary>Assembles the test kernels beside this file and runs them.</summary>
internal static class TestKernel
{
    private static readonly string Folder = Path.Combine(AppContext.BaseDirectory, "Kernels");

    /// <summary>Assembles a kernel with nasm; skips the test when there is none.</summary>
    internal static string Assemble(string name, int processors) => Assembler.Assemble(Folder, name, processors);

    internal static VirtualMachineDefinition Define(string name, int processors, string commandLine = "") => new()
    {
        Name = "bare-metal-" + name,
        MemoryBytes = 64 << 20,
        ProcessorCount = processors,
        Boot = new LinuxBootDefinition { Kernel = Assemble(name, processors), CommandLine = commandLine },
        HasDebugExit = true,
    };

    /// <summary>Runs a kernel of checks to its end; every check that failed is in the failure's text.</summary>
    /// <returns>What it wrote.</returns>
    internal static async Task<string> RunChecksAsync(string name, int processors = 1)
    {
        await using var machine = RunningMachine.Start(Define(name, processors));
        var end = await machine.EndAsync(TimeSpan.FromSeconds(60));
        Assert.True(
            end is { Kind: MachineEndKind.DebugExit, DebugExitCode: 0 },
            $"{name} ended with {end.Kind} {end.DebugExitCode} {end.Detail}\n{Summary(machine.Serial.Text)}");
        Assert.Contains("DONE ", machine.Serial.Text, StringComparison.Ordinal);
        return machine.Serial.Text;
    }

    /// <summary>The failed checks, then the last lines, which say how far the kernel came.</summary>
    private static string Summary(string transcript)
    {
        var lines = transcript.Split('\n');
        return string.Join('\n', lines.Where(line => line.StartsWith("FAIL", StringComparison.Ordinal)))
            + "\nThe last lines:\n" + string.Join('\n', lines.TakeLast(8));
    }
}
