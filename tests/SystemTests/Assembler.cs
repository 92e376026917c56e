using System.Diagnostics;
using Xunit;

namespace Vitro.SystemTests;

/// <summary>nasm, for kernels and programs of guests.</summary>
internal static class Assembler
{
    /// <summary>Assembles FOLDER/NAME.asm to NAME.elf beside it; skips the test when there is no nasm.</summary>
    internal static string Assemble(string folder, string name)
    {
        var output = Path.Combine(folder, name + ".elf");
        var start = new ProcessStartInfo("nasm", ["-f", "bin", "-Werror", "-I", folder + "/", "-o", output, Path.Combine(folder, name + ".asm")])
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
