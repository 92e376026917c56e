using System.Runtime.InteropServices;
using Vitro.VmBus;

namespace Vitro.SystemTests.Lockstep;

/// <summary>Does the work of a machine's VMBus when it is told to, on the thread of whoever tells it, always in the same order.</summary>
internal sealed class LockstepWorkers : IVmBusWorkers
{
    private readonly List<Worker> _workers = [];
    private bool _isAnyDue;

    public IVmBusWorker Create(string name, Func<WorkerRound> round) => new Worker(this, round);

    /// <summary>Does all that is due, the oldest worker's first, until nothing is; what cannot go on yet is due again at the next call.</summary>
    internal void Run()
    {
        if (!_isAnyDue)
        {
            return;
        }

        var again = false;
        while (_isAnyDue)
        {
            _isAnyDue = false;

            // Work may start further workers.
            for (var i = 0; i < _workers.Count; i++)
            {
                again |= _workers[i].RunIfDue();
            }

            _workers.RemoveAll(static worker => worker.HasEnded);
        }

        _isAnyDue = again;
    }

    private sealed class Worker(LockstepWorkers owner, Func<WorkerRound> round) : IVmBusWorker
    {
        private bool _isDue;

        public SafeHandle? WakeFile => null;

        internal bool HasEnded { get; private set; }

        public void Start()
        {
            owner._workers.Add(this);
            Wake();
        }

        public void Wake()
        {
            _isDue = true;
            owner._isAnyDue = true;
        }

        public void Join()
        {
            while (!HasEnded)
            {
                owner.Run();
            }
        }

        /// <summary>Whether there is more to do that cannot go on yet.</summary>
        internal bool RunIfDue()
        {
            if (HasEnded || !_isDue)
            {
                return false;
            }

            _isDue = false;
            var result = round();
            HasEnded = result == WorkerRound.Ended;
            _isDue |= result == WorkerRound.Again;
            return result == WorkerRound.Again;
        }
    }
}
