namespace Vitro.Hypervisor.Software.Translator;

/// <summary>The links of a partition's direct branches between pages, and the numbers of the mappings they rely on. All is called under the block cache's lock.</summary>
internal sealed unsafe class FarLinks
{
    private const int MaximumMappings = 1 << 16;

    private readonly Dictionary<(ulong Linear, nint Host), uint> _mappings = [];
    private (ulong Linear, nint Host) _last;
    private uint _lastMapping;
    private uint _newest;

    /// <summary>The number of the mapping of an address's page to a host page; 0 when all have been given away.</summary>
    public uint MappingOf(ulong linear, byte* host)
    {
        var key = (linear >> 12, (nint)((ulong)host >> 12));
        if (key == _last && _lastMapping != 0)
        {
            return _lastMapping;
        }

        if (!_mappings.TryGetValue(key, out var number))
        {
            if (_newest == int.MaxValue)
            {
                return 0;
            }

            // Those forgotten never come again, so that branches which expect them go through the jump cache.
            if (_mappings.Count == MaximumMappings)
            {
                _mappings.Clear();
            }

            number = ++_newest;
            _mappings.Add(key, number);
        }

        _last = key;
        _lastMapping = number;
        return number;
    }

    /// <summary>Makes a branch lead to a translation, if it may.</summary>
    public static void Link(FarLink* link, TranslatedBlock* to)
    {
        var from = link->Block;
        if (from->IsRetired || to->IsRetired || link->To != null)
        {
            return;
        }

        link->IsSettled = 1;
        if (to->Mapping == 0 || (link->Mapping != 0 && link->Mapping != to->Mapping) || to->Linear != link->Target
            || to->Privilege != from->Privilege || to->Block->Mode != from->Block->Mode)
        {
            return;
        }

        link->Mapping = to->Mapping;
        link->To = to;
        link->PreviousArriving = null;
        link->NextArriving = to->Arriving;
        if (to->Arriving != null)
        {
            to->Arriving->PreviousArriving = link;
        }

        to->Arriving = link;

        // Loops look for requests where they go backward.
        var target = to->Linear <= from->Linear ? to->Checked : to->Body;
        var jump = (int*)((byte*)link->Place + FarLink.JumpDistance);
        Volatile.Write(ref *jump, (int)(target - ((byte*)jump + from->ToExecutable + 4)));
        Volatile.Write(ref *link->Place, -(int)link->Mapping);
    }

    /// <summary>Takes back the links to and from a translation that is given up.</summary>
    public static void Undo(TranslatedBlock* version)
    {
        for (var link = version->Leaving; link != null; link = link->NextLeaving)
        {
            if (link->To != null)
            {
                Detach(link);
            }
        }

        while (version->Arriving != null)
        {
            Detach(version->Arriving);
        }
    }

    private static void Detach(FarLink* link)
    {
        Volatile.Write(ref *link->Place, 0);
        link->IsSettled = 0;
        if (link->PreviousArriving != null)
        {
            link->PreviousArriving->NextArriving = link->NextArriving;
        }
        else
        {
            link->To->Arriving = link->NextArriving;
        }

        if (link->NextArriving != null)
        {
            link->NextArriving->PreviousArriving = link->PreviousArriving;
        }

        link->To = null;
    }
}
