using System.Diagnostics;
using System.Globalization;
using Vitro.Foundation;
using Vitro.Hypervisor.Engine;

namespace Vitro.Benchmarks;

/// <summary>Rounds a second of the software engine in one loop of loads, stores, arithmetic, branches, a call and stack work.</summary>
internal static class InterpreterBenchmark
{
    private static ReadOnlySpan<byte> Code =>
    [
        0x48, 0x8B, 0x04, 0xCB, // mov rax, [rbx+rcx*8]
        0x48, 0x01, 0xD0, // add rax, rdx
        0x48, 0x89, 0x43, 0x08, // mov [rbx+8], rax
        0x0F, 0xB6, 0x73, 0x10, // movzx esi, byte [rbx+16]
        0x31, 0xF2, // xor edx, esi
        0x81, 0xE1, 0xFF, 0x01, 0x00, 0x00, // and ecx, 511
        0x83, 0xC1, 0x01, // add ecx, 1
        0x50, // push rax
        0x5F, // pop rdi
        0x48, 0x39, 0xD7, // cmp rdi, rdx
        0x72, 0x04, // jb +4
        0x4C, 0x8D, 0x40, 0x04, // lea r8, [rax+4]
        0xE8, 0x06, 0x00, 0x00, 0x00, // call +6
        0x49, 0x83, 0xE9, 0x01, // sub r9, 1
        0x75, 0xD0, // jne start
        0x48, 0xC1, 0xE8, 0x03, // shr rax, 3
        0xC3, // ret
    ];

    // As compilers and the C library use vector registers: copies, comparisons, scalar arithmetic.
    private static ReadOnlySpan<byte> VectorCode =>
    [
        0xF3, 0x0F, 0x6F, 0x03, // movdqu xmm0, [rbx]
        0x66, 0x0F, 0x6F, 0x4B, 0x10, // movdqa xmm1, [rbx+16]
        0x66, 0x0F, 0x74, 0xC1, // pcmpeqb xmm0, xmm1
        0x66, 0x0F, 0xD7, 0xC0, // pmovmskb eax, xmm0
        0x0F, 0x11, 0x43, 0x20, // movups [rbx+32], xmm0
        0x66, 0x0F, 0xEF, 0xD2, // pxor xmm2, xmm2
        0xF2, 0x0F, 0x2A, 0xD1, // cvtsi2sd xmm2, ecx
        0xF2, 0x0F, 0x58, 0xD3, // addsd xmm2, xmm3
        0xF2, 0x0F, 0x11, 0x53, 0x30, // movsd [rbx+48], xmm2
        0x66, 0x48, 0x0F, 0x6E, 0xE0, // movq xmm4, rax
        0x49, 0x83, 0xE9, 0x01, // sub r9, 1
        0x75, 0xCF, // jne start
        0xEB, 0xCD, // jmp start
    ];

    /// <summary>Runs the integer loop, or that of vector instructions, for a while and prints millions of its rounds a second.</summary>
    internal static void Run(TimeSpan duration, bool vector)
    {
        using var loop = new LoopPartition(vector ? VectorCode : Code);
        var vp = loop.Processor;
        for (var round = 0; round < 3; round++)
        {
            var before = Countdown(vp);
            var watch = Stopwatch.StartNew();
            var processorTime = Environment.CpuUsage.TotalTime;
            using var timer = new Timer(_ => vp.Cancel(), null, duration, Timeout.InfiniteTimeSpan);
            var exit = vp.Run();
            var executed = before - Countdown(vp);
            processorTime = Environment.CpuUsage.TotalTime - processorTime;
            Console.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{exit.Reason} {exit.Detail} {executed / watch.Elapsed.TotalSeconds / 1e6:F0} million rounds a second, {executed / processorTime.TotalSeconds / 1e6:F0} a processor second"));
        }
    }

    // R9, which each round lowers by one.
    private static long Countdown(IVirtualProcessor vp) => (long)vp.GetState().Gpr[9];
}
