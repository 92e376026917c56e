using System.Buffers.Binary;
using System.Diagnostics;
using System.Globalization;
using Vitro.Hypervisor.Software;
using Vitro.Hypervisor.Software.Interpreter;
using Vitro.Hypervisor.Software.Translator;

namespace Vitro.Benchmarks;

/// <summary>
/// What decoding and translating an instruction of the C library takes, block behind block, none of which is executed. A block is decoded
/// when it is found, to be interpreted, and once more when it is translated. The times are those of the fastest stretch and of the median
/// one, since a busy host interrupts some.
/// </summary>
internal static unsafe class TranslationBenchmark
{
    private const string Library = "/usr/lib/x86_64-linux-gnu/libc.so.6";
    private const ulong CodeAddress = 0x10_0000;
    private const int CodeSize = 512 << 10;
    private const int Stretch = 250;
    private const int Rounds = 40;

    internal static int Run()
    {
        var stretches = Measure();
        Print("finding and decoding", stretches.Select(stretch => stretch.Decoding));
        Print("decoding and translation", stretches.Select(stretch => stretch.Translation));
        return 0;
    }

    /// <summary>Microseconds an instruction, of each stretch.</summary>
    internal static List<(double Decoding, double Translation)> Measure()
    {
        var code = ReadCode(Library);
        List<(double Decoding, double Translation)> stretches = [];
        for (var round = 0; round < Rounds; round++)
        {
            using var partition = new LoopPartition(code, new TranslatorFactory { CodeSize = 64 << 20 }, CodeAddress);
            var found = Measure((SoftwareVirtualProcessor)partition.Processor, code.Length);

            // The first ones compile our own code.
            if (round >= Rounds / 2)
            {
                stretches.AddRange(found);
            }
        }

        return stretches;
    }

    private static List<(double Decoding, double Translation)> Measure(SoftwareVirtualProcessor vp, int length)
    {
        var cache = (CodeCache)vp.Partition.CodePages;
        var mode = (vp.State->Mode & CodeCache.ModeMask) | CodeCache.Plain;
        var blocks = stackalloc CodeBlock*[Stretch];
        var addresses = stackalloc ulong[Stretch];
        List<(double, double)> stretches = [];
        cache.Hold(vp);
        for (var linear = CodeAddress; linear < CodeAddress + (ulong)length - (Stretch * 256);)
        {
            var instructions = 0;
            var start = Stopwatch.GetTimestamp();
            for (var n = 0; n < Stretch; n++)
            {
                addresses[n] = linear;
                blocks[n] = cache.GetBlock(vp, linear, mode);
                linear += (ulong)blocks[n]->Length;
                instructions += blocks[n]->Count;
            }

            var decoded = Stopwatch.GetTimestamp();
            for (var n = 0; n < Stretch; n++)
            {
                _ = cache.Translate(vp, blocks[n], addresses[n]);
            }

            var translated = Stopwatch.GetTimestamp();
            stretches.Add((Microseconds(start, decoded) / instructions, Microseconds(decoded, translated) / instructions));
        }

        CodeCache.Release(vp);
        return stretches;
    }

    private static double Microseconds(long start, long end) => Stopwatch.GetElapsedTime(start, end).TotalMicroseconds;

    private static void Print(string title, IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture, $"{title}: {sorted[0]:F3} us an instruction at best, {sorted[sorted.Length / 2]:F3} in the median"));
    }

    // The beginning of the executable segment.
    private static byte[] ReadCode(string file)
    {
        var image = File.ReadAllBytes(file);
        var headers = (int)BinaryPrimitives.ReadUInt64LittleEndian(image.AsSpan(32));
        int count = BinaryPrimitives.ReadUInt16LittleEndian(image.AsSpan(56));
        for (var n = 0; n < count; n++)
        {
            var header = image.AsSpan(headers + (n * 56), 56);
            const int executable = 1;
            if ((BinaryPrimitives.ReadUInt32LittleEndian(header[4..]) & executable) != 0)
            {
                var offset = (int)BinaryPrimitives.ReadUInt64LittleEndian(header[8..]);
                return image[offset..(offset + CodeSize)];
            }
        }

        throw new InvalidDataException($"{file} has no code.");
    }
}
