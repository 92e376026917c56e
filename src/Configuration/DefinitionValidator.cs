namespace Vitro.Configuration;

/// <summary>Checks a definition before anything is built from it.</summary>
public static class DefinitionValidator
{
    /// <summary>Most virtual processors a machine may have.</summary>
    public const int MaxProcessors = 64;

    private const long Alignment = 2L << 20;
    private const long MinMemory = 16L << 20;

    /// <summary>Checks values and the files named.</summary>
    /// <param name="definition">The definition.</param>
    /// <param name="availableHostMemory">Bytes the host can give.</param>
    /// <param name="isRestored">The machine goes on from a saved one: what it once booted from need not be there.</param>
    /// <exception cref="DefinitionException">Something is wrong; the first thing found is named.</exception>
    public static void Validate(VirtualMachineDefinition definition, long availableHostMemory, bool isRestored = false)
    {
        if (definition.Name.Length is 0 or > 100 || !definition.Name.All(c => char.IsLetterOrDigit(c) || c is ' ' or '.' or '-' or '_')
            || definition.Name.StartsWith('.'))
        {
            throw new DefinitionException(
                "--name", $"'{definition.Name}' is no machine name", "Use 1 to 100 letters, digits, spaces, dots, dashes and underscores");
        }

        // Large pages are set apart from what the host has available.
        ValidateMemory(definition.MemoryBytes, definition.MemoryBacking == MemoryBacking.LargePages ? long.MaxValue : availableHostMemory);
        if (definition.ProcessorCount is < 1 or > MaxProcessors)
        {
            throw new DefinitionException(
                "--processors", $"{definition.ProcessorCount} is out of range", $"Give a number from 1 to {MaxProcessors}");
        }

        if (!isRestored)
        {
            RequireFile("--kernel", definition.Boot.Kernel);
            foreach (var initrd in definition.Boot.Initrd)
            {
                RequireFile("--initrd", initrd);
            }
        }

        if (definition.Disks.Count > 64)
        {
            throw new DefinitionException("--disk", $"{definition.Disks.Count} disks are more than a SCSI controller holds", "Give at most 64");
        }

        foreach (var disk in definition.Disks)
        {
            RequireFile("--disk", disk.Path);
        }
    }

    private static void ValidateMemory(long bytes, long available)
    {
        if (bytes < MinMemory)
        {
            throw new DefinitionException(
                "--memory", $"{ByteSize.Format(bytes)} is too little for a guest", $"Give at least {ByteSize.Format(MinMemory)}");
        }

        if (bytes % Alignment != 0)
        {
            throw new DefinitionException("--memory", $"{ByteSize.Format(bytes)} is not a multiple of 2 MiB", "Round it, for example to 512M or 1G");
        }

        if (bytes > available)
        {
            throw new DefinitionException(
                "--memory",
                $"the host has {ByteSize.Format(available)} available and the machine asks for {ByteSize.Format(bytes)}",
                "Give less, or free memory on the host");
        }
    }

    private static void RequireFile(string argument, string path)
    {
        if (Directory.Exists(path))
        {
            throw new DefinitionException(argument, $"'{path}' is a folder", "Name the file in it");
        }

        if (!File.Exists(path))
        {
            throw new DefinitionException(argument, $"'{path}' does not exist", "Check the path");
        }

        try
        {
            using var stream = File.Open(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        }
        catch (Exception error) when (error is UnauthorizedAccessException or IOException)
        {
            throw new DefinitionException(argument, $"'{path}' cannot be read ({error.Message})", "Give this user the right to read it");
        }
    }
}
