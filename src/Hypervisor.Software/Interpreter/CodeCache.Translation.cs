using Vitro.Hypervisor.Software.Translator;
using Vitro.Hypervisor.Vid;

namespace Vitro.Hypervisor.Software.Interpreter;

/// <content>Translating blocks, and linking what branches from one to another.</content>
internal sealed unsafe partial class CodeCache
{
    // Blocks translated at one go: some microseconds each, in which no other processor can translate.
    private const int MaximumAtOnce = 8;

    /// <summary>Translates a block for a linear address; null when it cannot be, or when it is to be looked up anew.</summary>
    public TranslatedBlock* Translate(
        SoftwareVirtualProcessor vp, CodeBlock* block, ulong linear, Arrival arrival = Arrival.Indirect, bool isWindowless = false)
    {
        Enter(vp);
        TranslatedBlock* translated = null;
        if (block->HostPc != null)
        {
            if (Translations!.IsFull)
            {
                Advance(vp);
            }
            else
            {
                Translations.Populate();
                var start = BeginTiming(Translations.Translated);
                translated = Translations.Translate(vp, block, vp.Plain.Of(block, Emptied), linear, isWindowless, arrival, out var hasRetired);
                EndTiming(start, ref _translationTicks);
                if (hasRetired)
                {
                    UnlinkPage(block->Gpa >> 12);
                }

                if (translated != null && !isWindowless)
                {
                    GoOn(vp, translated);
                }
            }
        }

        _gate.Exit();
        return translated;
    }

    /// <summary>Sees to it that a translation has an entry for the jump cache; false when it cannot have one now.</summary>
    public bool TryAddEntry(SoftwareVirtualProcessor vp, TranslatedBlock* translated)
    {
        if (translated->Entry != null)
        {
            return true;
        }

        Enter(vp);
        var isAdded = translated->Block->HostPc != null && Translations!.TryAddEntry(vp, translated, Arrival.Indirect);
        _gate.Exit();
        return isAdded;
    }

    /// <summary>
    /// Makes a direct branch of translated code go straight to its target, both being of one page; nothing if the cache was
    /// emptied since <see cref="Emptied"/> was <paramref name="emptied"/>.
    /// </summary>
    public void Link(SoftwareVirtualProcessor vp, TranslatedBlock* from, int slot, TranslatedBlock* to, ulong emptied)
    {
        Enter(vp);
        if (Emptied == emptied && from->Block->HostPc != null && to->Block->HostPc != null && from->Privilege == to->Privilege
            && ((ulong)from->Block->HostPc ^ (ulong)to->Block->HostPc) < GuestMemory.PageSize
            && (from->Linear ^ to->Linear) < GuestMemory.PageSize && Translations!.TryAddEntry(vp, to, BlockTranslations.ArrivalAt(to, from)))
        {
            BlockTranslations.Link(from, slot, to);
        }

        _gate.Exit();
    }

    /// <summary>The same for a branch to another page.</summary>
    public void Link(SoftwareVirtualProcessor vp, FarLink* link, TranslatedBlock* to, ulong emptied)
    {
        Enter(vp);
        if (Emptied == emptied && link->Block->Block->HostPc != null && to->Block->HostPc != null
            && Translations!.TryAddEntry(vp, to, BlockTranslations.ArrivalAt(to, link->Block)))
        {
            FarLinks.Link(link, to);
        }

        _gate.Exit();
    }

    /// <summary>The same for the branch behind a window's failed check, from a block to the windowless translation of its rest.</summary>
    public void Link(SoftwareVirtualProcessor vp, TranslatedBlock* from, WindowLink* link, TranslatedBlock* to, ulong emptied)
    {
        Enter(vp);
        if (Emptied == emptied && from->Block->HostPc != null && to->Block->HostPc != null)
        {
            BlockTranslations.Link(from, link, to);
        }

        _gate.Exit();
    }

    // Goes on with what a new translation branches to in its page. Blocks that have run before will run again: they are translated while the host's
    // caches hold what translates, each behind the one that falls through to it, and linked without an exit.
    private void GoOn(SoftwareVirtualProcessor vp, TranslatedBlock* translated)
    {
        var branches = stackalloc Branch[2 * MaximumAtOnce];
        var count = 0;
        for (var made = 1; ;)
        {
            if (translated->Taken != null)
            {
                branches[count++] = new Branch { From = translated, Slot = 0, Target = translated->TakenTarget };
            }

            if (translated->FallThrough != null)
            {
                branches[count++] = new Branch { From = translated, Slot = 1, Target = translated->FallThroughTarget };
            }

            translated = null;
            while (translated == null)
            {
                if (count == 0)
                {
                    return;
                }

                var branch = branches + --count;
                var target = FindSuccessor(vp, *branch, made < MaximumAtOnce, out var isNew);
                if (target != null && Translations!.TryAddEntry(vp, target, BlockTranslations.ArrivalAt(target, branch->From)))
                {
                    BlockTranslations.Link(branch->From, branch->Slot, target);
                }

                if (isNew)
                {
                    made++;
                    translated = target;
                }
            }
        }
    }

    // The translation that a branch leads to; null when there is none, and the block has not run or may not be translated now.
    private TranslatedBlock* FindSuccessor(SoftwareVirtualProcessor vp, in Branch branch, bool mayTranslate, out bool isNew)
    {
        isNew = false;
        var from = branch.From;
        var block = Find(from->Block->HostPc + (long)(branch.Target - from->Linear), from->Block->Mode);
        if (block == null)
        {
            return null;
        }

        var known = Translations!.Find(block, branch.Target, from->Privilege);
        if (known != null || !mayTranslate || block->Runs == 0 || block->TranslationCount != 0 || Translations.IsFull)
        {
            return known;
        }

        Translations.Populate();
        var start = BeginTiming(Translations.Translated);
        var arrival = branch.Target <= from->Linear ? Arrival.Backward : Arrival.Forward;
        var translated = Translations.Translate(vp, block, vp.Plain.Of(block, Emptied), branch.Target, isWindowless: false, arrival, out _);
        EndTiming(start, ref _translationTicks);
        isNew = translated != null;
        return translated;
    }

    // A direct branch of a translation to its own page.
    private struct Branch
    {
        public TranslatedBlock* From;
        public int Slot;
        public ulong Target;
    }
}
