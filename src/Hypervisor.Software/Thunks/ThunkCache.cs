using System.Runtime.InteropServices;
using Vitro.Hypervisor.Software.Emitter;
using Vitro.Platform;

namespace Vitro.Hypervisor.Software.Thunks;

/// <summary>
/// The thunks compiled so far, shared by all processors of a process: thunks hold no addresses and never change, so they are
/// never dropped.
/// </summary>
/// <remarks>Looking up takes a lock; who executes keeps the pointer in its decoded instruction.</remarks>
internal sealed unsafe class ThunkCache
{
    // Bounds what all opcodes with all immediates can need; the host backs only what is touched.
    private const int Capacity = 32 << 20;
    private static readonly Lazy<ThunkCache> Instance = new(static () => new ThunkCache());

    private readonly Lock _gate = new();
    private readonly Dictionary<ThunkKey, nint> _thunks = [];
    private readonly ExecutableMemory _memory = ExecutableMemory.Create("vitro-thunks", Capacity);
    private int _used;

    /// <summary>The cache of this process.</summary>
    /// <exception cref="PlatformException">The host allows no code made at run time.</exception>
    internal static ThunkCache Shared => Instance.Value;

    /// <summary>Bytes of code emitted.</summary>
    internal int CodeSize => _used;

    /// <summary>Finds or compiles a vector instruction of a form; null when the room is used up.</summary>
    internal Thunk* GetVector(in ThunkKey key, in ThunkForm form)
    {
        lock (_gate)
        {
            return _thunks.TryGetValue(key, out var known) ? (Thunk*)known : Add(key, form);
        }
    }

    /// <summary>Finds or compiles an x87 instruction.</summary>
    /// <param name="opcode">D8 to DF.</param>
    /// <param name="modRm">With the rm and mod bits of memory forms cleared.</param>
    internal Thunk* GetX87(int opcode, int modRm)
    {
        var key = new ThunkKey(0, (byte)opcode, 0, 0, (byte)modRm, false, modRm < 0xC0, false);
        lock (_gate)
        {
            return _thunks.TryGetValue(key, out var known) ? (Thunk*)known : Add(key, default);
        }
    }

    private Thunk* Add(in ThunkKey key, in ThunkForm form)
    {
        if (_used > Capacity - ThunkBuilder.MaximumLength)
        {
            return null;
        }

        var code = new CodeEmitter(_memory, _used, ThunkBuilder.MaximumLength);
        var start = code.Executable;
        if (key.Map == 0)
        {
            ThunkBuilder.EmitX87(ref code, key.Opcode, key.Immediate);
        }
        else if (key.Vex)
        {
            ThunkBuilder.EmitVex(ref code, key, form);
        }
        else
        {
            ThunkBuilder.EmitLegacy(ref code, key, form);
        }

        code.Align(16);
        _used += (int)(code.Executable - start);
        var thunk = (Thunk*)NativeMemory.Alloc((nuint)sizeof(Thunk));
        thunk->Code = (delegate* unmanaged[SuppressGCTransition]<byte*, byte*, byte*, VpState*, ulong, ulong>)start;
        thunk->Form = form;
        _thunks.Add(key, (nint)thunk);
        return thunk;
    }
}
