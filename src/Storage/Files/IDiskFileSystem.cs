namespace Vitro.Storage.Files;

/// <summary>Opens the files disks are made of, by path.</summary>
internal interface IDiskFileSystem
{
    /// <summary>Opens an existing file and locks it: exclusively for writing, shared for reading.</summary>
    IDiskFile Open(string path, bool writable, DiskLocking locking);

    /// <summary>Creates a file that must not exist, locked exclusively.</summary>
    IDiskFile Create(string path);

    bool Exists(string path);

    void Delete(string path);

    /// <summary>Gives a finished file its final name, replacing what had it; durable on return when asked for.</summary>
    void Replace(string temporary, string path, bool durable);
}
