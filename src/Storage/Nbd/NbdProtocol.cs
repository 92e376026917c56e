namespace Vitro.Storage.Nbd;

/// <summary>The numbers of the NBD protocol (its doc/proto.md), as far as the server speaks it: fixed newstyle, simple replies.</summary>
internal static class NbdProtocol
{
    internal const ulong ServerMagic = 0x4E42444D41474943; // "NBDMAGIC"
    internal const ulong OptionMagic = 0x49484156454F5054; // "IHAVEOPT"
    internal const ulong OptionReplyMagic = 0x0003E889045565A9;
    internal const uint RequestMagic = 0x25609513;
    internal const uint ReplyMagic = 0x67446698;

    internal const ushort FlagFixedNewStyle = 1;
    internal const ushort FlagNoZeroes = 2;

    internal const uint OptionExportName = 1;
    internal const uint OptionAbort = 2;
    internal const uint OptionList = 3;
    internal const uint OptionInfo = 6;
    internal const uint OptionGo = 7;

    internal const uint ReplyAcknowledge = 1;
    internal const uint ReplyServer = 2;
    internal const uint ReplyInfo = 3;
    internal const uint ReplyUnsupported = 0x80000001;

    internal const ushort InfoExport = 0;
    internal const ushort InfoBlockSize = 3;

    internal const ushort HasFlags = 1;
    internal const ushort ReadOnly = 2;
    internal const ushort SendFlush = 4;
    internal const ushort SendFua = 8;
    internal const ushort SendTrim = 32;
    internal const ushort SendWriteZeroes = 64;
    internal const ushort CanMultiConnect = 256;

    internal const ushort CommandRead = 0;
    internal const ushort CommandWrite = 1;
    internal const ushort CommandDisconnect = 2;
    internal const ushort CommandFlush = 3;
    internal const ushort CommandTrim = 4;
    internal const ushort CommandWriteZeroes = 6;
    internal const ushort CommandFua = 1;

    internal const uint ErrorPermission = 1;
    internal const uint ErrorIO = 5;
    internal const uint ErrorInvalid = 22;

    internal const int RequestSize = 28;
    internal const int ReplySize = 16;
    internal const uint MaximumPayload = 32 << 20;
    internal const uint MaximumOption = 64 << 10;
}
