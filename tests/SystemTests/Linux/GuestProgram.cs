using System.Text;

namespace Vitro.SystemTests.Linux;

/// <summary>The initial RAM disk of the guest image and a program of the folder Programs in its root; deleted with the test.</summary>
internal sealed class GuestProgram : IDisposable
{
    private GuestProgram(string initrd) => Initrd = initrd;

    internal string Initrd { get; }

    internal static GuestProgram Assemble(string name)
    {
        var program = File.ReadAllBytes(Assembler.Assemble(Path.Combine(AppContext.BaseDirectory, "Programs"), name));
        var initrd = Path.Combine(Path.GetTempPath(), $"vitro-program-{Guid.NewGuid():N}.img");
        using var stream = File.Create(initrd);
        stream.Write(File.ReadAllBytes(LinuxImage.Initrd));
        Pad(stream);
        Write(stream, name, 0x81ED, program);
        Write(stream, "TRAILER!!!", 0, []);
        return new GuestProgram(initrd);
    }

    public void Dispose() => File.Delete(Initrd);

    // One member of an archive of the format newc: thirteen hexadecimal numbers, the name, the content, both padded to words.
    private static void Write(Stream stream, string name, int mode, byte[] content)
    {
        var header = new StringBuilder("070701");
        foreach (var field in (int[])[1, mode, 0, 0, 1, 0, content.Length, 0, 0, 0, 0, name.Length + 1, 0])
        {
            header.Append(field.ToString("x8", System.Globalization.CultureInfo.InvariantCulture));
        }

        stream.Write(Encoding.ASCII.GetBytes(header + name + "\0"));
        Pad(stream);
        stream.Write(content);
        Pad(stream);
    }

    private static void Pad(Stream stream)
    {
        while ((stream.Position & 3) != 0)
        {
            stream.WriteByte(0);
        }
    }
}
