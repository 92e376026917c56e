using System.Diagnostics;
using Microsoft.Extensions.Logging.Abstractions;
using Spectre.Console;
using Vitro.Configuration;
using Vitro.WorkerProcess;
using Vitro.WorkerProcess.Saving;

namespace Vitro.Benchmarks;

/// <summary>
/// A booted guest of 512 MiB saved and restored: the time to restore against reading the same file, in turn, from the storage
/// and from the host's page cache; the processor time of both; the time to save against writing the same bytes durably; the
/// file's size.
/// </summary>
internal static class SaveBenchmark
{
    private const int Runs = 9;
    private const int Block = 1 << 20;
    private const double MiB = 1 << 20;
    private static readonly TimeSpan BootLimit = TimeSpan.FromMinutes(5);

    internal static async Task<int> RunAsync(CancellationToken cancellationToken)
    {
        var image = await GuestImage.MakeAsync(cancellationToken);
        var disk = image.CopyDisk();
        var folder = Directory.CreateTempSubdirectory("vitro-bench-").FullName;
        try
        {
            return await MeasureAsync(image, disk, Path.Combine(folder, "machine.vmrs"), cancellationToken);
        }
        finally
        {
            File.Delete(disk);
            Directory.Delete(folder, recursive: true);
        }
    }

    private static async Task<int> MeasureAsync(GuestImage image, string disk, string file, CancellationToken cancellationToken)
    {
        Console.WriteLine("save: booting the guest");
        List<double> save = [], write = [], cold = [], coldRead = [], warm = [], warmRead = [], work = [], workRead = [];
        var machine = await BootAsync(image.Define(disk), cancellationToken);
        for (var run = 1; run <= Runs; run++)
        {
            save.Add(await SaveAsync(machine, file));
            await machine.DisposeAsync();
            write.Add(WriteAgain(file));

            // Restored machines are let go unstarted: nothing changes the disk, so that the file stays good.
            coldRead.Add(Forget(file, Read));
            cold.Add(Forget(file, Restore));
            var before = Environment.CpuUsage.TotalTime;
            warmRead.Add(Read(file));
            var between = Environment.CpuUsage.TotalTime;
            warm.Add(Restore(file));
            workRead.Add((between - before).TotalMilliseconds);
            work.Add((Environment.CpuUsage.TotalTime - between).TotalMilliseconds);
            AnsiConsole.WriteLine(
                $"save {run}/{Runs}: {save[^1]:0} ms; restore {cold[^1]:0} ms, reading {coldRead[^1]:0} ms; cached {warm[^1]:0} ms, reading {warmRead[^1]:0} ms");
            machine = Build(file, new Listener());
            machine.Start();
        }

        await machine.DisposeAsync();
        var size = new FileInfo(file).Length;
        BenchmarkReport.Publish(
            "save",
            [
                new Measure("restore, file on the storage", "ms", MeasureKind.Cost, cold, coldRead, "reading it"),
                new Measure("restore, file in the page cache", "ms", MeasureKind.Cost, warm, warmRead, "reading it"),
                new Measure("restore, processor time", "ms", MeasureKind.Cost, work, workRead, "reading it"),
                new Measure("save", "ms", MeasureKind.Cost, save, write, "writing as many bytes, durably"),
                new Measure("file", "MiB", MeasureKind.Cost, [size / MiB], [GuestImage.MemoryBytes / MiB], "the guest's RAM"),
            ]);
        return 0;
    }

    private static async Task<VirtualMachine> BootAsync(VirtualMachineDefinition definition, CancellationToken cancellationToken)
    {
        var listener = new Listener();
        var machine = VirtualMachine.Create(definition, new VirtualMachineHost { Serial = listener, Log = NullLogger.Instance });
        machine.Start();
        await listener.Shell.WaitAsync(BootLimit, TimeProvider.System, cancellationToken);
        return machine;
    }

    private static async Task<double> SaveAsync(VirtualMachine machine, string file)
    {
        var started = Stopwatch.GetTimestamp();
        await machine.SaveAsync(file);
        return Stopwatch.GetElapsedTime(started).TotalMilliseconds;
    }

    private static double WriteAgain(string file)
    {
        var bytes = File.ReadAllBytes(file);
        var copy = file + ".copy";
        var started = Stopwatch.GetTimestamp();
        using (var target = File.OpenHandle(copy, FileMode.Create, FileAccess.Write))
        {
            RandomAccess.Write(target, bytes, 0);
            RandomAccess.FlushToDisk(target);
        }

        var time = Stopwatch.GetElapsedTime(started).TotalMilliseconds;
        File.Delete(copy);
        return time;
    }

    private static double Restore(string file)
    {
        var started = Stopwatch.GetTimestamp();
        var machine = Build(file, new Listener());
        var time = Stopwatch.GetElapsedTime(started).TotalMilliseconds;
        machine.DisposeAsync().AsTask().GetAwaiter().GetResult();
        return time;
    }

    private static VirtualMachine Build(string file, Listener listener)
    {
        using var saved = SavedMachine.Open(file);
        return VirtualMachine.Restore(saved, saved.Definition, new VirtualMachineHost { Serial = listener, Log = NullLogger.Instance });
    }

    private static double Read(string file)
    {
        var buffer = new byte[Block];
        var started = Stopwatch.GetTimestamp();
        using var handle = File.OpenHandle(file);
        for (long offset = 0, count; (count = RandomAccess.Read(handle, buffer, offset)) > 0; offset += count)
        {
        }

        return Stopwatch.GetElapsedTime(started).TotalMilliseconds;
    }

    /// <summary>Measures with the file out of the page cache.</summary>
    private static double Forget(string file, Func<string, double> measure)
    {
        using var dd = Process.Start(new ProcessStartInfo("dd", [$"if={file}", "iflag=nocache", "count=0", "status=none"]))!;
        dd.WaitForExit();
        return measure(file);
    }

    private sealed class Listener : ISerialEnd
    {
        private readonly TaskCompletionSource _shell = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private readonly System.Text.StringBuilder _text = new();

        internal Task Shell => _shell.Task;

        public void Write(ReadOnlySpan<byte> data)
        {
            _text.Append(System.Text.Encoding.Latin1.GetString(data));
            if (_text.ToString().Contains("VITRO-SHELL", StringComparison.Ordinal))
            {
                _shell.TrySetResult();
            }
        }
    }
}
