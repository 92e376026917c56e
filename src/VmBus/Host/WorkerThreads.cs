using System.Runtime.InteropServices;
using Vitro.Platform;

namespace Vitro.VmBus.Host;

/// <summary>Workers with a thread each, which sleeps between its rounds.</summary>
public sealed class WorkerThreads : IVmBusWorkers
{
    private WorkerThreads()
    {
    }

    /// <summary>The only one: it has no state.</summary>
    public static WorkerThreads Instance { get; } = new();

    /// <inheritdoc/>
    /// <exception cref="PlatformException">The host has no file left.</exception>
    public IVmBusWorker Create(string name, Func<WorkerRound> round) => new Worker(name, round);

    private sealed class Worker : IVmBusWorker, IDisposable
    {
        private readonly WakeEvent _wakeUp = new();
        private readonly Func<WorkerRound> _round;
        private readonly Thread _thread;

        internal Worker(string name, Func<WorkerRound> round)
        {
            _round = round;
            _thread = new Thread(Run) { IsBackground = true, Name = name };
        }

        public SafeHandle WakeFile => _wakeUp.File;

        public void Start() => _thread.Start();

        public void Wake() => _wakeUp.Set();

        public void Join() => _thread.Join();

        public void Dispose() => _wakeUp.Dispose();

        private void Run()
        {
            while (true)
            {
                switch (_round())
                {
                    case WorkerRound.Done:
                        _wakeUp.Wait();
                        break;
                    case WorkerRound.Again:
                        _wakeUp.TryWait(milliseconds: 1);
                        break;
                    default:
                        Dispose();
                        return;
                }
            }
        }
    }
}
