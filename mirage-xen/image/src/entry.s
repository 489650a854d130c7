# Entry point of a PVH guest: 32-bit protected mode, paging off, interrupts off, EBX = start info.
#
# Maps the first 4 GiB at their own addresses with pages of 2 MiB, turns on long mode and SSE, and calls
# _mirage_start(start info) on a small stack. The tables here live until Rust has built better ones.

    .pushsection .note.Xen, "a", @note
    .balign 4
    .long 4, 8, 18                      # name size, value size, XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .quad _mirage_pvh_start
    .popsection

    .pushsection .text.boot, "ax", @progbits
    .code32
    .global _mirage_pvh_start
_mirage_pvh_start:
    cld
    mov esp, offset _mirage_early_end
    mov esi, ebx
    rdtsc
    mov dword ptr [_mirage_entry_ticks], eax
    mov dword ptr [_mirage_entry_ticks + 4], edx

    # Root and second level. Entries: present, writable.
    mov eax, offset _mirage_early_second + 3
    mov dword ptr [_mirage_early_start], eax
    mov eax, offset _mirage_early_third + 3
    mov edi, offset _mirage_early_second
    mov ecx, 4
7:  mov dword ptr [edi], eax
    add eax, 0x1000
    add edi, 8
    dec ecx
    jnz 7b

    # Third level: 2048 pages of 2 MiB, present, writable, large. The memory was cleared by the loader.
    mov eax, 0x83
    mov edi, offset _mirage_early_third
    mov ecx, 2048
8:  mov dword ptr [edi], eax
    add eax, 0x200000
    add edi, 8
    dec ecx
    jnz 8b

    mov eax, 0x6A0                      # CR4: PAE, PGE, OSFXSR, OSXMMEXCPT
    mov cr4, eax
    mov eax, offset _mirage_early_start
    mov cr3, eax
    mov ecx, 0xC0000080                 # EFER: LME
    rdmsr
    or eax, 0x100
    wrmsr
    mov eax, 0x80010033                 # CR0: PG, WP, NE, ET, MP, PE; no EM: SSE works from here on
    mov cr0, eax
    lgdt [_mirage_early_segments_pointer]
    push 8
    mov eax, offset .Lmirage_long_mode
    push eax
    retf

    .code64
.Lmirage_long_mode:
    mov eax, 16
    mov ds, eax
    mov es, eax
    mov ss, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    mov esp, offset _mirage_early_end
    xor ebp, ebp
    mov edi, esi
    call _mirage_start
    ud2
    .popsection

    .pushsection .rodata.boot, "a", @progbits
    .balign 8
_mirage_early_segments:
    .quad 0
    .quad 0x00AF9B000000FFFF            # code, 64 bits
    .quad 0x00CF93000000FFFF            # data
_mirage_early_segments_pointer:
    .word . - _mirage_early_segments - 1
    .quad _mirage_early_segments
    .popsection

    .pushsection .bss.boot, "aw", @nobits
    .balign 8
    .global _mirage_entry_ticks
_mirage_entry_ticks:
    .skip 8
    .balign 4096
    .global _mirage_early_start
    .global _mirage_early_end
_mirage_early_start:
    .skip 4096
_mirage_early_second:
    .skip 4096
_mirage_early_third:
    .skip 4 * 4096
    .skip {early_stack}
_mirage_early_end:
    .global _mirage_descriptors
_mirage_descriptors:
    .skip 4096
    .skip {trap_stack}
    .global _mirage_trap_stack_end
_mirage_trap_stack_end:
    .popsection
