using Vitro.Benchmarks;

switch (args.FirstOrDefault())
{
    case "interpreter":
        InterpreterBenchmark.Run(TimeSpan.FromSeconds(2));
        return 0;
    default:
        await Console.Error.WriteLineAsync("Benchmarks: interpreter");
        return 1;
}
