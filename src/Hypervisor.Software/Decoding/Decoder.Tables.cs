namespace Vitro.Hypervisor.Software.Decoding;

internal static unsafe partial class Decoder
{
    public static partial DecodeStatus Decode(byte* code, int available, VpMode mode, int offset, DecodedInstruction* instruction)
    {
        *instruction = default;
        return DecodeStatus.NeedMore;
    }
}
