using System.Buffers.Binary;
using Vitro.Foundation;
using static Vitro.Chipset.LocalApicSpec;

namespace Vitro.Chipset;

/// <summary>A local APIC's state as it is saved. Times are nanoseconds of the machine's clock.</summary>
internal sealed record LocalApicSavedState
{
    internal ulong ApicBase { get; init; }

    internal uint TaskPriority { get; init; }

    internal uint Spurious { get; init; }

    internal uint LogicalDestination { get; init; }

    internal uint DestinationFormat { get; init; }

    internal uint ErrorStatus { get; init; }

    internal uint ErrorPending { get; init; }

    internal ulong Command { get; init; }

    internal ulong TscDeadline { get; init; }

    internal bool Lint0 { get; init; }

    internal byte[] Request { get; init; } = [];

    internal byte[] TriggerMode { get; init; } = [];

    internal byte[] AutoEoi { get; init; } = [];

    internal byte[] InService { get; init; } = [];

    internal byte[] Lvt { get; init; } = [];

    internal byte TimerMode { get; init; }

    internal uint TimerInitialCount { get; init; }

    internal uint TimerDivide { get; init; }

    internal ulong TimerStart { get; init; }

    internal ulong TimerNextExpiry { get; init; }

    internal void Write(SavedStateWriter writer)
    {
        writer.UInt64(1, ApicBase);
        writer.UInt32(2, TaskPriority);
        writer.UInt32(3, Spurious);
        writer.UInt32(4, LogicalDestination);
        writer.UInt32(5, DestinationFormat);
        writer.UInt32(6, ErrorStatus);
        writer.UInt32(7, ErrorPending);
        writer.UInt64(8, Command);
        writer.UInt64(9, TscDeadline);
        writer.Bool(10, Lint0);
        writer.Bytes(11, Request);
        writer.Bytes(12, TriggerMode);
        writer.Bytes(13, AutoEoi);
        writer.Bytes(14, InService);
        writer.Bytes(15, Lvt);
        writer.Byte(16, TimerMode);
        writer.UInt32(17, TimerInitialCount);
        writer.UInt32(18, TimerDivide);
        writer.UInt64(19, TimerStart);
        writer.UInt64(20, TimerNextExpiry);
    }

    internal static LocalApicSavedState Read(SavedStateReader reader)
    {
        var state = new LocalApicSavedState
        {
            ApicBase = reader.UInt64(1),
            TaskPriority = reader.UInt32(2),
            Spurious = reader.UInt32(3),
            LogicalDestination = reader.UInt32(4),
            DestinationFormat = reader.UInt32(5, FlatFormat),
            ErrorStatus = reader.UInt32(6),
            ErrorPending = reader.UInt32(7),
            Command = reader.UInt64(8),
            TscDeadline = reader.UInt64(9),
            Lint0 = reader.Bool(10),
            Request = Sized(reader, 11, 32),
            TriggerMode = Sized(reader, 12, 32),
            AutoEoi = Sized(reader, 13, 32),
            InService = Sized(reader, 14, 32),
            Lvt = Sized(reader, 15, LvtCount * 4),
            TimerMode = reader.Byte(16),
            TimerInitialCount = reader.UInt32(17),
            TimerDivide = reader.UInt32(18),
            TimerStart = reader.UInt64(19),
            TimerNextExpiry = reader.UInt64(20, long.MaxValue),
        };
        if (state.TimerMode > (byte)ApicTimerMode.TscDeadline)
        {
            throw new SavedStateException($"Local APIC timer mode {state.TimerMode} does not exist.");
        }

        if (state.TimerNextExpiry > long.MaxValue || state.TimerStart > long.MaxValue || (state.TimerInitialCount == 0 &&
            state.TimerMode != (byte)ApicTimerMode.TscDeadline && state.TimerNextExpiry != long.MaxValue))
        {
            throw new SavedStateException("The local APIC timer's expiry fits neither its count nor the clock.");
        }

        return state;
    }

    private static byte[] Sized(SavedStateReader reader, ushort tag, int size)
    {
        var bytes = reader.Bytes(tag);
        return bytes.Length == size
            ? bytes.ToArray()
            : throw new SavedStateException($"Local APIC field {tag} has {bytes.Length} bytes instead of {size}.");
    }
}

public sealed partial class LocalApic
{
    /// <inheritdoc/>
    public void Save(SavedStateWriter writer)
    {
        ReadFromEngine();
        lock (_gate)
        {
            var lvt = new byte[LvtCount * 4];
            for (var i = 0; i < LvtCount; i++)
            {
                BinaryPrimitives.WriteUInt32LittleEndian(lvt.AsSpan(i * 4), _lvt[i]);
            }

            new LocalApicSavedState
            {
                ApicBase = _apicBase,
                TaskPriority = _taskPriority,
                Spurious = _spurious,
                LogicalDestination = _logicalDestination,
                DestinationFormat = _destinationFormat,
                ErrorStatus = _errorStatus,
                ErrorPending = _errorPending,
                Command = _command,
                TscDeadline = _tscDeadline,
                Lint0 = _lint0,
                Request = ToBytes(_request),
                TriggerMode = ToBytes(_triggerMode),
                AutoEoi = ToBytes(_autoEoi),
                InService = ToBytes(_inService),
                Lvt = lvt,
                TimerMode = (byte)_timer.Mode,
                TimerInitialCount = _timer.InitialCount,
                TimerDivide = _timer.DivideConfiguration,
                TimerStart = (ulong)_timer.Start,
                TimerNextExpiry = (ulong)_timer.NextExpiry,
            }.Write(writer);
        }
    }

    /// <inheritdoc/>
    public void Restore(SavedStateReader reader)
    {
        Reset(ResetKind.Cold);
        var state = LocalApicSavedState.Read(reader);
        lock (_gate)
        {
            _apicBase = state.ApicBase;
            _taskPriority = state.TaskPriority;
            _spurious = state.Spurious;
            _logicalDestination = state.LogicalDestination;
            _destinationFormat = state.DestinationFormat;
            _errorStatus = state.ErrorStatus;
            _errorPending = state.ErrorPending;
            _command = state.Command;
            _tscDeadline = state.TscDeadline;
            _lint0 = state.Lint0;
            FromBytes(state.Request, _request);
            FromBytes(state.TriggerMode, _triggerMode);
            FromBytes(state.AutoEoi, _autoEoi);
            FromBytes(state.InService, _inService);
            for (var i = 0; i < LvtCount; i++)
            {
                _lvt[i] = BinaryPrimitives.ReadUInt32LittleEndian(state.Lvt.AsSpan(i * 4));
            }

            _timer.Load(
                (ApicTimerMode)state.TimerMode, state.TimerInitialCount, state.TimerDivide, (long)state.TimerStart, (long)state.TimerNextExpiry);
        }

        WriteToEngine();
        SignalIfPending();
    }

    private static byte[] ToBytes(ulong[] register)
    {
        var bytes = new byte[32];
        for (var i = 0; i < 4; i++)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(i * 8), register[i]);
        }

        return bytes;
    }

    private static void FromBytes(byte[] bytes, ulong[] register)
    {
        for (var i = 0; i < 4; i++)
        {
            register[i] = BinaryPrimitives.ReadUInt64LittleEndian(bytes.AsSpan(i * 8));
        }
    }
}
