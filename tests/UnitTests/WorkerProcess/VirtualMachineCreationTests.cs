using Microsoft.Extensions.Logging.Abstractions;
using Vitro.Configuration;
using Vitro.Platform;
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

    [Theory]
    [InlineData(MemoryBacking.LargePages, "vm.nr_hugepages=512")]
    [InlineData(MemoryBacking.Locked, "ulimit -l")]
    [InlineData(MemoryBacking.Ordinary, "Give the machine less")]
    public void Memory_that_cannot_be_locked_or_backed_is_told_with_the_cure(MemoryBacking backing, string cure)
    {
        var definition = new VirtualMachineDefinition
        {
            Name = "backed",
            MemoryBytes = 1 << 30,
            MemoryBacking = backing,
            Boot = new LinuxBootDefinition { Kernel = "none" },
        };

        var error = HostMemory.Explain(definition, new PlatformException("mlock", 12));

        Assert.Equal(backing == MemoryBacking.Ordinary ? "--memory" : "--memory-backing", error.Argument);
        Assert.Contains("mlock", error.Message, StringComparison.Ordinal);
        Assert.Contains(cure, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Large_pages_that_the_host_has_not_reserved_are_told_with_the_cure()
    {
        var definition = new VirtualMachineDefinition
        {
            Name = "large",
            MemoryBytes = 1L << 44,
            MemoryBacking = MemoryBacking.LargePages,
            Engine = EngineChoice.Software,
            Boot = new LinuxBootDefinition { Kernel = "none" },
        };

        var error = Assert.Throws<DefinitionException>(
            () => VirtualMachine.Create(definition, new VirtualMachineHost { Serial = new NoSerial(), Log = NullLogger.Instance }));

        Assert.Equal("--memory-backing", error.Argument);
        Assert.Contains("vm.nr_hugepages=8388608", error.Message, StringComparison.Ordinal);
    }

    private sealed class NoSerial : ISerialEnd
    {
        public void Write(ReadOnlySpan<byte> data)
        {
        }
    }
}
