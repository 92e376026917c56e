; A processor whose exceptions, and the faults of delivering them, find no gate: it shuts down.
%include "harness.inc"

main:
    lidt [no_gates]
    ud2

no_gates:
    dw 0
    dq 0
image_end:
