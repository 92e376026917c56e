; Several processors (2 to 4): start-up by INIT and SIPI, atomic operations, the order of memory, shootdown of translations,
; code changed by one processor while others run it.
%include "harness.inc"
%include "phases.inc"

%define TABLE       0x210000
%define WINDOW      0x40000000
%define FRAME       0x900000
%define FRAME2      0x901000
%define SHARED      SCRATCH
%define ROUNDS      20000

main:
    mov r15d, APIC
    mov qword [PD0 + 0x1000], TABLE + 7
    mov rdi, TABLE
    xor eax, eax
    mov ecx, 512
    rep stosq
    mov rax, cr3
    mov cr3, rax
    mov dword [r15 + 0xF0], 0x1FF

    PLACE_TRAMPOLINE

    ; --- start-up
    mov dword [alive], 1
    mov dword [r15 + 0x300], 0xC4500        ; INIT to all but oneself
    call delay
    mov eax, [alive]
    CHECK "INIT alone starts nobody", rax, 1
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
    mov eax, [apic_ids]
    CHECK "each with its own APIC identifier", rax, 0x03020100 & ((1 << (CPUS * 8)) - 1)
    ; A start-up IPI to a running processor is ignored.
    mov dword [r15 + 0x300], 0xC4600 + (TRAMPOLINE >> 12)
    call delay
    mov eax, [alive]
    CHECK "a start-up IPI to a running processor is ignored", rax, CPUS

    ; --- atomic operations
    PHASE phase_atomic
    CHECK "LOCK INC", [SHARED + 0x00], CPUS * ROUNDS
    CHECK "LOCK XADD", [SHARED + 0x40], CPUS * ROUNDS
    CHECK "LOCK CMPXCHG", [SHARED + 0x80], CPUS * ROUNDS
    CHECK "LOCK CMPXCHG16B, the low half", [SHARED + 0xC0], CPUS * ROUNDS
    CHECK "LOCK CMPXCHG16B, the high half", [SHARED + 0xC8], CPUS * ROUNDS
    CHECK "an XCHG lock around plain additions", [SHARED + 0x108], CPUS * ROUNDS
    CHECK "LOCK BTS and BTR", [SHARED + 0x140], 0
    CHECK "LOCK INC across cache lines", [SHARED + 0x1BC], CPUS * ROUNDS
    CHECK "LOCK ADD across pages", [SHARED + 0xFFD], CPUS * 500

    ; --- order of memory
    PHASE phase_message
    CHECK "stores are seen in their order, loads are made in theirs", [message_errors], 0
    PHASE phase_buffer
    CHECK "MFENCE forbids store buffering", [buffer_errors], 0
    PHASE phase_independent
    CHECK "all see independent stores in one order", [independent_errors], 0

    ; --- shootdown
    mov qword [handlers + 0xF1 * 8], on_shootdown
    mov qword [FRAME], 1
    mov qword [FRAME2], 2
    PHASE phase_shootdown
    CHECK "no processor used a translation after its shootdown", [shootdown_errors], 0
    mov rax, [shootdown_count]
    cmp qword [shootdown_looks], 0
    CHECK_TRUE "the others looked between shootdowns", ne
    mov rax, [shootdown_count]
    CHECK "every shootdown was answered", rax, 300 * (CPUS - 1)

    ; --- code changed while others run it
    PHASE phase_cross
    CHECK "changed code is seen, and never half", [cross_errors], 0
    mov rax, [cross_seen]
    cmp rax, CPUS - 1
    CHECK_TRUE "the others saw the last change", ae

    ; --- code a processor changes itself
    mov rdi, SCRATCH + 0x10000
    mov ecx, 1000
    xor r9, r9
.self:
    mov byte [rdi], 0xB8
    mov [rdi + 1], ecx
    mov byte [rdi + 5], 0xC3
    call rdi
    cmp eax, ecx
    je .self_same
    inc r9
.self_same:
    loop .self
    CHECK "1000 changes of its own code are seen at once", r9, 0
    ; The next instruction itself, within a block.
    mov ecx, 100
    xor r9, r9
.next:
    mov [.target + 1], ecx
.target:
    mov eax, 0
    cmp eax, ecx
    je .next_same
    inc r9
.next_same:
    loop .next
    CHECK "even of the instruction that comes next", r9, 0
    ; A string instruction that overwrites code behind itself.
    mov rsi, .template
    mov rdi, .overwritten
    mov ecx, 5
    rep movsb
.overwritten:
    mov eax, 1
    CHECK "and by a string instruction", rax, 2
    jmp .end_self
.template:
    mov eax, 2
.end_self:

    ; --- INIT stops a running processor, and it starts anew
    mov dword [alive], 1
    mov dword [r15 + 0x300], 0xC4500
    mov dword [r15 + 0x300], 0xC4600 + (TRAMPOLINE >> 12)
    mov ecx, 50000000
.again:
    pause
    cmp dword [alive], CPUS
    loopne .again
    mov eax, [alive]
    CHECK "INIT and start-up once more", rax, CPUS
    ; --- an NMI wakes halted processors
    mov qword [handlers + 16], on_nmi
    PHASE phase_nmi
    CHECK "an NMI woke every other processor from HLT", [nmi_count], CPUS - 1
    jmp finish

; ---------------------------------------------------------------- phases

phase_atomic:
    mov ecx, ROUNDS
.round:
    lock inc qword [SHARED]
    mov eax, 1
    lock xadd [SHARED + 0x40], rax
    mov rax, [SHARED + 0x80]
.compare:
    lea rdx, [rax + 1]
    lock cmpxchg [SHARED + 0x80], rdx
    jne .compare
    mov r8, rcx
    mov rax, [SHARED + 0xC0]
    mov rdx, [SHARED + 0xC8]
.wide:
    lea rbx, [rax + 1]
    lea rcx, [rdx + 1]
    lock cmpxchg16b [SHARED + 0xC0]
    jne .wide
    mov rcx, r8
.lock:
    mov eax, 1
    xchg eax, [SHARED + 0x100]
    test eax, eax
    jz .locked
    pause
    jmp .lock
.locked:
    mov rax, [SHARED + 0x108]
    inc rax
    mov [SHARED + 0x108], rax
    mov dword [SHARED + 0x100], 0
    lock bts qword [SHARED + 0x140], rbp
    lock btr qword [SHARED + 0x140], rbp
    lock inc qword [SHARED + 0x1BC]
    dec ecx
    jnz .round
    mov ecx, 500
.pages:
    lock add qword [SHARED + 0xFFD], 1
    loop .pages
    ret

; Processor 0 writes data then a flag; the others read the flag then the data, which must be at least as new.
phase_message:
    mov ecx, ROUNDS
    xor r8, r8
    test ebp, ebp
    jnz .reader
.writer:
    inc r8
    mov [SHARED + 0x2000], r8
    mov [SHARED + 0x2040], r8
    loop .writer
    ret
.reader:
    mov rax, [SHARED + 0x2040]
    mov rdx, [SHARED + 0x2000]
    cmp rdx, rax
    jae .fine
    lock inc qword [message_errors]
.fine:
    pause
    cmp rax, ROUNDS
    jb .reader
    ret

; x = 1; MFENCE; r1 = y against y = 1; MFENCE; r2 = x, by processors 0 and 1: not both zero.
phase_buffer:
    cmp ebp, 2
    jae .end
    mov r8, 1
.round:
    mov rdi, SHARED + 0x3000
    mov rsi, SHARED + 0x3040
    test ebp, ebp
    jz .first
    xchg rdi, rsi
.first:
    ; Both begin the round together.
    lock inc qword [SHARED + 0x3080]
    lea rax, [r8 * 2]
.meet:
    pause
    cmp [SHARED + 0x3080], rax
    jb .meet
    mov [rdi], r8
    mfence
    mov rdx, [rsi]
    mov [SHARED + 0x30C0 + rbp * 8], rdx
    lock inc qword [SHARED + 0x3100]
.part:
    pause
    cmp [SHARED + 0x3100], rax
    jb .part
    test ebp, ebp
    jnz .next
    cmp [SHARED + 0x30C0], r8
    jae .next
    cmp [SHARED + 0x30C8], r8
    jae .next
    lock inc qword [buffer_errors]
.next:
    ; The second meeting keeps processor 0's look from racing with the next round.
    lock inc qword [SHARED + 0x3140]
.leave:
    pause
    cmp [SHARED + 0x3140], rax
    jb .leave
    inc r8
    cmp r8, 1000
    jb .round
.end:
    ret

; Processors 0 and 1 each count up a word of their own; 2 reads one then the other, 3 the other way round. A pair of
; readings where each saw its first word newer than the other's second would contradict one order of all stores.
; Seen from one reader alone: a word never goes back.
phase_independent:
    mov ecx, ROUNDS
    mov rdi, SHARED + 0x4000
    mov rsi, SHARED + 0x4040
    test ebp, 1
    jz .chosen
    xchg rdi, rsi
.chosen:
    cmp ebp, 2
    jae .reader
.writer:
    inc qword [rdi]
    loop .writer
    ret
.reader:
    xor r8, r8
    xor r9, r9
.read:
    mov rax, [rdi]
    mov rdx, [rsi]
    cmp rax, r8
    jb .wrong
    cmp rdx, r9
    jae .right
.wrong:
    lock inc qword [independent_errors]
.right:
    mov r8, rax
    mov r9, rdx
    loop .read
    ret

; Processor 0 changes a mapping 300 times, tells the others by IPI and waits for them; the others read without end. The
; sequence number is odd while a change is under way; at an even one everybody must see the page that is told.
phase_shootdown:
    test ebp, ebp
    jnz .reader
    mov qword [shootdown_value], 1
    mov qword [TABLE], FRAME + 3
    mov r8d, 300
.round:
    inc qword [shootdown_sequence]
    mov rax, FRAME + 3
    test r8d, 1
    jz .even
    mov rax, FRAME2 + 3
.even:
    mov qword [shootdown_left], CPUS - 1
    mov [TABLE], rax
    invlpg [WINDOW]
    mov dword [r15 + 0x300], 0xC40F1
.wait:
    pause
    cmp qword [shootdown_left], 0
    jne .wait
    mov rdx, [WINDOW]
    mov [shootdown_value], rdx
    mov rax, [shootdown_looks]
    inc qword [shootdown_sequence]
    ; The others get their chance to look.
    mov edx, 10000
.breath:
    pause
    cmp rax, [shootdown_looks]
    jne .looked
    dec edx
    jnz .breath
.looked:
    dec r8d
    jnz .round
    mov qword [shootdown_done], 1
    ret
.reader:
    sti
.read:
    mov rax, [shootdown_sequence]
    test al, 1
    jnz .busy
    mov rdx, [shootdown_value]
    test rax, rax
    jz .busy
    mov r8, [WINDOW]
    cmp rax, [shootdown_sequence]
    jne .busy
    inc qword [shootdown_looks]
    cmp r8, rdx
    je .busy
    lock inc qword [shootdown_errors]
.busy:
    pause
    cmp qword [shootdown_done], 0
    je .read
    cli
    ret

on_shootdown:
    invlpg [WINDOW]
    lock inc qword [shootdown_count]
    lock dec qword [shootdown_left]
    mov r8d, APIC
    mov dword [r8 + 0xB0], 0
    ret

; Processor 0 changes the immediate of an aligned instruction in one store; the others call it and must get one of the
; values written, never going back.
phase_cross:
    test ebp, ebp
    jnz .reader
    mov ecx, 2000
    xor r8d, r8d
.writer:
    inc r8d
    mov [cross_code + 4], r8d
    mov edx, 50
.breath:
    dec edx
    jnz .breath
    loop .writer
    mov dword [cross_code + 4], 0x7FFFFFFF
    ret
.reader:
    xor r8d, r8d
.read:
    call cross_code
    cmp eax, r8d
    jae .fine
    lock inc qword [cross_errors]
.fine:
    cmp eax, 2000
    jbe .known
    cmp eax, 0x7FFFFFFF
    je .last
    lock inc qword [cross_errors]
.known:
    mov r8d, eax
    jmp .read
.last:
    lock inc qword [cross_seen]
    ret

phase_nmi:
    test ebp, ebp
    jnz .sleeper
    mov ecx, 50000000
.asleep:
    pause
    cmp qword [nmi_asleep], CPUS - 1
    loopne .asleep
    call delay
    mov dword [r15 + 0x300], 0xC4400
    ret
.sleeper:
    lock inc qword [nmi_asleep]
    hlt
    ret
on_nmi:
    lock inc qword [nmi_count]
    ret

align 64
    times 3 nop
cross_code:                         ; its immediate is aligned to 4
    nop
    nop
    nop
    mov eax, 0
    ret

%include "processors.inc"

align 64
message_errors: dq 0
buffer_errors: dq 0
independent_errors: dq 0
shootdown_errors: dq 0
shootdown_count: dq 0
shootdown_left: dq 0
shootdown_value: dq 0
shootdown_sequence: dq 0
shootdown_looks: dq 0
shootdown_done: dq 0
cross_errors: dq 0
cross_seen: dq 0
nmi_asleep: dq 0
nmi_count: dq 0
image_end:
