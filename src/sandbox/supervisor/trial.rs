//! Trials: one small child, one thing tried, nothing left.
//!
//! For: `jail doctor`: carrying out what `plan::trial` made, and the two things that a run's supervisor does
//! itself, cgroups and id-mapped trees.
//! Not for: runs.
//! Runs in: the supervisor.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::{TimeSpec, TimeValLike as _};
use nix::unistd::{read, write};

use crate::error::{Error, ErrorKind, describe};
use crate::host::Host;
use crate::policy::{Layer, Policy};
use crate::sandbox::child::record::{self, Record};
use crate::sandbox::child::{self, Slots};
use crate::sandbox::plan::op::{SLOTS, Slot};
use crate::sandbox::plan::trial::Trial;
use crate::sandbox::plan::{self, ids};
use crate::sandbox::sys::Errno;
use crate::sandbox::sys::mount::Attrs;
use crate::sandbox::sys::process;

use super::{cgroup, gate, name_run};

/// Longest that a trial may take; then its child is killed.
const DEADLINE: Duration = Duration::from_secs(5);

/// Where a trial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// The child could not be cloned.
    Clone,
    /// Its id maps could not be written.
    Maps,
    /// A step failed.
    Step,
    /// The child was killed without a word: by a filter of whoever started us, or it took too long.
    Gone,
}

/// Why a trial failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) at: At,
    /// The step, in words.
    pub(crate) what: String,
    pub(crate) errno: Option<i32>,
}

impl Refused {
    fn of(at: At, error: &Error) -> Self {
        Self { at, what: error.to_string(), errno: error.errno() }
    }
}

/// Carries out a trial.
pub(crate) fn attempt(trial: &Trial) -> Result<(), Refused> {
    let internal = |error: Error| Refused::of(At::Clone, &error);
    let (setup, setup_child) = gate::pipe().map_err(internal)?;
    let (tie_child, tie) = gate::pipe().map_err(internal)?;
    let mut slots = Slots([-1; SLOTS]);
    for (slot, end) in [(Slot::SETUP, &setup_child), (Slot::TIE, &tie_child)] {
        let refused = |errno: Errno| Refused { at: At::Clone, what: "slots".to_owned(), errno: Some(errno.0) };
        slots.set(slot, end.as_raw_fd()).map_err(refused)?;
    }
    let script = trial.plan.script();
    let process = process::spawn(trial.start, trial.namespaces, None, || child::run(&script, &mut slots))
        .map_err(|errno| Refused { at: At::Clone, what: trial.start.name().to_owned(), errno: Some(errno.0) })?;
    // The child has its copies: its end must be seen.
    drop((setup_child, tie_child));
    if let Some(Err(error)) = trial.map.map(|map| gate::write_maps(&process, map)) {
        // A child that ended before the gate has no maps to write; one that is there ends with the tie.
        drop(tie);
        return Err(match answer(&setup) {
            Some(Answer::Failed(Record::Failed { step, errno, .. })) if !trial.is_gate(step) => {
                Refused { at: At::Step, what: trial.words(step), errno: Some(errno) }
            }
            Some(Answer::Done | Answer::Failed(_)) | None => Refused::of(At::Maps, &error),
        });
    }
    // It may have failed before the gate; then nobody reads this, and its record says why.
    let released = write(&tie, b"!");
    let answer = answer(&setup);
    // Killed and reaped, if it has not ended: also when it hangs.
    drop(process);
    match answer {
        Some(Answer::Done) => Ok(()),
        Some(Answer::Failed(Record::Failed { step, errno, .. })) => {
            Err(Refused { at: At::Step, what: trial.words(step), errno: Some(errno) })
        }
        Some(Answer::Failed(Record::Ended { .. } | Record::Stamp { .. } | Record::Networked)) | None => Err(Refused {
            at: At::Gone,
            what: "the child ended without a word".to_owned(),
            errno: released.err().map(|errno| errno as i32),
        }),
    }
}

enum Answer {
    Done,
    Failed(Record),
}

/// What the child says, if it does so in time.
fn answer(setup: &OwnedFd) -> Option<Answer> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = TimeSpec::nanoseconds(i64::try_from(left.as_nanos()).unwrap_or(i64::MAX));
        let mut fds = [PollFd::new(setup.as_fd(), PollFlags::POLLIN)];
        match ppoll(&mut fds, Some(timeout), None) {
            Err(nix::errno::Errno::EINTR) => {}
            Ok(1) => break,
            Ok(_) | Err(_) => return None,
        }
    }
    // Nothing to read is the end of the child.
    let mut bytes = [0; record::LEN];
    let count = read(setup, &mut bytes).ok()?;
    match bytes.get(..count)? {
        b"!" => Some(Answer::Done),
        record => Record::decode(record).map(Answer::Failed),
    }
}

/// Makes the groups of one layer, writes its limits, and removes them again.
///
/// # Errors
/// The write or the directory that was refused.
pub(crate) fn group(layer: Layer, policy: &Policy, host: &Host) -> Result<(), Error> {
    let (groups, steps) = plan::trial::groups(layer, policy, host, &name_run().name)?;
    let mut guard = cgroup::Guard::new(groups);
    for step in steps {
        guard.carry_out(&step.op)?;
    }
    guard.remove()
}

/// Makes a copy of the mount of `dir`, as a root caller's own files are shown; `mapped` demands that it is id-mapped.
///
/// # Errors
/// The caller may not mount, a user namespace cannot be made, or the file system cannot be id-mapped.
pub(crate) fn own_tree(dir: &Path, host: &Host, mapped: bool) -> Result<(), Error> {
    let found = host.files.find(dir).map_err(|error| {
        Error::new(ErrorKind::Setup, format!("cannot look at {}: {}", dir.display(), describe(&error)))
    })?;
    let map = ids::IdMap::new(host, std::process::id())?;
    let (namespace, _ended) = gate::make_id_map(map.uid, map.gid)?;
    gate::map_tree(&found, Attrs::NOSUID.and(Attrs::NODEV), namespace.as_fd(), !mapped).map(drop)
}
