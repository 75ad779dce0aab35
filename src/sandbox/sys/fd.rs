//! Descriptors and files: open(2), read(2), close_range(2), mkdirat(2) and their family.
//!
//! For: the child's wrappers. The supervisor uses `std` and `nix` for the same.
//! Runs in: the child.
//!
//! The child has plain descriptor numbers, not `OwnedFd`: nothing in it may have a destructor, and its
//! descriptors end with it.

use std::os::fd::{FromRawFd, OwnedFd};

use super::raw::{call, int, to_int, word};
use super::{Errno, Result, ZStr};

/// A descriptor number of the child.
pub(crate) type Fd = i32;

/// "The current directory", or ignored with an absolute path.
pub(crate) const CWD: Fd = libc::AT_FDCWD;

/// openat2(2), Linux 5.6: opens `path` below `dir` with O_CLOEXEC and the RESOLVE_* bits of `resolve`.
pub(crate) fn openat2(dir: Fd, path: ZStr<'_>, flags: i32, mode: u32, resolve: u64) -> Result<Fd> {
    #[repr(C)]
    struct OpenHow {
        flags: u64,
        mode: u64,
        resolve: u64,
    }
    let flags = u64::from((flags | libc::O_CLOEXEC).cast_unsigned());
    let how = OpenHow { flags, mode: u64::from(mode), resolve };
    let a = [int(dir), path.arg(), (&raw const how).addr(), size_of::<OpenHow>(), 0, 0];
    // SAFETY: the kernel reads the NUL-ended `path` and `how`, both alive over the call; the new
    // descriptor belongs to this process.
    unsafe { call(libc::SYS_openat2, a) }.map(to_int)
}

/// openat(2) with O_CLOEXEC.
pub(crate) fn openat(dir: Fd, path: ZStr<'_>, flags: i32, mode: u32) -> Result<Fd> {
    let a = [int(dir), path.arg(), int(flags | libc::O_CLOEXEC), word(u64::from(mode)), 0, 0];
    // SAFETY: the kernel reads the NUL-ended `path`, alive over the call; the new descriptor belongs
    // to this process.
    unsafe { call(libc::SYS_openat, a) }.map(to_int)
}

/// close(2).
pub(crate) fn close(fd: Fd) -> Result<()> {
    // SAFETY: no pointers; the callers hold plain numbers, no `OwnedFd` in this process has it.
    unsafe { call(libc::SYS_close, [int(fd), 0, 0, 0, 0, 0]) }.map(drop_result)
}

/// flock(2), LOCK_EX without waiting: EWOULDBLOCK when somebody else has it. It goes with the last copy of `fd`.
/// Supervisor.
pub(crate) fn try_lock(fd: Fd) -> Result<()> {
    let a = [int(fd), int(libc::LOCK_EX | libc::LOCK_NB), 0, 0, 0, 0];
    // SAFETY: no pointers; a lock changes nothing of who owns `fd`.
    unsafe { call(libc::SYS_flock, a) }.map(drop_result)
}

/// close_range(2), Linux 5.9: closes `first..=last`, or marks them close-on-exec (Linux 5.11).
pub(crate) fn close_range(first: u32, last: u32, cloexec: bool) -> Result<()> {
    let flags = if cloexec { u64::from(libc::CLOSE_RANGE_CLOEXEC) } else { 0 };
    let a = [word(u64::from(first)), word(u64::from(last)), word(flags), 0, 0, 0];
    // SAFETY: no pointers; the child owns its whole descriptor table (it is a copy) and holds no
    // `OwnedFd`.
    unsafe { call(libc::SYS_close_range, a) }.map(drop_result)
}

/// dup3(2) without flags: `to` becomes `from` and survives exec.
pub(crate) fn dup_onto(from: Fd, to: Fd) -> Result<()> {
    // SAFETY: no pointers; whatever `to` was is closed, and the child holds no `OwnedFd`.
    unsafe { call(libc::SYS_dup3, [int(from), int(to), 0, 0, 0, 0]) }.map(drop_result)
}

/// read(2), again after EINTR.
pub(crate) fn read(fd: Fd, buffer: &mut [u8]) -> Result<usize> {
    loop {
        let a = [int(fd), buffer.as_mut_ptr().addr(), buffer.len(), 0, 0, 0];
        // SAFETY: the kernel writes at most `buffer.len()` bytes into `buffer`, which we borrow
        // exclusively.
        match unsafe { call(libc::SYS_read, a) } {
            Err(Errno(libc::EINTR)) => {}
            other => return other,
        }
    }
}

/// write(2), again after EINTR. A short write is the caller's to handle.
pub(crate) fn write(fd: Fd, bytes: &[u8]) -> Result<usize> {
    loop {
        let a = [int(fd), bytes.as_ptr().addr(), bytes.len(), 0, 0, 0];
        // SAFETY: the kernel reads `bytes`, alive over the call.
        match unsafe { call(libc::SYS_write, a) } {
            Err(Errno(libc::EINTR)) => {}
            other => return other,
        }
    }
}

/// mkdirat(2).
pub(crate) fn mkdirat(dir: Fd, path: ZStr<'_>, mode: u32) -> Result<()> {
    let a = [int(dir), path.arg(), word(u64::from(mode)), 0, 0, 0];
    // SAFETY: the kernel reads the NUL-ended `path`, alive over the call.
    unsafe { call(libc::SYS_mkdirat, a) }.map(drop_result)
}

/// mknodat(2): an empty regular file.
pub(crate) fn mknodat(dir: Fd, path: ZStr<'_>, mode: u32) -> Result<()> {
    let a = [int(dir), path.arg(), word(u64::from(libc::S_IFREG | mode)), 0, 0, 0];
    // SAFETY: the kernel reads the NUL-ended `path`, alive over the call.
    unsafe { call(libc::SYS_mknodat, a) }.map(drop_result)
}

/// symlinkat(2): `path` below `dir` becomes a link to `target`.
pub(crate) fn symlinkat(target: ZStr<'_>, dir: Fd, path: ZStr<'_>) -> Result<()> {
    let a = [target.arg(), int(dir), path.arg(), 0, 0, 0];
    // SAFETY: the kernel reads the two NUL-ended strings, alive over the call.
    unsafe { call(libc::SYS_symlinkat, a) }.map(drop_result)
}

/// fchdir(2).
pub(crate) fn fchdir(fd: Fd) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { call(libc::SYS_fchdir, [int(fd), 0, 0, 0, 0, 0]) }.map(drop_result)
}

/// Device number and inode of an open file, by statx(2) (Linux 4.11).
pub(crate) fn identity(fd: Fd) -> Result<(u32, u32, u64)> {
    let mut found = core::mem::MaybeUninit::<libc::statx>::zeroed();
    let mask = libc::STATX_INO;
    let a = [
        int(fd),
        ZStr::literal(b"\0").arg(),
        int(libc::AT_EMPTY_PATH),
        word(u64::from(mask)),
        found.as_mut_ptr().addr(),
        0,
    ];
    // SAFETY: the kernel reads the empty string and writes one `statx` into `found`, which is large
    // enough and borrowed exclusively.
    unsafe { call(libc::SYS_statx, a) }?;
    // SAFETY: it was zeroed, every bit pattern of a `statx` is valid, and the kernel filled it in.
    let found = unsafe { found.assume_init() };
    Ok((found.stx_dev_major, found.stx_dev_minor, found.stx_ino))
}

/// signalfd4(2): a descriptor that becomes readable when a signal of `mask` is pending.
pub(crate) fn signalfd(mask: u64) -> Result<Fd> {
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    let a = [int(-1), (&raw const mask).addr(), size_of::<u64>(), int(flags), 0, 0];
    // SAFETY: the kernel reads the 8 bytes of `mask`, alive over the call; the new descriptor belongs
    // to this process.
    unsafe { call(libc::SYS_signalfd4, a) }.map(to_int)
}

/// ppoll(2) without a time limit or signal mask, again after EINTR: which of `fds` are ready.
pub(crate) fn poll(fds: &mut [libc::pollfd]) -> Result<()> {
    loop {
        let a = [fds.as_mut_ptr().addr(), fds.len(), 0, 0, 0, 0];
        // SAFETY: the kernel reads and writes `fds.len()` entries of `fds`, which we borrow
        // exclusively; no time limit and no mask are null pointers.
        match unsafe { call(libc::SYS_ppoll, a) } {
            Err(Errno(libc::EINTR)) => {}
            other => return other.map(drop_result),
        }
    }
}

/// socket(2): an internet socket for datagrams.
pub(crate) fn internet_socket() -> Result<Fd> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers; the new descriptor belongs to this process.
    unsafe { call(libc::SYS_socket, [int(libc::AF_INET), int(kind), 0, 0, 0, 0]) }.map(to_int)
}

/// Brings the loopback device of the current network namespace up: SIOCSIFFLAGS, netdevice(7).
pub(crate) fn loopback_up() -> Result<()> {
    let socket = internet_socket()?;
    /// `struct ifreq` as SIOCSIFFLAGS reads it: the name, the flags, the rest of the union.
    #[repr(C)]
    struct Request {
        name: [u8; libc::IFNAMSIZ],
        flags: i16,
        rest: [u8; 22],
    }
    let mut name = [0_u8; libc::IFNAMSIZ];
    if let Some((head, _)) = name.split_first_chunk_mut::<2>() {
        *head = *b"lo";
    }
    const UP_AND_RUNNING: i16 = 0x41; // IFF_UP | IFF_RUNNING
    let request = Request { name, flags: UP_AND_RUNNING, rest: [0; 22] };
    let a = [int(socket), word(libc::SIOCSIFFLAGS), (&raw const request).addr(), 0, 0, 0];
    // SAFETY: the kernel reads one `ifreq` (40 bytes) from `request`, alive over the call.
    let result = unsafe { call(libc::SYS_ioctl, a) }.map(drop_result);
    close(socket)?;
    result
}

/// fcntl(2), F_DUPFD_CLOEXEC: a copy of `fd`, numbered 3 or higher. EBADF: it is not open. Supervisor.
pub(crate) fn duplicate(fd: Fd) -> Result<OwnedFd> {
    // SAFETY: no pointers; whoever owns `fd` keeps it, the copy is ours.
    unsafe { call(libc::SYS_fcntl, [int(fd), int(libc::F_DUPFD_CLOEXEC), 3, 0, 0, 0]) }.map(to_int).map(own)
}

/// For calls whose success says nothing more.
pub(super) const fn drop_result(_: usize) {}

/// Takes a descriptor that one of these wrappers has just made. Supervisor.
pub(crate) fn own(fd: Fd) -> OwnedFd {
    // SAFETY: the callers pass on what a call has just returned to them, and forget the number.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
