using System.Globalization;
using System.Runtime.InteropServices;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Kvm.Interop;

namespace Vitro.Hypervisor.Kvm;

/// <summary>Finds out whether /dev/kvm is fit to run machines.</summary>
internal sealed class HostExamination
{
    private const int ApiVersion = 12;

    // The software engine interprets at some tens of millions a second, and its translator runs at many hundreds.
    private const double SlowestMillions = 20;

    private static readonly (KvmCapability Capability, string Since)[] Needed =
    [
        (KvmCapability.UserMemory, "2.6.25"),
        (KvmCapability.SyncRegisters, "4.17"),
        (KvmCapability.SignalMsi, "3.5"),
        (KvmCapability.ReadOnlyMemory, "3.7"),
        (KvmCapability.SplitIrqChip, "4.4"),
        (KvmCapability.ImmediateExit, "4.13"),
        (KvmCapability.ExceptionPayload, "4.20"),
        (KvmCapability.UserSpaceMsr, "5.10"),
        (KvmCapability.MsrFilter, "5.10"),
    ];

    private readonly List<EngineFinding> _findings = [];

    internal IReadOnlyList<EngineFinding> Findings => _findings;

    /// <summary>The host's kernel keeps time by the processor's time stamp counter.</summary>
    internal bool HasSteadyTsc { get; private set; }

    /// <summary>The host's kernel can carry out hypercalls itself.</summary>
    internal bool HasKernelHypercalls { get; private set; }

    /// <summary>The host's kernel can keep the reference time and synthetic timers itself.</summary>
    internal bool HasKernelTimers { get; private set; }

    /// <summary>Rate in Hz of a guest's time stamp counter; null when no guest could be made.</summary>
    internal ulong? TscFrequency { get; private set; }

    internal EngineAvailability Availability => _findings.Find(finding => !finding.IsGood) is { } bad
        ? new EngineAvailability(false, bad.Detail)
        : new EngineAvailability(true, "/dev/kvm runs 64-bit guests at full speed.");

    private static string ClockSource()
    {
        const string file = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
        return File.Exists(file) ? File.ReadAllText(file).Trim() : "unknown";
    }

    internal static HostExamination Run()
    {
        var examination = new HostExamination();
        examination.Examine();
        return examination;
    }

    internal static string ExplainOpen(int error) => error switch
    {
        KvmFile.NotFound => "/dev/kvm is absent: the processor's virtualization extensions are switched off or hidden, or no KVM module is loaded ('modprobe kvm-amd' or 'modprobe kvm-intel').",
        KvmFile.AccessDenied or KvmFile.NotPermitted => "/dev/kvm may not be opened by this user: add the user to the group 'kvm' ('usermod -aG kvm NAME') and log in again.",
        KvmFile.NoDevice => "/dev/kvm has no module behind it: 'modprobe kvm-amd' or 'modprobe kvm-intel' as root.",
        KvmFile.Busy => "/dev/kvm is busy: another hypervisor holds the processor's virtualization extensions. Stop it, or unload its module.",
        _ => $"/dev/kvm cannot be opened: {Marshal.GetPInvokeErrorMessage(error)} (errno {error}).",
    };

    internal static string ExplainVersion(int version) =>
        $"/dev/kvm speaks version {version} of its interface instead of {ApiVersion}: the host's kernel is too old. Use Linux 5.10 or later.";

    /// <summary>What is missing of that which the engine needs; null when nothing is.</summary>
    internal static string? ExplainMissing(Func<KvmCapability, int> extent)
    {
        var missing = Needed.Where(need => extent(need.Capability) == 0).Select(need => $"{need.Capability} (Linux {need.Since})").ToList();
        return missing.Count == 0
            ? null
            : $"The host's KVM lacks {string.Join(", ", missing)}: the kernel is too old, or this KVM is a restricted one. Use Linux 5.10 or later.";
    }

    private bool Add(bool good, string subject, string detail)
    {
        _findings.Add(new EngineFinding(good, subject, detail));
        return good;
    }

    private void Examine()
    {
        if (RuntimeInformation.ProcessArchitecture != Architecture.X64)
        {
            Add(false, "processor", "The KVM engine needs an x86-64 host; this process runs on another architecture.");
            return;
        }

        using var device = KvmFile.TryOpen(out var error);
        if (device is null)
        {
            Add(false, "permission", ExplainOpen(error));
            return;
        }

        Add(true, "permission", "/dev/kvm opens.");
        var version = device.Try(KvmRequest.GetApiVersion);
        if (!Add(version == ApiVersion, "interface", version == ApiVersion
            ? "KVM interface version 12."
            : ExplainVersion(version)))
        {
            return;
        }

        var source = ClockSource();
        HasSteadyTsc = source is "tsc" or "kvm-clock" or "hyperv_clocksource_tsc_page";
        _findings.Add(new EngineFinding(true, "time stamp counter", HasSteadyTsc
            ? $"Steady; the host's clock source is '{source}'."
            : $"Not steady, since the host's clock source is '{source}': guests read the time by leaving their code, which is slower."));
        HasKernelHypercalls = KernelHypercalls.IsOffered(device);
        HasKernelTimers = KernelTimers.IsOffered(device);
        var missing = ExplainMissing(device.Extent);
        if (Add(missing is null, "capabilities", missing ?? "All that the engine needs."))
        {
            RunProbe(device);
        }
    }

    private void RunProbe(KvmFile device)
    {
        try
        {
            using var guest = new ProbeGuest(device);
            TscFrequency = guest.TscFrequency;
            var failure = guest.Run(out var millions);
            if (!Add(failure is null, "instructions", failure is null
                ? "A kernel's instructions run, and synthetic MSRs leave the guest."
                : $"/dev/kvm does not run what kernels need: {failure}."))
            {
                return;
            }

            Add(millions >= SlowestMillions, "speed", millions >= SlowestMillions
                ? string.Create(CultureInfo.InvariantCulture, $"{millions:0} million instructions a second in a simple loop.")
                : string.Create(CultureInfo.InvariantCulture, $"/dev/kvm interprets the guest's kernel: {millions:0.0} million instructions a second, less than the software engine runs."));
        }
        catch (Exception refusal) when (refusal is HypervisorException or Platform.PlatformException)
        {
            Add(false, "machine", refusal.Message);
        }
    }
}
