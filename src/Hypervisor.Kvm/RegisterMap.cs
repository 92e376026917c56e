using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Kvm.Interop;

namespace Vitro.Hypervisor.Kvm;

/// <summary>The registers of the neutral record and of KVM's structures, one to one.</summary>
internal static class RegisterMap
{
    private const uint UnusableSegment = 1 << 16;

    internal static void Export(in KvmRegisters from, VirtualProcessorState to)
    {
        ReadOnlySpan<ulong> values =
        [
            from.Rax, from.Rcx, from.Rdx, from.Rbx, from.Rsp, from.Rbp, from.Rsi, from.Rdi,
            from.R8, from.R9, from.R10, from.R11, from.R12, from.R13, from.R14, from.R15,
        ];
        values.CopyTo(to.Gpr);
        to.Rip = from.Rip;
        to.Rflags = from.Rflags;
    }

    internal static void Import(VirtualProcessorState from, ref KvmRegisters to)
    {
        var gpr = from.Gpr;
        to = new KvmRegisters
        {
            Rax = gpr[0],
            Rcx = gpr[1],
            Rdx = gpr[2],
            Rbx = gpr[3],
            Rsp = gpr[4],
            Rbp = gpr[5],
            Rsi = gpr[6],
            Rdi = gpr[7],
            R8 = gpr[8],
            R9 = gpr[9],
            R10 = gpr[10],
            R11 = gpr[11],
            R12 = gpr[12],
            R13 = gpr[13],
            R14 = gpr[14],
            R15 = gpr[15],
            Rip = from.Rip,
            Rflags = from.Rflags,
        };
    }

    internal static void Export(in KvmSystemRegisters from, VirtualProcessorState to)
    {
        to.Cs = Export(from.Cs);
        to.Ss = Export(from.Ss);
        to.Ds = Export(from.Ds);
        to.Es = Export(from.Es);
        to.Fs = Export(from.Fs);
        to.Gs = Export(from.Gs);
        to.Ldtr = Export(from.Ldt);
        to.Tr = Export(from.Tr);
        to.Gdtr = new TableState(from.Gdt.Base, from.Gdt.Limit);
        to.Idtr = new TableState(from.Idt.Base, from.Idt.Limit);
        to.Cr0 = from.Cr0;
        to.Cr2 = from.Cr2;
        to.Cr3 = from.Cr3;
        to.Cr4 = from.Cr4;
        to.Efer = from.Efer;
    }

    /// <summary>Fills in all but the task priority, the APIC's mode and the pending vector, which are the local APIC's.</summary>
    internal static unsafe void Import(VirtualProcessorState from, ref KvmSystemRegisters to)
    {
        to.Cs = Import(from.Cs);
        to.Ss = Import(from.Ss);
        to.Ds = Import(from.Ds);
        to.Es = Import(from.Es);
        to.Fs = Import(from.Fs);
        to.Gs = Import(from.Gs);
        to.Ldt = Import(from.Ldtr);
        to.Tr = Import(from.Tr);
        to.Gdt = new KvmTable { Base = from.Gdtr.Base, Limit = from.Gdtr.Limit };
        to.Idt = new KvmTable { Base = from.Idtr.Base, Limit = from.Idtr.Limit };
        to.Cr0 = from.Cr0;
        to.Cr2 = from.Cr2;
        to.Cr3 = from.Cr3;
        to.Cr4 = from.Cr4;
        to.Efer = from.Efer;
        for (var i = 0; i < 4; i++)
        {
            to.InterruptBitmap[i] = 0;
        }
    }

    private static SegmentState Export(in KvmSegment from) => new(
        from.Selector,
        from.Base,
        from.Limit,
        from.Type | ((uint)from.S << 4) | ((uint)from.Dpl << 5) | ((uint)from.Present << 7) | ((uint)from.Avl << 12) | ((uint)from.L << 13)
            | ((uint)from.Db << 14) | ((uint)from.G << 15) | (from.Unusable != 0 ? UnusableSegment : 0));

    private static KvmSegment Import(SegmentState from)
    {
        var attributes = from.Attributes;
        return new KvmSegment
        {
            Base = from.Base,
            Limit = from.Limit,
            Selector = from.Selector,
            Type = (byte)(attributes & 15),
            S = Bit(attributes, 4),
            Dpl = (byte)((attributes >> 5) & 3),
            Present = Bit(attributes, 7),
            Avl = Bit(attributes, 12),
            L = Bit(attributes, 13),
            Db = Bit(attributes, 14),
            G = Bit(attributes, 15),
            Unusable = Bit(attributes, 16),
        };
    }

    private static byte Bit(uint value, int number) => (byte)((value >> number) & 1);
}
