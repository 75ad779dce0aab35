//! Hosts that lack something: launchers that take a part of this kernel away and run a command in what is left.
//!
//! For: `probe deny CALL=ERRNO … -- COMMAND…`, the filter that a container runtime lays around everything in it,
//! and `probe landlock-abi N -- COMMAND…`, a kernel whose Landlock is of an older ABI.
//! Not for: hosts that mounts and ids alone make (the tests do those with the system's own tools).
//! Runs in: outside the jail, as its parent.

use std::ffi::OsString;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, exit};
use std::sync::mpsc;
use std::{fs, io, mem, thread};

use libc::{c_long, sock_filter};

use super::{Answer, Args, Refusal, usage};

const CALLS: [(&str, c_long); 15] = [
    ("clone3", libc::SYS_clone3),
    ("fsmount", libc::SYS_fsmount),
    ("fsopen", libc::SYS_fsopen),
    ("landlock_create_ruleset", libc::SYS_landlock_create_ruleset),
    ("landlock_restrict_self", libc::SYS_landlock_restrict_self),
    ("mount", libc::SYS_mount),
    ("mount_setattr", libc::SYS_mount_setattr),
    ("move_mount", libc::SYS_move_mount),
    ("open_tree", libc::SYS_open_tree),
    ("pivot_root", libc::SYS_pivot_root),
    ("prctl", libc::SYS_prctl),
    ("seccomp", libc::SYS_seccomp),
    ("sethostname", libc::SYS_sethostname),
    ("unshare", libc::SYS_unshare),
    // Only where a user namespace is asked for: what Docker's filter looks at.
    ("clone-newuser", libc::SYS_clone),
];

const ERRNOS: [(&str, i32); 5] = [
    ("EPERM", libc::EPERM),
    ("EACCES", libc::EACCES),
    ("EINVAL", libc::EINVAL),
    ("ENOSYS", libc::ENOSYS),
    ("EOPNOTSUPP", libc::EOPNOTSUPP),
];

const AUDIT_ARCH: u32 = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };
const NR: u32 = 0;
const ARCH: u32 = 4;
const ARG0: u32 = 16;

/// The words before `--`, and the command behind it.
fn split<'a>(args: &Args<'a>) -> (Vec<String>, &'a [OsString]) {
    let at = args.0.iter().position(|word| word == "--").unwrap_or_else(|| usage("-- is missing"));
    (args.0[..at].iter().map(|word| word.to_string_lossy().into_owned()).collect(), &args.0[at + 1..])
}

fn named<T: Copy>(table: &[(&str, T)], name: &str) -> T {
    let found = table.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| usage(&format!("{name} is not known here"))).1
}

fn load(offset: u32) -> sock_filter {
    sock_filter { code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, jt: 0, jf: 0, k: offset }
}

fn jump(kind: u32, value: u32, then: u8, otherwise: u8) -> sock_filter {
    sock_filter { code: (libc::BPF_JMP | kind | libc::BPF_K) as u16, jt: then, jf: otherwise, k: value }
}

fn give(action: u32) -> sock_filter {
    sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: action }
}

/// Lays `filter` around this thread and what it starts. The value is a listener, if `flags` ask for one.
fn install(filter: &[sock_filter], flags: libc::c_ulong) -> Result<i32, Refusal> {
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    // SAFETY: no pointers.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error().into());
    }
    // SAFETY: the kernel reads the program header and the instructions behind it, alive over the call.
    let value = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    if value < 0 { Err(io::Error::last_os_error().into()) } else { Ok(value as i32) }
}

/// Runs the command where calls answer an error.
pub(crate) fn deny(args: &Args<'_>) -> Answer {
    let (words, command) = split(args);
    let mut filter = vec![load(ARCH), jump(libc::BPF_JEQ, AUDIT_ARCH, 1, 0), give(libc::SECCOMP_RET_ALLOW)];
    for word in words {
        let (name, errno) = word.split_once('=').unwrap_or_else(|| usage("write CALL=ERRNO"));
        let refuse = give(libc::SECCOMP_RET_ERRNO | named(&ERRNOS, errno) as u32);
        let number = named(&CALLS, name) as u32;
        filter.push(load(NR));
        if name == "clone-newuser" {
            filter.extend([jump(libc::BPF_JEQ, number, 0, 3), load(ARG0)]);
            filter.extend([jump(libc::BPF_JSET, libc::CLONE_NEWUSER as u32, 0, 1), refuse]);
        } else {
            filter.extend([jump(libc::BPF_JEQ, number, 0, 1), refuse]);
        }
    }
    filter.push(give(libc::SECCOMP_RET_ALLOW));
    install(&filter, 0)?;
    Err(Command::new(&command[0]).args(&command[1..]).exec().into())
}

/// Runs the command where Landlock knows no more than ABI `N`: the version that it tells, and the rights, ports and
/// scopes that it takes. To look at what is asked for needs the right to read the asking process's memory, so root's.
pub(crate) fn landlock_abi(args: &Args<'_>) -> Answer {
    let (words, command) = split(args);
    let abi: i64 = words[0].parse().unwrap_or_else(|_bad| usage("an ABI is a number"));
    let (send, receive) = mpsc::channel();
    // Started before the filter, which then is not laid around it.
    thread::spawn(move || {
        if let Ok(listener) = receive.recv() {
            while answer_one(listener, abi).is_ok() {}
        }
    });
    let number = libc::SYS_landlock_create_ruleset as u32;
    let filter = [
        load(NR),
        jump(libc::BPF_JEQ, number, 0, 1),
        give(libc::SECCOMP_RET_USER_NOTIF),
        give(libc::SECCOMP_RET_ALLOW),
    ];
    let listener = install(&filter, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER)?;
    send.send(listener).unwrap_or_else(|_gone| usage("the listener is gone"));
    let status = Command::new(&command[0]).args(&command[1..]).status()?;
    exit(status.code().unwrap_or(99));
}

fn answer_one(listener: i32, abi: i64) -> io::Result<()> {
    const RECEIVE: libc::Ioctl = 0xc050_2100; // SECCOMP_IOCTL_NOTIF_RECV
    const SEND: libc::Ioctl = 0xc018_2101; // SECCOMP_IOCTL_NOTIF_SEND
    // SAFETY: all zero is a valid value of this plain structure.
    let mut asked: libc::seccomp_notif = unsafe { mem::zeroed() };
    // SAFETY: the kernel fills in one structure, borrowed exclusively over the call.
    if unsafe { libc::ioctl(listener, RECEIVE, &raw mut asked) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let (val, error, flags) = match (asked.data.args[2], ruleset_errno(&asked, abi)) {
        (1, _) => (abi, 0, 0),
        (_, Some(errno)) => (0, -errno, 0),
        (_, None) => (0, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
    };
    let reply = libc::seccomp_notif_resp { id: asked.id, val, error, flags };
    // SAFETY: the kernel reads one structure, alive over the call. That the asker is gone is no error of ours.
    unsafe { libc::ioctl(listener, SEND, &raw const reply) };
    Ok(())
}

/// What a kernel of this ABI says to the ruleset that is asked for, if it does not take it.
fn ruleset_errno(asked: &libc::seccomp_notif, abi: i64) -> Option<i32> {
    let (address, size) = (asked.data.args[0], asked.data.args[1] as usize);
    let mut bytes = [0; 24];
    let memory = fs::File::open(format!("/proc/{}/mem", asked.pid)).ok()?;
    memory.read_exact_at(&mut bytes[..size.min(24)], address).ok()?;
    let word = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap_or_default());
    let known: u64 = match abi {
        ..2 => 0x1fff,
        2 => 0x3fff,
        3 | 4 => 0x7fff,
        _ => 0xffff,
    };
    let longer = (abi < 4 && word(8) != 0) || (abi < 6 && word(16) != 0);
    if longer { Some(libc::E2BIG) } else { (word(0) & !known != 0).then_some(libc::EINVAL) }
}
