namespace Vitro.Configuration;

/// <summary>A definition, or a file it names, cannot be used. The message names the argument, the cause and the cure in one line.</summary>
public sealed class DefinitionException : Exception
{
    /// <summary>Creates the error from its three parts, each without a full stop.</summary>
    public DefinitionException(string argument, string cause, string cure)
        : this(argument, $"{cause}. {cure}.")
    {
    }

    /// <summary>Creates the error from a message that has the cause and the cure in whole sentences.</summary>
    public DefinitionException(string argument, string message)
        : base($"{argument}: {message}") => Argument = argument;

    /// <summary>The argument or field at fault.</summary>
    public string Argument { get; }
}
