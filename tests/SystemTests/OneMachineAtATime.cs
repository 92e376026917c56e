using Xunit;
using Xunit.Sdk;
using Xunit.v3;

// A whole machine wants the host for itself: waits are bounded in wall time.
[assembly: Parallelization(Mode = ParallelMode.None)]
