//! Conditions on arguments: the calls that are allowed only for some of what they can do.
//!
//! For: the rule of each such call. No policy can lift one; `deny` can take the whole call away.
//! Not for: which calls are allowed at all (see `calls`), or what lies behind a pointer: a filter cannot read
//! that, and whoever does reads memory that other threads can change.
//! Runs in: the supervisor.
//!
//! Every rule lists what is allowed, so that what a newer kernel adds is refused. Comparisons look at the lower
//! 32 bits of a register; each rule says why these are the bits that the kernel acts on.

use super::rule::{Action, EAFNOSUPPORT, EINVAL, ENOTTY, EPERM, EPROTONOSUPPORT, ESOCKTNOSUPPORT, Field, Rule};
use crate::policy::Net;

const ALLOW: Rule = Rule::Do(Action::Allow);

/// What is done with an allowed call.
pub(super) fn rule(name: &str, net: Net) -> Rule {
    match name {
        "chmod" | "fchmod" => mode(Field::Arg1),
        "fchmodat" | "fchmodat2" => mode(Field::Arg2),
        "clone" => clone(),
        "creat" => mode(Field::Arg1),
        "fcntl" => fcntl(),
        "ioctl" => ioctl(),
        "mknod" => node(Field::Arg1),
        "mknodat" => node(Field::Arg2),
        "open" => open(Field::Arg1, Field::Arg2),
        "openat" => open(Field::Arg2, Field::Arg3),
        "personality" => personality(),
        "prctl" => prctl(),
        "sched_setscheduler" => scheduler(),
        "socket" => socket(net),
        "socketpair" => socketpair(),
        _ => ALLOW,
    }
}

/// Landlock does not look at these: they change or watch files of the caller's wherever they are, or reach what other
/// processes of the caller's share by number and not by file. Without namespaces a policy has to name each.
pub(super) const BY_NAME_ONLY: [&str; 36] = [
    "chmod",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "chown",
    "fchown",
    "lchown",
    "fchownat",
    "utime",
    "utimes",
    "futimesat",
    "utimensat",
    "setxattr",
    "lsetxattr",
    "fsetxattr",
    "setxattrat",
    "removexattr",
    "lremovexattr",
    "fremovexattr",
    "removexattrat",
    "file_setattr",
    "inotify_add_watch",
    "fanotify_mark",
    "shmget",
    "shmat",
    "shmctl",
    "semget",
    "semop",
    "semtimedop",
    "semctl",
    "msgget",
    "msgsnd",
    "msgrcv",
    "msgctl",
    "mq_open",
    "mq_unlink",
];

/// What is done with an allowed call of a program that shares the namespaces of the host and the id of its caller.
/// `named` says that the policy allows it by its own name, and not as part of a group.
pub(super) fn in_the_hosts_namespaces(name: &str, net: Net, named: bool) -> Option<Rule> {
    let own = |field, rule| by(field, u32::MAX, [(&[0][..], rule)], refuse(EPERM));
    Some(match name {
        _ if BY_NAME_ONLY.contains(&name) => return (!named).then_some(refuse(EPERM)),
        // 0 is the caller itself; any other number may be another process of its user's. A thread that names
        // itself by its number is refused too.
        "prlimit64" | "sched_setaffinity" | "sched_setparam" | "sched_setattr" | "move_pages" | "migrate_pages" => {
            own(Field::Arg0, ALLOW)
        }
        "sched_setscheduler" => own(Field::Arg0, scheduler()),
        // PRIO_PROCESS, and itself.
        "setpriority" => own(Field::Arg0, own(Field::Arg1, ALLOW)),
        // IOPRIO_WHO_PROCESS, and itself.
        "ioprio_set" => by(Field::Arg0, u32::MAX, [(&[1][..], own(Field::Arg1, ALLOW))], refuse(EPERM)),
        "socket" => shared_socket(net),
        "socketpair" => shared_socketpair(),
        _ => return None,
    })
}

/// As [`socket`], but no unix sockets: by its path one of the host's could be reached, up to a service that starts
/// programs for its user; and nothing about interfaces without a network.
fn shared_socket(net: Net) -> Rule {
    const UNIX: u32 = 1;
    const NETLINK: u32 = 16;
    let mut refused = vec![UNIX];
    if net != Net::Host {
        refused.push(NETLINK);
    }
    match socket(net) {
        Rule::Look(mut families) => {
            families.cases.retain(|(family, _, _)| !refused.contains(family));
            Rule::Look(families)
        }
        all @ Rule::Do(_) => all,
    }
}

/// As [`socketpair`], but only the kinds whose ends stay connected to each other: a datagram socket can send to any
/// path, and be connected anew.
fn shared_socketpair() -> Rule {
    const TYPE: u32 = 0xf;
    const STREAM: u32 = 1;
    const SEQPACKET: u32 = 5;
    let kinds = by(Field::Arg1, TYPE, [(&[STREAM, SEQPACKET][..], ALLOW)], refuse(EPERM));
    by(Field::Arg0, u32::MAX, [(&[1][..], kinds)], refuse(EAFNOSUPPORT))
}

const fn refuse(errno: u16) -> Rule {
    Rule::Do(Action::Errno(errno))
}

/// A choice by the value of `field & mask`.
fn by<'a>(field: Field, mask: u32, cases: impl IntoIterator<Item = (&'a [u32], Rule)>, otherwise: Rule) -> Rule {
    let mut each = Vec::new();
    for (values, rule) in cases {
        each.extend(values.iter().map(|value| (*value, *value, rule.clone())));
    }
    Rule::look(field, mask, each, otherwise)
}

/// `clone(unsigned long flags, …)`: no new namespaces. The kernel keeps the lower half of the flags, less the byte of
/// the exit signal, where CLONE_NEWTIME (0x80) would be: a time namespace cannot be had here.
fn clone() -> Rule {
    const NEW_NAMESPACES: u32 = 0x0002_0000 // CLONE_NEWNS
        | 0x0200_0000 // CLONE_NEWCGROUP
        | 0x0400_0000 // CLONE_NEWUTS
        | 0x0800_0000 // CLONE_NEWIPC
        | 0x1000_0000 // CLONE_NEWUSER
        | 0x2000_0000 // CLONE_NEWPID
        | 0x4000_0000; // CLONE_NEWNET
    by(Field::Arg0, NEW_NAMESPACES, [(&[0][..], ALLOW)], refuse(EPERM))
}

/// `socket(int family, int type, int protocol)`.
///
/// Unix sockets, and of netlink the routing family, which tells what interfaces there are. Internet sockets where
/// there is a network, of the plain kinds: a protocol number would load a rarely used module (SCTP, L2TP, …).
fn socket(net: Net) -> Rule {
    const UNIX: u32 = 1;
    const INET: u32 = 2;
    const INET6: u32 = 10;
    const NETLINK: u32 = 16;
    const NETLINK_ROUTE: u32 = 0;
    // SOCK_NONBLOCK and SOCK_CLOEXEC are in the same word, above the type.
    const TYPE: u32 = 0xf;
    const STREAM: u32 = 1;
    const DGRAM: u32 = 2;
    const RAW: u32 = 3;
    const PACKET: u32 = 10;
    const TCP: u32 = 6;
    const UDP: u32 = 17;

    let protocol = |number| by(Field::Arg2, u32::MAX, [(&[0, number][..], ALLOW)], refuse(EPROTONOSUPPORT));
    let netlink = by(Field::Arg2, u32::MAX, [(&[NETLINK_ROUTE][..], ALLOW)], refuse(EAFNOSUPPORT));
    let mut families = vec![(&[UNIX][..], ALLOW), (&[NETLINK], netlink)];
    match net {
        Net::None => {}
        Net::Loopback | Net::Host => {
            let types = [(&[STREAM][..], protocol(TCP)), (&[DGRAM], protocol(UDP)), (&[RAW, PACKET], refuse(EPERM))];
            families.push((&[INET, INET6], by(Field::Arg1, TYPE, types, refuse(ESOCKTNOSUPPORT))));
        }
    }
    by(Field::Arg0, u32::MAX, families, refuse(EAFNOSUPPORT))
}

/// `socketpair(int family, …)`: AF_UNIX is the only family besides TIPC that has pairs.
fn socketpair() -> Rule {
    by(Field::Arg0, u32::MAX, [(&[1][..], ALLOW)], refuse(EAFNOSUPPORT))
}

/// `chmod(path, umode_t mode)` and whatever else gives a file its mode: no set-uid and no set-gid program. Inside
/// they would mean nothing, but one left in a writable workspace is the caller's on the host, for everybody to run.
/// The kernel keeps the lower 16 bits of a mode.
fn mode(mode: Field) -> Rule {
    const S_ISUID_S_ISGID: u32 = 0o6000;
    by(mode, S_ISUID_S_ISGID, [(&[0][..], ALLOW)], refuse(EPERM))
}

/// `open(path, int flags, umode_t mode)`, `openat(dirfd, path, int flags, umode_t mode)`: as [`mode`], where a file
/// may be made; else the mode is whatever was left in the register. `openat2` has both behind a pointer.
fn open(flags: Field, mode_of: Field) -> Rule {
    const O_CREAT: u32 = 0o100;
    const O_TMPFILE: u32 = 0o20_000_000; // less O_DIRECTORY, which comes with it
    by(flags, O_CREAT | O_TMPFILE, [(&[0][..], ALLOW)], mode(mode_of))
}

/// `fcntl(fd, unsigned int command, …)`: no leases and no directory notifications. A lease makes a process of the
/// host wait that opens a file of the workspace, for as long as /proc/sys/fs/lease-break-time says.
fn fcntl() -> Rule {
    const REFUSED: &[u32] = &[
        1024, // F_SETLEASE
        1026, // F_NOTIFY
    ];
    const ALLOWED: &[u32] = &[
        0,    // F_DUPFD
        1,    // F_GETFD
        2,    // F_SETFD
        3,    // F_GETFL
        4,    // F_SETFL
        5,    // F_GETLK
        6,    // F_SETLK
        7,    // F_SETLKW
        8,    // F_SETOWN
        9,    // F_GETOWN
        10,   // F_SETSIG
        11,   // F_GETSIG
        15,   // F_SETOWN_EX
        16,   // F_GETOWN_EX
        36,   // F_OFD_GETLK
        37,   // F_OFD_SETLK
        38,   // F_OFD_SETLKW
        1025, // F_GETLEASE
        1027, // F_DUPFD_QUERY
        1028, // F_CREATED_QUERY
        1030, // F_DUPFD_CLOEXEC
        1031, // F_SETPIPE_SZ
        1032, // F_GETPIPE_SZ
        1033, // F_ADD_SEALS
        1034, // F_GET_SEALS
        1035, // F_GET_RW_HINT
        1036, // F_SET_RW_HINT
        1037, // F_GET_FILE_RW_HINT
        1038, // F_SET_FILE_RW_HINT
    ];
    // What the kernel says of a command that it does not know.
    by(Field::Arg1, u32::MAX, [(REFUSED, refuse(EPERM)), (ALLOWED, ALLOW)], refuse(EINVAL))
}

/// `mknod(path, umode_t mode, dev)`, `mknodat(dirfd, path, umode_t mode, dev)`: files, fifos and sockets; no devices, and
/// modes as in [`mode`].
/// The kernel keeps the lower 16 bits of the mode, which hold the type.
fn node(at: Field) -> Rule {
    const S_IFMT: u32 = 0o170_000;
    const S_IFIFO: u32 = 0o010_000;
    const S_IFREG: u32 = 0o100_000;
    const S_IFSOCK: u32 = 0o140_000;
    by(at, S_IFMT, [(&[0, S_IFREG, S_IFIFO, S_IFSOCK][..], mode(at))], refuse(EPERM))
}

/// `personality(unsigned int persona)`: to ask, and to be an ordinary Linux program. The others switch address
/// randomisation off, make memory executable, or are the way into rarely used code.
fn personality() -> Rule {
    by(Field::Arg0, u32::MAX, [(&[0, u32::MAX][..], ALLOW)], refuse(EPERM))
}

/// `sched_setscheduler(pid, int policy, …)`: not the real-time classes, which could starve the host.
/// `sched_setattr` has the policy behind a pointer, and is not in `@default` for that.
fn scheduler() -> Rule {
    const RESET_ON_FORK: u32 = 0x4000_0000;
    const OTHER: u32 = 0;
    const BATCH: u32 = 3;
    const IDLE: u32 = 5;
    by(Field::Arg1, !RESET_ON_FORK, [(&[OTHER, BATCH, IDLE][..], ALLOW)], refuse(EPERM))
}

/// `ioctl(fd, unsigned int request, …)`.
///
/// Requests are only told apart by their number, whatever the descriptor is, so this is a list of what terminals,
/// files and sockets are asked by programs. The rest answers what a driver says that does not know a request.
fn ioctl() -> Rule {
    /// They reach out of the jail through the caller's terminal, or freeze a file system. A plain refusal,
    /// because these are attempts and no question.
    const REFUSED: &[u32] = &[
        0x5412,      // TIOCSTI: types into the terminal (CVE-2017-5226)
        0x541c,      // TIOCLINUX: the same by way of the console's selection (CVE-2023-28100)
        0x541d,      // TIOCCONS: takes the console's output
        0x5423,      // TIOCSETD: line disciplines, modules with a history of holes
        0x5437,      // TIOCVHANGUP
        0xc004_5877, // FIFREEZE
        0xc004_5878, // FITHAW
    ];
    const ALLOWED: &[u32] = &[
        // Any descriptor.
        0x5421, // FIONBIO
        0x5450, // FIONCLEX
        0x5451, // FIOCLEX
        0x5452, // FIOASYNC
        0x541b, // FIONREAD, TIOCINQ, SIOCINQ
        0x5460, // FIOQSIZE
        // Terminals: settings.
        0x5401,      // TCGETS: isatty
        0x5402,      // TCSETS
        0x5403,      // TCSETSW
        0x5404,      // TCSETSF
        0x5405,      // TCGETA
        0x5406,      // TCSETA
        0x5407,      // TCSETAW
        0x5408,      // TCSETAF
        0x802c_542a, // TCGETS2
        0x402c_542b, // TCSETS2
        0x402c_542c, // TCSETSW2
        0x402c_542d, // TCSETSF2
        0x5413,      // TIOCGWINSZ
        0x5414,      // TIOCSWINSZ
        // Terminals: flow.
        0x5409, // TCSBRK: tcdrain
        0x5425, // TCSBRKP
        0x5427, // TIOCSBRK
        0x5428, // TIOCCBRK
        0x540a, // TCXONC
        0x540b, // TCFLSH
        0x5411, // TIOCOUTQ, SIOCOUTQ
        0x5415, // TIOCMGET
        0x5424, // TIOCGETD
        // Terminals: sessions and jobs.
        0x540c,      // TIOCEXCL
        0x540d,      // TIOCNXCL
        0x8004_5440, // TIOCGEXCL
        0x540e,      // TIOCSCTTY
        0x5422,      // TIOCNOTTY
        0x540f,      // TIOCGPGRP
        0x5410,      // TIOCSPGRP
        0x5429,      // TIOCGSID
        0x8004_5432, // TIOCGDEV
        // Pseudo-terminals.
        0x8004_5430, // TIOCGPTN
        0x4004_5431, // TIOCSPTLCK
        0x8004_5439, // TIOCGPTLCK
        0x5441,      // TIOCGPTPEER
        0x5420,      // TIOCPKT
        0x8004_5438, // TIOCGPKT
        0x4004_5436, // TIOCSIG
        // Files.
        0x0002,      // FIGETBSZ
        0x8008_6601, // FS_IOC_GETFLAGS
        0x8008_7601, // FS_IOC_GETVERSION
        0x801c_581f, // FS_IOC_FSGETXATTR
        0xc020_660b, // FS_IOC_FIEMAP
        0x4004_9409, // FICLONE
        0x4020_940d, // FICLONERANGE
        0xc018_9436, // FIDEDUPERANGE
        // The random devices.
        0x8004_5200, // RNDGETENTCNT
        // Sockets: owner and state.
        0x8901, // FIOSETOWN
        0x8902, // SIOCSPGRP
        0x8903, // FIOGETOWN
        0x8904, // SIOCGPGRP
        0x8905, // SIOCATMARK
        0x8906, // SIOCGSTAMP
        0x8907, // SIOCGSTAMPNS
        0x894b, // SIOCOUTQNSD
        // Sockets: what interfaces there are.
        0x8910, // SIOCGIFNAME
        0x8912, // SIOCGIFCONF
        0x8913, // SIOCGIFFLAGS
        0x8915, // SIOCGIFADDR
        0x8917, // SIOCGIFDSTADDR
        0x8919, // SIOCGIFBRDADDR
        0x891b, // SIOCGIFNETMASK
        0x891d, // SIOCGIFMETRIC
        0x8921, // SIOCGIFMTU
        0x8927, // SIOCGIFHWADDR
        0x8933, // SIOCGIFINDEX
        0x8942, // SIOCGIFTXQLEN
    ];
    by(Field::Arg1, u32::MAX, [(REFUSED, refuse(EPERM)), (ALLOWED, ALLOW)], refuse(ENOTTY))
}

/// `prctl(int option, unsigned long, …)`.
fn prctl() -> Rule {
    /// They weaken the process against others, or reach past it.
    const REFUSED: &[u32] = &[
        24, // PR_CAPBSET_DROP: needs a capability; the set is empty
        28, // PR_SET_SECUREBITS
        31, // PR_TASK_PERF_EVENTS_DISABLE
        32, // PR_TASK_PERF_EVENTS_ENABLE
        33, // PR_MCE_KILL
        35, // PR_SET_MM: forges what /proc says of the process
        53, // PR_SET_SPECULATION_CTRL: could switch mitigations off
        57, // PR_SET_IO_FLUSHER
        58, // PR_GET_IO_FLUSHER
        59, // PR_SET_SYSCALL_USER_DISPATCH
        62, // PR_SCHED_CORE
        67, // PR_SET_MEMORY_MERGE: pages shared with others tell what is in them
    ];
    const ALLOWED: &[u32] = &[
        1,           // PR_SET_PDEATHSIG
        2,           // PR_GET_PDEATHSIG
        3,           // PR_GET_DUMPABLE
        4,           // PR_SET_DUMPABLE
        7,           // PR_GET_KEEPCAPS
        8,           // PR_SET_KEEPCAPS
        13,          // PR_GET_TIMING
        15,          // PR_SET_NAME
        16,          // PR_GET_NAME
        21,          // PR_GET_SECCOMP
        22,          // PR_SET_SECCOMP
        23,          // PR_CAPBSET_READ
        25,          // PR_GET_TSC
        26,          // PR_SET_TSC
        27,          // PR_GET_SECUREBITS
        29,          // PR_SET_TIMERSLACK
        30,          // PR_GET_TIMERSLACK
        34,          // PR_MCE_KILL_GET
        36,          // PR_SET_CHILD_SUBREAPER
        37,          // PR_GET_CHILD_SUBREAPER
        38,          // PR_SET_NO_NEW_PRIVS
        39,          // PR_GET_NO_NEW_PRIVS
        40,          // PR_GET_TID_ADDRESS
        41,          // PR_SET_THP_DISABLE
        42,          // PR_GET_THP_DISABLE
        50,          // PR_SVE_SET_VL
        51,          // PR_SVE_GET_VL
        52,          // PR_GET_SPECULATION_CTRL
        54,          // PR_PAC_RESET_KEYS
        55,          // PR_SET_TAGGED_ADDR_CTRL
        56,          // PR_GET_TAGGED_ADDR_CTRL
        60,          // PR_PAC_SET_ENABLED_KEYS
        61,          // PR_PAC_GET_ENABLED_KEYS
        63,          // PR_SME_SET_VL
        64,          // PR_SME_GET_VL
        65,          // PR_SET_MDWE
        66,          // PR_GET_MDWE
        68,          // PR_GET_MEMORY_MERGE
        74,          // PR_GET_SHADOW_STACK_STATUS
        75,          // PR_SET_SHADOW_STACK_STATUS
        76,          // PR_LOCK_SHADOW_STACK_STATUS
        0x5356_4d41, // PR_SET_VMA: names for anonymous memory
        0x5961_6d61, // PR_SET_PTRACER
    ];
    const CAP_AMBIENT: u32 = 47;
    /// `PR_CAP_AMBIENT_IS_SET`, `_LOWER` and `_CLEAR_ALL`. The kernel compares all 64 bits: with any of the upper
    /// ones set it refuses what is let through here, and raising is refused here whatever they are.
    const AMBIENT: &[u32] = &[1, 3, 4];
    let ambient = by(Field::Arg1, u32::MAX, [(AMBIENT, ALLOW)], refuse(EPERM));
    let options = [(REFUSED, refuse(EPERM)), (ALLOWED, ALLOW), (&[CAP_AMBIENT], ambient)];
    // What the kernel says of an option that it does not know.
    by(Field::Arg0, u32::MAX, options, refuse(EINVAL))
}
