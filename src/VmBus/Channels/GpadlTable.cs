namespace Vitro.VmBus.Channels;

/// <summary>The GPADLs of a connection, whole and on their way in, with limits on what a guest can make the host keep.</summary>
/// <remarks>Reading whole lists is thread-safe; everything else belongs to the connection's owner.</remarks>
internal sealed class GpadlTable
{
    /// <summary>Pages over all GPADLs: 8 GiB shared, 16 MiB of host memory.</summary>
    internal const int PageLimit = 1 << 21;

    /// <summary>GPADLs at a time.</summary>
    internal const int CountLimit = 1 << 16;

    private readonly Dictionary<uint, GpadlAssembly> _assemblies = [];
    private readonly System.Collections.Concurrent.ConcurrentDictionary<uint, (uint ChannelId, Gpadl Gpadl)> _gpadls = new();
    private int _pages;

    internal int Count => _gpadls.Count;

    internal int PageCount => _pages;

    internal IEnumerable<KeyValuePair<uint, (uint ChannelId, Gpadl Gpadl)>> All => _gpadls;

    internal IEnumerable<GpadlAssembly> Incomplete => _assemblies.Values;

    internal bool TryGet(uint channelId, uint handle, out Gpadl gpadl)
    {
        if (_gpadls.TryGetValue(handle, out var entry) && entry.ChannelId == channelId)
        {
            gpadl = entry.Gpadl;
            return true;
        }

        gpadl = null!;
        return false;
    }

    /// <summary>Begins a list with the words in its header. Null when it is refused; complete when no bodies are to follow.</summary>
    internal GpadlAssembly? Begin(uint channelId, uint handle, ushort rangeCount, ReadOnlySpan<byte> words)
    {
        if (_gpadls.ContainsKey(handle) || _assemblies.ContainsKey(handle) || _gpadls.Count + _assemblies.Count >= CountLimit)
        {
            return null;
        }

        var assembly = new GpadlAssembly(channelId, handle, rangeCount);
        _assemblies.Add(handle, assembly);
        return Append(assembly, words) ? assembly : null;
    }

    internal GpadlAssembly? FindIncomplete(uint handle) => _assemblies.GetValueOrDefault(handle);

    /// <summary>Takes more words; false when the list is refused and forgotten.</summary>
    internal bool Append(GpadlAssembly assembly, ReadOnlySpan<byte> words)
    {
        var before = assembly.PageCount;
        var good = assembly.TryAppend(words, PageLimit - _pages + before);
        _pages += assembly.PageCount - before;
        if (!good)
        {
            Remove(assembly.Handle);
            return false;
        }

        if (assembly.IsComplete)
        {
            _assemblies.Remove(assembly.Handle);
            _gpadls[assembly.Handle] = (assembly.ChannelId, assembly.ToGpadl());
        }

        return true;
    }

    internal void Remove(uint handle)
    {
        if (_assemblies.Remove(handle, out var assembly))
        {
            _pages -= assembly.PageCount;
        }

        if (_gpadls.TryRemove(handle, out var entry))
        {
            _pages -= CountPages(entry.Gpadl);
        }
    }

    internal void RemoveChannel(uint channelId)
    {
        foreach (var (handle, entry) in _gpadls)
        {
            if (entry.ChannelId == channelId)
            {
                Remove(handle);
            }
        }

        foreach (var assembly in _assemblies.Values.Where(assembly => assembly.ChannelId == channelId).ToArray())
        {
            Remove(assembly.Handle);
        }
    }

    internal void Clear()
    {
        _assemblies.Clear();
        _gpadls.Clear();
        _pages = 0;
    }

    private static int CountPages(Gpadl gpadl)
    {
        var pages = 0;
        foreach (var range in gpadl.Ranges)
        {
            pages += range.PageNumbers.Length;
        }

        return pages;
    }
}
