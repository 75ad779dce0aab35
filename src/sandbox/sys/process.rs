//! Processes: clone3(2), execve(2), wait4(2), credentials(7), signal(7), setrlimit(2).
//!
//! For: starting, ending and reaping, on both sides of the clone.
//! Runs in: the child and the supervisor; each wrapper says which.

use std::cell::UnsafeCell;
use std::ffi::{CString, OsStr};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, Ordering};

use super::fd::{Fd, drop_result};
pub(crate) use super::raw::Entry;
use super::raw::{call, clone_beside, int, to_int, word};
use super::{Errno, Result, ZStr};

/// A process as both the kernel's number and a handle that cannot be reused. Whoever lets go of one that
/// was not reaped has it killed and reaped.
#[derive(Debug)]
pub(crate) struct Process {
    /// Valid until it is reaped.
    pub(crate) pid: i32,
    /// pidfd_open(2); readable once the process has ended.
    pub(crate) pidfd: OwnedFd,
    reaped: bool,
}

impl Process {
    /// pidfd_send_signal(2), Linux 5.1: reaches exactly this process, or nobody. Supervisor.
    pub(crate) fn signal(&self, signal: i32) -> Result<()> {
        let a = [int(self.pidfd.as_raw_fd()), int(signal), 0, 0, 0, 0];
        // SAFETY: no signal information is given (null), so no pointer is followed.
        unsafe { call(libc::SYS_pidfd_send_signal, a) }.map(drop_result)
    }

    /// wait4(2), with its usage; waits for its end. Supervisor.
    pub(crate) fn reap(mut self) -> Result<Reaped> {
        self.reaped = true;
        reap(self.pid)
    }
}

/// pidfd_open(2), Linux 5.3, and SIGKILL to it: to this process if `still` says so when it can no longer be another.
/// Supervisor.
pub(crate) fn kill_exactly(pid: i32, still: impl FnOnce() -> bool) -> Result<()> {
    // SAFETY: no pointers.
    let pidfd = unsafe { call(libc::SYS_pidfd_open, [int(pid), 0, 0, 0, 0, 0]) }?;
    // SAFETY: the kernel has just made this descriptor for us; nothing else owns it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(to_int(pidfd)) };
    if !still() {
        return Err(Errno(libc::ESRCH));
    }
    let a = [int(pidfd.as_raw_fd()), int(libc::SIGKILL), 0, 0, 0, 0];
    // SAFETY: no signal information is given (null), so no pointer is followed.
    unsafe { call(libc::SYS_pidfd_send_signal, a) }.map(drop_result)
}

impl Drop for Process {
    fn drop(&mut self) {
        // ESRCH: it has ended, and waits to be reaped.
        if !self.reaped && matches!(self.signal(libc::SIGKILL), Ok(()) | Err(Errno(libc::ESRCH))) {
            // Nobody else can have reaped it: it has no exit signal that a `waitpid(-1)` would see.
            if reap(self.pid).is_err() {}
        }
    }
}

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Whether clone3(2) is there. ENOSYS: an older kernel, or a filter that hides it, as those of container
/// runtimes do, which cannot see its flags. It starts nothing: an argument block of no size is EINVAL.
pub(crate) fn has_clone3() -> bool {
    // SAFETY: with a size of 0 the kernel reads nothing.
    let answer = unsafe { call(libc::SYS_clone3, [0; 6]) };
    answer != Err(Errno(libc::ENOSYS))
}

/// How the supervisor starts a process, decided by the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// clone3(2), Linux 5.3: into a cgroup, and without the caller's signal handlers.
    Clone3,
    /// clone(2), where clone3 is hidden. The child has every signal held back, and the caller's handlers.
    Clone,
}

impl Start {
    /// The call.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Clone3 => "clone3",
            Self::Clone => "clone",
        }
    }
}

/// A copy of this process in the namespaces of `flags`, as the supervisor makes it; with [`Start::Clone3`]
/// born into the cgroup v2 directory `cgroup` if given (Linux 5.7). It ends with the value of `child`. No exit
/// signal: the end is seen on the pidfd only, so that a caller's own SIGCHLD handling and `waitpid(-1)` never
/// meet it.
///
/// `child` runs in a copy of a process whose other threads are gone in mid-step: it may use neither
/// heap nor locks, nor anything of `std` that does.
pub(crate) fn spawn(start: Start, flags: u64, cgroup: Option<Fd>, child: impl FnOnce() -> i32) -> Result<Process> {
    match start {
        Start::Clone3 => spawn_by_clone3(flags, cgroup, child),
        Start::Clone => spawn_by_clone(flags, child),
    }
}

fn spawn_by_clone(flags: u64, child: impl FnOnce() -> i32) -> Result<Process> {
    // A handler of the caller's must not run in the child, which could not tell its caller about it.
    let before = signal_mask()?;
    set_signal_mask(!0)?;
    let mut pidfd: i32 = -1;
    let flags = flags | u64::from(libc::CLONE_PIDFD.cast_unsigned());
    let a = [word(flags), 0, (&raw mut pidfd).addr(), 0, 0, 0];
    // SAFETY: the kernel writes the descriptor number into `pidfd`, which lives on this stack over the call.
    // Without CLONE_VM the child has a copy of all memory and runs on its copy of this stack, so nothing is
    // shared; it leaves by exit_group and never returns from here.
    let pid = unsafe { call(libc::SYS_clone, a) };
    if pid == Ok(0) {
        exit(child());
    }
    let process = pid.map(|pid| {
        // SAFETY: the kernel has just made this descriptor for us; nothing else owns it.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        Process { pid: to_int(pid), pidfd, reaped: false }
    });
    set_signal_mask(before)?;
    process
}

fn spawn_by_clone3(flags: u64, cgroup: Option<Fd>, child: impl FnOnce() -> i32) -> Result<Process> {
    let mut pidfd: i32 = -1;
    let into = if cgroup.is_some() { CLONE_INTO_CGROUP } else { 0 };
    let args = CloneArgs {
        flags: flags | u64::from(libc::CLONE_PIDFD.cast_unsigned()) | CLONE_CLEAR_SIGHAND | into,
        pidfd: (&raw mut pidfd).addr() as u64,
        cgroup: u64::from(cgroup.unwrap_or(0).cast_unsigned()),
        ..CloneArgs::default()
    };
    let a = [(&raw const args).addr(), size_of::<CloneArgs>(), 0, 0, 0, 0];
    // SAFETY: the kernel reads `args` and writes the descriptor number into `pidfd`; both live on this
    // stack over the call. Without CLONE_VM the child has a copy of all memory and runs on its copy of
    // this stack, so nothing is shared; it leaves by exit_group and never returns from here.
    let pid = unsafe { call(libc::SYS_clone3, a) }?;
    if pid == 0 {
        exit(child());
    }
    // SAFETY: the kernel has just made this descriptor for us; nothing else owns it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Process { pid: to_int(pid), pidfd, reaped: false })
}

/// A process beside this one, in the same memory: nothing is copied, which a [`spawn`] has to. Whoever lets go of it
/// has it killed and reaped.
#[derive(Debug)]
pub(crate) struct Beside {
    pub(crate) process: Process,
    /// What it runs on. Let go of after it was reaped.
    _stack: Box<[MaybeUninit<u8>]>,
}

/// Starts `child` in the namespaces of `flags` and in this process's memory (CLONE_VM). It has every signal held back
/// and no exit signal, and ends with its value. Supervisor.
///
/// `child` runs beside this process, on a stack of its own and with this thread's thread-local memory: it makes
/// system calls by [`call`] and touches nothing but its stack.
pub(crate) fn spawn_beside(flags: i32, child: extern "C" fn(*mut libc::c_void) -> i32, fd: Fd) -> Result<Beside> {
    let mut stack = Box::new_uninit_slice(16 * 1024);
    // It grows down, from a multiple of 16 (the x86-64 and AArch64 calling conventions).
    let top = stack.as_mut_ptr_range().end.map_addr(|address| address & !15).cast::<libc::c_void>();
    let argument = std::ptr::without_provenance_mut(int(fd));
    let flags = flags | libc::CLONE_VM | libc::CLONE_PIDFD;
    let mut pidfd: i32 = -1;
    let before = signal_mask()?;
    // A handler of the caller's must not run in it.
    set_signal_mask(!0)?;
    // SAFETY: `top` is the upper end of `stack`, which nobody else uses and which lives until the process has been
    // reaped; the kernel writes the descriptor number into `pidfd`, which lives on this stack over the call;
    // `argument` is a number that nobody follows. The child never returns from `clone`: the C library ends it
    // with the value of `child`, which as its own contract says leaves all memory but its stack alone.
    let pid = unsafe { libc::clone(child, top, flags, argument, &raw mut pidfd) };
    let failed = Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO));
    let restored = set_signal_mask(before);
    if pid < 0 {
        return Err(failed);
    }
    // SAFETY: the kernel has just made this descriptor for us; nothing else owns it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    let beside = Beside { process: Process { pid, pidfd, reaped: false }, _stack: stack };
    restored?;
    Ok(beside)
}

const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// What a process of [`fork_beside`] runs on: in each init the copy that is its own, and nobody's in the supervisor.
/// `scripts/check-child` holds all that the child calls to less than half of it.
#[repr(C, align(16))]
struct Stack(UnsafeCell<[MaybeUninit<u8>; 16 * 1024]>);

// SAFETY: what is in it is reached through `fork_beside` alone, which gives it away once.
unsafe impl Sync for Stack {}

static STACK: Stack = Stack(UnsafeCell::new([MaybeUninit::uninit(); 16 * 1024]));
static STACK_GIVEN: AtomicBool = AtomicBool::new(false);

/// clone(2), as init calls it: a process in this one's memory (CLONE_VM) that enters `E` with its own copy of `own`, and
/// whose end this one sees as SIGCHLD. The value is its pid. There can be one in a process. Child.
///
/// Both go on at once: of the memory that it shares the new process reads what nobody changes any more. Nothing is
/// copied for it, as a fork would, neither page tables nor, one by one, the pages that either writes to.
pub(crate) fn fork_beside<E: Entry>(own: E) -> Result<i32> {
    const { assert!(size_of::<E>() <= 2048 && align_of::<E>() <= 16, "it stands at the upper end of the stack") };
    if STACK_GIVEN.swap(true, Ordering::Relaxed) {
        return Err(Errno(libc::EBUSY));
    }
    let place = STACK.0.get().cast::<E>();
    let place = place.map_addr(|start| start.saturating_add(size_of::<Stack>().saturating_sub(size_of::<E>())) & !15);
    // SAFETY: `place` is in `STACK`, which was just given to us alone, has room for an `E` above it, and is aligned.
    unsafe { place.write(own) };
    // SAFETY: no flag but CLONE_VM and the exit signal; `place` holds an `E` and is a multiple of 16. What is below it
    // is the new process's for good, and more than the child calls for.
    unsafe { clone_beside(int(libc::CLONE_VM | libc::SIGCHLD), place) }.map(to_int)
}

/// exit_group(2). Never inlined: `scripts/check-child` looks for it by name.
#[inline(never)]
pub(crate) fn exit(code: i32) -> ! {
    loop {
        // SAFETY: no pointers; it does not return, and the loop says so to the compiler.
        if unsafe { call(libc::SYS_exit_group, [int(code), 0, 0, 0, 0, 0]) }.is_ok() {}
    }
}

/// clock_gettime(2), CLOCK_MONOTONIC, as microseconds modulo 2^32. Child and supervisor.
pub(crate) fn clock_us() -> Result<u32> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let a = [int(libc::CLOCK_MONOTONIC), (&raw mut time).addr(), 0, 0, 0, 0];
    // SAFETY: the kernel writes one `timespec` into `time`, which is ours.
    unsafe { call(libc::SYS_clock_gettime, a) }?;
    let micros = time.tv_sec.wrapping_mul(1_000_000).wrapping_add(time.tv_nsec / 1000);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the lower half is what is asked for")]
    Ok(micros as u32)
}

/// The strings of an exec, laid out as execve(2) wants them before anything is cloned.
pub(crate) struct ExecBlock {
    path: CString,
    /// Owns what `argv` and `envp` point to; never changed after they were made.
    strings: Vec<CString>,
    argv: Vec<*const libc::c_char>,
    envp: Vec<*const libc::c_char>,
}

// SAFETY: the pointers lead into `strings`, which the block owns and never changes; the heap buffers
// of its CStrings do not move with it.
unsafe impl Send for ExecBlock {}
// SAFETY: as above; nothing is changed through a shared reference.
unsafe impl Sync for ExecBlock {}

impl std::fmt::Debug for ExecBlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExecBlock").field("path", &self.path).field("strings", &self.strings).finish()
    }
}

impl ExecBlock {
    /// `None` when a string has a NUL in it.
    pub(crate) fn new<'a>(
        path: &OsStr,
        argv: impl IntoIterator<Item = &'a OsStr>,
        envp: impl IntoIterator<Item = &'a OsStr>,
    ) -> Option<Self> {
        let path = CString::new(path.as_bytes()).ok()?;
        let mut strings = Vec::new();
        let mut table = |list: &mut dyn Iterator<Item = &'a OsStr>| {
            let mut pointers = Vec::new();
            for item in list {
                let string = CString::new(item.as_bytes()).ok()?;
                pointers.push(string.as_ptr());
                strings.push(string);
            }
            pointers.push(std::ptr::null());
            Some(pointers)
        };
        let argv = table(&mut argv.into_iter())?;
        let envp = table(&mut envp.into_iter())?;
        Some(Self { path, strings, argv, envp })
    }

    /// The program, as exec will name it.
    pub(crate) fn path(&self) -> &OsStr {
        OsStr::from_bytes(self.path.as_bytes())
    }
}

/// execve(2): does not return when it succeeds. Child.
pub(crate) fn exec(block: &ExecBlock) -> Errno {
    let a = [block.path.as_ptr().addr(), block.argv.as_ptr().addr(), block.envp.as_ptr().addr(), 0, 0, 0];
    // SAFETY: the kernel reads the NUL-ended path and the two null-ended tables of NUL-ended strings,
    // all owned by `block` and alive over the call.
    match unsafe { call(libc::SYS_execve, a) } {
        Err(errno) => errno,
        Ok(_) => Errno(0),
    }
}

/// setsid(2). Child.
pub(crate) fn new_session() -> Result<()> {
    // SAFETY: no pointers.
    unsafe { call(libc::SYS_setsid, [0; 6]) }.map(drop_result)
}

/// setgroups(2) with none. The raw call: libc's takes a lock and walks the thread list. Child.
pub(crate) fn drop_groups() -> Result<()> {
    // SAFETY: a count of 0 makes the kernel read nothing.
    unsafe { call(libc::SYS_setgroups, [0; 6]) }.map(drop_result)
}

/// setresgid(2), all three. Child.
pub(crate) fn set_gid(gid: u32) -> Result<()> {
    let gid = word(u64::from(gid));
    // SAFETY: no pointers.
    unsafe { call(libc::SYS_setresgid, [gid, gid, gid, 0, 0, 0]) }.map(drop_result)
}

/// setresuid(2), all three. Child.
pub(crate) fn set_uid(uid: u32) -> Result<()> {
    let uid = word(u64::from(uid));
    // SAFETY: no pointers.
    unsafe { call(libc::SYS_setresuid, [uid, uid, uid, 0, 0, 0]) }.map(drop_result)
}

/// geteuid(2) and getegid(2). Child.
pub(crate) fn effective_ids() -> Result<(u32, u32)> {
    // SAFETY: no pointers; it cannot fail.
    let uid = unsafe { call(libc::SYS_geteuid, [0; 6]) }?;
    // SAFETY: no pointers; it cannot fail.
    let gid = unsafe { call(libc::SYS_getegid, [0; 6]) }?;
    Ok((to_int(uid).cast_unsigned(), to_int(gid).cast_unsigned()))
}

/// unshare(2) of the cgroup namespace, Linux 4.6. Child.
pub(crate) fn unshare_cgroup() -> Result<()> {
    unshare(libc::CLONE_NEWCGROUP)
}

/// unshare(2) of the network namespace, Linux 2.6.24. Child.
pub(crate) fn unshare_net() -> Result<()> {
    unshare(libc::CLONE_NEWNET)
}

fn unshare(namespace: i32) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { call(libc::SYS_unshare, [int(namespace), 0, 0, 0, 0, 0]) }.map(drop_result)
}

/// sethostname(2). Child.
pub(crate) fn set_hostname(name: ZStr<'_>) -> Result<()> {
    let a = [name.arg(), name.bytes().len(), 0, 0, 0, 0];
    // SAFETY: the kernel reads `len` bytes of `name`, alive over the call.
    unsafe { call(libc::SYS_sethostname, a) }.map(drop_result)
}

/// umask(2). Child.
pub(crate) fn set_umask(mask: u32) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { call(libc::SYS_umask, [word(u64::from(mask)), 0, 0, 0, 0, 0]) }.map(drop_result)
}

/// The type of RLIMIT_… in the headers of the C library.
#[cfg(target_env = "musl")]
pub(crate) type Rlimit = libc::c_int;
#[cfg(not(target_env = "musl"))]
pub(crate) type Rlimit = libc::__rlimit_resource_t;

/// prlimit(2) of this process. Child.
pub(crate) fn set_rlimit(resource: Rlimit, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    let a = [0, number(resource), (&raw const limit).addr(), 0, 0, 0];
    // SAFETY: the kernel reads one `rlimit64`, alive over the call; no old value is asked for.
    unsafe { call(libc::SYS_prlimit64, a) }.map(drop_result)
}

/// None is negative.
fn number(resource: Rlimit) -> usize {
    usize::try_from(resource).unwrap_or(usize::MAX)
}

/// prlimit(2) of this process, read: soft and hard. Child.
pub(crate) fn rlimit(resource: Rlimit) -> Result<(u64, u64)> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    let a = [0, number(resource), 0, (&raw mut limit).addr(), 0, 0];
    // SAFETY: the kernel writes one `rlimit64` into `limit`, which is ours; no new value is given.
    unsafe { call(libc::SYS_prlimit64, a) }?;
    Ok((limit.rlim_cur, limit.rlim_max))
}

/// rt_sigprocmask(2), SIG_SETMASK: exactly the signals of `mask` (bit 0 is signal 1) are held back. Child, and
/// the supervisor around clone(2).
pub(crate) fn set_signal_mask(mask: u64) -> Result<()> {
    let a = [int(libc::SIG_SETMASK), (&raw const mask).addr(), 0, size_of::<u64>(), 0, 0];
    // SAFETY: the kernel reads 8 bytes of `mask`, alive over the call; no old value is asked for.
    unsafe { call(libc::SYS_rt_sigprocmask, a) }.map(drop_result)
}

/// rt_sigprocmask(2), read. Supervisor.
fn signal_mask() -> Result<u64> {
    let mut mask: u64 = 0;
    let a = [int(libc::SIG_SETMASK), 0, (&raw mut mask).addr(), size_of::<u64>(), 0, 0];
    // SAFETY: the kernel writes 8 bytes into `mask`, which is ours; no new value is given.
    unsafe { call(libc::SYS_rt_sigprocmask, a) }?;
    Ok(mask)
}

/// rt_sigaction(2) with SIG_DFL. Child.
pub(crate) fn default_signal(signal: i32) -> Result<()> {
    /// The kernel's `sigaction`; all zero is SIG_DFL without flags, on both architectures.
    #[repr(C)]
    struct Action([u64; 4]);
    let action = Action([0; 4]);
    let a = [int(signal), (&raw const action).addr(), 0, size_of::<u64>(), 0, 0];
    // SAFETY: the kernel reads one action of 32 bytes, alive over the call; no old one is asked for.
    unsafe { call(libc::SYS_rt_sigaction, a) }.map(drop_result)
}

/// kill(2). Child (init forwards signals to the payload).
pub(crate) fn kill(pid: i32, signal: i32) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { call(libc::SYS_kill, [int(pid), int(signal), 0, 0, 0, 0]) }.map(drop_result)
}

/// kill(2) with pid -1 and SIGKILL: every process that this one may signal, but itself. In one step under the
/// kernel's lock on the process tree, and a fork that it meets fails, so that nothing slips through. Child.
pub(crate) fn kill_all() -> Result<()> {
    kill(-1, libc::SIGKILL)
}

/// Whether this process may signal its parent: kill(2) with signal 0, which sends nothing. Child.
pub(crate) fn may_signal_parent() -> Result<bool> {
    // SAFETY: no pointers; it cannot fail.
    let parent = unsafe { call(libc::SYS_getppid, [0; 6]) }?;
    match kill(to_int(parent), 0) {
        Ok(()) => Ok(true),
        Err(Errno(libc::EPERM)) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// wait4(2) until there is no child left. Child.
pub(crate) fn reap_all() -> Result<()> {
    loop {
        let a = [int(-1), 0, int(libc::__WALL), 0, 0, 0];
        // SAFETY: neither status nor usage is asked for, so no pointer is followed.
        match unsafe { call(libc::SYS_wait4, a) } {
            Ok(_) | Err(Errno(libc::EINTR)) => {}
            Err(Errno(libc::ECHILD)) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
}

/// wait4(2) for any child, without waiting: its pid and raw status, or `None` when none has ended. Child.
pub(crate) fn reap_any() -> Result<Option<(i32, i32)>> {
    let mut status: i32 = 0;
    let flags = libc::WNOHANG | libc::__WALL;
    let a = [int(-1), (&raw mut status).addr(), int(flags), 0, 0, 0];
    // SAFETY: the kernel writes one int into `status`; no usage is asked for.
    let pid = unsafe { call(libc::SYS_wait4, a) }?;
    Ok(if pid == 0 { None } else { Some((to_int(pid), status)) })
}

/// What wait4(2) says of a process and all that it waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reaped {
    /// User CPU time, microseconds.
    pub(crate) user_us: u64,
    /// System CPU time, microseconds.
    pub(crate) system_us: u64,
    /// Largest resident set of one process, KiB.
    pub(crate) max_rss_kib: u64,
    /// Bytes fetched from and sent to storage.
    pub(crate) storage_read: u64,
    pub(crate) storage_write: u64,
    pub(crate) minor_faults: u64,
    pub(crate) major_faults: u64,
    pub(crate) voluntary_switches: u64,
    pub(crate) involuntary_switches: u64,
}

fn reap(pid: i32) -> Result<Reaped> {
    let mut status: i32 = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    let a = [int(pid), (&raw mut status).addr(), int(libc::__WALL), usage.as_mut_ptr().addr(), 0, 0];
    loop {
        // SAFETY: the kernel writes one int into `status` and one `rusage` into `usage`, both ours.
        match unsafe { call(libc::SYS_wait4, a) } {
            Err(Errno(libc::EINTR)) => {}
            Err(errno) => return Err(errno),
            Ok(_) => break,
        }
    }
    // SAFETY: it was zeroed, every bit pattern of an `rusage` is valid, and the kernel filled it in.
    let usage = unsafe { usage.assume_init() };
    let micros = |time: libc::timeval| {
        u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_usec).unwrap_or(0)
    };
    let count = |value: libc::c_long| u64::try_from(value).unwrap_or(0);
    Ok(Reaped {
        user_us: micros(usage.ru_utime),
        system_us: micros(usage.ru_stime),
        max_rss_kib: count(usage.ru_maxrss),
        // Counted in sectors of 512 bytes, whatever the device's are.
        storage_read: count(usage.ru_inblock) * 512,
        storage_write: count(usage.ru_oublock) * 512,
        minor_faults: count(usage.ru_minflt),
        major_faults: count(usage.ru_majflt),
        voluntary_switches: count(usage.ru_nvcsw),
        involuntary_switches: count(usage.ru_nivcsw),
    })
}
