using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Software;
using Xunit;

namespace Vitro.UnitTests.Hypervisor.Software.Interpreter;

/// <summary>Whatever bytes a guest runs, in whatever mode, the engine itself does not fail.</summary>
public sealed unsafe class RandomCodeTests
{
    private static readonly int Rounds = Environment.GetEnvironmentVariable("VITRO_LONG_TESTS") == "1" ? 20_000 : 60;

    [Theory]
    [InlineData("real", 1)]
    [InlineData("protected16", 2)]
    [InlineData("protected32", 3)]
    [InlineData("long", 4)]
    [InlineData("user", 5)]
    public void Random_code_never_ends_in_an_internal_error(string mode, int seed)
    {
        var random = new Random(seed);
        var bytes = new byte[8192];
        for (var round = 0; round < Rounds; round++)
        {
            using var processor = new TestProcessor();
            random.NextBytes(bytes);
            processor.EnterLongMode(mode == "user" ? 3u : 0);
            var code = TestProcessor.Code;
            if (mode is not ("long" or "user"))
            {
                processor.Vp.SetState(State(mode));
                code = mode == "real" ? 0x7000u : 0x8000u;
            }

            processor.Write(code, bytes);
            for (var n = 0; n < 16; n++)
            {
                if (n != 4 || random.Next(4) == 0)
                {
                    processor.State->Gpr[n] = (ulong)random.NextInt64() >> random.Next(64);
                }
            }

            processor.State->Rip = mode is "long" or "user" ? code : mode == "real" ? 0x7000u : 0x8000u;
            var vp = processor.Vp;
            for (var run = 0; run < 4; run++)
            {
                // A request pending from the start ends the run at its first chance; the others have been let in by then.
                vp.EnterGuest();
                for (var step = 0; step < 200 && processor.State->Activity == (uint)VpActivity.Running; step++)
                {
                    processor.State->Requests |= (uint)VpRequest.Cancel;
                    vp.Core.Run(vp);
                }

                vp.LeaveGuest();
            }
        }
    }

    private static VirtualProcessorState State(string mode)
    {
        var attributes = mode == "protected32" ? 0xC09Bu : 0x9Bu;
        var limit = mode == "protected32" ? uint.MaxValue : 0xFFFFu;
        var data = new SegmentState(16, 0, limit, mode == "protected32" ? 0xC093u : 0x93u);
        return new VirtualProcessorState
        {
            Cs = new SegmentState(8, 0, limit, attributes),
            Ss = data,
            Ds = data,
            Es = data,
            Fs = data,
            Gs = data,
            Gdtr = new TableState(TestProcessor.Gdt, 0x3F),
            Idtr = new TableState(mode == "real" ? 0 : TestProcessor.Idt, 0xFFF),
            Cr0 = mode == "real" ? 0x10u : 0x11u,
            Cr4 = 0x600,
        };
    }
}
