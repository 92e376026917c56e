namespace Vitro.Configuration;

/// <summary>A definition, or a file it names, cannot be used. The message names the argument, the cause and the cure in one line.</summary>
public sealed class DefinitionException(string argument, string cause, string cure)
    : Exception($"{argument}: {cause}. {cure}.")
{
    /// <summary>The argument or field at fault.</summary>
    public string Argument { get; } = argument;
}
