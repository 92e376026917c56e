using System.Buffers;
using System.Buffers.Binary;
using System.Net.Sockets;
using System.Text;

namespace Vitro.Storage.Nbd;

/// <summary>One client of an <see cref="NbdServer"/>: handshake, then requests, many in flight, answered as they complete.</summary>
internal sealed class NbdConnection(VirtualDisk disk, long start, long length, Stream stream) : IDisposable
{
    private const int MaximumInFlight = 64;

    private readonly SemaphoreSlim _sending = new(1, 1);
    private readonly SemaphoreSlim _slots = new(MaximumInFlight, MaximumInFlight);

    internal async Task RunAsync(CancellationToken cancellation)
    {
        try
        {
            if (await NegotiateAsync(cancellation))
            {
                await ServeAsync(cancellation);
            }
        }
        catch (Exception error) when (error is IOException or SocketException or OperationCanceledException)
        {
            // The client went away; its requests in flight end by themselves.
        }

        for (var i = 0; i < MaximumInFlight; i++)
        {
            await _slots.WaitAsync(CancellationToken.None);
        }
    }

    public void Dispose()
    {
        _sending.Dispose();
        _slots.Dispose();
        stream.Dispose();
    }

    private ushort TransmissionFlags => (ushort)(NbdProtocol.HasFlags | NbdProtocol.SendFlush | NbdProtocol.SendFua | NbdProtocol.CanMultiConnect
        | (disk.IsReadOnly ? NbdProtocol.ReadOnly : NbdProtocol.SendTrim | NbdProtocol.SendWriteZeroes));

    private async Task<bool> NegotiateAsync(CancellationToken cancellation)
    {
        var greeting = new byte[18];
        BinaryPrimitives.WriteUInt64BigEndian(greeting, NbdProtocol.ServerMagic);
        BinaryPrimitives.WriteUInt64BigEndian(greeting.AsSpan(8), NbdProtocol.OptionMagic);
        BinaryPrimitives.WriteUInt16BigEndian(greeting.AsSpan(16), NbdProtocol.FlagFixedNewStyle | NbdProtocol.FlagNoZeroes);
        await stream.WriteAsync(greeting, cancellation);
        var flags = new byte[4];
        await stream.ReadExactlyAsync(flags, cancellation);
        var noZeroes = (BinaryPrimitives.ReadUInt32BigEndian(flags) & NbdProtocol.FlagNoZeroes) != 0;
        var header = new byte[16];
        while (true)
        {
            await stream.ReadExactlyAsync(header, cancellation);
            var option = BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(8));
            var size = BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(12));
            if (BinaryPrimitives.ReadUInt64BigEndian(header) != NbdProtocol.OptionMagic || size > NbdProtocol.MaximumOption)
            {
                return false;
            }

            var data = new byte[size];
            await stream.ReadExactlyAsync(data, cancellation);
            switch (option)
            {
                case NbdProtocol.OptionExportName:
                    var export = new byte[noZeroes ? 10 : 134];
                    WriteExport(export);
                    await stream.WriteAsync(export, cancellation);
                    return true;
                case NbdProtocol.OptionAbort:
                    await ReplyAsync(option, NbdProtocol.ReplyAcknowledge, [], cancellation);
                    return false;
                case NbdProtocol.OptionList:
                    await ReplyAsync(option, NbdProtocol.ReplyServer, new byte[4], cancellation);
                    await ReplyAsync(option, NbdProtocol.ReplyAcknowledge, [], cancellation);
                    break;
                case NbdProtocol.OptionInfo:
                case NbdProtocol.OptionGo:
                    await DescribeAsync(option, cancellation);
                    if (option == NbdProtocol.OptionGo)
                    {
                        return true;
                    }

                    break;
                default:
                    await ReplyAsync(option, NbdProtocol.ReplyUnsupported, Encoding.ASCII.GetBytes("not supported"), cancellation);
                    break;
            }
        }
    }

    private async Task DescribeAsync(uint option, CancellationToken cancellation)
    {
        var export = new byte[12];
        BinaryPrimitives.WriteUInt16BigEndian(export, NbdProtocol.InfoExport);
        WriteExport(export.AsSpan(2));
        await ReplyAsync(option, NbdProtocol.ReplyInfo, export, cancellation);
        var sizes = new byte[14];
        BinaryPrimitives.WriteUInt16BigEndian(sizes, NbdProtocol.InfoBlockSize);
        BinaryPrimitives.WriteUInt32BigEndian(sizes.AsSpan(2), (uint)disk.LogicalSectorSize);
        BinaryPrimitives.WriteUInt32BigEndian(sizes.AsSpan(6), 4096);
        BinaryPrimitives.WriteUInt32BigEndian(sizes.AsSpan(10), NbdProtocol.MaximumPayload);
        await ReplyAsync(option, NbdProtocol.ReplyInfo, sizes, cancellation);
        await ReplyAsync(option, NbdProtocol.ReplyAcknowledge, [], cancellation);
    }

    private void WriteExport(Span<byte> target)
    {
        BinaryPrimitives.WriteInt64BigEndian(target, length);
        BinaryPrimitives.WriteUInt16BigEndian(target[8..], TransmissionFlags);
    }

    private async Task ReplyAsync(uint option, uint type, byte[] data, CancellationToken cancellation)
    {
        var reply = new byte[20 + data.Length];
        BinaryPrimitives.WriteUInt64BigEndian(reply, NbdProtocol.OptionReplyMagic);
        BinaryPrimitives.WriteUInt32BigEndian(reply.AsSpan(8), option);
        BinaryPrimitives.WriteUInt32BigEndian(reply.AsSpan(12), type);
        BinaryPrimitives.WriteInt32BigEndian(reply.AsSpan(16), data.Length);
        data.CopyTo(reply, 20);
        await stream.WriteAsync(reply, cancellation);
    }

    private async Task ServeAsync(CancellationToken cancellation)
    {
        var header = new byte[NbdProtocol.RequestSize];
        while (true)
        {
            await stream.ReadExactlyAsync(header, cancellation);
            var flags = BinaryPrimitives.ReadUInt16BigEndian(header.AsSpan(4));
            var command = BinaryPrimitives.ReadUInt16BigEndian(header.AsSpan(6));
            var cookie = BinaryPrimitives.ReadUInt64BigEndian(header.AsSpan(8));
            var offset = BinaryPrimitives.ReadInt64BigEndian(header.AsSpan(16));
            var size = BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(24));
            var hasPayload = command is NbdProtocol.CommandRead or NbdProtocol.CommandWrite;
            if (BinaryPrimitives.ReadUInt32BigEndian(header) != NbdProtocol.RequestMagic || command == NbdProtocol.CommandDisconnect
                || (hasPayload && size > NbdProtocol.MaximumPayload))
            {
                return;
            }

            var buffer = hasPayload ? ArrayPool<byte>.Shared.Rent((int)size + NbdProtocol.ReplySize) : new byte[NbdProtocol.ReplySize];
            if (command == NbdProtocol.CommandWrite)
            {
                await stream.ReadExactlyAsync(buffer.AsMemory(NbdProtocol.ReplySize, (int)size), cancellation);
            }

            await _slots.WaitAsync(cancellation);
            _ = AnswerAsync(command, flags, cookie, offset, size, buffer, hasPayload);
        }
    }

    private async Task AnswerAsync(ushort command, ushort flags, ulong cookie, long offset, uint size, byte[] buffer, bool pooled)
    {
        try
        {
            var error = await ExecuteAsync(command, flags, offset, size, buffer);
            BinaryPrimitives.WriteUInt32BigEndian(buffer, NbdProtocol.ReplyMagic);
            BinaryPrimitives.WriteUInt32BigEndian(buffer.AsSpan(4), error);
            BinaryPrimitives.WriteUInt64BigEndian(buffer.AsSpan(8), cookie);
            await _sending.WaitAsync();
            try
            {
                var payload = command == NbdProtocol.CommandRead && error == 0 ? (int)size : 0;
                await stream.WriteAsync(buffer.AsMemory(0, NbdProtocol.ReplySize + payload));
            }
            finally
            {
                _sending.Release();
            }
        }
        catch (Exception error) when (error is IOException or SocketException or ObjectDisposedException)
        {
            // The client is gone; the reader sees it too.
        }
        finally
        {
            if (pooled)
            {
                ArrayPool<byte>.Shared.Return(buffer);
            }

            _slots.Release();
        }
    }

    private async Task<uint> ExecuteAsync(ushort command, ushort flags, long offset, uint size, byte[] buffer)
    {
        if (command != NbdProtocol.CommandFlush
            && (offset < 0 || offset > length || size > length - offset || ((offset | size) & (disk.LogicalSectorSize - 1)) != 0))
        {
            return NbdProtocol.ErrorInvalid;
        }

        if (disk.IsReadOnly && command is not (NbdProtocol.CommandRead or NbdProtocol.CommandFlush))
        {
            return NbdProtocol.ErrorPermission;
        }

        var fua = (flags & NbdProtocol.CommandFua) != 0;
        try
        {
            switch (command)
            {
                case NbdProtocol.CommandRead:
                    await disk.ReadAsync(start + offset, new[] { buffer.AsMemory(NbdProtocol.ReplySize, (int)size) });
                    break;
                case NbdProtocol.CommandWrite:
                    await disk.WriteAsync(start + offset, new[] { buffer.AsMemory(NbdProtocol.ReplySize, (int)size) }, fua);
                    break;
                case NbdProtocol.CommandFlush:
                    await disk.FlushAsync();
                    break;
                case NbdProtocol.CommandTrim:
                    await disk.TrimAsync(start + offset, size);
                    break;
                case NbdProtocol.CommandWriteZeroes:
                    await disk.ZeroAsync(start + offset, size);
                    break;
                default:
                    return NbdProtocol.ErrorInvalid;
            }

            if (fua && command is NbdProtocol.CommandTrim or NbdProtocol.CommandWriteZeroes)
            {
                await disk.FlushAsync();
            }

            return 0;
        }
        catch (IOException)
        {
            return NbdProtocol.ErrorIO;
        }
    }
}
