using Vitro.Foundation;
using Vitro.Hypervisor.Engine;
using Xunit;

namespace Vitro.UnitTests.Hypervisor.Engine;

public sealed class VirtualProcessorStateTests
{
    [Fact]
    public void Every_property_comes_back_from_its_saved_state()
    {
        // By reflection, so that a property added to the record and forgotten in its saved state is found here.
        var state = new VirtualProcessorState();
        var fresh = new VirtualProcessorState();
        var number = 1UL;
        foreach (var property in typeof(VirtualProcessorState).GetProperties())
        {
            Fill(state, property, ref number);
            Assert.False(Same(property.GetValue(fresh), property.GetValue(state)), $"{property.Name} was not filled");
        }

        var writer = new SavedStateWriter();
        state.Save(writer);
        var loaded = VirtualProcessorState.Load(new SavedStateReader(writer.WrittenSpan.ToArray()));

        foreach (var property in typeof(VirtualProcessorState).GetProperties())
        {
            Assert.True(Same(property.GetValue(state), property.GetValue(loaded)), property.Name);
        }
    }

    [Theory]
    [InlineData(2, 127)] // general registers
    [InlineData(22, 13)] // model-specific registers
    [InlineData(24, 10)] // XSAVE image
    public void A_field_of_the_wrong_size_is_refused(ushort tag, int size)
    {
        var writer = new SavedStateWriter();
        writer.Bytes(tag, new byte[size]);

        Assert.Throws<SavedStateException>(() => VirtualProcessorState.Load(new SavedStateReader(writer.WrittenSpan.ToArray())));
    }

    [Fact]
    public void A_cpuid_table_comes_back_from_its_saved_state()
    {
        var table = new CpuidTable { [1] = new(1, 2, 3, 4), [7, 0] = new(5, 6, 7, 8), [0x4000_0000] = new(9, 10, 11, 12) };
        var writer = new SavedStateWriter();
        table.Save(writer);

        var loaded = CpuidTable.Load(new SavedStateReader(writer.WrittenSpan.ToArray()));

        Assert.Equal(table.Entries.OrderBy(entry => entry.Key), loaded.Entries.OrderBy(entry => entry.Key));
    }

    [Fact]
    public void A_promise_that_cannot_be_kept_is_named()
    {
        var promised = new CpuidTable { [1] = new(0, 0, (1u << 31) | (1u << 28) | (1u << 27) | 1, 0), [7, 0] = new(0, (1 << 5) | (1 << 16), 0, 0) };
        var supported = new CpuidTable { [1] = new(0, 0, (1u << 28) | 3, 0), [7, 0] = new(0, 0, 0, 0) };

        Assert.Equal("avx2; 7.0:ebx bits 16", CpuidPromise.Missing(promised, supported));
        Assert.Null(CpuidPromise.Missing(supported, supported));
    }

    private static void Fill(VirtualProcessorState state, System.Reflection.PropertyInfo property, ref ulong number)
    {
        switch (property.GetValue(state))
        {
            case ulong[] words:
                for (var i = 0; i < words.Length; i++)
                {
                    words[i] = ++number * 0x0101_0101_0101_0101;
                }

                break;
            case byte[] bytes:
                bytes.AsSpan().Fill((byte)++number);
                break;
            case Dictionary<uint, ulong> msrs:
                msrs[0xC000_0080] = ++number;
                msrs[0x10] = ++number << 40;
                break;
            case ulong:
                // Bit 1 is RFLAGS' own.
                property.SetValue(state, (++number << 32) | 2);
                break;
            case SegmentState:
                property.SetValue(state, new SegmentState((ushort)++number, ++number << 33, (uint)++number, 0x1_0000 | (uint)++number));
                break;
            case TableState:
                property.SetValue(state, new TableState(++number << 20, (ushort)++number));
                break;
            case VpActivity:
                property.SetValue(state, VpActivity.WaitForStartup);
                break;
            case bool:
                property.SetValue(state, true);
                break;
            case null when property.PropertyType == typeof(byte?):
                property.SetValue(state, (byte)0);
                break;
            default:
                Assert.Fail($"The test does not know how to fill {property.Name}.");
                break;
        }
    }

    private static bool Same(object? a, object? b) => a switch
    {
        Dictionary<uint, ulong> msrs => msrs.OrderBy(entry => entry.Key).SequenceEqual(((Dictionary<uint, ulong>)b!).OrderBy(entry => entry.Key)),
        Array array => array.Cast<object>().SequenceEqual(((Array)b!).Cast<object>()),
        _ => Equals(a, b),
    };
}
