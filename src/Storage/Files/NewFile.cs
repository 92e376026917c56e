namespace Vitro.Storage.Files;

/// <summary>Writes a file under a name of its own and gives it its real name when it is complete and durable.</summary>
internal static class NewFile
{
    internal static void Write(IDiskFileSystem files, string path, Action<IDiskFile> write, bool skipSync = false)
    {
        var full = Path.GetFullPath(path);
        var temporary = Path.Combine(Path.GetDirectoryName(full)!, $".{Path.GetFileName(full)}.{Guid.NewGuid():N}.new");
        try
        {
            using (var file = files.Create(temporary))
            {
                write(file);
                if (!skipSync)
                {
                    file.Flush();
                }
            }

            files.Replace(temporary, full, durable: !skipSync);
        }
        catch
        {
            if (files.Exists(temporary))
            {
                files.Delete(temporary);
            }

            throw;
        }
    }
}
