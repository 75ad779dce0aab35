//! Every system call of Linux 6.18, by name, number and group.
//!
//! For: knowing which numbers are known, and which calls a word of a policy stands for. A call is in exactly
//! one group, so one that the kernel gains gets a decision when it is added here, and answers ENOSYS until then.
//! Not for: conditions on arguments (see `arguments`).
//! Runs in: the supervisor.
//!
//! The numbers are those of `arch/x86/entry/syscalls/syscall_64.tbl` and `scripts/syscall.tbl` (arm64). They are
//! written out because the `libc` crate lacks the newer ones and has different sets for glibc and musl; those that
//! it has are compared with it in the tests. Both architectures are here so that a profile may name `open` on both.

/// An architecture that filters are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arch {
    /// AUDIT_ARCH_*: the ELF machine number, 64 bits, little-endian.
    pub(super) audit: u32,
    /// Whether numbers from 0x4000_0000 on are those of another ABI (x32).
    pub(super) has_x32: bool,
    column: Column,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    X86_64,
    Aarch64,
}

impl Arch {
    pub(super) const X86_64: Self = Self { audit: 0xc000_003e, has_x32: true, column: Column::X86_64 };
    pub(super) const AARCH64: Self = Self { audit: 0xc000_00b7, has_x32: false, column: Column::Aarch64 };
    /// The one that this program was built for.
    pub(super) const NATIVE: Self = if cfg!(target_arch = "x86_64") { Self::X86_64 } else { Self::AARCH64 };
}

#[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), target_endian = "little")))]
compile_error!("there is no table of system calls for this architecture");

/// What a policy can do with the calls of a group. Where it is not allowed, a call answers EPERM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Always allowed; cannot be denied.
    Essential,
    /// Part of `@default`.
    Default,
    /// Allowed when a policy names the group or the call.
    OnRequest,
    /// Cannot be allowed, because of this.
    Never(&'static str),
    /// Cannot be allowed, because of this, and no program makes it by mistake: killed.
    Kill(&'static str),
}

/// Calls that are allowed and denied together.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) name: &'static str,
    pub(super) standing: Standing,
    pub(super) calls: &'static [Call],
}

/// One system call.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) name: &'static str,
    x86_64: u32,
    aarch64: u32,
}

impl Call {
    /// Its number, if the architecture has it.
    pub(super) fn number(&self, arch: Arch) -> Option<u32> {
        let number = match arch.column {
            Column::X86_64 => self.x86_64,
            Column::Aarch64 => self.aarch64,
        };
        (number != NONE).then_some(number)
    }
}

/// Every call with its group.
pub(super) fn all() -> impl Iterator<Item = (&'static Group, &'static Call)> {
    GROUPS.iter().flat_map(|group| group.calls.iter().map(move |call| (group, call)))
}

/// In place of a number that the architecture does not have.
const NONE: u32 = u32::MAX;

/// Name, number on x86-64, number on aarch64.
const fn c(name: &'static str, x86_64: u32, aarch64: u32) -> Call {
    Call { name, x86_64, aarch64 }
}

/// All groups.
pub(super) const GROUPS: &[Group] = &[
    // What no program can be started, ended or answered without.
    Group {
        name: "@essential",
        standing: Standing::Essential,
        calls: &[
            c("read", 0, 63),
            c("write", 1, 64),
            c("close", 3, 57),
            c("execve", 59, 221),
            c("execveat", 322, 281),
            c("exit", 60, 93),
            c("exit_group", 231, 94),
            c("rt_sigreturn", 15, 139),
            c("restart_syscall", 219, 128),
        ],
    },
    // Open descriptors.
    Group {
        name: "@io",
        standing: Standing::Default,
        calls: &[
            c("readv", 19, 65),
            c("writev", 20, 66),
            c("pread64", 17, 67),
            c("pwrite64", 18, 68),
            c("preadv", 295, 69),
            c("pwritev", 296, 70),
            c("preadv2", 327, 286),
            c("pwritev2", 328, 287),
            c("lseek", 8, 62),
            c("dup", 32, 23),
            c("dup2", 33, NONE),
            c("dup3", 292, 24),
            c("pipe", 22, NONE),
            c("pipe2", 293, 59),
            c("fcntl", 72, 25),
            c("ioctl", 16, 29),
            c("sendfile", 40, 71),
            c("splice", 275, 76),
            c("tee", 276, 77),
            c("vmsplice", 278, 75),
            c("copy_file_range", 326, 285),
            c("close_range", 436, 436),
        ],
    },
    // Waiting for descriptors, and descriptors that are waited for.
    Group {
        name: "@poll",
        standing: Standing::Default,
        calls: &[
            c("poll", 7, NONE),
            c("ppoll", 271, 73),
            c("select", 23, NONE),
            c("pselect6", 270, 72),
            c("epoll_create", 213, NONE),
            c("epoll_create1", 291, 20),
            c("epoll_ctl", 233, 21),
            c("epoll_wait", 232, NONE),
            c("epoll_pwait", 281, 22),
            c("epoll_pwait2", 441, 441),
            c("eventfd", 284, NONE),
            c("eventfd2", 290, 19),
            c("signalfd", 282, NONE),
            c("signalfd4", 289, 74),
            c("timerfd_create", 283, 85),
            c("timerfd_settime", 286, 86),
            c("timerfd_gettime", 287, 87),
        ],
    },
    // Files and directories.
    Group {
        name: "@file",
        standing: Standing::Default,
        calls: &[
            c("open", 2, NONE),
            c("openat", 257, 56),
            c("creat", 85, NONE),
            c("stat", 4, NONE),
            c("lstat", 6, NONE),
            c("fstat", 5, 80),
            c("newfstatat", 262, 79),
            c("statx", 332, 291),
            c("statfs", 137, 43),
            c("fstatfs", 138, 44),
            c("access", 21, NONE),
            c("faccessat", 269, 48),
            c("faccessat2", 439, 439),
            c("getcwd", 79, 17),
            c("chdir", 80, 49),
            c("fchdir", 81, 50),
            c("getdents", 78, NONE),
            c("getdents64", 217, 61),
            c("readlink", 89, NONE),
            c("readlinkat", 267, 78),
            c("mkdir", 83, NONE),
            c("mkdirat", 258, 34),
            c("rmdir", 84, NONE),
            c("unlink", 87, NONE),
            c("unlinkat", 263, 35),
            c("rename", 82, NONE),
            c("renameat", 264, NONE),
            c("renameat2", 316, 276),
            c("link", 86, NONE),
            c("linkat", 265, 37),
            c("symlink", 88, NONE),
            c("symlinkat", 266, 36),
            c("mknod", 133, NONE),
            c("mknodat", 259, 33),
            c("chmod", 90, NONE),
            c("fchmod", 91, 52),
            c("fchmodat", 268, 53),
            c("fchmodat2", 452, 452),
            c("chown", 92, NONE),
            c("fchown", 93, 55),
            c("lchown", 94, NONE),
            c("fchownat", 260, 54),
            c("umask", 95, 166),
            c("truncate", 76, 45),
            c("ftruncate", 77, 46),
            c("fallocate", 285, 47),
            c("fadvise64", 221, 223),
            c("readahead", 187, 213),
            c("cachestat", 451, 451),
            c("flock", 73, 32),
            c("fsync", 74, 82),
            c("fdatasync", 75, 83),
            c("sync_file_range", 277, NONE),
            c("syncfs", 306, 267),
            c("utime", 132, NONE),
            c("utimes", 235, NONE),
            c("futimesat", 261, NONE),
            c("utimensat", 280, 88),
            c("file_getattr", 468, 468),
            c("getxattr", 191, 8),
            c("lgetxattr", 192, 9),
            c("fgetxattr", 193, 10),
            c("getxattrat", 464, 464),
            c("setxattr", 188, 5),
            c("lsetxattr", 189, 6),
            c("fsetxattr", 190, 7),
            c("setxattrat", 463, 463),
            c("listxattr", 194, 11),
            c("llistxattr", 195, 12),
            c("flistxattr", 196, 13),
            c("listxattrat", 465, 465),
            c("removexattr", 197, 14),
            c("lremovexattr", 198, 15),
            c("fremovexattr", 199, 16),
            c("removexattrat", 466, 466),
        ],
    },
    // The memory of the process itself.
    Group {
        name: "@memory",
        standing: Standing::Default,
        calls: &[
            c("brk", 12, 214),
            c("mmap", 9, 222),
            c("munmap", 11, 215),
            c("mprotect", 10, 226),
            c("mremap", 25, 216),
            c("madvise", 28, 233),
            c("process_madvise", 440, 440),
            c("msync", 26, 227),
            c("mincore", 27, 232),
            c("mlock", 149, 228),
            c("mlock2", 325, 284),
            c("munlock", 150, 229),
            c("mlockall", 151, 230),
            c("munlockall", 152, 231),
            c("mseal", 462, 462),
            c("map_shadow_stack", 453, 453),
            c("memfd_create", 319, 279),
            c("pkey_alloc", 330, 289),
            c("pkey_free", 331, 290),
            c("pkey_mprotect", 329, 288),
            c("get_mempolicy", 239, 236),
            c("set_mempolicy", 238, 237),
            c("set_mempolicy_home_node", 450, 450),
            c("mbind", 237, 235),
        ],
    },
    // Processes, threads and their limits.
    Group {
        name: "@process",
        standing: Standing::Default,
        calls: &[
            c("clone", 56, 220),
            c("fork", 57, NONE),
            c("vfork", 58, NONE),
            c("wait4", 61, 260),
            c("waitid", 247, 95),
            c("getpid", 39, 172),
            c("getppid", 110, 173),
            c("gettid", 186, 178),
            c("getpgid", 121, 155),
            c("getpgrp", 111, NONE),
            c("setpgid", 109, 154),
            c("getsid", 124, 156),
            c("setsid", 112, 157),
            c("pidfd_open", 434, 434),
            c("set_tid_address", 218, 96),
            c("set_robust_list", 273, 99),
            c("get_robust_list", 274, 100),
            c("rseq", 334, 293),
            c("arch_prctl", 158, NONE),
            c("prctl", 157, 167),
            c("personality", 135, 92),
            c("getrlimit", 97, NONE),
            c("setrlimit", 160, NONE),
            c("prlimit64", 302, 261),
            c("getrusage", 98, 165),
        ],
    },
    // Signals.
    Group {
        name: "@signal",
        standing: Standing::Default,
        calls: &[
            c("rt_sigaction", 13, 134),
            c("rt_sigprocmask", 14, 135),
            c("rt_sigpending", 127, 136),
            c("rt_sigsuspend", 130, 133),
            c("rt_sigtimedwait", 128, 137),
            c("rt_sigqueueinfo", 129, 138),
            c("rt_tgsigqueueinfo", 297, 240),
            c("sigaltstack", 131, 132),
            c("kill", 62, 129),
            c("tkill", 200, 130),
            c("tgkill", 234, 131),
            c("pidfd_send_signal", 424, 424),
            c("pause", 34, NONE),
        ],
    },
    // Locks between threads.
    Group {
        name: "@sync",
        standing: Standing::Default,
        calls: &[
            c("futex", 202, 98),
            c("futex_wait", 455, 455),
            c("futex_wake", 454, 454),
            c("futex_waitv", 449, 449),
            c("futex_requeue", 456, 456),
            c("membarrier", 324, 283),
        ],
    },
    // Reading clocks, sleeping, timers.
    Group {
        name: "@time",
        standing: Standing::Default,
        calls: &[
            c("clock_gettime", 228, 113),
            c("clock_getres", 229, 114),
            c("clock_nanosleep", 230, 115),
            c("nanosleep", 35, 101),
            c("gettimeofday", 96, 169),
            c("time", 201, NONE),
            c("times", 100, 153),
            c("alarm", 37, NONE),
            c("getitimer", 36, 102),
            c("setitimer", 38, 103),
            c("timer_create", 222, 107),
            c("timer_settime", 223, 110),
            c("timer_gettime", 224, 108),
            c("timer_getoverrun", 225, 109),
            c("timer_delete", 226, 111),
        ],
    },
    // Scheduling, without the real-time classes.
    Group {
        name: "@sched",
        standing: Standing::Default,
        calls: &[
            c("sched_yield", 24, 124),
            c("sched_getaffinity", 204, 123),
            c("sched_setaffinity", 203, 122),
            c("sched_getparam", 143, 121),
            c("sched_setparam", 142, 118),
            c("sched_getscheduler", 145, 120),
            c("sched_setscheduler", 144, 119),
            c("sched_getattr", 315, 275),
            c("sched_get_priority_max", 146, 125),
            c("sched_get_priority_min", 147, 126),
            c("sched_rr_get_interval", 148, 127),
            c("getpriority", 140, 141),
            c("setpriority", 141, 140),
            c("ioprio_get", 252, 31),
            c("ioprio_set", 251, 30),
            c("getcpu", 309, 168),
        ],
    },
    // System V and POSIX shared memory, semaphores and queues, in the jail's own namespace.
    Group {
        name: "@ipc",
        standing: Standing::Default,
        calls: &[
            c("shmget", 29, 194),
            c("shmat", 30, 196),
            c("shmdt", 67, 197),
            c("shmctl", 31, 195),
            c("semget", 64, 190),
            c("semop", 65, 193),
            c("semtimedop", 220, 192),
            c("semctl", 66, 191),
            c("msgget", 68, 186),
            c("msgsnd", 69, 189),
            c("msgrcv", 70, 188),
            c("msgctl", 71, 187),
            c("mq_open", 240, 180),
            c("mq_unlink", 241, 181),
            c("mq_timedsend", 242, 182),
            c("mq_timedreceive", 243, 183),
            c("mq_notify", 244, 184),
            c("mq_getsetattr", 245, 185),
        ],
    },
    // Sockets; the families follow net.mode.
    Group {
        name: "@net",
        standing: Standing::Default,
        calls: &[
            c("socket", 41, 198),
            c("socketpair", 53, 199),
            c("bind", 49, 200),
            c("listen", 50, 201),
            c("accept", 43, 202),
            c("accept4", 288, 242),
            c("connect", 42, 203),
            c("getsockname", 51, 204),
            c("getpeername", 52, 205),
            c("shutdown", 48, 210),
            c("getsockopt", 55, 209),
            c("setsockopt", 54, 208),
            c("sendto", 44, 206),
            c("recvfrom", 45, 207),
            c("sendmsg", 46, 211),
            c("recvmsg", 47, 212),
            c("sendmmsg", 307, 269),
            c("recvmmsg", 299, 243),
        ],
    },
    // Ids and capabilities, of which a jail has one and none.
    Group {
        name: "@credentials",
        standing: Standing::Default,
        calls: &[
            c("getuid", 102, 174),
            c("geteuid", 107, 175),
            c("getresuid", 118, 148),
            c("getgid", 104, 176),
            c("getegid", 108, 177),
            c("getresgid", 120, 150),
            c("getgroups", 115, 158),
            c("setuid", 105, 146),
            c("setreuid", 113, 145),
            c("setresuid", 117, 147),
            c("setfsuid", 122, 151),
            c("setgid", 106, 144),
            c("setregid", 114, 143),
            c("setresgid", 119, 149),
            c("setfsgid", 123, 152),
            c("setgroups", 116, 159),
            c("capget", 125, 90),
            c("capset", 126, 91),
        ],
    },
    // A program that confines itself further.
    Group {
        name: "@sandbox",
        standing: Standing::Default,
        calls: &[
            c("seccomp", 317, 277),
            c("landlock_create_ruleset", 444, 444),
            c("landlock_add_rule", 445, 445),
            c("landlock_restrict_self", 446, 446),
        ],
    },
    // What machine this is, and random numbers.
    Group {
        name: "@system",
        standing: Standing::Default,
        calls: &[c("uname", 63, 160), c("sysinfo", 99, 179), c("getrandom", 318, 278)],
    },
    // Watches on files. The host counts them for each user, 128 instances by default, whatever namespace they are
    // in: one jail could take all that its caller has.
    Group {
        name: "@watch",
        standing: Standing::OnRequest,
        calls: &[
            c("inotify_init", 253, NONE),
            c("inotify_init1", 294, 26),
            c("inotify_add_watch", 254, 27),
            c("inotify_rm_watch", 255, 28),
        ],
    },
    // Debuggers and tracers.
    Group {
        name: "@debug",
        standing: Standing::OnRequest,
        calls: &[
            c("ptrace", 101, 117),
            c("process_vm_readv", 310, 270),
            c("process_vm_writev", 311, 271),
            c("kcmp", 312, 272),
            c("pidfd_getfd", 438, 438),
        ],
    },
    // The old asynchronous file interface (libaio).
    Group {
        name: "@aio",
        standing: Standing::OnRequest,
        calls: &[
            c("io_setup", 206, 0),
            c("io_destroy", 207, 1),
            c("io_submit", 209, 2),
            c("io_cancel", 210, 3),
            c("io_getevents", 208, 4),
            c("io_pgetevents", 333, 292),
        ],
    },
    // Kernel keyrings, which no namespace separates.
    Group {
        name: "@keyring",
        standing: Standing::OnRequest,
        calls: &[c("add_key", 248, 217), c("request_key", 249, 218), c("keyctl", 250, 219)],
    },
    // Calls that few programs miss: their effect is host-wide, or nobody uses them.
    Group {
        name: "@rare",
        standing: Standing::OnRequest,
        calls: &[
            c("sync", 162, 81),
            c("sysfs", 139, NONE),
            c("ustat", 136, NONE),
            c("sched_setattr", 314, 274),
            c("move_pages", 279, 239),
            c("migrate_pages", 256, 238),
            c("remap_file_pages", 216, 234),
            c("process_mrelease", 448, 448),
            c("statmount", 457, 457),
            c("listmount", 458, 458),
            c("lsm_get_self_attr", 459, 459),
            c("lsm_set_self_attr", 460, 460),
            c("lsm_list_modules", 461, 461),
            c("file_setattr", 469, 469),
        ],
    },
    // Calls with a history of kernel holes; better allowed one by one.
    Group {
        name: "@risky",
        standing: Standing::OnRequest,
        calls: &[
            c("perf_event_open", 298, 241),
            c("userfaultfd", 323, 282),
            c("fanotify_init", 300, 262),
            c("fanotify_mark", 301, 263),
            c("modify_ldt", 154, NONE),
            c("memfd_secret", 447, 447),
            c("name_to_handle_at", 303, 264),
        ],
    },
    // Namespaces and mounts.
    Group {
        name: "@namespace",
        standing: Standing::Never("it changes what the jail shows"),
        calls: &[
            c("unshare", 272, 97),
            c("setns", 308, 268),
            c("mount", 165, 40),
            c("umount2", 166, 39),
            c("pivot_root", 155, 41),
            c("chroot", 161, 51),
            c("open_tree", 428, 428),
            c("open_tree_attr", 467, 467),
            c("move_mount", 429, 429),
            c("fsopen", 430, 430),
            c("fsconfig", 431, 431),
            c("fsmount", 432, 432),
            c("fspick", 433, 433),
            c("mount_setattr", 442, 442),
        ],
    },
    // Administration of the host.
    Group {
        name: "@host",
        standing: Standing::Never("it steers the host"),
        calls: &[
            c("reboot", 169, 142),
            c("swapon", 167, 224),
            c("swapoff", 168, 225),
            c("acct", 163, 89),
            c("quotactl", 179, 60),
            c("quotactl_fd", 443, 443),
            c("settimeofday", 164, 170),
            c("clock_settime", 227, 112),
            c("clock_adjtime", 305, 266),
            c("adjtimex", 159, 171),
            c("syslog", 103, 116),
            c("sethostname", 170, 161),
            c("setdomainname", 171, 162),
            c("vhangup", 153, 58),
            c("iopl", 172, NONE),
            c("ioperm", 173, NONE),
            c("bpf", 321, 280),
            c("open_by_handle_at", 304, 265),
        ],
    },
    // Calls whose request lies in memory, where other threads can change it.
    Group {
        name: "@unseen",
        standing: Standing::Never("the filter cannot see what it asks for"),
        calls: &[
            c("clone3", 435, 435),
            c("openat2", 437, 437),
            c("io_uring_setup", 425, 425),
            c("io_uring_enter", 426, 426),
            c("io_uring_register", 427, 427),
        ],
    },
    // Kernel modules and kexec.
    Group {
        name: "@module",
        standing: Standing::Kill("it loads code into the kernel"),
        calls: &[
            c("init_module", 175, 105),
            c("finit_module", 313, 273),
            c("delete_module", 176, 106),
            c("kexec_load", 246, 104),
            c("kexec_file_load", 320, 294),
        ],
    },
    // Numbers without a function, and those of the kernel's own probes.
    Group {
        name: "@obsolete",
        standing: Standing::Never("no program has a use for it"),
        calls: &[
            c("_sysctl", 156, NONE),
            c("afs_syscall", 183, NONE),
            c("create_module", 174, NONE),
            c("epoll_ctl_old", 214, NONE),
            c("epoll_wait_old", 215, NONE),
            c("get_kernel_syms", 177, NONE),
            c("get_thread_area", 211, NONE),
            c("getpmsg", 181, NONE),
            c("lookup_dcookie", 212, 18),
            c("nfsservctl", 180, 42),
            c("putpmsg", 182, NONE),
            c("query_module", 178, NONE),
            c("security", 185, NONE),
            c("set_thread_area", 205, NONE),
            c("tuxcall", 184, NONE),
            c("uprobe", 336, NONE),
            c("uretprobe", 335, NONE),
            c("uselib", 134, NONE),
            c("vserver", 236, NONE),
        ],
    },
];
