using System.Buffers.Binary;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Vid;

namespace Vitro.Firmware.LinuxBoot;

/// <summary>The processor states in which kernels are entered, and the tables in memory that go with them.</summary>
internal static class EntryState
{
    private const ushort CodeSelector = 0x10;
    private const ushort DataSelector = 0x18;
    private const ushort TaskSelector = 0x20;

    private const uint Code64 = 0xA09B;
    private const uint Code32 = 0xC09B;
    private const uint Data = 0xC093;
    private const uint BusyTask = 0x008B;
    private const uint UnusableTable = 0x1_0082;

    private const uint MsrPat = 0x277;
    private const uint MsrMtrrDefaultType = 0x2FF;

    /// <summary>Long mode with 4 GiB mapped one to one, interrupts off: the Linux 64-bit entry.</summary>
    internal static VirtualProcessorState Long(GpaSpace space, ulong entry, ulong rsi)
    {
        WriteTables(space, Code64);
        WritePageTables(space);
        var state = Create(entry, Code64);
        state.Cr0 = 0x8000_0033;
        state.Cr3 = BootLayout.PageTables;
        state.Cr4 = 0x20;
        state.Efer = 0x500;
        state.Gpr[6] = rsi;
        return state;
    }

    /// <summary>Flat 32-bit protected mode without paging, interrupts off: the entry of PVH and multiboot.</summary>
    internal static VirtualProcessorState Protected(GpaSpace space, ulong entry, ulong eax, ulong ebx)
    {
        WriteTables(space, Code32);
        var state = Create(entry, Code32);
        state.Cr0 = 0x33;
        state.Gpr[0] = eax;
        state.Gpr[3] = ebx;
        return state;
    }

    private static VirtualProcessorState Create(ulong entry, uint code)
    {
        var data = new SegmentState(DataSelector, 0, uint.MaxValue, Data);
        var state = new VirtualProcessorState
        {
            Rip = entry,
            Cs = new SegmentState(CodeSelector, 0, uint.MaxValue, code),
            Ss = data,
            Ds = data,
            Es = data,
            Fs = data,
            Gs = data,
            Tr = new SegmentState(TaskSelector, 0, 0x67, BusyTask),
            Ldtr = new SegmentState(0, 0, 0, UnusableTable),
            Gdtr = new TableState(BootLayout.Gdt, 0x2F),
            Idtr = new TableState(0, 0),
            Activity = VpActivity.Running,
        };
        state.Gpr[4] = BootLayout.StackTop;
        state.Dr[6] = 0xFFFF_0FF0;
        state.Dr[7] = 0x400;

        // The x87 control word and MXCSR as after FNINIT and reset; XSTATE_BV marks both parts as present.
        BinaryPrimitives.WriteUInt16LittleEndian(state.Xsave, 0x37F);
        BinaryPrimitives.WriteUInt32LittleEndian(state.Xsave.AsSpan(24), 0x1F80);
        state.Xsave[512] = 3;

        // Memory types as firmware leaves them: everything write-back, MMIO by page attributes.
        state.Msrs[MsrPat] = 0x0007_0406_0007_0406;
        state.Msrs[MsrMtrrDefaultType] = 0x806;
        return state;
    }

    private static void WriteTables(GpaSpace space, uint code) => GuestWriter.Write(
        space,
        BootLayout.Gdt,
        [0, 0, Descriptor(code, 0xF_FFFF), Descriptor(Data, 0xF_FFFF), Descriptor(BusyTask, 0x67), 0]);

    private static ulong Descriptor(uint attributes, uint limit) =>
        (limit & 0xFFFF) | ((ulong)(limit >> 16) << 48) | ((ulong)(attributes & 0xF0FF) << 40);

    private static void WritePageTables(GpaSpace space)
    {
        const ulong PresentWritable = 3;
        const ulong LargePage = 0x80;
        var tables = new ulong[6 * 512];
        tables[0] = (BootLayout.PageTables + GuestMemory.PageSize) | PresentWritable;
        for (var gigabyte = 0; gigabyte < 4; gigabyte++)
        {
            tables[512 + gigabyte] = (BootLayout.PageTables + ((ulong)(2 + gigabyte) * GuestMemory.PageSize)) | PresentWritable;
        }

        for (var index = 0; index < 4 * 512; index++)
        {
            tables[1024 + index] = ((ulong)index << 21) | LargePage | PresentWritable;
        }

        GuestWriter.Write(space, BootLayout.PageTables, tables);
    }
}
