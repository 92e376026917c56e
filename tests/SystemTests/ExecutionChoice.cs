namespace Vitro.SystemTests;

/// <summary>Makes machines created meanwhile run on the translator or on the interpreter alone.</summary>
/// <remarks>The choice is the process's; no other machine runs meanwhile, because the tests run one at a time.</remarks>
internal sealed class ExecutionChoice : IDisposable
{
    private const string Variable = "VITRO_TRANSLATE";
    private readonly string? _before = Environment.GetEnvironmentVariable(Variable);

    internal ExecutionChoice(bool translate) => Environment.SetEnvironmentVariable(Variable, translate ? "on" : "off");

    public void Dispose() => Environment.SetEnvironmentVariable(Variable, _before);
}
