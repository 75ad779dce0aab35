/* floor: the raw floor of a full start. Bare system calls, no policy, no checks, no words.
 *
 * For: scripts/bench, which asks how close `jail` comes to what the kernel alone costs. It does what a
 * start of the profile `strict` does: the groups and limits that it is given, an id map (and, for root, an
 * id-mapped workspace), seven namespaces, a tmpfs root with about the same mounts, pivot_root, no
 * capabilities, Landlock, a filter of about the same size as a binary tree, an init that reaps, captured
 * output, counters read, groups removed.
 * Not for: confining anything. It trusts its arguments, and nothing here is tested to hold.
 *
 *   floor [-2] [-x PART]… [-g DIR [-l FILE=VALUE]…]… COMMAND…  one start; output and exit code are COMMAND's
 *   floor -t THREADS -m MILLISECONDS [-2] [-g …]… COMMAND…     starts from one process, as fast as they come;
 *                                                              prints how many a second
 *
 * -g: make a group in DIR; -l: write VALUE to FILE in the group last named, after "?" if it is there;
 * -2: the group is cgroup v2, which the child is born into; without it, it joins by `tasks`;
 * -x: leave a part out, to see what it costs: one of `parts` below.
 * Build: cc -O2 -static -pthread -o floor floor.c
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { GROUPS = 8, LIMITS = 16, INSIDE = 1000 };
/* A host id that owns nothing. */
enum { NOBODY = 1999999999 };

/* As in <linux/mount.h>, which does not go with <sys/mount.h>, and <linux/landlock.h>, which may be older. */
enum { RDONLY = 1, NOSUID = 2, NODEV = 4, NOEXEC = 8, IDMAP = 0x100000, RECURSIVE = 0x8000 };
enum { FSCONFIG_STRING = 1, FSCONFIG_CREATE = 6, FROM_EMPTY = 4, TREE_CLONE = 1 };
struct attr { uint64_t set, clear, propagation, userns; };
struct ruleset { uint64_t fs, net, scoped; };
struct beneath { uint64_t allowed; int32_t parent; } __attribute__((packed));

static struct { const char *dir; int limits[LIMITS], count; } groups[GROUPS];
static struct { const char *file, *value; int optional; } limits[LIMITS];
static int group_count, limit_count, v2;
static char **command;
static char workspace[4096];
static uid_t caller;
static gid_t caller_group;
static struct sock_filter filter[400];
static struct sock_fprog program = { 0, filter };
static uint64_t landlock_fs, landlock_net, landlock_scoped;

enum { NET, MAP, CAPS, PTS, TEXTS, NODES, ETC, LANDLOCK, FILTERS, COUNTERS, PARTS };
static const char *const parts[PARTS] = { "net", "map", "caps", "pts", "texts", "nodes", "etc", "landlock", "filters", "counters" };
static unsigned left_out;
static int with(int part) { return !(left_out & 1u << part); }

static void die(const char *what) {
    dprintf(2, "floor: %s: %s\n", what, strerror(errno));
    _exit(125);
}
#define MUST(call) ((call) < 0 ? (die(#call), 0) : 0)
static int need(int fd, const char *what) {
    if (fd < 0) die(what);
    return fd;
}
#define FD(call) need((int)(call), #call)

static void put(int at, const char *file, const char *value, int optional) {
    int fd = openat(at, file, O_WRONLY | O_CLOEXEC);
    if (fd < 0 && optional && errno == ENOENT) return;
    if (fd < 0 || write(fd, value, strlen(value)) < 0) die(file);
    close(fd);
}

/* ---- the filter: a balanced tree over the call numbers, with a leaf of its own for each range ---- */

static unsigned emit(uint16_t code, uint32_t k, uint8_t yes, uint8_t no) {
    filter[program.len] = (struct sock_filter){ code, yes, no, k };
    return program.len++;
}

/* Ranges low … high of 141, three numbers each. A range that holds a call nobody here makes is refused. */
static void tree(int low, int high) {
    if (low == high) {
        int refused = low * 3 <= __NR_kexec_load && __NR_kexec_load < low * 3 + 3;
        emit(BPF_RET | BPF_K, refused ? SECCOMP_RET_ERRNO | EPERM : SECCOMP_RET_ALLOW, 0, 0);
        return;
    }
    int middle = (low + high + 1) / 2;
    unsigned jump = emit(BPF_JMP | BPF_JGE | BPF_K, middle * 3, 0, 0);
    tree(low, middle - 1);
    filter[jump].jt = program.len - jump - 1;
    tree(middle, high);
}

static void compile(void) {
#if defined __x86_64__
    uint32_t arch = AUDIT_ARCH_X86_64;
#elif defined __aarch64__
    uint32_t arch = AUDIT_ARCH_AARCH64;
#else
#error "which AUDIT_ARCH_… is this?"
#endif
    emit(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch), 0, 0);
    emit(BPF_JMP | BPF_JEQ | BPF_K, arch, 1, 0);
    emit(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS, 0, 0);
    emit(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);
    emit(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1);
    emit(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS, 0, 0);
    tree(0, 140);
}

static void load(struct sock_fprog *what) { if (with(FILTERS)) MUST(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, what)); }

/* ---- inside ---- */

static int new_fs(const char *type, const char *const *options, unsigned attrs) {
    int context = FD(syscall(SYS_fsopen, type, 1));
    for (; *options; options += 2) MUST(syscall(SYS_fsconfig, context, FSCONFIG_STRING, options[0], options[1], 0));
    MUST(syscall(SYS_fsconfig, context, FSCONFIG_CREATE, NULL, NULL, 0));
    int mount = FD(syscall(SYS_fsmount, context, 1, attrs));
    close(context);
    return mount;
}

static void attach(int mount, int at, const char *path) {
    MUST(syscall(SYS_move_mount, mount, "", at, path, FROM_EMPTY));
    close(mount);
}

static void bind(int root, const char *source, uint64_t attrs) {
    struct stat st;
    if (stat(source, &st) < 0) return;
    const char *target = source + 1;
    if (S_ISDIR(st.st_mode)) MUST(mkdirat(root, target, 0755));
    else close(FD(openat(root, target, O_CREAT | O_WRONLY, 0444)));
    unsigned all = S_ISDIR(st.st_mode) ? RECURSIVE : 0;
    int tree = FD(syscall(SYS_open_tree, AT_FDCWD, source, TREE_CLONE | O_CLOEXEC | all));
    struct attr attr = { .set = attrs };
    MUST(syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | all, &attr, sizeof attr));
    attach(tree, root, target);
}

static void file(int root, const char *path, const char *text) {
    int fd = FD(openat(root, path, O_CREAT | O_WRONLY, 0444));
    MUST(write(fd, text, strlen(text)));
    close(fd);
}

/* mkdir -p below the new root; what is there already is no error. */
static void parents(int root, char *path) {
    for (char *at = path; *at; at++)
        if (*at == '/') {
            *at = 0;
            mkdirat(root, path, 0755);
            *at = '/';
        }
    mkdirat(root, path, 0755);
}

static void build_root(int mapped) {
    struct attr private = { .propagation = 1 << 18 /* MS_PRIVATE */ };
    MUST(syscall(SYS_mount_setattr, AT_FDCWD, "/", RECURSIVE, &private, sizeof private));
    int root = new_fs("tmpfs", (const char *[]){ "size", "1m", "nr_inodes", "4096", "mode", "0755", NULL }, NOSUID | NODEV);
    MUST(syscall(SYS_move_mount, root, "", AT_FDCWD, "/", FROM_EMPTY));
    MUST(fchdir(root));
    static const char *const dirs[] = { "dev", "dev/pts", "dev/shm", "etc", "etc/ssl", "home", "home/jail", "proc", "run", "tmp" };
    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) MUST(mkdirat(root, dirs[i], 0755));
    static const char *const texts[][2] = {
        { "etc/passwd", "jail:x:1000:1000::/home/jail:/bin/sh\n" }, { "etc/group", "jail:x:1000:\n" },
        { "etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n" }, { "etc/machine-id", "" },
        { "etc/hostname", "jail\n" }, { "etc/hosts", "127.0.0.1 localhost\n" }, { "etc/resolv.conf", "" }, { ".decoy", "" },
    };
    for (size_t i = 0; with(TEXTS) && i < sizeof texts / sizeof *texts; i++) file(root, texts[i][0], texts[i][1]);
    attach(new_fs("proc", (const char *[]){ "subset", "pid", "hidepid", "ptraceable", NULL }, NOSUID | NODEV | NOEXEC), root, "proc");
    static const char *const nodes[] = { "/dev/full", "/dev/null", "/dev/random", "/dev/tty", "/dev/urandom", "/dev/zero" };
    for (size_t i = 0; with(NODES) && i < sizeof nodes / sizeof *nodes; i++) bind(root, nodes[i], NOSUID | NOEXEC);
    if (with(PTS)) attach(new_fs("devpts", (const char *[]){ "ptmxmode", "0666", "mode", "0620", "max", "64", NULL }, NOSUID | NOEXEC), root, "dev/pts");
    static const char *const links[][2] = {
        { "pts/ptmx", "dev/ptmx" }, { "/proc/self/fd", "dev/fd" }, { "/proc/self/fd/0", "dev/stdin" },
        { "/proc/self/fd/1", "dev/stdout" }, { "/proc/self/fd/2", "dev/stderr" }, { "/proc/self/mounts", "etc/mtab" },
        { "usr/bin", "bin" }, { "usr/lib", "lib" }, { "usr/lib64", "lib64" }, { "usr/sbin", "sbin" },
    };
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) MUST(symlinkat(links[i][0], root, links[i][1]));
    attach(new_fs("tmpfs", (const char *[]){ "size", "16m", "nr_inodes", "1024", "mode", "1777", NULL }, NOSUID | NODEV), root, "dev/shm");
    static const char *const shown[] = { "/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d",
                                         "/etc/mime.types", "/etc/ssl/certs", "/etc/ssl/openssl.cnf" };
    for (size_t i = 0; with(ETC) && i < sizeof shown / sizeof *shown; i++) bind(root, shown[i], RDONLY | NOSUID | NODEV | NOEXEC);
    attach(new_fs("tmpfs", (const char *[]){ "size", "64m", "nr_inodes", "16384", "mode", "1777", NULL }, NOSUID | NODEV), root, "tmp");
    if (mapped < 0) {
        mapped = FD(syscall(SYS_open_tree, AT_FDCWD, workspace, TREE_CLONE | RECURSIVE | O_CLOEXEC));
        struct attr attr = { .set = RDONLY | NOSUID | NODEV };
        MUST(syscall(SYS_mount_setattr, mapped, "", AT_EMPTY_PATH | RECURSIVE, &attr, sizeof attr));
    }
    parents(root, workspace + 1);
    attach(mapped, root, workspace + 1);
    bind(root, "/usr", RDONLY | NOSUID | NODEV);
    struct attr attr = { .set = RDONLY | NOSUID | NODEV };
    MUST(syscall(SYS_mount_setattr, root, "", AT_EMPTY_PATH, &attr, sizeof attr));
    MUST(syscall(SYS_pivot_root, ".", "."));
    MUST(syscall(SYS_umount2, ".", 2 /* MNT_DETACH */));
    MUST(chdir("/"));
}

static void drop_everything(void) {
    MUST(prctl(PR_SET_SECUREBITS, 0xef));
    for (int cap = 0; with(CAPS) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0; cap++) {}
    struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
    struct __user_cap_data_struct none[2] = { { 0 } };
    MUST(syscall(SYS_capset, &head, none));
    MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

static int ruleset(void) {
    if (!with(LANDLOCK)) return -1;
    struct ruleset set = { landlock_fs, landlock_net, landlock_scoped };
    return (int)syscall(SYS_landlock_create_ruleset, &set, sizeof set, 0);
}

static void landlock(void) {
    static const struct { const char *path; uint64_t rights; } rules[] = {
        { "/", 0x8 }, { "/dev", 0xc00e }, { "/dev/shm", 0x77bf }, { "/etc", 0xc },
        { "/proc", 0x400e }, { "/tmp", 0x77bf }, { "/usr", 0x400d }, { workspace, 0xd },
    };
    int set = ruleset();
    if (set < 0) return;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        int fd = FD(open(rules[i].path, O_PATH | O_CLOEXEC));
        struct beneath rule = { rules[i].rights & landlock_fs, fd };
        MUST(syscall(SYS_landlock_add_rule, set, 1, &rule, 0));
        close(fd);
    }
    MUST(syscall(SYS_landlock_restrict_self, set, 0));
    close(set);
}

static void payload(const int *streams, int gate) {
    MUST(setsid());
    for (int i = 0; i < 3; i++) MUST(dup2(streams[i], i));
    umask(022);
    MUST(chdir(workspace));
    landlock();
    static const struct { int which; rlim_t most; } most[] = {
        { RLIMIT_CORE, 1 }, { RLIMIT_STACK, 8 << 20 }, { RLIMIT_FSIZE, 64 << 20 }, { RLIMIT_CPU, 11 }, { RLIMIT_NPROC, 97 },
        { RLIMIT_SIGPENDING, 1024 }, { RLIMIT_MSGQUEUE, 819200 }, { RLIMIT_MEMLOCK, 8 << 20 }, { RLIMIT_NICE, 0 },
        { RLIMIT_RTPRIO, 0 }, { RLIMIT_NOFILE, 256 },
    };
    for (size_t i = 0; i < sizeof most / sizeof *most; i++) {
        struct rlimit limit;
        MUST(getrlimit(most[i].which, &limit));
        if (limit.rlim_max > most[i].most) limit.rlim_max = most[i].most;
        limit.rlim_cur = limit.rlim_max;
        MUST(setrlimit(most[i].which, &limit));
    }
    sigset_t none;
    sigemptyset(&none);
    MUST(sigprocmask(SIG_SETMASK, &none, NULL));
    MUST(syscall(SYS_close_range, 3, ~0U, 4 /* CLOSE_RANGE_CLOEXEC */));
    char byte;
    if (read(gate, &byte, 1) != 1) _exit(125);
    load(&program);
    execve(command[0], command, environ);
    _exit(127);
}

/* What is kept, the rest closed. */
static void keep(const int *kept, int count, unsigned from) {
    for (;;) {
        int next = -1;
        for (int i = 0; i < count; i++)
            if (kept[i] >= (int)from && (next < 0 || kept[i] < next)) next = kept[i];
        if (next < 0) break;
        if ((unsigned)next > from) MUST(syscall(SYS_close_range, from, next - 1, 0));
        from = next + 1;
    }
    MUST(syscall(SYS_close_range, from, ~0U, 0));
}

struct pipes { int in[2], out[2], err[2], setup[2], status[2], tie[2], gate[2]; };

static void init(struct pipes *p, const int *tasks, int mapped) {
    sigset_t all;
    sigfillset(&all);
    MUST(sigprocmask(SIG_SETMASK, &all, NULL));
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    int children = FD(signalfd(-1, &child, SFD_CLOEXEC));
    int kept[9 + GROUPS] = { p->in[0], p->out[1], p->err[1], p->setup[1], p->status[1], p->tie[0], p->gate[0], p->gate[1], children };
    int count = 9;
    for (int i = 0; i < group_count && !v2; i++) kept[count++] = tasks[i];
    if (mapped >= 0 && count < 9 + GROUPS) kept[count++] = mapped;
    keep(kept, count, 3);
    MUST(prctl(PR_SET_PDEATHSIG, SIGKILL));
    for (int i = 0; i < group_count && !v2; i++) {
        MUST(write(tasks[i], "0", 1));
        close(tasks[i]);
    }
    char byte;
    if (read(p->tie[0], &byte, 1) != 1) _exit(125);
    if (group_count) MUST(unshare(CLONE_NEWCGROUP));
    if (caller == 0) MUST(syscall(SYS_setgroups, 0, NULL));
    MUST(syscall(SYS_setresgid, INSIDE, INSIDE, INSIDE));
    MUST(syscall(SYS_setresuid, INSIDE, INSIDE, INSIDE));
    MUST(prctl(PR_SET_PDEATHSIG, SIGKILL));
    umask(0);
    build_root(mapped);
    MUST(sethostname("jail", 4));
    drop_everything();
    MUST(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
    pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    MUST(pid);
    int streams[3] = { p->in[0], p->out[1], p->err[1] };
    if (pid == 0) payload(streams, p->gate[0]);
    int set = ruleset();
    if (set >= 0) MUST(syscall(SYS_landlock_restrict_self, set, 0));
    int left[] = { p->setup[1], p->status[1], p->tie[0], children, p->gate[1] };
    keep(left, 5, 3);
    struct sock_filter few[25];
    for (int i = 0; i < 25; i++) few[i] = (struct sock_filter){ BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW };
    struct sock_fprog own = { 25, few };
    load(&own);
    MUST(write(p->gate[1], "!", 1));
    close(p->gate[1]);
    close(p->setup[1]);
    for (;;) {
        struct pollfd fds[2] = { { children, POLLIN, 0 }, { p->tie[0], POLLIN, 0 } };
        MUST(poll(fds, 2, -1));
        if (fds[0].revents) {
            struct signalfd_siginfo info;
            MUST(read(children, &info, sizeof info));
            int status;
            pid_t ended;
            while ((ended = waitpid(-1, &status, WNOHANG)) > 0)
                if (ended == pid) {
                    MUST(write(p->status[1], &status, sizeof status));
                    _exit(0);
                }
        }
        if (fds[1].revents) _exit(0);
    }
}

/* ---- outside ---- */

static void map_ids(int proc, unsigned inside, unsigned uid, unsigned gid) {
    char line[64];
    if (caller != 0) put(proc, "setgroups", "deny", 0);
    snprintf(line, sizeof line, "%u %u 1", inside, uid);
    put(proc, "uid_map", line, 0);
    snprintf(line, sizeof line, "%u %u 1", inside, gid);
    put(proc, "gid_map", line, 0);
}

static int proc_of(pid_t pid) {
    char path[32];
    snprintf(path, sizeof path, "/proc/%d", pid);
    return FD(open(path, O_PATH | O_DIRECTORY | O_CLOEXEC));
}

static pid_t clone_3(uint64_t flags, int *pidfd, uint64_t signal, int group) {
    struct clone_args args = { .flags = flags | CLONE_PIDFD | CLONE_CLEAR_SIGHAND, .pidfd = (uintptr_t)pidfd, .exit_signal = signal };
    if (group >= 0) args.flags |= CLONE_INTO_CGROUP, args.cgroup = group;
    return FD(syscall(SYS_clone3, &args, sizeof args));
}

/* Root's workspace, shown to another id: a user namespace that only holds the map, and a mount with it. */
static int map_workspace(void) {
    int hold[2], pidfd;
    MUST(pipe2(hold, O_CLOEXEC));
    pid_t pid = clone_3(CLONE_NEWUSER, &pidfd, 0, -1);
    if (pid == 0) {
        char byte;
        keep(hold, 1, 0); /* the pipes of other threads' helpers too, which would wait for each other */
        _exit(read(hold[0], &byte, 1) != 0);
    }
    close(hold[0]);
    int proc = proc_of(pid);
    map_ids(proc, 0, NOBODY, NOBODY);
    int userns = FD(openat(proc, "ns/user", O_RDONLY | O_CLOEXEC));
    close(proc);
    close(hold[1]);
    siginfo_t info;
    MUST(waitid(P_PIDFD, pidfd, &info, WEXITED | __WALL));
    close(pidfd);
    int tree = FD(syscall(SYS_open_tree, AT_FDCWD, workspace, TREE_CLONE | RECURSIVE | O_CLOEXEC));
    struct attr attr = { .set = RDONLY | NOSUID | NODEV | IDMAP, .userns = userns };
    MUST(syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | RECURSIVE, &attr, sizeof attr));
    close(userns);
    return tree;
}

static void pass(int *from, int to) {
    char buffer[65536];
    ssize_t count = read(*from, buffer, sizeof buffer);
    if (count > 0) {
        if (to >= 0) MUST(write(to, buffer, count));
        return;
    }
    close(*from);
    *from = -1;
}

static int group_fd(int index) {
    char path[4200];
    static _Atomic unsigned number;
    snprintf(path, sizeof path, "%s/floor-%d-%u", groups[index].dir, getpid(), number++);
    MUST(mkdir(path, 0755));
    return FD(open(path, O_PATH | O_DIRECTORY | O_CLOEXEC));
}

static void remove_group(int fd) {
    char link[64], path[4200];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    MUST(length);
    path[length] = 0;
    while (rmdir(path) < 0) {
        if (errno != EBUSY) die(path);
        nanosleep(&(struct timespec){ 0, 200000 }, NULL);
    }
    close(fd);
}

/* Whether a v1 group in DIR, as in /sys/fs/cgroup/cpu,cpuacct/…, has the file NAME: cpuacct.usage. */
static int has(const char *dir, const char *name) {
    size_t length = strcspn(name, ".");
    for (const char *at = dir; (at = strchr(at, '/')); at++)
        for (const char *word = at + 1;; word++) {
            size_t end = strcspn(word, ",/");
            if (end == length && !strncmp(word, name, length)) return 1;
            word += end;
            if (*word != ',') break;
        }
    return 0;
}

static void counter(int group, const char *name) {
    char buffer[4096];
    int fd = openat(group, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    MUST(read(fd, buffer, sizeof buffer));
    close(fd);
}

/* The wait status of the payload. */
static int start(int out, int err) {
    struct pipes p;
    int *all[] = { p.in, p.out, p.err, p.setup, p.status, p.tie, p.gate };
    for (int i = 0; i < 7; i++) MUST(pipe2(all[i], O_CLOEXEC));
    int group[GROUPS], tasks[GROUPS], oom = -1, oom_control = -1;
    for (int g = 0; g < group_count; g++) {
        group[g] = group_fd(g);
        for (int i = 0; i < groups[g].count; i++) {
            int which = groups[g].limits[i];
            put(group[g], limits[which].file, limits[which].value, limits[which].optional);
        }
        if (!v2) tasks[g] = FD(openat(group[g], "tasks", O_WRONLY | O_CLOEXEC));
        if (!v2 && has(groups[g].dir, "memory") && (oom_control = openat(group[g], "memory.oom_control", O_RDONLY | O_CLOEXEC)) >= 0) {
            char line[64];
            oom = FD(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
            snprintf(line, sizeof line, "%d %d", oom, oom_control);
            put(group[g], "cgroup.event_control", line, 0);
            close(oom_control);
        }
    }
    int mapped = caller == 0 && with(MAP) ? map_workspace() : -1;
    int pidfd;
    uint64_t seven = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | (with(NET) ? CLONE_NEWNET : 0);
    pid_t pid = clone_3(seven, &pidfd, 0, v2 && group_count ? group[0] : -1);
    if (pid == 0) init(&p, tasks, mapped);
    int ours[] = { p.in[0], p.out[1], p.err[1], p.setup[1], p.status[1], p.tie[0], p.gate[0], p.gate[1] };
    for (int i = 0; i < 8; i++) close(ours[i]);
    for (int g = 0; g < group_count && !v2; g++) close(tasks[g]);
    if (mapped >= 0) close(mapped);
    int proc = proc_of(pid);
    if (caller == 0) map_ids(proc, INSIDE, NOBODY, NOBODY);
    else map_ids(proc, INSIDE, caller, caller_group);
    close(proc);
    MUST(write(p.tie[1], "!", 1));
    close(p.in[1]);

    int running = 1, status = -1, *streams[] = { &p.out[0], &p.err[0] }, targets[] = { out, err };
    while (running || p.out[0] >= 0 || p.err[0] >= 0) {
        struct pollfd fds[] = { { running ? pidfd : -1, POLLIN, 0 }, { p.setup[0], POLLIN, 0 }, { p.status[0], POLLIN, 0 },
                                { p.out[0], POLLIN, 0 }, { p.err[0], POLLIN, 0 }, { oom, POLLIN, 0 } };
        MUST(poll(fds, 6, -1));
        if (fds[1].revents) close(p.setup[0]), p.setup[0] = -1;
        if (fds[2].revents) {
            if (read(p.status[0], &status, sizeof status) != sizeof status) status = -1;
            close(p.status[0]), p.status[0] = -1;
        }
        for (int i = 0; i < 2; i++)
            if (fds[3 + i].revents) pass(streams[i], targets[i]);
        if (fds[0].revents) running = 0;
    }
    siginfo_t info;
    MUST(waitid(P_PIDFD, pidfd, &info, WEXITED | __WALL));
    if (p.status[0] >= 0) {
        if (read(p.status[0], &status, sizeof status) != sizeof status) status = -1;
        close(p.status[0]);
    }
    if (p.setup[0] >= 0) close(p.setup[0]);
    close(pidfd);
    close(p.tie[1]);
    static const char *const counters[] = { "cpu.stat", "pids.peak", "pids.events", "memory.max_usage_in_bytes",
                                            "memory.oom_control", "cpuacct.usage", "memory.peak", "memory.events" };
    /* The first six are v1's; v2 has the first three and the last two. */
    for (int g = group_count - 1; g >= 0; g--) {
        for (int i = 0; with(COUNTERS) && i < 8; i++)
            if (v2 ? i < 3 || i > 5 : i < 6 && has(groups[g].dir, counters[i])) counter(group[g], counters[i]);
        remove_group(group[g]);
    }
    if (oom >= 0) close(oom);
    return status;
}

/* ---- many from one process ---- */

static struct timespec end_at;
static _Atomic long starts;

static void *worker(void *unused) {
    (void)unused;
    struct timespec now;
    do {
        if (start(-1, -1) != 0) {
            dprintf(2, "floor: the command failed\n");
            _exit(125);
        }
        starts++;
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec < end_at.tv_sec || (now.tv_sec == end_at.tv_sec && now.tv_nsec < end_at.tv_nsec));
    return NULL;
}

static double seconds(struct timespec t) { return t.tv_sec + t.tv_nsec / 1e9; }

int main(int argc, char **argv) {
    int threads = 0, option;
    long ms = 1000;
    while ((option = getopt(argc, argv, "+2g:l:t:m:x:")) != -1) {
        int part = 0;
        while (option == 'x' && part < PARTS && strcmp(parts[part], optarg)) part++;
        if (option == '2') v2 = 1;
        else if (option == 'x' && part < PARTS) left_out |= 1u << part;
        else if (option == 't') threads = atoi(optarg);
        else if (option == 'm') ms = atol(optarg);
        else if (option == 'g' && group_count < GROUPS) groups[group_count++].dir = optarg;
        else if (option == 'l' && group_count && limit_count < LIMITS && strchr(optarg, '=')) {
            limits[limit_count].optional = optarg[0] == '?';
            limits[limit_count].file = optarg + limits[limit_count].optional;
            *strchr(optarg, '=') = 0;
            limits[limit_count].value = optarg + strlen(optarg) + 1;
            groups[group_count - 1].limits[groups[group_count - 1].count++] = limit_count++;
        } else {
            dprintf(2, "floor: see the head of floor.c\n");
            return 125;
        }
    }
    command = argv + optind;
    if (!*command) die("no command");
    if (!getcwd(workspace, sizeof workspace)) die("getcwd");
    caller = geteuid();
    caller_group = getegid();
    compile();
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, 1);
    if (abi > 0) landlock_fs = abi == 1 ? 0x1fff : abi == 2 ? 0x3fff : abi < 5 ? 0x7fff : 0xffff;
    if (abi >= 4) landlock_net = 3;
    if (abi >= 6) landlock_scoped = 3;
    if (threads == 0) {
        int status = start(1, 2);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    struct timespec began, ended;
    clock_gettime(CLOCK_MONOTONIC, &began);
    end_at = began;
    end_at.tv_sec += ms / 1000;
    end_at.tv_nsec += ms % 1000 * 1000000;
    if (end_at.tv_nsec >= 1000000000) end_at.tv_nsec -= 1000000000, end_at.tv_sec++;
    pthread_t ids[64];
    if (threads > 64) threads = 64;
    for (int i = 0; i < threads; i++) pthread_create(&ids[i], NULL, worker, NULL);
    for (int i = 0; i < threads; i++) pthread_join(ids[i], NULL);
    clock_gettime(CLOCK_MONOTONIC, &ended);
    printf("%.1f\n", starts / (seconds(ended) - seconds(began)));
    return 0;
}
