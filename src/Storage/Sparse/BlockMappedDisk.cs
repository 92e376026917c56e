using System.Numerics;
using Vitro.Storage.Files;

namespace Vitro.Storage.Sparse;

/// <summary>The I/O of a disk whose blocks are found through a table: the part that VHD and VHDX have in common.</summary>
/// <remarks>
/// Requests on allocated blocks take no lock: they look the block up, use the file, and are done. Allocation and every change of
/// the table happen under <see cref="Gate"/>, in memory only; the table reaches the file at the next commit, after the payload it
/// points to. A commit serves every flush that was asked for before it began.
/// </remarks>
internal abstract partial class BlockMappedDisk : VirtualDisk
{
    private readonly long _length;
    private readonly int _blockShift;
    private bool _closed;

    private protected BlockMappedDisk(IDiskFile file, long length, int blockSize, int sectorSize, VirtualDisk? parent)
        : base(file.Path)
    {
        DataFile = file;
        _length = length;
        _blockShift = BitOperations.Log2((uint)blockSize);
        BlockSize = blockSize;
        LogicalSectorSize = sectorSize;
        ParentDisk = parent;
        Extents = new ExtentPool(Changes.Epochs);
    }

    public override long Length => _length;

    public override int LogicalSectorSize { get; }

    public override bool IsReadOnly => DataFile.IsReadOnly;

    public override bool SupportsTrim => Kind != DiskKind.Fixed;

    public override VirtualDisk? Parent => ParentDisk;

    internal int BlockSize { get; }

    internal long BlockCount => (_length + BlockSize - 1) >> _blockShift;

    internal IDiskFile DataFile { get; }

    private protected VirtualDisk? ParentDisk { get; set; }

    private protected object Gate { get; } = new();

    internal override void Close()
    {
        lock (Changes.TurnGate)
        {
            if (_closed)
            {
                return;
            }

            _closed = true;
            try
            {
                if (!IsReadOnly && _modified && _failure is null)
                {
                    CommitNow();
                    FinishClean();
                }
            }
            finally
            {
                DataFile.Dispose();
                ParentDisk?.Close();
            }
        }
    }

    /// <summary>Finds a block; the caller is inside an epoch.</summary>
    internal abstract BlockEntry Lookup(long block);
}
