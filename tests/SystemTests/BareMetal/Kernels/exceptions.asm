; Exceptions: vectors, error codes, the RIP that is saved, what the frame holds, double faults, single steps, breakpoints.
%include "harness.inc"

main:
    ; --- divide
    mov eax, 1
    xor edx, edx
    xor ecx, ecx
    TRY div ecx
    CHECK_FAULT "DIV by zero", 0, 0
    CHECK "keeps RAX", rax, 1
    mov rax, 0x8000000000000000
    mov rdx, -1
    mov rcx, -1
    TRY idiv rcx
    CHECK_FAULT "IDIV whose quotient is too big", 0, 0
    mov edx, 5
    mov ecx, 5
    TRY div ecx
    CHECK_FAULT "DIV whose quotient is too big", 0, 0

    ; --- traps leave RIP behind the instruction
    TRY int3
    CHECK "INT3", [fault_vector], 3
    mov rax, [fault_rip]
    sub rax, [try_rip]
    CHECK "leaves RIP behind itself", rax, 1
    TRY int 0x80
    CHECK "INT 80h", [fault_vector], 0x80
    mov rax, [fault_rip]
    sub rax, [try_rip]
    CHECK "leaves RIP behind itself", rax, 2
    TRY db 0xF1
    CHECK "INT1", [fault_vector], 1
    mov rax, [fault_rip]
    sub rax, [try_rip]
    CHECK "leaves RIP behind itself", rax, 1

    ; --- invalid opcodes
    TRY ud2
    CHECK_FAULT "UD2", 6, 0
    TRY db 0x06
    CHECK_FAULT "PUSH ES in 64-bit mode", 6, 0
    TRY db 0x27
    CHECK_FAULT "DAA in 64-bit mode", 6, 0
    TRY db 0xCE
    CHECK_FAULT "INTO in 64-bit mode", 6, 0
    TRY db 0x9A, 0, 0, 0, 0, 8, 0
    CHECK_FAULT "direct far CALL in 64-bit mode", 6, 0
    TRY db 0xF0, 0x90
    CHECK_FAULT "LOCK NOP", 6, 0
    TRY db 0xF0, 0x01, 0xC0
    CHECK_FAULT "LOCK ADD of a register", 6, 0
    TRY db 0xF0, 0x8B, 0x04, 0x25, 0, 0, 0x80, 0
    CHECK_FAULT "LOCK MOV", 6, 0
    TRY db 0x0F, 0x20, 0xC8
    CHECK_FAULT "MOV from CR1", 6, 0
    TRY db 0x8E, 0xC8
    CHECK_FAULT "MOV to CS", 6, 0
    TRY db 0x0F, 0xB9, 0xC0
    CHECK_FAULT "UD1", 6, 0
    TRY db 0x0F, 0xFF, 0xC0
    CHECK_FAULT "UD0", 6, 0
    TRY db 0x8D, 0xC0
    CHECK_FAULT "LEA of a register", 6, 0
    TRY vmcall
    CHECK_FAULT "VMCALL without the interface", 6, 0
    TRY monitor
    CHECK_FAULT "MONITOR, which CPUID does not offer", 6, 0

    ; --- instructions of more than 15 bytes
    TRY db 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90
    CHECK_NO_FAULT "an instruction of 15 bytes"
    TRY db 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90
    CHECK_FAULT "an instruction of 16 bytes", 13, 0

    ; --- general protection
    mov ecx, 0x12345
    TRY rdmsr
    CHECK_FAULT "RDMSR of an unknown register", 13, 0
    TRY wrmsr
    CHECK_FAULT "WRMSR of an unknown register", 13, 0
    mov ecx, 0xC0000080
    mov eax, 0xFFFFFFFF
    mov edx, eax
    TRY wrmsr
    CHECK_FAULT "WRMSR of reserved bits of EFER", 13, 0
    mov ecx, 0xC0000100
    mov edx, 0x8000
    xor eax, eax
    TRY wrmsr
    CHECK_FAULT "WRMSR of an FS base that is not canonical", 13, 0
    mov rax, 0x100000000
    TRY mov cr0, rax
    CHECK_FAULT "an upper bit of CR0", 13, 0
    mov rax, cr0
    or eax, 0x20000000
    and eax, ~0x40000000
    TRY mov cr0, rax
    CHECK_FAULT "CR0.NW without CR0.CD", 13, 0
    mov rax, cr4
    mov rbx, 1 << 40
    or rax, rbx
    TRY mov cr4, rax
    CHECK_FAULT "a reserved bit of CR4", 13, 0
    mov eax, 0x10
    TRY mov cr8, rax
    CHECK_FAULT "a reserved bit of CR8", 13, 0
    mov ax, 0xFFF8
    TRY mov ds, ax
    CHECK_FAULT "a selector beyond the table", 13, 0xFFF8
    mov ax, 0
    TRY mov ss, ax
    CHECK_NO_FAULT "a null stack selector in ring 0 of 64-bit mode"
    mov ax, 3
    TRY mov ss, ax
    CHECK_FAULT "a null stack selector of another ring", 13, 0
    mov ax, CODE64
    TRY mov ss, ax
    CHECK_FAULT "a code selector in SS", 13, CODE64
    mov ax, USER_DATA
    TRY mov ss, ax
    CHECK_FAULT "a ring 3 selector in SS", 13, USER_DATA & ~3
    mov ax, DATA
    mov ss, ax
    mov qword [gdt + SPARE], 0
    mov rax, 0x00CF13000000FFFF     ; data, not present
    mov [gdt + SPARE], rax
    mov ax, SPARE
    TRY mov ds, ax
    CHECK_FAULT "a segment that is not present", 11, SPARE
    TRY mov ss, ax
    CHECK_FAULT "a stack segment that is not present", 12, SPARE
    TRY int 0x90
    CHECK "INT 90h through its gate", [fault_vector], 0x90
    mov byte [idt + 0x90 * 16 + 5], 0x0E
    TRY int 0x90
    CHECK_FAULT "INT through a gate that is not present", 11, 0x90 * 8 + 2
    mov byte [idt + 0x90 * 16 + 5], 0x85
    TRY int 0x90
    CHECK_FAULT "INT through something else than a gate", 13, 0x90 * 8 + 2
    mov byte [idt + 0x90 * 16 + 5], 0x8E
    mov word [idt + 0x90 * 16 + 2], 0
    TRY int 0x90
    CHECK_FAULT "INT through a gate with a null selector", 13, 0
    mov word [idt + 0x90 * 16 + 2], CODE64
    mov rdi, user_int
    or qword [PD0], 4
    or qword [PD0 + 8], 4
    or qword [PD0 + 32], 4
    mov rax, cr3
    mov cr3, rax
    call call_user
    CHECK "INT from ring 3 through a ring 0 gate", [fault_vector], 13
    CHECK "its error code names the gate", [fault_error], 0x90 * 8 + 2

    ; --- privileged instructions in ring 3
%macro PRIVILEGED 2+
    mov rdi, %%code
    call call_user
    CHECK {%1}, [fault_vector], 13
    CHECK "  its error code", [fault_error], 0
    jmp %%next
%%code:
    %2
    int3
%%next:
%endmacro
    PRIVILEGED "HLT in ring 3", hlt
    PRIVILEGED "WRMSR in ring 3", wrmsr
    PRIVILEGED "RDMSR in ring 3", rdmsr
    PRIVILEGED "MOV to CR3 in ring 3", mov cr3, rax
    PRIVILEGED "MOV from CR0 in ring 3", mov rax, cr0
    PRIVILEGED "LGDT in ring 3", lgdt [gdt_register]
    PRIVILEGED "LTR in ring 3", ltr ax
    PRIVILEGED "INVLPG in ring 3", invlpg [SCRATCH]
    PRIVILEGED "WBINVD in ring 3", wbinvd
    PRIVILEGED "CLTS in ring 3", clts
    PRIVILEGED "SWAPGS in ring 3", swapgs
    PRIVILEGED "MOV from DR7 in ring 3", mov rax, dr7
    PRIVILEGED "SYSRET in ring 3", o64 sysret
    ; Ports with IOPL 0 and no bitmap.
    mov rdi, user_port
    call call_user
    CHECK "OUT in ring 3 with IOPL 3", [fault_vector], 3
    mov qword [user_flags], 2
    mov rdi, user_port
    call call_user
    CHECK "OUT in ring 3 with IOPL 0 and no bitmap", [fault_vector], 13
    mov rdi, user_cli
    call call_user
    CHECK "CLI in ring 3 with IOPL 0", [fault_vector], 13
    mov qword [user_flags], 0x3002
    mov rdi, user_cli
    call call_user
    CHECK "CLI in ring 3 with IOPL 3", [fault_vector], 3
    ; UMIP
    mov rax, cr4
    or eax, 1 << 11
    mov cr4, rax
    PRIVILEGED "SGDT in ring 3 with UMIP", sgdt [SCRATCH]
    PRIVILEGED "STR in ring 3 with UMIP", str ax
    mov rax, cr4
    and eax, ~(1 << 11)
    mov cr4, rax

    ; --- device not available
    mov rax, cr0
    or eax, 8
    mov cr0, rax
    TRY fninit
    CHECK_FAULT "x87 with CR0.TS", 7, 0
    mov rax, cr4
    or eax, 0x600
    mov cr4, rax
    TRY xorps xmm0, xmm0
    CHECK_FAULT "SSE with CR0.TS", 7, 0
    clts
    TRY fninit
    CHECK_NO_FAULT "CLTS clears it"
    mov rax, cr4
    and eax, ~0x200
    mov cr4, rax
    TRY xorps xmm0, xmm0
    CHECK_FAULT "SSE without CR4.OSFXSR", 6, 0
    mov rax, cr4
    or eax, 0x200
    mov cr4, rax

    ; --- floating point
    mov dword [SCRATCH], 0x1F80 & ~0x200    ; divide by zero not masked
    ldmxcsr [SCRATCH]
    mov eax, 1
    cvtsi2sd xmm0, eax
    xorps xmm1, xmm1
    TRY divsd xmm0, xmm1
    CHECK_FAULT "SSE division by zero", 19, 0
    stmxcsr [SCRATCH]
    bt dword [SCRATCH], 2
    CHECK_TRUE "MXCSR tells the cause", c
    mov dword [SCRATCH], 0x1F80
    ldmxcsr [SCRATCH]
    mov dword [SCRATCH], 0xFFFF0000
    TRY ldmxcsr [SCRATCH]
    CHECK_FAULT "LDMXCSR of reserved bits", 13, 0
    fninit
    mov word [SCRATCH], 0x37B       ; divide by zero not masked
    fldcw [SCRATCH]
    fld1
    fldz
    mov qword [SCRATCH + 8], 0
    fdivp
    TRY fwait
    CHECK_FAULT "x87 division by zero, at the next instruction that waits", 16, 0
    fnclex
    fninit
    TRY movaps xmm0, [SCRATCH + 8]
    CHECK_FAULT "MOVAPS of an odd address", 13, 0

    ; --- single step and debug registers
    mov qword [handlers + 8], on_debug
    mov dword [debug_count], 0
    pushfq
    or qword [rsp], 0x100
    popfq
    nop
    nop
    nop
    pushfq
    and qword [rsp], ~0x100
    popfq
    ; NOP NOP NOP PUSHF AND POPF: a trap behind each
    mov eax, [debug_count]
    CHECK "single steps", rax, 6
    mov rax, [debug_dr6]
    and eax, 0x4000
    CHECK "DR6.BS is set", rax, 0x4000
    mov dword [debug_count], 0
    pushfq
    or qword [rsp], 0x100
    popfq
    mov eax, DATA
    mov ss, ax
    nop
    pushfq
    and qword [rsp], ~0x100
    popfq
    mov eax, [debug_count]
    CHECK "no single step behind a load of SS", rax, 5
    xor eax, eax
    mov dr6, rax
    mov rax, SCRATCH + 0x100
    mov dr0, rax
    mov rax, 0xD0401                ; breakpoint 0: writes to 4 bytes
    mov dr7, rax
    mov dword [debug_count], 0
    mov qword [debug_dr6], 0
    mov dword [SCRATCH + 0x100], 1
watched:
    mov eax, [debug_count]
    CHECK "a data breakpoint", rax, 1
    CHECK "traps behind the write", [debug_rip], watched
    mov rax, [debug_dr6]
    and eax, 15
    CHECK "DR6 names it", rax, 1
    mov ebx, [SCRATCH + 0x100]
    mov eax, [debug_count]
    CHECK "a read does not hit a write breakpoint", rax, 1
    mov byte [SCRATCH + 0x104], 1
    mov eax, [debug_count]
    CHECK "nor does a write beside it", rax, 1
    mov byte [SCRATCH + 0x103], 1
    mov eax, [debug_count]
    CHECK "a write of its last byte does", rax, 2
    xor eax, eax
    mov dr7, rax
    mov rax, executed
    mov dr1, rax
    mov rax, 0x404
    mov dr7, rax
    mov dword [debug_count], 0
    nop
executed:
    nop
    mov eax, [debug_count]
    CHECK "an instruction breakpoint", rax, 1
    CHECK "faults before the instruction", [debug_rip], executed
    mov rax, 0x2404                 ; general detect
    mov dr7, rax
    mov dword [debug_count], 0
    mov rax, dr0
    mov eax, [debug_count]
    CHECK "an access to a debug register with general detect", rax, 1
    xor eax, eax
    mov dr7, rax
    mov rax, 0x100000000
    TRY mov dr7, rax
    CHECK_FAULT "an upper bit of DR7", 13, 0
    mov qword [handlers + 8], 0

    ; --- IST, the frame's alignment, RFLAGS
    mov byte [idt + 6 * 16 + 4], 2
    TRY ud2
    mov byte [idt + 6 * 16 + 4], 0
    mov rax, [fault_stack]
    CHECK "an exception with IST 2 runs on that stack", rax, IST2_TOP - 64
    mov rbp, rsp
    sub rsp, 3
    mov r8, rsp
    TRY ud2
    mov rbx, [fault_stack]
    mov rcx, [fault_rsp]
    mov rsp, rbp
    CHECK "the frame holds the RSP before alignment", rcx, r8
    and ebx, 15
    CHECK "the frame is aligned to 16 bytes", rbx, 0
    sti
    TRY ud2
    mov rax, [fault_flags]
    cli
    bt eax, 9
    CHECK_TRUE "the frame holds the interrupt flag", c

    ; --- double faults
    mov rax, [idt + 13 * 16]
    mov rbx, [idt + 13 * 16 + 8]
    mov byte [idt + 13 * 16 + 5], 0 ; #GP cannot be delivered: #NP while delivering #GP
    mov byte [idt + 8 * 16 + 4], 1
    mov ecx, 0x12345
    TRY rdmsr
    mov [idt + 13 * 16], rax
    mov [idt + 13 * 16 + 8], rbx
    CHECK "#NP during #GP is a double fault", [fault_vector], 8
    CHECK "its error code", [fault_error], 0
    mov rbp, rsp
    mov rsp, 0x200000000            ; not mapped: no frame can be pushed
    TRY ud2
    mov rsp, rbp
    CHECK "#PF while pushing the frame of #PF is a double fault", [fault_vector], 8
    mov byte [idt + 14 * 16 + 4], 2
    mov rsp, 0x200000000
    TRY ud2
    mov rsp, rbp
    CHECK "#PF while pushing the frame of #UD is that page fault", [fault_vector], 14
    CHECK "its error code: write", [fault_error], 2
    mov byte [idt + 14 * 16 + 4], 0
    jmp finish

on_debug:
    inc dword [debug_count]
    mov rax, dr6
    mov [debug_dr6], rax
    mov rax, [rdi + 8]
    mov [debug_rip], rax
    xor eax, eax
    mov dr6, rax
    or qword [rdi + 24], 0x10000    ; RF, so that an instruction breakpoint does not hit again
    ret

user_int:
    int 0x90
user_port:
    mov al, 0
    mov dx, 0x80
    out dx, al
    int3
user_cli:
    cli
    int3
align 8
debug_count: dd 0, 0
debug_dr6: dq 0
debug_rip: dq 0
image_end:
