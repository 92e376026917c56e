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

    [Theory]
    [InlineData("x86-64-v9", "x86-64-v1")]
    [InlineData("x86-64-v1,-mmx", "'-mmx' is neither -FEATURE with one of sse3")]
    [InlineData("x86-64-v1,tsc-frequency=5", "5 Hz")]
    public void A_processor_that_cannot_be_given_is_told_with_the_cure(string processor, string told)
    {
        var definition = new VirtualMachineDefinition
        {
            Name = "other",
            MemoryBytes = 64 << 20,
            Engine = EngineChoice.Software,
            ProcessorModel = processor,
            Boot = new LinuxBootDefinition { Kernel = "none" },
        };

        var error = Assert.Throws<DefinitionException>(
            () => VirtualMachine.Create(definition, new VirtualMachineHost { Serial = new NoSerial(), Log = NullLogger.Instance }));

        Assert.Equal("--cpu", error.Argument);
        Assert.Contains(told, error.Message, StringComparison.Ordinal);
    }

    private sealed class NoSerial : ISerialEnd
    {
        public void Write(ReadOnlySpan<byte> data)
        {
        }
    }
}
