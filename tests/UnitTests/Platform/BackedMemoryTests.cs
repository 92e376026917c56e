using Vitro.Platform;
using Xunit;

namespace Vitro.UnitTests.Platform;

public sealed unsafe class BackedMemoryTests
{
    [Theory]
    [InlineData(4096)]
    [InlineData(5 << 20)]
    public void Memory_of_zeros_begins_at_a_large_page_and_is_zeros_again_when_it_is_allocated_again(int length)
    {
        for (var round = 0; round < 3; round++)
        {
            var memory = (byte*)BackedMemory.AllocateZeroed((nuint)length);
            try
            {
                Assert.Equal(0UL, (ulong)memory % (2 << 20));
                Assert.False(new Span<byte>(memory, length).ContainsAnyExcept((byte)0));
                new Span<byte>(memory, length).Fill(0xAA);
            }
            finally
            {
                BackedMemory.FreeZeroed(memory, (nuint)length);
            }
        }
    }
}
