using Microsoft.Win32.SafeHandles;
using Vitro.Configuration;
using Vitro.Foundation;
using static Vitro.WorkerProcess.Saving.SavedMachineFormat;

namespace Vitro.WorkerProcess.Saving;

/// <summary>The file of a saved machine, open for reading. The file may come from anybody: all of it is checked before it is used.</summary>
/// <remarks>One thread at a time. The file must not be changed while it is open, nor until the machine's memory is filled; what is changed is found by its checksum.</remarks>
public sealed class SavedMachine : IDisposable, IInspectable
{
    private readonly SharedFile _file;
    private readonly Dictionary<string, RecordEntry> _records = new(StringComparer.Ordinal);
    private readonly SavedDefinition _saved;

    private SavedMachine(string path, SafeFileHandle file)
    {
        Path = path;
        _file = new SharedFile(file);
        var length = RandomAccess.GetLength(file);
        var header = new byte[HeaderSize];
        var got = FileReader.ReadFully(file, header, 0);
        ReadDirectory(SavedMachineHeader.Read(header.AsSpan(0, got), length), length);
        _saved = SavedDefinition.Read(ReadRecord(Record.Machine, SavedDefinition.Version));
    }

    /// <summary>The file.</summary>
    public string Path { get; }

    /// <summary>What the machine is made of. A restore may take another name, engine and paths of disks, and nothing else.</summary>
    public VirtualMachineDefinition Definition => _saved.Definition;

    /// <summary>When it was saved.</summary>
    public DateTimeOffset SavedAt => _saved.SavedAt;

    /// <summary>Name of the engine it ran on.</summary>
    public string EngineName => _saved.EngineName;

    /// <summary>Clock and time stamp counter at the time of saving.</summary>
    internal SavedDefinition Saved => _saved;

    /// <summary>Opens a file and reads what the machine is made of.</summary>
    /// <exception cref="SavedStateException">The file cannot be read, is no saved machine, is damaged, or is a later build's.</exception>
    public static SavedMachine Open(string path)
    {
        SafeFileHandle file;
        try
        {
            file = File.OpenHandle(path, options: FileOptions.SequentialScan);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new SavedStateException(error.Message);
        }

        try
        {
            return new SavedMachine(path, file);
        }
        catch (IOException error)
        {
            file.Dispose();
            throw new SavedStateException(error.Message);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    /// <inheritdoc/>
    public void Inspect(InspectNode node)
    {
        node.Value("name", Definition.Name)
            .Value("state", "Saved")
            .Value("savedAt", SavedAt.ToString("O", System.Globalization.CultureInfo.InvariantCulture))
            .Value("engine", EngineName)
            .Value("memory", ByteSize.Format(Definition.MemoryBytes))
            .Value("processors", Definition.ProcessorCount)
            .Value("uptimeNanoseconds", _saved.Nanoseconds)
            .Value("fileBytes", RandomAccess.GetLength(_file.Handle));
        var disks = node.Child("disks");
        foreach (var (index, disk) in Definition.Disks.Index())
        {
            disks.Value(index.ToString(System.Globalization.CultureInfo.InvariantCulture), disk.Path);
        }

        var records = node.Child("records");
        foreach (var (name, record) in _records)
        {
            records.Child(name.Replace('/', '.')).Value("version", record.Version).Value("bytes", record.Length);
        }
    }

    /// <summary>Refuses a file with a record that must be understood and is not known here.</summary>
    /// <exception cref="SavedStateException">There is one.</exception>
    internal void RequireKnown(IReadOnlySet<string> known)
    {
        foreach (var (name, record) in _records)
        {
            if (record.IsRequired && !known.Contains(name))
            {
                throw new SavedStateException($"The machine has a part '{name}' that this build does not know. Use a later build.");
            }
        }
    }

    internal bool HasRecord(string name) => _records.ContainsKey(name);

    /// <summary>Reads a record.</summary>
    /// <exception cref="SavedStateException">It is missing, damaged, or of a later version.</exception>
    internal SavedStateReader ReadRecord(string name, int supportedVersion)
    {
        if (!_records.TryGetValue(name, out var record))
        {
            throw new SavedStateException($"The record '{name}' is missing.");
        }

        if (record.Version > (uint)supportedVersion)
        {
            throw new SavedStateException(
                $"The record '{name}' has version {record.Version}; this build reads up to version {supportedVersion}. Use a later build.");
        }

        return new SavedStateReader(ReadContent(name, record));
    }

    /// <summary>What memory held. It reads the file after this object is disposed, too.</summary>
    /// <param name="size">Bytes of RAM that the machine has.</param>
    /// <exception cref="SavedStateException">Its table is damaged, or belongs to a machine with other memory.</exception>
    internal SavedMemory ReadMemory(ulong size) => SavedMemory.Read(_file, ReadRecord(Record.Memory, 1), size);

    /// <summary>Every record with its content, in the order they were written.</summary>
    internal IEnumerable<(string Name, byte[] Content)> ReadRecords() =>
        _records.OrderBy(static record => record.Value.Offset).Select(record => (record.Key, ReadContent(record.Key, record.Value)));

    private byte[] ReadContent(string name, RecordEntry record)
    {
        var bytes = new byte[record.Length];
        return FileReader.ReadFully(_file.Handle, bytes, record.Offset) == bytes.Length && Crc32C.Compute(bytes) == record.Checksum
            ? bytes
            : throw new SavedStateException($"The record '{name}' is damaged: its checksum is wrong.");
    }

    private void ReadDirectory(SavedMachineHeader header, long fileLength)
    {
        var bytes = new byte[header.DirectoryLength];
        if (FileReader.ReadFully(_file.Handle, bytes, header.DirectoryOffset) != bytes.Length || Crc32C.Compute(bytes) != header.DirectoryChecksum)
        {
            throw new SavedStateException("The directory is damaged: its checksum is wrong.");
        }

        foreach (var group in new SavedStateReader(bytes).Groups(DirectoryTag.Record))
        {
            var name = group.Text(DirectoryTag.Name) ?? "";
            var offset = group.UInt64(DirectoryTag.Offset);
            var length = group.UInt64(DirectoryTag.Length);
            if (length > MaximumRecord || offset > (ulong)fileLength || length > (ulong)fileLength - offset)
            {
                throw new SavedStateException($"The record '{name}' is not inside the file.");
            }

            var entry = new RecordEntry(
                group.UInt32(DirectoryTag.Version), group.Bool(DirectoryTag.Required), (long)offset, (int)length, group.UInt32(DirectoryTag.Checksum));
            if (!_records.TryAdd(name, entry))
            {
                throw new SavedStateException($"The record '{name}' is there twice.");
            }
        }
    }

    private readonly record struct RecordEntry(uint Version, bool IsRequired, long Offset, int Length, uint Checksum);
}
