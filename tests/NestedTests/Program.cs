using System.Diagnostics;
using System.Globalization;
using Vitro.Configuration;
using Vitro.KvmTests;
using Vitro.NestedTests;
using Vitro.SystemTests;
using Vitro.WorkerProcess;

// Runs inside an emulated machine with SVM. Arguments: what to run, each "cases" (the engine's cases, "cases:TEXT" those
// whose name has the text), "boot:N" (the whole guest on N processors), "processor" (what a machine must be begun with elsewhere to go on here),
// "begin:N" (a guest on N processors, saved to /dev/vdb), "go-on:STOP:LENGTH:save|end" (with the one saved there, at that stop of its way),
// "bench:exits", "bench:boot" or "bench:disk" (against QEMU, whose files are in /peer). A line for each, and one at the end that whoever reads
// the console waits for. "serve:exits" and "serve:linux" are the machines of these.
const int Patience = 10;
const string CarriedFile = "/tmp/guest.vmrs";
var failed = 0;
foreach (var argument in args)
{
    var parts = argument.Split(':');
    switch (parts[0])
    {
        case "cases":
            foreach (var (name, body) in KvmCases.All.Where(one => parts.Length == 1 || one.Name.Contains(parts[1], StringComparison.Ordinal)))
            {
                await RunAsync(name, () => Task.Run(body));
            }

            break;
        case "boot":
            var processors = int.Parse(parts[1], CultureInfo.InvariantCulture);
            await RunAsync($"the guest boots bound on {processors} processors", () => MachineBodies.BootsBoundAndShutsDownAsync(Guest(processors), Patience));
            break;
        case "processor":
            Console.WriteLine("PROCESSOR " + EngineCatalog.PortableProcessor(EngineCatalog.All[0]));
            break;
        case "begin":
            var first = int.Parse(parts[1], CultureInfo.InvariantCulture);
            await RunAsync($"a guest begins on {first} processors", async () =>
                HandOver(await MovingBodies.BeginsAsync(Guest(first), CarriedFile, TellStep, Patience)));
            break;
        case "go-on":
            TellStep("takes over");
            TakeOver(long.Parse(parts[2], CultureInfo.InvariantCulture));
            var stop = new MovingStop(int.Parse(parts[1], CultureInfo.InvariantCulture), CarriedFile, EngineChoice.Kvm, parts[3] == "end", "/dev/vda");
            await RunAsync($"a guest goes on at stop {stop.Number}", async () => HandOver(await MovingBodies.GoesOnAsync(stop, TellStep, Patience)));
            break;
        case "bench":
            await RunAsync($"the benchmark of {parts[1]} against QEMU", parts[1] switch
            {
                "exits" => PeerBenchmark.RunExitsAsync,
                "boot" => PeerBenchmark.RunBootAsync,
                _ => PeerBenchmark.RunDiskAsync,
            });
            break;
        case "serve":
            await ServedMachine.RunAsync(parts[1] == "exits" ? Exits() : Guest(1));
            return 0;
        default:
            Console.WriteLine($"CASE FAIL '{argument}' is nothing to run");
            failed++;
            break;
    }
}

Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"CASES DONE failed {failed}"));
return failed == 0 ? 0 : 1;

async Task RunAsync(string name, Func<Task> body)
{
    var started = Stopwatch.GetTimestamp();
    try
    {
        await body();
        var milliseconds = (long)Stopwatch.GetElapsedTime(started).TotalMilliseconds;
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"CASE ok {name} ({milliseconds} ms)"));
    }
    catch (Exception error)
    {
        // A case's top: every failure is reported and the next case runs.
        failed++;
        Console.WriteLine($"CASE FAIL {name}: {error.ToString().ReplaceLineEndings(" | ")}");
    }
}

// A saved guest comes and goes on the second disk, as many bytes as are told.
static void TakeOver(long length)
{
    using var carried = File.OpenHandle("/dev/vdb");
    using var file = File.OpenHandle(CarriedFile, FileMode.Create, FileAccess.Write);
    var buffer = new byte[1 << 20];
    for (long done = 0, count; done < length; done += count)
    {
        count = RandomAccess.Read(carried, buffer.AsSpan(0, (int)Math.Min(buffer.Length, length - done)), done);
        RandomAccess.Write(file, buffer.AsSpan(0, (int)count), done);
    }
}

static void HandOver(long length)
{
    if (length > 0)
    {
        using var file = File.OpenRead(CarriedFile);
        using var carried = new FileStream("/dev/vdb", FileMode.Open, FileAccess.Write);
        file.CopyTo(carried);
        carried.Flush(flushToDisk: true);
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"CARRIED {length}"));
    }
}

static void TellStep(string line) => Console.WriteLine("STEP " + line);

static VirtualMachineDefinition Exits() => new()
{
    Name = "exits",
    MemoryBytes = 64 << 20,
    Engine = EngineChoice.Kvm,
    Boot = new LinuxBootDefinition { Kernel = "/peer/exits.elf" },
    HasDebugExit = true,
};

// The disk is thrown away with the emulated machine, so every boot finds it as the one before left it.
static VirtualMachineDefinition Guest(int processors) => new()
{
    Name = $"guest{processors}",
    MemoryBytes = 512 << 20,
    ProcessorCount = processors,
    Engine = EngineChoice.Kvm,
    Boot = new LinuxBootDefinition { Kernel = "/guest/vmlinuz", Initrd = ["/guest/initrd.img"], CommandLine = "console=ttyS0 quiet panic=-1" },
    Disks = [new DiskDefinition("/dev/vda")],
};
