using Vitro.SystemTests.Input;
using Xunit;

namespace Vitro.SystemTests.Saving;

/// <summary><c>vitro save</c> and <c>vitro run --restore</c> as programs.</summary>
public sealed class SaveCommandTests
{
    [Fact]
    public async Task A_machine_is_saved_looked_at_and_gone_on_with()
    {
        using var folder = new TemporaryFolder();
        var file = folder["machine.vmrs"];
        await using var first = VitroProcess.Start(folder.Path, "run", "--kernel", folder.WriteKernel(), "--memory", "64M", "--name", "first");
        await first.ExpectAsync("READY");

        var (code, output, error) = await VitroProcess.RunAsync(folder.Path, "save", "first", file);

        Assert.True(code == 0, error);
        Assert.Contains(file, output, StringComparison.Ordinal);
        Assert.Equal(0, await first.EndAsync());
        var (inspectCode, tree, _) = await VitroProcess.RunAsync(folder.Path, "inspect", file);
        Assert.Equal(0, inspectCode);
        Assert.Contains("state: Saved", tree, StringComparison.Ordinal);

        // The kernel has printed all it will ever print; that it runs is seen from outside.
        File.Delete(folder["kernel.elf"]);
        await using var second = VitroProcess.Start(folder.Path, "run", "--restore", file, "--name", "second", "--serial", "file:" + folder["serial"]);
        while ((await VitroProcess.RunAsync(folder.Path, "inspect", "second", "uptimeNanoseconds")).ExitCode != 0)
        {
        }

        Assert.Equal(0, (await VitroProcess.RunAsync(folder.Path, "save", "second", file)).ExitCode);
        Assert.Equal(0, await second.EndAsync());
        Assert.Equal("", await File.ReadAllTextAsync(folder["serial"], TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task A_machine_that_cannot_be_saved_there_goes_on()
    {
        using var folder = new TemporaryFolder();
        await using var vitro = VitroProcess.Start(folder.Path, "run", "--kernel", folder.WriteKernel(), "--memory", "64M", "--name", "stays");
        await vitro.ExpectAsync("READY");

        var (code, _, error) = await VitroProcess.RunAsync(folder.Path, "save", "stays", folder["missing/file.vmrs"]);

        Assert.Equal(2, code);
        Assert.Contains(folder["missing/file.vmrs"], Assert.Single(error.TrimEnd('\n').Split('\n')), StringComparison.Ordinal);
        Assert.Equal(0, (await VitroProcess.RunAsync(folder.Path, "inspect", "stays")).ExitCode);
        Assert.Equal(2, (await VitroProcess.RunAsync(folder.Path, "save", "nobody", folder["file.vmrs"])).ExitCode);
    }

    [Theory]
    [InlineData("--restore", "--restore", "{folder}/missing")]
    [InlineData("--restore", "--restore", "{folder}")]
    [InlineData("--restore", "--restore", "{kernel}")]
    [InlineData("--memory", "--restore", "{golden}", "--memory", "64M")]
    [InlineData("--kernel", "--restore", "{golden}", "--kernel", "{kernel}")]
    [InlineData("--disk", "--restore", "{golden}", "--disk", "{kernel}")]
    [InlineData("--check", "--restore", "{golden}", "--check")]
    [InlineData("--kernel", "--memory", "64M")]
    public async Task A_saved_machine_that_cannot_be_used_is_named_in_one_line(string argument, params string[] arguments)
    {
        using var folder = new TemporaryFolder();
        var golden = Path.Combine(AppContext.BaseDirectory, "Golden", "resume-1.vmrs");
        var expanded = arguments.Select(text => text.Replace("{folder}", folder.Path, StringComparison.Ordinal)
            .Replace("{kernel}", folder["kernel.elf"], StringComparison.Ordinal).Replace("{golden}", golden, StringComparison.Ordinal));
        folder.WriteKernel();

        var (code, output, error) = await VitroProcess.RunAsync(folder.Path, ["run", .. expanded]);

        Assert.True(code == 2, $"exit code {code}:\n{error}");
        Assert.Empty(output);
        var line = Assert.Single(error.TrimEnd('\n').Split('\n'));
        Assert.StartsWith("vitro run: " + argument, line, StringComparison.Ordinal);
        Assert.True(line.Count(letter => letter == '.') >= 2 && line.EndsWith('.'), line);
    }
}
