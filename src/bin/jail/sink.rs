//! Where a report goes, beside stdout.
//!
//! For: finding out before the run that a report can be written there, and writing it after the run, when the
//! program is dead. What the program does meanwhile to the file, its name or its directory neither forges the
//! report nor leads it elsewhere.
//! Not for: what a report says.
//! Runs in: the supervisor.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, FcntlArg, OFlag, fcntl, open, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{AccessFlags, UnlinkatFlags, faccessat, linkat, unlinkat};

use jail::Error;

/// Names of open descriptors. A file behind one is added to: it may hold the program's output.
const DESCRIPTORS: [&str; 4] = ["/dev/stdout", "/dev/stderr", "/dev/fd", "/proc"];

/// One place that the report goes to.
pub(crate) struct Sink {
    /// The flag and its value.
    name: String,
    place: Place,
}

enum Place {
    /// A regular file, there or not: replaced as a whole, in the directory that it had before the run.
    File { path: PathBuf, directory: OwnedFd, name: PathBuf },
    /// A pipe, a device, a descriptor that we were given: written to.
    Stream(File),
}

impl Sink {
    /// For `--report`. Nothing is changed yet: a run that is refused leaves an old report as it was.
    pub(crate) fn file(path: &Path) -> Result<Self, Error> {
        let name = format!("--report {}", path.display());
        match look(path) {
            Ok(place) => Ok(Self { name, place }),
            Err(error) if error.raw_os_error() == Some(Errno::ENXIO as i32) => {
                Err(Error::usage(format!("{name}: cannot be written: it has no reader (start that first)")))
            }
            Err(error) => Err(Error::usage(format!("{name}: cannot be written: {}", jail::describe(&error)))),
        }
    }

    /// For `--report-fd`.
    pub(crate) fn descriptor(number: u32) -> Result<Self, Error> {
        let name = format!("--report-fd {number}");
        match inherited(number) {
            Ok(file) => Ok(Self { name, place: Place::Stream(file) }),
            Err(problem) => Err(Error::usage(format!("{name}: {problem}"))),
        }
    }

    /// Writes the report, once the run is over.
    pub(crate) fn write(&mut self, text: &str) -> Result<(), Error> {
        let written = match &mut self.place {
            Place::File { path, directory, name } => replace(path, directory, name, text),
            Place::Stream(file) => file.write_all(text.as_bytes()),
        };
        written.map_err(|error| {
            Error::usage(format!("{}: the report cannot be written: {}", self.name, jail::describe(&error)))
        })
    }
}

/// What stands behind the name, and whether a report can be written there.
fn look(path: &Path) -> io::Result<Place> {
    // Without O_NONBLOCK, a FIFO would keep us until somebody reads.
    let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    match open(path, flags, Mode::empty()) {
        Ok(file) => {
            let file = File::from(file);
            if !file.metadata()?.is_file() || DESCRIPTORS.iter().any(|name| path.starts_with(name)) {
                // The writing may wait.
                fcntl(&file, FcntlArg::F_SETFL(OFlag::O_APPEND))?;
                return Ok(Place::Stream(file));
            }
        }
        Err(Errno::ENOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    // A link of that name is replaced and not followed: an earlier program may have planted it.
    let (directory, name) = split(path).ok_or(Errno::ENOENT)?;
    let directory = open(directory, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    faccessat(&directory, ".", AccessFlags::W_OK | AccessFlags::X_OK, AtFlags::AT_EACCESS)?;
    Ok(Place::File { path: path.to_owned(), name: name.to_owned(), directory })
}

/// Directory and name, by the letter: `Path` would take `report/` for `report`.
fn split(path: &Path) -> Option<(&Path, &Path)> {
    let path = path.as_os_str();
    let name = path.as_bytes().rsplit(|byte| *byte == b'/').next()?;
    let directory = path.as_bytes().strip_suffix(name)?;
    let directory = if directory.is_empty() { b"." } else { directory };
    let as_path = |bytes| Path::new(OsStr::from_bytes(bytes));
    (!matches!(name, b"" | b"." | b"..")).then(|| (as_path(directory), as_path(name)))
}

/// A report holds output and file names: nobody else's business.
const OURS: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

/// At random, so that the program cannot have taken the name.
fn some_name() -> PathBuf {
    PathBuf::from(format!(".jail-report-{:016x}", RandomState::new().build_hasher().finish()))
}

/// Puts a file with this text in the place of whatever has the name in the directory now.
fn replace(path: &Path, directory: &OwnedFd, name: &Path, text: &str) -> io::Result<()> {
    // Without a name until it is whole: whoever kills us meanwhile leaves nothing behind.
    let file = match openat(directory, ".", OFlag::O_TMPFILE | OFlag::O_WRONLY | OFlag::O_CLOEXEC, OURS) {
        Ok(file) => {
            let mut file = File::from(file);
            file.write_all(text.as_bytes())?;
            give_name(&file, directory, name)?;
            file
        }
        // Not every file system has that (NFS has not).
        Err(Errno::EOPNOTSUPP | Errno::EISDIR) => {
            let new = some_name();
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let mut file = File::from(openat(directory, &new, flags, OURS)?);
            let written = file.write_all(text.as_bytes());
            undo_unless(written.and_then(|()| rename(directory, &new, name)), directory, &new)?;
            file
        }
        Err(errno) => return Err(errno.into()),
    };
    // The program may have moved the directory, and put one with a report of its own where the caller looks.
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(found) if (found.dev(), found.ino()) == (ours.dev(), ours.ino()) => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(_) | Err(_) => Err(io::Error::other("the program changed what that name leads to")),
    }
}

/// Gives a nameless file a name that may be taken.
fn give_name(file: &File, directory: &OwnedFd, name: &Path) -> io::Result<()> {
    let from = format!("/proc/self/fd/{}", file.as_raw_fd());
    let link = |name: &Path| linkat(AT_FDCWD, from.as_str(), directory, name, AtFlags::AT_SYMLINK_FOLLOW);
    match link(name) {
        // A link never takes another's place, a rename does.
        Err(Errno::EEXIST) => {
            let new = some_name();
            link(&new)?;
            undo_unless(rename(directory, &new, name), directory, &new)
        }
        other => other.map_err(io::Error::from),
    }
}

fn rename(directory: &OwnedFd, new: &Path, name: &Path) -> io::Result<()> {
    renameat(directory, new, directory, name).map_err(io::Error::from)
}

/// Takes a name back when what it was for has failed.
fn undo_unless(done: io::Result<()>, directory: &OwnedFd, new: &Path) -> io::Result<()> {
    if done.is_err() && unlinkat(directory, new, UnlinkatFlags::NoRemoveDir).is_err() {
        // What kept the report from being written is what there is to say.
    }
    done
}

/// A copy of a descriptor that we were given.
fn inherited(number: u32) -> Result<File, String> {
    let refuse = |what: &str| format!("the descriptor is {what} (write --report-fd {number} {number}>FILE)");
    let file = i32::try_from(number).ok().and_then(|number| jail::inherited_descriptor(number).ok());
    let file = File::from(file.ok_or_else(|| refuse("not open"))?);
    // Known now and not when the run is over.
    let flags = fcntl(&file, FcntlArg::F_GETFL).map_err(|_errno| refuse("not open"))?;
    if OFlag::from_bits_truncate(flags) & OFlag::O_ACCMODE == OFlag::O_RDONLY {
        Err(refuse("open for reading only"))
    } else {
        Ok(file)
    }
}
