using Vitro.Configuration;

namespace Vitro.Cli.Run;

internal static class GuestCheck
{
    internal static Task<int> RunAsync(VirtualMachineDefinition definition, CancellationToken cancellationToken) =>
        throw new DefinitionException("--check", "not available", "Later");
}
