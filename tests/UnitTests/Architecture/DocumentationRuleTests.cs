using System.Xml.Linq;
using Xunit;

namespace Vitro.UnitTests.Architecture;

public sealed class DocumentationRuleTests
{
    [Fact]
    public void Every_public_type_says_what_it_is()
    {
        var missing = new List<string>();
        foreach (var documentation in Directory.EnumerateFiles(AppContext.BaseDirectory, "Vitro.*.xml"))
        {
            var assembly = System.Reflection.Assembly.Load(Path.GetFileNameWithoutExtension(documentation));
            var documented = XDocument.Load(documentation).Descendants("member")
                .Where(member => member.Element("summary") is not null || member.Element("inheritdoc") is not null)
                .Select(member => (string)member.Attribute("name")!)
                .ToHashSet(StringComparer.Ordinal);
            missing.AddRange(assembly.GetExportedTypes()
                .Where(type => !documented.Contains("T:" + type.FullName!.Replace('+', '.')))
                .Select(type => type.FullName!));
        }

        Assert.Empty(missing);
    }
}
