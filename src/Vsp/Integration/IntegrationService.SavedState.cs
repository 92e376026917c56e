using Vitro.Foundation;

namespace Vitro.Vsp.Integration;

public abstract partial class IntegrationService
{
    /// <inheritdoc/>
    public void Save(SavedStateWriter writer)
    {
        lock (Gate)
        {
            writer.Byte(Tag.Contact, (byte)_contact);
            writer.UInt32(Tag.Framework, Encode(_framework));
            writer.UInt32(Tag.Version, Encode(_version));
            writer.Byte(Tag.Transaction, _transaction);
        }

        writer.Group(Tag.Service, SaveService);
    }

    /// <inheritdoc/>
    public void Restore(SavedStateReader reader)
    {
        Reset(ResetKind.Cold);
        var contact = (IcContact)reader.Byte(Tag.Contact);
        var framework = Decode(reader.UInt32(Tag.Framework));
        var version = Decode(reader.UInt32(Tag.Version));
        if (contact > IcContact.Refused || (contact == IcContact.Ready && !_versions.Contains(version)))
        {
            throw new SavedStateException($"Saved state of {Name} has contact {(int)contact} with version {version}.");
        }

        RestoreService(reader.Group(Tag.Service));
        lock (Gate)
        {
            (_contact, _framework, _version, _transaction) = (contact, framework, version, reader.Byte(Tag.Transaction));
        }
    }

    private protected virtual void SaveService(SavedStateWriter writer)
    {
        // Most services keep nothing beyond their versions.
    }

    private protected virtual void RestoreService(SavedStateReader reader)
    {
        // As above.
    }

    private static uint Encode(IcVersion version) => ((uint)version.Major << 16) | version.Minor;

    private static IcVersion Decode(uint value) => new((ushort)(value >> 16), (ushort)value);

    private static class Tag
    {
        internal const ushort Contact = 1;
        internal const ushort Framework = 2;
        internal const ushort Version = 3;
        internal const ushort Transaction = 4;
        internal const ushort Service = 5;
    }
}
