using System.CommandLine;
using System.Globalization;
using Vitro.Configuration;
using Vitro.Configuration.Control;

namespace Vitro.Cli.Run;

/// <summary><c>vitro run</c>: a machine in the foreground.</summary>
internal static class RunCommand
{
    internal static Command Create()
    {
        var name = new Option<string>("--name") { Description = "Name of the machine.", DefaultValueFactory = _ => FreeName() };
        var kernel = new Option<string?>("--kernel")
        {
            Description = "Kernel to boot: a Linux bzImage, or an ELF file with a PVH or multiboot-1 entry.",
        };
        var restore = new Option<string?>("--restore") { Description = "Saved machine to go on from, instead of booting a kernel." };
        var acceptDisks = new Option<bool>("--accept-changed-disks")
        {
            Description = "Go on from a saved machine although its disks have been written since. The guest may destroy what is on them.",
        };
        var initrd = new Option<string[]>("--initrd")
        {
            Description = "Initial RAM disk, or a multiboot module (repeatable).",
            DefaultValueFactory = _ => [],
        };
        var append = new Option<string>("--append") { Description = "Kernel command line.", DefaultValueFactory = _ => "" };
        var disk = new Option<string[]>("--disk")
        {
            Description = "Disk image on the synthetic SCSI controller (repeatable; FILE or FILE,ro).",
            DefaultValueFactory = _ => [],
        };
        var memory = new Option<string>("--memory") { Description = "RAM, for example 512M or 2G.", DefaultValueFactory = _ => "1G" };
        var backing = new Option<string>("--memory-backing")
        {
            Description = "What the host backs the RAM with: ordinary, large-pages (reserved 2 MiB pages) or locked (never swapped).",
            DefaultValueFactory = _ => "ordinary",
        };
        var processors = new Option<string>("--processors")
        {
            Description = "Number of virtual processors.",
            DefaultValueFactory = _ => "1",
        };
        var engine = new Option<string>("--engine") { Description = "auto, kvm or software.", DefaultValueFactory = _ => "auto" };
        var cpu = new Option<string?>("--cpu") { Description = "Processor the guest sees: MODEL,-FEATURE,phys-bits=N,tsc-frequency=HZ." };
        var serial = new Option<string>("--serial")
        {
            Description = "First serial port: stdio, file:PATH or socket:PATH.",
            DefaultValueFactory = _ => "stdio",
        };
        var debugExit = new Option<bool>("--debug-exit")
        {
            Description = "Add an ISA debug-exit device at port 0xf4, for test kernels.",
        };
        var statistics = new Option<bool>("--statistics") { Description = "Print what the engine did when the machine ends." };
        var check = new Option<bool>("--check")
        {
            Description = "Check the machine with nobody at the keyboard: drivers, disk, shutdown, a second boot.",
        };

        var command = new Command("run", "Run a machine in the foreground. Ctrl-] shuts its guest down.")
        {
            name, kernel, restore, acceptDisks, initrd, append, disk, memory, backing, processors, engine, cpu, serial, debugExit, statistics, check,
        };
        command.SetAction(async (result, cancellationToken) =>
        {
            try
            {
                var serialPort = SerialChoice.Parse(result.GetValue(serial)!);
                var disks = result.GetValue(disk)!.Select(ParseDisk).ToArray();
                if (result.GetValue(restore) is { } file)
                {
                    RefuseWithRestore(result, kernel, initrd, append, memory, processors, cpu, debugExit, check);
                    using var choice = RestoreChoice.Open(file, result.GetValue(acceptDisks));
                    var saved = choice.Define(
                        result.GetResult(name) is { Implicit: false } ? result.GetValue(name) : null, ParseEngine(result.GetValue(engine)!), disks);
                    saved = saved with { MemoryBacking = ParseBacking(result.GetValue(backing)!) };
                    return await ForegroundMachine.RunAsync(saved, choice, serialPort, result.GetValue(statistics), cancellationToken);
                }

                var definition = new VirtualMachineDefinition
                {
                    Name = result.GetValue(name)!,
                    MemoryBytes = ParseMemory(result.GetValue(memory)!),
                    MemoryBacking = ParseBacking(result.GetValue(backing)!),
                    ProcessorCount = ParseProcessors(result.GetValue(processors)!),
                    Engine = ParseEngine(result.GetValue(engine)!),
                    ProcessorModel = result.GetValue(cpu),
                    Boot = new LinuxBootDefinition
                    {
                        Kernel = result.GetValue(kernel)
                            ?? throw new DefinitionException("--kernel", "no kernel is given", "Name one, or a saved machine by --restore"),
                        Initrd = result.GetValue(initrd)!,
                        CommandLine = result.GetValue(append)!,
                    },
                    Disks = disks,
                    HasDebugExit = result.GetValue(debugExit),
                };
                return result.GetValue(check)
                    ? await GuestCheck.RunAsync(definition, cancellationToken)
                    : await ForegroundMachine.RunAsync(definition, null, serialPort, result.GetValue(statistics), cancellationToken);
            }
            catch (DefinitionException error)
            {
                await Console.Error.WriteLineAsync("vitro run: " + error.Message);
                return ExitCodes.BadInput;
            }
        });
        return command;
    }

    private static void RefuseWithRestore(ParseResult result, params ReadOnlySpan<Option> options)
    {
        foreach (var option in options)
        {
            if (result.GetResult(option) is { Implicit: false })
            {
                throw new DefinitionException(option.Name, "a saved machine goes on as it is", "Leave the option out");
            }
        }
    }

    private static string FreeName()
    {
        var taken = ControlSocketPath.RunningMachines().ToHashSet(StringComparer.Ordinal);
        return Enumerable.Range(1, taken.Count + 1).Select(number => number == 1 ? "vm" : $"vm-{number}").First(name => !taken.Contains(name));
    }

    private static long ParseMemory(string text) =>
        ByteSize.TryParse(text, out var bytes)
            ? bytes
            : throw new DefinitionException("--memory", $"'{text}' is no size", "Write a number with K, M, G or T, for example 1G");

    private static MemoryBacking ParseBacking(string text) => text switch
    {
        "ordinary" => MemoryBacking.Ordinary,
        "large-pages" => MemoryBacking.LargePages,
        "locked" => MemoryBacking.Locked,
        _ => throw new DefinitionException("--memory-backing", $"'{text}' is no backing of memory", "Use ordinary, large-pages or locked"),
    };

    private static int ParseProcessors(string text) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var count)
            ? count
            : throw new DefinitionException("--processors", $"'{text}' is no number", "Write a number, for example 2");

    private static EngineChoice ParseEngine(string text) => text switch
    {
        "auto" => EngineChoice.Auto,
        "kvm" => EngineChoice.Kvm,
        "software" => EngineChoice.Software,
        _ => throw new DefinitionException("--engine", $"'{text}' is no engine", "Use auto, kvm or software ('vitro doctor' explains them)"),
    };

    private static DiskDefinition ParseDisk(string text) =>
        text.EndsWith(",ro", StringComparison.Ordinal) ? new DiskDefinition(text[..^3], ReadOnly: true) : new DiskDefinition(text);
}
