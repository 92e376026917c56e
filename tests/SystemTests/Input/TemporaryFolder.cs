using System.Buffers.Binary;

namespace Vitro.SystemTests.Input;

/// <summary>A folder that is deleted with the test, and the files tests put into one.</summary>
internal sealed class TemporaryFolder : IDisposable
{
    internal TemporaryFolder() => Directory.CreateDirectory(Path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);

    internal string Path { get; } = System.IO.Path.Combine(System.IO.Path.GetTempPath(), $"vitro-{Guid.NewGuid():N}");

    internal string this[string name] => System.IO.Path.Combine(Path, name);

    internal string Write(string name, byte[] content)
    {
        File.WriteAllBytes(this[name], content);
        return this[name];
    }

    /// <summary>A multiboot kernel that prints READY and halts for ever.</summary>
    internal string WriteKernel()
    {
        const uint Address = 0x10_0000;
        var image = new byte[128];
        uint[] header =
        [
            0x1BAD_B002, 0x1_0000, unchecked(0u - 0x1BAD_B002 - 0x1_0000), Address, Address, Address + 128, Address + 128, Address + 32,
        ];
        for (var i = 0; i < header.Length; i++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(image.AsSpan(i * 4), header[i]);
        }

        // mov dx, 3f8h; then for each letter mov al, imm8; out dx, al; then cli; hlt; jmp to the hlt.
        byte[] code = [0x66, 0xBA, 0xF8, 0x03];
        code.CopyTo(image, 32);
        var at = 36;
        foreach (var letter in "READY\n"u8)
        {
            image[at++] = 0xB0;
            image[at++] = letter;
            image[at++] = 0xEE;
        }

        byte[] end = [0xFA, 0xF4, 0xEB, 0xFD];
        end.CopyTo(image, at);
        return Write("kernel.elf", image);
    }

    public void Dispose() => Directory.Delete(Path, recursive: true);
}
