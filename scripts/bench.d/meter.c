/* meter: starts commands, times them, and looks at what came of each.
 *
 * For: scripts/bench. Small and static, so that a start costs what it costs and not what its parent weighs
 * (a fork of Python is dearer than many a sandbox).
 * Not for: statistics, which Python does.
 *
 *   meter ROUNDS GAP_MS               every round: each command once, GAP_MS of sleep before each; prints
 *                                     "INDEX NANOSECONDS PEAK_KIB" for each
 *   meter ROUNDS -PARALLEL MS         every round: each command for MS, so many at once; prints
 *                                     "INDEX RUNS_A_SECOND PEAK_KIB"
 * The commands are on stdin, every field ended by a NUL: exit code, stdout, number of words, words. "{n}" in a
 * word becomes a number of its own. A command that ends otherwise ends everything: "! INDEX why", exit 1.
 * One that takes two minutes ends everything as well (SIGALRM).
 * Each round takes them in an order of its own, the same in every run of this program: what a command leaves to the
 * kernel (a network namespace is taken down for milliseconds) slows down the next one, which must not always be the same.
 * Build: cc -O2 -static -pthread -o meter meter.c
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { COMMANDS = 64, WORDS = 128, ROOM = 65536 };

struct command {
    int exit_code, count;
    const char *expected;
    char *words[WORDS];
};

static struct command commands[COMMANDS];
static int count, nothing;
static _Atomic long number;

static void fail(int index, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    flockfile(stdout); /* for good: the first to fail is the one to speak */
    printf("! %d ", index);
    vprintf(format, arguments);
    printf("\n");
    fflush(stdout);
    _exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

/* Nanoseconds from before the start until the command is reaped and its output at its end. */
static double run(int index, long *peak) {
    struct command *command = &commands[index];
    char *words[WORDS + 1], filled[4][4096], output[ROOM];
    int next = 0;
    for (int i = 0; i < command->count; i++) {
        char *mark = strstr(command->words[i], "{n}");
        words[i] = command->words[i];
        if (mark && next < 4) {
            snprintf(filled[next], sizeof *filled, "%.*s%d-%ld%s", (int)(mark - words[i]), words[i], getpid(), number++, mark + 3);
            words[i] = filled[next++];
        }
    }
    words[command->count] = NULL;
    int out[2], err = memfd_create("stderr", MFD_CLOEXEC);
    if (err < 0 || pipe2(out, O_CLOEXEC) < 0) fail(index, "pipe: %s", strerror(errno));
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, nothing, 0);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    posix_spawn_file_actions_adddup2(&actions, err, 2);
    pid_t pid;
    alarm(120);
    double began = now();
    int error = posix_spawn(&pid, words[0], &actions, NULL, words, environ);
    if (error) fail(index, "%s: %s", words[0], strerror(error));
    close(out[1]);
    size_t length = 0;
    ssize_t got;
    while ((got = read(out[0], output + length, ROOM - 1 - length)) > 0) length += got;
    int status;
    struct rusage usage;
    while (wait4(pid, &status, 0, &usage) < 0)
        if (errno != EINTR) fail(index, "wait: %s", strerror(errno));
    double took = now() - began;
    output[length] = 0;
    close(out[0]);
    posix_spawn_file_actions_destroy(&actions);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != command->exit_code || strcmp(output, command->expected)) {
        char said[2048];
        ssize_t size = pread(err, said, sizeof said - 1, 0);
        said[size > 0 ? size : 0] = 0;
        char how[64];
        if (WIFEXITED(status)) snprintf(how, sizeof how, "exit code %d", WEXITSTATUS(status));
        else snprintf(how, sizeof how, "signal %d", WTERMSIG(status));
        fail(index, "%s, where %d was expected; stdout \"%.200s\", where \"%.200s\" was expected; stderr \"%s\"", how,
             command->exit_code, output, command->expected, said);
    }
    close(err);
    *peak = usage.ru_maxrss;
    return took;
}

static double end_at;
static _Atomic long runs, most;

static void *worker(void *which) {
    do {
        long peak;
        run((int)(long)which, &peak);
        if (peak > most) most = peak;
        runs++;
    } while (now() < end_at);
    return NULL;
}

/* Runs a second. Each worker's last run ends after the window: it counts, and so does its time. */
static double rate(int index, int parallel, long ms) {
    pthread_t threads[64];
    double began = now();
    end_at = began + ms * 1e6;
    runs = most = 0;
    for (int i = 0; i < parallel; i++)
        if (pthread_create(&threads[i], NULL, worker, (void *)(long)index)) fail(index, "no thread");
    for (int i = 0; i < parallel; i++) pthread_join(threads[i], NULL);
    return runs / ((now() - began) / 1e9);
}

static char *field(char **at, char *end) {
    char *start = *at;
    if (start >= end) fail(-1, "the commands on stdin are cut short");
    *at = start + strlen(start) + 1;
    return start;
}

int main(int argc, char **argv) {
    static char input[1 << 20];
    size_t length = 0;
    ssize_t got;
    while ((got = read(0, input + length, sizeof input - 1 - length)) > 0) length += got;
    for (char *at = input, *end = input + length; at < end && count < COMMANDS; count++) {
        struct command *command = &commands[count];
        command->exit_code = atoi(field(&at, end));
        command->expected = field(&at, end);
        command->count = atoi(field(&at, end));
        if (command->count < 1 || command->count > WORDS) fail(count, "%d words", command->count);
        for (int i = 0; i < command->count; i++) command->words[i] = field(&at, end);
    }
    nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (argc < 3 || nothing < 0 || (argv[2][0] == '-' && argc < 4)) fail(-1, "see the head of meter.c");
    int rounds = atoi(argv[1]);
    long gap = atol(argv[2]);
    if (gap < -64) fail(-1, "64 at once are the most");
    int order[COMMANDS];
    for (int i = 0; i < count; i++) order[i] = i;
    for (int round = 0; round < rounds; round++) {
        for (int i = count - 1; i > 0; i--) {
            int other = rand() % (i + 1), index = order[i];
            order[i] = order[other];
            order[other] = index;
        }
        for (int i = 0; i < count; i++) {
            int index = order[i];
            long peak = 0;
            double value;
            if (argv[2][0] == '-') {
                value = rate(index, (int)-gap, atol(argv[3]));
                peak = most;
            } else {
                if (gap > 0) nanosleep(&(struct timespec){ gap / 1000, gap % 1000 * 1000000 }, NULL);
                value = run(index, &peak);
            }
            printf("%d %.1f %ld\n", index, value, peak);
            fflush(stdout);
        }
    }
    return 0;
}
