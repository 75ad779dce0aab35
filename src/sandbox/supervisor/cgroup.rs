//! Control groups of one run: made, read, emptied, removed.
//!
//! For: the guard that owns the groups, their counters, and the sweep of groups that a killed
//! supervisor left behind.
//! Not for: which groups and limits (see `plan::cgroup`).
//! Runs in: the supervisor.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal;
use nix::unistd::Pid;

use crate::error::{Error, ErrorKind, describe};
use crate::host::{CgroupVersion, Controller, text};
use crate::sandbox::plan::HostOp;
use crate::sandbox::plan::cgroup::Groups;
use crate::sandbox::sys::process;

use super::scratch::lock;

/// How often a process looks for what others left.
const SWEEP: Duration = Duration::from_secs(1);

/// Of a group's directory.
const MODE: u32 = 0o755;

/// The groups of a run that exist. Dropping it removes them.
#[derive(Debug)]
pub(super) struct Guard {
    groups: Groups,
    made: Vec<PathBuf>,
    /// Of the first group, held as long as the run lives: for the sweep of a process that cannot see ours.
    lock: Option<File>,
    watch: Option<OomWatch>,
}

/// Tells of an OOM kill in a v1 memory group the moment it comes near (memcg event on
/// `memory.oom_control`). In v2 `memory.oom.group` makes the kernel end the whole run by itself.
#[derive(Debug)]
struct OomWatch {
    event: EventFd,
    /// Registered with the event; closing it is how the kernel knows that nobody listens any more.
    _control: OwnedFd,
}

impl Guard {
    pub(super) const fn new(groups: Groups) -> Self {
        Self { groups, made: Vec::new(), lock: None, watch: None }
    }

    /// One of the steps that have to do with groups.
    pub(super) fn carry_out(&mut self, op: &HostOp) -> Result<(), Error> {
        match op {
            HostOp::JoinScope { scope } => scope.join()?,
            HostOp::MoveSelf { dir } => move_self(dir)?,
            HostOp::MakeGroup { dir } => self.make(dir)?,
            HostOp::SetLimit { file, value, optional } => match write(file, value) {
                Err(error) if *optional && error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(refused("write", file, &error)),
                Ok(()) => {}
            },
            HostOp::MakeScratch { .. }
            | HostOp::MakeIdMap { .. }
            | HostOp::MapTree { .. }
            | HostOp::Clone { .. }
            | HostOp::WriteMaps { .. }
            | HostOp::Release => return Err(Error::new(ErrorKind::Internal, "a step that is no group's")),
        }
        Ok(())
    }

    /// mkdir(2).
    fn make(&mut self, dir: &Path) -> Result<(), Error> {
        fs::create_dir(dir).map_err(|error| refused("make cgroup", dir, &error))?;
        self.made.push(dir.to_owned());
        // Whatever the caller's umask is: one that takes its own right to read would keep it from the lock, and the
        // child, which has no capabilities here, from its `tasks`. Most leave the mode as it has to be.
        let made = fs::symlink_metadata(dir).map_err(|error| refused("look at", dir, &error))?;
        if made.mode() & 0o7777 != MODE {
            fs::set_permissions(dir, Permissions::from_mode(MODE)).map_err(|error| refused("change", dir, &error))?;
        }
        if self.lock.is_none() {
            self.lock = Some(lock(dir).map_err(|error| refused("lock", dir, &error))?);
        }
        Ok(())
    }

    /// Asks to be told of OOM kills, where the kernel does not end the run itself.
    pub(super) fn watch(&mut self) -> Result<(), Error> {
        if self.groups.version != Some(CgroupVersion::V1) {
            return Ok(());
        }
        let Some(dir) = self.groups.dir(Controller::Memory) else { return Ok(()) };
        let path = dir.join("memory.oom_control");
        let control = File::open(&path).map_err(|error| refused("open", &path, &error))?;
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map_err(|errno| refused("watch", &path, &errno.into()))?;
        let line = format!("{} {}", event.as_fd().as_raw_fd(), control.as_raw_fd());
        write(&dir.join("cgroup.event_control"), &line).map_err(|error| refused("watch", &path, &error))?;
        self.watch = Some(OomWatch { event, _control: control.into() });
        Ok(())
    }

    /// Readable when an OOM kill is near.
    pub(super) fn oom_event(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(|watch| watch.event.as_fd())
    }

    /// Takes the event back.
    pub(super) fn clear_oom_event(&self) -> io::Result<()> {
        match self.watch.as_ref().map(|watch| watch.event.read()) {
            Some(Err(errno)) if errno != Errno::EAGAIN => Err(errno.into()),
            Some(Ok(_) | Err(_)) | None => Ok(()),
        }
    }

    fn is_v2(&self) -> bool {
        self.groups.version == Some(CgroupVersion::V2)
    }

    fn number(&self, controller: Controller, file: &str) -> Option<u64> {
        text(self.groups.dir(controller)?.join(file)).ok()?.trim().parse().ok()
    }

    /// A value of a "key value" file.
    fn field(&self, controller: Controller, file: &str, key: &str) -> Option<u64> {
        let text = text(self.groups.dir(controller)?.join(file)).ok()?;
        text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
    }

    /// CPU time of the tree, microseconds.
    pub(super) fn cpu_us(&self) -> Option<u64> {
        if self.is_v2() {
            self.field(Controller::Cpuacct, "cpu.stat", "usage_usec")
        } else {
            self.number(Controller::Cpuacct, "cpuacct.usage").map(|nanos| nanos / 1000)
        }
    }

    /// User and system CPU time of the tree, microseconds; v2 alone tells them apart exactly.
    pub(super) fn user_system_us(&self) -> Option<(u64, u64)> {
        self.is_v2().then_some(())?;
        let field = |key| self.field(Controller::Cpuacct, "cpu.stat", key);
        Some((field("user_usec")?, field("system_usec")?))
    }

    /// Time that the CPU rate held the tree back, microseconds.
    pub(super) fn throttled_us(&self) -> Option<u64> {
        if self.is_v2() {
            self.field(Controller::Cpu, "cpu.stat", "throttled_usec")
        } else {
            self.field(Controller::Cpu, "cpu.stat", "throttled_time").map(|nanos| nanos / 1000)
        }
    }

    /// Highest memory use, bytes. v2: `memory.peak`, Linux 5.19.
    pub(super) fn memory_peak(&self) -> Option<u64> {
        let file = if self.is_v2() { "memory.peak" } else { "memory.max_usage_in_bytes" };
        self.number(Controller::Memory, file)
    }

    /// Processes that the kernel killed for memory.
    pub(super) fn oom_kills(&self) -> Option<u64> {
        let file = if self.is_v2() { "memory.events" } else { "memory.oom_control" };
        self.field(Controller::Memory, file, "oom_kill")
    }

    /// The file that [`Guard::oom_kills`] reads, for evidence.
    pub(super) fn oom_file(&self) -> &'static str {
        if self.is_v2() { "memory.events" } else { "memory.oom_control" }
    }

    /// Most tasks at one moment, init included. `pids.peak`, Linux 6.1.
    pub(super) fn tasks_peak(&self) -> Option<u64> {
        self.number(Controller::Pids, "pids.peak")
    }

    /// Forks that the limit refused.
    pub(super) fn refused_forks(&self) -> Option<u64> {
        self.field(Controller::Pids, "pids.events", "max")
    }

    /// Bytes that the tree had read from and written to storage, all devices together. v2, where the io
    /// controller is to be had.
    pub(super) fn storage(&self) -> Option<(u64, u64)> {
        let text = fs::read_to_string(self.groups.dir(Controller::Io)?.join("io.stat")).ok()?;
        Some((io_stat(&text, "rbytes"), io_stat(&text, "wbytes")))
    }

    /// Removes the groups, newest first.
    ///
    /// # Errors
    /// A group that is still not empty after a second.
    pub(super) fn remove(&mut self) -> Result<(), Error> {
        self.watch = None;
        while let Some(dir) = self.made.pop() {
            remove(&dir).map_err(|error| refused("remove cgroup", &dir, &error))?;
        }
        Ok(())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Err(_left_for_the_next_sweep) = self.remove() {
            self.made.clear();
        }
    }
}

/// Sums a key of io.stat, whose lines are `MAJOR:MINOR key=value …`. A device that saw nothing has no line, and
/// one that is going away has no keys.
fn io_stat(text: &str, key: &str) -> u64 {
    let values =
        text.split_whitespace().filter_map(|word| word.strip_prefix(key)?.strip_prefix('=')?.parse::<u64>().ok());
    values.fold(0, u64::saturating_add)
}

/// rmdir(2), again while the kernel still counts a process that has just died in it.
fn remove(dir: &Path) -> io::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(1);
    loop {
        match fs::remove_dir(dir) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline => {
                kill(dir);
                thread::sleep(Duration::from_micros(200));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => return other,
        }
    }
}

/// The second net, below the PID namespace or the Landlock domain: `cgroup.kill`, Linux 5.14, and without it (v1)
/// one process after the other, as long as there are any.
fn kill(dir: &Path) {
    let file = dir.join("cgroup.kill");
    if file.exists() {
        if write(&file, "1").is_err() {
            // It was removed meanwhile; the next rmdir says so.
        }
        return;
    }
    let processes = || fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    for pid in processes().lines().filter_map(|line| line.parse::<i32>().ok()) {
        // Looked at again with the handle in hand, so that no other process has got this number.
        let still = || processes().lines().any(|line| line == pid.to_string());
        if process::kill_exactly(pid, still).is_err() {
            // It has ended meanwhile.
        }
    }
}

/// Moves this process, with all its threads, into the v2 group `dir`.
fn move_self(dir: &Path) -> Result<(), Error> {
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(refused("make cgroup", dir, &error)),
        Ok(()) | Err(_) => {}
    }
    write(&dir.join("cgroup.procs"), "0").map_err(|error| refused("move into", dir, &error))
}

/// One write, as these files want it.
pub(super) fn write(file: &Path, value: &str) -> io::Result<()> {
    fs::OpenOptions::new().write(true).open(file)?.write_all(value.as_bytes())
}

pub(super) fn refused(what: &str, path: &Path, error: &io::Error) -> Error {
    let errno = error.raw_os_error().unwrap_or(libc::EIO);
    let hint = if errno == libc::EINVAL && path.ends_with("cpu.cfs_quota_us") {
        "a group above has a lower CPU quota: ask for less with --cpus"
    } else {
        "the cgroup tree is not the caller's to change; --allow-degraded cgroup goes without its limits"
    };
    Error::new(ErrorKind::Setup, format!("cannot {what} {}: {}", path.display(), describe(error)))
        .with_errno(errno)
        .with_hint(hint)
}

/// Beginning of the names of our groups; the supervisor's pid and start time follow.
const PREFIX: &str = "jail-";

/// The name of a run's group. Another supervisor can tell from it whether ours is still alive.
pub(super) fn name(pid: u32, started: u64, number: u32) -> String {
    format!("{PREFIX}{pid}-{started}-{number}")
}

/// Removes groups beside `groups` whose supervisor is gone. Its jails died with it; only the empty directories are
/// left. One that is alive in another PID namespace looks gone from here, and holds its lock.
///
/// Once a second at most: it looks at every run beside ours, and a program that starts many would do so for
/// each of them.
pub(super) fn sweep(groups: &Groups) {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    {
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < SWEEP) {
            return;
        }
        *last = Some(Instant::now());
    }
    let homes: Vec<&Path> = groups.unique().into_iter().filter_map(Path::parent).collect();
    // A run's first group is the last to be removed: whoever left others left this one too.
    let Some(first) = homes.first() else { return };
    // A group without others in it has two links, as the kernel counts them.
    if fs::symlink_metadata(first).is_ok_and(|home| home.nlink() <= 2) {
        return;
    }
    let Ok(entries) = fs::read_dir(first) else { return };
    for name in dead(entries.flatten().map(|entry| entry.file_name())) {
        let Ok(_held) = lock(&first.join(&name)) else { continue };
        // The first goes last here too. What cannot be removed is in use.
        for home in homes.iter().rev() {
            if fs::remove_dir(home.join(&name)).is_err() {}
        }
    }
}

/// The names of runs among these whose supervisor is gone. One that cannot be looked at, for want of a descriptor or of
/// memory, is not.
///
/// That a pid is nobody's any more is one call. Whether it is somebody else's by now, to whom the kernel gave the number
/// again, is a look into /proc that takes a hundred times as long: one of the names gets it each time, by chance, so
/// that a start beside a thousand others does not look at each of them.
pub(super) fn dead(names: impl Iterator<Item = OsString>) -> Vec<String> {
    let chance = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.subsec_nanos());
    dead_of(names, chance as usize)
}

fn dead_of(names: impl Iterator<Item = OsString>, chance: usize) -> Vec<String> {
    let names = names.filter_map(|name| name.into_string().ok()).filter_map(|name| Some((owner(&name)?, name)));
    let (mut taken, mut dead): (Vec<_>, Vec<_>) = names.partition(|&((pid, _), _)| exists(pid));
    if let Some(place) = chance.checked_rem(taken.len()) {
        let ((pid, started), name) = taken.swap_remove(place);
        if is_another(pid, started) {
            dead.push(((pid, started), name));
        }
    }
    dead.into_iter().map(|(_, name)| name).collect()
}

/// kill(2) without a signal. A process that we may not signal is one.
fn exists(pid: u32) -> bool {
    i32::try_from(pid).is_ok_and(|pid| signal::kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH))
}

/// Whether the process of this number is not the one that was started then.
fn is_another(pid: u32, started: u64) -> bool {
    match stat(pid) {
        Ok(stat) => start_time_in(&stat) != Some(started),
        Err(error) => matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)),
    }
}

/// Pid and start time in a group's name.
fn owner(name: &str) -> Option<(u32, u64)> {
    let mut fields = name.strip_prefix(PREFIX)?.split('-');
    let owner = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    fields.next()?.parse::<u32>().ok()?;
    fields.next().is_none().then_some(owner)
}

/// When a process was started, in clock ticks after boot.
pub(in crate::sandbox) fn start_time(pid: u32) -> Option<u64> {
    start_time_in(&stat(pid).ok()?)
}

fn stat(pid: u32) -> io::Result<String> {
    text(format!("/proc/{pid}/stat"))
}

/// Field 22 of /proc/PID/stat.
fn start_time_in(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_groups_name_tells_its_owner_and_nothing_else_does() {
        assert_eq!(owner(&name(12, 345, 6)), Some((12, 345)));
        for other in ["jail-", "jail-1-2", "jail-1-2-3-4", "jail-a-2-3", "jailer-1-2-3", "user.slice"] {
            assert_eq!(owner(other), None, "{other}");
        }
    }

    #[test]
    fn io_stat_adds_devices_up_and_bears_lines_without_keys() {
        let text = "8:0 rbytes=4096 wbytes=512 rios=1 wios=1 dbytes=0 dios=0\n7:0 \n253:0 rbytes=1 wbytes=0 rios=1\n";
        assert_eq!((io_stat(text, "rbytes"), io_stat(text, "wbytes")), (4097, 512));
        assert_eq!(io_stat("", "rbytes"), 0);
    }

    #[test]
    fn the_dead_are_told_from_the_living_and_from_whoever_got_their_number() {
        let pid = std::process::id();
        let alive = |number| name(pid, start_time(pid).unwrap(), number);
        let (gone, reused) = (name(u32::MAX, 1, 0), name(pid, 1, 0));
        let dead = |names: &[&String], chance| dead_of(names.iter().map(OsString::from), chance);

        assert_eq!(dead(&[&"user.slice".to_owned(), &alive(0)], 0), [""; 0]);
        assert_eq!(dead(&[&reused], 0), [reused.as_str()]);
        for chance in 0..6 {
            let found = dead(&[&alive(0), &gone, &reused, &alive(1)], chance);
            let expected = if chance % 3 == 1 { vec![&gone, &reused] } else { vec![&gone] };
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{chance}");
        }
    }

    #[test]
    fn start_time_of_a_live_process_is_known_and_of_none_is_not() {
        assert!(start_time(std::process::id()).is_some());
        assert_eq!(start_time(u32::MAX), None);
    }
}
