using System.Text.Json.Nodes;
using System.Text.Json.Serialization;

namespace Vitro.Configuration.Control;

/// <summary>A request on a worker's control socket.</summary>
/// <param name="Verb">What is asked, one of <see cref="ControlVerbs"/>.</param>
/// <param name="Argument">Its argument: an inspect path, a text to type; null where none is taken.</param>
/// <param name="Progress">Whether messages with <see cref="ControlResponse.Progress"/> may come before the answer.</param>
public sealed record ControlRequest(string Verb, string? Argument = null, bool Progress = false);

/// <summary>The answer to a request.</summary>
/// <param name="Error">Null when it was done; else what failed and the cure.</param>
/// <param name="Result">The result, where the verb has one.</param>
/// <param name="Progress">Not null in a message that is no answer yet.</param>
public sealed record ControlResponse(string? Error, JsonNode? Result = null, ControlProgress? Progress = null);

/// <summary>How far a request has come.</summary>
/// <param name="Done">Units done.</param>
/// <param name="Total">Units in all.</param>
public sealed record ControlProgress(long Done, long Total);

/// <summary>The verbs a worker understands.</summary>
public static class ControlVerbs
{
    /// <summary>The live tree, or the part below the path in the argument.</summary>
    public const string Inspect = "inspect";

    /// <summary>Asks the guest to shut down through the shutdown integration service.</summary>
    public const string Shutdown = "shutdown";

    /// <summary>Asks the guest to restart through the shutdown integration service.</summary>
    public const string Restart = "restart";

    /// <summary>Turns the machine off at once, like pulling the plug.</summary>
    public const string TurnOff = "turn-off";

    /// <summary>Resets the machine at once.</summary>
    public const string Reset = "reset";

    /// <summary>Saves the machine to the file in the argument, an absolute path, and ends it; the result is the file's length.</summary>
    public const string Save = "save";

    /// <summary>Types the argument on the synthetic keyboard.</summary>
    public const string TypeText = "type-text";

    /// <summary>Copies a disk of the machine as it is at one moment; the argument is a <see cref="DiskCopyRequest"/> as JSON.</summary>
    /// <remarks>Tells its progress in bytes. A client that goes away before the answer ends the copy, of which nothing is left.</remarks>
    public const string CopyDisk = "copy-disk";
}

/// <summary>The argument of <see cref="ControlVerbs.CopyDisk"/>.</summary>
/// <param name="Disk">Whole path of a disk the machine has open.</param>
/// <param name="Target">Whole path of the file to make.</param>
/// <param name="Format">The target's format: vhdx, vhd or raw.</param>
/// <param name="Fixed">Whether the target is a fixed disk; a raw file always is.</param>
/// <param name="Sparse">Whether a fixed disk's file is left sparse.</param>
/// <param name="BlockSize">Bytes of a block; 0 is the format's default.</param>
/// <param name="Overwrite">Whether a file of the target's name is replaced.</param>
public sealed record DiskCopyRequest(
    string Disk, string Target, string Format, bool Fixed = false, bool Sparse = false, int BlockSize = 0, bool Overwrite = false);

/// <summary>JSON code for the control messages, generated at compile time so that a worker starts quickly.</summary>
[JsonSerializable(typeof(ControlRequest))]
[JsonSerializable(typeof(ControlResponse))]
[JsonSerializable(typeof(DiskCopyRequest))]
public sealed partial class ControlJsonContext : JsonSerializerContext;
