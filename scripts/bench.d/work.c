/* work: what runs inside and outside, to be compared.
 *
 * For: scripts/bench.   Not for: measuring a start (that is true.c).
 *
 *   work calls N         N times getppid; prints nanoseconds a call
 *   work opens FILE N    N times open and close of FILE; prints nanoseconds a pair
 *   work write BYTES     writes so many bytes to stdout, 64 KiB at a time
 *   work enter FILE CMD  becomes CMD in the mount namespace FILE
 *   work sleep           says "ready", then sleeps until its stdin ends
 * Build: cc -O2 -static -o work work.c
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

/* The fastest of ten parts: what the work costs when nothing else runs. */
static int best_of(long count, int (*once)(const char *), const char *argument) {
    double best = 0;
    for (int part = 0; part < 10; part++) {
        double began = now();
        for (long i = 0; i < count / 10; i++)
            if (once(argument) < 0) return perror("work"), 1;
        double took = (now() - began) / (count / 10);
        if (part == 0 || took < best) best = took;
    }
    return printf("%.2f\n", best) < 0;
}

static int call(const char *unused) {
    (void)unused;
    return (int)syscall(SYS_getppid);
}

static int open_close(const char *file) {
    int fd = open(file, O_RDONLY);
    return fd < 0 ? fd : close(fd);
}

int main(int argc, char **argv) {
    if (argc == 3 && !strcmp(argv[1], "calls")) return best_of(atol(argv[2]), call, NULL);
    if (argc == 4 && !strcmp(argv[1], "opens")) return best_of(atol(argv[3]), open_close, argv[2]);
    if (argc == 3 && !strcmp(argv[1], "write")) {
        static char block[65536];
        memset(block, 'x', sizeof block);
        for (long left = atol(argv[2]); left > 0;) {
            ssize_t count = write(1, block, left < (long)sizeof block ? left : (long)sizeof block);
            if (count < 0) return perror("work"), 1;
            left -= count;
        }
        return 0;
    }
    if (argc > 3 && !strcmp(argv[1], "enter")) {
        char here[4096];
        int fd = open(argv[2], O_RDONLY | O_CLOEXEC);
        if (!getcwd(here, sizeof here) || fd < 0 || setns(fd, CLONE_NEWNS) < 0 || chdir(here) < 0) return perror(argv[2]), 1;
        execv(argv[3], argv + 3);
        return perror(argv[3]), 127;
    }
    if (argc == 2 && !strcmp(argv[1], "sleep")) {
        char byte;
        if (write(1, "ready\n", 6) != 6) return 1;
        while (read(0, &byte, 1) > 0) {}
        return 0;
    }
    fprintf(stderr, "work: see the head of work.c\n");
    return 2;
}
