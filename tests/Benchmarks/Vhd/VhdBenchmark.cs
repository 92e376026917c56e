using System.Diagnostics;
using System.Globalization;
using Vitro.Storage;

namespace Vitro.Benchmarks.Vhd;

/// <summary>Virtual hard disks against qemu-img: the same files, the same machine, one run.</summary>
/// <remarks>
/// The files are on the file system of the temporary folder (TMPDIR). qemu-img's times include the start of its process, some ten
/// milliseconds; conversions are timed with and without making the result durable, which qemu-img by default does not.
/// </remarks>
internal sealed partial class VhdBenchmark : IDisposable
{
    private const int Megabyte = 1 << 20;
    private const long ContentLength = 512L * Megabyte;
    private const long IoLength = 256L * Megabyte;
    private const double ConversionGoal = 0.8;
    private const double RawGoal = 1.15;

    internal static readonly IReadOnlyList<string> AllParts = ["convert", "reads", "writes", "tracking", "largest"];

    private readonly List<Measure> _measures = [];
    private readonly int _rounds;
    private readonly string _folder = Directory.CreateTempSubdirectory("vitro-bench-vhd-").FullName;

    private VhdBenchmark(int rounds) => _rounds = rounds;

    internal static int Run(BenchmarkOptions options)
    {
        using var benchmark = new VhdBenchmark(options.Rounds);
        foreach (var part in options.Parts)
        {
            switch (part)
            {
                case "convert":
                    benchmark.Convert();
                    break;
                case "reads":
                    benchmark.Requests(write: false);
                    break;
                case "writes":
                    benchmark.Requests(write: true);
                    break;
                case "tracking":
                    benchmark.Tracking();
                    break;
                case "largest":
                    benchmark.Largest();
                    break;
                default:
                    break; // another benchmark's
            }
        }

        BenchmarkReport.Publish("vhd", benchmark._measures);
        return 0;
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    /// <summary>Seconds, or requests a second, and the seconds of processor time that went with them.</summary>
    private readonly record struct Sample(double Value, double Processor);

    private static Sample Timed(Action act)
    {
        var processor = ProcessorSeconds();
        var watch = Stopwatch.StartNew();
        act();
        return new Sample(watch.Elapsed.TotalSeconds, ProcessorSeconds() - processor);
    }

    // This process and its children that have ended (proc(5), cutime and cstime, in hundredths of a second).
    private static double ProcessorSeconds()
    {
        var status = File.ReadAllText("/proc/self/stat");
        var fields = status[(status.LastIndexOf(')') + 2)..].Split(' ');
        return Environment.CpuUsage.TotalTime.TotalSeconds
            + ((long.Parse(fields[13], CultureInfo.InvariantCulture) + long.Parse(fields[14], CultureInfo.InvariantCulture)) / 100.0);
    }

    // Taking turns, so that what else the machine does meets both alike.
    private void Compare(
        string name, string unit, MeasureKind kind, double goal, Func<Sample> ours, Func<Sample> peer, string peerName)
    {
        var (one, two) = (new List<Sample>(), new List<Sample>());
        for (var i = 0; i < _rounds; i++)
        {
            two.Add(peer());
            one.Add(ours());
        }

        var measure = new Measure(name, unit, kind, Values(one), Values(two), peerName)
        {
            Target = (goal, goal),
            ProcessorRatio = Processor(one) / Processor(two),
        };
        _measures.Add(measure);
        Console.Error.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{name}: {measure.OursMedian:0.##} {unit}, {peerName} {measure.PeerMedian:0.##}, ratio {measure.Ratio:0.00}, of processor time {measure.ProcessorRatio:0.00}, goal {goal:0.00}"));

        static List<double> Values(List<Sample> samples) => [.. samples.Select(sample => sample.Value)];

        static double Processor(List<Sample> samples) => Measure.Median([.. samples.Select(sample => sample.Processor)]);
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
        MakeContent(At("raw"));
        Pair("raw to dynamic VHDX", "raw", "raw", "vhdx", DiskFormat.Vhdx, "vhdx");
        Pair("dynamic VHDX to raw", "vhdx", "vhdx", "raw2", DiskFormat.Raw, "raw");
        Pair("dynamic VHDX to dynamic VHD", "vhdx", "vhdx", "vhd", DiskFormat.Vhd, "vpc");
    }

    private void Pair(string what, string from, string fromFormat, string to, DiskFormat format, string toFormat)
    {
        foreach (var durable in new[] { false, true })
        {
            var options = new DiskCreateOptions
            {
                Format = format,
                Kind = format == DiskFormat.Raw ? DiskKind.Fixed : DiskKind.Dynamic,
                Sparse = true,
                SkipSync = !durable,
            };
            Compare(
                $"{what}, {(durable ? "durable" : "not synced")}", "s", MeasureKind.Cost, ConversionGoal,
                () =>
                {
                    File.Delete(At(to));
                    return Timed(() => DiskConversion.Convert(At(from), At(to), options));
                },
                () =>
                {
                    File.Delete(At("other"));
                    return Timed(() => Tool(
                        "convert", "-m", "8", "-W", "-t", durable ? "writeback" : "unsafe", "-f", fromFormat, "-O", toFormat, At(from), At("other")));
                },
                "qemu-img");
        }

        File.Delete(At("other"));
    }

    private void Requests(bool write)
    {
        foreach (var allocated in new[] { true, false })
        {
            foreach (var size in new[] { 4096, Megabyte })
            {
                foreach (var depth in new[] { 1, 32 })
                {
                    // Long enough that a moment's disturbance does not decide; what is allocated while it is timed cannot go on for longer.
                    var count = (size == 4096, write && !allocated) switch
                    {
                        (true, true) => 40_000,
                        (true, false) => 200_000,
                        (false, true) => 250,
                        _ => 1000,
                    };
                    Request(size, count, depth, write, allocated);
                }
            }
        }
    }

    private void Request(int size, int count, int depth, bool write, bool allocated)
    {
        // qemu-img bench strides; a stride that shares no factor with the size visits the disk in no local order.
        var step = size == 4096 ? 4096L * 10_007 : size;
        var what = $"{(write ? "write" : "read")} {(size == 4096 ? "random 4 KiB" : "sequential 1 MiB")}, depth {depth}, {(allocated ? "allocated" : "unallocated")}";
        var load = new Load(size, count, depth, write, step, IoLength);
        Fresh(At("io.vhdx"), allocated, DiskFormat.Vhdx);
        Compare(what, "1/s", MeasureKind.Rate, 1, Ours, Bench, "qemu-img bench");
        if (allocated)
        {
            CompareDisks(what, RawGoal, load, half => OpenBoth(At("io.vhdx"), At("io.raw"), half), "Vitro, raw file");
        }

        (OpenDisk One, OpenDisk Other) OpenBoth(string vhdx, string raw, int half)
        {
            FreshTogether(half == 0 ? [(vhdx, DiskFormat.Vhdx), (raw, DiskFormat.Raw)] : [(raw, DiskFormat.Raw), (vhdx, DiskFormat.Vhdx)], IoLength);
            return (new OpenDisk(vhdx, load), new OpenDisk(raw, load));
        }

        Sample Ours()
        {
            if (!allocated && write)
            {
                Fresh(At("io.vhdx"), allocated, DiskFormat.Vhdx);
            }

            return Drive(At("io.vhdx"), load);
        }

        Sample Bench()
        {
            if (!allocated && write)
            {
                Fresh(At("io.vhdx"), allocated, DiskFormat.Vhdx);
            }

            var arguments = new List<string> { "bench", "-c", $"{count}", "-d", $"{depth}", "-s", $"{size}", "-S", $"{step}", "-f", "vhdx" };
            if (write)
            {
                arguments.Add("-w");
            }

            var processor = ProcessorSeconds();
            using var process = Process.Start(
                new ProcessStartInfo("qemu-img", [.. arguments, At("io.vhdx")]) { RedirectStandardOutput = true, UseShellExecute = false })!;
            var output = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            var seconds = output[(output.IndexOf("completed in", StringComparison.Ordinal) + 12)..].Trim().Split(' ')[0];
            return new Sample(count / double.Parse(seconds, CultureInfo.InvariantCulture), ProcessorSeconds() - processor);
        }
    }

    private static Sample Drive(string path, Load load)
    {
        using var disk = new OpenDisk(path, load);
        var sample = disk.Run(load.Count);
        return sample with { Value = load.Count / sample.Value };
    }

    private static void Fresh(string path, bool allocated, DiskFormat format, long length = IoLength)
    {
        Create(path, format, length);
        if (allocated)
        {
            _ = Drive(path, new Load(Megabyte, (int)(length / Megabyte), Depth: 1, Write: true, Megabyte, length));
        }
    }

    // Disks that are to be compared with each other are filled in turns, a piece of each. The kernel finds the one page among a large
    // folio's through a list, which costs three times as much where the list's memory is scattered: of two files filled one after the
    // other the first takes the scattered memory that its forerunner left and is the slower one, whatever is in it.
    private static void FreshTogether((string Path, DiskFormat Format)[] disks, long length)
    {
        foreach (var (path, _) in disks)
        {
            File.Delete(path);
        }

        foreach (var (path, format) in disks)
        {
            Create(path, format, length);
        }

        var fill = new Load(Megabyte, (int)(length / Megabyte), Depth: 1, Write: true, Megabyte, length);
        var open = disks.Select(disk => new OpenDisk(disk.Path, fill)).ToList();
        for (var piece = 0; piece < fill.Count; piece++)
        {
            open.ForEach(disk => disk.Run(1));
        }

        open.ForEach(disk => disk.Dispose());
    }

    private static void Create(string path, DiskFormat format, long length) => DiskFactory.Create(path, new DiskCreateOptions
    {
        Format = format,
        Kind = format == DiskFormat.Raw ? DiskKind.Fixed : DiskKind.Dynamic,
        Length = length,
        Sparse = true,
        Overwrite = true,
    });

    private void Largest()
    {
        var large = At("large.vhdx");
        var create = new List<double>();
        var open = new List<double>();
        var memory = new List<double>();
        for (var i = 0; i < _rounds; i++)
        {
            create.Add(1000 * Timed(() => DiskFactory.Create(large, new DiskCreateOptions { Length = 64L << 40, Overwrite = true })).Value);
            var before = GC.GetTotalAllocatedBytes(precise: true);
            open.Add(1000 * Timed(() => DiskFactory.Open(large).DisposeAsync().AsTask().GetAwaiter().GetResult()).Value);
            memory.Add((GC.GetTotalAllocatedBytes(precise: true) - before) / 1024.0);
        }

        _measures.Add(new Measure("create a dynamic VHDX of 64 TiB (goal 100)", "ms", MeasureKind.Cost, create, [], null));
        _measures.Add(new Measure("open it (goal 50)", "ms", MeasureKind.Cost, open, [], null));
        _measures.Add(new Measure("memory for that (goal 65,536)", "KiB", MeasureKind.Cost, memory, [], null));
    }
}
