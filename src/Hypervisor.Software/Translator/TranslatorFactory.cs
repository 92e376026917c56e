using System.Globalization;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Software.Interpreter;
using Vitro.Platform;

namespace Vitro.Hypervisor.Software.Translator;

/// <summary>Makes the translator's parts for a partition.</summary>
/// <param name="translated">Only blocks whose hash is in this range are translated, all other code is interpreted; all blocks when null.</param>
internal sealed class TranslatorFactory(HashRange? translated = null) : IExecutionFactory
{
    /// <summary>
    /// The environment variable that chooses: on (as without it), off, or FROM-TO, two hexadecimal hashes of blocks
    /// (<see cref="HashRange"/>).
    /// </summary>
    public const string Variable = "VITRO_TRANSLATE";

    // A third of the blocks of a boot run once. Interpreting twice saves another tenth of the memory, but costs a compiler more than it saves.
    private const int UsualRuns = 1;

    /// <summary>Bytes of the code memory, which is used in segments, the oldest of which makes room for new code; at least 1 MiB.</summary>
    public int CodeSize { get; init; } = 512 << 20;

    /// <summary>
    /// How often a block is interpreted before it is translated, 0 to 255. Much code runs once or twice: interpreting that takes less time than
    /// translating it, and no code memory.
    /// </summary>
    public int InterpretedRuns { get; init; }

    /// <summary>Whether translated code counts instructions, which costs it some twentieth of its speed.</summary>
    public bool CountsInstructions { get; init; }

    /// <summary>What the environment and the host's abilities give.</summary>
    public static IExecutionFactory Choose() => Choose(Environment.GetEnvironmentVariable(Variable));

    /// <summary>The same for a setting's value, null when there is none.</summary>
    /// <exception cref="HypervisorException">It is none of those the variable may have.</exception>
    public static IExecutionFactory Choose(string? setting)
    {
        if (setting == "off" || ExecutableMemory.Probe() != null)
        {
            return new InterpreterFactory();
        }

        if (setting is null or "" or "on")
        {
            return new TranslatorFactory { InterpretedRuns = UsualRuns };
        }

        return setting.Split('-') is [var first, var last]
            && ushort.TryParse(first, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var from)
            && ushort.TryParse(last, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var to)
            && from <= to
            ? new TranslatorFactory(new HashRange(from, to)) { InterpretedRuns = UsualRuns }
            : throw new HypervisorException($"{Variable} is '{setting}': use on, off, or FROM-TO with two hashes of blocks from 0000 to ffff, as in 0000-7fff.");
    }

    /// <summary>Whether guest code is translated on a host that allows it.</summary>
    public static string Describe()
    {
        var setting = Environment.GetEnvironmentVariable(Variable);
        return setting switch
        {
            null or "" or "on" => "It translates guest code to host code.",
            "off" => $"It interprets guest code, for {Variable} is off.",
            _ => $"It translates guest code whose hash is in {setting} only, as {Variable} says.",
        };
    }

    /// <inheritdoc/>
    public ICodePageObserver CreateCodePages(SoftwarePartition partition) =>
        new CodeCache(partition, new BlockTranslations(translated ?? HashRange.All, CodeSize, CountsInstructions, InterpretedRuns));

    /// <inheritdoc/>
    public IExecutionCore CreateCore(SoftwareVirtualProcessor vp) => new TranslatedCore(vp, (CodeCache)vp.Partition.CodePages);
}
