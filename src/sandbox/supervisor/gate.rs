//! The gate: what the supervisor does around the clone.
//!
//! For: carrying out the supervisor's steps of a plan, and the pipes between the three processes.
//! Not for: deciding (the plan did) or what comes after the program runs (see the loop in `mod`).
//! Runs in: the supervisor.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::unistd::{Gid, Uid, fchown, pipe2, read, write};

use crate::error::{Error, ErrorKind, describe_errno};
use crate::host::Found;
use crate::sandbox::child::record::{self, Record};
use crate::sandbox::child::{self, Slots};
use crate::sandbox::plan::ids::IdMap;
use crate::sandbox::plan::op::{SLOTS, Slot};
use crate::sandbox::plan::{HostOp, Plan};
use crate::sandbox::sys::mount::{self, Attrs};
use crate::sandbox::sys::process::{self, Beside, Process, Start};
use crate::sandbox::sys::{Errno, ZStr, fd};

use super::scratch::Scratch;
use super::teardown::Network;
use super::{cgroup, explain};

/// Our ends of the pipes.
#[derive(Debug)]
pub(super) struct Ends {
    /// Failure records; end of file when the program runs.
    pub(super) setup: OwnedFd,
    /// How the payload ended.
    pub(super) status: OwnedFd,
    /// As long as we hold it, init lives. Bytes written to it are signals for the payload.
    pub(super) tie: OwnedFd,
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

/// A tree of a root caller's that is shown without an id map.
#[derive(Debug)]
pub(super) struct Unmapped {
    pub(super) path: String,
    /// Only where the policy gave up the layer `ids`.
    pub(super) writable: bool,
}

/// What came of the supervisor's steps.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) process: Process,
    /// Where network namespaces are counted.
    pub(super) network: Option<Network>,
    pub(super) ends: Ends,
    pub(super) unmapped: Vec<Unmapped>,
    pub(super) scratch: Option<Scratch>,
    /// How long the cgroup's steps took, and the clone.
    pub(super) cgroup: Duration,
    pub(super) clone: Duration,
    /// When the child was let go, also on its own clock.
    pub(super) released: Instant,
    pub(super) released_us: u32,
}

/// The child's descriptors: kept open here until it has its copies.
struct Inherited {
    slots: Slots,
    owned: Vec<OwnedFd>,
}

impl Inherited {
    fn give(&mut self, slot: Slot, fd: OwnedFd) -> Result<(), Error> {
        self.slots.set(slot, fd.as_raw_fd()).map_err(|errno| failed("give the child a descriptor", errno))?;
        self.owned.push(fd);
        Ok(())
    }
}

fn failed(what: &str, errno: Errno) -> Error {
    Error::new(ErrorKind::Setup, format!("cannot {what}: {}", describe_errno(errno.0))).with_errno(errno.0)
}

/// A pipe whose ends are not 0, 1 or 2, which the payload's streams will be put on.
pub(super) fn pipe() -> Result<(OwnedFd, OwnedFd), Error> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| failed("make a pipe", Errno(errno as i32)))?;
    Ok((above_stdio(read)?, above_stdio(write)?))
}

fn above_stdio(fd: OwnedFd) -> Result<OwnedFd, Error> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    let moved =
        fcntl(&fd, FcntlArg::F_DUPFD_CLOEXEC(3)).map_err(|errno| failed("move a descriptor", Errno(errno as i32)))?;
    Ok(fd::own(moved))
}

fn nonblocking(fd: &OwnedFd) -> Result<(), Error> {
    fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|errno| failed("set up a pipe", Errno(errno as i32)))?;
    Ok(())
}

/// Carries out the supervisor's steps.
///
/// # Errors
/// The step that failed. Whatever was made is taken back: groups by the guard, the child because the
/// tie that it watches is closed.
pub(super) fn start(plan: &Plan, guard: &mut cgroup::Guard) -> Result<Started, Error> {
    let mut inherited = Inherited { slots: Slots([-1; SLOTS]), owned: Vec::new() };
    let (setup, setup_child) = pipe()?;
    let (status, status_child) = pipe()?;
    let (tie_child, tie) = pipe()?;
    let (gate_wait, gate_open) = pipe()?;
    let (stdin_child, stdin) = pipe()?;
    let (stdout, stdout_child) = pipe()?;
    let (stderr, stderr_child) = pipe()?;
    for end in [&setup, &status, &stdin, &stdout, &stderr] {
        nonblocking(end)?;
    }
    let [slot_in, slot_out, slot_err] = Slot::STDIO;
    for (slot, end) in [
        (Slot::SETUP, setup_child),
        (Slot::STATUS, status_child),
        (Slot::TIE, tie_child),
        (Slot::GATE_WAIT, gate_wait),
        (Slot::GATE_OPEN, gate_open),
        (slot_in, stdin_child),
        (slot_out, stdout_child),
        (slot_err, stderr_child),
    ] {
        inherited.give(slot, end)?;
    }
    let ends = Ends { setup, status, tie, stdin, stdout, stderr };

    let mut id_map: Option<(OwnedFd, Beside)> = None;
    let mut process: Option<Process> = None;
    let mut unmapped = Vec::new();
    let mut scratch = None;
    let before = Instant::now();
    let (mut before_clone, mut after_clone, mut released, mut released_us) = (before, before, before, 0);
    let (mut cgroup, mut network) = (Duration::ZERO, None);
    for step in &plan.supervisor {
        match &step.op {
            HostOp::JoinScope { .. } | HostOp::MoveSelf { .. } | HostOp::MakeGroup { .. } | HostOp::SetLimit { .. } => {
                let began = Instant::now();
                guard.carry_out(&step.op)?;
                cgroup += began.elapsed();
            }
            HostOp::MakeIdMap { to_uid, to_gid } => id_map = Some(make_id_map(*to_uid, *to_gid)?),
            HostOp::MapTree { source, attrs, slot, plain_if_unsupported } => {
                let Some((userns, _)) = &id_map else {
                    return Err(Error::new(ErrorKind::Internal, "a tree is mapped before the map is made"));
                };
                let (tree, mapped) = map_tree(source, *attrs, userns.as_fd(), *plain_if_unsupported)?;
                if !mapped {
                    let writable = !attrs.has(Attrs::RDONLY);
                    unmapped.push(Unmapped { path: source.path.display().to_string(), writable });
                }
                inherited.give(*slot, above_stdio(tree)?)?;
            }
            HostOp::MakeScratch { dir } => scratch = Some(Scratch::make(dir)?),
            HostOp::Clone { start, namespaces, into } => {
                before_clone = Instant::now();
                process = Some(clone(plan, *start, *namespaces, into.as_deref(), &inherited)?);
                after_clone = Instant::now();
                // The child has its copies; what it alone must hold we must not.
                inherited.owned.clear();
            }
            HostOp::WriteMaps { map } => {
                let Some(process) = &process else {
                    return Err(Error::new(ErrorKind::Internal, "maps before the clone"));
                };
                write_maps(process, *map).map_err(|error| init_failed(plan, &ends.setup).unwrap_or(error))?;
                if map.privileged {
                    // Pipes of root's could not be opened again through /dev/stdout.
                    give_streams(&ends, *map)?;
                }
            }
            HostOp::Release => {
                // Before anything can be killed for memory.
                let began = Instant::now();
                guard.watch()?;
                cgroup += began.elapsed();
                if let (true, Some(process)) = (plan.tells_network(), &process) {
                    // While init waits: later it may have come and gone before this process has its turn.
                    network = its_network(plan, &ends.setup, process)?;
                }
                released = Instant::now();
                released_us = process::clock_us().map_err(|errno| failed("read the clock", errno))?;
                write(&ends.tie, b"!").map_err(|errno| {
                    let refused = || failed("release the child", Errno(errno as i32));
                    init_failed(plan, &ends.setup).unwrap_or_else(refused)
                })?;
            }
        }
    }
    let Some(process) = process else {
        return Err(Error::new(ErrorKind::Internal, "the plan clones nobody"));
    };
    let clone = after_clone - before_clone;
    Ok(Started { process, network, ends, unmapped, scratch, cgroup, clone, released, released_us })
}

fn clone(
    plan: &Plan,
    start: Start,
    namespaces: u64,
    into: Option<&Path>,
    inherited: &Inherited,
) -> Result<Process, Error> {
    // A caller with an odd umask may not list what it made; for the clone a path is enough.
    let path = |dir: &Path| fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(dir);
    let group = into.map(|dir| path(dir).map_err(|error| cgroup::refused("open", dir, &error))).transpose()?;
    let script = plan.script();
    let mut slots = inherited.slots;
    let group = group.as_ref().map(AsRawFd::as_raw_fd);
    process::spawn(start, namespaces, group, || child::run(&script, &mut slots)).map_err(explain::clone)
}

/// A user namespace that maps its id 0 to `uid` and `gid`: the form in which mount_setattr(2) takes an id
/// map. A process lives in it only until we have a descriptor of it.
///
/// The process has been killed when this returns. Whoever drops it waits for it: later, for it takes its time.
pub(super) fn make_id_map(uid: u32, gid: u32) -> Result<(OwnedFd, Beside), Error> {
    let (wait, release) = pipe()?;
    let holder = process::spawn_beside(libc::CLONE_NEWUSER, child::hold, wait.as_raw_fd()).map_err(explain::clone)?;
    let proc = format!("/proc/{}", holder.process.pid);
    let map = |file: &str, id: u32| {
        let path = format!("{proc}/{file}");
        cgroup::write(Path::new(&path), &format!("0 {id} 1")).map_err(|error| explain::map(file, &error))
    };
    let opened = map("uid_map", uid)
        .and_then(|()| map("gid_map", gid))
        .and_then(|()| fs::File::open(format!("{proc}/ns/user")).map_err(|error| explain::map("ns/user", &error)));
    drop((release, wait));
    // Not left to the pipe: another thread's clone may hold a copy of our end for a moment yet.
    holder.process.signal(libc::SIGKILL).map_err(|errno| failed("end the holder of a user namespace", errno))?;
    Ok((opened?.into(), holder))
}

/// A detached copy of the tree of `source`, id-mapped. `false` when it is shown as it is instead.
pub(super) fn map_tree(
    source: &Found,
    attrs: Attrs,
    userns: BorrowedFd<'_>,
    plain: bool,
) -> Result<(OwnedFd, bool), Error> {
    let mut path = source.path.as_os_str().as_encoded_bytes().to_vec();
    path.push(0);
    let shown = source.path.display();
    let Some(path) = ZStr::new(&path) else { return Err(Error::new(ErrorKind::Internal, "a path without an end")) };
    let resolve = libc::RESOLVE_NO_SYMLINKS | libc::RESOLVE_NO_MAGICLINKS;
    let at = fd::openat2(fd::CWD, path, libc::O_PATH, 0, resolve).map(fd::own);
    let at = at.map_err(|errno| failed(&format!("open {shown}"), errno))?;
    let identity = fd::identity(at.as_raw_fd()).map_err(|errno| failed(&format!("look at {shown}"), errno))?;
    if identity != (source.major, source.minor, source.inode) {
        return Err(Error::new(ErrorKind::Setup, format!("{shown} was replaced while the jail was set up")));
    }
    let clone = |recursive| mount::clone_tree(at.as_raw_fd(), recursive).map(fd::own);
    let recursive = source.kind == crate::host::Kind::Dir;
    let tree = clone(recursive).map_err(|errno| explain::mount(&format!("clone the mount of {shown}"), errno))?;
    match mount::set_idmap(tree.as_raw_fd(), userns.as_raw_fd(), attrs) {
        Ok(()) => Ok((tree, true)),
        Err(Errno(libc::EINVAL | libc::EPERM)) if plain => {
            mount::set_attrs(tree.as_raw_fd(), attrs, recursive)
                .map_err(|errno| explain::mount(&format!("set the attributes of {shown}"), errno))?;
            Ok((tree, false))
        }
        Err(Errno(libc::ENOSYS)) => Err(explain::mount(&format!("id-map {shown}"), Errno(libc::ENOSYS))),
        Err(errno) => Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "ids cannot be enforced here: {shown}, which is to be written to, cannot be id-mapped: {}",
                describe_errno(errno.0)
            ),
        )
        .with_errno(errno.0)
        .with_hint(
            "its file system cannot show files under another id; work on a copy elsewhere, run as an ordinary user, \
             or go without by name: --allow-degraded ids (it is then shown as it is)",
        )),
    }
}

pub(super) fn write_maps(process: &Process, map: IdMap) -> Result<(), Error> {
    let inside = crate::sandbox::plan::ids::INSIDE;
    let write = |file: &str, value: &str| {
        let path = format!("/proc/{}/{file}", process.pid);
        cgroup::write(Path::new(&path), value).map_err(|error| explain::map(file, &error))
    };
    if !map.privileged {
        // Before gid_map, which an ordinary caller may only write after this (user_namespaces(7)).
        write("setgroups", "deny")?;
    }
    write("uid_map", &format!("{inside} {} 1", map.uid))?;
    write("gid_map", &format!("{inside} {} 1", map.gid))
}

/// Why init has ended before the gate, if it has: then a step of ours that needs it fails, and this is the cause.
fn init_failed(plan: &Plan, setup: &OwnedFd) -> Option<Error> {
    loop {
        match news(setup) {
            Ok(News::Record(Record::Failed { role, step, errno })) => {
                return Some(explain::step(plan, role, step, errno, ""));
            }
            Ok(News::Record(Record::Networked | Record::Ended { .. } | Record::Stamp { .. })) => {}
            Ok(News::None | News::End) | Err(_) => return None,
        }
    }
}

/// Waits for init's word of its network namespace, or for its end.
fn its_network(plan: &Plan, setup: &OwnedFd, process: &Process) -> Result<Option<Network>, Error> {
    let mut fds = [setup, &process.pidfd].map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN));
    loop {
        match ppoll(&mut fds, None, None) {
            Ok(_) => break,
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(failed("wait for the child", Errno(errno as i32))),
        }
    }
    match news(setup)? {
        News::Record(Record::Networked) => Ok(Network::of(process.pid)),
        News::Record(Record::Failed { role, step, errno }) => Err(explain::step(plan, role, step, errno, "")),
        // It was killed; opening the gate says so.
        News::Record(Record::Ended { .. } | Record::Stamp { .. }) | News::None | News::End => Ok(None),
    }
}

fn give_streams(ends: &Ends, map: IdMap) -> Result<(), Error> {
    for end in [&ends.stdin, &ends.stdout, &ends.stderr] {
        fchown(end, Some(Uid::from_raw(map.uid)), Some(Gid::from_raw(map.gid)))
            .map_err(|errno| failed("give the program its streams", Errno(errno as i32)))?;
    }
    Ok(())
}

/// What the set-up pipe has to say.
pub(super) enum News {
    /// Nothing yet.
    None,
    /// Its end: init is shut in and the program runs, or both are gone.
    End,
    /// A step failed, or the time that one was done.
    Record(Record),
}

/// Reads it, without waiting.
pub(super) fn news(setup: &OwnedFd) -> Result<News, Error> {
    let mut bytes = [0; record::LEN];
    match read(setup, &mut bytes) {
        Ok(0) => Ok(News::End),
        Ok(count) => match Record::decode(bytes.get(..count).unwrap_or_default()) {
            Some(record) => Ok(News::Record(record)),
            None => Err(Error::new(ErrorKind::Internal, "the child sent something that is no record")),
        },
        Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => Ok(News::None),
        Err(errno) => Err(failed("read the child's record", Errno(errno as i32))),
    }
}
