/* The PVH entry of the reference guest: 32-bit, paging off, %ebx = hvm_start_info. Identity-maps 4 GiB and calls guest_main. */

    .pushsection .note.Xen, "a", @note
    .balign 4
    .long 4, 4, 18                      /* XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .long entry
    .popsection

    .text
    .code32
    .globl entry
entry:
    cld
    movl $stack_end, %esp
    movl $level3 + 3, level4
    movl $level3, %edi
    movl $level2 + 3, %eax
    movl $4, %ecx
0:  movl %eax, (%edi)
    addl $4096, %eax
    addl $8, %edi
    loop 0b
    movl $level2, %edi
    movl $0x83, %eax                    /* present, writable, 2 MiB */
    movl $2048, %ecx
1:  movl %eax, (%edi)
    addl $0x200000, %eax
    addl $8, %edi
    loop 1b
    movl $level4, %eax
    movl %eax, %cr3
    movl %cr4, %eax
    orl $0x20, %eax                     /* PAE */
    movl %eax, %cr4
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x100, %eax                    /* long mode */
    wrmsr
    movl %cr0, %eax
    orl $0x80000001, %eax               /* paging, protection */
    movl %eax, %cr0
    lgdt descriptor_table
    ljmp $8, $2f
    .code64
2:  movl $16, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl $stack_end, %esp
    call guest_main
3:  hlt
    jmp 3b

    .data
    .balign 8
descriptors:
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
descriptor_table:
    .word descriptor_table - descriptors - 1
    .quad descriptors

    .bss
    .balign 4096
level4: .skip 4096
level3: .skip 4096
level2: .skip 16384
    .globl hypercall_page
hypercall_page: .skip 4096
    .skip 16384
stack_end:
    .section .note.GNU-stack, "", @progbits
