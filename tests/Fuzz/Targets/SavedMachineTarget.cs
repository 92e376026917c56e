using System.Buffers.Binary;
using Microsoft.Extensions.Logging.Abstractions;
using Vitro.Configuration;
using Vitro.WorkerProcess;
using Vitro.WorkerProcess.Saving;

namespace Vitro.Fuzz.Targets;

/// <summary>
/// A saved machine with its records changed under right checksums: it is refused, or it runs and ends by its own rules. A
/// change is a record's number, a place in it (u16, from the end when the top bit is set) and a byte; a place of 7FFFh cuts
/// the record to as many bytes.
/// </summary>
internal sealed class SavedMachineTarget : IFuzzTarget, IDisposable
{
    private const int MostChanges = 12;
    private const int Cut = 0x7FFF;

    private readonly string _folder = Directory.CreateTempSubdirectory("vitro-fuzz-").FullName;
    private readonly (string Name, byte[] Content)[] _records;
    private readonly byte[] _memory;
    private readonly VirtualMachineHost _host = new() { Serial = new NoSerial(), Log = NullLogger.Instance };

    internal SavedMachineTarget()
    {
        var template = Path.Combine(_folder, "template.vmrs");
        MakeTemplateAsync(template).GetAwaiter().GetResult();
        using var saved = SavedMachine.Open(template);
        _records = [.. saved.ReadRecords()];

        // The memory chunks come first in the file and keep their places.
        _memory = File.ReadAllBytes(template)[SavedMachineFormat.HeaderSize..];
    }

    public string Name => "saved-machine";

    public void Run(ReadOnlySpan<byte> input)
    {
        var records = _records.ToDictionary(record => record.Name, record => record.Content.ToArray(), StringComparer.Ordinal);
        var fuzz = new FuzzInput(input);
        for (var change = 0; change < MostChanges && !fuzz.IsEmpty; change++)
        {
            var name = _records[fuzz.Byte() % _records.Length].Name;
            var content = records[name];
            var place = (int)(fuzz.UInt32() & 0xFFFF);
            var value = fuzz.Byte();
            if (place == Cut)
            {
                records[name] = content[..Math.Min(content.Length, value)];
            }
            else if (content.Length > 0)
            {
                content[(place & 0x8000) != 0 ? content.Length - 1 - (place & 0x7FFF) % content.Length : place % content.Length] = value;
            }
        }

        var path = Path.Combine(_folder, "changed.vmrs");
        using (var file = SavedMachineWriter.Create(path))
        {
            file.Append(_memory);
            foreach (var (name, _) in _records)
            {
                file.AddRecord(name, 1, isRequired: true, records[name]);
            }

            file.Seal();
            file.Publish();
        }

        RestoreAsync(path).GetAwaiter().GetResult();
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private async Task RestoreAsync(string path)
    {
        VirtualMachine machine;
        try
        {
            using var saved = SavedMachine.Open(path);
            DefinitionValidator.Validate(saved.Definition, 64 << 20, isRestored: true);
            machine = VirtualMachine.Restore(saved, saved.Definition, _host);
        }
        catch (Exception error) when (error is Vitro.Foundation.SavedStateException or DefinitionException)
        {
            return;
        }

        await using (machine)
        {
            machine.Start();
            machine.TurnOff();
            if (await machine.Ended is { Kind: MachineEndKind.InternalError } end)
            {
                throw new InvalidOperationException(end.Detail);
            }
        }
    }

    // A multiboot kernel that counts for ever with interrupts on.
    private async Task MakeTemplateAsync(string path)
    {
        const uint Address = 0x10_0000;
        var image = new byte[64];
        uint[] header =
        [
            0x1BAD_B002, 0x1_0000, unchecked(0u - 0x1BAD_B002 - 0x1_0000), Address, Address, Address + 64, Address + 64, Address + 32,
        ];
        for (var i = 0; i < header.Length; i++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(image.AsSpan(i * 4), header[i]);
        }

        // inc dword [200000h]; jmp to it
        byte[] code = [0xFF, 0x05, 0, 0, 0x20, 0, 0xEB, 0xF8];
        code.CopyTo(image, 32);
        var kernel = Path.Combine(_folder, "kernel.elf");
        await File.WriteAllBytesAsync(kernel, image);
        await using var machine = VirtualMachine.Create(
            new VirtualMachineDefinition
            {
                Name = "fuzz",
                MemoryBytes = 16 << 20,
                ProcessorCount = 2,
                Engine = EngineChoice.Software,
                Boot = new LinuxBootDefinition { Kernel = kernel },
            },
            _host);
        machine.Start();
        await machine.SaveAsync(path);
        await machine.Ended;
    }

    private sealed class NoSerial : ISerialEnd
    {
        public void Write(ReadOnlySpan<byte> data)
        {
            // Nobody listens.
        }
    }
}
