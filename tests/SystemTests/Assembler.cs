using System.Diagnostics;
using Xunit;

namespace Vitro.SystemTests;

/// <summary>nasm, for kernels and programs of guests.</summary>
internal static class Assembler
{
    /// <summary>Assembles FOLDER/NAME.asm, for so many processors, to a file beside it; skips the test when there is no nasm.</summary>
    internal static string Assemble(string folder, string name, int processors = 1)
    {
        var output = Path.Combine(folder, $"{name}-{processors}.elf");
        string[] arguments = ["-f", "bin", "-Werror", "-I", folder + "/", $"-DCPUS={processors}", "-o", output, Path.Combine(folder, name + ".asm")];
        var start = new ProcessStartInfo("nasm", arguments)
        {
            RedirectStandardError = true,
            UseShellExecute = false,
        };
        try
        {
            using var nasm = Process.Start(start)!;
            var errors = nasm.StandardError.ReadToEnd();
            nasm.WaitForExit();
            Assert.True(nasm.ExitCode == 0, errors);
        }
        catch (System.ComponentModel.Win32Exception)
        {
            Assert.Skip("nasm is not installed: 'apt-get install nasm' as root.");
        }

        return output;
    }
}
