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
/// <remarks>
/// Restoring is all until the machine can be started: the file opened, read and checked, disks opened, devices and processors
/// restored. Its memory is unpacked as it is touched afterwards and is not in it. Reading is the file opened and read by one
/// thread into a buffer of 1 MiB. The first of both is left out: it is our own compilation.
/// </remarks>
internal static class SaveBenchmark
{
    private const int Runs = 5;
    private const int RestoresPerRun = 5;
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
            for (var restore = run == 1 ? -1 : 0; restore < RestoresPerRun; restore++)
            {
                Cost[] costs = [Forget(file, Read), Forget(file, Restore), Read(file), Restore(file)];
                if (restore >= 0)
                {
                    coldRead.Add(costs[0].Milliseconds);
                    cold.Add(costs[1].Milliseconds);
                    warmRead.Add(costs[2].Milliseconds);
                    warm.Add(costs[3].Milliseconds);
                    workRead.Add(costs[2].ProcessorMilliseconds);
                    work.Add(costs[3].ProcessorMilliseconds);
                }
            }

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

    private static Cost Restore(string file)
    {
        var started = Cost.Now();
        var machine = Build(file, new Listener());
        var cost = Cost.Now() - started;
        machine.DisposeAsync().AsTask().GetAwaiter().GetResult();
        return cost;
    }

    private static VirtualMachine Build(string file, Listener listener)
    {
        using var saved = SavedMachine.Open(file);
        return VirtualMachine.Restore(saved, saved.Definition, new VirtualMachineHost { Serial = listener, Log = NullLogger.Instance });
    }

    private static Cost Read(string file)
    {
        var buffer = new byte[Block];
        var started = Cost.Now();
        using var handle = File.OpenHandle(file);
        for (long offset = 0, count; (count = RandomAccess.Read(handle, buffer, offset)) > 0; offset += count)
        {
        }

        return Cost.Now() - started;
    }

    /// <summary>Measures with the file out of the page cache.</summary>
    private static Cost Forget(string file, Func<string, Cost> measure)
    {
        using var dd = Process.Start(new ProcessStartInfo("dd", [$"if={file}", "iflag=nocache", "count=0", "status=none"]))!;
        dd.WaitForExit();
        return measure(file);
    }

    private readonly record struct Cost(double Milliseconds, double ProcessorMilliseconds)
    {
        internal static Cost Now() =>
            new(Stopwatch.GetElapsedTime(0).TotalMilliseconds, Environment.CpuUsage.TotalTime.TotalMilliseconds);

        public static Cost operator -(Cost end, Cost start) =>
            new(end.Milliseconds - start.Milliseconds, end.ProcessorMilliseconds - start.ProcessorMilliseconds);
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
