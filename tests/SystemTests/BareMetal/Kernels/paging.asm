; 4-level paging: permissions, error codes, accessed and dirty bits, page sizes, the TLB, PCIDs.
%include "harness.inc"

%define TABLE   0x210000            ; page table for the window
%define TABLE2  0x211000
%define DIRECTORY 0x212000
%define WINDOW  0x40000000          ; 1 GiB: its first 2 MiB get a page table
%define FRAME   0x900000
%define FRAME2  0x901000

; MAP slot, entry: sets an entry of the window's page table and forgets its translation. Spoils RAX.
%macro MAP 2
    mov rax, %2
    mov [TABLE + (%1) * 8], rax
    invlpg [WINDOW + (%1) * 0x1000]
%endmacro

main:
    mov qword [PD0 + 0x1000], TABLE + 7
    mov rax, cr3
    mov cr3, rax
    mov rdi, TABLE
    xor eax, eax
    mov ecx, 512
    rep stosq
    mov qword [FRAME], 0x1111
    mov qword [FRAME2], 0x2222

    ; --- present, accessed, dirty
    TRY mov rbx, [WINDOW]
    CHECK_FAULT "read of a page that is not present", 14, 0
    CHECK "CR2 holds the address", [fault_cr2], WINDOW
    TRY mov [WINDOW + 0x123], rbx
    CHECK_FAULT "write of a page that is not present", 14, 2
    CHECK "CR2 holds the byte's address", [fault_cr2], WINDOW + 0x123
    TRY call WINDOW + 0x10
    CHECK "fetch from a page that is not present", [fault_vector], 14
    CHECK "its error code says instruction fetch", [fault_error], 0x10
    CHECK "its RIP is the target", [fault_rip], WINDOW + 0x10
    mov rsp, STACK_TOP

    MAP 0, FRAME + 3
    mov rbx, [WINDOW]
    CHECK "a page read through the window", rbx, 0x1111
    CHECK "the read sets the accessed bit", [TABLE], FRAME + 0x23
    mov qword [WINDOW + 8], 7
    CHECK "the write sets the dirty bit", [TABLE], FRAME + 0x63
    CHECK "the write reaches the frame", [FRAME + 8], 7
    mov rbx, [PD0 + 0x1000]
    CHECK "the directory entry is accessed and not dirty", rbx, TABLE + 0x27

    ; --- the TLB keeps what INVLPG has not dropped; INVLPG drops it
    mov qword [TABLE], FRAME2 + 3
    invlpg [WINDOW]
    mov rbx, [WINDOW]
    CHECK "INVLPG makes a new frame visible", rbx, 0x2222
    mov qword [TABLE], FRAME + 3
    mov rax, cr3
    mov cr3, rax
    mov rbx, [WINDOW]
    CHECK "a load of CR3 makes a new frame visible", rbx, 0x1111

    ; --- write protection
    MAP 1, FRAME + 1
    TRY mov qword [WINDOW + 0x1000], 1
    CHECK_FAULT "ring 0 write of a read-only page with CR0.WP", 14, 3
    mov rax, cr0
    and eax, ~0x10000
    mov cr0, rax
    TRY mov qword [WINDOW + 0x1000], 0x3333
    CHECK_NO_FAULT "ring 0 write of a read-only page without CR0.WP"
    mov rax, cr0
    or eax, 0x10000
    mov cr0, rax
    CHECK "that write reached the frame", [FRAME], 0x3333
    TRY mov qword [WINDOW + 0x1000], 1
    CHECK_FAULT "CR0.WP set again protects again", 14, 3
    CHECK "a write that faults does not write", [FRAME], 0x3333

    ; --- read-modify-write and atomics on read-only pages report a write
    TRY inc qword [WINDOW + 0x1000]
    CHECK_FAULT "INC of a read-only page", 14, 3
    mov eax, 1
    TRY lock cmpxchg [WINDOW + 0x1000], rbx
    CHECK_FAULT "CMPXCHG that would not store still faults", 14, 3
    CHECK "and keeps RAX", rax, 1
    TRY lock xadd [WINDOW + 0x1000], rbx
    CHECK_FAULT "XADD of a read-only page", 14, 3

    ; --- user pages
    MAP 2, FRAME + 3
    mov rdi, user_read
    call call_user
    CHECK "ring 3 code in a supervisor page", [fault_vector], 14
    CHECK "its error code: fetch, user, present", [fault_error], 0x15
    CHECK "its CS is the user's", [fault_cs], USER64
    ; The kernel's first 2 MiB and the stacks become user pages for what follows.
    or qword [PD0], 4
    or qword [PD0 + 8], 4
    mov rax, cr3
    mov cr3, rax
    mov rdi, user_read
    call call_user
    CHECK "ring 3 read of a supervisor page", [fault_vector], 14
    CHECK "its error code: user, present", [fault_error], 5
    mov rdi, user_write
    call call_user
    CHECK "ring 3 write of a supervisor page", [fault_error], 7
    mov rdi, user_fetch
    call call_user
    CHECK "ring 3 fetch of a supervisor page", [fault_error], 0x15
    MAP 2, FRAME + 7
    mov rdi, user_read
    call call_user
    CHECK "ring 3 read of a user page ends by INT3", [fault_vector], 3
    MAP 2, FRAME + 5
    mov rdi, user_write
    call call_user
    CHECK "ring 3 write of a read-only user page", [fault_error], 7

    ; --- SMEP and SMAP
    MAP 2, FRAME + 7
    mov byte [FRAME + 0x20], 0xC3
    TRY call WINDOW + 0x2020
    CHECK_NO_FAULT "ring 0 runs a user page without SMEP"
    and qword [PD0], ~4             ; the kernel's own code must not be a user page
    and qword [PD0 + 8], ~4
    mov rax, cr3
    mov cr3, rax
    mov rax, cr4
    or eax, 1 << 20
    mov cr4, rax
    TRY call WINDOW + 0x2020
    CHECK "ring 0 fetch of a user page with SMEP", [fault_vector], 14
    CHECK "its error code: fetch, present", [fault_error], 0x11
    mov rsp, STACK_TOP
    mov rax, cr4
    and eax, ~(1 << 20)
    or eax, 1 << 21
    mov cr4, rax
    clac
    TRY mov rbx, [WINDOW + 0x2000]
    CHECK_FAULT "ring 0 read of a user page with SMAP", 14, 1
    TRY mov [WINDOW + 0x2000], rbx
    CHECK_FAULT "ring 0 write of a user page with SMAP", 14, 3
    stac
    TRY mov rbx, [WINDOW + 0x2000]
    CHECK_NO_FAULT "EFLAGS.AC lets ring 0 read it"
    clac
    TRY mov rbx, [WINDOW + 0x2000]
    CHECK_FAULT "and CLAC forbids it again", 14, 1
    mov rax, cr4
    and eax, ~(1 << 21)
    mov cr4, rax

    ; --- no-execute
    mov rax, 0x8000000000000000 + FRAME + 3
    mov [TABLE + 24], rax
    invlpg [WINDOW + 0x3000]
    TRY call WINDOW + 0x3020
    CHECK "fetch from a no-execute page", [fault_vector], 14
    CHECK "its error code: fetch, present", [fault_error], 0x11
    mov rsp, STACK_TOP
    TRY mov rbx, [WINDOW + 0x3000]
    CHECK_NO_FAULT "a no-execute page can be read"
    ; An execute-disable bit in a directory holds for all below.
    mov rax, 0x8000000000000000
    or [PD0 + 0x1000], rax
    MAP 3, FRAME + 3
    TRY call WINDOW + 0x3020
    CHECK "fetch below a no-execute directory", [fault_error], 0x11
    mov rsp, STACK_TOP
    mov rax, 0x7FFFFFFFFFFFFFFF
    and [PD0 + 0x1000], rax
    ; With EFER.NXE clear the bit is reserved.
    mov rax, 0x8000000000000000 + FRAME + 3
    mov [TABLE + 24], rax
    RDMSR 0xC0000080
    and eax, ~0x800
    WRMSR 0xC0000080, rax
    mov rax, cr3
    mov cr3, rax
    TRY mov rbx, [WINDOW + 0x3000]
    CHECK_FAULT "the no-execute bit is reserved without EFER.NXE", 14, 9
    RDMSR 0xC0000080
    or eax, 0x800
    WRMSR 0xC0000080, rax
    mov rax, cr3
    mov cr3, rax

    ; --- reserved bits
    mov rax, (1 << 51) + FRAME + 3
    mov [TABLE + 32], rax
    TRY mov rbx, [WINDOW + 0x4000]
    CHECK_FAULT "an address beyond the physical address width", 14, 9
    mov rax, [PD0 + 0x1008]
    push rax
    mov rax, 0x40002000 + 0x83
    mov [PD0 + 0x1008], rax
    mov rax, cr3
    mov cr3, rax
    TRY mov rbx, [WINDOW + 0x200000]
    CHECK_FAULT "a reserved bit of a 2 MiB page", 14, 9

    ; --- page sizes: a 2 MiB page and a 1 GiB page of the same memory
    mov qword [PD0 + 0x1008], 0x800000 + 0x83
    mov rax, cr3
    mov cr3, rax
    mov qword [WINDOW + 0x200000 + 0x100010], 0x5555
    CHECK "a 2 MiB page reaches its frame", [FRAME + 0x10], 0x5555
    CHECK "it becomes accessed and dirty", [PD0 + 0x1008], 0x800000 + 0xE3
    pop rax
    mov [PD0 + 0x1008], rax
    mov rax, cr3
    mov cr3, rax
    mov rbx, 0x8000000000
    mov qword [PML4 + 8], DIRECTORY + 3
    mov rdi, DIRECTORY
    xor eax, eax
    mov ecx, 512
    rep stosq
    mov qword [DIRECTORY], 0x83
    mov rcx, [rbx + FRAME + 0x10]
    CHECK "a 1 GiB page reaches its frame", rcx, 0x5555
    CHECK "it becomes accessed", [DIRECTORY], 0xA3

    ; --- canonical addresses
    mov rbx, 0x800000000000
    TRY mov rcx, [rbx]
    CHECK_FAULT "an address that is not canonical", 13, 0
    mov rbp, rbx
    TRY mov rcx, [rbp]
    CHECK_FAULT "one through RBP is a stack fault", 12, 0

    ; --- accesses across pages
    MAP 5, FRAME + 3
    MAP 6, FRAME2 + 3
    mov rax, 0x1122334455667788
    mov [WINDOW + 0x5FFC], rax
    mov rdx, 0x5566778800000000
    mov dword [FRAME + 0xFF8], 0
    CHECK "a write across pages: the low half", [FRAME + 0xFF8], rdx
    mov ebx, [FRAME2]
    CHECK "a write across pages: the high half", rbx, 0x11223344
    CHECK "a read across pages", [WINDOW + 0x5FFC], rax
    MAP 6, 0
    mov dword [FRAME + 0xFFC], 0
    TRY mov [WINDOW + 0x5FFC], rax
    CHECK_FAULT "a write across pages whose second page is missing", 14, 2
    CHECK "CR2 is the second page's start", [fault_cr2], WINDOW + 0x6000
    mov ebx, [FRAME + 0xFFC]
    CHECK "the first page was not written", rbx, 0
    mov dword [FRAME + 0xFFC], 0x90909090
    mov byte [FRAME + 0xFFF], 0xB8  ; MOV EAX, imm32 with its operand on the missing page
    TRY call WINDOW + 0x5FFE
    CHECK "an instruction across pages whose second page is missing", [fault_vector], 14
    CHECK "CR2 is the second page's start", [fault_cr2], WINDOW + 0x6000
    CHECK "RIP is the instruction's start", [fault_rip], WINDOW + 0x5FFF
    mov rsp, STACK_TOP

    ; --- string instructions restart at the fault
    MAP 7, FRAME + 3
    MAP 8, 0
    cld
    mov rdi, WINDOW + 0x7FF0
    mov ecx, 8
    mov rax, 0x4242
    TRY rep stosq
    CHECK_FAULT "REP STOSQ into a missing page", 14, 2
    CHECK "CR2 is the missing page", [fault_cr2], WINDOW + 0x8000
    CHECK "RDI is at the element that faulted", rdi, WINDOW + 0x8000
    CHECK "RCX counts what is left", rcx, 6
    CHECK "what went before is written", [FRAME + 0xFF8], 0x4242
    bt qword [fault_flags], 16
    CHECK_TRUE "RFLAGS.RF is set in the frame of a fault", c
    MAP 8, FRAME2 + 3
    mov rax, 0x4242
    rep stosq
    CHECK "it goes on from there", rcx, 0
    CHECK "to its end", [FRAME2 + 0x28], 0x4242
    MAP 8, 0
    mov rsi, WINDOW + 0x7FF0
    mov rdi, SCRATCH
    mov ecx, 4
    TRY rep movsq
    CHECK_FAULT "REP MOVSQ from a missing page", 14, 0
    CHECK "RSI is at the element that faulted", rsi, WINDOW + 0x8000
    CHECK "RDI has gone as far", rdi, SCRATCH + 0x10
    CHECK "RCX counts what is left", rcx, 2
    std
    mov rdi, WINDOW + 0x7008
    mov ecx, 4
    MAP 6, 0
    mov rax, 0x77
    TRY rep stosq
    cld
    CHECK "REP STOSQ downwards into a missing page", [fault_cr2], WINDOW + 0x6FF8
    CHECK "RCX counts what is left", rcx, 2
    CHECK "RDI is at the element that faulted", rdi, WINDOW + 0x6FF8

    ; --- PUSH, CALL, ENTER and the like change nothing when they fault
    MAP 9, 0
    MAP 10, FRAME + 3
    mov rbp, rsp
    mov rsp, WINDOW + 0xA004
    mov qword [tss_rsp_save], rbp
    mov byte [idt + 14 * 16 + 4], 1
    TRY push rax
    mov rbx, [fault_rsp]
    mov rsp, [tss_rsp_save]
    mov byte [idt + 14 * 16 + 4], 0
    CHECK "PUSH into a missing page", [fault_vector], 14
    CHECK "leaves RSP as it was", rbx, WINDOW + 0xA004
    mov rcx, [fault_stack]
    and rcx, ~0xFFF
    CHECK "its handler ran on the IST stack", rcx, IST1_TOP - 0x1000

    ; --- global pages and PCIDs
    mov rax, cr4
    or eax, 0x80
    mov cr4, rax
    MAP 11, FRAME + 0x103
    mov qword [FRAME], 0x11
    mov qword [FRAME2], 0x22
    mov rbx, [WINDOW + 0xB000]
    mov qword [TABLE + 88], FRAME2 + 0x103
    mov rax, cr4
    xor eax, 0x80
    mov cr4, rax
    mov rbx, [WINDOW + 0xB000]
    CHECK "a change of CR4.PGE drops global translations", rbx, 0x22

    mov rax, cr4
    or eax, 1 << 17
    TRY mov cr4, rax
    CHECK_NO_FAULT "CR4.PCIDE can be set"
    mov rax, PML4 + 1
    mov cr3, rax
    MAP 12, FRAME + 3
    mov rbx, [WINDOW + 0xC000]
    CHECK "PCID 1 sees its page", rbx, 0x11
    mov qword [TABLE + 96], FRAME2 + 3
    mov rax, PML4 + 2
    mov cr3, rax
    mov rbx, [WINDOW + 0xC000]
    CHECK "PCID 2 does not see the translation of PCID 1", rbx, 0x22
    mov rax, PML4 + 1
    mov cr3, rax                    ; bit 63 clear: PCID 1 is dropped
    mov rbx, [WINDOW + 0xC000]
    CHECK "a load of CR3 without bit 63 drops the PCID's translations", rbx, 0x22
    mov qword [TABLE + 96], FRAME + 3
    mov rax, 0
    mov [SCRATCH], rax
    mov qword [SCRATCH], 1
    mov qword [SCRATCH + 8], WINDOW + 0xC000
    mov eax, 0
    invpcid rax, [SCRATCH]
    mov rbx, [WINDOW + 0xC000]
    CHECK "INVPCID of one address", rbx, 0x11
    mov qword [TABLE + 96], FRAME2 + 3
    mov eax, 2
    invpcid rax, [SCRATCH]
    mov rbx, [WINDOW + 0xC000]
    CHECK "INVPCID of everything", rbx, 0x22
    mov eax, 4
    TRY invpcid rax, [SCRATCH]
    CHECK_FAULT "INVPCID of an unknown type", 13, 0
    mov rax, cr0
    and eax, 0x7FFFFFFF
    TRY mov cr0, rax
    CHECK_FAULT "paging cannot be switched off in 64-bit mode", 13, 0
    mov rax, cr4
    and eax, ~0x20
    TRY mov cr4, rax
    CHECK_FAULT "nor PAE", 13, 0
    mov rax, PML4
    mov cr3, rax
    mov rax, cr4
    and eax, ~(1 << 17)
    mov cr4, rax
    mov rax, cr3
    mov rax, 1 << 52
    TRY mov cr3, rax
    CHECK_FAULT "a reserved bit of CR3", 13, 0

    ; --- page tables changed by the guest through a mapping that is already in the TLB
    MAP 13, FRAME + 3
    mov rbx, [WINDOW + 0xD000]
    mov ecx, 200
.flip:
    mov rax, FRAME + 3
    test ecx, 1
    jz .even
    mov rax, FRAME2 + 3
.even:
    mov [TABLE + 13 * 8], rax
    invlpg [WINDOW + 0xD000]
    mov rbx, [WINDOW + 0xD000]
    mov rdx, 0x11
    test ecx, 1
    jz .even2
    mov rdx, 0x22
.even2:
    cmp rbx, rdx
    jne .flipped
    loop .flip
.flipped:
    CHECK "200 remappings in turn are all seen", rcx, 0
    jmp finish

user_read:
    mov rbx, [WINDOW + 0x2000]
    int3
user_write:
    mov [WINDOW + 0x2000], rbx
    int3
user_fetch:
    mov rbx, WINDOW + 0x2000
    jmp rbx

align 8
tss_rsp_save: dq 0
image_end:
