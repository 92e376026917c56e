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
    private ulong _lastNumber;
    private Page? _last;

    /// <summary>Numbers of the pages with blocks.</summary>
    public IEnumerable<ulong> Numbers => _pages.Keys;

    /// <summary>Enters a block of RAM under the page or pages it lies in.</summary>
    public void Add(CodeBlock* block)
    {
        var inFirst = InFirst(block);
        var number = block->Gpa >> 12;
        var page = GetOrAdd(number);
        page.Lines |= Lines(block->Gpa, Math.Min(block->Length, inFirst));
        block->NextInPage = page.First;
        page.First = block;
        if (!block->Crosses)
        {
            return;
        }

        // Two linear pages may be one of RAM.
        var second = CodeBlock.SecondGpa(block) >> 12;
        page = GetOrAdd(second);
        page.Lines |= Lines(CodeBlock.SecondGpa(block), block->Length - inFirst);
        if (second != number)
        {
            CodeBlock.Second(block)->Next = page.First;
            page.First = block;
        }
    }

    /// <summary>A live block of a page, which leads to the others by <see cref="Following"/>; or null.</summary>
    public CodeBlock* First(ulong number) => _pages.TryGetValue(number, out var page) ? page.First : null;

    /// <summary>The next live block of a page.</summary>
    public static CodeBlock* Following(ulong number, CodeBlock* block) => *Link(number, block);

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
        var number = gpa >> 12;
        CodeBlock* kept = null;
        for (CodeBlock* block = page.First, next; block != null; block = next)
        {
            next = Following(number, block);
            var first = Math.Min(block->Length, InFirst(block));
            var second = !block->Crosses ? 0 : block->Length - first;
            if (Overlaps(block->Gpa, first, gpa, length) || Overlaps(CodeBlock.SecondGpa(block), second, gpa, length))
            {
                taken.Add((nint)block);
                if (second != 0)
                {
                    RemoveFromOther(number, block);
                }

                continue;
            }

            lines |= LinesIn(number, block->Gpa, first) | LinesIn(number, CodeBlock.SecondGpa(block), second);
            *Link(number, block) = kept;
            kept = block;
        }

        page.First = kept;
        page.Lines = lines;
        if (kept == null)
        {
            Remove(number);
        }

        return kept == null;
    }

    /// <summary>Takes out a page's dead blocks; whether it has none left.</summary>
    public bool RemoveDead(ulong number)
    {
        if (!_pages.TryGetValue(number, out var page))
        {
            return false;
        }

        page.Lines = 0;
        CodeBlock* kept = null;
        for (CodeBlock* block = page.First, next; block != null; block = next)
        {
            next = Following(number, block);
            if (block->HostPc == null)
            {
                continue;
            }

            var first = Math.Min(block->Length, InFirst(block));
            page.Lines |= LinesIn(number, block->Gpa, first);
            if (block->Crosses)
            {
                page.Lines |= LinesIn(number, CodeBlock.SecondGpa(block), block->Length - first);
            }

            *Link(number, block) = kept;
            kept = block;
        }

        page.First = kept;
        if (kept == null)
        {
            Remove(number);
        }

        return kept == null;
    }

    /// <summary>Forgets all.</summary>
    public void Clear()
    {
        _pages.Clear();
        _last = null;
    }

    private static int InFirst(CodeBlock* block) => (int)(GuestMemory.PageSize - (block->Gpa & 0xFFF));

    private static CodeBlock** Link(ulong number, CodeBlock* block) =>
        block->Gpa >> 12 == number ? &block->NextInPage : &CodeBlock.Second(block)->Next;

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
        var other = block->Gpa >> 12 == number ? CodeBlock.SecondGpa(block) >> 12 : block->Gpa >> 12;
        if (other == number || !_pages.TryGetValue(other, out var page))
        {
            return;
        }

        if (page.First == block)
        {
            page.First = Following(other, block);
            return;
        }

        for (var at = page.First; at != null; at = Following(other, at))
        {
            if (Following(other, at) == block)
            {
                *Link(other, at) = Following(other, block);
                return;
            }
        }
    }

    // Blocks that are decoded one after the other mostly lie in one page.
    private Page GetOrAdd(ulong number)
    {
        if (_last != null && _lastNumber == number)
        {
            return _last;
        }

        ref var page = ref CollectionsMarshal.GetValueRefOrAddDefault(_pages, number, out _);
        page ??= new Page();
        _last = page;
        _lastNumber = number;
        return page;
    }

    private void Remove(ulong number)
    {
        _pages.Remove(number);
        _last = null;
    }

    private sealed class Page
    {
        public ulong Lines { get; set; }

        public CodeBlock* First { get; set; }
    }
}
