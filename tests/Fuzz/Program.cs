using SharpFuzz;
using Vitro.Fuzz.Targets;

// Usage: Vitro.Fuzz TARGET                  one input on standard input at a time, under afl-fuzz
//        Vitro.Fuzz TARGET FILE…            runs files, to reproduce
//        Vitro.Fuzz TARGET --random N SEED  runs N random inputs; needs no fuzzer
IFuzzTarget[] targets = [new VmBusMessagesTarget(), new VmBusRingTarget(), new StorvspTarget(), new DiskImageTarget(), new SavedMachineTarget()];
var target = args.Length > 0 ? Array.Find(targets, target => target.Name == args[0]) : null;
if (target is null)
{
    await Console.Error.WriteLineAsync($"Name a target: {string.Join(", ", targets.Select(target => target.Name))}.");
    return 2;
}

if (args is [_, "--random", var count, var seed])
{
    RandomInputs.Run(target, int.Parse(count), int.Parse(seed));
}
else if (args.Length > 1)
{
    foreach (var file in args[1..])
    {
        target.Run(await File.ReadAllBytesAsync(file));
    }
}
else
{
    Fuzzer.OutOfProcess.Run(stream =>
    {
        using var memory = new MemoryStream();
        stream.CopyTo(memory);
        target.Run(memory.GetBuffer().AsSpan(0, (int)memory.Length));
    });
}

return 0;
