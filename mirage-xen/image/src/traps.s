# One entry for each exception, 8 bytes apart. They make the stack alike for all, save the registers and call
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

# void _mirage_halt(void): halts with interrupts on until there is one; on the way out they are off.
    .balign 16
    .global _mirage_halt
_mirage_halt:
    mov [_mirage_halted], rsp
    sti
.Lhalt:
    hlt
.Lawake:
    ret

# The interrupt, on a stack of its own. What it interrupts is the halt, and it goes back to behind it. QEMU's own emulation of AMD's
# virtualization is not so strict: it interrupts between sti and hlt, which no processor does, and sometimes twice, with interrupts off,
# the second time in here or wherever the program is by then (the vector stays behind in helper_vmrun). So whatever was interrupted from
# the halt to the end of this goes on behind the halt, and all else where it was. No register but rax is touched: behind the halt it is free.
    .global _mirage_wake
_mirage_wake:
    push rax
    mov rax, [rsp + 8]
    cmp rax, offset .Lhalt
    jb 2f
    cmp rax, offset .Lwake_end
    jae 2f
    mov rax, [_mirage_halted]
    mov [rsp + 32], rax
    mov qword ptr [rsp + 8], offset .Lawake
2:  and qword ptr [rsp + 24], ~0x200
    pop rax
    iretq
.Lwake_end:
    .popsection

    .pushsection .bss.halted, "aw", @nobits
    .balign 8
_mirage_halted:
    .skip 8
    .popsection
