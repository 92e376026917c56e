using Vitro.Storage.Files;

namespace Vitro.Storage.Vhdx;

/// <summary>The two headers of an open file: which one counts, and how to replace it so that a crash leaves one valid.</summary>
internal sealed class HeaderPair
{
    private readonly IDiskFile _file;
    private bool _currentIsFirst;

    private HeaderPair(IDiskFile file, VhdxHeader current, bool currentIsFirst)
    {
        _file = file;
        Current = current;
        _currentIsFirst = currentIsFirst;
    }

    internal VhdxHeader Current { get; private set; }

    /// <summary>What is wrong with the header that does not count, or empty.</summary>
    internal string OtherProblem { get; private init; } = "";

    internal long CurrentOffset => _currentIsFirst ? VhdxLayout.FirstHeaderOffset : VhdxLayout.SecondHeaderOffset;

    /// <summary>Reads both.</summary>
    /// <exception cref="DiskDamagedException">Neither is valid.</exception>
    internal static HeaderPair Read(IDiskFile file)
    {
        var buffer = new byte[VhdxHeader.Size];
        _ = file.Read(VhdxLayout.FirstHeaderOffset, buffer);
        var firstValid = VhdxHeader.TryRead(buffer, out var first, out var firstProblem);
        Array.Clear(buffer);
        _ = file.Read(VhdxLayout.SecondHeaderOffset, buffer);
        var secondValid = VhdxHeader.TryRead(buffer, out var second, out var secondProblem);
        if (!firstValid && !secondValid)
        {
            throw new DiskDamagedException(
                file.Path, "VHDX headers 1 and 2", VhdxLayout.FirstHeaderOffset, $"{firstProblem}; of header 2, {secondProblem}");
        }

        var useFirst = firstValid && (!secondValid || first.SequenceNumber >= second.SequenceNumber);
        return new HeaderPair(file, useFirst ? first : second, useFirst) { OtherProblem = useFirst ? secondProblem : firstProblem };
    }

    /// <summary>Writes the first pair of a new file.</summary>
    internal static HeaderPair Create(IDiskFile file, VhdxHeader header)
    {
        var buffer = new byte[VhdxHeader.Size];
        header.Write(buffer);
        file.Write(VhdxLayout.SecondHeaderOffset, buffer);
        header = header with { SequenceNumber = header.SequenceNumber + 1 };
        header.Write(buffer);
        file.Write(VhdxLayout.FirstHeaderOffset, buffer);
        return new HeaderPair(file, header, currentIsFirst: true);
    }

    /// <summary>Replaces both, one after the other, each durable before the next is touched.</summary>
    internal void Update(VhdxHeader header)
    {
        for (var i = 0; i < 2; i++)
        {
            var next = header with { SequenceNumber = Current.SequenceNumber + 1 };
            var buffer = new byte[VhdxHeader.Size];
            next.Write(buffer);
            _file.Write(_currentIsFirst ? VhdxLayout.SecondHeaderOffset : VhdxLayout.FirstHeaderOffset, buffer);
            _file.Flush();
            _currentIsFirst = !_currentIsFirst;
            Current = next;
        }
    }
}
