using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Kvm;
using Vitro.Hypervisor.Vid;
using Vitro.Tests;

namespace Vitro.KvmTests;

// Work that the host's kernel takes over, with and without it.
internal static partial class KvmCases
{
    private const ushort SerialPort = 0x3F8;

    private static void DirtyLog(bool ring)
    {
        using var machine = new KvmMachine(accelerations: new KvmAccelerations { DirtyRing = ring });
        var memory = ((KvmPartition)machine.Partition).Memory;

        // mov byte [0x200000],1; mov byte [0x345678],1; all else only read
        machine.StartLong([0xBF, 0, 0, 0x20, 0, 0xC6, 0x07, 1, 0xBF, 0x78, 0x56, 0x34, 0, 0xC6, 0x07, 1, 0x8A, 0x87, 0, 0, 1, 0, .. Stop]);
        for (var round = 0; round < 2; round++)
        {
            ClearDirty(machine.Gpa);
            memory.LogDirtyPages(true);
            machine.RunToStop();
            memory.CollectDirtyPages();
            for (var page = 1UL << 20; page < 16 << 20; page += GuestMemory.PageSize)
            {
                // KVM maps a page that is first read writable and counts it as written, which only costs a copy.
                if (page != 0x355000)
                {
                    Check.Equal(page is 0x200000 or 0x345000, IsDirty(machine.Gpa, page), $"page {page:x}");
                }
            }

            // What has been told is not told again; and another log begins with what is written then.
            ClearDirty(machine.Gpa);
            memory.CollectDirtyPages();
            Check.That(!IsDirty(machine.Gpa, 0x200000), "a page is told once");
            memory.LogDirtyPages(false);
            machine.StartLong([0xBF, 0, 0, 0x20, 0, 0xC6, 0x07, 1, 0xBF, 0x78, 0x56, 0x34, 0, 0xC6, 0x07, 1, .. Stop]);
        }
    }

    private static void DirtyRingFull()
    {
        using var machine = new KvmMachine();
        var memory = ((KvmPartition)machine.Partition).Memory;
        ClearDirty(machine.Gpa);
        memory.LogDirtyPages(true);

        // Every page from 0x20000 to the end: mov edi,0x20000; L: mov byte [rdi],1; add edi,0x1000; cmp edi,0x1000000; jb L
        machine.StartLong([0xBF, 0, 0, 2, 0, 0xC6, 0x07, 1, 0x81, 0xC7, 0, 0x10, 0, 0, 0x81, 0xFF, 0, 0, 0, 1, 0x72, 0xEF, .. Stop]);
        machine.RunToStop();
        memory.CollectDirtyPages();
        for (var page = 0x20000UL; page < 16 << 20; page += GuestMemory.PageSize)
        {
            Check.That(IsDirty(machine.Gpa, page), $"page {page:x} is told of");
        }

        if (memory.HasRings)
        {
            Check.That(((KvmVirtualProcessor)machine.Processor).Counters.DirtyRingFull > 0, "the ring was full");
        }

        memory.LogDirtyPages(false);
    }

    private static void GatheredWrites()
    {
        foreach (var gathers in new[] { false, true })
        {
            using var machine = new KvmMachine(accelerations: new KvmAccelerations { CoalescedWrites = gathers });
            machine.Partition.CoalesceWrites(SerialPort);

            // mov dx,0x3f8; mov al,0x61; out dx,al; inc al; out dx,al; inc al; out dx,al; mov dx,0x3fd; in al,dx
            machine.StartLong([
                0x66, 0xBA, 0xF8, 3, 0xB0, 0x61, 0xEE, 0xFE, 0xC0, 0xEE, 0xFE, 0xC0, 0xEE, 0x66, 0xBA, 0xFD, 3, 0xEC, .. Stop]);
            machine.RunToStop();
            CheckLog(machine, "out 3f8 1 61", "out 3f8 1 62", "out 3f8 1 63", "in 3fd 1");
            Check.Equal(gathers ? 2L : 5L, ((KvmVirtualProcessor)machine.Processor).Counters.PortIo);
        }
    }

    private static void GatheredWritesByTime()
    {
        using var machine = new KvmMachine();
        machine.Partition.CoalesceWrites(SerialPort);
        machine.StartLong([0x66, 0xBA, 0xF8, 3, 0xB0, 0x7A, 0xEE, 0xEB, 0xFE]); // mov dx,0x3f8; mov al,0x7a; out dx,al; jmp to itself
        using var cancel = CancelWhen(machine, () => machine.Log.Count == 1);
        var exit = KvmMachine.RunToEnd(machine.Processor);
        Check.Equal(VpExitReason.Cancelled, exit.Reason, exit.Detail);
        CheckLog(machine, "out 3f8 1 7a");
    }

    private static unsafe void ClearDirty(GpaSpace gpa)
    {
        for (var page = 0UL; page < 16 << 20; page += GuestMemory.PageSize)
        {
            GpaSpace.ClearPageFlag(gpa.PageFlags(page), GpaPageFlags.Dirty);
        }
    }

    private static unsafe bool IsDirty(GpaSpace gpa, ulong page) => (*gpa.PageFlags(page) & (byte)GpaPageFlags.Dirty) != 0;
}
