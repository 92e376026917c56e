using System.Diagnostics;

namespace Vitro.Hypervisor.Software.Interpreter;

/// <content>Making room: a segment at a time when one is full, all of it when regions of memory change.</content>
internal sealed unsafe partial class CodeCache
{
    // On to the next segment. Whatever lies there is dropped, and all processors pass an instruction boundary, after which none is in it.
    private void Advance(SoftwareVirtualProcessor vp)
    {
        var start = Stopwatch.GetTimestamp();
        if (Evict(_arena.Next))
        {
            Emptied++;
            _partition.FlushTlbs(vp);
            OnFetchTlbFlushed(vp, isGlobalKept: false);
        }

        var held = ulong.MaxValue;
        foreach (var processor in _partition.Processors)
        {
            held = Math.Min(held, Volatile.Read(ref processor.BlocksHeldSince));
        }

        _arena.Advance(Emptied, held);
        Translations?.Advance();
        var elapsed = Stopwatch.GetElapsedTime(start);
        if (elapsed > LongestEviction)
        {
            LongestEviction = elapsed;
        }
    }

    // Drops what a segment holds; false when that is nothing.
    private bool Evict(int segment)
    {
        var any = false;
        _touched.Clear();
        for (var block = _arena.First(segment); block != null; block = _arena.Following(segment, block))
        {
            any = true;
            Evict(block);
        }

        if (Translations != null)
        {
            for (var version = Translations.First(segment); version != null; version = version->SegmentNext)
            {
                any = true;
                if (!version->IsRetired)
                {
                    Evict(version->Block);
                }
            }
        }

        foreach (var page in _touched)
        {
            if (_pages.RemoveDead(page))
            {
                ClearHasCode(page);
            }
            else
            {
                UnlinkPage(page);
            }
        }

        return any;
    }

    private void Evict(CodeBlock* block)
    {
        if (block->HostPc == null)
        {
            return;
        }

        Kill(block);
        _touched.Add(block->Gpa >> 12);
        if (block->Crosses)
        {
            _touched.Add(CodeBlock.SecondGpa(block) >> 12);
        }
    }

    private void Empty()
    {
        foreach (var number in _pages.Numbers)
        {
            for (var block = _pages.First(number); block != null; block = CodePages.Following(number, block))
            {
                block->HostPc = null;
                Unlink(block);
                if ((block->Mode & Plain) != 0)
                {
                    Translations!.Kill(block);
                }
            }

            ClearHasCode(number);
        }

        _pages.Clear();
        for (var n = 0; n < PageBuckets.Count; n++)
        {
            // Blocks outside RAM are in no page's list.
            for (var block = _buckets[n]; block != null; block = block->HashNext)
            {
                block->HostPc = null;
                Unlink(block);
            }
        }

        ForgetAll();
        Translations?.Forget();
        Emptied++;
    }

    private void ForgetAll()
    {
        new Span<nint>(_buckets, PageBuckets.Count).Clear();
    }
}
