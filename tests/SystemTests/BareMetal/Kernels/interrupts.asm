; Interrupts: the 8259 pair, the interval timer, the IO-APIC, the local APIC with its timer, IPIs to oneself, NMI, HLT.
%include "harness.inc"

%define APIC    0xFEE00000
%define IOAPIC  0xFEC00000
%define IRQ0    0x20

; R15 is the local APIC and R14 the IO-APIC throughout. HANDLE vector, routine.
%macro HANDLE 2
    mov qword [handlers + (%1) * 8], %2
%endmacro

main:
    mov r15d, APIC
    mov r14d, IOAPIC
    ; The PICs at vectors 20h and 28h, all lines masked but the timer.
    mov al, 0x11
    out 0x20, al
    out 0xA0, al
    mov al, IRQ0
    out 0x21, al
    mov al, IRQ0 + 8
    out 0xA1, al
    mov al, 4
    out 0x21, al
    mov al, 2
    out 0xA1, al
    mov al, 1
    out 0x21, al
    out 0xA1, al
    mov al, 0xFE
    out 0x21, al
    mov al, 0xFF
    out 0xA1, al
    HANDLE IRQ0, on_pic
    ; Counter 0: rate generator, 1000 a second.
    mov al, 0x34
    out 0x43, al
    mov al, 0xA9
    out 0x40, al
    mov al, 0x04
    out 0x40, al

    ; --- PIC and PIT, HLT
    mov dword [count], 0
    mov ecx, 20
.halt:
    sti
    hlt
    cli
    loop .halt
    CHECK "HLT woke 20 times", rcx, 0
    mov eax, [count]
    cmp eax, 20
    CHECK_TRUE "with a timer interrupt each", ge
    mov dword [count], 0
    mov ebx, 1000000
.masked:
    dec ebx
    jnz .masked
    mov eax, [count]
    CHECK "no interrupt while the flag is clear", rax, 0
    ; The interrupt request waits in the PIC.
    mov al, 0x0A
    out 0x20, al
.request:
    in al, 0x20
    test al, 1
    jz .request
    movzx eax, al
    CHECK "the request register shows line 0", rax, 1
    ; --- STI: the instruction behind it still runs
    xor ebx, ebx
    mov [shadow_rip], rbx
    sti
    inc ebx
.behind_sti:
    nop
    nop
    cli
    mov rax, [shadow_rip]
    sub rax, .behind_sti
    CHECK "STI lets one more instruction run", rax, 0
    ; --- STI and CLI, POPF
    mov al, 0x0A
    out 0x20, al
.request2:
    in al, 0x20
    test al, 1
    jz .request2
    mov dword [count], 0
    sti
    cli
    mov eax, [count]
    CHECK "STI and CLI leave no window", rax, 0
    mov qword [shadow_rip], 0
    pushfq
    or qword [rsp], 0x200
    popfq
.behind_popf:
    cli
    cmp dword [count], 1
    CHECK_TRUE "POPF opens at once", ae
    mov rax, [shadow_rip]
    sub rax, .behind_popf
    CHECK "before the next instruction", rax, 0
    mov al, 0xFF
    out 0x21, al

    ; --- local APIC
    RDMSR 0x1B
    and eax, 0x900
    CHECK "the boot processor's APIC is on", rax, 0x900
    mov eax, [r15 + 0x20]
    shr eax, 24
    CHECK "its identifier", rax, 0
    mov dword [r15 + 0xF0], 0x1FF
    mov eax, [r15 + 0xF0]
    CHECK "the spurious vector register", rax, 0x1FF
    mov dword [r15 + 0x350], 0x10000
    HANDLE 0x41, on_apic
    HANDLE 0x51, on_apic
    HANDLE 0x61, on_apic

    ; A self-IPI, kept back by the task priority.
    mov dword [count], 0
    mov eax, 5
    mov cr8, rax
    mov eax, [r15 + 0x80]
    CHECK "CR8 is the task priority", rax, 0x50
    sti
    mov dword [r15 + 0x300], 0x40051
    nop
    mov eax, [count]
    CHECK "a priority of 5 keeps vector 51h back", rax, 0
    mov eax, [r15 + 0x220]
    CHECK "it is requested", rax, 1 << 17
    xor eax, eax
    mov cr8, rax
    nop
    cli
    mov eax, [count]
    CHECK "it comes when the priority falls", rax, 1
    mov eax, [last_vector]
    CHECK "with its vector", rax, 0x51
    mov eax, [r15 + 0x220]
    CHECK "and is requested no more", rax, 0

    ; Two requests: the higher first, the lower nested only after the end of interrupt.
    mov dword [count], 0
    mov dword [r15 + 0x300], 0x40041
    mov dword [r15 + 0x300], 0x40061
    sti
    nop
    nop
    cli
    mov eax, [count]
    CHECK "two vectors", rax, 2
    mov eax, [last_vector]
    CHECK "the lower one last", rax, 0x41
    ; Vectors below 16 cannot be sent.
    mov dword [r15 + 0x280], 0
    mov dword [r15 + 0x300], 0x40005
    mov dword [r15 + 0x280], 0
    mov eax, [r15 + 0x280]
    and eax, 0x20
    CHECK "an illegal vector sent is an error", rax, 0x20
    mov dword [r15 + 0x280], 0

    ; --- the timer: one-shot and periodic
    mov dword [r15 + 0x3E0], 3     ; divide by 16
    mov dword [r15 + 0x320], 0x41
    mov dword [count], 0
    mov dword [r15 + 0x380], 20000
    mov eax, [r15 + 0x390]
    cmp eax, 20000
    CHECK_TRUE "the timer counts down", be
    sti
    hlt
    cli
    mov eax, [count]
    CHECK "one shot wakes HLT", rax, 1
    mov eax, [r15 + 0x390]
    CHECK "and stays at zero", rax, 0
    mov dword [r15 + 0x320], 0x20041
    mov dword [count], 0
    mov dword [r15 + 0x380], 20000
.periods:
    sti
    hlt
    cli
    cmp dword [count], 5
    jb .periods
    mov dword [r15 + 0x320], 0x10041
    mov eax, [count]
    cmp eax, 5
    CHECK_TRUE "a period goes on and on", ge
    mov dword [r15 + 0x380], 0

    ; --- NMI: by the IPI to all including oneself, as the one to oneself must be fixed
    HANDLE 2, on_nmi
    mov dword [count], 0
    mov dword [r15 + 0x300], 0x80400
    ; It may take a moment, and so may the second one.
    mov ecx, 1000
.nmi:
    pause
    cmp dword [nmi_total], 2
    loopne .nmi
    mov eax, [count]
    CHECK "an NMI comes with interrupts off", rax, 1
    mov eax, [nmi_nested]
    CHECK "no second NMI comes within its handler", rax, 0
    mov eax, [nmi_total]
    CHECK "it comes behind the handler's IRET", rax, 2

    ; --- IO-APIC: the timer at pin 2
    mov dword [r14], 1
    mov eax, [r14 + 0x10]
    shr eax, 16
    CHECK "the IO-APIC has 24 pins", rax, 23
    HANDLE 0x61, on_apic
    mov dword [r14], 0x15
    mov dword [r14 + 0x10], 0
    mov dword [r14], 0x14
    mov dword [r14 + 0x10], 0x61
    mov dword [count], 0
    mov ecx, 5
.pin:
    sti
    hlt
    cli
    loop .pin
    mov eax, [count]
    cmp eax, 5
    CHECK_TRUE "the interval timer comes through pin 2", ge
    mov dword [r14 + 0x10], 0x10061
    sti
    nop
    cli
    ; Level triggered: the serial port's transmitter at pin 4.
    HANDLE 0x71, on_serial
    mov dword [r14], 0x19
    mov dword [r14 + 0x10], 0
    mov dword [r14], 0x18
    mov dword [r14 + 0x10], 0x8071
    mov dword [count], 0
    mov dx, COM1 + 4
    mov al, 8
    out dx, al
    mov dx, COM1 + 1
    mov al, 2
    out dx, al
    sti
    nop
    nop
.level:
    cmp dword [count], 3
    jb .level
    cli
    mov eax, [count]
    CHECK "a level that stays asserted interrupts again", rax, 3
    mov dword [r14 + 0x10], 0x18071

    ; --- x2APIC
    mov eax, 1
    cpuid
    bt ecx, 21
    CHECK_TRUE "CPUID offers x2APIC", c
    WRMSR 0x1B, 0xFEE00D00
    RDMSR 0x802
    CHECK "the identifier by MSR", rax, 0
    mov dword [count], 0
    WRMSR 0x83F, 0x41
    sti
    nop
    cli
    mov eax, [count]
    CHECK "a self-IPI by MSR", rax, 1
    mov ecx, 0x80E
    TRY rdmsr
    CHECK_FAULT "a hole among the registers", 13, 0
    mov ecx, 0x80B
    mov eax, 1
    xor edx, edx
    TRY wrmsr
    CHECK_FAULT "an end of interrupt other than zero", 13, 0
    mov ecx, 0x1B
    mov eax, 0xFEE00900
    xor edx, edx
    TRY wrmsr
    CHECK_FAULT "straight back to xAPIC", 13, 0
    jmp finish

on_pic:
    inc dword [count]
    ; Where the first one came.
    mov rax, [rdi + 8]
    cmp qword [shadow_rip], 0
    jne .end
    mov [shadow_rip], rax
.end:
    mov al, 0x20
    out 0x20, al
    ret

on_apic:
    inc dword [count]
    mov eax, [rdi - 8]
    mov [last_vector], eax
    RDMSR 0x1B
    bt eax, 10
    jc .msr
    mov dword [r15 + 0xB0], 0
    ret
.msr:
    WRMSR 0x80B, 0
    ret

on_nmi:
    inc dword [nmi_total]
    cmp dword [nmi_total], 2
    je .second
    inc dword [count]
    mov dword [nmi_inside], 1
    mov dword [r15 + 0x300], 0x80400
    nop
    nop
    nop
    mov dword [nmi_inside], 0
    ret
.second:
    mov eax, [nmi_inside]
    mov [nmi_nested], eax
    ret

on_serial:
    inc dword [count]
    cmp dword [count], 3
    jb .more
    mov dx, COM1 + 1
    mov al, 0
    out dx, al
.more:
    mov dword [r15 + 0xB0], 0
    ret

align 8
shadow_rip: dq 0
count: dd 0
last_vector: dd 0
nmi_inside: dd 0
nmi_nested: dd 0
nmi_total: dd 0
image_end:
