using System.Runtime.CompilerServices;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Kvm.Interop;

namespace Vitro.Hypervisor.Kvm;

/// <content>Why the guest stopped, and what is done about it.</content>
internal sealed unsafe partial class KvmVirtualProcessor
{
    private const int SegmentLong = 1;
    private const ulong FastCall = 1 << 16;
    private const ulong SignalEventFromMemory = 0x5D;
    private const ulong SignalEventMask = FastCall | 0xFFFF;

    // HV_STATUS_INVALID_HYPERCALL_CODE.
    private const ulong RefusedHypercall = 2;

    /// <summary>Counts of exits, for inspection; written by the processor's thread only.</summary>
    internal ExitCounters Counters;

    /// <summary>Serves an exit; false ends the run.</summary>
    private bool TryServe(out VpExit end)
    {
        end = default;
        switch (_run->ExitReason)
        {
            case KvmExit.Io:
                Counters.PortIo++;
                ServePort();
                return true;
            case KvmExit.Mmio:
                Counters.Mmio++;
                ServeMmio();
                return true;
            case KvmExit.ReadMsr:
                Counters.Msr++;
                _run->MsrError = _intercepts.TryReadMsr(this, _run->MsrIndex, out var value) ? (byte)0 : (byte)1;
                _run->MsrData = value;
                return true;
            case KvmExit.WriteMsr:
                Counters.Msr++;
                ServeMsrWrite();
                return true;
            case KvmExit.Hyperv when _run->HypervKind == KvmRun.HypervCall:
                ServeKernelHypercall();
                return true;
            case KvmExit.IoApicEoi:
                Counters.EndOfInterrupt++;
                _partition.OnEndOfInterrupt(_run->EoiVector);
                return true;
            case KvmExit.DirtyRingFull:
                Counters.DirtyRingFull++;
                _partition.Memory.CollectDirtyPages();
                return true;
            case KvmExit.InterruptWindowOpen:
            case KvmExit.Interrupted:
            case KvmExit.Halt:
                Counters.Windows++;
                return true;
            case KvmExit.Shutdown:
                end = new VpExit(VpExitReason.TripleFault, FailureReport.Describe(this, _run, "triple fault"));
                return false;
            default:
                end = Fail(FailureReport.Explain(_run));
                return false;
        }
    }

    /// <summary>Reads a synthetic register as the guest would now.</summary>
    internal bool TryReadIntercepted(uint msr, out ulong value) => _intercepts.TryReadMsr(this, msr, out value);

    private void ServeMsrWrite()
    {
        var msr = _run->MsrIndex;
        if (!_intercepts.TryWriteMsr(this, msr, _run->MsrData))
        {
            _run->MsrError = 1;
            return;
        }

        _run->MsrError = 0;
        _partition.OnRegisterWritten(this, msr);
    }

    // A call that the kernel has taken and cannot carry out; it has looked at the privilege level.
    private void ServeKernelHypercall()
    {
        Counters.Hypercalls++;
        var call = new HypercallRegisters(_run->HypercallControl, _run->HypercallInput, _run->HypercallOutput);
        if ((call.Control & SignalEventMask) == SignalEventFromMemory)
        {
            // The kernel has read the parameter from memory and tells it in place of its address.
            call = call with { Control = call.Control | FastCall };
        }

        _run->HypercallResult = _intercepts.TryHypercall(this, call, out var result) ? result : RefusedHypercall;
    }

    private void ServePort()
    {
        var port = _run->IoPort;
        var size = (int)_run->IoSize;
        var data = (byte*)_run + _run->IoDataOffset;
        if (_run->IoDirection == 0)
        {
            for (var n = _run->IoCount; n > 0; n--, data += size)
            {
                var value = _intercepts.ReadPort(this, port, size);
                Unsafe.CopyBlock(data, &value, (uint)size);
            }

            return;
        }

        if (port == KvmPartition.HypercallPort && size == 4 && TryHypercall())
        {
            return;
        }

        for (var n = _run->IoCount; n > 0; n--, data += size)
        {
            var value = 0u;
            Unsafe.CopyBlock(&value, data, (uint)size);
            _intercepts.WritePort(this, port, size, value);
        }
    }

    private bool TryHypercall()
    {
        // Whoever may use ports can write to this one; calls are for the kernel in 64-bit mode.
        KvmSystemRegisters system = default;
        File.Call("Reading system registers", KvmRequest.GetSystemRegisters, ref system);
        if (system.Ss.Dpl != 0 || system.Cs.L != SegmentLong)
        {
            return false;
        }

        ref var registers = ref _run->Registers;
        var call = new HypercallRegisters(registers.Rcx, registers.Rdx, registers.R8);
        if (!_intercepts.TryHypercall(this, call, out var result))
        {
            return false;
        }

        // The instruction pointer stays at the OUT; the next KVM_RUN moves it on.
        Counters.Hypercalls++;
        registers.Rax = result;
        _run->DirtyRegisters = KvmRun.SyncRegisters;
        return true;
    }

    // The kernel cuts accesses at page borders, so lengths other than powers of two occur.
    private void ServeMmio()
    {
        var address = _run->MmioAddress;
        var length = (int)Math.Min(_run->MmioLength, 8);
        for (var offset = 0; offset < length;)
        {
            var size = length - offset >= 8 ? 8 : length - offset >= 4 ? 4 : length - offset >= 2 ? 2 : 1;
            ulong value = 0;
            var data = _run->MmioData + offset;
            if (_run->MmioIsWrite != 0)
            {
                Unsafe.CopyBlock(&value, data, (uint)size);
                _intercepts.WriteMmio(this, address + (uint)offset, size, value);
            }
            else
            {
                value = _intercepts.ReadMmio(this, address + (uint)offset, size);
                Unsafe.CopyBlock(data, &value, (uint)size);
            }

            offset += size;
        }
    }
}

/// <summary>How often a processor left the guest, by cause.</summary>
internal struct ExitCounters
{
    internal long PortIo;
    internal long Mmio;
    internal long Msr;
    internal long Hypercalls;
    internal long EndOfInterrupt;
    internal long DirtyRingFull;
    internal long Windows;
}
