using Microsoft.Extensions.Logging;
using Vitro.Configuration;
using Vitro.Foundation;
using Vitro.Hypervisor.Engine;
using Vitro.WorkerProcess.Saving;

namespace Vitro.WorkerProcess;

/// <content>Saving the whole machine to a file and going on from one.</content>
public sealed partial class VirtualMachine
{
    private int _isSaving;

    private MachineState State => new()
    {
        Definition = _definition,
        EngineName = EngineName,
        Clock = _clock,
        Ram = _ram,
        Cpuid = _cpuid,
        Partition = _partition,
        Devices = [.. Devices],
    };

    /// <summary>Builds a machine from a saved one; it goes on at <see cref="Start"/> where the other was stopped.</summary>
    /// <param name="saved">The saved machine.</param>
    /// <param name="definition">
    /// <see cref="SavedMachine.Definition"/>, with another name, another engine or other paths of the same disks where wanted.
    /// </param>
    /// <param name="host">What it needs of its host.</param>
    /// <param name="acceptChangedDisks">Goes on over disks that have been written since.</param>
    /// <exception cref="DefinitionException">The file is damaged, this host cannot keep what the guest was promised, or a disk is not as it was.</exception>
    public static VirtualMachine Restore(
        SavedMachine saved, VirtualMachineDefinition definition, VirtualMachineHost host, bool acceptChangedDisks = false)
    {
        var was = saved.Definition;
        if (definition.MemoryBytes != was.MemoryBytes || definition.ProcessorCount != was.ProcessorCount
            || definition.Id != was.Id || definition.Disks.Count != was.Disks.Count)
        {
            throw new DefinitionException(
                "--restore", "the machine was saved with other memory, processors or disks", "Only its name, engine and paths of disks may change");
        }

        try
        {
            var memory = saved.ReadMemory((ulong)definition.MemoryBytes);
            try
            {
                // Most of the file is memory: it is read and checked while the machine is being built.
                memory.BeginCheck();
                return Restore(saved, memory, definition, host, acceptChangedDisks);
            }
            catch
            {
                memory.Dispose();
                throw;
            }
        }
        catch (SavedStateException error)
        {
            throw new DefinitionException("--restore", $"{saved.Path} cannot be used. {error.Message}");
        }
    }

    /// <summary>Stops the machine, saves it to a file and ends it (<see cref="MachineEndKind.Saved"/>).</summary>
    /// <param name="path">The file, which is replaced when it exists.</param>
    /// <returns>Completes with the file's length in bytes when the file is durable.</returns>
    /// <exception cref="IOException">The file could not be written; the machine goes on as if nothing had been asked.</exception>
    /// <exception cref="InvalidOperationException">The machine does not run, is being saved already, or ended before.</exception>
    public async Task<long> SaveAsync(string path)
    {
        if (Interlocked.Exchange(ref _isSaving, 1) != 0)
        {
            throw new InvalidOperationException("The machine is being saved already.");
        }

        try
        {
            var request = new SaveRequest(Path.GetFullPath(path));
            if (!_started || !_power.TryRequestSave(request))
            {
                throw new InvalidOperationException("The machine does not run.");
            }

            return await request.Completion.Task;
        }
        finally
        {
            Volatile.Write(ref _isSaving, 0);
        }
    }

    /// <summary>Saves the stopped machine; null when that failed and the machine can go on.</summary>
    private async Task<MachineEnd?> TrySaveAsync(SaveRequest request)
    {
        SavedMachineWriter? file = null;
        try
        {
            file = SavedMachineWriter.Create(request.Path);
            await _synthetic.FlushDisksAsync();
            State.Save(file);
            file.AddRecord(SavedMachineFormat.Record.Disks, SavedDisks.Version, isRequired: true, _synthetic.SaveDisks);
            file.Seal();
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            file?.Dispose();
            _log.LogWarning("The machine was not saved and goes on: {Reason}", error.Message);
            request.Completion.SetException(new IOException($"'{request.Path}' could not be written: {error.Message}", error));
            return null;
        }
        catch
        {
            file?.Dispose();
            throw;
        }

        return await FinishSaveAsync(request, file);
    }

    // All is on the storage. Closing the disks may write to them, so that what they are like is written once more; there is no
    // way back from here, and the file stays whatever happens.
    private async Task<MachineEnd> FinishSaveAsync(SaveRequest request, SavedMachineWriter file)
    {
        using (file)
        {
            try
            {
                file.Keep();
                await _synthetic.CloseDisksAsync();
                file.ReplaceRecord(SavedMachineFormat.Record.Disks, _synthetic.SaveDisks);
                file.Seal();
                file.Publish();
            }
            catch (Exception error) when (error is IOException or UnauthorizedAccessException)
            {
                var message = $"The machine was saved to '{file.TemporaryPath}', but that could not be given its name: {error.Message}";
                request.Completion.SetException(new IOException(message, error));
                return new MachineEnd(MachineEndKind.InternalError, message);
            }

            request.Completion.SetResult(file.Length);
            return new MachineEnd(MachineEndKind.Saved, request.Path);
        }
    }

    private static VirtualMachine Restore(
        SavedMachine saved, SavedMemory memory, VirtualMachineDefinition definition, VirtualMachineHost host, bool acceptChangedDisks)
    {
        var machine = Build(definition, host, GuestPromise.Of(saved));
        try
        {
            machine.Take(saved, memory, acceptChangedDisks);
            return machine;
        }
        catch
        {
            machine.Abandon();
            throw;
        }
    }

    private void Take(SavedMachine saved, SavedMemory memory, bool acceptChangedDisks)
    {
        if (!TscRate.IsSame(saved.Saved.TscFrequency, _partition.TscFrequency))
        {
            throw new DefinitionException(
                "--engine",
                $"the guest's time stamp counter ran at {saved.Saved.TscFrequency} Hz and the {EngineName} engine's runs at {_partition.TscFrequency} Hz, which this host cannot change",
                "Restore it with the engine or on the host it comes from");
        }

        if (!acceptChangedDisks)
        {
            _synthetic.CheckDisks(saved.ReadRecord(SavedMachineFormat.Record.Disks, SavedDisks.Version));
        }

        State.Restore(saved, memory, damage => _power.RequestEnd(new MachineEnd(MachineEndKind.InternalError, $"{saved.Path} cannot be used. {damage}")));
    }
}

/// <summary>A request to save the machine.</summary>
/// <param name="Path">The file.</param>
internal sealed record SaveRequest(string Path)
{
    /// <summary>The file's length; or why it was not saved.</summary>
    internal TaskCompletionSource<long> Completion { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
}
