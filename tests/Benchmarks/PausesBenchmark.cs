using System.Diagnostics;
using System.Globalization;
using Vitro.Hypervisor.Software.Translator;

namespace Vitro.Benchmarks;

/// <summary>
/// How long a virtual processor does not run, as its guest sees it: on a quiet host, beside a machine in the same process
/// whose devices make garbage, beside a thread that makes as much garbage as it can, and on a busy host. One guest computes, the other
/// reads a port on every turn and so enters our own code, which waits for a collection to end. The peer is a native program that looks at
/// the clock in the same way. Then how long all processors wait while a full code memory makes room.
/// </summary>
internal static class PausesBenchmark
{
    private const int Rounds = 5;
    private const ulong Threshold = 50_000;
    private const double Seconds = 2;

    // Looks at the time without end; sums up and counts what is more than R11 nanoseconds, and keeps the longest.
    private static ReadOnlySpan<byte> Computing =>
    [
        0x0F, 0x31, // rdtsc
        0x48, 0xC1, 0xE2, 0x20, // shl rdx, 32
        0x48, 0x09, 0xD0, // or rax, rdx
        0x48, 0x89, 0xC1, // mov rcx, rax
        0x4C, 0x29, 0xC1, // sub rcx, r8
        0x49, 0x89, 0xC0, // mov r8, rax
        0x4C, 0x39, 0xD9, // cmp rcx, r11
        0x72, 0xE9, // jb start
        0x48, 0x8B, 0x13, // mov rdx, [rbx]
        0x48, 0x01, 0xCA, // add rdx, rcx
        0x48, 0x89, 0x13, // mov [rbx], rdx
        0x48, 0xFF, 0x43, 0x08, // inc qword [rbx+8]
        0x48, 0x3B, 0x4B, 0x10, // cmp rcx, [rbx+16]
        0x76, 0xD6, // jbe start
        0x48, 0x89, 0x4B, 0x10, // mov [rbx+16], rcx
        0xEB, 0xD0, // jmp start
    ];

    // The same with a read of a port in front: IN AL, DX.
    private static ReadOnlySpan<byte> Reading =>
    [
        0xEC, 0x0F, 0x31, 0x48, 0xC1, 0xE2, 0x20, 0x48, 0x09, 0xD0, 0x48, 0x89, 0xC1, 0x4C, 0x29, 0xC1, 0x49, 0x89, 0xC0, 0x4C, 0x39, 0xD9, 0x72, 0xE8,
        0x48, 0x8B, 0x13, 0x48, 0x01, 0xCA, 0x48, 0x89, 0x13, 0x48, 0xFF, 0x43, 0x08, 0x48, 0x3B, 0x4B, 0x10, 0x76, 0xD5,
        0x48, 0x89, 0x4B, 0x10, 0xEB, 0xCF,
    ];

    // Writes to a port after some thousand instructions each.
    private static ReadOnlySpan<byte> Requesting =>
    [
        0xB9, 0x00, 0x08, 0x00, 0x00, // start: mov ecx, 2048
        0xFF, 0xC9, // dec ecx
        0x75, 0xFC, // jnz back
        0xEE, // out dx, al
        0xEB, 0xF4, // jmp start
    ];

    internal static async Task<int> RunAsync(CancellationToken cancellationToken)
    {
        var program = Path.Combine(await GuestImage.MakeAsync("tests/Workloads/build", cancellationToken), "workload");
        List<Measure> measures = [];
        foreach (var (title, disturb) in new (string, Func<CollectionWatch, CancellationToken, Task>)[]
        {
            ("quiet", (_, _) => Task.CompletedTask), ("a machine with garbage", RunNeighbourAsync), ("garbage alone", MakeGarbageAsync),
            ("two busy programs", (_, token) => KeepBusyAsync(token)),
        })
        {
            Pauses computing = new(), reading = new(), host = new();
            using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
            var watch = new CollectionWatch();
            var disturbance = disturb(watch, stop.Token);
            var collected = GC.GetTotalPauseDuration();
            var time = Stopwatch.StartNew();
            for (var round = 0; round < Rounds; round++)
            {
                Watch(Computing, computing);
                Watch(Reading, reading);
                await WatchHostAsync(program, host, cancellationToken);
            }

            var collecting = (GC.GetTotalPauseDuration() - collected).TotalMilliseconds / time.Elapsed.TotalSeconds;
            await stop.CancelAsync();
            await disturbance;
            foreach (var (guest, pauses) in new[] { ("computing", computing), ("reading a port", reading) })
            {
                measures.Add(new Measure($"longest pause, {title}, {guest}", "ms", MeasureKind.Cost, pauses.Longest, host.Longest, "host"));
                measures.Add(new Measure($"all pauses over 50 us, {title}, {guest}", "ms/s", MeasureKind.Cost, pauses.All, host.All, "host"));
            }

            if (watch.Longest > 0)
            {
                measures.Add(new Measure($"collections, {title}", "ms/s", MeasureKind.Cost, [collecting], [], null));
                measures.Add(new Measure($"longest collection, {title}, processor time", "ms", MeasureKind.Cost, [watch.Longest], [], null));
            }
        }

        double[] evictions = [.. Enumerable.Range(0, Rounds).Select(_ => Evict())];
        measures.Add(new Measure("longest eviction of code", "ms", MeasureKind.Cost, evictions, [], null));
        BenchmarkReport.Publish("pauses", measures);
        return 0;
    }

    private static void Watch(ReadOnlySpan<byte> code, Pauses pauses)
    {
        using var loop = new LoopPartition(code);
        Run(loop, 0.2);
        loop.Clear();
        Run(loop, Seconds);
        pauses.Longest.Add(loop.Read(2) / 1e6);
        pauses.All.Add(loop.Read(0) / 1e6 / Seconds);
    }

    // Ever new code, of blocks as short as there are, in a code memory of few segments of the usual size.
    private static double Evict()
    {
        var code = new byte[0x3E_0000];
        ReadOnlySpan<byte> block = [0x8D, 0x40, 0x01, 0xEB, 0x00]; // lea eax, [rax+1]; jmp on
        var length = 0;
        for (; length + (2 * block.Length) < code.Length; length += block.Length)
        {
            block.CopyTo(code.AsSpan(length));
        }

        code[length] = 0xE9; // jmp start
        BitConverter.TryWriteBytes(code.AsSpan(length + 1), -(length + 5));
        using var loop = new LoopPartition(code, new TranslatorFactory { CodeSize = 8 << 20 });
        Run(loop, Seconds);
        return loop.LongestEviction;
    }

    // The first time, compiling our own code is part of what is seen.
    private static void Run(LoopPartition loop, double seconds)
    {
        var state = loop.Processor.GetState();
        state.Gpr[8] = loop.Time;
        state.Gpr[11] = Threshold;
        loop.Processor.SetState(state);
        var thread = new Thread(() => loop.Processor.Run());
        thread.Start();
        thread.Join(TimeSpan.FromSeconds(seconds));
        loop.Processor.Cancel();
        thread.Join();
    }

    private static async Task WatchHostAsync(string program, Pauses pauses, CancellationToken cancellationToken)
    {
        var start = new ProcessStartInfo(program, ["pauses", Seconds.ToString(CultureInfo.InvariantCulture)]) { RedirectStandardOutput = true, UseShellExecute = false };
        using var process = Process.Start(start) ?? throw new InvalidOperationException("The workload program did not start.");
        var words = (await process.StandardOutput.ReadToEndAsync(cancellationToken)).Split(' ');
        pauses.Longest.Add(double.Parse(words[0], CultureInfo.InvariantCulture) / 1e6);
        pauses.All.Add(double.Parse(words[1], CultureInfo.InvariantCulture) / 1e6 / Seconds);
    }

    // A machine whose devices allocate for every request.
    private static Task RunNeighbourAsync(CollectionWatch watch, CancellationToken cancellationToken) => Task.Factory.StartNew(
        () =>
        {
            using var loop = new LoopPartition(Requesting, devices: new AllocatingDevices(watch));
            using var end = cancellationToken.Register(loop.Processor.Cancel);
            loop.Processor.Run();
        },
        CancellationToken.None,
        TaskCreationOptions.LongRunning,
        TaskScheduler.Default);

    // The hard case: nothing but garbage, with a hundred megabytes alive, all of which survives its first collections.
    private static Task MakeGarbageAsync(CollectionWatch watch, CancellationToken cancellationToken) => Task.Run(
        () =>
        {
            var alive = new byte[100_000][];
            for (var i = 0; !cancellationToken.IsCancellationRequested; i = (i + 1) % alive.Length)
            {
                watch.Begin();
                alive[i] = new byte[1000];
                watch.End();
            }
        },
        CancellationToken.None);

    private static async Task KeepBusyAsync(CancellationToken cancellationToken)
    {
        Process[] busy = [.. Enumerable.Range(0, 2).Select(_ => Process.Start("sh", ["-c", "while :; do :; done"]))];
        await Task.Delay(Timeout.InfiniteTimeSpan, cancellationToken).ContinueWith(_ => { }, TaskScheduler.Default);
        foreach (var process in busy)
        {
            process.Kill();
            await process.WaitForExitAsync(CancellationToken.None);
            process.Dispose();
        }
    }

    private sealed class Pauses
    {
        internal List<double> Longest { get; } = [];

        internal List<double> All { get; } = [];
    }
}
