//! The scratch directory of a run without namespaces: made, emptied, removed.
//!
//! For: TMPDIR and HOME where there is no mount namespace to have them in, and what a killed supervisor left of one.
//! Not for: where it is and what is granted in it (see `plan::own`).
//! Runs in: the supervisor.
//!
//! What is in it was made by the program. It is removed when nothing of the program lives any more, without ever
//! following a link, and one directory at a time: however deep the tree is, two descriptors are open.

use std::ffi::CStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, renameat};
use nix::sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::error::{Error, ErrorKind, describe};
use crate::sandbox::plan::own::{DECOY, HOME, TEMPORARY};
use crate::sandbox::sys::fd;

use super::cgroup;

/// The directory. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Scratch {
    /// `None` once it is removed.
    dir: Option<PathBuf>,
    /// Held as long as the run lives, for the sweep of a process that cannot see ours: one in another PID namespace.
    _lock: File,
}

impl Scratch {
    /// Makes `dir`, which must not exist, for the caller alone.
    pub(super) fn make(dir: &Path) -> Result<Self, Error> {
        if let Some(parent) = dir.parent() {
            sweep(parent);
        }
        let refused = |error: io::Error| {
            Error::new(ErrorKind::Setup, format!("cannot make {}: {}", dir.display(), describe(&error)))
                .with_errno(error.raw_os_error().unwrap_or(libc::EIO))
                .with_hint("name a directory of yours with the variable TMPDIR")
        };
        let private = |dir: &Path| {
            DirBuilder::new().mode(0o700).create(dir)?;
            // Whatever the caller's umask is.
            fs::set_permissions(dir, Permissions::from_mode(0o700))
        };
        private(dir).map_err(refused)?;
        let scratch = Self { dir: Some(dir.to_owned()), _lock: lock(dir).map_err(refused)? };
        let inside = private(&dir.join(HOME))
            .and_then(|()| private(&dir.join(TEMPORARY)))
            .and_then(|()| OpenOptions::new().write(true).create_new(true).mode(0o600).open(dir.join(DECOY)).map(drop));
        inside.map_err(refused)?;
        Ok(scratch)
    }

    /// # Errors
    /// Something of it cannot be removed.
    pub(super) fn remove(&mut self) -> Result<(), Error> {
        let Some(dir) = self.dir.take() else { return Ok(()) };
        remove(&dir).map_err(|errno| {
            Error::new(ErrorKind::Setup, format!("cannot remove {}: {}", dir.display(), describe(&errno.into())))
                .with_errno(errno as i32)
        })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(_left_for_the_next_sweep) = self.remove() {}
    }
}

/// Removes directories of ours in `parent` whose supervisor is gone. Another user's are not ours to remove.
fn sweep(parent: &Path) {
    let uid = nix::unistd::geteuid().as_raw();
    let Ok(entries) = fs::read_dir(parent) else { return };
    for name in cgroup::dead(entries.flatten().map(|entry| entry.file_name())) {
        let dir = parent.join(name);
        let ours = fs::symlink_metadata(&dir).is_ok_and(|data| data.is_dir() && data.uid() == uid);
        // Another run may be faster.
        if ours && lock(&dir).is_ok_and(|_held| remove(&dir).is_err()) {}
    }
}

/// flock(2), without waiting. The lock goes with the file. (`nix::fcntl::Flock` unlocks by a call of its own, and ends
/// this process where that is refused.)
pub(super) fn lock(dir: &Path) -> io::Result<File> {
    let dir = OpenOptions::new().read(true).custom_flags(LOOK.bits()).open(dir)?;
    fd::try_lock(dir.as_raw_fd()).map_err(|errno| io::Error::from_raw_os_error(errno.0))?;
    Ok(dir)
}

const LOOK: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Removes `path` with all that is in it.
fn remove(path: &Path) -> Result<(), Errno> {
    let mut top = Dir::open(path, LOOK, Mode::empty())?;
    let mut moved = 0;
    // A directory in it is emptied into it, so that the tree only gets flatter.
    while empty(&mut top, |top, name| {
        let mut inner = open(top, name)?;
        while empty(&mut inner, |inner, below| {
            moved += 1;
            let place = format!("moved-{moved}");
            // To get another parent, a directory must be writable itself.
            fchmodat(inner, below, Mode::S_IRWXU, FchmodatFlags::FollowSymlink)?;
            renameat(inner, below, top, place.as_str())
        })? {}
        unlinkat(top, name, UnlinkatFlags::RemoveDir)
    })? {}
    fs::remove_dir(path).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
}

/// Opens a directory that the program made with whatever mode it liked.
fn open(at: impl AsFd + Copy, name: &CStr) -> Result<Dir, Errno> {
    let dir = match Dir::openat(at, name, LOOK, Mode::empty()) {
        Err(Errno::EACCES) => {
            // It is a directory and no link: unlink(2) said so, and nobody is there to change that.
            fchmodat(at, name, Mode::S_IRWXU, FchmodatFlags::FollowSymlink)?;
            Dir::openat(at, name, LOOK, Mode::empty())?
        }
        other => other?,
    };
    fchmod(&dir, Mode::S_IRWXU)?;
    Ok(dir)
}

/// Removes the files in `dir` and does `each` with its directories. `false` when there was nothing.
fn empty(
    dir: &mut Dir,
    mut each: impl FnMut(std::os::fd::BorrowedFd<'_>, &CStr) -> Result<(), Errno>,
) -> Result<bool, Errno> {
    let mut names = Vec::new();
    for entry in dir.iter() {
        let entry = entry?;
        if ![c".", c".."].contains(&entry.file_name()) {
            names.push(entry.file_name().to_owned());
        }
    }
    for name in &names {
        match unlinkat(dir.as_fd(), name.as_c_str(), UnlinkatFlags::NoRemoveDir) {
            Err(Errno::EISDIR) => each(dir.as_fd(), name)?,
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(!names.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_in_it_goes_and_nothing_behind_a_link() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("kept"), "x").unwrap();
        fs::create_dir(outside.path().join("kept-too")).unwrap();
        fs::set_permissions(outside.path(), Permissions::from_mode(0o755)).unwrap();
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("scratch");
        let mut scratch = Scratch::make(&dir).unwrap();
        let home = dir.join(HOME);
        // Deeper than a path or the number of descriptors allow.
        let mut deep = home.clone();
        for _ in 0..40 {
            deep.push("d".repeat(50));
        }
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("file"), "x").unwrap();
        std::os::unix::fs::symlink(outside.path(), home.join("link")).unwrap();
        std::os::unix::fs::symlink(outside.path(), deep.join("link")).unwrap();
        std::os::unix::fs::symlink("nowhere", home.join("dangling")).unwrap();
        fs::create_dir(home.join("moved-1")).unwrap();
        fs::create_dir_all(dir.join(TEMPORARY).join("closed/inner")).unwrap();
        for mode in [0o000, 0o400, 0o100] {
            let closed = home.join(format!("mode-{mode:o}"));
            fs::create_dir_all(closed.join("a/b")).unwrap();
            fs::set_permissions(closed.join("a"), Permissions::from_mode(mode)).unwrap();
            fs::set_permissions(&closed, Permissions::from_mode(mode)).unwrap();
        }

        scratch.remove().unwrap();

        assert!(!dir.exists());
        assert!(outside.path().join("kept").exists() && outside.path().join("kept-too").exists());
        assert_eq!(fs::metadata(outside.path()).unwrap().mode() & 0o777, 0o755);
    }

    #[test]
    fn one_that_exists_is_never_used() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("scratch");
        fs::create_dir(&dir).unwrap();

        assert_eq!(Scratch::make(&dir).unwrap_err().errno(), Some(libc::EEXIST));
        assert!(dir.exists());
    }
}
