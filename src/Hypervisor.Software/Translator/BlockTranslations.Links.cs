using Vitro.Hypervisor.Software.Interpreter;

namespace Vitro.Hypervisor.Software.Translator;

/// <content>Branches that lead to translations, and those that lead to the dispatcher again.</content>
internal sealed unsafe partial class BlockTranslations
{
    // What a linked jump is when its target follows: nop dword [rax + rax]; and a jump's first byte.
    private const ulong Nop = 0x44_1F0F;
    private const ulong Jump = 0xE9;

    /// <summary>Makes a branch lead to a block, which has what a branch backward needs if this is one.</summary>
    public static void Link(TranslatedBlock* from, int slot, TranslatedBlock* to)
    {
        var place = slot == 0 ? from->Taken : from->FallThrough;
        if (place != null && !from->IsRetired && !to->IsRetired)
        {
            if (to->Linear <= from->Linear)
            {
                Patch(from, place, Distance(from, place, to->Checked));
            }
            else if (place == from->Tail && Distance(from, place, to->Adjoining) == 0)
            {
                PatchJump(place, Nop);
            }
            else
            {
                Patch(from, place, Distance(from, place, to->Body));
            }
        }
    }

    /// <summary>Makes the branch behind a window's failed check lead to a translation without windows.</summary>
    public static void Link(TranslatedBlock* from, WindowLink* link, TranslatedBlock* to)
    {
        if (!from->IsRetired && !to->IsRetired)
        {
            Volatile.Write(ref *link->Place, (int)(to->Body - ((byte*)link->Place + from->ToExecutable + 4)));
        }
    }

    /// <summary>Makes the branches of a block's translations lead to the dispatcher again.</summary>
    public static void Unlink(CodeBlock* block)
    {
        for (var version = *CodeBlock.Translations(block); version != null; version = version->Next)
        {
            Unlink(version);
        }
    }

    private static void Unlink(TranslatedBlock* version)
    {
        if (version->Taken != null)
        {
            Patch(version, version->Taken, version->TakenUnlinked);
        }

        if (version->FallThrough != null)
        {
            Patch(version, version->FallThrough, version->FallThroughUnlinked);
        }

        for (var link = version->Windows; link != null; link = link->Next)
        {
            Volatile.Write(ref *link->Place, 0);
        }
    }

    private static int Distance(TranslatedBlock* from, int* place, byte* target) => (int)(target - ((byte*)place + from->ToExecutable + 4));

    private static void Patch(TranslatedBlock* from, int* place, int distance)
    {
        if (place == from->Tail)
        {
            PatchJump(place, Jump | ((ulong)(uint)distance << 8));
        }
        else
        {
            Volatile.Write(ref *place, distance);
        }
    }

    // Writes the five bytes of a jump, which lie in an aligned word, at once.
    private static void PatchJump(int* place, ulong bytes)
    {
        var start = (nuint)place - 1;
        var word = (ulong*)(start & ~(nuint)7);
        var shift = (int)(start & 7) * 8;
        Volatile.Write(ref *word, (*word & ~(0xFF_FFFF_FFFFUL << shift)) | (bytes << shift));
    }
}
