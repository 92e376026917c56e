using Vitro.Firmware.LinuxBoot;
using Vitro.Hypervisor.Engine;
using Xunit;

namespace Vitro.UnitTests.Firmware;

public sealed class KernelLoaderTests : IDisposable
{
    private const ulong BootParameters = 0x7000;
    private readonly KernelFiles _files = new();
    private readonly GuestRam _ram = new();

    public void Dispose()
    {
        _ram.Dispose();
        _files.Dispose();
    }

    [Theory]
    [InlineData("xz")]
    [InlineData("gzip")]
    [InlineData("zstd")]
    [InlineData("lz4")]
    public void A_packed_kernel_is_unpacked_and_entered_directly(string format)
    {
        var kernel = Load(KernelFiles.BzImage(KernelFiles.Pack(format, KernelFiles.Elf64())));

        Assert.Equal(BootProtocol.LinuxUnpacked, kernel.Protocol);
        Assert.Equal(KernelFiles.LoadAddress, kernel.State.Rip);
        Assert.Equal(KernelFiles.Pattern(0x300), _ram.Read(KernelFiles.LoadAddress, 0x300));
        Assert.All(_ram.Read(KernelFiles.LoadAddress + 0x300, 0x1000), value => Assert.Equal(0, value));
    }

    [Fact]
    public void A_kernel_of_an_unknown_format_unpacks_itself()
    {
        var file = KernelFiles.BzImage(KernelFiles.Pattern(0x200));
        var kernel = Load(file);

        Assert.Equal(BootProtocol.LinuxCompressed, kernel.Protocol);
        Assert.Equal(KernelFiles.LoadAddress + 0x200, kernel.State.Rip);
        var code = file[((KernelFiles.SetupSectors + 1) * 512)..];
        Assert.Equal(code, _ram.Read(KernelFiles.LoadAddress, code.Length));
    }

    [Fact]
    public void The_boot_processor_starts_in_long_mode_with_memory_mapped_one_to_one()
    {
        var state = Load(KernelFiles.BzImage(KernelFiles.Pack("gzip", KernelFiles.Elf64()))).State;

        Assert.Equal(0x500ul, state.Efer);
        Assert.Equal(0x20ul, state.Cr4);
        Assert.Equal(0x8000_0001ul, state.Cr0 & 0x8000_0001);
        Assert.Equal(BootParameters, state.Gpr[6]);
        Assert.Equal(0xA09Bu, state.Cs.Attributes);
        Assert.Equal(2ul, state.Rflags);
        Assert.Equal(VpActivity.Running, state.Activity);
        foreach (var address in new ulong[] { 0, KernelFiles.LoadAddress, 0xFEE0_0123, 0xFFFF_FFFF })
        {
            Assert.Equal(address, Translate(state.Cr3, address));
        }
    }

    [Fact]
    public void The_descriptor_table_holds_the_segments_that_are_loaded()
    {
        var state = Load(KernelFiles.BzImage(KernelFiles.Pack("gzip", KernelFiles.Elf64()))).State;

        Assert.Equal(0x00AF_9B00_0000_FFFFul, _ram.U64(state.Gdtr.Base + state.Cs.Selector));
        Assert.Equal(0x00CF_9300_0000_FFFFul, _ram.U64(state.Gdtr.Base + state.Ds.Selector));
        Assert.True(state.Tr.Selector + 7 <= state.Gdtr.Limit);
    }

    [Fact]
    public void Linux_finds_header_command_line_memory_map_and_initial_ram_disk_in_its_parameters()
    {
        var initrd = KernelFiles.Pattern(5000);
        var kernel = KernelLoader.Load(
            new BootOptions
            {
                KernelPath = _files.Write("kernel", KernelFiles.BzImage(KernelFiles.Pack("gzip", KernelFiles.Elf64()))),
                InitrdPaths = [_files.Write("initrd", initrd)],
                CommandLine = "console=ttyS0 quiet",
                RsdpAddress = 0xE_0000,
            },
            _ram.Space);

        Assert.Contains("9.9.9-test", kernel.Description, StringComparison.Ordinal);
        Assert.Equal("HdrS"u8.ToArray(), _ram.Read(BootParameters + 0x202, 4));
        Assert.Equal(0xFF, _ram.Read(BootParameters + 0x210, 1)[0]);
        Assert.Equal("console=ttyS0 quiet", _ram.Text(_ram.U32(BootParameters + 0x228)));
        Assert.Equal(0xE_0000ul, _ram.U64(BootParameters + 0x70));
        Assert.Equal(5000u, _ram.U32(BootParameters + 0x21C));
        ulong start = _ram.U32(BootParameters + 0x218);
        Assert.Equal(0ul, start % 4096);
        Assert.Equal(initrd, _ram.Read(start, initrd.Length));
        Assert.Equal(0, _ram.Read(BootParameters + 0x211, 1)[0] & 2);
        Assert.Equal(4, _ram.Read(BootParameters + 0x1E8, 1)[0]);
        Assert.Equal(0x9_FC00ul, _ram.U64(BootParameters + 0x2D0 + 8));
        Assert.Equal(0x10_0000ul, _ram.U64(BootParameters + 0x2D0 + 60));
        Assert.Equal((63UL << 20), _ram.U64(BootParameters + 0x2D0 + 68));
    }

    [Fact]
    public void A_pvh_kernel_is_entered_in_protected_mode_with_its_start_information()
    {
        var kernel = KernelLoader.Load(
            new BootOptions
            {
                KernelPath = _files.Write("kernel", KernelFiles.Elf64(pvhEntry: 0x20_0040)),
                InitrdPaths = [_files.Write("module", KernelFiles.Pattern(100))],
                CommandLine = "test",
                RsdpAddress = 0xE_0000,
            },
            _ram.Space);

        Assert.Equal(BootProtocol.Pvh, kernel.Protocol);
        Assert.Equal(0x20_0040ul, kernel.State.Rip);
        Assert.Equal(1ul, kernel.State.Cr0 & 0x8000_0001);
        Assert.Equal(0ul, kernel.State.Efer);
        Assert.Equal(0xC09Bu, kernel.State.Cs.Attributes);
        var info = kernel.State.Gpr[3];
        Assert.Equal(0x336E_C578u, _ram.U32(info));
        Assert.Equal(1u, _ram.U32(info + 12));
        Assert.Equal(KernelFiles.Pattern(100), _ram.Read(_ram.U64(_ram.U64(info + 16)), 100));
        Assert.Equal("test", _ram.Text(_ram.U64(info + 24)));
        Assert.Equal(0xE_0000ul, _ram.U64(info + 32));
        Assert.Equal(4u, _ram.U32(info + 48));
    }

    [Fact]
    public void A_multiboot_kernel_gets_its_modules_command_line_and_memory_map()
    {
        var kernel = KernelLoader.Load(
            new BootOptions
            {
                KernelPath = _files.Write("kernel", Multiboot()),
                InitrdPaths = [_files.Write("one", KernelFiles.Pattern(10)), _files.Write("two", KernelFiles.Pattern(20))],
                CommandLine = "test",
            },
            _ram.Space);

        Assert.Equal(BootProtocol.Multiboot, kernel.Protocol);
        Assert.Equal(0x2BAD_B002ul, kernel.State.Gpr[0]);
        Assert.Equal(0x10_0020ul, kernel.State.Rip);
        Assert.Equal(Multiboot(), _ram.Read(0x10_0000, 64));
        var info = kernel.State.Gpr[3];
        Assert.Equal(2u, _ram.U32(info + 20));
        ulong second = _ram.U32(info + 24) + 16;
        Assert.Equal(KernelFiles.Pattern(20), _ram.Read(_ram.U32(second), 20));
        Assert.Equal("two", _ram.Text(_ram.U32(second + 8)));
        Assert.Equal("test", _ram.Text(_ram.U32(info + 16)));
        Assert.Equal(4u * 24, _ram.U32(info + 44));
    }

    [Fact]
    public void A_missing_kernel_is_named_with_cause_and_cure()
    {
        var error = Assert.Throws<BootException>(() => KernelLoader.Load(new BootOptions { KernelPath = "/no/such/kernel" }, _ram.Space));

        Assert.Equal("/no/such/kernel: the kernel does not exist; check the path.", error.Message);
    }

    [Fact]
    public void A_text_file_is_no_kernel() => Assert.Throws<BootException>(() => Load("just some text"u8.ToArray()));

    [Fact]
    public void A_kernel_that_needs_more_memory_says_how_much()
    {
        using var small = new GuestRam(2UL << 20);
        var path = _files.Write("kernel", KernelFiles.BzImage(KernelFiles.Pack("gzip", KernelFiles.Elf64())));
        var error = Assert.Throws<BootException>(() => KernelLoader.Load(new BootOptions { KernelPath = path }, small.Space));

        Assert.Contains("needs 4 MiB", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void An_initial_ram_disk_that_does_not_fit_is_refused()
    {
        var initrd = Path.Combine(Path.GetDirectoryName(_files.Write("x", [1]))!, "big");
        using (var file = File.Create(initrd))
        {
            file.SetLength(100 << 20);
        }

        var path = _files.Write("kernel", KernelFiles.BzImage(KernelFiles.Pack("gzip", KernelFiles.Elf64())));
        var error = Assert.Throws<BootException>(
            () => KernelLoader.Load(new BootOptions { KernelPath = path, InitrdPaths = [initrd] }, _ram.Space));

        Assert.Equal(initrd, error.File);
    }

    [Fact]
    public void A_command_line_longer_than_the_kernel_takes_is_refused()
    {
        var path = _files.Write("kernel", KernelFiles.BzImage(KernelFiles.Pack("gzip", KernelFiles.Elf64())));
        var error = Assert.Throws<BootException>(
            () => KernelLoader.Load(new BootOptions { KernelPath = path, CommandLine = new string('a', 2048) }, _ram.Space));

        Assert.Equal("--append", error.File);
    }

    [Theory]
    [InlineData("xz")]
    [InlineData("gzip")]
    [InlineData("lz4")]
    [InlineData("elf")]
    [InlineData("multiboot")]
    public void Damaged_kernels_load_or_are_refused_and_nothing_else(string kind)
    {
        var sound = kind switch
        {
            "elf" => KernelFiles.Elf64(pvhEntry: 0x20_0040),
            "multiboot" => Multiboot(),
            _ => KernelFiles.BzImage(KernelFiles.Pack(kind, KernelFiles.Elf64())),
        };
        var random = new Random(17);
        for (var round = 0; round < 400; round++)
        {
            var damaged = sound[..(round % 4 == 0 ? random.Next(1, sound.Length) : sound.Length)];
            for (var count = random.Next(1, 4); count > 0; count--)
            {
                damaged[random.Next(damaged.Length)] = (byte)random.Next(256);
            }

            try
            {
                Load(damaged);
            }
            catch (BootException)
            {
                // Refused, as it should be.
            }
        }
    }

    private LoadedKernel Load(byte[] kernel) =>
        KernelLoader.Load(new BootOptions { KernelPath = _files.Write("kernel", kernel) }, _ram.Space);

    private static byte[] Multiboot()
    {
        const uint Magic = 0x1BAD_B002;
        const uint Flags = 0x1_0003;
        var file = new byte[64];
        KernelFiles.U32(file, 0, Magic);
        KernelFiles.U32(file, 4, Flags);
        KernelFiles.U32(file, 8, unchecked(0 - (Magic + Flags)));
        KernelFiles.U32(file, 12, 0x10_0000);
        KernelFiles.U32(file, 16, 0x10_0000);
        KernelFiles.U32(file, 28, 0x10_0020);
        return file;
    }

    private ulong Translate(ulong root, ulong address)
    {
        var pml4 = _ram.U64(root + ((address >> 39 & 511) * 8));
        var pdpt = _ram.U64((pml4 & ~0xFFFul) + ((address >> 30 & 511) * 8));
        var directory = _ram.U64((pdpt & ~0xFFFul) + ((address >> 21 & 511) * 8));
        Assert.Equal(0x83ul, directory & 0xFFF);
        return (directory & ~0xFFFul) | (address & 0x1F_FFFF);
    }
}
