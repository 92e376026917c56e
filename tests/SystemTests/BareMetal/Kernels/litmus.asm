; Litmus tests of the order of memory (Intel SDM volume 3, 9.2 "Memory Ordering") on two or four processors, and code patched while
; others run it. Each processor goes through many instances, at each of which they wait a little for each other and then some turns more,
; so that their steps fall on each other in ever new ways; then processor 0 counts the outcomes that must not be.
%include "harness.inc"
%include "phases.inc"

%define INSTANCES   4096
%define SIZE        256
; An instance: two words in cache lines of their own, what the processors read, and a word for locked instructions.
%define X           0
%define Y           64
%define R1          128
%define R2          136
%define R3          144
%define R4          152
%define OWN         192             ; and 8 bytes for each processor
%define MET         224             ; how many have come here
%define REPEATS     12
%define WEAK_REPEATS 400            ; at most, until something is seen

; RUN "name", phase, routine that finds what must not be (RDI an instance; ZF clear: found)
%macro RUN 3
    mov dword [repeat], REPEATS
    mov qword [forbidden], 0
%%again:
    call clear
    PHASE %2
    mov rax, %3
    call count_forbidden
    dec dword [repeat]
    jnz %%again
    CHECK %1, [forbidden], 0
%endmacro

; ON processor, label: the processor with this number goes there.
%macro ON 2
    cmp ebp, %1
    je %2
%endmacro

; The loop over all instances, RDI at each; the body is what stands between EACH and NEXT. Two that take part begin an instance together,
; if they run side by side at all. R10 is spoilt.
%macro EACH 0
    mov rdi, SCRATCH
    mov ecx, INSTANCES
%%loop:
    lock inc dword [rdi + MET]
    mov r10d, 300
%%meet:
    cmp dword [rdi + MET], 2
    jae %%met
    dec r10d
    jnz %%meet
%%met:
    lea r10d, [rbp * 2 + 1]
    imul r10d, ecx
    and r10d, 31
%%turn:
    dec r10d
    jns %%turn
%push each
%define %$again %%loop
%endmacro
%macro NEXT 0
    add rdi, SIZE
    dec ecx
    jnz %$again
%pop
    ret
%endmacro

main:
    mov r15d, APIC
    mov dword [r15 + 0xF0], 0x1FF
    PLACE_TRAMPOLINE
    mov dword [alive], 1
    mov dword [r15 + 0x300], 0xC4500
    call delay
    mov dword [r15 + 0x300], 0xC4600 + (TRAMPOLINE >> 12)
    mov ecx, 50000000
.wait:
    pause
    cmp dword [alive], CPUS
    loopne .wait
    mov eax, [alive]
    CHECK "all processors started", rax, CPUS
    cmp eax, CPUS
    jne finish

    call show_buffering
    RUN "message passing: stores and loads keep their order", message, found_message
    RUN "store buffering is stopped by MFENCE", buffer_fence, found_buffer
    RUN "store buffering is stopped by a locked instruction", buffer_locked, found_buffer
    RUN "store buffering is stopped by XCHG as the store", buffer_exchange, found_buffer
    RUN "loads are not passed by later stores", load_buffer, found_load_buffer
%if CPUS == 4
    RUN "what a processor saw is seen by who sees its store", causality, found_causality
    RUN "two readers agree on the order of independent stores", independent, found_independent
    RUN "two readers agree on the order of locked instructions", locked, found_independent
    RUN "a byte store and a wide load, over one word", mixed, found_mixed
%endif
    RUN "a locked instruction keeps loads behind it behind it", locked_load, found_buffer
    RUN "two pairs of stores end in one order", pairs, found_pairs
    RUN "one word never goes back", coherence, found_coherence

    mov qword [handlers + 3 * 8], on_breakpoint
    mov qword [handlers + 0xF2 * 8], on_synchronize
    PHASE patch
    CHECK "patched code runs as one of its forms", [patch_errors], 0
    mov rax, [patch_calls]
    test rax, rax
    CHECK_TRUE "and it ran meanwhile", nz
    jmp finish

; ---------------------------------------------------------------- instances

clear:
    mov rdi, SCRATCH
    xor eax, eax
    mov ecx, INSTANCES * SIZE / 8
    rep stosq
    ret

count_forbidden:                    ; RAX the routine
    mov rdi, SCRATCH
    mov ecx, INSTANCES
.instance:
    push rax
    call rax
    jz .fine
    inc qword [forbidden]
.fine:
    pop rax
    add rdi, SIZE
    dec ecx
    jnz .instance
    ret

; ---------------------------------------------------------------- tests

; Without a fence both loads may be made before both stores are seen. How often that happens depends on the host, so it is counted, not
; checked: where it is never seen, the checks below have not tried much.
show_buffering:
    mov dword [repeat], WEAK_REPEATS
    mov qword [forbidden], 0
.again:
    call clear
    PHASE buffer
    mov rax, found_buffer
    call count_forbidden
    dec dword [repeat]
    jz .told
    cmp qword [forbidden], 0
    je .again
.told:
    mov rsi, text_buffering
    call print
    mov eax, [forbidden]
    call print_decimal
    mov rsi, text_instances
    call print
    mov eax, WEAK_REPEATS
    sub eax, [repeat]
    imul eax, INSTANCES
    call print_decimal
    mov al, 10
    jmp print_character

message:
    ON 0, .writer
    ON 1, .reader
    ret
.writer:
    EACH
    mov dword [rdi + X], 1
    mov dword [rdi + Y], 1
    NEXT
.reader:
    EACH
    mov eax, [rdi + Y]
    mov edx, [rdi + X]
    mov [rdi + R1], eax
    mov [rdi + R2], edx
    NEXT
found_message:                      ; R1 = 1, R2 = 0
    mov eax, [rdi + R2]
    not eax
    test eax, [rdi + R1]
    ret

%macro BUFFER 1
    ON 0, .first
    ON 1, .second
    ret
.first:
    EACH
    %1 X, 0
    mov eax, [rdi + Y]
    mov [rdi + R1], eax
    NEXT
.second:
    EACH
    %1 Y, 8
    mov eax, [rdi + X]
    mov [rdi + R2], eax
    NEXT
%endmacro
%macro STORE_FENCE 2
    mov dword [rdi + %1], 1
    mfence
%endmacro
%macro STORE_LOCKED 2
    mov dword [rdi + %1], 1
    lock add dword [rdi + OWN + %2], 1
%endmacro
%macro STORE_EXCHANGE 2
    mov eax, 1
    xchg [rdi + %1], eax
%endmacro
%macro STORE_ALONE 2
    mov dword [rdi + %1], 1
%endmacro
buffer:
    BUFFER STORE_ALONE
buffer_fence:
    BUFFER STORE_FENCE
buffer_locked:
    BUFFER STORE_LOCKED
buffer_exchange:
    BUFFER STORE_EXCHANGE
found_buffer:                       ; R1 = R2 = 0
    mov eax, [rdi + R1]
    or eax, [rdi + R2]
    xor eax, 1
    ret

; The first locked instruction is on a word that nobody else uses; it is the order that counts, not the word.
locked_load:
    ON 0, .first
    ON 1, .second
    ret
.first:
    EACH
    mov dword [rdi + X], 1
    mov eax, 1
    lock xadd [rdi + OWN], eax
    mov eax, [rdi + Y]
    mov [rdi + R1], eax
    NEXT
.second:
    EACH
    mov dword [rdi + Y], 1
    xor eax, eax
    mov edx, 1
    lock cmpxchg [rdi + OWN + 8], edx
    mov eax, [rdi + X]
    mov [rdi + R2], eax
    NEXT

load_buffer:
    ON 0, .first
    ON 1, .second
    ret
.first:
    EACH
    mov eax, [rdi + X]
    mov dword [rdi + Y], 1
    mov [rdi + R1], eax
    NEXT
.second:
    EACH
    mov eax, [rdi + Y]
    mov dword [rdi + X], 1
    mov [rdi + R2], eax
    NEXT
found_load_buffer:                  ; R1 = R2 = 1
    mov eax, [rdi + R1]
    test eax, [rdi + R2]
    ret

causality:
    ON 0, .writer
    ON 1, .between
    ON 2, .reader
    ret
.writer:
    EACH
    mov dword [rdi + X], 1
    NEXT
.between:
    EACH
    mov eax, [rdi + X]
    mov [rdi + Y], eax
    NEXT
.reader:
    EACH
    mov eax, [rdi + Y]
    mov edx, [rdi + X]
    mov [rdi + R1], eax
    mov [rdi + R2], edx
    NEXT
found_causality equ found_message

independent:
    ON 0, .first
    ON 1, .second
    ON 2, .third
    EACH
    mov eax, [rdi + Y]
    mov edx, [rdi + X]
    mov [rdi + R3], eax
    mov [rdi + R4], edx
    NEXT
.first:
    EACH
    mov dword [rdi + X], 1
    NEXT
.second:
    EACH
    mov dword [rdi + Y], 1
    NEXT
.third:
    EACH
    mov eax, [rdi + X]
    mov edx, [rdi + Y]
    mov [rdi + R1], eax
    mov [rdi + R2], edx
    NEXT
locked:
    ON 0, .first
    ON 1, .second
    ON 2, .third
    EACH
    mov eax, [rdi + Y]
    mov edx, [rdi + X]
    mov [rdi + R3], eax
    mov [rdi + R4], edx
    NEXT
.first:
    EACH
    lock inc dword [rdi + X]
    NEXT
.second:
    EACH
    mov eax, 1
    xchg [rdi + Y], eax
    NEXT
.third:
    EACH
    mov eax, [rdi + X]
    mov edx, [rdi + Y]
    mov [rdi + R1], eax
    mov [rdi + R2], edx
    NEXT
found_independent:                  ; R1 = R3 = 1, R2 = R4 = 0
    mov eax, [rdi + R2]
    or eax, [rdi + R4]
    not eax
    and eax, [rdi + R1]
    test eax, [rdi + R3]
    ret

pairs:
    ON 0, .first
    ON 1, .second
    ret
.first:
    EACH
    mov dword [rdi + X], 1
    mov dword [rdi + Y], 2
    NEXT
.second:
    EACH
    mov dword [rdi + Y], 1
    mov dword [rdi + X], 2
    NEXT
found_pairs:                        ; both words end as 1
    mov eax, [rdi + X]
    and eax, [rdi + Y]
    test eax, 1
    ret

coherence:
    ON 0, .writer
    EACH
    mov eax, [rdi + X]
    mov edx, [rdi + X]
    cmp edx, eax
    jae .fine
    mov dword [rdi + R1], 1
.fine:
    NEXT
.writer:
    EACH
    mov dword [rdi + X], 1
    mov dword [rdi + X], 2
    NEXT
found_coherence:
    cmp dword [rdi + R1], 0
    ret

; Processor 0 stores a byte, processor 1 the whole; a wide load sees bytes that were written, and no others.
mixed:
    ON 0, .byte
    ON 1, .whole
    EACH
    mov rax, [rdi + X]
    cmp eax, 0xFF
    je .fine
    mov rdx, 0x1111111111111111
    mov r8, rax
    xor r8, rdx
    test r8, -256
    jz .fine                        ; all of the whole, its lowest byte either one's
    test rax, rax
    jz .fine
    mov qword [rdi + R1], rax
.fine:
    NEXT
.byte:
    EACH
    mov byte [rdi + X], 0xFF
    NEXT
.whole:
    mov rdx, 0x1111111111111111
    EACH
    mov [rdi + X], rdx
    NEXT
found_mixed:
    cmp qword [rdi + R1], 0
    ret

; ---------------------------------------------------------------- patching

; Processor 0 changes five bytes as an operating system does: a breakpoint in the first, then the others, then the first, and between these
; steps every other processor serializes at an interrupt. The forms: EAX = 11111111h, or a jump over nothing.
patch:
    test ebp, ebp
    jnz .runner
    mov r8d, 200
.round:
    mov byte [patched], 0xCC
    call synchronize
    mov eax, 0x11111111
    mov r9b, 0xB8
    test r8d, 1
    jz .form
    xor eax, eax
    mov r9b, 0xE9
.form:
    mov [patched + 1], eax
    call synchronize
    mov [patched], r9b
    call synchronize
    dec r8d
    jnz .round
    mov qword [patch_done], 1
    ret
.runner:
    sti
.run:
    call patched_routine
    lock inc qword [patch_calls]
    cmp eax, 0x11111111
    je .fine
    cmp eax, 0x22222222
    je .fine
    lock inc qword [patch_errors]
.fine:
    pause
    cmp qword [patch_done], 0
    je .run
    cli
    ret

synchronize:
    mov qword [synchronize_left], CPUS - 1
    mov dword [r15 + 0x300], 0xC40F2
.wait:
    pause
    cmp qword [synchronize_left], 0
    jne .wait
    ret

on_synchronize:
    lock dec qword [synchronize_left]
    mov r8d, APIC
    mov dword [r8 + 0xB0], 0
    ret

; Behind the breakpoint goes on what follows the patched place.
on_breakpoint:
    mov qword [rdi + 8], patched + 5
    ret

align 64
patched_routine:
    mov eax, 0x22222222
    nop
    nop
patched:                            ; across 8 bytes, so that no single store could change it
    db 0xE9, 0, 0, 0, 0
    ret

%include "processors.inc"

text_buffering: db "store buffering without a fence: ", 0
text_instances: db " of ", 0

align 64
repeat: dd 0
align 8
forbidden: dq 0
patch_errors: dq 0
patch_done: dq 0
align 64
patch_calls: dq 0
align 64
synchronize_left: dq 0
image_end:
