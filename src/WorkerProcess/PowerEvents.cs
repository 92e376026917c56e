using System.Threading.Channels;
using Vitro.Chipset;
using Vitro.Hypervisor.Tlfs;

namespace Vitro.WorkerProcess;

/// <summary>
/// What changes a machine's power state. Any thread posts, the machine's control task acts, in order; so that a virtual
/// processor or timer thread never waits for its own end.
/// </summary>
internal sealed class PowerEvents : IPowerEvents, IGuestNotifications
{
    private readonly Channel<PowerEvent> _events = Channel.CreateUnbounded<PowerEvent>(new() { SingleReader = true });

    internal ChannelReader<PowerEvent> Reader => _events.Reader;

    public void RequestReset(string source) => _events.Writer.TryWrite(new PowerEvent(null, source, null));

    public void RequestPowerOff() => RequestEnd(new MachineEnd(MachineEndKind.PowerOff));

    public void RequestDebugExit(uint code) => RequestEnd(new MachineEnd(MachineEndKind.DebugExit, DebugExitCode: code));

    public void OnGuestCrash(GuestCrashReport report) => RequestEnd(new MachineEnd(MachineEndKind.GuestCrash, GuestCrashText.Describe(report)));

    public void OnResetRequested(int vpIndex) => RequestReset("the hypervisor's reset register");

    internal void RequestEnd(MachineEnd end) => _events.Writer.TryWrite(new PowerEvent(end, "", null));

    /// <summary>Asks for the machine to be saved; false when the machine has ended.</summary>
    internal bool TryRequestSave(SaveRequest request) => _events.Writer.TryWrite(new PowerEvent(null, "", request));

    /// <summary>The machine has ended: whoever waits for it to be saved is told.</summary>
    internal void Close()
    {
        _events.Writer.TryComplete();
        while (_events.Reader.TryRead(out var left))
        {
            left.Save?.Completion.SetException(new InvalidOperationException("The machine ended before it could be saved."));
        }
    }
}

/// <summary>A power event.</summary>
/// <param name="End">How the machine ends; null resets or saves it.</param>
/// <param name="Source">What asked for a reset.</param>
/// <param name="Save">The request to save it; null resets it when it does not end.</param>
internal readonly record struct PowerEvent(MachineEnd? End, string Source, SaveRequest? Save);
