using Vitro.Hypervisor.Software;
using Vitro.Hypervisor.Software.Translator;
using Xunit;

namespace Vitro.UnitTests.Hypervisor.Software.Translator;

/// <summary>What translated programs remember of a page is forgotten with its TLB entry, and so is what is known of a constant address.</summary>
public sealed unsafe class PageSlotTests
{
    private const ulong Elsewhere = 0x2A0000;
    private const int Seed = 5;

    /// <summary>Ways to drop the translation of a page.</summary>
    public enum Flush
    {
        Page,
        Local,
        Context,
        Switch,
        All,
    }

    public static TheoryData<Flush> Flushes => [.. Enum.GetValues<Flush>()];

    [Theory]
    [MemberData(nameof(Flushes))]
    public void A_flush_makes_a_load_from_a_constant_address_look_anew(Flush flush)
    {
        // mov rax, [data]
        Assert.Equal(0UL, RunTwice([0x48, 0x8B, 0x04, 0x25, 0x00, 0x10, 0x18, 0x00, 0xF4], flush, isRemembered: false));
    }

    [Theory]
    [MemberData(nameof(Flushes))]
    public void A_flush_makes_a_loop_look_anew(Flush flush)
    {
        // lea rdx, [rbx + 16]; next: mov rax, [rbx]; add rbx, 8; cmp rbx, rdx; jne next
        Assert.Equal(0UL, RunTwice([0x48, 0x8D, 0x53, 0x10, 0x48, 0x8B, 0x03, 0x48, 0x83, 0xC3, 0x08, 0x48, 0x39, 0xD3, 0x75, 0xF4, 0xF4], flush, isRemembered: true));
    }

    [Fact]
    public void A_load_across_the_end_of_a_remembered_page_takes_the_rest_from_the_page_that_follows()
    {
        using var machine = new ProgramMachine(new TranslatorFactory(), ProgramMode.User64);
        machine.Map(ProgramMachine.DataAddress, Elsewhere);

        // lea rsp, [data - 4096]; mov [rsp], rbx; mov rax, [rsp + 4092]
        machine.Run(
            [0x48, 0x8D, 0x24, 0x25, 0x00, 0x00, 0x18, 0x00, 0x48, 0x89, 0x1C, 0x24, 0x48, 0x8B, 0x84, 0x24, 0xFC, 0x0F, 0x00, 0x00, 0xF4], Seed);

        Assert.True(machine.HasRemembered(ProgramMachine.DataAddress - 0x1000));
        Assert.NotEqual(0u, *(uint*)machine.HostOf(ProgramMachine.DataAddress));
        Assert.Equal(*(uint*)machine.HostOf(ProgramMachine.DataAddress - 4), machine.Gpr(0));
    }

    [Fact]
    public void A_page_that_got_code_is_stored_to_through_the_mmu()
    {
        using var machine = new ProgramMachine(new TranslatorFactory(), ProgramMode.User64);

        // lea rdx, [rbx + 16]; next: mov [rbx], rax; add rbx, 8; cmp rbx, rdx; jne next
        byte[] store = [0x48, 0x8D, 0x53, 0x10, 0x48, 0x89, 0x03, 0x48, 0x83, 0xC3, 0x08, 0x48, 0x39, 0xD3, 0x75, 0xF4, 0xF4];
        machine.Run(store, Seed);
        Assert.True(machine.HasRemembered(ProgramMachine.DataAddress));
        machine.Mmu.DropStores(machine.HostOf(ProgramMachine.DataAddress));
        Assert.False(machine.HasRemembered(ProgramMachine.DataAddress));
    }

    // RAX of the second run, when the data's page has become another one of zeros.
    private static ulong RunTwice(byte[] program, Flush flush, bool isRemembered)
    {
        using var machine = new ProgramMachine(new TranslatorFactory(), ProgramMode.User64);
        machine.Run(program, Seed);
        Assert.NotEqual(0UL, machine.Gpr(0));
        Assert.Equal(isRemembered, machine.HasRemembered(ProgramMachine.DataAddress));
        machine.Map(ProgramMachine.DataAddress, Elsewhere);
        machine.Flush(flush, ProgramMachine.DataAddress);
        machine.Run(program, Seed);
        return machine.Gpr(0);
    }
}
