using System.Globalization;
using System.Text;
using Vitro.UnitTests.Architecture;

namespace Vitro.UnitTests.Hypervisor.Software.Translator;

/// <summary>A program on which translated code and the interpreter once differed, as a line of a file in Cases that every run replays.</summary>
/// <param name="Mode">The kind of code.</param>
/// <param name="Seed">What registers and data are made of.</param>
/// <param name="Program">Its bytes; HLT where nothing else is.</param>
internal sealed record ProgramCase(ProgramMode Mode, int Seed, byte[] Program)
{
    private const byte Hlt = 0xF4;
    private const int LongestGap = 16;

    private static string Folder => Path.Combine(Repository.Root, "tests", "UnitTests", "Hypervisor.Software", "Translator", "Cases");

    /// <summary>All of the files.</summary>
    internal static IEnumerable<ProgramCase> All =>
        Directory.EnumerateFiles(Folder, "*.txt").SelectMany(File.ReadLines).Where(line => line.Length > 0 && line[0] != '#').Select(Parse);

    /// <summary>Compares it; what differs, with the line for a file, which is also added to one when VITRO_KEEP_CASES is set.</summary>
    internal string Compare(ProgramPair pair)
    {
        var difference = pair.Compare(Program, Seed);
        if (difference.Length == 0)
        {
            return "";
        }

        if (Environment.GetEnvironmentVariable("VITRO_KEEP_CASES") is not null)
        {
            File.AppendAllText(Path.Combine(Folder, "found.txt"), $"# {difference.Trim()}\n{this}\n");
        }

        return $"{difference}\n{this}";
    }

    /// <summary>Mode, seed, and pieces of code with their offsets.</summary>
    public override string ToString()
    {
        var text = new StringBuilder(string.Create(CultureInfo.InvariantCulture, $"{Mode} {Seed}"));
        for (var at = 0; at < Program.Length;)
        {
            var end = at;
            for (var n = at; n < Program.Length && n - end < LongestGap; n++)
            {
                end = Program[n] == Hlt ? end : n + 1;
            }

            if (end > at)
            {
                text.Append(CultureInfo.InvariantCulture, $" {at:x}:{Convert.ToHexString(Program.AsSpan(at, end - at))}");
            }

            at = end;
            while (at < Program.Length && Program[at] == Hlt)
            {
                at++;
            }
        }

        return text.ToString();
    }

    internal static ProgramCase Parse(string line)
    {
        var fields = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        List<byte> program = [];
        foreach (var piece in fields[2..])
        {
            var parts = piece.Split(':');
            var offset = int.Parse(parts[0], NumberStyles.HexNumber, CultureInfo.InvariantCulture);
            program.AddRange(Enumerable.Repeat(Hlt, offset - program.Count));
            program.AddRange(Convert.FromHexString(parts[1]));
        }

        program.Add(Hlt);
        return new ProgramCase(Enum.Parse<ProgramMode>(fields[0]), int.Parse(fields[1], CultureInfo.InvariantCulture), [.. program]);
    }
}
