namespace Vitro.Hypervisor.Software;

/// <content>Descriptors and segment registers (Intel SDM volume 3, chapters 3 and 5).</content>
internal sealed unsafe partial class SoftwareVirtualProcessor
{
    internal const int Es = 0;
    internal const int Cs = 1;
    internal const int Ss = 2;
    internal const int Ds = 3;
    internal const int Fs = 4;
    internal const int Gs = 5;

    /// <summary>A descriptor as read from a table.</summary>
    private struct Descriptor
    {
        public ulong Raw;

        /// <summary>Linear address it was read from.</summary>
        public ulong Address;

        public readonly uint Attributes => (uint)(Raw >> 40) & SegmentBits.Mask;

        public readonly uint Type => Attributes & SegmentBits.TypeMask;

        public readonly uint Dpl => (Attributes >> SegmentBits.DplShift) & 3;

        public readonly bool IsPresent => (Attributes & SegmentBits.Present) != 0;

        public readonly bool IsSystem => (Attributes & SegmentBits.NotSystem) == 0;

        public readonly bool IsCode => (Attributes & (SegmentBits.NotSystem | SegmentBits.Code)) == (SegmentBits.NotSystem | SegmentBits.Code);

        public readonly bool IsConforming => (Attributes & SegmentBits.Conforming) != 0;

        public readonly bool IsWritableData =>
            (Attributes & (SegmentBits.NotSystem | SegmentBits.Code | SegmentBits.Writable)) == (SegmentBits.NotSystem | SegmentBits.Writable);

        public readonly uint Base => (uint)((Raw >> 16) & 0xFF_FFFF) | ((uint)(Raw >> 56) << 24);

        public readonly uint Limit
        {
            get
            {
                var limit = (uint)(Raw & 0xFFFF) | ((uint)(Raw >> 32) & 0xF_0000);
                return (Attributes & SegmentBits.Granularity) != 0 ? (limit << 12) | 0xFFF : limit;
            }
        }

        // The same bits read as a gate.
        public readonly ushort GateSelector => (ushort)(Raw >> 16);

        public readonly uint GateOffset => (uint)(Raw & 0xFFFF) | ((uint)(Raw >> 32) & 0xFFFF_0000);

        public readonly SegmentCache ToCache(uint selector) => new()
        {
            Base = Base,
            Limit = Limit,
            Attributes = Attributes | SegmentBits.Accessed,
            Selector = selector,
        };
    }

    private SegmentCache* Segment(int number) => &State->Es + number;

    private static SegmentCache NullSegment(uint selector, uint dpl = 0) => new()
    {
        Selector = selector,
        Attributes = SegmentBits.Unusable | (dpl << SegmentBits.DplShift),
    };

    /// <summary>
    /// Linear address of an operand after the segment's checks: limit, type, null. Outside 64-bit code the result is
    /// truncated to 32 bits; in 64-bit code only FS and GS count and the Mmu checks for canonical form.
    /// </summary>
    internal bool TryLinear(int segment, ulong offset, int size, bool isStore, out ulong linear)
    {
        var cache = Segment(segment);
        if (IsCode64)
        {
            linear = segment >= Fs ? offset + cache->Base : offset;
            return true;
        }

        linear = (uint)(cache->Base + offset);
        var attributes = cache->Attributes;
        var last = offset + (uint)(size - 1);
        bool good;
        if ((attributes & SegmentBits.Unusable) != 0)
        {
            good = false;
        }
        else if (IsProtected && !IsVirtual8086)
        {
            var isCode = (attributes & SegmentBits.Code) != 0;
            good = isStore
                ? !isCode && (attributes & SegmentBits.Writable) != 0
                : !isCode || (attributes & SegmentBits.Readable) != 0;
            good = good && IsInLimit(cache, offset, last);
        }
        else
        {
            good = IsInLimit(cache, offset, last);
        }

        if (good)
        {
            return true;
        }

        return segment == Ss ? Fault.Stack(State) : Fault.Protection(State);
    }

    private static bool IsInLimit(SegmentCache* cache, ulong offset, ulong last)
    {
        if ((cache->Attributes & (SegmentBits.Code | SegmentBits.ExpandDown)) == SegmentBits.ExpandDown)
        {
            var top = (cache->Attributes & SegmentBits.Big) != 0 ? uint.MaxValue : 0xFFFFu;
            return offset > cache->Limit && last <= top && last >= offset;
        }

        return last <= cache->Limit && offset <= last;
    }

    /// <summary>Reads a descriptor; a selector outside its table raises <paramref name="vector"/> with it.</summary>
    private bool TryReadDescriptor(uint selector, int vector, uint external, out Descriptor descriptor)
    {
        descriptor = default;
        var error = (selector & 0xFFFC) | external;
        ulong tableBase;
        uint limit;
        if ((selector & 4) != 0)
        {
            if ((State->Ldtr.Attributes & SegmentBits.Unusable) != 0)
            {
                return Fault.Raise(State, vector, error);
            }

            tableBase = State->Ldtr.Base;
            limit = State->Ldtr.Limit;
        }
        else
        {
            tableBase = State->GdtBase;
            limit = State->GdtLimit;
        }

        var index = selector & 0xFFF8;
        if (index + 7 > limit)
        {
            return Fault.Raise(State, vector, error);
        }

        descriptor.Address = TableAddress(tableBase + index);
        return Mmu.TryLoadSystem(descriptor.Address, 8, out descriptor.Raw);
    }

    /// <summary>Table addresses are full width in long mode, 32 bits else.</summary>
    private ulong TableAddress(ulong address) => IsLongModeActive ? address : (uint)address;

    /// <summary>Sets the accessed bit of a code or data descriptor in its table.</summary>
    private bool TryMarkAccessed(ref Descriptor descriptor)
    {
        if ((descriptor.Attributes & SegmentBits.Accessed) != 0)
        {
            return true;
        }

        descriptor.Raw |= 1UL << 40;
        return Mmu.TryStoreSystem(descriptor.Address + 5, 1, (byte)(descriptor.Raw >> 40));
    }

    /// <summary>Loads ES, SS, DS, FS or GS as MOV and POP do.</summary>
    internal bool TryLoadSegment(int number, ushort selector)
    {
        if (!IsProtected || IsVirtual8086)
        {
            LoadRealSegment(number, selector);
            UpdateMode();
            return true;
        }

        if (!TryReadSegment(number, selector, State->Cpl, out var cache))
        {
            return false;
        }

        *Segment(number) = cache;
        UpdateMode();
        return true;
    }

    private void LoadRealSegment(int number, ushort selector)
    {
        var cache = Segment(number);
        cache->Selector = selector;
        cache->Base = (uint)selector << 4;
        if (IsVirtual8086)
        {
            cache->Limit = 0xFFFF;
            cache->Attributes = 0xF3;
        }
        else
        {
            // The limit stays: what protected mode left there ("unreal mode") serves on.
            cache->Attributes = (cache->Attributes & ~SegmentBits.Unusable) | SegmentBits.Present | SegmentBits.NotSystem | SegmentBits.Writable;
        }
    }

    /// <summary>The checks of a data or stack segment load in protected mode, without changing the register.</summary>
    private bool TryReadSegment(int number, ushort selector, uint cpl, out SegmentCache cache)
    {
        cache = default;
        var error = (uint)selector & 0xFFFC;
        if (error == 0)
        {
            if (number == Ss && !(IsCode64 && cpl != 3 && (selector & 3) == cpl))
            {
                return Fault.Protection(State);
            }

            cache = NullSegment(selector, number == Ss ? cpl : 0);
            return true;
        }

        if (!TryReadDescriptor(selector, Fault.GeneralProtection, 0, out var descriptor))
        {
            return false;
        }

        var rpl = (uint)selector & 3;
        if (number == Ss)
        {
            if (rpl != cpl || !descriptor.IsWritableData || descriptor.Dpl != cpl)
            {
                return Fault.Protection(State, error);
            }

            if (!descriptor.IsPresent)
            {
                return Fault.Stack(State, error);
            }
        }
        else
        {
            if (descriptor.IsSystem || (descriptor.IsCode && (descriptor.Attributes & SegmentBits.Readable) == 0))
            {
                return Fault.Protection(State, error);
            }

            if (!(descriptor.IsCode && descriptor.IsConforming) && (rpl > descriptor.Dpl || cpl > descriptor.Dpl))
            {
                return Fault.Protection(State, error);
            }

            if (!descriptor.IsPresent)
            {
                return Fault.Raise(State, Fault.SegmentNotPresent, error);
            }
        }

        if (!TryMarkAccessed(ref descriptor))
        {
            return false;
        }

        cache = descriptor.ToCache(selector);
        return true;
    }

    /// <summary>
    /// After a return to an outer level: data segment registers that the new level may not use become null
    /// (Intel SDM, RET and IRET).
    /// </summary>
    private void DropInnerSegments(uint cpl)
    {
        DropInnerSegment(Es, cpl);
        DropInnerSegment(Ds, cpl);
        DropInnerSegment(Fs, cpl);
        DropInnerSegment(Gs, cpl);
    }

    private void DropInnerSegment(int number, uint cpl)
    {
        var cache = Segment(number);
        if ((cache->Attributes & SegmentBits.Unusable) != 0)
        {
            return;
        }

        var isConforming = (cache->Attributes & (SegmentBits.Code | SegmentBits.Conforming)) == (SegmentBits.Code | SegmentBits.Conforming);
        if (!isConforming && ((cache->Attributes >> SegmentBits.DplShift) & 3) < cpl)
        {
            *cache = NullSegment(0);
        }
    }

    /// <summary>LLDT.</summary>
    private bool TryLoadLdt(ushort selector, uint faultVector = Fault.GeneralProtection)
    {
        if ((selector & 0xFFFC) == 0)
        {
            State->Ldtr = NullSegment(selector);
            return true;
        }

        var error = (uint)selector & 0xFFFC;
        if ((selector & 4) != 0)
        {
            return Fault.Raise(State, (int)faultVector, error);
        }

        if (!TryReadSystemDescriptor(selector, (int)faultVector, out var descriptor, out var upperBase))
        {
            return false;
        }

        if (!descriptor.IsSystem || descriptor.Type != SegmentBits.TypeLdt)
        {
            return Fault.Raise(State, (int)faultVector, error);
        }

        if (!descriptor.IsPresent)
        {
            return Fault.Raise(State, faultVector == Fault.InvalidTss ? Fault.InvalidTss : Fault.SegmentNotPresent, error);
        }

        State->Ldtr = new SegmentCache
        {
            Base = descriptor.Base | upperBase,
            Limit = descriptor.Limit,
            Attributes = descriptor.Attributes,
            Selector = selector,
        };
        return true;
    }

    /// <summary>LTR.</summary>
    private bool TryLoadTaskRegister(ushort selector)
    {
        var error = (uint)selector & 0xFFFC;
        if (error == 0)
        {
            return Fault.Protection(State);
        }

        if ((selector & 4) != 0)
        {
            return Fault.Protection(State, error);
        }

        if (!TryReadSystemDescriptor(selector, Fault.GeneralProtection, out var descriptor, out var upperBase))
        {
            return false;
        }

        if (!descriptor.IsSystem || !(descriptor.Type == SegmentBits.TypeTss || (descriptor.Type == SegmentBits.TypeTss16 && !IsLongModeActive)))
        {
            return Fault.Protection(State, error);
        }

        if (!descriptor.IsPresent)
        {
            return Fault.Raise(State, Fault.SegmentNotPresent, error);
        }

        descriptor.Raw |= 2UL << 40;
        if (!Mmu.TryStoreSystem(descriptor.Address + 5, 1, (byte)(descriptor.Raw >> 40)))
        {
            return false;
        }

        State->Tr = new SegmentCache
        {
            Base = descriptor.Base | upperBase,
            Limit = descriptor.Limit,
            Attributes = descriptor.Attributes,
            Selector = selector,
        };
        return true;
    }

    /// <summary>Reads a TSS, LDT or call gate descriptor, which takes 16 bytes in long mode.</summary>
    private bool TryReadSystemDescriptor(uint selector, int faultVector, out Descriptor descriptor, out ulong upper)
    {
        upper = 0;
        if (!TryReadDescriptor(selector, faultVector, 0, out descriptor))
        {
            return false;
        }

        if (!IsLongModeActive || !descriptor.IsSystem)
        {
            return true;
        }

        var limit = (selector & 4) != 0 ? State->Ldtr.Limit : State->GdtLimit;
        if ((selector & 0xFFF8) + 15 > limit)
        {
            return Fault.Raise(State, faultVector, selector & 0xFFFC);
        }

        if (!Mmu.TryLoadSystem(descriptor.Address + 8, 8, out var high))
        {
            return false;
        }

        if (((high >> 40) & 0x1F) != 0)
        {
            return Fault.Raise(State, faultVector, selector & 0xFFFC);
        }

        upper = high << 32;
        return true;
    }

    /// <summary>Reads an entry of the present TSS; short TSSs raise #TS.</summary>
    private bool TryReadTss(uint offset, int size, uint external, out ulong value)
    {
        if (offset + (uint)size - 1 > State->Tr.Limit)
        {
            value = 0;
            return Fault.Raise(State, Fault.InvalidTss, (State->Tr.Selector & 0xFFFC) | external);
        }

        return Mmu.TryLoadSystem(TableAddress(State->Tr.Base + offset), size, out value);
    }

    private static bool IsCanonical(ulong address) => (ulong)((long)(address << 16) >> 16) == address;
}
