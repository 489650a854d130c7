/* Where Xen starts a PVH guest (docs/misc/pvh.pandoc): 32-bit protected mode, paging off, ebx has the start info. */
        .section .note.Xen, "a", @note
        .align 4
        .long 4, 4, 18                  /* XEN_ELFNOTE_PHYS32_ENTRY */
        .asciz "Xen"
        .long entry

        .text
        .code32
        .globl entry
entry:  cld
        movl $stack_end, %esp
        movl %ebx, %esi
        /* One page directory of 2 MiB pages: the first GiB is itself; with the note's 4 GiB come the shared pages. */
        movl $directories, %eax
        movl $4, %ecx
        movl $pointers, %edi
1:      leal 3(%eax), %edx
        movl %edx, (%edi)
        addl $4096, %eax
        addl $8, %edi
        loop 1b
        movl $2048, %ecx
        movl $directories, %edi
        movl $0x83, %eax
2:      movl %eax, (%edi)
        addl $0x200000, %eax
        addl $8, %edi
        loop 2b
        movl $pointers + 3, %eax
        movl %eax, top
        movl $top, %eax
        movl %eax, %cr3
        movl $0x620, %eax               /* PAE, SSE */
        movl %eax, %cr4
        movl $0xc0000080, %ecx          /* EFER: long mode */
        rdmsr
        orl $0x100, %eax
        wrmsr
        movl $0x80000011, %eax
        movl %eax, %cr0
        lgdt table
        ljmp $8, $3f
        .code64
3:      movl $16, %eax
        movl %eax, %ds
        movl %eax, %es
        movl %eax, %ss
        movl $stack_end, %esp
        movl %esi, %edi
        call run
4:      hlt
        jmp 4b

        .globl hypercalls
        .balign 4096
hypercalls:
        .skip 4096, 0x90

        .data
        .balign 8
gdt:    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
table:  .word table - gdt - 1
        .quad gdt

        .bss
        .balign 4096
top:    .skip 4096
pointers:
        .skip 4096
directories:
        .skip 4 * 4096
stack:  .skip 16384
stack_end:
        .section .note.GNU-stack, "", @progbits
