using System.Runtime.InteropServices;
using Vitro.Hypervisor.Vid;

namespace Vitro.Hypervisor.Software.Interpreter;

/// <summary>
/// Which blocks were made of the bytes of which page of RAM, and which of the page's 64 lines hold code, so that data beside
/// code is written without a search. Called under the block cache's lock.
/// </summary>
internal sealed unsafe class CodePages
{
    private const int LineShift = 6;
    private readonly Dictionary<ulong, Page> _pages = [];

    /// <summary>Numbers of the pages with blocks.</summary>
    public IEnumerable<ulong> Numbers => _pages.Keys;

    /// <summary>Enters a block of RAM under the page or pages it lies in.</summary>
    public void Add(CodeBlock* block)
    {
        var inFirst = InFirst(block);
        Add(block->Gpa, Math.Min(block->Length, inFirst), block);
        if (block->SecondHost != null)
        {
            Add(block->SecondGpa, block->Length - inFirst, block);
        }
    }

    /// <summary>The live blocks of a page.</summary>
    public ReadOnlySpan<nint> Blocks(ulong number) => _pages.TryGetValue(number, out var page) ? CollectionsMarshal.AsSpan(page.Blocks) : [];

    /// <summary>
    /// Takes out the blocks made of bytes in a range that ends in the page it begins in, and appends them to
    /// <paramref name="taken"/>; whether the page has none left.
    /// </summary>
    public bool Take(ulong gpa, int length, List<nint> taken)
    {
        if (length <= 0 || !_pages.TryGetValue(gpa >> 12, out var page) || (page.Lines & Lines(gpa, length)) == 0)
        {
            return false;
        }

        var lines = 0UL;
        var kept = 0;
        var number = gpa >> 12;
        for (var n = 0; n < page.Blocks.Count; n++)
        {
            var entry = page.Blocks[n];
            var block = (CodeBlock*)entry;
            var first = Math.Min(block->Length, InFirst(block));
            var second = block->SecondHost == null ? 0 : block->Length - first;
            if (Overlaps(block->Gpa, first, gpa, length) || Overlaps(block->SecondGpa, second, gpa, length))
            {
                taken.Add(entry);
                if (second != 0)
                {
                    RemoveFromOther(number, block);
                }

                continue;
            }

            lines |= LinesIn(number, block->Gpa, first) | LinesIn(number, block->SecondGpa, second);
            page.Blocks[kept++] = entry;
        }

        page.Blocks.RemoveRange(kept, page.Blocks.Count - kept);
        page.Lines = lines;
        if (kept == 0)
        {
            _pages.Remove(number);
        }

        return kept == 0;
    }

    /// <summary>Takes out a page's dead blocks; whether it has none left.</summary>
    public bool RemoveDead(ulong number)
    {
        if (!_pages.TryGetValue(number, out var page))
        {
            return false;
        }

        page.Blocks.RemoveAll(entry => ((CodeBlock*)entry)->HostPc == null);
        page.Lines = 0;
        foreach (var entry in page.Blocks)
        {
            var block = (CodeBlock*)entry;
            var first = Math.Min(block->Length, InFirst(block));
            page.Lines |= LinesIn(number, block->Gpa, first);
            if (block->SecondHost != null)
            {
                page.Lines |= LinesIn(number, block->SecondGpa, block->Length - first);
            }
        }

        return page.Blocks.Count == 0 && _pages.Remove(number);
    }

    /// <summary>Forgets all.</summary>
    public void Clear() => _pages.Clear();

    private static int InFirst(CodeBlock* block) => (int)(GuestMemory.PageSize - (block->Gpa & 0xFFF));

    private static ulong Lines(ulong gpa, int length)
    {
        var first = (int)(gpa & 0xFFF) >> LineShift;
        var last = ((int)(gpa & 0xFFF) + length - 1) >> LineShift;
        return (ulong.MaxValue << first) & (ulong.MaxValue >> (63 - Math.Min(last, 63)));
    }

    private static bool Overlaps(ulong start, int size, ulong gpa, int length) => start < gpa + (uint)length && gpa < start + (uint)size;

    private static ulong LinesIn(ulong number, ulong start, int size) => size > 0 && start >> 12 == number ? Lines(start, size) : 0;

    private void RemoveFromOther(ulong number, CodeBlock* block)
    {
        var other = block->Gpa >> 12 == number ? block->SecondGpa >> 12 : block->Gpa >> 12;
        if (other != number && _pages.TryGetValue(other, out var page))
        {
            page.Blocks.Remove((nint)block);
        }
    }

    private void Add(ulong gpa, int length, CodeBlock* block)
    {
        ref var page = ref CollectionsMarshal.GetValueRefOrAddDefault(_pages, gpa >> 12, out var exists);
        if (!exists)
        {
            page = new Page();
        }

        page!.Lines |= Lines(gpa, length);
        if (page.Blocks.Count == 0 || page.Blocks[^1] != (nint)block)
        {
            page.Blocks.Add((nint)block);
        }
    }

    private sealed class Page
    {
        public ulong Lines { get; set; }

        public List<nint> Blocks { get; } = [];
    }
}
