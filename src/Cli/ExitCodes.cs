namespace Vitro.Cli;

/// <summary>Exit codes shared by all commands.</summary>
internal static class ExitCodes
{
    internal const int Success = 0;
    internal const int Failure = 1;
    internal const int BadInput = 2;
}
