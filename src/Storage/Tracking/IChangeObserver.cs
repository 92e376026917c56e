namespace Vitro.Storage.Tracking;

/// <summary>Is told of changes to a disk's content.</summary>
internal interface IChangeObserver
{
    /// <summary>A range is about to change; called inside the request's epoch, and the change begins when it returns.</summary>
    void BeforeChange(long offset, long length);
}
