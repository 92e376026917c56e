using Vitro.Storage;
using Vitro.UnitTests.Storage.Crash;
using Xunit;

namespace Vitro.UnitTests.Storage.Operations;

/// <summary>Each operation interrupted, by a crash at every point or by its user.</summary>
public sealed class InterruptedOperationTests
{
    public static TheoryData<DiskFormat, string> Operations()
    {
        var operations = new TheoryData<DiskFormat, string>();
        foreach (var format in new[] { DiskFormat.Vhd, DiskFormat.Vhdx })
        {
            foreach (var name in DiskOperationCase.Names)
            {
                operations.Add(format, name);
            }
        }

        return operations;
    }

    [Theory]
    [MemberData(nameof(Operations))]
    public void A_crash_loses_nothing(DiskFormat format, string operation)
    {
        var random = new Random(1);
        var it = new DiskOperationCase(format, operation);
        it.Run();

        foreach (var (count, mode) in CrashPoints.Of(it.Files.Events, random))
        {
            it.AssertWhole(it.Files.After(count, mode, random), $"{count} {mode}");
        }
    }

    [Theory]
    [MemberData(nameof(Operations))]
    public void Cancelling_loses_nothing_and_the_operation_can_be_done_again(DiskFormat format, string operation)
    {
        var reports = new List<DiskProgress>();
        var it = new DiskOperationCase(format, operation);
        if (!it.CanBeCancelled)
        {
            it.Run();
            it.AssertWhole(it.Files, "not cancelled");
            return;
        }

        foreach (var at in new[] { 0, 1, 4, 15 })
        {
            using var cancellation = new CancellationTokenSource();
            reports.Clear();
            var each = it = new DiskOperationCase(format, operation);
            var progress = new Callback(value =>
            {
                reports.Add(value);
                if (reports.Count > at)
                {
                    cancellation.Cancel();
                }
            });
            try
            {
                each.Run(progress, cancellation.Token);
            }
            catch (OperationCanceledException)
            {
                each.AssertWhole(each.Files, $"cancelled at report {at}");
                reports.Clear();
                each.Run(new Callback(reports.Add));
            }

            each.AssertWhole(each.Files, $"done after report {at}");
            Assert.True(reports.Zip(reports.Skip(1)).All(pair => pair.First.Done <= pair.Second.Done), "progress goes back");
            Assert.Equal(reports[^1].Total, reports[^1].Done);
        }
    }

    private sealed class Callback(Action<DiskProgress> action) : IProgress<DiskProgress>
    {
        public void Report(DiskProgress value)
        {
            lock (action)
            {
                action(value);
            }
        }
    }
}
