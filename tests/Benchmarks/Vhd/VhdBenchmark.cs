using System.Diagnostics;
using System.Globalization;
using Vitro.Storage;

namespace Vitro.Benchmarks.Vhd;

/// <summary>Virtual hard disks against qemu-img: the same files, the same machine, one run.</summary>
/// <remarks>
/// The files are on the file system of the temporary folder (TMPDIR). qemu-img's times include the start of its process, some ten
/// milliseconds; conversions are timed with and without making the result durable, which qemu-img by default does not.
/// </remarks>
internal sealed class VhdBenchmark : IDisposable
{
    private const int Megabyte = 1 << 20;
    private const long ContentLength = 768L * Megabyte;
    private const long IoLength = 512L * Megabyte;
    private const int Rounds = 3;

    private readonly string _folder = Directory.CreateTempSubdirectory("vitro-bench-vhd-").FullName;

    internal static int Run()
    {
        using var benchmark = new VhdBenchmark();
        benchmark.Convert();
        benchmark.Requests();
        benchmark.Largest();
        return 0;
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private static void Line(string what, double ours, double other, string unit, string goal) =>
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{what,-58} {ours,10:0.###} {other,10:0.###} {unit,-6} ratio {ours / other:0.00}  {goal}"));

    private static double Best(Action act)
    {
        var best = double.MaxValue;
        for (var i = 0; i < Rounds; i++)
        {
            var watch = Stopwatch.StartNew();
            act();
            best = Math.Min(best, watch.Elapsed.TotalSeconds);
        }

        return best;
    }

    private static void Tool(params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo("qemu-img", arguments) { RedirectStandardOutput = true, UseShellExecute = false })!;
        _ = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        if (process.ExitCode != 0)
        {
            throw new InvalidOperationException("qemu-img " + string.Join(' ', arguments) + " failed");
        }
    }

    private string At(string name) => Path.Combine(_folder, name);

    // Three quarters content, one quarter holes, as a used disk has them.
    private void MakeContent(string path)
    {
        var random = new Random(1);
        var chunk = new byte[Megabyte];
        using var file = File.Create(path);
        file.SetLength(ContentLength);
        for (long offset = 0; offset < ContentLength; offset += Megabyte)
        {
            if (offset / (16 * Megabyte) % 4 != 3)
            {
                random.NextBytes(chunk);
                file.Position = offset;
                file.Write(chunk);
            }
        }

        file.Flush(flushToDisk: true);
    }

    private void Convert()
    {
        Console.WriteLine($"{"Conversion, seconds",-58} {"Vitro",10} {"qemu-img",10}");
        MakeContent(At("raw"));
        Pair("raw to dynamic VHDX", "raw", "raw", "vhdx", DiskFormat.Vhdx, "vhdx");
        Pair("dynamic VHDX to raw", "vhdx", "vhdx", "raw2", DiskFormat.Raw, "raw");
        Pair("dynamic VHDX to dynamic VHD", "vhdx", "vhdx", "vhd", DiskFormat.Vhd, "vpc");

        void Pair(string what, string from, string fromFormat, string to, DiskFormat format, string toFormat)
        {
            var options = new DiskCreateOptions
            {
                Format = format,
                Kind = format == DiskFormat.Raw ? DiskKind.Fixed : DiskKind.Dynamic,
                Sparse = true,
                Overwrite = true,
            };
            var ours = Best(() => DiskConversion.Convert(At(from), At(to), options));
            var durable = Best(() => Tool("convert", "-m", "8", "-W", "-t", "writeback", "-f", fromFormat, "-O", toFormat, At(from), At("other")));
            File.Delete(At("other"));
            var fast = Best(() => Tool("convert", "-m", "8", "-W", "-f", fromFormat, "-O", toFormat, At(from), At("other")));
            File.Delete(At("other"));
            Line(what + ", both durable", ours, durable, "s", "goal at most 0.80");
            options = options with { SkipSync = true };
            ours = Best(() => DiskConversion.Convert(At(from), At(to), options));
            Line(what + ", neither durable", ours, fast, "s", "goal at most 0.80");
        }
    }

    private void Requests()
    {
        Console.WriteLine($"{"Requests, thousand a second",-58} {"Vitro",10} {"qemu-img",10}");
        foreach (var allocated in new[] { true, false })
        {
            foreach (var (size, count) in new[] { (4096, 20_000), (Megabyte, 500) })
            {
                foreach (var depth in new[] { 1, 32 })
                {
                    foreach (var write in new[] { false, true })
                    {
                        Request(size, count, depth, write, allocated);
                    }
                }
            }
        }
    }

    private void Request(int size, int count, int depth, bool write, bool allocated)
    {
        // qemu-img bench strides; a stride that shares no factor with the size visits the disk in no local order.
        var step = size == 4096 ? 4096L * 10_007 : size;
        Fresh(At("io.vhdx"), allocated, DiskFormat.Vhdx);
        var other = Time(() => Bench(At("io.vhdx"), "vhdx"));
        Fresh(At("io.vhdx"), allocated, DiskFormat.Vhdx);
        var ours = Time(() => Drive(At("io.vhdx"), size, count, depth, write, step));
        var what = $"{(write ? "write" : "read")} {(size == 4096 ? "random 4 KiB" : "sequential 1 MiB")}, depth {depth}, {(allocated ? "allocated" : "unallocated")}";
        Line(what, count / ours / 1000, count / other / 1000, "k/s", "goal at least 1.00");
        if (allocated)
        {
            Fresh(At("io.raw"), allocated, DiskFormat.Raw);
            var raw = Time(() => Drive(At("io.raw"), size, count, depth, write, step));
            Line("  of the same on the raw file", count / ours / 1000, count / raw / 1000, "k/s", "goal at least 0.85");
        }

        double Time(Func<double> act) => Enumerable.Range(0, allocated ? Rounds : 1).Min(_ => act());

        double Bench(string path, string format)
        {
            var arguments = new List<string> { "bench", "-c", $"{count}", "-d", $"{depth}", "-s", $"{size}", "-S", $"{step}", "-f", format };
            if (write)
            {
                arguments.Add("-w");
            }

            using var process = Process.Start(
                new ProcessStartInfo("qemu-img", [.. arguments, path]) { RedirectStandardOutput = true, UseShellExecute = false })!;
            var output = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            var seconds = output[(output.IndexOf("completed in", StringComparison.Ordinal) + 12)..].Trim().Split(' ')[0];
            return double.Parse(seconds, CultureInfo.InvariantCulture);
        }
    }

    private static double Drive(string path, int size, int count, int depth, bool write, long step)
    {
        var disk = DiskFactory.Open(path);
        var left = count;
        long next = 0;
        var watch = Stopwatch.StartNew();
        Task.WaitAll(Enumerable.Range(0, depth).Select(_ => Loop()).ToArray());
        var seconds = watch.Elapsed.TotalSeconds;
        disk.DisposeAsync().AsTask().GetAwaiter().GetResult();
        return seconds;

        async Task Loop()
        {
            ReadOnlyMemory<Memory<byte>> buffers = new Memory<byte>[] { new byte[size] };
            while (Interlocked.Decrement(ref left) >= 0)
            {
                var offset = (Interlocked.Add(ref next, step) - step) % IoLength;
                offset = Math.Min(offset, IoLength - size);
                if (write)
                {
                    await disk.WriteAsync(offset, buffers);
                }
                else
                {
                    await disk.ReadAsync(offset, buffers);
                }
            }
        }
    }

    private static void Fresh(string path, bool allocated, DiskFormat format)
    {
        DiskFactory.Create(path, new DiskCreateOptions
        {
            Format = format,
            Kind = format == DiskFormat.Raw ? DiskKind.Fixed : DiskKind.Dynamic,
            Length = IoLength,
            Sparse = true,
            Overwrite = true,
        });
        if (allocated)
        {
            _ = Drive(path, Megabyte, (int)(IoLength / Megabyte), 1, write: true, Megabyte);
        }
    }

    private void Largest()
    {
        Console.WriteLine("A dynamic VHDX of 64 TiB");
        var create = Best(() => DiskFactory.Create(At("large.vhdx"), new DiskCreateOptions { Length = 64L << 40, Overwrite = true }));
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  create {create * 1000:0.0} ms (goal under 100)"));
        long memory = 0;
        var open = Best(() =>
        {
            var before = GC.GetTotalAllocatedBytes(precise: true);
            var disk = DiskFactory.Open(At("large.vhdx"));
            memory = GC.GetTotalAllocatedBytes(precise: true) - before;
            disk.DisposeAsync().AsTask().GetAwaiter().GetResult();
        });
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  open {open * 1000:0.0} ms (goal under 50), {memory / 1024} KiB (goal under 64 MiB)"));
    }
}
