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
