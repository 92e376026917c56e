; A 32-bit Linux program without libraries. It sieves primes, hashes them by a function whose arguments are on the stack, moves and
; compares strings across pages, counts in a segment of its own by GS, jumps by a table, and computes with x87 and SSE, while signals
; and system calls interrupt it. Prints COMPATIBILITY, the number of primes, the hash, what it counted and how many rounds went well.
;
;   nasm -f bin -o compatibility compatibility.asm
bits 32
org 0x08048000

LIMIT   equ 200000
ROUNDS  equ 20
TEXT    equ 10000

header: db 0x7F, "ELF", 1, 1, 1, 0
        times 8 db 0
        dw 2, 3
        dd 1, _start, program - header, 0, 0
        dw 52, 32, 1, 0, 0, 0
program:
        dd 1, 0, header, header, file_end - header, memory_end - header, 7, 4096

%macro SYSTEM 1
        mov eax, %1
        int 0x80
%endmacro

_start: mov ebx, 14                             ; sigaction: SIGALRM
        mov ecx, action
        xor edx, edx
        SYSTEM 67
        xor ebx, ebx                            ; setitimer: every two milliseconds
        mov ecx, timer
        xor edx, edx
        SYSTEM 104
        mov ebx, descriptor                     ; set_thread_area
        SYSTEM 243
        mov eax, [descriptor]
        lea eax, [eax * 8 + 3]
        mov gs, eax
.round: call sieve
        mov [primes], eax
        push dword LIMIT
        push dword flags
        call hash
        add esp, 8
        mov [digest], eax
        call strings
        add [good], eax
        call floats
        add [good], eax
        mov ecx, 1000
.count: inc dword [gs:4]
        add [gs:8], ecx
        loop .count
        mov eax, [rounds]
        and eax, 3
        call [table + eax * 4]
        add [good], eax
        SYSTEM 20                               ; getpid
        dec dword [rounds]
        jnz .round

        xor ebx, ebx                            ; no more, lest one cuts the output short
        mov ecx, no_timer
        xor edx, edx
        SYSTEM 104
        mov edi, number
        mov esi, results
        mov ecx, 5
.next:  lodsd
        call print
        inc edi
        loop .next
        mov ebx, 1
        mov ecx, text
        mov edx, text_end - text
        SYSTEM 4
        cmp dword [signals], 0
        setz bl
        movzx ebx, bl
        SYSTEM 1

; The number of primes below LIMIT, whose flags are then zero.
sieve:  mov edi, flags
        mov ecx, LIMIT / 4
        xor eax, eax
        rep stosd
        xor edx, edx
        mov esi, 2
.next:  cmp byte [flags + esi], 0
        jne .skip
        inc edx
        mov eax, esi
        imul eax, esi
        jo .skip
.mark:  cmp eax, LIMIT
        jae .skip
        mov byte [flags + eax], 1
        add eax, esi
        jmp .mark
.skip:  inc esi
        cmp esi, LIMIT
        jb .next
        mov eax, edx
        ret

; FNV-1a of (address, length) on the stack.
hash:   push ebp
        mov ebp, esp
        push esi
        push ebx
        mov esi, [ebp + 8]
        mov ecx, [ebp + 12]
        mov eax, 0x811C9DC5
.next:  movzx ebx, byte [esi]
        xor eax, ebx
        imul eax, eax, 0x01000193
        inc esi
        dec ecx
        jnz .next
        pop ebx
        pop esi
        leave
        ret

; 1 when a text copied forward, and backward over itself, is what it was.
strings:
        mov esi, flags
        mov edi, copy + 3
        mov ecx, TEXT
        rep movsb
        std
        lea esi, [copy + 3 + TEXT - 1]
        lea edi, [copy + 7 + TEXT - 1]
        mov ecx, TEXT
        rep movsb
        cld
        mov esi, flags
        mov edi, copy + 7
        mov ecx, TEXT
        xor eax, eax
        repe cmpsb
        sete al
        ret

; 1 when x87 and SSE agree about the sum of 1 / n.
floats: fldz
        fld1
        xorps xmm0, xmm0
        mov ecx, 100
.next:  fld1
        fdiv st0, st1
        faddp st2, st0
        fld1
        faddp st1, st0
        mov eax, 101
        sub eax, ecx
        cvtsi2sd xmm1, eax
        movsd xmm2, [one]
        divsd xmm2, xmm1
        addsd xmm0, xmm2
        loop .next
        fstp st0
        fstp qword [sum]
        subsd xmm0, [sum]
        andpd xmm0, [no_sign]
        xor eax, eax
        comisd xmm0, [little]
        setb al
        ret

; Each is 1, in its own way.
first:  mov eax, 1
        ret
second: xor eax, eax
        inc eax
        ret 0
third:  push dword 1
        pop eax
        ret
fourth: pushfd
        pop eax
        and eax, 2                              ; the constant bit
        shr eax, 1
        ret

; EAX as eight digits to EDI.
print:  push ecx
        mov ecx, 8
.next:  rol eax, 4
        mov ebx, eax
        and ebx, 15
        mov bl, [digits + ebx]
        mov [edi], bl
        inc edi
        loop .next
        pop ecx
        ret

handler:
        inc dword [signals]
        ret

align 16
no_sign: dq 0x7FFFFFFFFFFFFFFF, 0x7FFFFFFFFFFFFFFF
one:    dq 1.0
little: dq 1.0e-9
action: dd handler, 0, 0, 0
timer:  dd 0, 2000, 0, 2000
no_timer:
        dd 0, 0, 0, 0
descriptor:
        dd -1, own, 0xFFFFF, 0x51               ; 32 bits, limit in pages, usable
table:  dd first, second, third, fourth
results:
primes: dd 0
digest: dd 0
own:                                            ; what GS leads to
good:   dd 0
        dd 0, 0
rounds: dd ROUNDS
signals:
        dd 0
digits: db "0123456789abcdef"
text:   db "COMPATIBILITY "
number: db "00000000 00000000 00000000 00000000 00000000", 10
text_end:

file_end:

absolute file_end
alignb 8
sum:    resq 1
flags:  resb LIMIT
copy:   resb TEXT + 16
memory_end:
