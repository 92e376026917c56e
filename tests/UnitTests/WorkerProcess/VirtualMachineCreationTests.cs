using Microsoft.Extensions.Logging.Abstractions;
using Vitro.Configuration;
using Vitro.WorkerProcess;
using Xunit;

namespace Vitro.UnitTests.WorkerProcess;

public sealed class VirtualMachineCreationTests
{
    [Fact]
    public void Memory_that_the_host_does_not_give_is_told_with_the_cure()
    {
        var definition = new VirtualMachineDefinition
        {
            Name = "large",
            MemoryBytes = long.MaxValue & ~0xFFFL,
            ProcessorCount = 1,
            Engine = EngineChoice.Software,
            Boot = new LinuxBootDefinition { Kernel = "none" },
        };

        var error = Assert.Throws<DefinitionException>(
            () => VirtualMachine.Create(definition, new VirtualMachineHost { Serial = new NoSerial(), Log = NullLogger.Instance }));

        Assert.Equal("--memory", error.Argument);
        Assert.Contains("errno", error.Message, StringComparison.Ordinal);
        Assert.Contains("Give the machine less", error.Message, StringComparison.Ordinal);
    }

    private sealed class NoSerial : ISerialEnd
    {
        public void Write(ReadOnlySpan<byte> data)
        {
        }
    }
}
