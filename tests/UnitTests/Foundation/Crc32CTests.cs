using System.Numerics;
using Vitro.Foundation;
using Xunit;

namespace Vitro.UnitTests.Foundation;

public sealed class Crc32CTests
{
    [Fact]
    public void The_check_value_of_the_algorithm_comes_out() => Assert.Equal(0xE306_9283, Crc32C.Compute("123456789"u8));

    [Theory]
    [InlineData(0)]
    [InlineData(7)]
    [InlineData(3071)]
    [InlineData(3072)]
    [InlineData(3073)]
    [InlineData(65_543)]
    public void Every_length_has_the_checksum_that_its_bytes_have_one_by_one(int length)
    {
        var data = new byte[length];
        new Random(length).NextBytes(data);
        var expected = 0x1234_5678u;
        foreach (var value in data)
        {
            expected = BitOperations.Crc32C(expected, value);
        }

        Assert.Equal(expected, Crc32C.Add(0x1234_5678, data));
    }
}
