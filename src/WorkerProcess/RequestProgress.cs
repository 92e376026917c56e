using Vitro.Configuration.Control;
using Vitro.Storage;

namespace Vitro.WorkerProcess;

/// <summary>How far a client's request has come; told from any thread, read by the connection that serves it.</summary>
internal sealed class RequestProgress : IProgress<DiskProgress>
{
    private ControlProgress? _last;

    /// <summary>What was told last; null before.</summary>
    internal ControlProgress? Last => Volatile.Read(ref _last);

    /// <inheritdoc/>
    public void Report(DiskProgress value) => Volatile.Write(ref _last, new ControlProgress(value.Done, value.Total));
}
