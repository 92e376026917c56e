; A Linux program without libraries: two processes count in all YMM registers at once, each with numbers, a rounding mode and an x87
; stack of its own, while signals, system calls, page faults and each other interrupt them. Prints VECTORS-OK when every
; register ends as it must.
;
;   nasm -f bin -o vectors vectors.asm
bits 64
org 0x400000

SIGNALS equ 12                  ; how many interrupt each process
PAGES   equ 256

header: db 0x7F, "ELF", 2, 1, 1, 0
        times 8 db 0
        dw 2, 62
        dd 1
        dq _start, program - header, 0
        dd 0
        dw 64, 56, 1, 0, 0, 0
program:
        dd 1, 7
        dq 0, header, header, file_end - header, memory_end - header, 4096

%macro SYSTEM 1
        mov eax, %1
        syscall
%endmacro

; For each of the 16 registers.
%macro EACH 1
%assign n 0
%rep 16
        %1 n
%assign n n+1
%endrep
%endmacro

%macro LOAD 1
        vmovdqu ymm%1, [table + 32 * %1]
%endmacro

%macro COUNT 1
        vpaddq ymm%1, ymm%1, [ones]
%endmacro

%macro STORE 1
        vmovdqu [result + 32 * %1], ymm%1
%endmacro

%macro SPOIL 1
        vpcmpeqd ymm%1, ymm%1, ymm%1
%endmacro

_start: SYSTEM 57               ; fork
        mov r15, rax
        mov r12, 0x0123456789ABCDEF
        mov dword [control], 0x3F80     ; round down
        mov word [x87_control], 0x77F
        test rax, rax
        jz .child
        mov r12, 0x7777000011112222
        mov dword [control], 0x5F80     ; round up
        mov word [x87_control], 0xB7F
.child: mov eax, 13             ; rt_sigaction(SIGALRM)
        mov edi, 14
        mov rsi, action
        xor edx, edx
        mov r10d, 8
        syscall
        mov eax, 38             ; setitimer(ITIMER_REAL)
        xor edi, edi
        mov rsi, interval
        xor edx, edx
        syscall

        xor ecx, ecx
.fill:  lea rax, [rcx + 1]
        imul rax, r12
        mov [table + 8 * rcx], rax
        inc ecx
        cmp ecx, 64
        jb .fill
        EACH LOAD
        ldmxcsr [control]
        fninit
        fldcw [x87_control]
        mov ecx, 7
.push:  fild qword [table + 8 * rcx]
        dec ecx
        jns .push

        xor r13d, r13d
.count: inc r13
        EACH COUNT
        test r13d, 63
        jnz .count
        SYSTEM 24               ; sched_yield
        mov eax, r13d
        shr eax, 6
        and eax, PAGES - 1
        shl eax, 12
        vmovq [pages + rax], xmm3       ; a page fault, the first times
        test r13d, 0xFFF
        jnz .pages_stay
        mov eax, 28             ; madvise(MADV_DONTNEED)
        mov rdi, pages
        mov esi, PAGES * 4096
        mov edx, 4
        syscall
.pages_stay:
        cmp dword [signals], SIGNALS
        jb .count

        EACH STORE
        stmxcsr [result_control]
        xor r14d, r14d          ; what is wrong
        xor ecx, ecx
.check: mov rax, [table + 8 * rcx]
        add rax, r13
        cmp rax, [result + 8 * rcx]
        je .good
        or r14d, 1
.good:  inc ecx
        cmp ecx, 64
        jb .check
        xor ecx, ecx
.pop:   fistp qword [result]
        mov rax, [table + 8 * rcx]
        cmp rax, [result]
        je .popped
        or r14d, 2
.popped:
        inc ecx
        cmp ecx, 8
        jb .pop
        fnstcw [result]
        mov ax, [x87_control]
        cmp ax, [result]
        je .x87
        or r14d, 4
.x87:   mov eax, [result_control]
        xor eax, [control]
        test eax, 0xFFC0
        jz .mxcsr
        or r14d, 8
.mxcsr: mov edi, r14d
        test r15, r15
        jz .exit

        mov rdi, r15
.wait:  mov eax, 61             ; wait4
        mov rdi, r15
        mov rsi, status
        xor edx, edx
        xor r10d, r10d
        syscall
        cmp rax, -4             ; interrupted
        je .wait
        or r14d, [status]
        mov rsi, good
        test r14d, r14d
        jz .print
        mov rsi, bad
        mov eax, r14d
        and eax, 15
        add [bad + 12], al
.print: mov eax, 1
        mov edi, 1
        mov edx, 14
        syscall
        mov edi, r14d
.exit:  SYSTEM 231

handler:
        EACH SPOIL
        vzeroupper
        EACH SPOIL
        ldmxcsr [other_control]
        fninit
        fldpi
        fldpi
        inc dword [signals]
        ret

restorer:
        SYSTEM 15

align 8
action: dq handler, 0x14000000, restorer, 0
interval:
        dq 0, 3000, 0, 3000
other_control:
        dd 0x7F80
ones:   times 4 dq 1
good:   db "VECTORS-OK    ", 10
bad:    db "VECTORS-BAD @ ", 10
file_end:

absolute file_end
alignb 32
table:  resq 64
result: resq 64
control:
        resd 1
result_control:
        resd 1
x87_control:
        resw 1
alignb 8
signals:
        resq 1
status: resq 1
alignb 4096
pages:  resb PAGES * 4096
memory_end:
