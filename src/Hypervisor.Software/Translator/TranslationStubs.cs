using System.Runtime.CompilerServices;
using Vitro.Hypervisor.Software.Emitter;

namespace Vitro.Hypervisor.Software.Translator;

/// <summary>The code between C# and translated blocks.</summary>
internal static unsafe class TranslationStubs
{
    // The guest registers that live in host registers, and where: four bits each, the first one lowest. RSP stands for those that do not.
    private const ulong Homes = 0x9EDC_4448_B65F_32A0;

    /// <summary>In place of a host register's number: the guest register stays in the state.</summary>
    public const byte Spilled = 255;

    /// <summary>The host register that holds a guest register, or <see cref="Spilled"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static byte HomeOf(int guestRegister)
    {
        var home = (int)(Homes >> (guestRegister * 4)) & 15;
        return home == (int)HostRegister.Rsp ? Spilled : (byte)home;
    }

    /// <summary>Takes the state and the address to go on at; the flags are explicit.</summary>
    public static void EmitEnter(ref CodeEmitter code)
    {
        foreach (var register in Saved)
        {
            code.Push(register);
        }

        code.Store64(HostRegister.Rdi, StateLayout.HostStack + StateLayout.Bias, HostRegister.Rsp);
        code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x8D, true, (int)HostRegister.Rsp, HostRegister.Rdi, StateLayout.Bias); // lea
        code.Store64(HostRegister.Rsp, StateLayout.Parked, HostRegister.Rsi);
        code.Load32(HostRegister.Rax, HostRegister.Rsp, StateLayout.FlagLeft);
        code.Bytes(0x89, 0xC1); // mov ecx, eax
        code.Bytes(0xC1, 0xE9, 0x0B); // shr ecx, 11
        code.Bytes(0x88, 0xC4); // mov ah, al
        code.Bytes(0x88, 0xC8); // mov al, cl
        EmitFlagsFromAx(ref code);
        for (var guest = 0; guest < 16; guest++)
        {
            if (HomeOf(guest) != Spilled)
            {
                code.Load64((HostRegister)HomeOf(guest), HostRegister.Rsp, StateLayout.Gpr(guest));
            }
        }

        code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0xFF, false, 4, HostRegister.Rsp, StateLayout.Parked); // jmp
    }

    /// <summary>
    /// What comes before <see cref="EmitLeave"/> for exits that call: the exit record is where they would be returned to. The word below the stack pointer
    /// is that of R15, which is in its register.
    /// </summary>
    public static void EmitCalledLeave(ref CodeEmitter code)
    {
        // Returning from a call keeps the host's predictions of later returns right.
        code.Pop(HostRegister.Rdi);
        code.Bytes(0x48, 0x8D, 0x0D, 0x02, 0x00, 0x00, 0x00); // lea rcx, [what follows]
        code.Push(HostRegister.Rcx);
        code.Return();
    }

    /// <summary>Stores registers and flags, and returns; RDI is the exit record.</summary>
    public static void EmitLeave(ref CodeEmitter code)
    {
        code.Store64(HostRegister.Rsp, StateLayout.ExitRecord, HostRegister.Rdi);
        for (var guest = 0; guest < 16; guest++)
        {
            if (HomeOf(guest) != Spilled)
            {
                code.Store64(HostRegister.Rsp, StateLayout.Gpr(guest), (HostRegister)HomeOf(guest));
            }
        }

        EmitFlagsToAx(ref code);
        code.Bytes(0x0F, 0xB6, 0xCC); // movzx ecx, ah
        code.Arithmetic32(4, HostRegister.Rcx, 0xD5);
        code.Bytes(0x0F, 0xB6, 0xC0); // movzx eax, al
        code.Bytes(0xC1, 0xE0, 0x0B); // shl eax, 11
        code.Bytes(0x09, 0xC8); // or eax, ecx
        code.Store64(HostRegister.Rsp, StateLayout.FlagLeft, HostRegister.Rax);
        code.Bytes(0x31, 0xC0); // xor eax, eax: LazyFlags.Explicit
        code.Store32(HostRegister.Rsp, StateLayout.FlagOperation, HostRegister.Rax);
        VectorStubs.EmitSave(ref code);
        X87Stubs.EmitSave(ref code);
        code.Load64(HostRegister.Rsp, HostRegister.Rsp, StateLayout.HostStack);
        for (var n = Saved.Length - 1; n >= 0; n--)
        {
            code.Pop(Saved[n]);
        }

        code.Return();
    }

    /// <summary>
    /// A jump whose target is not in its slot of a privilege's jump cache, RDI being its linear address: looks in the second
    /// table. The flags are kept.
    /// </summary>
    public static void EmitMiss(ref CodeEmitter code, uint privilege, byte* unknown)
    {
        var table = StateLayout.SecondJumpTable(privilege);
        code.Store64(HostRegister.Rsp, StateLayout.Parked, HostRegister.Rdi);
        code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Escape0F, 0xB7, false, (int)HostRegister.Rcx, HostRegister.Rsp, StateLayout.Parked + 2); // movzx
        code.Bytes(0x8D, 0x0C, 0x39); // lea ecx, [rcx + rdi]
        code.Bytes(0x0F, 0xB7, 0xC9); // movzx ecx, cx
        code.Bytes(0x8D, 0x0C, 0x09); // lea ecx, [rcx + rcx]
        code.Store64(HostRegister.Rsp, StateLayout.ParkedRax, HostRegister.Rcx);
        code.Bytes(0x48, 0xF7, 0xD7); // not rdi
        code.Bytes(0x48, 0x8B, 0x8C, 0xCC); // mov rcx, [rsp + rcx * 8 + table]
        code.Int32(table);
        code.Bytes(0x48, 0x8D, 0x4C, 0x0F, 0x01); // lea rcx, [rdi + rcx + 1]
        code.Bytes(0x48, 0xF7, 0xD7); // not rdi
        code.Bytes(0xE3, 0x05); // jrcxz over the jump
        code.Byte(0xE9);
        code.Int32((int)(unknown - (code.Executable + 4)));
        code.Load64(HostRegister.Rcx, HostRegister.Rsp, StateLayout.ParkedRax);
        code.Bytes(0xFF, 0xA4, 0xCC); // jmp [rsp + rcx * 8 + table + 8]
        code.Int32(table + 8);
    }

    /// <summary>A jump whose target the jump cache does not know: RDI is its linear address.</summary>
    public static void EmitUnknown(ref CodeEmitter code, byte* leave)
    {
        code.Store64(HostRegister.Rsp, StateLayout.Parked, HostRegister.Rdi);
        code.Bytes(0x48, 0x8D, 0x3D); // lea rdi, [rip + distance of the record]
        code.Int32(5);
        code.Byte(0xE9);
        code.Int32((int)(leave - (code.Executable + 4)));
        for (var n = 0; n < sizeof(ExitRecord); n++)
        {
            code.Byte(0);
        }
    }

    /// <summary>
    /// A branch to another page that is not linked, or not for the page that the processor has: RDI is its <see cref="FarLink"/>. The flags are kept.
    /// </summary>
    public static void EmitLeaveFar(ref CodeEmitter code, uint privilege, byte* leave)
    {
        code.Bytes(0x0F, 0xB7, 0x4F, FarLink.SettledPlace); // movzx ecx, word [rdi + FarLink.IsSettled]
        code.Bytes(0xE3, 0x0E); // jrcxz
        code.Bytes(0x48, 0x8B, 0x7F, FarLink.TargetPlace); // mov rdi, [rdi + FarLink.Target]
        code.Bytes(0x0F, 0xB7, 0xCF); // movzx ecx, di
        code.Bytes(0xFF, 0xA4, 0xCC); // jmp [rsp + rcx * 8 + table]
        code.Int32(StateLayout.JumpTable(privilege));
        code.Byte(0xE9);
        code.Int32((int)(leave - (code.Executable + 4)));
    }

    /// <summary>
    /// An access whose page is not the remembered one: RCX is its <see cref="SlotRecord"/>, RDI its address less that of the remembered page. Remembers
    /// the right one, if it is to, and goes on behind the check, with RDI and RCX as that leaves them; or behind the record, RDI being the address.
    /// </summary>
    public static void EmitFillSlot(ref CodeEmitter code, int tlb, bool remembers)
    {
        code.Store64(HostRegister.Rsp, StateLayout.SlotRax, HostRegister.Rax);
        code.Store64(HostRegister.Rsp, StateLayout.SlotRdx, HostRegister.Rdx);
        code.Bytes(0x0F, 0xB7, 0x51, SlotRecord.SlotPlace); // movzx edx, word [rcx + SlotRecord.Slot]
        code.Bytes(0x48, 0x03, 0x3C, 0x14); // add rdi, [rsp + rdx]
        code.Bytes(0x89, 0xF8, 0xC1, 0xE8, 0x08); // mov eax, edi; shr eax, 8
        code.Arithmetic32(4, HostRegister.Rax, (TlbEntry.SetSize - 1) << 4);
        code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x03, true, (int)HostRegister.Rax, HostRegister.Rsp, tlb); // add
        code.Bytes(0x48, 0x2B, 0x38); // sub rdi, [rax]
        code.Bytes(0x0F, 0xB7, 0x51, SlotRecord.LimitPlace); // movzx edx, word [rcx + SlotRecord.Limit]
        code.Bytes(0x48, 0x39, 0xD7); // cmp rdi, rdx
        var misses = VectorStubs.Branch(ref code, 0x87); // ja
        code.Bytes(0x48, 0x63, 0x11); // movsxd rdx, [rcx + SlotRecord.Behind]
        code.Bytes(0x48, 0x8D, 0x14, 0x0A); // lea rdx, [rdx + rcx]
        code.Store64(HostRegister.Rsp, StateLayout.SlotReturn, HostRegister.Rdx);
        if (remembers)
        {
            code.Bytes(0x0F, 0xB7, 0x51, SlotRecord.SlotPlace); // movzx edx, word [rcx + SlotRecord.Slot]
            code.Load64(HostRegister.Rcx, HostRegister.Rax, 0);
            code.Bytes(0x48, 0x89, 0x0C, 0x14); // mov [rsp + rdx], rcx
        }

        code.Load64(HostRegister.Rcx, HostRegister.Rax, 8);
        if (remembers)
        {
            code.Bytes(0x48, 0x89, 0x4C, 0x14, 0x08); // mov [rsp + rdx + 8], rcx
        }

        code.Load64(HostRegister.Rax, HostRegister.Rsp, StateLayout.SlotRax);
        code.Load64(HostRegister.Rdx, HostRegister.Rsp, StateLayout.SlotRdx);
        code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0xFF, false, 4, HostRegister.Rsp, StateLayout.SlotReturn); // jmp
        VectorStubs.Land(ref code, misses);
        code.Bytes(0x48, 0x03, 0x38); // add rdi, [rax]
        code.Load64(HostRegister.Rax, HostRegister.Rsp, StateLayout.SlotRax);
        code.Load64(HostRegister.Rdx, HostRegister.Rsp, StateLayout.SlotRdx);
        code.Bytes(0x48, 0x8D, 0x49, sizeof(SlotRecord)); // lea rcx, [rcx + sizeof(SlotRecord)]
        code.Bytes(0xFF, 0xE1); // jmp rcx
    }

    /// <summary>Goes on at RIP through a privilege's jump cache.</summary>
    public static void EmitGoOn(ref CodeEmitter code, uint privilege)
    {
        code.Load64(HostRegister.Rdi, HostRegister.Rsp, StateLayout.Rip);
        code.Bytes(0x0F, 0xB7, 0xCF); // movzx ecx, di
        code.Bytes(0xFF, 0xA4, 0xCC); // jmp [rsp + rcx * 8 + table]
        code.Int32(StateLayout.JumpTable(privilege));
    }

    /// <summary>SF, ZF, AF, PF, CF to AH, OF to AL.</summary>
    public static void EmitFlagsToAx(ref CodeEmitter code)
    {
        code.Byte(0x9F); // lahf
        code.Bytes(0x0F, 0x90, 0xC0); // seto al
    }

    /// <summary>The reverse.</summary>
    public static void EmitFlagsFromAx(ref CodeEmitter code)
    {
        code.Bytes(0x04, 0x7F); // add al, 7Fh
        code.Byte(0x9E); // sahf
    }

    private static ReadOnlySpan<HostRegister> Saved =>
        [HostRegister.Rbx, HostRegister.Rbp, HostRegister.R12, HostRegister.R13, HostRegister.R14, HostRegister.R15];
}
