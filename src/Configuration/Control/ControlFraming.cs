using System.Buffers.Binary;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace Vitro.Configuration.Control;

/// <summary>Frames of the control socket: a 4-byte little-endian length, then that many bytes of JSON.</summary>
public static class ControlFraming
{
    /// <summary>Longest frame accepted, in bytes: a peer cannot make this side allocate more.</summary>
    public const int MaxFrame = 64 << 20;

    /// <summary>Reads one message; null at the orderly end of the stream.</summary>
    /// <exception cref="InvalidDataException">The peer sent something else than a frame of JSON.</exception>
    public static async Task<T?> ReadAsync<T>(Stream stream, JsonTypeInfo<T> type, CancellationToken cancellationToken)
        where T : class
    {
        var header = new byte[4];
        var got = await stream.ReadAtLeastAsync(header, 4, throwOnEndOfStream: false, cancellationToken);
        if (got == 0)
        {
            return null;
        }

        var length = got == 4 ? BinaryPrimitives.ReadInt32LittleEndian(header) : -1;
        if (length is < 0 or > MaxFrame)
        {
            throw new InvalidDataException("The control connection sent no valid frame.");
        }

        var body = new byte[length];
        await stream.ReadExactlyAsync(body, cancellationToken);
        try
        {
            return JsonSerializer.Deserialize(body, type) ?? throw new InvalidDataException("The control connection sent a null message.");
        }
        catch (JsonException error)
        {
            throw new InvalidDataException("The control connection sent no valid JSON.", error);
        }
    }

    /// <summary>Writes one message.</summary>
    public static async Task WriteAsync<T>(Stream stream, T message, JsonTypeInfo<T> type, CancellationToken cancellationToken)
    {
        var body = JsonSerializer.SerializeToUtf8Bytes(message, type);
        var frame = new byte[4 + body.Length];
        BinaryPrimitives.WriteInt32LittleEndian(frame, body.Length);
        body.CopyTo(frame, 4);
        await stream.WriteAsync(frame, cancellationToken);
        await stream.FlushAsync(cancellationToken);
    }
}
