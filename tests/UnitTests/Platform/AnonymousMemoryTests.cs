using Vitro.Platform;
using Xunit;

namespace Vitro.UnitTests.Platform;

public class AnonymousMemoryTests
{
    private const ulong Size = 64UL << 20;

    [Fact]
    public void What_is_locked_is_written_and_read_as_ordinary_memory_or_the_limit_is_named()
    {
        try
        {
            using var memory = AnonymousMemory.Create(1 << 20, MemoryPages.Locked);
            memory.Write(4096, [1, 2, 3]);
            var bytes = new byte[3];
            memory.Read(4096, bytes);
            Assert.Equal([1, 2, 3], bytes);
            Assert.True(memory.IsTouched(0, 4096), "all of it is there from the start");
        }
        catch (PlatformException error)
        {
            Assert.Contains("mlock", error.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Large_pages_hold_what_is_written_or_are_refused_by_name()
    {
        try
        {
            using var memory = AnonymousMemory.Create(AnonymousMemory.LargePageSize, MemoryPages.Large);
            memory.Write(4096, [1, 2, 3]);
            var bytes = new byte[3];
            memory.Read(4096, bytes);
            Assert.Equal([1, 2, 3], bytes);
        }
        catch (PlatformException error)
        {
            Assert.Contains("large pages", error.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Memory_is_zero_and_untouched_at_first_and_asking_keeps_it_so()
    {
        using var memory = AnonymousMemory.Create(Size);

        Assert.False(memory.IsTouched(0, Size));
        Assert.False(memory.IsTouched(0, Size));
        var bytes = new byte[100];
        memory.Read(Size - 100, bytes);
        Assert.All(bytes, value => Assert.Equal(0, value));
    }

    [Fact]
    public void What_was_written_is_found_wherever_it_lies()
    {
        using var memory = AnonymousMemory.Create(Size);
        memory.Write((32UL << 20) - 1, [7]);

        Assert.True(memory.IsTouched(0, Size));
        Assert.True(memory.IsTouched((32UL << 20) - 1, 1));
        Assert.False(memory.IsTouched(0, 30UL << 20));
        Assert.False(memory.IsTouched(34UL << 20, 30UL << 20));
        Assert.False(memory.IsTouched(0, 0));
        var bytes = new byte[3];
        memory.Read((32UL << 20) - 2, bytes);
        Assert.Equal([0, 7, 0], bytes);
    }

    [Fact]
    public void Ranges_must_lie_inside_the_memory()
    {
        using var memory = AnonymousMemory.Create(4096);

        Assert.Throws<ArgumentOutOfRangeException>(() => memory.Write(4096, [1]));
        Assert.Throws<ArgumentOutOfRangeException>(() => memory.Read(4095, new byte[2]));
        Assert.Throws<ArgumentOutOfRangeException>(() => memory.IsTouched(ulong.MaxValue, 2));
    }
}
