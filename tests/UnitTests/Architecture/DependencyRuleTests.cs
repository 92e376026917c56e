using System.Xml.Linq;
using Xunit;

namespace Vitro.UnitTests.Architecture;

/// <summary>The layer rules of src/README.md, read off the project files.</summary>
public sealed class DependencyRuleTests
{
    private static readonly Dictionary<string, string[]> Allowed = new(StringComparer.Ordinal)
    {
        ["Platform"] = [],
        ["Foundation"] = [],
        ["Configuration"] = ["Foundation"],
        ["Hypervisor"] = ["Platform", "Foundation"],
        ["Storage"] = ["Platform", "Foundation"],
        ["VmBus"] = ["Platform", "Foundation", "Hypervisor"],
        ["Hypervisor.Kvm"] = ["Platform", "Foundation", "Hypervisor"],
        ["Hypervisor.Software"] = ["Platform", "Foundation", "Hypervisor"],
        ["Chipset"] = ["Foundation", "Hypervisor"],
        ["Firmware"] = ["Platform", "Foundation", "Hypervisor"],
        ["Vsp"] = ["Platform", "Foundation", "Hypervisor", "VmBus", "Storage"],
        ["WorkerProcess"] =
        [
            "Platform", "Foundation", "Configuration", "Hypervisor", "Storage", "VmBus", "Hypervisor.Kvm", "Hypervisor.Software", "Chipset", "Firmware", "Vsp",
        ],
        ["Client"] = ["Foundation", "Configuration"],
        ["Cli"] = ["Client", "WorkerProcess", "Storage"],
    };

    public static TheoryData<string> Projects => [.. Allowed.Keys];

    [Theory]
    [MemberData(nameof(Projects))]
    public void A_project_references_only_what_its_layer_allows(string project)
    {
        var file = Path.Combine(Repository.Root, "src", project, project + ".csproj");
        var references = XDocument.Load(file).Descendants("ProjectReference")
            .Select(reference => Path.GetFileNameWithoutExtension((string)reference.Attribute("Include")!));

        Assert.Empty(references.Except(Allowed[project], StringComparer.Ordinal));
    }

    [Fact]
    public void Every_project_has_a_rule()
    {
        var projects = Directory.GetDirectories(Path.Combine(Repository.Root, "src")).Select(Path.GetFileName);

        Assert.Empty(projects.Except(Allowed.Keys, StringComparer.Ordinal));
    }

    [Fact]
    public void Unsafe_code_stays_in_the_platform_the_engines_and_files_named_for_it()
    {
        var offenders = Repository.SourceFiles("src")
            .Where(file => !file.Contains("/Platform/", StringComparison.Ordinal)
                && !file.Contains("/Hypervisor.Kvm/", StringComparison.Ordinal)
                && !file.Contains("/Hypervisor.Software/", StringComparison.Ordinal)
                && !file.EndsWith(".Unsafe.cs", StringComparison.Ordinal)
                && File.ReadLines(file).Any(line => line.Contains("unsafe ", StringComparison.Ordinal)
                    && !line.TrimStart().StartsWith("//", StringComparison.Ordinal)));

        Assert.Empty(offenders);
    }

    [Fact]
    public void No_file_is_longer_than_a_thousand_lines()
    {
        var offenders = Repository.SourceFiles("src").Concat(Repository.SourceFiles("tests"))
            .Where(file => !file.EndsWith(".g.cs", StringComparison.Ordinal) && File.ReadLines(file).Count() > 1000);

        Assert.Empty(offenders);
    }

    [Fact]
    public void Every_to_do_names_its_issue()
    {
        var marker = "TO" + "DO";
        var offenders = Repository.SourceFiles("src").Concat(Repository.SourceFiles("tests"))
            .SelectMany(file => File.ReadLines(file).Where(line => line.Contains(marker, StringComparison.Ordinal)
                && !line.Contains(marker + "(#", StringComparison.Ordinal)).Select(line => $"{file}: {line.Trim()}"));

        Assert.Empty(offenders);
    }
}
