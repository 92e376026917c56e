// An interpreter of a small stack machine: an indirect jump for each of its instructions.
#include "workload.h"

enum { PUSH, LOAD, STORE, ADD, SUB, MUL, AND, SHR, LESS, JUMP_IF, JUMP, HALT };

uint64_t bytecode(void)
{
    // for (i = 0; i < 6000000; i++) { sum = sum * 3 + i; if (sum & 1) sum = sum - (i >> 2); }
    static const int64_t code[] = {
        PUSH, 0, STORE, 0, PUSH, 1, STORE, 1,
        LOAD, 0, PUSH, 6000000, LESS, JUMP_IF, 17, HALT, 0,
        LOAD, 1, PUSH, 3, MUL, LOAD, 0, ADD, STORE, 1,
        LOAD, 1, PUSH, 1, AND, JUMP_IF, 36, JUMP, 46,
        LOAD, 1, LOAD, 0, PUSH, 2, SHR, SUB, STORE, 1,
        LOAD, 0, PUSH, 1, ADD, STORE, 0, JUMP, 8,
    };
    static void *const targets[] = {
        &&push, &&load, &&store, &&add, &&sub, &&mul, &&and, &&shr, &&less, &&jump_if, &&jump, &&halt,
    };
    uint64_t stack[16], variables[4] = {0}, *top = stack;
    const int64_t *at = code;
#define NEXT goto *targets[*at++]
    NEXT;
push: *++top = (uint64_t)*at++; NEXT;
load: *++top = variables[*at++]; NEXT;
store: variables[*at++] = *top--; NEXT;
add: top--; top[0] += top[1]; NEXT;
sub: top--; top[0] -= top[1]; NEXT;
mul: top--; top[0] *= top[1]; NEXT;
and: top--; top[0] &= top[1]; NEXT;
shr: top--; top[0] >>= top[1]; NEXT;
less: top--; top[0] = top[0] < top[1]; NEXT;
jump_if: at = *top-- ? code + *at : at + 1; NEXT;
jump: at = code + *at; NEXT;
halt: return variables[1];
}
