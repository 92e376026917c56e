using Microsoft.Extensions.Logging.Abstractions;
using Vitro.Configuration;
using Vitro.WorkerProcess;

namespace Vitro.NestedTests;

/// <summary>A machine in a process of its own, its serial port on standard input and output.</summary>
internal static class ServedMachine
{
    internal static async Task RunAsync(VirtualMachineDefinition definition)
    {
        await using var output = Console.OpenStandardOutput();
        await using var input = Console.OpenStandardInput();
        await using var machine = VirtualMachine.Create(definition, new VirtualMachineHost { Serial = new Output(output), Log = NullLogger.Instance });
        machine.Start();
        _ = TypeAsync(input, machine);
        await machine.Ended;
    }

    private static async Task TypeAsync(Stream input, VirtualMachine machine)
    {
        var buffer = new byte[256];
        for (int count; (count = await input.ReadAsync(buffer)) > 0;)
        {
            await machine.ReceiveSerialAsync(buffer.AsMemory(0, count), CancellationToken.None);
        }
    }

    private sealed class Output(Stream stream) : ISerialEnd
    {
        public void Write(ReadOnlySpan<byte> data)
        {
            stream.Write(data);
            stream.Flush();
        }
    }
}
