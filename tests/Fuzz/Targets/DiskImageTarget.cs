using Vitro.UnitTests.Storage.Damage;

namespace Vitro.Fuzz.Targets;

/// <summary>VHD and VHDX files with any of their structures changed.</summary>
internal sealed class DiskImageTarget : IFuzzTarget
{
    public string Name => "disk-image";

    public void Run(ReadOnlySpan<byte> input) => DiskImageCase.Run(input);
}
