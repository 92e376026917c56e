using System.Diagnostics;
using System.Globalization;
using Vitro.Configuration;
using Vitro.KvmTests;
using Vitro.NestedTests;
using Vitro.SystemTests;

// Runs inside an emulated machine with SVM. Arguments: what to run, each "cases" (the engine's cases, "cases:TEXT" those
// whose name has the text), "boot:N" (the whole guest on N processors) or "move:N:ENGINE" (the guest begun on that engine,
// saved and gone on with under the other one, and back), "bench:exits", "bench:boot" or "bench:disk" (against QEMU, whose files are in /peer). A line for each, and
// one at the end that whoever reads the console waits for. "serve:exits" and "serve:linux" are the machines of these.
var failed = 0;
foreach (var argument in args)
{
    var parts = argument.Split(':', 3);
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
            await RunAsync($"the guest boots bound on {processors} processors", () => MachineBodies.BootsBoundAndShutsDownAsync(Guest(processors), patience: 10));
            break;
        case "move":
            var moved = int.Parse(parts[1], CultureInfo.InvariantCulture);
            var first = Enum.Parse<EngineChoice>(parts[2], ignoreCase: true);
            var second = first == EngineChoice.Kvm ? EngineChoice.Software : EngineChoice.Kvm;

            // The emulator is several times slower with code that is made while it runs than with the interpreter's.
            Environment.SetEnvironmentVariable("VITRO_TRANSLATE", "off");
            await RunAsync($"the guest moves from {parts[2]} to the other engine and back on {moved} processors", () => MovingBodies.GoesOnInTheMiddleOfDiskWritesAsync(
                Guest(moved) with { Engine = first }, "/tmp/guest.vmrs", [second, first], _ => null, line => Console.WriteLine("STEP " + line), patience: 10));
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
