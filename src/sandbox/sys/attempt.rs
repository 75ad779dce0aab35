//! Attempts: system calls that are made to see them refused.
//!
//! For: `jail selftest`, whose inside half is this same program. What can be called is a fixed list, harmless where
//! nothing refuses it: the arguments are scalars, descriptors that no process has and addresses where nothing is
//! mapped, so the kernel reads and writes no memory of ours, and whatever a call would change it does not get to.
//! Not for: the sandbox itself. Neither the supervisor nor the child calls any of this.
//! Runs in: a program inside a jail, and outside of one as its positive control.

use super::raw::{Nr, call, int, to_int, word};
use super::{Errno, Result};

/// An address where nothing is mapped: the kernel answers EFAULT.
const BAD: usize = 8;
/// A descriptor that no process has: the kernel answers EBADF.
const NO_FD: usize = usize::MAX;
/// A number that no call takes for a size, a count or a set of flags.
const MUCH: usize = 0x7fff_ffff_ffff_ffff;
/// The type of no socket: outside it is refused before the kernel looks for (or loads) the family.
const NO_TYPE: usize = 15;

/// Name, number and arguments; the part of the name before the colon is that of the call.
type Entry = (&'static str, Nr, [usize; 6]);

/// A call with up to six arguments.
const fn c(name: &'static str, nr: Nr, arguments: &[usize]) -> Entry {
    let mut six = [0; 6];
    let (used, _) = six.split_at_mut(arguments.len());
    used.copy_from_slice(arguments);
    (name, nr, six)
}

/// Every call that [`make`] knows.
const CALLS: &[Entry] = &[
    // Namespaces: of this process alone.
    c("unshare:user", libc::SYS_unshare, &[0x1000_0000]),
    c("unshare:mount", libc::SYS_unshare, &[0x0002_0000]),
    c("unshare:pid", libc::SYS_unshare, &[0x2000_0000]),
    c("unshare:net", libc::SYS_unshare, &[0x4000_0000]),
    c("unshare:ipc", libc::SYS_unshare, &[0x0800_0000]),
    c("unshare:uts", libc::SYS_unshare, &[0x0400_0000]),
    c("unshare:cgroup", libc::SYS_unshare, &[0x0200_0000]),
    c("unshare:time", libc::SYS_unshare, &[0x80]),
    c("setns", libc::SYS_setns, &[NO_FD, 0]),
    c("clone3", 435, &[0, 0]),
    // Mounts.
    c("mount", libc::SYS_mount, &[0, 0, 0, 0, 0]),
    c("umount2", libc::SYS_umount2, &[0, 0]),
    c("pivot_root", libc::SYS_pivot_root, &[0, 0]),
    c("chroot", libc::SYS_chroot, &[0]),
    c("open_tree", 428, &[NO_FD, 0, 0]),
    c("move_mount", 429, &[NO_FD, 0, NO_FD, 0, 0]),
    c("fsopen", 430, &[0, 0]),
    c("fsconfig", 431, &[NO_FD, 0, 0, 0, 0]),
    c("fsmount", 432, &[NO_FD, 0, 0]),
    c("fspick", 433, &[NO_FD, 0, 0]),
    c("mount_setattr", 442, &[NO_FD, 0, 0, 0, 0]),
    c("open_tree_attr", 467, &[NO_FD, 0, 0, 0, 0]),
    c("statmount", 457, &[0, 0, 0, 0]),
    c("listmount", 458, &[0, 0, 0, 0]),
    // Files past their paths.
    c("name_to_handle_at", libc::SYS_name_to_handle_at, &[NO_FD, 0, 0, 0, 0]),
    c("open_by_handle_at", libc::SYS_open_by_handle_at, &[NO_FD, 0, 0]),
    c("openat2", 437, &[NO_FD, 0, 0, 0]),
    c("fanotify_init", libc::SYS_fanotify_init, &[MUCH, 0]),
    c("inotify_init1", libc::SYS_inotify_init1, &[MUCH]),
    c("fcntl:F_SETLEASE", libc::SYS_fcntl, &[NO_FD, 1024, 0]),
    c("fcntl:F_NOTIFY", libc::SYS_fcntl, &[NO_FD, 1026, 0]),
    // Large and rarely used parts of the kernel.
    c("bpf", libc::SYS_bpf, &[0xffff, 0, 0]),
    c("perf_event_open", libc::SYS_perf_event_open, &[0, 0, NO_FD, NO_FD, 0]),
    c("io_uring_setup", 425, &[1, 0]),
    c("io_uring_enter", 426, &[NO_FD, 0, 0, 0, 0, 0]),
    c("io_uring_register", 427, &[NO_FD, 0, 0, 0]),
    c("userfaultfd", libc::SYS_userfaultfd, &[0x1001]),
    c("memfd_secret", 447, &[MUCH]),
    c("io_setup", libc::SYS_io_setup, &[0, 0]),
    c("add_key", libc::SYS_add_key, &[0, 0, 0, 0, 0]),
    c("request_key", libc::SYS_request_key, &[0, 0, 0, 0]),
    c("keyctl", libc::SYS_keyctl, &[0, (-3_isize).cast_unsigned(), 0]),
    c("lsm_get_self_attr", 459, &[100, 0, 0, 0]),
    c("lsm_list_modules", 461, &[0, 0, 0]),
    c("move_pages", libc::SYS_move_pages, &[0, 0, 0, 0, 0, 0]),
    c("migrate_pages", libc::SYS_migrate_pages, &[0, 0, 0, 0]),
    c("remap_file_pages", libc::SYS_remap_file_pages, &[0, 0, 0, 0, 0]),
    c("lookup_dcookie", libc::SYS_lookup_dcookie, &[0, 0, 0]),
    // Code for the kernel.
    c("init_module", libc::SYS_init_module, &[0, 0, 0]),
    c("finit_module", libc::SYS_finit_module, &[NO_FD, 0, 0]),
    c("delete_module", libc::SYS_delete_module, &[BAD, 0]),
    c("kexec_load", libc::SYS_kexec_load, &[0, MUCH, 0, MUCH]),
    c("kexec_file_load", 320, &[NO_FD, NO_FD, 0, 0, MUCH]),
    // The host.
    c("settimeofday", libc::SYS_settimeofday, &[BAD, 0]),
    c("clock_settime", libc::SYS_clock_settime, &[0, BAD]),
    c("clock_adjtime", libc::SYS_clock_adjtime, &[0, BAD]),
    c("adjtimex", libc::SYS_adjtimex, &[BAD]),
    c("sethostname", libc::SYS_sethostname, &[0, usize::MAX]),
    c("setdomainname", libc::SYS_setdomainname, &[0, usize::MAX]),
    c("syslog", libc::SYS_syslog, &[99, 0, 0]),
    c("swapon", libc::SYS_swapon, &[BAD, MUCH]),
    c("swapoff", libc::SYS_swapoff, &[BAD]),
    c("acct", libc::SYS_acct, &[BAD]),
    c("quotactl", libc::SYS_quotactl, &[0xffff_ffff, BAD, 0, 0]),
    c("quotactl_fd", 443, &[NO_FD, 0xffff_ffff, 0, 0]),
    c("reboot", libc::SYS_reboot, &[0, 0, 0, 0]),
    #[cfg(target_arch = "x86_64")]
    c("iopl", libc::SYS_iopl, &[4]),
    #[cfg(target_arch = "x86_64")]
    c("ioperm", libc::SYS_ioperm, &[0, 0, 0]),
    #[cfg(target_arch = "x86_64")]
    c("modify_ldt", libc::SYS_modify_ldt, &[99, 0, 0]),
    // Other processes.
    c("ptrace", libc::SYS_ptrace, &[2, 0, 0, 0]),
    c("process_vm_readv", libc::SYS_process_vm_readv, &[0, 0, MUCH, 0, 0, 0]),
    c("process_vm_writev", libc::SYS_process_vm_writev, &[0, 0, MUCH, 0, 0, 0]),
    c("pidfd_getfd", 438, &[NO_FD, 0, 0]),
    c("process_mrelease", 448, &[NO_FD, 0]),
    c("kcmp", libc::SYS_kcmp, &[0, 0, 99, 0, 0]),
    // Scheduling.
    c("sched_setscheduler:fifo", libc::SYS_sched_setscheduler, &[0, 1, 0]),
    c("sched_setscheduler:rr", libc::SYS_sched_setscheduler, &[0, 2, 0]),
    c("sched_setscheduler:deadline", libc::SYS_sched_setscheduler, &[0, 6, 0]),
    c("sched_setattr", libc::SYS_sched_setattr, &[0, 0, 0]),
    c("setpriority", libc::SYS_setpriority, &[0, 0, (-20_isize).cast_unsigned()]),
    // The process itself.
    c("personality:no-randomize", libc::SYS_personality, &[0x0004_0000]),
    c("personality:read-implies-exec", libc::SYS_personality, &[0x0040_0000]),
    c("prctl:SET_MM", libc::SYS_prctl, &[35, MUCH, 0, 0, 0]),
    c("prctl:SET_SECUREBITS", libc::SYS_prctl, &[28, MUCH, 0, 0, 0]),
    c("prctl:SET_IO_FLUSHER", libc::SYS_prctl, &[57, 2, 0, 0, 0]),
    c("prctl:SET_SPECULATION_CTRL", libc::SYS_prctl, &[53, 99, 0, 0, 0]),
    c("prctl:SET_SYSCALL_USER_DISPATCH", libc::SYS_prctl, &[59, 99, 0, 0, 0]),
    c("prctl:SCHED_CORE", libc::SYS_prctl, &[62, 99, 0, 0, 0]),
    c("prctl:SET_MEMORY_MERGE", libc::SYS_prctl, &[67, 0, 1, 0, 0]),
    c("prctl:MCE_KILL", libc::SYS_prctl, &[33, 99, 0, 0, 0]),
    c("prctl:CAP_AMBIENT_RAISE", libc::SYS_prctl, &[47, 2, 99, 0, 0]),
    c("prctl:GET_NO_NEW_PRIVS", libc::SYS_prctl, &[39, 0, 0, 0, 0]),
    c("prctl:SET_PDEATHSIG", libc::SYS_prctl, &[1, 0, 0, 0, 0]),
    c("mlockall", libc::SYS_mlockall, &[1]),
    // Terminals.
    c("ioctl:TIOCSTI", libc::SYS_ioctl, &[NO_FD, 0x5412, 0]),
    c("ioctl:TIOCSTI+bits", libc::SYS_ioctl, &[NO_FD, 0x1_0000_5412, 0]),
    c("ioctl:TIOCLINUX", libc::SYS_ioctl, &[NO_FD, 0x541c, 0]),
    c("ioctl:TIOCCONS", libc::SYS_ioctl, &[NO_FD, 0x541d, 0]),
    c("ioctl:TIOCSETD", libc::SYS_ioctl, &[NO_FD, 0x5423, 0]),
    c("ioctl:FIFREEZE", libc::SYS_ioctl, &[NO_FD, 0xc004_5877, 0]),
    c("ioctl:FITHAW", libc::SYS_ioctl, &[NO_FD, 0xc004_5878, 0]),
    // Socket families.
    c("socket:packet", libc::SYS_socket, &[17, NO_TYPE, 0]),
    c("socket:key", libc::SYS_socket, &[15, NO_TYPE, 0]),
    c("socket:ax25", libc::SYS_socket, &[3, NO_TYPE, 0]),
    c("socket:rds", libc::SYS_socket, &[21, NO_TYPE, 0]),
    c("socket:pppox", libc::SYS_socket, &[24, NO_TYPE, 0]),
    c("socket:llc", libc::SYS_socket, &[26, NO_TYPE, 0]),
    c("socket:can", libc::SYS_socket, &[29, NO_TYPE, 0]),
    c("socket:tipc", libc::SYS_socket, &[30, NO_TYPE, 0]),
    c("socket:bluetooth", libc::SYS_socket, &[31, NO_TYPE, 0]),
    c("socket:alg", libc::SYS_socket, &[38, NO_TYPE, 0]),
    c("socket:nfc", libc::SYS_socket, &[39, NO_TYPE, 0]),
    c("socket:vsock", libc::SYS_socket, &[40, NO_TYPE, 0]),
    c("socket:qipcrtr", libc::SYS_socket, &[42, NO_TYPE, 0]),
    c("socket:smc", libc::SYS_socket, &[43, NO_TYPE, 0]),
    c("socket:xdp", libc::SYS_socket, &[44, NO_TYPE, 0]),
    c("socket:netlink-sock-diag", libc::SYS_socket, &[16, NO_TYPE, 4]),
    c("socket:netlink-xfrm", libc::SYS_socket, &[16, NO_TYPE, 6]),
    c("socket:netlink-audit", libc::SYS_socket, &[16, NO_TYPE, 9]),
    c("socket:netlink-netfilter", libc::SYS_socket, &[16, NO_TYPE, 12]),
    c("socket:netlink-uevent", libc::SYS_socket, &[16, NO_TYPE, 15]),
    c("socket:netlink-generic", libc::SYS_socket, &[16, NO_TYPE, 16]),
    c("socket:inet-raw", libc::SYS_socket, &[2, 3, 1]),
    c("socket:inet6-raw", libc::SYS_socket, &[10, 3, 58]),
    // What has to go on working.
    c("landlock_create_ruleset:version", 444, &[0, 0, 1]),
    c("getpid", libc::SYS_getpid, &[]),
];

/// Makes one call of the list. `None`: this architecture has no such call.
///
/// # Errors
/// What the kernel or the filter answers.
pub fn make(name: &str) -> Option<std::result::Result<u64, i32>> {
    let (_, nr, arguments) = CALLS.iter().find(|entry| entry.0 == name)?;
    // SAFETY: by the list above, no argument is an address of memory that we own; what a call changes, if it is
    // not refused, are attributes of this process that no code of ours leans on.
    Some(answer(unsafe { call(*nr, *arguments) }))
}

fn answer(result: Result<usize>) -> std::result::Result<u64, i32> {
    result.map(|value| value as u64).map_err(|errno| errno.0)
}

/// tgkill(2) at the first thread of a process.
///
/// # Errors
/// The errno.
pub fn tgkill(pid: i32, signal: i32) -> std::result::Result<u64, i32> {
    // SAFETY: no pointers; a signal is an event of the other process.
    answer(unsafe { call(libc::SYS_tgkill, [int(pid), int(pid), int(signal), 0, 0, 0]) })
}

/// pidfd_open(2), Linux 5.3. The descriptor stays open for the life of this process.
///
/// # Errors
/// The errno.
pub fn pidfd_open(pid: i32) -> std::result::Result<u64, i32> {
    // SAFETY: no pointers; the new descriptor is nobody's `OwnedFd`.
    answer(unsafe { call(libc::SYS_pidfd_open, [int(pid), 0, 0, 0, 0, 0]) })
}

/// fcntl(2) F_SETOWN: lets the kernel signal `pid` about standard input.
///
/// # Errors
/// The errno.
pub fn own_stdin(pid: i32) -> std::result::Result<u64, i32> {
    // SAFETY: no pointers; the owner of a file is no memory of ours.
    answer(unsafe { call(libc::SYS_fcntl, [0, int(libc::F_SETOWN), int(pid), 0, 0, 0]) })
}

/// shmget(2): makes a System V segment of a page under that key, or asks whether there is one.
///
/// # Errors
/// The errno.
pub fn segment(key: i32, make: bool) -> std::result::Result<u64, i32> {
    let flags = if make { libc::IPC_CREAT | libc::IPC_EXCL | 0o600 } else { 0 };
    // SAFETY: no pointers; the segment is not attached.
    answer(unsafe { call(libc::SYS_shmget, [int(key), 4096 * usize::from(make), int(flags), 0, 0, 0]) })
}

/// fork(2): a child that sleeps for so long, and ends. Its process id.
///
/// # Errors
/// The errno: the limit on tasks, as a rule.
pub fn idle_child(seconds: u8) -> std::result::Result<i32, i32> {
    child(0, seconds)
}

/// clone(2) with CLONE_NEW* flags, which alone are taken: a child that ends at once. Its process id.
///
/// # Errors
/// The errno.
pub fn child_in_namespaces(flags: u32) -> std::result::Result<i32, i32> {
    const NAMESPACES: u32 = 0x7e02_0000;
    child(flags & NAMESPACES, 0)
}

fn child(flags: u32, seconds: u8) -> std::result::Result<i32, i32> {
    let flags = word(u64::from(flags)) | int(libc::SIGCHLD);
    // SAFETY: no pointers and no shared memory: the child has a copy of everything, and goes on below with
    // system calls alone.
    match unsafe { call(libc::SYS_clone, [flags, 0, 0, 0, 0, 0]) } {
        Ok(0) => sleep_and_exit(seconds),
        Ok(pid) => Ok(to_int(pid)),
        Err(Errno(errno)) => Err(errno),
    }
}

fn sleep_and_exit(seconds: u8) -> ! {
    let time = libc::timespec { tv_sec: i64::from(seconds), tv_nsec: 0 };
    loop {
        // SAFETY: the kernel reads `time`, alive over the call; there are no descriptors.
        let _woken = unsafe { call(libc::SYS_ppoll, [0, 0, (&raw const time).addr(), 0, 0, 0]) };
        // SAFETY: no pointers; does not return where it is allowed, and it always is.
        let _ended = unsafe { call(libc::SYS_exit_group, [0, 0, 0, 0, 0, 0]) };
    }
}

/// getpid(2) through the interface of 32-bit programs. `None`: this architecture has none.
///
/// # Errors
/// The errno. Where the kernel was built without that interface, the process gets SIGSEGV.
#[cfg(target_arch = "x86_64")]
pub fn int80() -> Option<std::result::Result<u64, i32>> {
    let value: u64;
    // SAFETY: number 20 is getpid, which has no arguments; the kernel clobbers r8 to r11; the stack is untouched.
    unsafe {
        core::arch::asm!(
            "int 0x80",
            inlateout("rax") 20_u64 => value,
            lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _,
        );
    }
    // The answer is an int: a process id, or an errno below zero.
    let low = u32::try_from(value & 0xffff_ffff).unwrap_or(u32::MAX).cast_signed();
    Some(u64::try_from(low).map_err(|_negative| low.wrapping_neg()))
}

/// getpid(2) through the x32 interface. `None`: this architecture has none.
///
/// # Errors
/// The errno: ENOSYS where the kernel was built without that interface.
#[cfg(target_arch = "x86_64")]
pub fn x32() -> Option<std::result::Result<u64, i32>> {
    // SAFETY: number 39 with the bit of x32 is getpid, which has no arguments.
    Some(answer(unsafe { call(0x4000_0000 + libc::SYS_getpid, [0; 6]) }))
}

/// No foreign interface here.
///
/// # Errors
/// None.
#[cfg(not(target_arch = "x86_64"))]
pub fn int80() -> Option<std::result::Result<u64, i32>> {
    None
}

/// No foreign interface here.
///
/// # Errors
/// None.
#[cfg(not(target_arch = "x86_64"))]
pub fn x32() -> Option<std::result::Result<u64, i32>> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_no_argument_is_a_plausible_address() {
        for (index, (name, _, arguments)) in CALLS.iter().enumerate() {
            assert!(CALLS.iter().skip(index + 1).all(|other| other.0 != *name), "{name} is there twice");
            // Between the lowest page that can be mapped and the end of the address space of a process.
            let plausible =
                |value: &usize| (0x1_0000_0000..0x8000_0000_0000).contains(value) && *value != 0x1_0000_5412;
            assert!(!arguments.iter().any(plausible), "{name}: {arguments:x?}");
        }
    }

    #[test]
    fn children_end_by_themselves() {
        let child = idle_child(0).unwrap();
        let mut status = 0;
        // SAFETY: the kernel writes the status into `status`, alive over the call.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0);
        assert_eq!(make("no such call"), None);
    }
}
