using System.Diagnostics;
using Vitro.Platform;
using Xunit;

namespace Vitro.UnitTests.Platform;

public sealed class LiblzmaTests
{
    [Theory]
    [InlineData("--check=crc32 --x86 --lzma2=preset=6")]
    [InlineData("--check=crc32 --lzma2=lc=0,lp=2,pb=0")]
    [InlineData("--check=none --lzma2=lc=4,pb=4,dict=64KiB")]
    [InlineData("--check=crc64 --x86 --lzma2=preset=0 --block-size=300000")]
    [InlineData("--check=sha256 --lzma2=mode=fast,nice=8")]
    public void What_xz_packs_comes_back(string options)
    {
        var content = Content();
        var output = new byte[content.Length];

        Assert.Equal(content.Length, Liblzma.DecodeXz(Pack(content, options), output));
        Assert.True(content.AsSpan().SequenceEqual(output));
    }

    [Fact]
    public void An_output_that_is_too_small_is_an_error()
    {
        var packed = Pack(Content(), "--check=crc32 --lzma2");

        Assert.Throws<InvalidDataException>(() => Liblzma.DecodeXz(packed, new byte[1000]));
    }

    [Fact]
    public void A_flipped_bit_is_noticed()
    {
        var content = Content();
        var packed = Pack(content, "--check=crc32 --x86 --lzma2");
        var random = new Random(3);
        for (var round = 0; round < 20; round++)
        {
            var damaged = packed.ToArray();
            damaged[random.Next(12, packed.Length - 40)] ^= (byte)(1 << random.Next(8));

            Assert.Throws<InvalidDataException>(() => Liblzma.DecodeXz(damaged, new byte[content.Length]));
        }
    }

    /// <summary>Noise, repeats, and many bytes that the branch filter takes for calls, near and across each other.</summary>
    private static byte[] Content()
    {
        var random = new Random(5);
        var content = new byte[700_000];
        for (var index = 0; index < content.Length; index++)
        {
            content[index] = random.Next(6) switch
            {
                0 => 0xE8,
                1 => 0xE9,
                2 => 0,
                3 => 0xFF,
                4 when index > 1000 => content[index - random.Next(1, 1000)],
                _ => (byte)random.Next(256),
            };
        }

        content.AsSpan(1000, 50_000).CopyTo(content.AsSpan(400_000));
        content.AsSpan(500_000, 60_000).Fill(0x41);
        return content;
    }

    private static byte[] Pack(byte[] content, string options)
    {
        var folder = Directory.CreateTempSubdirectory("vitro-xz-");
        try
        {
            var path = Path.Combine(folder.FullName, "content");
            File.WriteAllBytes(path, content);
            Process? process = null;
            try
            {
                process = Process.Start(new ProcessStartInfo("xz", [.. options.Split(' '), path]) { UseShellExecute = false });
            }
            catch (System.ComponentModel.Win32Exception)
            {
                Assert.Skip("xz is not installed.");
            }

            using (process)
            {
                process!.WaitForExit();
                Assert.Equal(0, process.ExitCode);
            }

            return File.ReadAllBytes(path + ".xz");
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }
}
