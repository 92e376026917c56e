; A guest that means harm: random writes to registers, ports, device memory, hypercalls and what the host reads of its
; memory. The command line is "seed=<decimal> rounds=<decimal>"; when all rounds are over it ends through the debug-exit port.
%include "harness.inc"

%define HYPERCALL   0xA00000
%define SIMP        0xA01000
%define SIEFP       0xA02000
%define INPUT       0xA04000
%define PAGES       0xA10000        ; 16 pages for rings and GPADLs

; RANDOM: a new 64-bit number in RAX (xorshift); keeps all else.
%macro RANDOM 0
    call random
%endmacro

; BELOW n: a number below n in RAX; spoils RDX.
%macro BELOW 1
    call random
    xor edx, edx
    push rcx
    mov ecx, %1
    div rcx
    pop rcx
    mov rax, rdx
%endmacro

; SURVIVE instruction: any fault of the next instruction is survived.
%macro SURVIVE 1+
    mov qword [resume_rip], %%after
    %1
%%after:
%endmacro

main:
    mov esi, [boot_info]
    mov esi, [rsi + 16]
    call read_number
    mov [seed], rax
    call read_number
    mov r12, rax
    mov rcx, 0x9E3779B97F4A7C15
    add [seed], rcx
    ; Whatever interrupt comes is ignored.
    mov ecx, 0
.handlers:
    mov qword [handlers + rcx * 8], on_anything
    inc ecx
    cmp ecx, 256
    jb .handlers
    ; Exceptions are survived by the recorder of the harness.
    mov ecx, 0
.exceptions:
    mov qword [handlers + rcx * 8], 0
    inc ecx
    cmp ecx, 32
    jb .exceptions
    mov qword [handlers + 2 * 8], on_anything
    mov r15d, 0xFEE00000
    mov dword [r15 + 0xF0], 0x1FF

    ; The interface is switched on, so that there is something to harm; VMBus is greeted properly once.
    WRMSR 0x40000000, 0x8100000000000001
    WRMSR 0x40000001, HYPERCALL + 1
    WRMSR 0x40000083, SIMP + 1
    WRMSR 0x40000082, SIEFP + 1
    WRMSR 0x40000080, 1
    WRMSR 0x40000092, 0x20050
    call greet
    call ask_offers

round:
    test r12, r12
    jz finish
    dec r12
    ; Put back what a round may have broken and the kernel needs.
    lidt [idt_register]
    mov ax, DATA
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov rsp, STACK_TOP
    BELOW 10
    mov rax, [actions + rax * 8]
    sti
    call rax
    cli
    jmp round

; ---------------------------------------------------------------- actions

do_synthetic_msr:
    BELOW 0x120
    lea ecx, [rax + 0x40000000]
    call random_value
    ; Not the reset and crash registers: those end the guest by the rules.
    cmp ecx, 0x40000003
    je .end
    cmp ecx, 0x40000105
    je .end
    ; Seldom the identity and the hypercall page, or nothing more would happen.
    cmp ecx, 0x40000001
    ja .write
    test r12, 63
    jnz .end
.write:
    mov rdx, rax
    shr rdx, 32
    SURVIVE wrmsr
    SURVIVE rdmsr
.end:
    ; The pages go back to where the kernel may be harmed in data only.
    cmp ecx, 0x40000083
    je .pages
    cmp ecx, 0x40000082
    je .pages
    cmp ecx, 0x40000073
    je .assist
    cmp ecx, 0x40000021
    je .tsc
    ret
.pages:
    test r12, 3
    jz .none
    WRMSR 0x40000083, SIMP + 1
    WRMSR 0x40000082, SIEFP + 1
.none:
    ret
.assist:
    WRMSR 0x40000073, 0
    ret
.tsc:
    WRMSR 0x40000021, 0
    ret

do_apic_msr:
    BELOW 0x40
    lea ecx, [rax + 0x800]
    call random_value
    mov rdx, rax
    shr rdx, 32
    SURVIVE wrmsr
    SURVIVE rdmsr
    ret

do_other_msr:
    RANDOM
    and eax, 0x3FF
    mov ecx, eax
    test r12, 1
    jz .low
    or ecx, 0xC0000000
.low:
    ; EFER, the APIC's base and the segment bases stay: the kernel stands on them.
    cmp ecx, 0xC0000080
    je .read
    cmp ecx, 0x1B
    je .read
    call random_value
    mov rdx, rax
    shr rdx, 32
    SURVIVE wrmsr
.read:
    SURVIVE rdmsr
    ret

do_port:
    RANDOM
    mov rdx, rax
    shr rdx, 20
    and edx, 0xFFFF
    test r12, 1
    jz .any
    ; Where the devices are.
    and edx, 0xFF
    test r12, 2
    jz .any
    mov ecx, edx
    and ecx, 31
    lea edx, [ecx + 0x3E8]
    test r12, 4
    jz .any
    lea edx, [ecx + 0x600]
.any:
    ; Not what ends the machine by the rules.
    cmp edx, 0xF0
    jb .not_exit
    cmp edx, 0xF8
    jb .end
.not_exit:
    cmp edx, 0x92
    je .end
    cmp edx, 0x91
    je .end
    cmp edx, 0x8F
    jb .not_fast
    cmp edx, 0x92
    jbe .end
.not_fast:
    cmp edx, 0x61
    jb .not_keyboard
    cmp edx, 0x64
    jbe .read
.not_keyboard:
    cmp edx, 0x601
    jb .write
    cmp edx, 0x605
    jbe .read
    cmp edx, 0xCF6
    jb .write
    cmp edx, 0xCF9
    jbe .read
.write:
    mov ecx, eax
    test ecx, 0x100
    jz .byte
    test ecx, 0x200
    jz .word
    out dx, eax
    jmp .read
.word:
    out dx, ax
    jmp .read
.byte:
    out dx, al
.read:
    in al, dx
    in ax, dx
    in eax, dx
.end:
    ret

do_mmio:
    RANDOM
    mov rbx, rax
    and ebx, 0xFFF
    mov ecx, 0xFEE00000
    test r12, 1
    jz .base
    mov ecx, 0xFEC00000
    and ebx, 0x3F
    test r12, 2
    jz .base
    mov rbx, rax
    and ebx, 0x3FFFFFF
    mov ecx, 0xFC000000
.base:
    add rbx, rcx
    cmp ecx, 0xFEE00000
    jne .go
    ; An INIT to oneself would end the guest: the command register gets fixed and NMI deliveries only.
    mov edx, ebx
    and edx, 0xFF0
    cmp edx, 0x300
    je .end
    cmp edx, 0x2F0
    je .end
.go:
    mov rdx, rax
    shr rdx, 8
    test edx, 1 << 20
    jz .narrow
    test edx, 1 << 21
    jz .wide
    SURVIVE movdqu [rbx], xmm0
    SURVIVE lock inc dword [rbx]
    ret
.wide:
    SURVIVE mov [rbx], rdx
    SURVIVE mov rax, [rbx]
    ret
.narrow:
    SURVIVE mov [rbx], edx
    SURVIVE mov ax, [rbx + 1]
    SURVIVE mov [rbx + 3], dl
.end:
    ret

do_hypercall:
    call fill_input
    RANDOM
    mov rcx, rax
    test r12, 1
    jz .raw
    ; A call code that exists.
    BELOW 5
    movzx ecx, word [call_codes + rax * 2]
    test r12, 2
    jz .raw
    bts rcx, 16
.raw:
    call random_value
    mov rdx, rax
    test r12, 12
    jz .go
    mov edx, INPUT
.go:
    call random_value
    mov r8, rax
    mov qword [resume_rip], .after
    call HYPERCALL
.after:
    mov rsp, STACK_TOP - 8
    ret

; A VMBus message with random content, its type right and its length right or wrong.
do_message:
    call fill_input
    mov dword [INPUT], 1
    test r12, 1
    jz .connection
    mov dword [INPUT], 4
.connection:
    mov dword [INPUT + 4], 0
    mov dword [INPUT + 8], 1
    RANDOM
    and eax, 0xFF
    cmp eax, 240
    jbe .length
    mov eax, 240
.length:
    mov [INPUT + 12], eax
    BELOW 24
    mov [INPUT + 16], eax
    mov dword [INPUT + 20], 0
    ; Small numbers where channel and GPADL numbers are.
    BELOW 8
    mov [INPUT + 24], eax
    BELOW 4
    mov [INPUT + 28], eax
    test r12, 4
    jz .post
    ; Pages that exist, for GPADLs: count and offset, then numbers.
    mov dword [INPUT + 32], 0x00010018
    mov dword [INPUT + 36], 0x4000
    mov dword [INPUT + 40], 0
    mov qword [INPUT + 44], PAGES >> 12
    mov qword [INPUT + 52], (PAGES >> 12) + 1
    mov qword [INPUT + 60], (PAGES >> 12) + 2
.post:
    jmp post

; A channel opened as a driver would, with two rings of garbage; then signals.
do_channel:
    test r12, 3
    jnz .greeted
    ; The connection anew, should a message of chance have ended it.
    call greet
    call ask_offers
.greeted:
    call fill_pages
    BELOW 6
    inc eax
    mov r13d, eax                   ; the channel
    ; GPADL header: type 8, channel, GPADL, range length, range count, count and offset, page numbers.
    mov dword [INPUT], 4
    mov dword [INPUT + 4], 0
    mov dword [INPUT + 8], 1
    mov dword [INPUT + 12], 20 + 8 + 64 + 4
    mov dword [INPUT + 16], 8
    mov dword [INPUT + 20], 0
    mov [INPUT + 24], r13d
    mov eax, r13d
    add eax, 0xE100
    mov [INPUT + 28], eax
    mov word [INPUT + 32], 8 + 64
    mov word [INPUT + 34], 1
    mov dword [INPUT + 36], 0x8000
    mov dword [INPUT + 40], 0
    mov ecx, 0
.page:
    lea rax, [(PAGES >> 12) + rcx]
    mov [INPUT + 44 + rcx * 8], rax
    inc ecx
    cmp ecx, 8
    jb .page
    call post
    ; Open: type 5, channel, open id, ring GPADL, target VP, downstream offset, user data.
    call fill_input_tail
    mov dword [INPUT + 12], 8 + 20 + 120
    mov dword [INPUT + 16], 5
    mov dword [INPUT + 20], 0
    mov [INPUT + 24], r13d
    mov dword [INPUT + 28], 1
    mov eax, r13d
    add eax, 0xE100
    mov [INPUT + 32], eax
    mov dword [INPUT + 36], 0
    mov dword [INPUT + 40], 4
    call post
    ; Indices that make some sense, half of the time.
    mov dword [PAGES + 8], 0
    mov dword [PAGES + 0x4008], 0
    BELOW 0x3000
    and eax, ~7
    mov [PAGES], eax
    mov dword [PAGES + 4], 0
    mov dword [PAGES + 0x4000], 0
    mov dword [PAGES + 0x4004], 0
    test r12, 1
    jz .packet
    RANDOM
    mov [PAGES], eax
    mov [PAGES + 4], eax
.packet:
    ; A packet whose header is right: type 6 or 9 (GPA direct), 2 words of header, length in words, completion wanted.
    mov dword [PAGES + 0x1000], 0x00020006
    test r12, 2
    jz .inband
    mov dword [PAGES + 0x1000], 0x00050009
    mov dword [PAGES + 0x1014], 1
    BELOW 0x10000
    mov [PAGES + 0x1018], eax
.inband:
    mov dword [PAGES + 0x1004], 0x0001000A
    BELOW 16
    mov [PAGES + 0x1010], eax
    mov ecx, 20
.signal:
    push rcx
    mov rcx, 0x1005D
    mov edx, 0x10000
    or edx, r13d
    test r12, 4
    jz .connection
    lea edx, [r13d + 0x2000]
.connection:
    xor r8d, r8d
    call HYPERCALL
    RANDOM
    and eax, 0x3FFF
    mov [PAGES], eax
    pop rcx
    loop .signal
    ; Close and tear down, sometimes.
    test r12, 7
    jnz .end
    mov dword [INPUT + 12], 12
    mov dword [INPUT + 16], 7
    mov [INPUT + 24], r13d
    call post
.end:
    ret

; What the host reads and writes at any time: the SynIC pages.
do_pages:
    mov edi, SIMP
    mov ecx, 1024
.write:
    RANDOM
    mov [rdi], rax
    add rdi, 8
    loop .write
    mov ecx, 0x40000084
    xor eax, eax
    xor edx, edx
    SURVIVE wrmsr
    ret

do_timers:
    BELOW 8
    lea ecx, [rax + 0x400000B0]
    call random_value
    test r12, 1
    jz .raw
    ; Periods of nothing, direct and not, to sources that exist.
    and eax, 0x31FFF
    or eax, 0x2003
    test ecx, 1
    jz .raw
    RANDOM
    and eax, 0xFF
.raw:
    mov rdx, rax
    shr rdx, 32
    SURVIVE wrmsr
    ret

; ---------------------------------------------------------------- parts

post:
    mov rcx, 0x5C
    mov edx, INPUT
    xor r8d, r8d
    mov rbp, rsp
    mov qword [resume_rip], .after
    call HYPERCALL
.after:
    mov rsp, rbp
    mov dword [SIMP + 0x200], 0
    WRMSR 0x40000084, 0
    ret

greet:
    mov dword [INPUT], 4
    mov dword [INPUT + 4], 0
    mov dword [INPUT + 8], 1
    mov dword [INPUT + 12], 40
    mov dword [INPUT + 16], 14
    mov dword [INPUT + 20], 0
    mov dword [INPUT + 24], 0x00050002
    mov dword [INPUT + 28], 0
    mov dword [INPUT + 32], 2
    mov dword [INPUT + 36], 0
    mov qword [INPUT + 40], 0
    mov qword [INPUT + 48], 0
    jmp post

ask_offers:
    mov dword [INPUT + 12], 8
    mov dword [INPUT + 16], 3
    mov dword [INPUT + 20], 0
    jmp post

fill_input:
    mov edi, INPUT
    mov ecx, 512
    jmp fill
fill_input_tail:
    mov edi, INPUT + 48
    mov ecx, 24
    jmp fill
fill_pages:
    mov edi, PAGES
    mov ecx, 16 * 512
fill:
    RANDOM
    mov [rdi], rax
    add rdi, 8
    loop fill
    ret

; A value with a taste for borders: small, all ones, an address of memory, or anything.
random_value:
    RANDOM
    mov rdx, rax
    shr rdx, 60
    cmp edx, 4
    jae .any
    cmp edx, 1
    jb .small
    je .ones
    cmp edx, 2
    je .address
    and eax, 0xFFFFFFFF
    ret
.small:
    and eax, 0xFF
    ret
.ones:
    mov rax, -1
    ret
.address:
    and eax, 0xFFFFF
    add eax, 0xA00001
.any:
    ret

random:
    push rcx
    mov rax, [seed]
    mov rcx, rax
    shl rcx, 13
    xor rax, rcx
    mov rcx, rax
    shr rcx, 7
    xor rax, rcx
    mov rcx, rax
    shl rcx, 17
    xor rax, rcx
    mov [seed], rax
    pop rcx
    ret

; The next decimal number of the text at RSI.
read_number:
    xor eax, eax
    xor ecx, ecx
.skip:
    mov cl, [rsi]
    inc rsi
    test cl, cl
    jz .end
    sub cl, '0'
    cmp cl, 9
    ja .skip
.digit:
    imul rax, rax, 10
    add rax, rcx
    mov cl, [rsi]
    inc rsi
    sub cl, '0'
    cmp cl, 9
    jbe .digit
.end:
    ret

on_anything:
    mov r8d, 0xFEE00000
    RDMSR 0x1B
    bt eax, 10
    jc .msr
    mov dword [r8 + 0xB0], 0
    jmp .pic
.msr:
    WRMSR 0x80B, 0
.pic:
    mov al, 0x20
    out 0xA0, al
    out 0x20, al
    ret

align 8
actions:
    dq do_synthetic_msr, do_apic_msr, do_other_msr, do_port, do_mmio, do_hypercall, do_message, do_channel, do_pages, do_timers
call_codes: dw 0x08, 0x0B, 0x15, 0x5C, 0x5D
align 8
seed: dq 0
image_end:
