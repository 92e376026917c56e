using System.Diagnostics;
using System.Globalization;
using System.Text;

namespace Vitro.NestedTests;

/// <summary>
/// Our KVM engine and QEMU on the same KVM, in turn, each machine in a process of its own: what leaving the guest costs, the
/// time to the shell, the process's memory beyond the guest's, and 4 KiB reads at random places of a disk.
/// </summary>
/// <remarks>
/// Writes a line "MEASURE NAME UNIT ours|peer VALUE" for each value, "BEGIN NAME" before the reads, whose cost is what the emulator takes of its
/// host's processor meanwhile, and "MISSING ours|peer REASON" for a machine that came to
/// no end; tests/Benchmarks reads them.
/// </remarks>
internal static class PeerBenchmark
{
    private const int Rounds = 3;
    private const double GuestKibibytes = 512 << 10;
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(4);

    // Where time is instructions, a guest that waits for itself makes it pass slowly: a second takes this host ten.
    private static readonly TimeSpan CountedLimit = TimeSpan.FromSeconds(30);

    // The disk itself, whose start is in this machine's page cache then: what is compared is the way to it. As many reads each
    // time, rather than as many seconds, which are long in an emulated machine.
    private const string Disk = "d=$(ls /dev/sda /dev/vda 2>/dev/null)";
    private const string Warm = Disk + "; dd if=$d of=/dev/null bs=1M count=16 iflag=direct 2>/dev/null";
    private const string Read = Disk + "; fio --name=r --filename=$d --readonly --direct=1 --ioengine=libaio --minimal";

    // Single sectors, as little as a disk is asked for: what is left is the way there and back.
    private static readonly (string Name, string Options)[] Reads =
    [
        ("round-trip", "--rw=randread --bs=512 --size=2M --iodepth=1"),
        ("read", "--rw=randread --bs=4k --size=16M --iodepth=1"),
        ("reads", "--rw=randread --bs=4k --size=16M --iodepth=32"),
    ];

    private static readonly string[] Peer =
    [
        "/peer/lib/ld-linux-x86-64.so.2", "--library-path", "/peer/lib", "/peer/qemu-system-x86_64", "-L", "/peer/share", "-cpu", "host", "-display", "none",
        "-vga", "none", "-nodefaults", "-no-reboot", "-serial", "stdio", "-object",
    ];

    // The guest's memory is a shared file here, and with us the one mapping of its size, so that the rest of a process can be told from it.
    private static readonly string[] PeerExits =
    [
        .. Peer, "memory-backend-memfd,id=m,size=64M", "-machine", "pc,accel=kvm,memory-backend=m", "-m", "64M", "-device",
        "isa-debug-exit,iobase=0xf4,iosize=4", "-kernel", "/peer/exits.elf",
    ];

    private static readonly string[] PeerLinux =
    [
        .. Peer, "memory-backend-memfd,id=m,size=512M", "-machine", "pc,accel=kvm,memory-backend=m", "-m", "512M", "-kernel", "/guest/vmlinuz", "-initrd",
        "/guest/initrd.img", "-append", "console=ttyS0 quiet panic=-1", "-drive", "file=/dev/vda,format=raw,if=virtio,cache=writeback",
    ];

    /// <summary>Measures what leaving the guest costs.</summary>
    internal static Task RunExitsAsync() => RunAsync(MeasureExitsAsync, [Environment.ProcessPath!, "serve:exits"], PeerExits);

    /// <summary>Measures a guest's boot and its process's memory.</summary>
    internal static Task RunBootAsync() => RunAsync(MeasureBootAsync, [Environment.ProcessPath!, "serve:linux"], PeerLinux);

    /// <summary>Measures a guest's reads.</summary>
    internal static Task RunDiskAsync() => RunAsync(MeasureDiskAsync, [Environment.ProcessPath!, "serve:linux"], PeerLinux);

    private static async Task RunAsync(Func<string, string[], Task> measure, string[] ours, string[] peer)
    {
        for (var round = 0; round < Rounds; round++)
        {
            foreach (var (side, command) in new[] { ("ours", ours), ("peer", peer) })
            {
                try
                {
                    await measure(side, command);
                }
                catch (InvalidOperationException error)
                {
                    // One machine that hangs does not lose what the others tell.
                    Console.WriteLine($"MISSING {side} {error.Message.ReplaceLineEndings(" | ")}");
                }
            }
        }
    }

    private static async Task MeasureExitsAsync(string side, string[] command)
    {
        using var guest = new Guest(command, CountedLimit);
        await guest.WaitAsync("nothing ", 0);
        foreach (var line in guest.Text.Split('\n'))
        {
            if (line.TrimEnd().Split(' ') is [("port" or "mmio" or "interrupt") and var name, var ticks])
            {
                Tell(name, "ticks", side, double.Parse(ticks, CultureInfo.InvariantCulture));
            }
        }
    }

    private static async Task MeasureBootAsync(string side, string[] command)
    {
        using var guest = new Guest(command, CountedLimit);
        await guest.WaitAsync("VITRO-SHELL", 0);
        Tell("boot", "s", side, guest.Elapsed.TotalSeconds);
        Tell("memory", "MiB", side, guest.PrivateMebibytes());
    }

    private static async Task MeasureDiskAsync(string side, string[] command)
    {
        using var guest = new Guest(command, Limit);
        await guest.WaitAsync("VITRO-SHELL", 0);
        await guest.RunAsync(Warm);
        foreach (var (name, options) in Reads)
        {
            Console.WriteLine($"BEGIN {name}");
            var fields = (await guest.RunAsync($"{Read} {options}")).Split('\n').First(line => line.StartsWith("3;fio", StringComparison.Ordinal)).Split(';');
            Tell(name, "1/s", side, double.Parse(fields[7], CultureInfo.InvariantCulture));
        }
    }

    private static void Tell(string name, string unit, string side, double value) =>
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"MEASURE {name} {unit} {side} {value:0.###}"));

    /// <summary>A machine's process and what its serial port wrote.</summary>
    private sealed class Guest : IDisposable
    {
        private readonly Stopwatch _clock = Stopwatch.StartNew();
        private readonly StringBuilder _text = new();
        private readonly SemaphoreSlim _more = new(0);
        private readonly Process _process;

        private readonly TimeSpan _limit;

        internal Guest(string[] command, TimeSpan limit)
        {
            _limit = limit;
            _process = Process.Start(new ProcessStartInfo(command[0], command[1..])
            {
                RedirectStandardInput = true,
                RedirectStandardOutput = true,
                UseShellExecute = false,
            })!;
            _ = Task.Factory.StartNew(ReadAll, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        }

        internal TimeSpan Elapsed => _clock.Elapsed;

        internal string Text
        {
            get
            {
                lock (_text)
                {
                    return _text.ToString();
                }
            }
        }

        /// <summary>Has the guest's shell run a command, and gives what it printed.</summary>
        internal async Task<string> RunAsync(string command)
        {
            var from = Text.Length;
            await _process.StandardInput.WriteAsync($"{command}; echo RUN''-END\n");
            await _process.StandardInput.FlushAsync();
            await WaitAsync("RUN-END", from);
            return Text[from..];
        }

        internal async Task WaitAsync(string what, int from)
        {
            using var limit = new CancellationTokenSource(_limit);
            while (Text.IndexOf(what, from, StringComparison.Ordinal) < 0)
            {
                try
                {
                    await _more.WaitAsync(limit.Token);
                }
                catch (OperationCanceledException error)
                {
                    throw new InvalidOperationException($"'{what}' did not come:\n{Text}", error);
                }
            }
        }

        /// <summary>What the process has beyond its guest's memory: neither files it shares, nor the mapping of that size.</summary>
        internal double PrivateMebibytes() => File.ReadLines($"/proc/{_process.Id}/status")
            .Where(line => line.StartsWith("RssAnon:", StringComparison.Ordinal) || line.StartsWith("RssFile:", StringComparison.Ordinal))
            .Sum(Kibibytes) / 1024
            - GuestMebibytes();

        // Ours is private memory; the peer's is a shared file, which does not count above.
        private double GuestMebibytes()
        {
            var isGuest = false;
            var kibibytes = 0.0;
            foreach (var line in File.ReadLines($"/proc/{_process.Id}/smaps"))
            {
                if (line.StartsWith("Size:", StringComparison.Ordinal))
                {
                    isGuest = Kibibytes(line) == GuestKibibytes;
                }
                else if (isGuest && line.StartsWith("Anonymous:", StringComparison.Ordinal))
                {
                    kibibytes += Kibibytes(line);
                }
            }

            return kibibytes / 1024;
        }

        private static double Kibibytes(string line) => double.Parse(line.Split(':')[1].Trim().Split(' ')[0], CultureInfo.InvariantCulture);

        public void Dispose()
        {
            if (!_process.HasExited)
            {
                _process.Kill();
            }

            _process.WaitForExit();
            _process.Dispose();
        }

        private void ReadAll()
        {
            var buffer = new char[4096];
            for (int count; (count = _process.StandardOutput.Read(buffer)) > 0; _more.Release())
            {
                lock (_text)
                {
                    _text.Append(buffer, 0, count);
                }
            }

            lock (_text)
            {
                _text.Append("\n[ended]");
            }
        }
    }
}
