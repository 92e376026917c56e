using Xunit;

namespace Vitro.SystemTests.Input;

/// <summary>What a user gets wrong: one line that names argument, cause and cure, exit code 2, and nothing left behind.</summary>
public sealed class BadInputTests
{
    [Theory]
    [InlineData("--kernel", "--kernel", "{folder}/missing")]
    [InlineData("--kernel", "--kernel", "{folder}")]
    [InlineData("--kernel", "--kernel", "{empty}")]
    [InlineData("--kernel", "--kernel", "{text}")]
    [InlineData("--kernel", "--kernel", "{cut-bzImage}")]
    [InlineData("--kernel", "--kernel", "{cut-elf}")]
    [InlineData("--initrd", "--initrd", "{folder}/missing")]
    [InlineData("--initrd", "--initrd", "{large}")]
    [InlineData("--disk", "--disk", "{folder}/missing")]
    [InlineData("--disk", "--disk", "{folder}")]
    [InlineData("--disk", "--disk", "{cut-vhdx}")]
    [InlineData("--memory", "--memory", "lots")]
    [InlineData("--memory", "--memory", "1G5")]
    [InlineData("--memory", "--memory", "0")]
    [InlineData("--memory", "--memory", "33M")]
    [InlineData("--memory", "--memory", "-64M")]
    [InlineData("--memory", "--memory", "8000T")]
    [InlineData("--memory", "--memory", "99999999999999999999G")]
    [InlineData("--processors", "--processors", "0")]
    [InlineData("--processors", "--processors", "65")]
    [InlineData("--processors", "--processors", "two")]
    [InlineData("--engine", "--engine", "steam")]
    [InlineData("--cpu", "--cpu", "abacus")]
    [InlineData("--serial", "--serial", "parallel")]
    [InlineData("--serial", "--serial", "file:{folder}/missing/log")]
    [InlineData("--name", "--name", "../escape")]
    public async Task An_argument_that_cannot_be_used_is_named_in_one_line(string argument, string option, string value)
    {
        using var folder = new TemporaryFolder();
        var arguments = new List<string> { "run", "--kernel", folder.WriteKernel(), "--memory", "64M", "--name", "bad" };
        var given = arguments.IndexOf(option);
        if (given >= 0)
        {
            arguments.RemoveRange(given, 2);
        }

        arguments.AddRange([option, Expand(folder, value)]);
        var before = Directory.EnumerateFileSystemEntries(folder.Path).Order(StringComparer.Ordinal).ToList();

        var (exitCode, output, error) = await VitroProcess.RunAsync(folder.Path, arguments);

        Assert.True(exitCode == 2, $"exit code {exitCode}:\n{error}");
        Assert.Empty(output);
        var line = Assert.Single(error.TrimEnd('\n').Split('\n'));
        Assert.StartsWith("vitro run: ", line, StringComparison.Ordinal);
        Assert.Contains(argument, line, StringComparison.Ordinal);
        // Cause and cure: two sentences.
        Assert.True(line.Count(letter => letter == '.') >= 2 && line.EndsWith('.'), line);
        Assert.Equal(before, Left(folder));
    }

    [Fact]
    public async Task A_second_machine_of_the_same_name_is_refused_and_the_first_one_goes_on()
    {
        using var folder = new TemporaryFolder();
        string[] arguments = ["run", "--kernel", folder.WriteKernel(), "--memory", "64M", "--name", "twin"];
        await using var first = VitroProcess.Start(folder.Path, arguments);
        await first.ExpectAsync("READY");

        var (exitCode, _, error) = await VitroProcess.RunAsync(folder.Path, arguments);

        Assert.Equal(2, exitCode);
        Assert.Contains("--name", Assert.Single(error.TrimEnd('\n').Split('\n')), StringComparison.Ordinal);
        Assert.Equal(0, (await VitroProcess.RunAsync(folder.Path, "inspect", "twin")).ExitCode);
    }

    [Fact]
    public async Task A_machine_whose_worker_was_killed_can_be_started_again_under_its_name()
    {
        using var folder = new TemporaryFolder();
        string[] arguments = ["run", "--kernel", folder.WriteKernel(), "--memory", "64M", "--name", "again"];
        await using var first = VitroProcess.Start(folder.Path, arguments);
        await first.ExpectAsync("READY");
        await first.KillAsync();

        await using var second = VitroProcess.Start(folder.Path, arguments);
        await second.ExpectAsync("READY");
    }

    private static IEnumerable<string> Left(TemporaryFolder folder) =>
        Directory.EnumerateFileSystemEntries(folder.Path)
            .Where(entry => !Directory.Exists(entry) || Directory.EnumerateFileSystemEntries(entry).Any())
            .Order(StringComparer.Ordinal);

    private static string Expand(TemporaryFolder folder, string value) => value switch
    {
        "{empty}" => folder.Write("empty", []),
        "{text}" => folder.Write("text", [.. Enumerable.Repeat((byte)'x', 8192)]),
        "{cut-bzImage}" => folder.Write("cut", CutBzImage()),
        "{cut-elf}" => folder.Write("cut", [0x7F, (byte)'E', (byte)'L', (byte)'F', 2, 1, 1, 0, .. new byte[40]]),
        "{cut-vhdx}" => folder.Write("cut.vhdx", [.. "vhdxfile"u8, .. new byte[65536]]),
        "{large}" => WriteLarge(folder),
        _ => value.Replace("{folder}", folder.Path, StringComparison.Ordinal),
    };

    private static byte[] CutBzImage()
    {
        var image = new byte[4096];
        image[0x1F1] = 20;
        "HdrS"u8.CopyTo(image.AsSpan(0x202));
        image[0x206] = 0x0F;
        image[0x207] = 0x02;
        return image;
    }

    private static string WriteLarge(TemporaryFolder folder)
    {
        using var file = File.Create(folder["large"]);
        file.SetLength(1L << 30);
        return folder["large"];
    }
}
