using System.Globalization;
using Vitro.Hypervisor.Software.Interpreter;
using Vitro.Platform;

namespace Vitro.Hypervisor.Software.Translator;

/// <summary>Makes the translator's parts for a partition.</summary>
/// <param name="from">Code is translated from this linear address on.</param>
/// <param name="to">Code is translated up to this linear address; all other code is interpreted.</param>
internal sealed class TranslatorFactory(ulong from = 0, ulong to = ulong.MaxValue) : IExecutionFactory
{
    /// <summary>The environment variable that chooses: off (as without it), on, or FROM-TO, two hexadecimal linear addresses.</summary>
    public const string Variable = "VITRO_TRANSLATE";

    /// <summary>What the environment and the host's abilities give.</summary>
    public static IExecutionFactory Choose() => Choose(Environment.GetEnvironmentVariable(Variable));

    /// <summary>The same for a setting's value, null when there is none; anything not understood interprets.</summary>
    public static IExecutionFactory Choose(string? setting)
    {
        var range = (setting ?? "").Split('-');
        var (from, to) = (0UL, ulong.MaxValue);
        var isWanted = setting == "on"
            || (range.Length == 2
                && ulong.TryParse(range[0], NumberStyles.HexNumber, CultureInfo.InvariantCulture, out from)
                && ulong.TryParse(range[1], NumberStyles.HexNumber, CultureInfo.InvariantCulture, out to));
        return isWanted && ExecutableMemory.Probe() == null ? new TranslatorFactory(from, to) : new InterpreterFactory();
    }

    /// <inheritdoc/>
    public ICodePageObserver CreateCodePages(SoftwarePartition partition) =>
        new CodeCache(partition) { Translations = new BlockTranslations(from, to) };

    /// <inheritdoc/>
    public IExecutionCore CreateCore(SoftwareVirtualProcessor vp) => new TranslatedCore(vp, (CodeCache)vp.Partition.CodePages);
}
