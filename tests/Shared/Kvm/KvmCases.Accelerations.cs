using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Kvm;
using Vitro.Hypervisor.Vid;
using Vitro.Platform;
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

    // Two processors store to every page of a MiB each, over and over; what is taken is copied, and the copy is whole in the end.
    private static void DirtyPagesOfRunningProcessors(bool ring)
    {
        const ulong first = 0x200000;
        const ulong second = 0x400000;
        const int length = 1 << 20;
        using var machine = new KvmMachine(processors: 2, accelerations: new KvmAccelerations { DirtyRing = ring });
        machine.StartLong(StoreForEver(first, length));
        machine.StartLong(StoreForEver(second, length), processor: 1, at: 0xB000);
        machine.Partition.LogDirtyPages(true);
        var copy = new byte[16 << 20];
        var pages = new ulong[(16 << 20) / GuestMemory.PageSize / 64];
        machine.Partition.TakeDirtyPages(pages);
        machine.Gpa.TryRead(0, copy);
        var runs = machine.Partition.VirtualProcessors
            .Select(vp => Task.Factory.StartNew(vp.Run, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default)).ToArray();
        for (var round = 0; round < 20; round++)
        {
            // Both store on between any two bitmaps.
            foreach (var place in new[] { first, second })
            {
                var before = machine.ReadQword(place);
                Check.That(SpinWait.SpinUntil(() => machine.ReadQword(place) != before, TimeSpan.FromSeconds(60)), $"the guest stores at {place:x}");
            }

            CopyDirty(machine, pages, copy);
        }

        foreach (var vp in machine.Partition.VirtualProcessors)
        {
            vp.Cancel();
        }

        foreach (var run in runs)
        {
            Check.Equal(VpExitReason.Cancelled, run.GetAwaiter().GetResult().Reason);
        }

        CopyDirty(machine, pages, copy);
        var now = new byte[copy.Length];
        machine.Gpa.TryRead(0, now);
        for (var at = 0; at < now.Length; at += GuestMemory.PageSize)
        {
            Check.That(now.AsSpan(at, GuestMemory.PageSize).SequenceEqual(copy.AsSpan(at, GuestMemory.PageSize)), $"page {at:x} is as it was last told of");
        }

        Array.Clear(pages);
        machine.Partition.TakeDirtyPages(pages);
        Check.That(pages.All(word => word == 0), "nothing is told of that was not written");
    }

    private static void CopyDirty(KvmMachine machine, ulong[] pages, byte[] copy)
    {
        Array.Clear(pages);
        machine.Partition.TakeDirtyPages(pages);
        for (var page = 0; page < pages.Length * 64; page++)
        {
            if ((pages[page / 64] & (1UL << (page % 64))) != 0)
            {
                machine.Gpa.TryRead((ulong)page * GuestMemory.PageSize, copy.AsSpan(page * GuestMemory.PageSize, GuestMemory.PageSize));
            }
        }
    }

    // S: mov edi,start; L: inc rax; mov [rdi],rax; add edi,0x1000; cmp edi,end; jb L; jmp S
    private static byte[] StoreForEver(ulong start, int length) =>
    [
        0xBF, .. BitConverter.GetBytes((int)start), 0x48, 0xFF, 0xC0, 0x48, 0x89, 0x07, 0x81, 0xC7, 0, 0x10, 0, 0,
        0x81, 0xFF, .. BitConverter.GetBytes((int)start + length), 0x72, 0xEC, 0xEB, 0xE5,
    ];

    private static void Allocations()
    {
        using var machine = new KvmMachine { IsQuiet = true };
        Run(machine, 10);
        var few = Run(machine, 10);
        var many = Run(machine, 1000);
        Check.Equal(few, many, "bytes allocated by 10 and by 1000 rounds");

        // mov ebx,rounds; mov dx,0x60; mov edi,0x30000000; mov ecx,0x40000020; L: out dx,al; in al,dx; mov [rdi],eax; mov eax,[rdi]; mov esi,edx;
        // rdmsr; mov edx,esi; dec ebx; jnz L
        static long Run(KvmMachine machine, int rounds)
        {
            machine.StartLong([
                0xBB, .. BitConverter.GetBytes(rounds), 0x66, 0xBA, 0x60, 0, 0xBF, 0, 0, 0, 0x30, 0xB9, 0x20, 0, 0, 0x40,
                0xEE, 0xEC, 0x89, 0x07, 0x8B, 0x07, 0x89, 0xD6, 0x0F, 0x32, 0x89, 0xF2, 0xFF, 0xCB, 0x75, 0xF0, .. Stop]);
            var before = GC.GetAllocatedBytesForCurrentThread();
            var exit = machine.Processor.Run();
            var after = GC.GetAllocatedBytesForCurrentThread();
            Check.Equal(VpExitReason.Cancelled, exit.Reason, exit.Detail);
            return after - before;
        }
    }

    private static void LargePages()
    {
        const int needed = (int)(KvmMachine.MemorySize / AnonymousMemory.LargePageSize);
        var free = FreeLargePages();
        if (free >= needed)
        {
            using var machine = new KvmMachine(pages: MemoryPages.Large);
            machine.StartLong([0xBF, 0, 0, 0x20, 0, 0xC6, 0x07, 7, .. Stop]); // mov edi,0x200000; mov byte [rdi],7
            machine.RunToStop();
            Check.Equal(7UL, machine.ReadQword(0x200000));
            Check.That(FreeLargePages() < free, "the host's large pages are used");
        }
        else
        {
            Console.WriteLine($"The host has {free} large pages of 2 MiB free and this case needs {needed}: only the refusal is tried.");
        }

        try
        {
            using var memory = GuestMemory.Create((ulong)(free + 1) * AnonymousMemory.LargePageSize, MemoryPages.Large);
            throw new CheckFailedException("memory that the host does not have is given");
        }
        catch (PlatformException error)
        {
            Check.That(error.Message.Contains("large pages", StringComparison.Ordinal), $"'{error.Message}' names the large pages");
        }
    }

    private static int FreeLargePages()
    {
        var line = File.ReadLines("/proc/meminfo").FirstOrDefault(line => line.StartsWith("HugePages_Free:", StringComparison.Ordinal));
        return line is null ? 0 : int.Parse(line.AsSpan(line.IndexOf(':', StringComparison.Ordinal) + 1), System.Globalization.CultureInfo.InvariantCulture);
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
