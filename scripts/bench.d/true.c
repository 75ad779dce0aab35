/* true: the least that a program can be, so that a start of it is nothing but the start.
 * For: scripts/bench. Build: cc -O2 -static -nostdlib -o true true.c
 */
void _start(void) {
#if defined __x86_64__
    __asm__ volatile("syscall" : : "a"(231L), "D"(0L)); /* exit_group */
#elif defined __aarch64__
    register long number __asm__("x8") = 94, code __asm__("x0") = 0;
    __asm__ volatile("svc 0" : : "r"(number), "r"(code));
#else
#error "how does this machine leave?"
#endif
    for (;;) {}
}
