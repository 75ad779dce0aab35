//! Mounts: the file-descriptor mount API of Linux 5.2 and mount_setattr(2) of 5.12.
//!
//! For: the child, and the supervisor of a root caller (id-mapped trees).
//! Runs in: the child and the supervisor.

use super::fd::{CWD, Fd, drop_result};
use super::raw::{call, int, to_int, word};
use super::{Result, ZStr};

/// `MOUNT_ATTR_*` bits of mount_setattr(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attrs(pub(crate) u64);

impl Attrs {
    pub(crate) const RDONLY: Self = Self(libc::MOUNT_ATTR_RDONLY);
    pub(crate) const NOSUID: Self = Self(libc::MOUNT_ATTR_NOSUID);
    pub(crate) const NODEV: Self = Self(libc::MOUNT_ATTR_NODEV);
    pub(crate) const NOEXEC: Self = Self(libc::MOUNT_ATTR_NOEXEC);

    /// Both sets of bits.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all bits of `other` are in it.
    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

const EMPTY: ZStr<'static> = ZStr::literal(b"\0");

#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

fn mount_setattr(fd: Fd, path: ZStr<'_>, flags: i32, attr: &MountAttr) -> Result<()> {
    let a = [int(fd), path.arg(), int(flags), core::ptr::from_ref(attr).addr(), size_of::<MountAttr>(), 0];
    // SAFETY: the kernel reads the NUL-ended `path` and one `mount_attr`, both alive over the call.
    unsafe { call(libc::SYS_mount_setattr, a) }.map(drop_result)
}

/// Makes every mount of the current mount namespace private, so that nothing done here is seen elsewhere.
pub(crate) fn make_all_private() -> Result<()> {
    let attr = MountAttr { attr_set: 0, attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd: 0 };
    mount_setattr(CWD, ZStr::literal(b"/\0"), libc::AT_RECURSIVE, &attr)
}

/// Sets `attrs` on the mount of `fd`, and on all below it when `recursive`, and makes them private: a copy of a
/// shared mount is its peer, so that mounts would come in from the host and go out to it.
pub(crate) fn set_attrs(fd: Fd, attrs: Attrs, recursive: bool) -> Result<()> {
    let attr = MountAttr { attr_set: attrs.0, attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    mount_setattr(fd, EMPTY, flags, &attr)
}

/// Shows the detached tree of `fd` through the id map of the user namespace `userns` (Linux 5.12;
/// needs CAP_SYS_ADMIN over the file system), and makes it private as [`set_attrs`] does: it comes from the
/// host's own mount namespace. EINVAL: this file system cannot be id-mapped.
pub(crate) fn set_idmap(fd: Fd, userns: Fd, attrs: Attrs) -> Result<()> {
    let userns_fd = u64::from(userns.cast_unsigned());
    let attr_set = attrs.0 | libc::MOUNT_ATTR_IDMAP;
    let attr = MountAttr { attr_set, attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd };
    mount_setattr(fd, EMPTY, libc::AT_EMPTY_PATH | libc::AT_RECURSIVE, &attr)
}

/// open_tree(2): a detached copy of the mount of `fd`, with everything mounted below it when `recursive`.
pub(crate) fn clone_tree(fd: Fd, recursive: bool) -> Result<Fd> {
    let recursive = if recursive { libc::AT_RECURSIVE.cast_unsigned() } else { 0 };
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_EMPTY_PATH.cast_unsigned() | recursive;
    let a = [int(fd), EMPTY.arg(), word(u64::from(flags)), 0, 0, 0];
    // SAFETY: the kernel reads the empty string; the new descriptor belongs to this process.
    unsafe { call(libc::SYS_open_tree, a) }.map(to_int)
}

/// move_mount(2): attaches the detached mount of `fd` on `path` of directory `dir` (no symbolic links
/// are followed at its end).
pub(crate) fn attach(fd: Fd, dir: Fd, path: ZStr<'_>) -> Result<()> {
    let empty_target = if path.bytes().is_empty() { libc::MOVE_MOUNT_T_EMPTY_PATH } else { 0 };
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | empty_target;
    let a = [int(fd), EMPTY.arg(), int(dir), path.arg(), word(u64::from(flags)), 0];
    // SAFETY: the kernel reads two NUL-ended strings, alive over the call.
    unsafe { call(libc::SYS_move_mount, a) }.map(drop_result)
}

/// fsopen(2): a context for a new file system of type `kind`.
pub(crate) fn fsopen(kind: ZStr<'_>) -> Result<Fd> {
    let a = [kind.arg(), word(u64::from(libc::FSOPEN_CLOEXEC)), 0, 0, 0, 0];
    // SAFETY: the kernel reads the NUL-ended `kind`; the new descriptor belongs to this process.
    unsafe { call(libc::SYS_fsopen, a) }.map(to_int)
}

/// fsconfig(2), FSCONFIG_SET_STRING: sets option `key` to `value`.
pub(crate) fn fsconfig(context: Fd, key: ZStr<'_>, value: ZStr<'_>) -> Result<()> {
    let a = [int(context), word(u64::from(libc::FSCONFIG_SET_STRING)), key.arg(), value.arg(), 0, 0];
    // SAFETY: the kernel reads the two NUL-ended strings, alive over the call.
    unsafe { call(libc::SYS_fsconfig, a) }.map(drop_result)
}

/// fsconfig(2), FSCONFIG_CMD_CREATE, then fsmount(2): makes the file system and returns its detached mount.
pub(crate) fn fsmount(context: Fd, attrs: Attrs) -> Result<Fd> {
    let a = [int(context), word(u64::from(libc::FSCONFIG_CMD_CREATE)), 0, 0, 0, 0];
    // SAFETY: no pointers besides two nulls, which this command asks for.
    unsafe { call(libc::SYS_fsconfig, a) }?;
    let a = [int(context), word(u64::from(libc::FSMOUNT_CLOEXEC)), word(attrs.0), 0, 0, 0];
    // SAFETY: no pointers; the new descriptor belongs to this process.
    unsafe { call(libc::SYS_fsmount, a) }.map(to_int)
}

/// pivot_root(2) of the current directory onto itself: the old root is then stacked on top of the new
/// one, as the man page's pivot_root(".", ".") describes.
pub(crate) fn pivot_here() -> Result<()> {
    let here = ZStr::literal(b".\0").arg();
    // SAFETY: the kernel reads the static string.
    unsafe { call(libc::SYS_pivot_root, [here, here, 0, 0, 0, 0]) }.map(drop_result)
}

/// umount2(2) with MNT_DETACH of the current directory: after [`pivot_here`] that is the old root.
pub(crate) fn detach_here() -> Result<()> {
    let a = [ZStr::literal(b".\0").arg(), int(libc::MNT_DETACH), 0, 0, 0, 0];
    // SAFETY: the kernel reads the static string.
    unsafe { call(libc::SYS_umount2, a) }.map(drop_result)
}
