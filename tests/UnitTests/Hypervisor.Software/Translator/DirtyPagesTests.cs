using System.Diagnostics;
using Iced.Intel;
using Vitro.Foundation;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Software;
using Vitro.Hypervisor.Software.Interpreter;
using Vitro.Hypervisor.Software.Translator;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vitro.UnitTests.Hypervisor.Software.Translator;

/// <summary>Pages written are taken again and again while processors store to them in hot loops and a device does: none is lost.</summary>
public sealed unsafe class DirtyPagesTests
{
    private const ulong Area = 0x80_0000;
    private const int Pages = 512;
    private const int Writers = 3;
    private const int Device = 2;
    private const ulong PageSize = 4096;

    // Behind the loop of a processor, in the same page: each store there is one to a page with code.
    private const ulong OnCodePage = 0x800;

    [Theory]
    [InlineData(1, true)]
    [InlineData(2, true)]
    [InlineData(2, false)]
    public void No_page_written_is_lost(int processors, bool translates)
    {
        using var machine = new TestProcessor(translates ? new TranslatorFactory() : new InterpreterFactory(), processors);
        machine.EnterLongMode();
        var start = machine.Vp.GetState();
        var ends = new VpExit[processors];
        var threads = new Thread[processors];
        for (var n = 0; n < processors; n++)
        {
            var vp = machine.Partition.Processors[n];
            vp.SetState(start);
            vp.State->Requests = 0;
            vp.State->Rip = WriteLoop(machine, n);
            var index = n;
            threads[n] = new Thread(() => ends[index] = vp.Run());
        }

        var taken = new ulong[(16 << 20) / PageSize / 64];
        machine.Partition.TakeDirtyPages(taken);
        using var stop = new CancellationTokenSource();
        var done = new ulong[Pages];
        var device = new Thread(() => WriteAsDevice(machine, done, stop.Token));
        device.Start();
        foreach (var thread in threads)
        {
            thread.Start();
        }

        var lost = Watch(machine, processors, taken, done);
        foreach (var vp in machine.Partition.Processors)
        {
            vp.Cancel();
        }

        foreach (var thread in threads)
        {
            thread.Join();
        }

        stop.Cancel();
        device.Join();
        Assert.Equal("", lost);
        Assert.All(ends, end => Assert.Equal(new VpExit(VpExitReason.Cancelled, ""), end));
        if (translates)
        {
            var node = new InspectNode();
            ((TranslatedCore)machine.Vp.Core).Inspect(node);
            Assert.True(((CodeCache)machine.Partition.CodePages).Translations!.Translated >= (ulong)processors);
            Assert.InRange((long)node.Find("interpret")!, 0, 1000);
        }
    }

    [Fact]
    public void A_page_nobody_writes_is_taken_once()
    {
        using var machine = new TestProcessor();
        machine.Write(Area, 1);
        var pages = new ulong[(16 << 20) / PageSize / 64];
        machine.Partition.TakeDirtyPages(pages);
        Assert.NotEqual(0UL, pages[(int)(Area / PageSize / 64)] & (1UL << (int)(Area / PageSize % 64)));
        Array.Clear(pages);
        machine.Partition.TakeDirtyPages(pages);
        Assert.All(pages, word => Assert.Equal(0UL, word));
        Assert.Throws<ArgumentException>(() => machine.Partition.TakeDirtyPages(new ulong[(16 << 20) / PageSize / 64 - 1]));
    }

    // Every number that stood in memory before pages were taken, by a device's write that was complete, must be in the copy of the pages
    // taken up to then, or a later one.
    private static string Watch(TestProcessor machine, int processors, ulong[] taken, ulong[] done)
    {
        var before = new ulong[(Pages + processors) * Writers];
        var copy = new ulong[before.Length];
        var patience = Stopwatch.StartNew();
        for (var useful = 0; useful < 200;)
        {
            if (patience.Elapsed > TimeSpan.FromMinutes(2))
            {
                return $"Only {useful} times in two minutes any page was taken.";
            }

            for (var page = 0; page < Pages + processors; page++)
            {
                Read(machine, page, before);
                before[(page * Writers) + Device] = page < Pages ? Volatile.Read(ref done[page]) : 0;
            }

            Array.Clear(taken);
            machine.Partition.TakeDirtyPages(taken);
            var any = false;
            for (var page = 0; page < Pages + processors; page++)
            {
                var number = Address(page) / PageSize;
                if ((taken[number / 64] & (1UL << (int)(number % 64))) != 0)
                {
                    Read(machine, page, copy);
                    any = true;
                }
            }

            useful += any ? 1 : 0;
            for (var n = 0; n < copy.Length; n++)
            {
                if (copy[n] < before[n])
                {
                    return $"Page 0x{Address(n / Writers):x}, writer {n % Writers}: {before[n]} is lost, {copy[n]} was copied last.";
                }
            }
        }

        return "";
    }

    private static ulong Address(int page) => page < Pages ? Area + ((ulong)page * PageSize) : LoopAddress(page - Pages) + OnCodePage;

    private static ulong LoopAddress(int processor) => TestProcessor.Code + ((ulong)processor * PageSize);

    private static void Read(TestProcessor machine, int page, ulong[] words) =>
        machine.Gpa.TryRead(Address(page), System.Runtime.InteropServices.MemoryMarshal.AsBytes(words.AsSpan(page * Writers, Writers)));

    // Counts, and stores the number to random ones of sixteen pages, which move on after some stores; now and then to its own page of code.
    private static ulong WriteLoop(TestProcessor machine, int processor)
    {
        var address = LoopAddress(processor);
        var assembler = new Assembler(64);
        var again = assembler.CreateLabel();
        var on = assembler.CreateLabel();
        assembler.mov(rbx, Area);
        assembler.mov(r10, 6364136223846793005UL);
        assembler.mov(r8, (ulong)processor + 1);
        assembler.xor(r9d, r9d);
        assembler.Label(ref again);
        assembler.inc(r9);
        assembler.imul(r8, r10);
        assembler.add(r8, 12345);
        assembler.mov(rax, r8);
        assembler.shr(rax, 60);
        assembler.mov(rcx, r9);
        assembler.shr(rcx, 6);
        assembler.add(eax, ecx);
        assembler.and(eax, Pages - 1);
        assembler.shl(eax, 12);
        assembler.mov(__qword_ptr[rbx + rax + (processor * 8)], r9);
        assembler.test(r9d, 0xFFF);
        assembler.jne(on);
        assembler.mov(__qword_ptr[address + OnCodePage + ((ulong)processor * 8)], r9);
        assembler.Label(ref on);
        assembler.jmp(again);
        using var code = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(code), address);
        machine.Write(address, code.ToArray());
        return address;
    }

    private static void WriteAsDevice(TestProcessor machine, ulong[] done, CancellationToken stop)
    {
        var random = new Random(1);
        for (var number = 1UL; !stop.IsCancellationRequested; number++)
        {
            var page = random.Next(Pages);
            machine.WriteWord(Area + ((ulong)page * PageSize) + (Device * 8), number);
            Volatile.Write(ref done[page], number);
        }
    }
}
