//! Init: pid 1 of the jail, after it has started the payload.
//!
//! For: reaping, forwarding signals, and ending when the payload or the supervisor does; the kernel
//! then kills whatever is left in the PID namespace.
//! Not for: the set-up (see `execute`).
//! Runs in: init, under its own filter: read, write, ppoll, wait4, kill and exit are all it has.

use crate::sandbox::child::Slots;
use crate::sandbox::child::record::Record;
use crate::sandbox::plan::op::{Moment, Slot};
use crate::sandbox::sys::fd;
use crate::sandbox::sys::{Errno, Result, process};

/// What init remembers.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    /// The payload's pid inside, 0 before it is there.
    pub(super) payload: i32,
    /// When each [`Moment`] was, in microseconds of the monotonic clock; the payload's copy goes on.
    pub(super) stamps: [u32; Moment::ALL.len()],
}

impl State {
    pub(super) const fn new() -> Self {
        Self { payload: 0, stamps: [0; Moment::ALL.len()] }
    }

    pub(super) const fn stamp(&mut self, moment: Moment, at: u32) {
        let [entered, rooted, confined] = &mut self.stamps;
        match moment {
            Moment::Entered => *entered = at,
            Moment::Rooted => *rooted = at,
            Moment::Confined => *confined = at,
        }
    }
}

/// Waits for the payload's end and reports it. Returns when init has to go.
pub(super) fn reap(slots: &Slots, state: &State) -> Result<()> {
    let (status_pipe, tie, children) = (slots.get(Slot::STATUS)?, slots.get(Slot::TIE)?, slots.get(Slot::CHILDREN)?);
    let readable = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let mut buffer = [0_u8; 128]; // one signalfd_siginfo
    loop {
        let mut fds = [readable(children), readable(tie)];
        fd::poll(&mut fds)?;
        let [children_event, tie_event] = fds;
        if children_event.revents != 0 {
            fd::read(children, &mut buffer)?;
            // Several ends may stand behind one SIGCHLD: reap until there is none.
            while let Some((pid, status)) = reap_one()? {
                if pid == state.payload {
                    let alone = is_alone()?;
                    fd::write(status_pipe, &Record::Ended { status, alone }.encode())?;
                    return Ok(());
                }
            }
        }
        if tie_event.revents != 0 {
            let (signal, _) = buffer.split_at_mut(1);
            // End of file: the supervisor is gone, however it went.
            if fd::read(tie, signal)? == 0 {
                return Ok(());
            }
            if let [number] = *signal {
                forward(state.payload, i32::from(number))?;
            }
        }
    }
}

/// Where no PID namespace does it. The payload and what it started cannot leave the Landlock domain, and cannot
/// signal out of it; this process is in the domain's outer layer, whose scope holds its signals too.
pub(super) fn kill_all() -> Result<()> {
    match process::kill_all() {
        // There was nobody left.
        Ok(()) | Err(Errno(libc::ESRCH)) => process::reap_all(),
        Err(errno) => Err(errno),
    }
}

/// Whether all that the payload started has ended too: whoever loses its parent becomes a child of this process.
fn is_alone() -> Result<bool> {
    loop {
        match process::reap_any() {
            Ok(Some(_another)) => {}
            Ok(None) => return Ok(false),
            Err(Errno(libc::ECHILD)) => return Ok(true),
            Err(errno) => return Err(errno),
        }
    }
}

fn reap_one() -> Result<Option<(i32, i32)>> {
    match process::reap_any() {
        Err(Errno(libc::ECHILD)) => Ok(None),
        other => other,
    }
}

fn forward(payload: i32, signal: i32) -> Result<()> {
    match process::kill(payload, signal) {
        // It has ended, and its status is on the way; or this is no signal.
        Err(Errno(libc::ESRCH | libc::EINVAL)) => Ok(()),
        other => other,
    }
}
