using Vitro.Configuration;
using Vitro.SystemTests.Input;
using Vitro.WorkerProcess.Saving;
using Xunit;

namespace Vitro.SystemTests.Saving;

/// <summary>
/// Machines saved by former builds, kept for ever: every build goes on with them. docs/system-tests.md says how one is made;
/// none is ever changed or taken out.
/// </summary>
public sealed class GoldenMachineTests
{
    public static TheoryData<string, bool> Files
    {
        get
        {
            var data = new TheoryData<string, bool>();
            foreach (var file in Directory.EnumerateFiles(Folder, "*.vmrs").Order(StringComparer.Ordinal))
            {
                data.Add(Path.GetFileName(file), false);
                data.Add(Path.GetFileName(file), true);
            }

            return data;
        }
    }

    private static string Folder => Path.Combine(AppContext.BaseDirectory, "Golden");

    [Theory]
    [MemberData(nameof(Files))]
    public async Task A_machine_saved_by_a_former_build_goes_on(string file, bool translate)
    {
        using var choice = new ExecutionChoice(translate);
        await ResumedKernelTests.FinishAsync(RunningMachine.Restore(Path.Combine(Folder, file)));
    }

    [Fact]
    public void A_saved_machine_of_former_builds_says_what_it_is()
    {
        using var saved = SavedMachine.Open(Path.Combine(Folder, "resume-1.vmrs"));

        Assert.Equal(("golden", 16 << 20, 1), (saved.Definition.Name, saved.Definition.MemoryBytes, saved.Definition.ProcessorCount));
        Assert.Equal("software", saved.EngineName);
    }

    [Fact]
    public async Task Its_copy_with_a_damaged_byte_is_refused()
    {
        using var folder = new TemporaryFolder();
        var bytes = await File.ReadAllBytesAsync(Path.Combine(Folder, "resume-1.vmrs"), TestContext.Current.CancellationToken);
        bytes[5000] ^= 1;

        Assert.Throws<DefinitionException>(() => RunningMachine.Restore(folder.Write("damaged.vmrs", bytes)));
    }
}
