namespace Vitro.Storage.Tracking;

/// <summary>Is told of changes to a disk's content.</summary>
internal interface IChangeObserver
{
    /// <summary>A range is about to change; the observer's record of it must be durable before this returns.</summary>
    void BeforeChange(long offset, long length);

    /// <summary>All changes so far are durable.</summary>
    void AfterFlush();
}
