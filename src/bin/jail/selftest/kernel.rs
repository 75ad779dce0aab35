//! Attempts on the kernel's surface: calls that a program has no use for, by every way in.
//!
//! For: the filter, and what stands behind it. Calls are made with arguments that are harmless where nothing refuses
//! them (see the library's list), so each is made outside too.
//! Not for: calls with an object of the host (`files`, `processes`, `network`).
//! Runs in: the tables in the process of `jail selftest`, the attempts inside.

use nix::errno::Errno;

use jail::policy::Net;

use super::inside::Inside;
use super::judge::{Outcome, Seen};
use super::stage::World;
use super::{Case, Class};

const KERNEL: Class = Class::Kernel;

/// Calls that are all answered with EPERM, unless the profile lets one of them through.
const fn refused(id: &'static str, title: &'static str, calls: fn(&Inside)) -> Case {
    Case::attempt(id, KERNEL, title, calls, refused_or_allowed)
}

/// Calls that end the program.
const fn killed(id: &'static str, title: &'static str, calls: fn(&Inside)) -> Case {
    Case::attempt(id, KERNEL, title, calls, |_, s| s.killed_by_the_filter())
}

pub(super) const CASES: &[Case] = &[
    refused("ks-unshare", "new namespaces by unshare", |i| {
        i.calls(&[
            "unshare:user",
            "unshare:mount",
            "unshare:pid",
            "unshare:net",
            "unshare:ipc",
            "unshare:uts",
            "unshare:cgroup",
            "unshare:time",
        ]);
    }),
    refused("ks-clone-namespaces", "new namespaces by clone", |i| {
        for (name, flags) in [
            ("user", 0x1000_0000),
            ("mount", 0x0002_0000),
            ("pid", 0x2000_0000),
            ("net", 0x4000_0000),
            ("ipc", 0x0800_0000),
            ("uts", 0x0400_0000),
            ("cgroup", 0x0200_0000),
            ("user+mount", 0x1002_0000),
        ] {
            i.say(name, jail::attempt::child_in_namespaces(flags));
        }
    }),
    refused("ks-setns", "enter namespaces of others", |i| i.calls(&["setns"])),
    refused("ks-mount", "mount, unmount and change the root", |i| {
        i.calls(&["mount", "umount2", "pivot_root", "chroot"]);
    }),
    refused("ks-mount-api", "the same by the newer calls", |i| {
        i.calls(&[
            "open_tree",
            "open_tree_attr",
            "move_mount",
            "fsopen",
            "fsconfig",
            "fsmount",
            "fspick",
            "mount_setattr",
        ]);
    }),
    refused("ks-list-mounts", "list mounts by the newer calls", |i| i.calls(&["statmount", "listmount"])),
    refused("ks-handles", "open files by handle, past every path", |i| {
        i.calls(&["name_to_handle_at", "open_by_handle_at"]);
    }),
    refused("ks-bpf", "load programs into the kernel (bpf)", |i| i.calls(&["bpf"])),
    refused("ks-perf", "count and trace (perf_event_open)", |i| i.calls(&["perf_event_open"])),
    refused("ks-io-uring", "io_uring, whose requests no filter sees", |i| {
        i.calls(&["io_uring_setup", "io_uring_enter", "io_uring_register"]);
    }),
    refused("ks-userfaultfd", "hold page faults open (userfaultfd)", |i| i.calls(&["userfaultfd"])),
    refused("ks-aio", "old asynchronous input and output", |i| i.calls(&["io_setup"])),
    refused("ks-keyrings", "the kernel's keyrings, which no namespace keeps apart", |i| {
        i.calls(&["add_key", "request_key", "keyctl"])
    }),
    refused("ks-secret-memory", "memory that the kernel cannot see or swap (memfd_secret)", |i| {
        i.calls(&["memfd_secret"])
    }),
    killed("ks-init-module", "load a kernel module (init_module)", |i| i.calls(&["init_module"])),
    killed("ks-finit-module", "load a kernel module (finit_module)", |i| i.calls(&["finit_module"])),
    killed("ks-delete-module", "unload a kernel module", |i| i.calls(&["delete_module"])),
    killed("ks-kexec", "load another kernel (kexec_load)", |i| i.calls(&["kexec_load"])),
    killed("ks-kexec-file", "load another kernel (kexec_file_load)", |i| i.calls(&["kexec_file_load"])),
    refused("ks-clock", "set the clock", |i| {
        i.calls(&["settimeofday", "clock_settime", "clock_adjtime", "adjtimex"]);
    }),
    refused("ks-host-name", "rename the machine", |i| i.calls(&["sethostname", "setdomainname"])),
    refused("ks-kernel-log", "read the kernel's log (syslog)", |i| i.calls(&["syslog"])),
    refused("ks-swap", "change swapping", |i| i.calls(&["swapon", "swapoff"])),
    refused("ks-accounting", "process accounting and quotas", |i| i.calls(&["acct", "quotactl", "quotactl_fd"])),
    refused("ks-reboot", "restart the machine", |i| i.calls(&["reboot"])),
    refused("ks-ports", "reach input/output ports and segments", |i| i.calls(&["iopl", "ioperm", "modify_ldt"])),
    refused("ks-personality", "switch address randomisation off", |i| {
        i.calls(&["personality:no-randomize", "personality:read-implies-exec"]);
    }),
    refused("ks-real-time", "real-time scheduling, which could starve the host", |i| {
        i.calls(&["sched_setscheduler:fifo", "sched_setscheduler:rr", "sched_setscheduler:deadline"]);
    }),
    refused("ks-sched-attr", "the same by sched_setattr", |i| i.calls(&["sched_setattr"])),
    refused("ks-prctl", "options of prctl that weaken or reach out", |i| {
        i.calls(&[
            "prctl:SET_MM",
            "prctl:SET_SECUREBITS",
            "prctl:SET_IO_FLUSHER",
            "prctl:SET_SPECULATION_CTRL",
            "prctl:SET_SYSCALL_USER_DISPATCH",
            "prctl:SCHED_CORE",
            "prctl:SET_MEMORY_MERGE",
            "prctl:MCE_KILL",
            "prctl:CAP_AMBIENT_RAISE",
        ]);
    }),
    refused("ks-terminal-input", "type into a terminal (TIOCSTI, TIOCLINUX), also with high bits set", |i| {
        i.calls(&["ioctl:TIOCSTI", "ioctl:TIOCSTI+bits", "ioctl:TIOCLINUX", "ioctl:TIOCCONS", "ioctl:TIOCSETD"]);
    }),
    refused("ks-freeze", "freeze a file system", |i| i.calls(&["ioctl:FIFREEZE", "ioctl:FITHAW"])),
    refused("ks-security-modules", "ask and steer security modules", |i| {
        i.calls(&["lsm_get_self_attr", "lsm_list_modules"]);
    }),
    refused("ks-pages", "move pages between memory nodes", |i| i.calls(&["move_pages", "migrate_pages"])),
    refused("ks-obsolete", "calls that nobody uses any more", |i| i.calls(&["remap_file_pages", "lookup_dcookie"])),
    Case::attempt(
        "ks-socket-families",
        KERNEL,
        "rarely used socket families, whose code is attacked most",
        |i| {
            i.calls(&[
                "socket:packet",
                "socket:key",
                "socket:ax25",
                "socket:rds",
                "socket:pppox",
                "socket:llc",
                "socket:can",
                "socket:tipc",
                "socket:bluetooth",
                "socket:alg",
                "socket:nfc",
                "socket:vsock",
                "socket:qipcrtr",
                "socket:smc",
                "socket:xdp",
            ]);
        },
        |_, s| s.refused(&[Errno::EAFNOSUPPORT]),
    ),
    Case::attempt(
        "ks-netlink",
        KERNEL,
        "netlink protocols with much code behind them (netfilter, xfrm, audit …)",
        |i| {
            i.calls(&[
                "socket:netlink-sock-diag",
                "socket:netlink-xfrm",
                "socket:netlink-audit",
                "socket:netlink-netfilter",
                "socket:netlink-uevent",
                "socket:netlink-generic",
            ]);
        },
        |_, s| s.refused(&[Errno::EAFNOSUPPORT]),
    ),
    Case::attempt(
        "ks-raw-sockets",
        KERNEL,
        "raw internet sockets",
        |i| i.calls(&["socket:inet-raw", "socket:inet6-raw"]),
        |w, s| match w.net() {
            Net::None => s.refused(&[Errno::EAFNOSUPPORT]),
            Net::Loopback | Net::Host => s.refused(&[Errno::EPERM]),
        },
    ),
    Case::attempt(
        "ks-unseen-arguments",
        KERNEL,
        "clone3 and openat2, whose arguments no filter sees: they do not exist",
        |i| i.calls(&["clone3", "openat2"]),
        |_, s| s.refused(&[Errno::ENOSYS]),
    ),
    killed("ks-32-bit", "the interface of 32-bit programs (int 0x80)", |i| {
        if let Some(result) = jail::attempt::int80() {
            i.say("getpid", result);
        }
    }),
    killed("ks-x32", "the x32 interface", |i| {
        if let Some(result) = jail::attempt::x32() {
            i.say("getpid", result);
        }
    }),
];

/// EPERM, unless the profile's list of calls has one of these.
pub(super) fn refused_or_allowed(w: &World, s: &Seen) -> Outcome {
    let allowed = s.inside.iter().find_map(|step| {
        let call = step.name.split(':').next().unwrap_or_default();
        w.allows(&[call, group(call)])
    });
    match allowed {
        Some(word) => s.granted(&format!("syscalls.allow has {word:?}")),
        None => s.refused(&[Errno::EPERM]),
    }
}

/// The group whose name in a profile lets a call through; none for what never can be. Written down here and not asked
/// of the sandbox: what it lets through is what is to be found out.
fn group(call: &str) -> &'static str {
    match call {
        "perf_event_open" | "userfaultfd" | "fanotify_init" | "modify_ldt" | "memfd_secret" | "name_to_handle_at" => {
            "@risky"
        }
        "sched_setattr" | "move_pages" | "migrate_pages" | "remap_file_pages" | "process_mrelease" | "statmount"
        | "listmount" | "lsm_get_self_attr" | "lsm_list_modules" => "@rare",
        "add_key" | "request_key" | "keyctl" => "@keyring",
        "io_setup" => "@aio",
        "inotify_init1" => "@watch",
        "ptrace" | "process_vm_readv" | "process_vm_writev" | "pidfd_getfd" | "kcmp" => "@debug",
        _ => "",
    }
}
