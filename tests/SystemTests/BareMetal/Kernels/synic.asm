; The Hyper-V interface as a guest sees it: CPUID leaves, hypercalls, SynIC pages, synthetic timers, reference time.
%include "harness.inc"

%define HYPERCALL   SCRATCH + 0x0000
%define SIMP        SCRATCH + 0x1000
%define SIEFP       SCRATCH + 0x2000
%define TSC_PAGE    SCRATCH + 0x3000
%define ASSIST      SCRATCH + 0x4000
%define INPUT       SCRATCH + 0x5000

; CALL_HV control, input, output: result in RAX.
%macro CALL_HV 3
    mov rcx, %1
    mov rdx, %2
    mov r8, %3
    call HYPERCALL
%endmacro

main:
    mov r15d, 0xFEE00000
    mov dword [r15 + 0xF0], 0x1FF

    ; --- discovery
    mov eax, 1
    cpuid
    bt ecx, 31
    CHECK_TRUE "CPUID says that a hypervisor is there", c
    mov eax, 0x40000000
    cpuid
    cmp eax, 0x40000005
    CHECK_TRUE "at least the leaves to 40000005h", ae
    CHECK "vendor, first part", rbx, 0x7263694D
    CHECK "vendor, second part", rcx, 0x666F736F
    CHECK "vendor, third part", rdx, 0x76482074
    mov eax, 0x40000001
    cpuid
    CHECK "interface Hv#1", rax, 0x31237648
    mov eax, 0x40000003
    cpuid
    and eax, 0x26E
    CHECK "the rights that follow are given", rax, 0x26E
    bt edx, 19
    CHECK_TRUE "direct synthetic timers", c

    ; --- identity and hypercall page
    RDMSR 0x40000002
    CHECK "VP index", rax, 0
    mov ecx, 0x40000002
    TRY wrmsr
    CHECK_FAULT "it cannot be written", 13, 0
    WRMSR 0x40000001, HYPERCALL + 1
    RDMSR 0x40000001
    and eax, 1
    CHECK "no hypercall page without an identity", rax, 0
    WRMSR 0x40000000, 0x8100000000000001
    WRMSR 0x40000001, HYPERCALL + 1
    RDMSR 0x40000001
    CHECK "the hypercall page is on", rax, HYPERCALL + 1
    CALL_HV 0x7FFF, 0, 0
    and eax, 0xFFFF
    CHECK "an unknown call code", rax, 2
    CALL_HV 0x1005D, 0x7FFFFFFF, 0
    and eax, 0xFFFF
    CHECK "a signal to an unknown connection", rax, 18
    CALL_HV 0x5C, INPUT + 1, 0
    and eax, 0xFFFF
    CHECK "an input that is not aligned", rax, 4
    CALL_HV 0x5C, INPUT + 0xFF8, 0
    and eax, 0xFFFF
    CHECK "an input across pages", rax, 4
    mov dword [INPUT], 0x7FFFFFFF
    mov dword [INPUT + 4], 0
    mov dword [INPUT + 8], 1
    mov dword [INPUT + 12], 8
    CALL_HV 0x5C, INPUT, 0
    and eax, 0xFFFF
    CHECK "a message to an unknown connection", rax, 18
    mov dword [INPUT + 12], 241
    CALL_HV 0x5C, INPUT, 0
    and eax, 0xFFFF
    CHECK "a message that is too long", rax, 5
    mov rdx, 0x10000000000
    CALL_HV 0x5C, rdx, 0
    and eax, 0xFFFF
    CHECK "an input outside memory", rax, 4
    ; Hypercalls keep the registers that the specification says.
    mov rbx, 0x1111
    mov rsi, 0x2222
    mov rdi, 0x3333
    mov r12, 0x4444
    CALL_HV 8, 0, 0
    CHECK "RBX is kept", rbx, 0x1111
    CHECK "RSI is kept", rsi, 0x2222
    CHECK "RDI is kept", rdi, 0x3333
    CHECK "R12 is kept", r12, 0x4444

    ; --- reference time
    RDMSR 0x40000020
    mov rbx, rax
    mov rcx, 100000
.spend:
    loop .spend
    RDMSR 0x40000020
    cmp rax, rbx
    CHECK_TRUE "the reference counter goes on", a
    mov ecx, 0x40000020
    TRY wrmsr
    CHECK_FAULT "it cannot be written", 13, 0
    WRMSR 0x40000021, TSC_PAGE + 1
    mov eax, [TSC_PAGE]
    test eax, eax
    CHECK_TRUE "the reference TSC page is valid", nz
    mov r12d, 20000
    xor r13, r13
    xor r14, r14
.monotonic:
    rdtsc
    shl rdx, 32
    or rax, rdx
    mul qword [TSC_PAGE + 8]
    add rdx, [TSC_PAGE + 16]
    cmp rdx, r13
    jae .forward
    inc r14
.forward:
    mov r13, rdx
    dec r12d
    jnz .monotonic
    CHECK "reference time by TSC never goes back", r14, 0
    RDMSR 0x40000020
    sub rax, r13
    add rax, 200000                 ; 20 ms either way
    cmp rax, 10000000
    CHECK_TRUE "it agrees with the counter", b
    RDMSR 0x40000022
    mov ecx, 1000000
    xor edx, edx
    div rcx
    cmp rax, 100
    CHECK_TRUE "the TSC frequency is more than 100 MHz", a
    RDMSR 0x40000023
    test rax, rax
    CHECK_TRUE "the APIC frequency is told", nz

    ; --- SynIC
    RDMSR 0x40000090
    CHECK "SINT0 is masked after reset", rax, 0x10000
    RDMSR 0x40000081
    CHECK "the SynIC's version", rax, 1
    WRMSR 0x40000083, SIMP + 1
    WRMSR 0x40000082, SIEFP + 1
    WRMSR 0x40000080, 1
    mov ecx, 0x40000093
    mov eax, 5
    xor edx, edx
    TRY wrmsr
    CHECK_FAULT "an interrupt source with a vector below 16", 13, 0
    WRMSR 0x40000093, 0x60
    WRMSR 0x40000094, 0x20061        ; automatic end of interrupt
    mov qword [handlers + 0x60 * 8], on_message
    mov qword [handlers + 0x61 * 8], on_auto_eoi
    mov qword [handlers + 0x62 * 8], on_direct

    ; --- synthetic timers: one shot to SINT3
    RDMSR 0x40000020
    add rax, 20000                  ; 2 ms
    mov r12, rax
    WRMSR 0x400000B0, 0x30000
    WRMSR 0x400000B1, r12
    RDMSR 0x400000B0
    bt eax, 0
    CHECK "a timer without auto-enable stays off", [zero], 0
    WRMSR 0x400000B0, 0x30001
    call wait_for_interrupt
    CHECK "one shot interrupts once", [count], 1
    mov rax, [arrival]
    cmp rax, r12
    CHECK_TRUE "not before its time", ae
    mov rax, [delivery]
    cmp rax, r12
    CHECK_TRUE "its message says a delivery time at or after", ae
    CHECK "its message says when it was due", [due], r12
    mov eax, [timer_index]
    CHECK "its message says which timer", rax, 0
    RDMSR 0x400000B0
    and eax, 1
    CHECK "it is off afterwards", rax, 0
    ; Auto-enable by writing the count.
    mov qword [count], 0
    WRMSR 0x400000B2, 0x30008
    RDMSR 0x40000020
    add rax, 10000
    WRMSR 0x400000B3, rax
    RDMSR 0x400000B2
    and eax, 1
    CHECK "auto-enable", rax, 1
    call wait_for_interrupt
    CHECK "an auto-enabled timer interrupts", [count], 1
    mov eax, [timer_index]
    CHECK "it is timer 1", rax, 1
    ; Periodic, each message acknowledged.
    mov qword [count], 0
    WRMSR 0x400000B1, 10000
    WRMSR 0x400000B0, 0x30003
    mov r12d, 5
.period:
    call wait_for_interrupt
    dec r12d
    jnz .period
    WRMSR 0x400000B0, 0
    mov rax, [count]
    cmp rax, 5
    CHECK_TRUE "a periodic timer goes on", ae
    ; A slot that is full: the second message waits for the end of message.
    WRMSR 0x40000093, 0x40060        ; polling: messages without an interrupt
    mov qword [count], 0
    mov dword [SIMP + 0x300], 0
    RDMSR 0x40000020
    WRMSR 0x400000B1, rax
    WRMSR 0x400000B0, 0x30001
    RDMSR 0x40000020
    WRMSR 0x400000B3, rax
    WRMSR 0x400000B2, 0x30001
    call wait_for_slot
    mov eax, [SIMP + 0x300]
    mov edx, 0x80000010
    CHECK "a timer message in the slot", rax, rdx
    mov ecx, 1000000
.pending:
    test byte [SIMP + 0x305], 1
    loopz .pending
    mov al, [SIMP + 0x305]
    and eax, 1
    CHECK "the flag says that another waits", rax, 1
    mov dword [SIMP + 0x300], 0
    mfence
    WRMSR 0x40000084, 0
    call wait_for_slot
    mov eax, [SIMP + 0x300]
    mov edx, 0x80000010
    CHECK "the end of message brings it", rax, rdx
    mov dword [SIMP + 0x300], 0
    WRMSR 0x40000084, 0
    ; SINT4 with automatic end of interrupt.
    mov qword [count], 0
    RDMSR 0x40000020
    WRMSR 0x400000B1, rax
    WRMSR 0x400000B0, 0x40001
    call wait_for_interrupt
    CHECK "an interrupt with automatic end of interrupt", [count], 1
    mov eax, [r15 + 0x130]
    CHECK "leaves nothing in service", rax, 0
    ; Direct mode: a vector and no message.
    mov qword [count], 0
    mov dword [SIMP + 0x400], 0
    WRMSR 0x400000B6, 0x1628
    RDMSR 0x40000020
    add rax, 5000
    WRMSR 0x400000B7, rax
    call wait_for_interrupt
    CHECK "a timer in direct mode interrupts", [count], 1
    CHECK "by its own vector", [last], 0x62

    ; --- the other processor: IPI by hypercall to itself, VP assist page, EOI by MSR
    mov qword [count], 0
    mov dword [INPUT], 0x62
    mov dword [INPUT + 4], 0
    mov qword [INPUT + 8], 1
    CALL_HV 0x0B, INPUT, 0
    sti
    nop
    nop
    cli
    CHECK "a cluster IPI to oneself", [count], 1
    CALL_HV 0x1000B, 5, 1
    and eax, 0xFFFF
    CHECK "a cluster IPI with a vector below 16", rax, 5
    WRMSR 0x40000073, ASSIST + 1
    RDMSR 0x40000073
    CHECK "the VP assist page", rax, ASSIST + 1
    mov ecx, 0x40000083
    mov rax, 0x7FFFFFFFF001
    mov rdx, 0x7FFF
    TRY wrmsr
    CHECK "a message page outside memory does not end the machine", [zero], 0
    mov ecx, 0x400001FF
    TRY rdmsr
    CHECK_FAULT "an unknown synthetic register", 13, 0
    ; Switched off, the interface takes no calls.
    WRMSR 0x40000000, 0
    RDMSR 0x40000001
    and eax, 1
    CHECK "without an identity the page is off again", rax, 0
    jmp finish

; Waits at most a second for [count] to become more than it is.
wait_for_interrupt:
    mov rbx, [count]
    RDMSR 0x40000020
    lea rdi, [rax + 10000000]
.wait:
    sti
    nop
    cli
    cmp [count], rbx
    ja .end
    RDMSR 0x40000020
    cmp rax, rdi
    jb .wait
.end:
    ret

wait_for_slot:
    RDMSR 0x40000020
    lea rdi, [rax + 10000000]
.wait:
    cmp dword [SIMP + 0x300], 0
    jne .end
    RDMSR 0x40000020
    cmp rax, rdi
    jb .wait
.end:
    ret

on_message:
    inc qword [count]
    RDMSR 0x40000020
    mov [arrival], rax
    mov eax, [SIMP + 0x310]
    mov [timer_index], eax
    mov rax, [SIMP + 0x318]
    mov [due], rax
    mov rax, [SIMP + 0x320]
    mov [delivery], rax
    mov dword [SIMP + 0x300], 0
    mfence
    test byte [SIMP + 0x305], 1
    jz .none
    WRMSR 0x40000084, 0
.none:
    WRMSR 0x40000070, 0
    ret

on_auto_eoi:
    inc qword [count]
    mov dword [SIMP + 0x400], 0
    ret

on_direct:
    inc qword [count]
    mov eax, [rdi - 8]
    mov [last], rax
    WRMSR 0x40000070, 0
    ret

align 8
zero: dq 0
count: dq 0
last: dq 0
arrival: dq 0
due: dq 0
delivery: dq 0
timer_index: dd 0
image_end:
