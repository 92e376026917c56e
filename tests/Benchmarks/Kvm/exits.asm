; What leaving the guest costs, in ticks of the time stamp counter: a line "NAME TICKS" for each kind. Not a test.
%include "harness.inc"

%define APIC        0xFEE00000
%define IOAPIC      0xFEC00000
%define UNBACKED    0xD0000000
%define ROUNDS      2000
%define SERIAL_PIN  0x18            ; the low half of pin 4's entry

; MEASURE "name", instructions that are repeated; they keep R12 and R13.
%macro MEASURE 2+
    mov ebp, 2                      ; the first time warms up
%%again:
    rdtsc
    shl rdx, 32
    or rax, rdx
    mov r13, rax
    mov r12d, ROUNDS
%%round:
    %2
    dec r12d
    jnz %%round
    dec ebp
    jnz %%again
    call report
    db %1, 0
%endmacro

main:
    ; Pin 4 sends the serial port's interrupt to this processor, edge triggered; the 8259 pair sends nothing.
    mov al, 0xFF
    out 0x21, al
    out 0xA1, al
    mov r15d, APIC
    mov r14d, IOAPIC
    mov dword [r15 + 0xF0], 0x1FF
    mov qword [handlers + 0x71 * 8], on_serial
    mov dword [r14], SERIAL_PIN + 1
    mov dword [r14 + 0x10], 0
    mov dword [r14], SERIAL_PIN
    mov dword [r14 + 0x10], 0x71
    mov dx, COM1 + 4
    mov al, 8
    out dx, al

    MEASURE "port", call read_port
    mov ebx, UNBACKED
    MEASURE "mmio", mov eax, [rbx]
    MEASURE "interrupt", call take_interrupt
    MEASURE "nothing", nop
    call drain
    xor eax, eax
    mov dx, DEBUG_EXIT
    out dx, eax
.stop:
    hlt
    jmp .stop

read_port:
    mov dx, COM1 + 5
    in al, dx
    ret

; The transmitter is empty: switching its interrupt on raises it. The handler switches it off.
take_interrupt:
    mov dword [taken], 0
    sti
    mov dx, COM1 + 1
    mov al, 2
    out dx, al
.wait:
    cmp dword [taken], 0
    je .wait
    cli
    ret

on_serial:
    mov dword [taken], 1
    mov dx, COM1 + 1
    xor eax, eax
    out dx, al
    mov dword [r15 + 0xB0], 0
    ret

; Prints the name behind the call and the ticks a round since R13.
report:
    rdtsc
    shl rdx, 32
    or rax, rdx
    sub rax, r13
    xor edx, edx
    mov ecx, ROUNDS
    div rcx
    pop rsi
    push rax
    call print
    mov al, ' '
    call print_character
    pop rax
    push rsi
    call print_decimal
    mov al, 10
    call print_character
    ret

align 8
taken: dd 0
image_end:
