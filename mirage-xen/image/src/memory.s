# The memory functions that compiled code calls (C11, 7.24), in assembly so that no compiler can make one call itself.
#
# Whoever includes this defines the macro FUNCTION, which opens a function by its name.
#
# Sizes up to 32 bytes are two overlapping moves. Longer ones are a loop of 64 bytes, or less for what is left, whose last, overlapping
# part was loaded before the loop; from 2 KiB on (memset: 16) the processor's string instructions take over.

    .pushsection .text.memory, "ax", @progbits

# memcpy(rdi to, rsi from, rdx size) -> rax to; memmove likewise, for memory that overlaps
    .balign 16
FUNCTION memcpy
FUNCTION memmove
    mov rax, rdi
    cmp rdx, 16
    jb 50f
    cmp rdx, 32
    ja 20f
    movups xmm0, [rsi]
    movups xmm1, [rsi + rdx - 16]
    movups [rdi], xmm0
    movups [rdi + rdx - 16], xmm1
    ret
50: cmp edx, 8
    jae 52f
    cmp edx, 4
    jae 51f
    test edx, edx
    jz 53f
    # 1 to 3 bytes: the first, the middle one, the last
    mov rcx, rdx
    shr rcx, 1
    movzx r8d, byte ptr [rsi]
    movzx r9d, byte ptr [rsi + rcx]
    movzx r10d, byte ptr [rsi + rdx - 1]
    mov [rdi], r8b
    mov [rdi + rcx], r9b
    mov [rdi + rdx - 1], r10b
    ret
51: mov ecx, [rsi]
    mov r8d, [rsi + rdx - 4]
    mov [rdi], ecx
    mov [rdi + rdx - 4], r8d
    ret
52: mov rcx, [rsi]
    mov r8, [rsi + rdx - 8]
    mov [rdi], rcx
    mov [rdi + rdx - 8], r8
53: ret
20: mov rcx, rdi
    sub rcx, rsi
    cmp rcx, rdx
    jb 40f
    # Upwards: `to` is below `from`, or they do not overlap
    lea r8, [rdi + rdx - 32]
    movups xmm4, [rsi + rdx - 32]
    movups xmm5, [rsi + rdx - 16]
    cmp rdx, 2048
    jae 30f
    # rdi is 32 bytes ahead, so that the loop ends where at most 64 are left; rsi is how far `from` is from it
    sub rsi, rdi
    add rdi, 32
    cmp rdi, r8
    jae 24f
21: movups xmm0, [rdi + rsi - 32]
    movups xmm1, [rdi + rsi - 16]
    movups xmm2, [rdi + rsi]
    movups xmm3, [rdi + rsi + 16]
    movups [rdi - 32], xmm0
    movups [rdi - 16], xmm1
    movups [rdi], xmm2
    movups [rdi + 16], xmm3
    add rdi, 64
    cmp rdi, r8
    jb 21b
24: sub rdi, 32
    cmp rdi, r8
    jae 22f
    movups xmm0, [rdi + rsi]
    movups xmm1, [rdi + rsi + 16]
    movups [rdi], xmm0
    movups [rdi + 16], xmm1
22: movups [r8], xmm4
    movups [r8 + 16], xmm5
    ret
30: mov rcx, rdx
    shr rcx, 3
    rep movsq
    jmp 22b
    # Downwards
40: movups xmm4, [rsi]
    movups xmm5, [rsi + 16]
41: movups xmm0, [rsi + rdx - 16]
    movups xmm1, [rsi + rdx - 32]
    movups [rdi + rdx - 16], xmm0
    movups [rdi + rdx - 32], xmm1
    sub rdx, 32
    cmp rdx, 32
    ja 41b
    movups [rdi], xmm4
    movups [rdi + 16], xmm5
    ret

# memset(rdi to, sil byte, rdx size) -> rax to
    .balign 16
FUNCTION memset
    mov rax, rdi
    movzx esi, sil
    mov rcx, 0x0101010101010101
    imul rsi, rcx
    cmp rdx, 16
    jb 50f
    movq xmm0, rsi
    punpcklqdq xmm0, xmm0
    movups [rdi + rdx - 16], xmm0
    cmp rdx, 32
    ja 20f
    movups [rdi], xmm0
    ret
50: cmp edx, 8
    jae 52f
    cmp edx, 4
    jae 51f
    test edx, edx
    jz 53f
    mov rcx, rdx
    shr rcx, 1
    mov [rdi], sil
    mov [rdi + rcx], sil
    mov [rdi + rdx - 1], sil
    ret
51: mov [rdi], esi
    mov [rdi + rdx - 4], esi
    ret
52: mov [rdi], rsi
    mov [rdi + rdx - 8], rsi
53: ret
20: cmp rdx, 16384
    jae 30f
    lea r8, [rdi + rdx - 32]
21: movups [rdi], xmm0
    movups [rdi + 16], xmm0
    add rdi, 32
    cmp rdi, r8
    jb 21b
    movups [r8], xmm0
    ret
30: mov r8, rax
    mov rcx, rdx
    shr rcx, 3
    mov rax, rsi
    rep stosq
    mov rax, r8
    ret

# memcmp(rdi a, rsi b, rdx size) -> eax below, equal to or above 0; bcmp: 0 or not
    .balign 16
FUNCTION memcmp
FUNCTION bcmp
50: cmp rdx, 8
    jb 20f
    mov rax, [rdi]
    mov rcx, [rsi]
    cmp rax, rcx
    jne 51f
    add rdi, 8
    add rsi, 8
    sub rdx, 8
    jmp 50b
51: bswap rax
    bswap rcx
    cmp rax, rcx
    sbb eax, eax
    or eax, 1
    ret
20: test rdx, rdx
    jz 22f
21: movzx eax, byte ptr [rdi]
    movzx ecx, byte ptr [rsi]
    sub eax, ecx
    jne 23f
    inc rdi
    inc rsi
    dec rdx
    jnz 21b
22: xor eax, eax
23: ret

# strlen(rdi text) -> rax
    .balign 16
FUNCTION strlen
    xor eax, eax
50: cmp byte ptr [rdi + rax], 0
    je 51f
    inc rax
    jmp 50b
51: ret
    .popsection
