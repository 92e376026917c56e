using System.Buffers.Binary;
using Vitro.Hypervisor.Engine;
using static Vitro.Chipset.LocalApicSpec;

namespace Vitro.Chipset;

// The registers of an engine's own local APIC, to and from this one.
public sealed partial class LocalApic
{
    private const int RegisterStride = 16;

    private IEngineLocalApics? _engine;

    internal void AttachEngine(IEngineLocalApics engine)
    {
        _engine = engine;
        WriteToEngine();
    }

    /// <summary>Gives the engine the registers as they are here. While no thread runs the processor.</summary>
    private void WriteToEngine()
    {
        if (_engine is null)
        {
            return;
        }

        LocalApicRegisters registers;
        lock (_gate)
        {
            registers = Export();
        }

        _engine.Write(Index, registers);
    }

    /// <summary>Takes the registers as the engine has them. While no thread runs the processor.</summary>
    private void ReadFromEngine()
    {
        if (_engine is null)
        {
            return;
        }

        var registers = _engine.Read(Index);
        lock (_gate)
        {
            Import(registers);
        }
    }

    private LocalApicRegisters Export()
    {
        var registers = new LocalApicRegisters { ApicBase = _apicBase, TscDeadline = _tscDeadline };
        var page = registers.Page;
        Put(page, Id, (uint)Index << 24);
        Put(page, LocalApicSpec.Version, VersionValue);
        Put(page, TaskPriority8, _taskPriority);
        Put(page, LogicalDestination, ReadLogicalDestination());
        Put(page, DestinationFormat, _destinationFormat);
        Put(page, SpuriousVector, _spurious);
        Put(page, ErrorStatus, _errorStatus);
        Put(page, CommandLow, (uint)_command);
        Put(page, CommandHigh, (uint)(_command >> 32));
        for (var i = 0; i < 8; i++)
        {
            Put(page, InServiceFirst + i, Part(_inService, i));
            Put(page, TriggerModeFirst + i, Part(_triggerMode, i));
            Put(page, RequestFirst + i, Part(_request, i));
        }

        for (var i = 0; i < LvtCount; i++)
        {
            Put(page, LvtFirst + i, _lvt[i]);
        }

        Put(page, InitialCount, _timer.InitialCount);
        Put(page, CurrentCount, _timer.CurrentCount(_clock.Nanoseconds));
        Put(page, DivideConfiguration, _timer.DivideConfiguration);
        return registers;
    }

    private void Import(LocalApicRegisters registers)
    {
        var page = registers.Page;
        Volatile.Write(ref _apicBase, registers.ApicBase);
        _tscDeadline = registers.TscDeadline;
        _taskPriority = Get(page, TaskPriority8);
        _logicalDestination = Get(page, LogicalDestination);
        _destinationFormat = Get(page, DestinationFormat);
        _spurious = Get(page, SpuriousVector);
        _errorStatus = Get(page, ErrorStatus);
        _command = Get(page, CommandLow) | ((ulong)Get(page, CommandHigh) << 32);
        for (var word = 0; word < 4; word++)
        {
            _inService[word] = Pair(page, InServiceFirst, word);
            _triggerMode[word] = Pair(page, TriggerModeFirst, word);
            _request[word] = Pair(page, RequestFirst, word);
        }

        for (var i = 0; i < LvtCount; i++)
        {
            _lvt[i] = Get(page, LvtFirst + i);
        }

        var initial = Get(page, InitialCount);
        var divide = Get(page, DivideConfiguration);
        var mode = (ApicTimerMode)((_lvt[LvtTimer] >> 17) & 3);
        var unit = ApicTimer.TickNanoseconds * ApicTimer.DivisorOf(divide);
        var left = Get(page, CurrentCount);
        var now = _clock.Nanoseconds;

        // A count that has come to its end may be an interrupt that the kernel keeps aside until the processor runs again: its
        // registers do not tell. It is due then, as the kernel itself takes such registers; one too many does a guest no harm,
        // whereas one that does not start its next count before this interrupt would never have another.
        _timer.Load(
            mode > ApicTimerMode.TscDeadline ? ApicTimerMode.OneShot : mode,
            initial,
            divide,
            Math.Max(0, now - ((initial - Math.Min(left, initial)) * unit)),
            initial == 0 ? long.MaxValue : now + (left * unit));
    }

    private static void Put(byte[] page, int register, uint value) =>
        BinaryPrimitives.WriteUInt32LittleEndian(page.AsSpan(register * RegisterStride), value);

    private static uint Get(byte[] page, int register) => BinaryPrimitives.ReadUInt32LittleEndian(page.AsSpan(register * RegisterStride));

    private static ulong Pair(byte[] page, int first, int word) =>
        Get(page, first + (2 * word)) | ((ulong)Get(page, first + (2 * word) + 1) << 32);
}
