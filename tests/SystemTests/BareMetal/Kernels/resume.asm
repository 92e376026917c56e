; A guest that is saved in the middle of its work: it prints READY and then, until a byte comes on the serial port, checks
; over and over that nothing of what it has set up changes: registers of every kind, model-specific registers, clocks that
; never go back, timers that go on. Whatever a save and restore would lose or bend shows here.
%include "harness.inc"

%define HYPERCALL   SCRATCH + 0x0000
%define SIMP        SCRATCH + 0x1000
%define TSC_PAGE    SCRATCH + 0x3000
%define AREA        SCRATCH + 0x4000        ; an FXSAVE image
%define PATTERN     SCRATCH + 0x100000      ; memory in which every word is known
%define PATTERN_LENGTH 0x8000

main:
    mov r15d, 0xFEE00000
    mov dword [r15 + 0xF0], 0x1FF
    mov qword [handlers + 0x50 * 8], on_apic_timer
    mov qword [handlers + 0x60 * 8], on_message
    mov qword [handlers + 0x62 * 8], on_direct

    ; --- the Hyper-V interface
    WRMSR 0x40000000, 0x8100000000000001
    WRMSR 0x40000001, HYPERCALL + 1
    WRMSR 0x40000021, TSC_PAGE + 1
    WRMSR 0x40000083, SIMP + 1
    WRMSR 0x40000080, 1
    WRMSR 0x40000093, 0x60
    WRMSR 0x400000B1, 20000         ; every 2 ms
    WRMSR 0x400000B0, 0x30003
    WRMSR 0x400000B3, 30000         ; every 3 ms, direct
    WRMSR 0x400000B2, 0x1623

    ; --- the local APIC's timer, periodic
    mov dword [r15 + 0x3E0], 0xB
    mov dword [r15 + 0x320], 0x20050
    mov dword [r15 + 0x380], 1000000

    ; --- model-specific and debug registers, vector registers, memory
    WRMSR 0xC0000102, 0x123456789ABC    ; KERNEL_GS_BASE
    WRMSR 0xC0000100, 0x111122223333    ; FS_BASE
    WRMSR 0xC0000101, 0x444455556666    ; GS_BASE
    WRMSR 0xC0000082, 0x777788889999    ; LSTAR
    WRMSR 0x176, 0x5AA5A55A             ; SYSENTER_EIP
    WRMSR 0x277, 0x0007040600070401     ; PAT
    mov rax, 0x1234567890
    mov dr0, rax
    mov rax, 0x6000
    mov dr3, rax
    mov rax, cr0
    and eax, ~4
    or eax, 2
    mov cr0, rax
    mov rax, cr4
    or eax, 0x600
    mov cr4, rax
    fninit
    fldpi
    fld1
    mov rcx, 0
.fill_xmm:
    mov [AREA + 160 + rcx*8], rcx
    not qword [AREA + 160 + rcx*8]
    inc ecx
    cmp ecx, 32
    jb .fill_xmm
    %assign i 0
    %rep 16
    movups xmm %+ i, [AREA + 160 + i * 16]
    %assign i i + 1
    %endrep
    ; The upper halves of the YMM registers, where there are any: [AREA + 2048 + i*16].
    mov eax, 1
    cpuid
    mov dword [has_avx], 0
    and ecx, 0x14000000             ; AVX and XSAVE
    cmp ecx, 0x14000000
    jne .no_avx
    mov dword [has_avx], 1
    mov rax, cr4
    or eax, 0x40000
    mov cr4, rax
    xor ecx, ecx
    xor edx, edx
    mov eax, 7
    xsetbv
    mov ecx, 32
.fill_ymm:
    mov [AREA + 2048 + rcx*8 - 8], rcx
    ror qword [AREA + 2048 + rcx*8 - 8], 5
    loop .fill_ymm
    %assign i 0
    %rep 16
    vinsertf128 ymm %+ i, ymm %+ i, [AREA + 2048 + i * 16], 1
    %assign i i + 1
    %endrep
.no_avx:
    mov rdi, PATTERN
    mov rax, 0x9E3779B97F4A7C15
    mov ecx, PATTERN_LENGTH / 8
.fill_memory:
    mov [rdi], rax
    ror rax, 7
    add rax, rcx
    add rdi, 8
    loop .fill_memory
    mov r8, 0x8888888888888888
    mov r9, 0x9999999999999999
    mov r12, 0xCCCCCCCCCCCCCCCC
    mov r13, 0xDDDDDDDDDDDDDDDD
    mov r14, 0xEEEEEEEEEEEEEEEE
    mov rbp, 0xBBBBBBBBBBBBBBBB
    mov rsi, text_ready
    call print
    sti

round:
    call check_registers
    call check_clocks
    call check_memory
    inc qword [rounds]
    mov dx, COM1 + 5
    in al, dx
    test al, 1
    jz round
    mov dx, COM1
    in al, dx

    ; --- the byte has come: the verdict, then whether the timers still go
    CHECK "registers stayed as they were", [wrong_registers], 0
    CHECK "clocks never went back", [clock_steps], 0
    CHECK "memory stayed as it was", [wrong_memory], 0
    mov rax, [rounds]
    test rax, rax
    CHECK_TRUE "there were rounds", nz
    mov qword [ticks], 0
    mov qword [messages], 0
    mov qword [directs], 0
    RDMSR 0x40000020
    lea rdi, [rax + 20000000]       ; two seconds at most
.timers:
    cmp qword [ticks], 2
    jb .more
    cmp qword [messages], 2
    jb .more
    cmp qword [directs], 2
    jae .enough
.more:
    RDMSR 0x40000020
    cmp rax, rdi
    jb .timers
.enough:
    mov rax, [ticks]
    cmp rax, 2
    CHECK_TRUE "the local APIC's timer goes on", ae
    mov rax, [messages]
    cmp rax, 2
    CHECK_TRUE "the timer that sends messages goes on", ae
    mov rax, [directs]
    cmp rax, 2
    CHECK_TRUE "the timer in direct mode goes on", ae
    mov rcx, 0x7FFF
    call HYPERCALL
    and eax, 0xFFFF
    CHECK "the hypercall page works", rax, 2
    jmp finish

%macro SAME 2
    mov rax, %2
    cmp rax, %1
    je %%same
    inc qword [wrong_registers]
%%same:
%endmacro

%macro SAME_MSR 2
    RDMSR %1
    mov rbx, %2
    cmp rax, rbx
    je %%same
    inc qword [wrong_registers]
%%same:
%endmacro

check_registers:
    SAME r8, 0x8888888888888888
    SAME r9, 0x9999999999999999
    SAME r12, 0xCCCCCCCCCCCCCCCC
    SAME r13, 0xDDDDDDDDDDDDDDDD
    SAME r14, 0xEEEEEEEEEEEEEEEE
    SAME rbp, 0xBBBBBBBBBBBBBBBB
    SAME_MSR 0xC0000102, 0x123456789ABC
    SAME_MSR 0xC0000100, 0x111122223333
    SAME_MSR 0xC0000101, 0x444455556666
    SAME_MSR 0xC0000082, 0x777788889999
    SAME_MSR 0x176, 0x5AA5A55A
    SAME_MSR 0x277, 0x0007040600070401
    SAME_MSR 0x40000083, SIMP + 1
    SAME_MSR 0x40000093, 0x60
    mov rbx, dr0
    SAME rbx, 0x1234567890
    mov rbx, dr3
    SAME rbx, 0x6000
    mov dword [AREA + 24], 0
    fxsave [AREA + 512]
    mov rsi, AREA + 160
    mov rdi, AREA + 512 + 160
    mov ecx, 32
    repe cmpsq
    je .vectors
    inc qword [wrong_registers]
.vectors:
    ; pi and 1 on the stack, in its top two registers
    mov rbx, [AREA + 512 + 32]
    SAME rbx, 0x8000000000000000
    mov rbx, [AREA + 512 + 48]
    SAME rbx, 0xC90FDAA22168C235
    cmp dword [has_avx], 0
    je .end
    %assign i 0
    %rep 16
    vextractf128 [AREA + 3072 + i * 16], ymm %+ i, 1
    %assign i i + 1
    %endrep
    mov rsi, AREA + 2048
    mov rdi, AREA + 3072
    mov ecx, 32
    repe cmpsq
    je .end
    inc qword [wrong_registers]
.end:
    ret

check_clocks:
    rdtsc
    shl rdx, 32
    or rax, rdx
    cmp rax, [last_tsc]
    jae .tsc
    inc qword [clock_steps]
.tsc:
    mov [last_tsc], rax
    RDMSR 0x40000020
    cmp rax, [last_counter]
    jae .counter
    inc qword [clock_steps]
.counter:
    mov [last_counter], rax
    ; By the page, as guests do: read again when the sequence has changed, left out while there is none.
.page:
    mov ebx, [TSC_PAGE]
    test ebx, ebx
    jz .end
    rdtsc
    shl rdx, 32
    or rax, rdx
    mul qword [TSC_PAGE + 8]
    add rdx, [TSC_PAGE + 16]
    cmp ebx, [TSC_PAGE]
    jne .page
    ; 10 us for the reading of the counter itself, which is rounded another way.
    add rdx, 100
    cmp rdx, [last_counter]
    jae .end
    inc qword [clock_steps]
.end:
    ret

check_memory:
    mov rdi, PATTERN
    mov rax, 0x9E3779B97F4A7C15
    mov ecx, PATTERN_LENGTH / 8
.word:
    cmp [rdi], rax
    je .same
    inc qword [wrong_memory]
.same:
    ror rax, 7
    add rax, rcx
    add rdi, 8
    loop .word
    ret

on_apic_timer:
    inc qword [ticks]
    mov eax, 0xFEE000B0
    mov dword [rax], 0
    ret

on_message:
    inc qword [messages]
    mov dword [SIMP + 0x300], 0
    mfence
    WRMSR 0x40000084, 0
    WRMSR 0x40000070, 0
    ret

on_direct:
    inc qword [directs]
    WRMSR 0x40000070, 0
    ret

text_ready: db "READY", 10, 0
align 8
has_avx: dq 0
rounds: dq 0
wrong_registers: dq 0
wrong_memory: dq 0
clock_steps: dq 0
last_tsc: dq 0
last_counter: dq 0
ticks: dq 0
messages: dq 0
directs: dq 0
image_end:
