/* The weights that the program carries, as they lie in the repository (EMBEDDED_FILE, from CMake). GNU assembler, any
 * processor. */
    .section .rodata
    .global embedded_weights
    .balign 64
embedded_weights:
    .incbin EMBEDDED_FILE
    .global embedded_weights_end
embedded_weights_end:
    .byte 0

    .section .note.GNU-stack, "", %progbits
