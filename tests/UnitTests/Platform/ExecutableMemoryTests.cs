using Vitro.Platform;
using Xunit;

namespace Vitro.UnitTests.Platform;

public sealed unsafe class ExecutableMemoryTests
{
    [Fact]
    public void What_is_written_in_one_view_runs_in_the_other()
    {
        using var memory = ExecutableMemory.Create("vitro-test", 8192);
        ReadOnlySpan<byte> code = [0x48, 0x8D, 0x47, 0x01, 0xC3]; // lea rax, [rdi+1]; ret
        code.CopyTo(new Span<byte>(memory.Writable + 4096, code.Length));

        Assert.Equal(42, ((delegate* unmanaged<nint, nint>)(memory.Executable + 4096))(41));
    }

    [Fact]
    public void Backing_it_changes_nothing()
    {
        const int length = (4 << 20) + 8192;
        using var memory = ExecutableMemory.Create("vitro-test-backing", length);
        ReadOnlySpan<byte> code = [0x48, 0x8D, 0x47, 0x01, 0xC3]; // lea rax, [rdi+1]; ret
        code.CopyTo(new Span<byte>(memory.Writable + 4096, code.Length));
        code.CopyTo(new Span<byte>(memory.Writable + length - code.Length, code.Length));
        memory.Populate(0, 128 << 10);
        memory.Populate(2 << 20, length);
        memory.Populate(0, 1 << 20);

        Assert.Equal(42, ((delegate* unmanaged<nint, nint>)(memory.Executable + 4096))(41));
        Assert.Equal(42, ((delegate* unmanaged<nint, nint>)(memory.Executable + length - code.Length))(41));
        Assert.False(new ReadOnlySpan<byte>(memory.Executable + 8192, length - 8192 - code.Length).ContainsAnyExcept((byte)0));
    }

    [Fact]
    public void No_mapping_is_both_writable_and_executable()
    {
        using var memory = ExecutableMemory.Create("vitro-test-rights", 4096);

        Assert.Equal(["r-xs", "rw-s"], File.ReadLines("/proc/self/maps")
            .Where(line => line.Contains("vitro-test-rights", StringComparison.Ordinal))
            .Select(line => line.Split(' ')[1])
            .Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Probing_a_willing_host_gives_no_reason_against()
    {
        Assert.Null(ExecutableMemory.Probe());
    }
}
