; The modes below 64-bit: 32-bit protected mode with its gates, tasks and paging, virtual-8086 mode, real mode. The kernel
; goes down from 64-bit mode for each part, keeps results in memory, and checks them when it is back.
%include "harness.inc"

%define IDT32       SCRATCH + 0x1000
%define TSS32       SCRATCH + 0x3000
%define TSS32B      SCRATCH + 0x3100
%define STACK32     SCRATCH + 0x5000
%define STACK32_0   SCRATCH + 0x6000    ; ESP0
%define STACK32_3   SCRATCH + 0x7000
%define DIRECTORY   SCRATCH + 0x10000
%define TABLE32     SCRATCH + 0x11000
%define PAE         SCRATCH + 0x12000   ; 4 entries, then four directories a page each
%define WINDOW      0x40000000
%define FRAME       0x900000
%define LOW         0x8000              ; real-mode code

%define S_TSS       SPARE               ; 32-bit task-state segments
%define S_TSSB      SPARE + 8
%define S_GATE      SPARE + 16          ; 32-bit call gate
%define S_TASKGATE  SPARE + 24

; Leaves 64-bit mode; what follows is 32-bit code without paging.
%macro GO_32 0
    lgdt [gdt_register]
    push CODE32
    push %%down
    retfq
bits 32
%%down:
    mov eax, cr0
    and eax, 0x7FFFFFFF
    mov cr0, eax
    mov ecx, 0xC0000080
    rdmsr
    and eax, ~0x100
    wrmsr
    mov eax, cr4
    and eax, ~0x20
    mov cr4, eax
    mov ax, DATA
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov esp, STACK32
    lidt [idt32_register]
%endmacro

; Comes back to 64-bit code.
%macro GO_64 0
    mov esp, STACK_TOP - 0x800
    call enter_long
bits 64
    mov rsp, STACK_TOP
%endmacro

; TRY32 slot, instruction: as TRY, with vector, error code and the distance of EIP kept in results by slot.
%macro TRY32 2+
    mov dword [vector32], -1
    mov dword [error32], -1
    mov dword [resume32], %%after
    mov dword [stack32], esp
%%at:
    %2
%%after:
    mov eax, [vector32]
    mov [results + (%1) * 16], eax
    mov eax, [error32]
    mov [results + (%1) * 16 + 4], eax
    mov eax, [eip32]
    sub eax, %%at
    mov [results + (%1) * 16 + 8], eax
%endmacro

%macro RESULT 4                         ; name, slot, vector, error
    movsxd rbx, dword [results + (%2) * 16]
    CHECK %1, rbx, %3
    movsxd rbx, dword [results + (%2) * 16 + 4]
    CHECK "  its error code", rbx, %4
%endmacro

; KEEP slot, register: a value for later.
%macro KEEP 2
    mov [values + (%1) * 4], %2
%endmacro
%macro VALUE 3
    mov ebx, [values + (%2) * 4]
    CHECK %1, rbx, %3
%endmacro

main:
    ; 32-bit gates for the exceptions and 80h.
    mov rsi, stubs32
    mov edi, IDT32
    mov ecx, 256
.gate:
    mov eax, esi
    mov [rdi], ax
    mov word [rdi + 2], CODE32
    mov word [rdi + 4], 0xEE00
    shr eax, 16
    mov [rdi + 6], ax
    add rdi, 8
    add rsi, 16
    loop .gate
    ; 32-bit task-state segments.
    mov rax, 0x0000890000000067 | ((TSS32 & 0xFFFFFF) << 16)
    mov [gdt + S_TSS], rax
    mov rax, 0x0000890000000067 | ((TSS32B & 0xFFFFFF) << 16)
    mov [gdt + S_TSSB], rax
    mov rax, 0x0000E50000000000 | (S_TSSB << 16)
    mov [gdt + S_TASKGATE], rax
    mov rax, gate32
    mov rbx, rax
    and eax, 0xFFFF
    and ebx, 0xFFFF0000
    shl rbx, 32
    or rax, rbx
    mov rbx, 0x0000EC0200000000 | (CODE32 << 16)    ; DPL 3, two parameters
    or rax, rbx
    mov [gdt + S_GATE], rax
    mov dword [TSS32 + 4], STACK32_0
    mov dword [TSS32 + 8], DATA
    mov word [TSS32 + 102], 104

    ; ---------------------------------------------------------------- 32-bit protected mode
    GO_32
    mov ax, S_TSS
    ltr ax
    TRY32 0, ud2
    TRY32 1, int3
    xor ecx, ecx
    TRY32 2, div ecx
    mov eax, 0x7FFFFFFF
    add eax, 1
    TRY32 3, into
    mov dword [bounds], 0
    mov dword [bounds + 4], 10
    mov eax, 11
    TRY32 4, bound eax, [bounds]
    mov ax, 0xFFF8
    TRY32 5, mov ds, ax
    TRY32 6, int 0x80
    ; A call gate from ring 3 with two parameters, and back.
    push dword 0x23
    push dword STACK32_3
    push dword 0x2
    push dword USER32
    push dword ring3
    ; IRET to ring 3 takes away segments of ring 0.
    mov ax, USER_DATA
    mov ds, ax
    iretd
ring3:
    push dword 0x1111
    push dword 0x2222
    call S_GATE + 3:0
    KEEP 3, esp
    mov ax, cs
    KEEP 4, eax
    mov dword [resume32], back_ring0
    int 0x81
gate32:
    mov eax, [esp + 8]
    KEEP 0, eax
    mov eax, [esp + 12]
    KEEP 1, eax
    KEEP 2, esp
    retf 8
back_ring0:
    mov ax, DATA
    mov ds, ax
    mov es, ax
    ; --- tasks: a call and the return, then a jump through a task gate and back
    mov dword [TSS32B + 28], 0              ; CR3
    mov dword [TSS32B + 32], task_b
    mov dword [TSS32B + 36], 0x2
    mov dword [TSS32B + 40], 0xAAAA         ; EAX
    mov dword [TSS32B + 56], STACK32_0 - 0x400
    mov dword [TSS32B + 72], DATA
    mov dword [TSS32B + 76], CODE32
    mov dword [TSS32B + 80], DATA
    mov dword [TSS32B + 84], DATA
    mov dword [TSS32B + 88], DATA
    mov dword [TSS32B + 92], DATA
    mov dword [TSS32B + 96], 0
    mov word [TSS32B + 102], 104
    mov ebx, 0x5555
    call S_TSSB:0
    KEEP 9, ebx
    str ax
    movzx eax, ax
    KEEP 10, eax
    mov eax, [gdt + S_TSSB + 4]
    and eax, 0xF00
    KEEP 11, eax
    jmp task_done
task_b:
    KEEP 5, eax
    str ax
    movzx eax, ax
    KEEP 6, eax
    movzx eax, word [TSS32B]
    KEEP 7, eax
    pushfd
    pop eax
    and eax, 0x4000
    KEEP 8, eax
    mov ebx, 0x6666
    iretd
task_done:
    TRY32 7, jmp S_TSS:0                    ; a jump to oneself: busy

    ; --- 32-bit paging with 4 KiB and 4 MiB pages
    mov edi, DIRECTORY
    xor eax, eax
    mov ecx, 1024
    rep stosd
    mov eax, 0x83
    mov edi, DIRECTORY
    mov ecx, 8
.large:
    mov [edi], eax
    add edi, 4
    add eax, 0x400000
    loop .large
    mov dword [DIRECTORY + (WINDOW >> 20)], TABLE32 + 7
    mov edi, TABLE32
    xor eax, eax
    mov ecx, 1024
    rep stosd
    mov dword [TABLE32], FRAME + 3
    mov dword [TABLE32 + 4], FRAME + 1
    mov dword [FRAME], 0x7777
    mov eax, cr4
    or eax, 0x10
    mov cr4, eax
    mov eax, DIRECTORY
    mov cr3, eax
    mov eax, cr0
    or eax, 0x80010000
    mov cr0, eax
    mov eax, [WINDOW]
    KEEP 12, eax
    mov eax, [TABLE32]
    and eax, 0x60
    KEEP 13, eax
    TRY32 8, mov eax, [WINDOW + 0x2000]
    mov eax, cr2
    KEEP 14, eax
    TRY32 9, mov [WINDOW + 0x1000], eax
    mov dword [WINDOW + 4], 0x8888
    mov eax, [FRAME + 4]
    KEEP 15, eax
    mov eax, cr0
    and eax, 0x7FFFFFFF
    mov cr0, eax

    ; --- PAE with 2 MiB pages
    mov edi, PAE
    xor eax, eax
    mov ecx, 0x1000
    rep stosd
    mov dword [PAE], PAE + 0x1000 + 1
    mov dword [PAE + 8], PAE + 0x2000 + 1
    mov eax, 0x83
    mov edi, PAE + 0x1000
    mov ecx, 16
.pae:
    mov [edi], eax
    add edi, 8
    add eax, 0x200000
    loop .pae
    mov dword [PAE + 0x2000], 0x800000 + 0x83
    mov dword [PAE + 0x2004], 0x80000000    ; no execute
    mov eax, cr4
    or eax, 0x20
    mov cr4, eax
    mov eax, PAE
    mov cr3, eax
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
    mov eax, [WINDOW + 0x100000]
    KEEP 16, eax
    mov byte [WINDOW + 0x100100], 0xC3
    TRY32 10, call WINDOW + 0x100100
    mov esp, STACK32
    TRY32 11, mov eax, [WINDOW + 0x200000]
    mov eax, cr0
    and eax, 0x7FFFFFFF
    mov cr0, eax
    GO_64

    RESULT "UD2 in 32-bit mode", 0, 6, 0
    RESULT "INT3 in 32-bit mode", 1, 3, 0
    mov ebx, [results + 24]
    CHECK "leaves EIP behind itself", rbx, 1
    RESULT "DIV by zero in 32-bit mode", 2, 0, 0
    RESULT "INTO", 3, 4, 0
    RESULT "BOUND", 4, 5, 0
    RESULT "a selector beyond the table", 5, 13, 0xFFF8
    RESULT "INT 80h", 6, 0x80, 0
    VALUE "a call gate copies the last parameter", 0, 0x2222
    VALUE "and the first", 1, 0x1111
    VALUE "onto the stack of ring 0", 2, STACK32_0 - 24
    VALUE "RETF 8 drops them from ring 3's too", 3, STACK32_3
    mov ebx, [values + 16]
    and ebx, 0xFFFF
    CHECK "and is back in ring 3", rbx, USER32
    VALUE "a task starts with its registers", 5, 0xAAAA
    VALUE "it is the present task", 6, S_TSSB
    VALUE "it knows who called", 7, S_TSS
    VALUE "NT is set", 8, 0x4000
    VALUE "the caller's registers are back", 9, 0x5555
    VALUE "the caller is the present task again", 10, S_TSS
    VALUE "the called task is no longer busy", 11, 0x900
    RESULT "a jump to a busy task", 7, 13, S_TSS
    VALUE "32-bit paging", 12, 0x7777
    VALUE "its accessed bit", 13, 0x20
    RESULT "a missing page", 8, 14, 0
    VALUE "CR2", 14, WINDOW + 0x2000
    RESULT "a read-only page", 9, 14, 3
    VALUE "a write through the window", 15, 0x8888
    VALUE "PAE paging with 2 MiB pages", 16, 0x7777
    RESULT "a no-execute page under PAE", 10, 14, 0x11
    RESULT "a missing 2 MiB page", 11, 14, 0

    ; ---------------------------------------------------------------- virtual-8086 mode
    mov rsi, v86_code
    mov edi, LOW
    mov ecx, v86_end - v86_code
    rep movsb
    ; The task is busy since LTR; make it available again.
    and byte [gdt + S_TSS + 5], ~2
    GO_32
    mov ax, S_TSS
    ltr ax
    ; VME is off: INT n and CLI with IOPL 0 come to the monitor as #GP.
    mov dword [resume32], v86_back
    mov dword [vector32], -1
    push dword 0x4444                       ; GS
    push dword 0x3333                       ; FS
    push dword 0x2000                       ; DS
    push dword 0x1000                       ; ES
    push dword 0x3000                       ; SS
    push dword 0x0100                       ; ESP
    push dword 0x20002                      ; VM
    push dword LOW >> 4                     ; CS
    push dword 0                            ; EIP
    iretd
v86_back:
    mov eax, [vector32]
    KEEP 20, eax
    mov eax, [eip32]
    KEEP 21, eax
    mov eax, [flags32]
    and eax, 0x20000
    KEEP 22, eax
    mov eax, [frame32_es]
    KEEP 23, eax
    mov eax, [frame32_ds]
    KEEP 24, eax
    mov eax, [frame32_gs]
    KEEP 25, eax
    mov ax, ds
    movzx eax, ax
    KEEP 26, eax
    movzx eax, word [0x20010]
    KEEP 27, eax
    movzx eax, word [0x300FE]
    KEEP 28, eax
    mov ax, DATA
    mov ds, ax
    mov es, ax
    GO_64
    VALUE "INT 21h in virtual-8086 mode comes as #GP", 20, 13
    VALUE "at its own address", 21, v86_int - v86_code
    VALUE "the frame says VM", 22, 0x20000
    VALUE "ES is in the frame", 23, 0x1000
    VALUE "DS is in the frame", 24, 0x2000
    VALUE "GS is in the frame", 25, 0x4444
    VALUE "a store through DS", 27, 0x1234
    VALUE "a push through SS", 28, 0x5678

    ; ---------------------------------------------------------------- real mode
    mov rsi, real_code
    mov edi, LOW
    mov ecx, real_end - real_code
    rep movsb
    ; Vector 60h of the real-mode table.
    mov word [0x180], real_int - real_code
    mov word [0x182], LOW >> 4
    mov dword [0x100010], 0xFACE
    GO_32
    lidt [idt_real_register]
    jmp CODE16:LOW
bits 32
real_back:
    mov ax, DATA
    mov ds, ax
    mov es, ax
    mov ss, ax
    GO_64
    movzx ebx, word [0x9000]
    CHECK "INT 60h in real mode", rbx, 0x6060
    movzx ebx, word [0x9002]
    CHECK "pushes three words", rbx, 0x7000 - 6
    movzx ebx, word [0x9004]
    CHECK "its IRET comes back", rbx, 0x7000
    movzx ebx, word [0x9006]
    CHECK "FFFFh:0020h is above 1 MiB", rbx, 0xFACE
    movzx ebx, word [0x9008]
    CHECK "the selector loaded is a paragraph", rbx, 0x1234
    movzx ebx, word [0x900A]
    CHECK "DAA", rbx, 0x42
    movzx ebx, word [0x900C]
    CHECK "SP wraps at 64 KiB", rbx, 0xFFFE
    mov ebx, [0x9010]
    CHECK "32-bit operands in real mode", rbx, 0x12345678
    jmp finish

bits 16
v86_code:
    mov ax, 0x1234
    mov [0x10], ax
    push word 0x5678
v86_int:
    int 0x21
v86_end:

real_code:
    ; 16-bit protected mode, at linear LOW through a segment of base 0: leave it.
    mov eax, cr0
    and al, 0xFE
    mov cr0, eax
    jmp (LOW >> 4):(.real - real_code)
.real:
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, 0x7000
    int 0x60
    mov [0x9004], sp
    mov ax, 0xFFFF
    mov es, ax
    mov ax, [es:0x20]
    mov [0x9006], ax
    mov ax, 0x1234
    mov es, ax
    mov ax, es
    mov [0x9008], ax
    mov al, 0x35
    add al, 0x07
    daa
    xor ah, ah
    mov [0x900A], ax
    mov sp, 0
    push ax
    mov [0x900C], sp
    mov eax, 0x12345678
    mov [0x9010], eax
    mov eax, cr0
    or al, 1
    mov cr0, eax
    jmp dword CODE32:real_back
real_int:
    mov word [0x9000], 0x6060
    mov [0x9002], sp
    iret
real_end:

bits 32
align 16
stubs32:
%assign vector 0
%rep 256
    align 16, nop
    %if vector = 8 || (vector >= 10 && vector <= 14) || vector = 17
        nop
        nop
    %else
        push byte 0
    %endif
    push strict dword vector
    jmp near entry32_gate
    %assign vector vector + 1
%endrep
    align 16, nop

; Records the event and goes on at [resume32] in ring 0 with flat segments and the stack of before, or the monitor's.
entry32_gate:
    push eax
    mov eax, DATA
    mov ds, ax
    mov es, ax
    mov eax, [esp + 4]
    mov [vector32], eax
    mov eax, [esp + 8]
    mov [error32], eax
    mov eax, [esp + 12]
    mov [eip32], eax
    mov eax, [esp + 20]
    mov [flags32], eax
    test eax, 0x20000
    jz .plain
    mov eax, [esp + 32]
    mov [frame32_es], eax
    mov eax, [esp + 36]
    mov [frame32_ds], eax
    mov eax, [esp + 44]
    mov [frame32_gs], eax
    jmp .outer
.plain:
    test byte [esp + 16], 3
    jnz .outer
    pop eax
    mov esp, [stack32]
    jmp [resume32]
.outer:
    pop eax
    mov esp, STACK32
    jmp [resume32]

idt32_register:
    dw 2047
    dd IDT32
idt_real_register:
    dw 0x3FF
    dd 0
align 8
vector32: dd 0
error32: dd 0
eip32: dd 0
flags32: dd 0
resume32: dd 0
stack32: dd 0
frame32_es: dd 0
frame32_ds: dd 0
frame32_gs: dd 0
bounds: dd 0, 0
results: times 4 * 16 dd 0
values: times 32 dd 0
image_end:
