# One entry for each exception, 8 bytes apart, and behind them that of the interrupt that ends a sleep. Those of exceptions make the stack alike for all, save the registers and call
# _mirage_trap(frame), which does not return. The processor has switched to the stack of the handlers (IST).

    .pushsection .text.traps, "ax", @progbits
    .balign 16
    .global _mirage_trap_entries
_mirage_trap_entries:
    .set vector, 0
    .rept 32
    .balign 8
    push vector
    # These vectors come with an error code: 8, 10 to 14, 17, 21, 29, 30.
    .if ((0x60227D00 >> vector) & 1) == 0
    jmp 1f
    .else
    jmp _mirage_trap_common
    .endif
    .set vector, vector + 1
    .endr

    # Back to behind the halt, with interrupts off. No processor takes an interrupt between `sti` and what follows it; one that is
    # emulated may, and would halt for ever then.
    .balign 8
    push rax
    mov rax, [rsp + 8]
    cmp byte ptr [rax], 0xf4
    jne 2f
    inc qword ptr [rsp + 8]
2:  and qword ptr [rsp + 24], ~0x200
    pop rax
    iretq

    # The vector goes a place further down, and a zero takes its place.
1:  push [rsp]
    mov qword ptr [rsp + 8], 0
_mirage_trap_common:
    push rax
    push rbx
    push rcx
    push rdx
    push rsi
    push rdi
    push rbp
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    cld
    mov rdi, rsp
    call _mirage_trap
    ud2
    .popsection
