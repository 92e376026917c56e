namespace Vitro.Fuzz.Targets;

/// <summary>A hostile edge: takes any bytes and throws only where the code behind it is wrong.</summary>
internal interface IFuzzTarget
{
    /// <summary>Name on the command line.</summary>
    string Name { get; }

    /// <summary>Runs one input; state is fresh each time.</summary>
    void Run(ReadOnlySpan<byte> input);
}
