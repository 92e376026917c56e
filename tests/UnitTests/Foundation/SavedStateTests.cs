using Vitro.Foundation;
using Xunit;

namespace Vitro.UnitTests.Foundation;

public sealed class SavedStateTests
{
    [Fact]
    public void Fields_come_back_in_any_order_and_missing_ones_take_defaults()
    {
        var writer = new SavedStateWriter();
        writer.UInt32(1, 7);
        writer.Text(2, "disk");
        writer.Group(3, inner => inner.UInt64(1, ulong.MaxValue));
        writer.Group(3, inner => inner.UInt64(1, 1));

        var reader = new SavedStateReader(writer.WrittenSpan.ToArray());

        Assert.Equal("disk", reader.Text(2));
        Assert.Equal(7u, reader.UInt32(1));
        Assert.Equal([ulong.MaxValue, 1UL], reader.Groups(3).Select(group => group.UInt64(1)));
        Assert.Equal(42u, reader.UInt32(99, missing: 42));
    }

    [Fact]
    public void A_field_that_runs_past_the_end_is_refused()
    {
        var writer = new SavedStateWriter();
        writer.Bytes(1, new byte[16]);
        var cut = writer.WrittenSpan[..^1].ToArray();

        Assert.Throws<SavedStateException>(() => new SavedStateReader(cut));
    }

    [Fact]
    public void A_field_of_another_size_is_refused_not_misread()
    {
        var writer = new SavedStateWriter();
        writer.UInt32(1, 7);
        var reader = new SavedStateReader(writer.WrittenSpan.ToArray());

        Assert.Throws<SavedStateException>(() => reader.UInt64(1));
    }
}
