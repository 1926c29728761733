# A boot sector that is a whole guest: it greets on the text screen and echoes what is typed, be it on the
# keyboard or on the first serial port, on both: the screen and the port.
# The cursor is hidden, so the screen changes when something is typed and at no other time.
# `build` beside this file turns it into a disk image.
        .code16
        .globl  _start
_start:
        xor     %ax, %ax
        mov     %ax, %ds
        mov     %ax, %ss
        mov     $0x7c00, %sp
        cld
        sti
        mov     $0x0003, %ax            # 80x25 text, cleared
        int     $0x10
        mov     $0x0100, %ax            # the cursor's shape:
        mov     $0x2000, %cx            # hidden
        int     $0x10
        mov     $0x3fa, %dx             # the serial port's FIFO on, so that it holds more than
        mov     $1, %al                 # one byte of what is typed; who sees the greeting may type
        out     %al, (%dx)
        mov     $greeting, %si
greet:
        lodsb
        test    %al, %al
        jz      paint
        call    put
        jmp     greet
paint:
        mov     $0xb800, %ax            # all sixteen colours in a row, straight into the text screen:
        mov     %ax, %es                # a client that swaps channels shows
        mov     $(160 * 4), %di
        mov     $0x00db, %ax            # attribute 0, a full block
bars:
        mov     $5, %cx
        rep stosw
        inc     %ah
        cmp     $16, %ah
        jb      bars
echo:
        mov     $1, %ah                 # is there a key?
        int     $0x16
        jnz     key
        mov     $0x3fd, %dx             # is there a byte at the serial port?
        in      (%dx), %al
        cmp     $0xff, %al              # no such port: every bit reads as set
        je      rest
        test    $1, %al
        jz      rest
        mov     $0x3f8, %dx
        in      (%dx), %al
        jmp     typed
rest:
        hlt                             # the timer wakes us 18 times a second, a key at once
        jmp     echo
key:
        xor     %ah, %ah                # take it; its ASCII code comes in al
        int     $0x16
        test    %al, %al
        jz      echo                    # a key without a character
typed:
        call    put
        cmp     $'\r', %al
        jne     echo
        mov     $'\n', %al
        call    put
        jmp     echo
put:
        push    %ax
        mov     $0x0e, %ah              # teletype output
        mov     $0x0007, %bx
        int     $0x10
        pop     %ax
        mov     $0x3f8, %dx             # and the serial port; QEMU's is always ready to send
        out     %al, (%dx)
        ret
greeting:
        .ascii  "This is a QEMU guest, seen through consolegate.\r\n"
        .asciz  "Type, and it echoes: "
        .org    510
        .word   0xaa55                  # what firmware takes for bootable
