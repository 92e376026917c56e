using Vitro.Foundation;

namespace Vitro.Hypervisor.Tlfs;

internal sealed partial class SyntheticMsrs
{
    internal void Save(SavedStateWriter writer)
    {
        writer.UInt64(Tag.GuestOsId, _hypercallPage.GuestOsId);
        writer.UInt64(Tag.Hypercall, _hypercallPage.Register);
        writer.UInt64(Tag.ReferenceTsc, _referenceTsc.Register);
        writer.UInt32(Tag.ReferenceTscSequence, _referenceTsc.Sequence);
        writer.UInt64(Tag.TscInvariantControl, _tscInvariantControl);
        for (var i = 0; i < GuestCrashParameters; i++)
        {
            var value = _crash.Read(i);
            writer.Group(Tag.CrashParameter, inner => inner.UInt64(1, value));
        }

        foreach (var page in _assistPages)
        {
            writer.Group(Tag.AssistPage, inner => inner.UInt64(1, page));
        }
    }

    internal void Restore(SavedStateReader reader)
    {
        Reset();
        _hypercallPage.Set(reader.UInt64(Tag.GuestOsId), reader.UInt64(Tag.Hypercall));
        _referenceTsc.Set(reader.UInt64(Tag.ReferenceTsc), reader.UInt32(Tag.ReferenceTscSequence));
        _tscInvariantControl = reader.UInt64(Tag.TscInvariantControl);
        foreach (var (index, parameter) in reader.Groups(Tag.CrashParameter).Take(GuestCrashParameters).Index())
        {
            _crash.Write(index, parameter.UInt64(1));
        }

        foreach (var (index, page) in reader.Groups(Tag.AssistPage).Take(_assistPages.Length).Index())
        {
            _assistPages[index] = page.UInt64(1);
        }
    }

    private const int GuestCrashParameters = 5;

    private static class Tag
    {
        internal const ushort GuestOsId = 1;
        internal const ushort Hypercall = 2;
        internal const ushort ReferenceTsc = 3;
        internal const ushort ReferenceTscSequence = 4;
        internal const ushort TscInvariantControl = 5;
        internal const ushort CrashParameter = 6;
        internal const ushort AssistPage = 7;
    }
}
