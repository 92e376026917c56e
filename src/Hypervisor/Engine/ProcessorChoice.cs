using System.Diagnostics.CodeAnalysis;
using System.Globalization;

namespace Vitro.Hypervisor.Engine;

/// <summary>
/// What a machine's configuration says of its processor, as <c>x86-64-v2,-pcid,-xsave,phys-bits=40,tsc-frequency=2400000000</c>: a
/// model and what is less than the model's, so that the machine can go on under an engine or on a host that lacks it.
/// </summary>
public sealed record ProcessorChoice
{
    private const string AddressBitsKey = "phys-bits=";
    private const string TscFrequencyKey = "tsc-frequency=";
    private const uint AddressLeaf = 0x8000_0008;
    private const uint XsaveLeaf = 0xD;

    // Linux does not run with less, and CPUID's default is 36.
    private const uint LeastAddressBits = 36;

    /// <summary>The model's name; null for the engine's first.</summary>
    public string? Model { get; init; }

    /// <summary>Names of features that the guest does not see.</summary>
    public IReadOnlyList<string> Without { get; init; } = [];

    /// <summary>Width of guest physical addresses, 36 to <see cref="CpuModel.PhysicalAddressBits"/>; null for the model's.</summary>
    public uint? AddressBits { get; init; }

    /// <summary>Rate of the guest's time stamp counter in Hz; null for the engine's.</summary>
    public ulong? TscFrequency { get; init; }

    /// <summary>Reads a choice.</summary>
    /// <param name="text">The model's name, <c>-FEATURE</c>, <c>phys-bits=N</c> and <c>tsc-frequency=HZ</c>, by commas; null for the engine's default.</param>
    /// <param name="choice">The choice.</param>
    /// <param name="problem">The part that is none, and what may stand there.</param>
    public static bool TryParse(string? text, [NotNullWhen(true)] out ProcessorChoice? choice, [NotNullWhen(false)] out string? problem)
    {
        var parsed = new ProcessorChoice();
        choice = null;
        problem = null;
        foreach (var (index, part) in (text?.Split(',') ?? []).Index())
        {
            if (part.StartsWith('-') && NamedFeature.All.Any(feature => feature.Name == part[1..]))
            {
                parsed = parsed with { Without = [.. parsed.Without, part[1..]] };
            }
            else if (TryNumber(part, AddressBitsKey, LeastAddressBits, CpuModel.PhysicalAddressBits) is { } bits)
            {
                parsed = parsed with { AddressBits = (uint)bits };
            }
            else if (TryNumber(part, TscFrequencyKey, 1, ulong.MaxValue) is { } rate)
            {
                parsed = parsed with { TscFrequency = rate };
            }
            else if (index == 0 && part.Length > 0 && part[0] != '-' && !part.Contains('=', StringComparison.Ordinal))
            {
                parsed = parsed with { Model = part };
            }
            else
            {
                problem = $"'{part}' is neither -FEATURE with one of {string.Join(' ', NamedFeature.All.Select(feature => feature.Name))}, "
                    + $"nor {AddressBitsKey}{LeastAddressBits} to {CpuModel.PhysicalAddressBits}, nor {TscFrequencyKey}HZ";
                return false;
            }
        }

        choice = parsed;
        return true;
    }

    /// <summary>What keeps a model within what an engine supports.</summary>
    /// <param name="model">The model.</param>
    /// <param name="supported">What the engine supports at most.</param>
    /// <param name="tscFrequency">The only rate the engine can give; null for any.</param>
    public static ProcessorChoice Within(CpuModel model, CpuidTable supported, ulong? tscFrequency)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(supported);
        var bits = supported[AddressLeaf].Eax & 0xFF;
        return new ProcessorChoice
        {
            Model = model.Name,
            Without = [.. NamedFeature.All.Where(feature => feature.Bits.Any(bit => bit.IsIn(model.Cpuid) && !bit.IsIn(supported))).Select(feature => feature.Name)],
            AddressBits = bits < CpuModel.PhysicalAddressBits ? bits : null,
            TscFrequency = tscFrequency,
        };
    }

    /// <summary>Takes out of a model's table what the guest shall not see.</summary>
    public void ApplyTo(CpuidTable cpuid)
    {
        ArgumentNullException.ThrowIfNull(cpuid);
        foreach (var feature in NamedFeature.All.Where(feature => Without.Contains(feature.Name)))
        {
            feature.RemoveFrom(cpuid);
        }

        // The area is as large as what can be switched on.
        switch (cpuid[XsaveLeaf, 0].Eax)
        {
            case 0:
                cpuid[XsaveLeaf, 0] = cpuid[XsaveLeaf, 1] = cpuid[XsaveLeaf, 2] = default;
                break;
            case 3:
                cpuid[XsaveLeaf, 0] = cpuid[XsaveLeaf, 0] with { Ecx = 576 };
                cpuid[XsaveLeaf, 2] = default;
                break;
            default:
                break;
        }

        if (AddressBits is { } bits && bits < (cpuid[AddressLeaf].Eax & 0xFF))
        {
            cpuid[AddressLeaf] = cpuid[AddressLeaf] with { Eax = (cpuid[AddressLeaf].Eax & ~0xFFu) | bits };
        }
    }

    /// <summary>The choice as <see cref="TryParse"/> reads it.</summary>
    public override string ToString()
    {
        string?[] parts =
        [
            Model,
            .. Without.Select(name => "-" + name),
            AddressBits is { } bits ? string.Create(CultureInfo.InvariantCulture, $"{AddressBitsKey}{bits}") : null,
            TscFrequency is { } rate ? string.Create(CultureInfo.InvariantCulture, $"{TscFrequencyKey}{rate}") : null,
        ];
        return string.Join(',', parts.Where(part => part is not null));
    }

    private static ulong? TryNumber(string part, string key, ulong least, ulong most) =>
        part.StartsWith(key, StringComparison.Ordinal)
        && ulong.TryParse(part.AsSpan(key.Length), NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number >= least && number <= most
            ? number
            : null;
}
