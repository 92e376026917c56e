; Segments and privilege in 64-bit mode and its compatibility mode: ring 3 and back by every gate, fast system calls,
; limits and types, FS and GS, the task-state segment with its port map.
%include "harness.inc"

; COMPATIBLE instruction: one instruction in 32-bit code of ring 0; faults are recorded as by TRY.
%macro COMPATIBLE 1+
    mov qword [fault_vector], -1
    mov qword [fault_error], -1
    mov qword [resume_rip], %%back
    mov qword [try_rip], %%at
    push CODE32
    push %%code
    retfq
bits 32
%%code:
%%at:
    %1
    jmp CODE64:%%back
bits 64
%%back:
    mov qword [resume_rip], 0
    mov ax, DATA
    mov ss, ax
%endmacro

; DESCRIBE number, value: a descriptor of the spare ones.
%macro DESCRIBE 2
    mov rax, %2
    mov [gdt + SPARE + (%1) * 8], rax
%endmacro

main:
    ; Ring 3 may use the kernel, its stacks and the scratch memory.
    or qword [PD0], 4
    or qword [PD0 + 8], 4
    or qword [PD0 + 32], 4
    mov rax, cr3
    mov cr3, rax

    ; --- ring 3 and back through an interrupt gate
    mov rdi, user_interrupt
    call call_user
    CHECK "ring 3 by IRETQ and back by INT 80h", [fault_vector], 0x80
    CHECK "CS of ring 3 is in the frame", [fault_cs], USER64
    CHECK "SS of ring 3 is in the frame", [fault_ss], USER_DATA
    CHECK "RSP of ring 3 is in the frame", [fault_rsp], USER_TOP - 8
    CHECK "the handler ran on RSP0", [fault_stack], RSP0_TOP - 64
    CHECK "what ring 3 pushed is there", [USER_TOP - 8], 0x1234
    mov rdi, user_load_kernel
    call call_user
    CHECK "ring 3 loads a ring 0 segment", [fault_vector], 13
    CHECK "its error code", [fault_error], DATA
    mov rdi, user_load_stack
    call call_user
    CHECK "ring 3 loads a stack of another ring", [fault_error], DATA
    mov rdi, user_load_null
    call call_user
    CHECK "ring 3 loads a null stack segment", [fault_vector], 13

    ; --- IRETQ that must fail
    push 0
    push STACK_TOP
    push 2
    push 0
    push .never
    TRY iretq
    mov rsp, STACK_TOP
    CHECK_FAULT "IRETQ to a null CS", 13, 0
    push DATA
    push STACK_TOP
    push 2
    push CODE64
    mov rax, 0x800000000000
    push rax
    TRY iretq
    mov rsp, STACK_TOP
    CHECK_FAULT "IRETQ to an address that is not canonical", 13, 0
    push DATA
    push STACK_TOP
    push 2
    push DATA
    push .never
    TRY iretq
    mov rsp, STACK_TOP
    CHECK_FAULT "IRETQ to a data segment", 13, DATA
    pushfq
    or qword [rsp], 0x4000
    popfq
    TRY iretq
    CHECK_FAULT "IRETQ with NT", 13, 0
.never:
    pushfq
    and qword [rsp], ~0x4000
    popfq
    ; IRETQ always loads SS and RSP.
    mov rbx, rsp
    push DATA
    push STACK_TOP - 0x100
    push 2
    push CODE64
    push .popped
    iretq
.popped:
    mov rcx, rsp
    mov rsp, rbx
    CHECK "IRETQ within ring 0 loads RSP", rcx, STACK_TOP - 0x100

    ; --- SYSCALL and SYSRET
    WRMSR 0xC0000081, 0x001B000800000000
    WRMSR 0xC0000082, on_syscall
    WRMSR 0xC0000084, 0x600
    mov rdi, user_syscall
    call call_user
    cld
    CHECK "SYSCALL and SYSRET, then INT 80h", [fault_vector], 0x80
    CHECK "SYSCALL loads CS", [syscall_cs], CODE64
    CHECK "SYSCALL loads SS", [syscall_ss], DATA
    CHECK "RCX is the return address", [syscall_rcx], user_syscall.behind
    mov rax, [syscall_r11]
    and eax, 0x400
    CHECK "R11 holds the flags", rax, 0x400
    mov rax, [syscall_flags]
    and eax, 0x600
    CHECK "the mask clears flags", rax, 0
    CHECK "SYSRET loads CS", [fault_cs], USER64
    CHECK "SYSRET loads SS", [fault_ss], USER_DATA
    mov rax, [fault_flags]
    and eax, 0x400
    CHECK "SYSRET restores the flags", rax, 0x400
    mov rcx, 0x800000000000
    TRY o64 sysret
    CHECK_FAULT "SYSRET to an address that is not canonical", 13, 0
    RDMSR 0xC0000080
    and eax, ~1
    WRMSR 0xC0000080, rax
    TRY syscall
    CHECK_FAULT "SYSCALL without EFER.SCE", 6, 0
    RDMSR 0xC0000080
    or eax, 1
    WRMSR 0xC0000080, rax
    cld

    ; --- SYSENTER and SYSEXIT
    TRY sysexit
    CHECK_FAULT "SYSEXIT without a code segment", 13, 0
    WRMSR 0x174, CODE64
    WRMSR 0x175, STACK_TOP - 0x200
    WRMSR 0x176, on_sysenter
    mov rdi, user_sysenter
    call call_user
    CHECK "SYSENTER loads RSP", [syscall_rcx], STACK_TOP - 0x200
    CHECK "SYSENTER loads CS", [syscall_cs], CODE64

    ; --- a 64-bit call gate
    mov rax, on_gate
    mov rbx, rax
    and eax, 0xFFFF
    and ebx, 0xFFFF0000
    shl rbx, 32
    mov rcx, 0x0000EC0000080000     ; DPL 3, selector CODE64
    or rax, rbx
    or rax, rcx
    mov [gdt + GATE], rax
    mov qword [gdt + GATE + 8], 0
    mov rdi, user_gate
    call call_user
    CHECK "a call gate and back, then INT 80h", [fault_vector], 0x80
    CHECK "the gate's routine ran in ring 0", [gate_cs], CODE64
    CHECK "on RSP0, with SS, RSP, CS and RIP pushed", [gate_rsp], RSP0_TOP - 32
    CHECK "RETFQ went back to ring 3's stack", [fault_rsp], USER_TOP
    CHECK "the gate leaves a null SS with the ring's number", [gate_ss], 0
    and dword [gdt + GATE + 4], ~0x6000
    mov rdi, user_gate
    call call_user
    CHECK "a call gate of ring 0", [fault_vector], 13
    CHECK "its error code", [fault_error], GATE

    ; --- compatibility mode: limits and types
    DESCRIBE 1, 0x0040938000000FFF  ; data of 4 KiB at 800000h
    DESCRIBE 2, 0x0040918000000FFF  ; the same, read-only
    DESCRIBE 3, 0x0040978000000FFF  ; expand-down: offsets above FFFh
    DESCRIBE 4, 0x00CF99000000FFFF  ; code that cannot be read
    mov ax, SPARE + 8
    mov ds, ax
    mov ax, SPARE + 16
    mov es, ax
    mov ax, SPARE + 24
    mov fs, ax
    mov qword [SCRATCH + 0xFFC], 0x5A5A
    COMPATIBLE mov ebx, [0xFFC]
    CHECK_NO_FAULT "the last bytes of a segment"
    mov ebx, ebx
    CHECK "are read with the segment's base", rbx, 0x5A5A
    COMPATIBLE mov ebx, [0xFFD]
    CHECK_FAULT "a read beyond the limit", 13, 0
    COMPATIBLE mov [es:0x10], ebx
    CHECK_FAULT "a write of a read-only segment", 13, 0
    COMPATIBLE mov ebx, [es:0x10]
    CHECK_NO_FAULT "a read of it"
    COMPATIBLE mov ebx, [fs:0xFFF]
    CHECK_FAULT "an expand-down segment below its limit", 13, 0
    COMPATIBLE mov ebx, [fs:0x1000]
    CHECK_NO_FAULT "and above it"
    mov ax, SPARE + 32
    TRY mov ds, ax
    CHECK_FAULT "a load of an execute-only segment", 13, SPARE + 32
    mov ax, 0
    mov ds, ax
    COMPATIBLE mov ebx, [0x800000]
    CHECK_FAULT "an access through a null segment", 13, 0
    mov ax, DATA
    mov ds, ax
    mov es, ax
    mov ax, SPARE + 8
    mov ss, ax
    mov rbx, rsp
    COMPATIBLE mov ecx, [ss:0x2000]
    mov rsp, rbx
    CHECK_FAULT "a stack access beyond the limit", 12, 0
    ; 32-bit results clear nothing above; addresses wrap at 4 GiB.
    mov ebx, 0xFFFFFFF0
    COMPATIBLE mov ecx, [ebx + 0x800010]
    CHECK_NO_FAULT "an address that wraps at 4 GiB"
    COMPATIBLE db 0x48
    CHECK_NO_FAULT "48h is DEC EAX there"
    COMPATIBLE into
    CHECK_NO_FAULT "INTO without overflow"
    COMPATIBLE db 0x62, 0x05, 0, 0, 0x80, 0 ; BOUND EAX, [800000h]
    CHECK_FAULT "BOUND out of range", 5, 0

    ; --- LAR, LSL, VERR, VERW
    mov eax, SPARE + 8
    lar ecx, eax
    CHECK_TRUE "LAR of a data segment", z
    CHECK "its rights", rcx, 0x409300
    lsl ecx, eax
    CHECK "LSL", rcx, 0xFFF
    verw ax
    CHECK_TRUE "VERW of a writable segment", z
    mov eax, SPARE + 16
    verw ax
    CHECK_TRUE "VERW of a read-only segment", nz
    verr ax
    CHECK_TRUE "VERR of it", z
    mov eax, SPARE + 32
    verr ax
    CHECK_TRUE "VERR of execute-only code", nz
    mov eax, 0xFFF8
    lar ecx, eax
    CHECK_TRUE "LAR beyond the table", nz

    ; --- the local table
    mov rax, 0x000093000000FFFF
    mov [SCRATCH + 0x2008], rax
    DESCRIBE 6, 0x0000828020000FFF  ; 802000h
    mov qword [gdt + SPARE + 56], 0
    mov ax, SPARE + 48
    TRY lldt ax
    CHECK_NO_FAULT "LLDT"
    mov ax, 0x0C
    TRY mov es, ax
    CHECK_NO_FAULT "a selector of the local table"
    mov ax, 0
    lldt ax
    mov ax, 0x0C
    TRY mov es, ax
    CHECK_FAULT "the same without a local table", 13, 0x0C
    mov ax, DATA
    TRY lldt ax
    CHECK_FAULT "LLDT of a data segment", 13, DATA

    ; --- FS and GS
    WRMSR 0xC0000100, SCRATCH
    WRMSR 0xC0000101, SCRATCH + 0x100
    WRMSR 0xC0000102, SCRATCH + 0x200
    mov qword [SCRATCH + 8], 1
    mov qword [SCRATCH + 0x108], 2
    mov qword [SCRATCH + 0x208], 3
    CHECK "FS has its base", [fs:8], 1
    CHECK "GS has its base", [gs:8], 2
    swapgs
    CHECK "SWAPGS", [gs:8], 3
    RDMSR 0xC0000102
    CHECK "the other base", rax, SCRATCH + 0x100
    TRY rdfsbase rax
    CHECK_FAULT "RDFSBASE without CR4.FSGSBASE", 6, 0
    mov rax, cr4
    or eax, 1 << 16
    mov cr4, rax
    rdgsbase rax
    CHECK "RDGSBASE", rax, SCRATCH + 0x200
    mov rax, 0x800000000000
    TRY wrfsbase rax
    CHECK_FAULT "WRFSBASE of an address that is not canonical", 13, 0
    mov ax, DATA
    mov fs, ax
    RDMSR 0xC0000100
    CHECK "a load of FS loads its base", rax, 0
    xor eax, eax
    mov fs, ax

    ; --- the task-state segment and its port map
    mov ax, TASK
    TRY ltr ax
    CHECK_FAULT "LTR of a busy segment", 13, TASK
    mov rbx, new_tss
    and ebx, 0xFFFFFF
    shl rbx, 16
    or rax, rbx
    mov rax, 0x0000890000000000
    or rax, rbx
    or rax, new_tss_end - new_tss - 1
    mov [gdt + SPARE], rax
    mov qword [gdt + SPARE + 8], 0
    mov ax, SPARE
    TRY ltr ax
    CHECK_NO_FAULT "LTR of another segment"
    mov eax, [gdt + SPARE + 4]
    and eax, 0xF00
    CHECK "it becomes busy", rax, 0xB00
    mov qword [user_flags], 2
    mov rdi, user_port
    call call_user
    CHECK "ring 3 may use a port whose bit is clear", [fault_vector], 3
    mov rdi, user_port_denied
    call call_user
    CHECK "and not one whose bit is set", [fault_vector], 13
    mov rdi, user_port_wide
    call call_user
    CHECK "nor a wide access that touches one", [fault_vector], 13
    mov rdi, user_port_beyond
    call call_user
    CHECK "nor one beyond the map", [fault_vector], 13
    jmp finish

user_interrupt:
    push 0x1234
    int 0x80
user_load_kernel:
    mov ax, DATA
    mov ds, ax
    int3
user_load_stack:
    mov ax, DATA
    mov ss, ax
    int3
user_load_null:
    xor eax, eax
    mov ss, ax
    int3
user_syscall:
    std
    syscall
.behind:
    int 0x80
user_sysenter:
    sysenter
user_gate:
    call far dword [user_gate_pointer]
    int 0x80
user_port:
    in al, 0x80
    int3
user_port_denied:
    in al, 0x81
    int3
user_port_wide:
    in ax, 0x80
    int3
user_port_beyond:
    mov dx, 0x3F8
    in al, dx
    int3

on_syscall:
    mov [syscall_cs], cs
    mov [syscall_ss], ss
    mov [syscall_rcx], rcx
    mov [syscall_r11], r11
    pushfq
    pop qword [syscall_flags]
    o64 sysret

on_sysenter:
    mov [syscall_rcx], rsp
    mov [syscall_cs], cs
    mov rsp, [resume_rsp]
    jmp [user_return]

on_gate:
    mov [gate_cs], cs
    mov [gate_ss], ss
    mov [gate_rsp], rsp
    retfq

align 8
user_gate_pointer:
    dd 0
    dw GATE + 3
align 8
syscall_cs: dq 0
syscall_ss: dq 0
syscall_rcx: dq 0
syscall_r11: dq 0
syscall_flags: dq 0
gate_cs: dq 0
gate_ss: dq 0
gate_rsp: dq 0
new_tss:
    dd 0
    dq RSP0_TOP, 0, 0
    dq 0
    dq IST1_TOP, IST2_TOP, 0, 0, 0, 0, 0
    dq 0
    dw 0, .map - new_tss
.map:
    times 16 db 0xFF
    db 0xFE                         ; port 80h
    times 16 db 0xFF
new_tss_end:
image_end:
