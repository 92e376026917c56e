namespace Vitro.Storage;

/// <summary>A block request failed; the message names the file and the cause.</summary>
public class BlockIOException(string message, Exception? inner = null) : IOException(message, inner);
