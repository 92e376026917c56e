namespace Vitro.Foundation;

/// <summary>Saved state is damaged or belongs to something else.</summary>
public sealed class SavedStateException(string message) : Exception(message);
