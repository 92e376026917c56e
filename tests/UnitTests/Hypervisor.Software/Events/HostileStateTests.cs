using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Software;
using Xunit;

namespace Vitro.UnitTests.Hypervisor.Software.Events;

/// <summary>Garbage in registers, descriptor tables and page tables: the processor faults, it never throws.</summary>
public sealed unsafe class HostileStateTests
{
    private const int Steps = 400;

    // What reaches the system side most: descriptor loads, far transfers, returns, control registers, string port I/O.
    private static readonly byte[][] Fragments =
    [
        [0x8E, 0xD8], [0x8E, 0xD0], [0x8E, 0xC0], [0x0F, 0xA1], [0x0F, 0xA9], [0xCF], [0x48, 0xCF], [0x66, 0xCF], [0xCB], [0x48, 0xCB],
        [0xCA, 8, 0], [0xFF, 0x2E], [0xFF, 0x1E], [0xCD, 0x40], [0xCC], [0xF1], [0x0F, 0x05], [0x0F, 0x07], [0x48, 0x0F, 0x07], [0x0F, 0x34],
        [0x0F, 0x35], [0x0F, 0x22, 0xC0], [0x0F, 0x22, 0xD8], [0x0F, 0x22, 0xE0], [0x0F, 0x23, 0xF8], [0x0F, 0x23, 0xC0], [0x0F, 0x00, 0xD8],
        [0x0F, 0x00, 0xD0], [0x0F, 0x01, 0x16], [0x0F, 0x01, 0x1E], [0x0F, 0x02, 0xC1], [0x0F, 0x03, 0xC1], [0x0F, 0x00, 0xE0], [0x9D],
        [0x66, 0x9D], [0xF3, 0x6C], [0xF3, 0x6F], [0xF3, 0xA4], [0xF3, 0x48, 0xAB], [0x0F, 0x30], [0x0F, 0x32], [0x0F, 0x01, 0x3E],
        [0x66, 0x0F, 0x38, 0x82, 0x0E], [0x0F, 0x01, 0xD1], [0x0F, 0xC7, 0x0E], [0xF0, 0x0F, 0xC1, 0x06], [0xF0, 0x48, 0x0F, 0xC7, 0x0E],
        [0x0F, 0x01, 0xCB], [0x0F, 0x01, 0xF8], [0xFB], [0xC8, 16, 0, 3], [0x62, 0x06], [0x63, 0x06], [0x0F, 0xB2, 0x06], [0xF4],
    ];

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void Garbage_in_every_table_never_throws(int seed)
    {
        var random = new Random(seed);
        for (var round = 0; round < 25; round++)
        {
            using var machine = new TestProcessor();
            Prepare(machine, random);
            for (var step = 0; step < Steps; step++)
            {
                machine.Vp.State->Activity = (uint)VpActivity.Running;
                machine.Step();
                if (random.Next(8) == 0)
                {
                    Disturb(machine, random);
                }
            }
        }
    }

    private static void Prepare(TestProcessor machine, Random random)
    {
        if (random.Next(2) == 0)
        {
            machine.EnterLongMode((uint)random.Next(2) * 3);
        }
        else
        {
            machine.EnterProtectedMode((uint)random.Next(2) * 3);
        }

        var code = new List<byte>();
        while (code.Count < 3000)
        {
            code.AddRange(Fragments[random.Next(Fragments.Length)]);
        }

        machine.Write(TestProcessor.Code, [.. code]);
        for (var vector = 0u; vector < 256; vector++)
        {
            machine.Write(TestProcessor.Handler + (vector * 16), Fragments[random.Next(Fragments.Length)]);
        }
    }

    private static void Disturb(TestProcessor machine, Random random)
    {
        var state = machine.Vp.State;
        switch (random.Next(8))
        {
            case 0:
                state->Gpr[random.Next(16)] = (ulong)random.NextInt64() >> random.Next(64);
                break;
            case 1:
                state->Gpr[random.Next(16)] = TestProcessor.Stack + (ulong)random.Next(-16, 16);
                break;
            case 2:
                machine.WriteWord(TestProcessor.Gdt + (ulong)(random.Next(10) * 8), (ulong)random.NextInt64());
                break;
            case 3:
                machine.WriteWord(TestProcessor.Idt + (ulong)(random.Next(512) * 8), (ulong)random.NextInt64());
                break;
            case 4:
                machine.WriteWord(TestProcessor.Tss + (ulong)random.Next(0x68), (ulong)random.NextInt64());
                break;
            case 5:
                machine.WriteWord(TestProcessor.Pml4 + (ulong)(random.Next(3) * 4096) + (ulong)(random.Next(16) * 8), (ulong)random.NextInt64());
                break;
            case 6:
                // A selector that exists, in every register that code loads segments from.
                state->Gpr[0] = state->Gpr[1] = (ulong)((random.Next(10) * 8) | random.Next(4));
                break;
            default:
                state->Rip = TestProcessor.Code + (ulong)random.Next(3000);
                break;
        }
    }
}
