/* trace: runs a program step by step, and prints which of its addresses it comes to, in the order of their first time.
 *
 * For: scripts/build.d/order, which asks what a start of jail runs.
 * Not for: children (they run as fast as ever), or a program that is mapped at 16 MiB or above, or moved.
 *
 *   trace COMMAND…    the addresses in hexadecimal, on file descriptor 3; the rest is COMMAND's
 * Build: cc -O2 -o trace trace.c
 */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TOP = 16 << 20 };
static unsigned char seen[TOP];

int main(int argc, char **argv) {
    FILE *out = fdopen(3, "w");
    if (argc < 2 || !out) {
        fputs("see the head of trace.c\n", stderr);
        return 2;
    }
    /* Both on one CPU: to wake another for each step takes ten times as long. */
    cpu_set_t here;
    CPU_ZERO(&here);
    CPU_SET(sched_getcpu(), &here);
    if (sched_setaffinity(0, sizeof here, &here) != 0) perror("trace: runs slowly");
    pid_t child = fork();
    if (child == 0) {
        close(3);
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0) execv(argv[1], argv + 1);
        perror("trace: cannot start it");
        _exit(127);
    }
    int status, signal = 0;
    struct user_regs_struct registers;
    while (waitpid(child, &status, 0) == child && WIFSTOPPED(status)) {
        signal = WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
        if (ptrace(PTRACE_GETREGS, child, NULL, &registers) == 0 && registers.rip < TOP && !seen[registers.rip]) {
            seen[registers.rip] = 1;
            fprintf(out, "%llx\n", registers.rip);
        }
        if (ptrace(PTRACE_SINGLESTEP, child, NULL, (void *)(long)signal) != 0) {
            perror("trace: cannot step");
            return 1;
        }
    }
    return fclose(out) == 0 && WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
