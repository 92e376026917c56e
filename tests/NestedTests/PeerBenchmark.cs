using System.Diagnostics;
using System.Globalization;
using System.Text;

namespace Vitro.NestedTests;

/// <summary>
/// Our KVM engine and QEMU on the same KVM, in turn, each machine in a process of its own: what leaving the guest costs, the
/// time to the shell, the process's memory beyond the guest's, and 4 KiB reads at random places of a disk.
/// </summary>
/// <remarks>Writes a line "MEASURE NAME UNIT ours|peer VALUE" for each value; tests/Benchmarks reads them.</remarks>
internal static class PeerBenchmark
{
    internal const int Rounds = 3;
    private const double GuestKibibytes = 512 << 10;
    private const string Read =
        "fio --name=r --filename=/var/lib/bench.bin --size=16M --rw=randread --bs=4k --direct=1 --ioengine=libaio --time_based --runtime=4 --minimal";

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

    internal static async Task RunAsync()
    {
        for (var round = 0; round < Rounds; round++)
        {
            await MeasureExitsAsync("ours", [Environment.ProcessPath!, "serve:exits"]);
            await MeasureExitsAsync("peer", PeerExits);
            await MeasureLinuxAsync("ours", [Environment.ProcessPath!, "serve:linux"]);
            await MeasureLinuxAsync("peer", PeerLinux);
        }
    }

    private static async Task MeasureExitsAsync(string side, string[] command)
    {
        using var guest = new Guest(command);
        await guest.WaitAsync("nothing ", 0);
        foreach (var line in guest.Text.Split('\n'))
        {
            if (line.TrimEnd().Split(' ') is [("port" or "mmio" or "interrupt") and var name, var ticks])
            {
                Tell(name, "ticks", side, double.Parse(ticks, CultureInfo.InvariantCulture));
            }
        }
    }

    private static async Task MeasureLinuxAsync(string side, string[] command)
    {
        using var guest = new Guest(command);
        await guest.WaitAsync("VITRO-SHELL", 0);
        Tell("boot", "s", side, guest.Elapsed.TotalSeconds);
        Tell("memory", "MiB", side, guest.PrivateMebibytes());
        foreach (var (name, depth) in new[] { ("round-trip", 1), ("reads", 32) })
        {
            var from = guest.Text.Length;
            guest.Type($"{Read} --iodepth={depth}; echo FIO''-END");
            await guest.WaitAsync("FIO-END", from);
            var fields = guest.Text[from..].Split('\n').First(line => line.StartsWith("3;fio", StringComparison.Ordinal)).Split(';');
            Tell(name, "1/s", side, double.Parse(fields[7], CultureInfo.InvariantCulture));
        }
    }

    private static void Tell(string name, string unit, string side, double value) =>
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"MEASURE {name} {unit} {side} {value:0.###}"));

    /// <summary>A machine's process and what its serial port wrote.</summary>
    private sealed class Guest : IDisposable
    {
        private static readonly TimeSpan Limit = TimeSpan.FromMinutes(5);
        private readonly Stopwatch _clock = Stopwatch.StartNew();
        private readonly StringBuilder _text = new();
        private readonly SemaphoreSlim _more = new(0);
        private readonly Process _process;

        internal Guest(string[] command)
        {
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

        internal void Type(string line)
        {
            _process.StandardInput.Write(line + "\n");
            _process.StandardInput.Flush();
        }

        internal async Task WaitAsync(string what, int from)
        {
            while (Text.IndexOf(what, from, StringComparison.Ordinal) < 0)
            {
                if (!await _more.WaitAsync(Limit))
                {
                    throw new InvalidOperationException($"'{what}' did not come:\n{Text}");
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
