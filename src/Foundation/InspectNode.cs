using System.Globalization;
using System.Text.Json.Nodes;

namespace Vitro.Foundation;

/// <summary>A node of the inspect tree: named values and named children, in the order they were added.</summary>
/// <remarks>Not thread-safe: one call of <see cref="IInspectable.Inspect"/> fills one node on one thread.</remarks>
public sealed class InspectNode
{
    private readonly List<KeyValuePair<string, object>> _entries = [];

    /// <summary>The entries in order; a value is a <see cref="string"/>, <see cref="long"/>, <see cref="bool"/> or an <see cref="InspectNode"/>.</summary>
    public IReadOnlyList<KeyValuePair<string, object>> Entries => _entries;

    /// <summary>Adds a number.</summary>
    public InspectNode Value(string name, long value) => Add(name, value);

    /// <summary>Adds a flag.</summary>
    public InspectNode Value(string name, bool value) => Add(name, value);

    /// <summary>Adds a text.</summary>
    public InspectNode Value(string name, string? value) => Add(name, value ?? "");

    /// <summary>Adds a number shown in hexadecimal, as addresses and registers are.</summary>
    public InspectNode Hex(string name, ulong value) => Add(name, "0x" + value.ToString("x", CultureInfo.InvariantCulture));

    /// <summary>Adds an empty child and returns it.</summary>
    public InspectNode Child(string name)
    {
        var child = new InspectNode();
        Add(name, child);
        return child;
    }

    /// <summary>Adds a child filled by <paramref name="inspectable"/>.</summary>
    public InspectNode Child(string name, IInspectable inspectable)
    {
        inspectable.Inspect(Child(name));
        return this;
    }

    /// <summary>Finds the entry at a slash-separated path; null when there is none.</summary>
    public object? Find(string path)
    {
        object current = this;
        foreach (var part in path.Split('/', StringSplitOptions.RemoveEmptyEntries))
        {
            if (current is not InspectNode node)
            {
                return null;
            }

            object? next = null;
            foreach (var entry in node._entries)
            {
                if (string.Equals(entry.Key, part, StringComparison.OrdinalIgnoreCase))
                {
                    next = entry.Value;
                    break;
                }
            }

            if (next is null)
            {
                return null;
            }

            current = next;
        }

        return current;
    }

    /// <summary>The tree as JSON.</summary>
    public JsonObject ToJson()
    {
        var json = new JsonObject();
        foreach (var (name, value) in _entries)
        {
            json[name] = value switch
            {
                InspectNode node => node.ToJson(),
                long number => JsonValue.Create(number),
                bool flag => JsonValue.Create(flag),
                _ => JsonValue.Create((string)value),
            };
        }

        return json;
    }

    private InspectNode Add(string name, object value)
    {
        _entries.Add(new(name, value));
        return this;
    }
}
