using System.Runtime;
using Vitro.Hypervisor.Engine;

namespace Vitro.WorkerProcess;

/// <summary>The named thread of one virtual processor: runs it until it is stopped or the processor ends the machine.</summary>
internal sealed class VirtualProcessorThread
{
    private readonly IVirtualProcessor _processor;
    private readonly Action<IVirtualProcessor, VpExit> _onExit;
    private Thread? _thread;
    private long _compileTicks;
    private volatile bool _stopping;

    /// <param name="processor">The processor.</param>
    /// <param name="onExit">Called on the processor's thread when it cannot go on; must not wait for that thread.</param>
    internal VirtualProcessorThread(IVirtualProcessor processor, Action<IVirtualProcessor, VpExit> onExit)
    {
        _processor = processor;
        _onExit = onExit;
    }

    /// <summary>How long the guest has waited on this thread for the just-in-time compiler, up to the last time it stopped.</summary>
    internal TimeSpan Compiling => TimeSpan.FromTicks(Interlocked.Read(ref _compileTicks));

    internal void Start()
    {
        _stopping = false;
        _thread = new Thread(Run, maxStackSize: 4 << 20) { Name = $"vp-{_processor.Index}", IsBackground = true };
        _thread.Start();
    }

    /// <summary>Asks the processor to stop; <see cref="Join"/> waits for it.</summary>
    internal void RequestStop()
    {
        _stopping = true;
        _processor.Cancel();
    }

    internal void Join()
    {
        _thread?.Join();
        _thread = null;
    }

    private void Run()
    {
        try
        {
            RunUntilStopped();
        }
        finally
        {
            Interlocked.Add(ref _compileTicks, JitInfo.GetCompilationTime(currentThread: true).Ticks);
        }
    }

    private void RunUntilStopped()
    {
        while (!_stopping)
        {
            VpExit exit;
            try
            {
                exit = _processor.Run();
            }
            catch (Exception error)
            {
                // The thread's top: whatever the engine failed with ends this machine with a report, not the process.
                exit = new VpExit(VpExitReason.InternalError, error.ToString());
            }

            if (exit.Reason != VpExitReason.Cancelled)
            {
                _onExit(_processor, exit);
                return;
            }
        }
    }
}
