using System.Diagnostics.CodeAnalysis;

namespace Vitro.Hypervisor.Tlfs.Synic;

/// <summary>Handlers by connection id: looked up at every signal without a lock, changed rarely by replacing the table.</summary>
internal sealed class PortTable<T>
    where T : class
{
    private readonly Lock _gate = new();
    private Dictionary<uint, T> _ports = [];

    internal int Count => Volatile.Read(ref _ports).Count;

    internal void Set(uint id, T port)
    {
        lock (_gate)
        {
            Volatile.Write(ref _ports, new Dictionary<uint, T>(_ports) { [id] = port });
        }
    }

    internal void Remove(uint id)
    {
        lock (_gate)
        {
            var ports = new Dictionary<uint, T>(_ports);
            if (ports.Remove(id))
            {
                Volatile.Write(ref _ports, ports);
            }
        }
    }

    internal bool TryGet(uint id, [NotNullWhen(true)] out T? port) => Volatile.Read(ref _ports).TryGetValue(id, out port);
}
