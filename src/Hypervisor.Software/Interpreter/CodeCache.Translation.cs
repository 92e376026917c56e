using Vitro.Hypervisor.Software.Translator;
using Vitro.Hypervisor.Vid;

namespace Vitro.Hypervisor.Software.Interpreter;

/// <content>Translating blocks, and linking what branches from one to another.</content>
internal sealed unsafe partial class CodeCache
{
    // Blocks translated at one go: some microseconds each, in which no other processor can translate.
    private const int MaximumAtOnce = 24;

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

    // Goes on with what a new translation leads to, by direct branches and behind a call. Blocks that have run before will run again: they are translated
    // while the host's caches hold what translates, each behind the one that falls through to it, and linked without an exit.
    private void GoOn(SoftwareVirtualProcessor vp, TranslatedBlock* translated)
    {
        var branches = stackalloc Branch[4 * MaximumAtOnce];
        var count = 0;
        for (var made = 1; ;)
        {
            AddBranches(translated, branches, ref count);
            translated = null;
            while (translated == null)
            {
                if (count == 0)
                {
                    return;
                }

                var branch = branches + --count;
                var target = FindSuccessor(vp, *branch, made < MaximumAtOnce, out var isNew);
                if (target != null)
                {
                    Link(vp, *branch, target);
                }

                if (isNew)
                {
                    made++;
                    translated = target;
                }
            }
        }
    }

    // The last one added is gone on with: what falls through to its successor is to lie before it.
    private static void AddBranches(TranslatedBlock* from, Branch* branches, ref int count)
    {
        if (from->ReturnSite != 0)
        {
            branches[count++] = new Branch { From = from, Kind = BranchKind.Return, Target = from->ReturnSite };
        }

        for (var link = from->Leaving; link != null; link = link->NextLeaving)
        {
            branches[count++] = new Branch { From = from, Kind = BranchKind.Far, Far = link, Target = link->Target };
        }

        if (from->Taken != null)
        {
            branches[count++] = new Branch { From = from, Kind = BranchKind.Taken, Target = from->TakenTarget };
        }

        if (from->FallThrough != null)
        {
            branches[count++] = new Branch { From = from, Kind = BranchKind.FallThrough, Target = from->FallThroughTarget };
        }
    }

    private void Link(SoftwareVirtualProcessor vp, in Branch branch, TranslatedBlock* to)
    {
        if (branch.Kind == BranchKind.Return || !Translations!.TryAddEntry(vp, to, BlockTranslations.ArrivalAt(to, branch.From)))
        {
            return;
        }

        if (branch.Kind == BranchKind.Far)
        {
            JumpCache.SetMapping(vp.State, to, vp.Mmu.IsFetchGlobal(to->Linear));
            FarLinks.Link(branch.Far, to);
        }
        else
        {
            BlockTranslations.Link(branch.From, branch.Kind == BranchKind.Taken ? 0 : 1, to);
        }
    }

    // The translation that a branch leads to; null when there is none, and the block has not run or may not be translated now.
    private TranslatedBlock* FindSuccessor(SoftwareVirtualProcessor vp, in Branch branch, bool mayTranslate, out bool isNew)
    {
        isNew = false;
        var from = branch.From;
        var hostPc = from->Block->HostPc + (long)(branch.Target - from->Linear);
        if ((branch.Target ^ from->Linear) >= GuestMemory.PageSize)
        {
            var entry = vp.State->FetchTlb + ((branch.Target >> 12) & (TlbEntry.SetSize - 1));
            if (branch.Target - entry->Tag >= GuestMemory.PageSize)
            {
                return null;
            }

            hostPc = (byte*)(entry->Host + (branch.Target - entry->Tag));
        }

        var block = Find(hostPc, from->Block->Mode);
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
        var arrival = branch.Kind == BranchKind.Return ? Arrival.Indirect
            : branch.Target <= from->Linear ? Arrival.Backward : Arrival.Forward;
        var translated = Translations.Translate(vp, block, vp.Plain.Of(block, Emptied), branch.Target, isWindowless: false, arrival, out _);
        EndTiming(start, ref _translationTicks);
        isNew = translated != null;
        return translated;
    }

    private enum BranchKind
    {
        Taken,
        FallThrough,

        // To another page.
        Far,

        // Of the function that a call leads to.
        Return,
    }

    // How a translation leads to another block.
    private struct Branch
    {
        public TranslatedBlock* From;
        public FarLink* Far;
        public BranchKind Kind;
        public ulong Target;
    }
}
