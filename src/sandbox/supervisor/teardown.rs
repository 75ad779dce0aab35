//! Network namespaces on their way out: how many there are, and waiting until they are few.
//!
//! For: a process that starts runs faster than the kernel takes their network namespaces down. It does so
//! later, in a kernel thread, at about a millisecond of CPU each; without a bound they would pile up, a quarter
//! of a MiB of kernel memory each, and the caller's other work would pay for them.
//! Not for: isolation. Each run has a namespace of its own, used once.
//! Runs in: the supervisor.
//!
//! How it is known: a directory below /proc/PID/net belongs to the namespace of that process, holds nothing
//! alive, and can still be looked into when the process is gone. Its entries go when the kernel takes the
//! namespace down.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::fstatat;

/// Above this many, a start waits. The kernel takes them down in batches, and the last stage of a batch is not
/// seen, nor what other threads are just ending: 64 are not passed.
const MOST: usize = 48;

/// How often they are looked at meanwhile, and for how long: a start that waits for ever is worse.
const LOOK: Duration = Duration::from_micros(500);
const PATIENCE: Duration = Duration::from_secs(1);

static WAITING: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());

fn waiting() -> MutexGuard<'static, Vec<OwnedFd>> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The network namespace of a run. Let go of after the run's end, it counts as waiting until the kernel has
/// taken it down.
#[derive(Debug)]
pub(super) struct Network(Option<OwnedFd>);

impl Network {
    /// Of the process `pid`, which has said that it has one of its own. `None` when it has already ended, or /proc is
    /// not what it should be: then this one is not counted.
    pub(super) fn of(pid: i32) -> Option<Self> {
        let options = libc::O_PATH | libc::O_DIRECTORY;
        let stat = fs::OpenOptions::new().read(true).custom_flags(options).open(format!("/proc/{pid}/net/stat"));
        Some(Self(Some(stat.ok()?.into())))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        waiting().extend(self.0.take());
    }
}

/// Waits until there are few.
pub(in crate::sandbox) fn wait_for_few() {
    let deadline = Instant::now() + PATIENCE;
    while are_many() && Instant::now() < deadline {
        thread::sleep(LOOK);
    }
}

/// Only where there would be too many are they looked at, one by one.
fn are_many() -> bool {
    let mut waiting = waiting();
    if waiting.len() > MOST {
        waiting.retain(|network| !is_gone(network));
    }
    waiting.len() > MOST
}

fn is_gone(network: &OwnedFd) -> bool {
    fstatat(network, "rt_cache", AtFlags::AT_SYMLINK_NOFOLLOW) == Err(Errno::ENOENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_gone_when_its_last_process_is_and_not_before() {
        let mut child = std::process::Command::new("unshare")
            .args(["--user", "--net", "sh", "-c", "echo; exec cat"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let network = Network::of(pid).unwrap().0.take().unwrap();

        assert!(!is_gone(&network));
        drop(child.stdin.take());
        child.wait().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is_gone(&network) {
            assert!(Instant::now() < deadline, "the kernel never took it down");
            thread::sleep(Duration::from_millis(5));
        }
    }
}
