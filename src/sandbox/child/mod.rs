//! The child: everything between clone and exec.
//!
//! For: carrying out a script, step by step, and saying in 16 bytes which step failed.
//! Not for: deciding anything. What to do, in which order, with which flags was settled by the plan.
//! Runs in: init (pid 1 of the jail) and the payload until its exec, both in the same memory; [`hold`] in a process of
//! its own in the supervisor's.
//!
//! This code runs in a copy of a process whose other threads vanished wherever they stood, so it holds
//! to the rules of a signal handler and more: no heap (nothing with a destructor), no locks, no panics
//! (no indexing, no unwrap, no arithmetic that can overflow), no standard library that does any of it,
//! no fallbacks. `scripts/check-child` walks the disassembly from the three entries and demands exactly that.

mod execute;
mod init;
pub(crate) mod record;

use crate::sandbox::plan::op::{FilterOf, Op, SLOTS, Slot, Text};
use crate::sandbox::sys::fd::{self, Fd};
use crate::sandbox::sys::process::{self, Entry, ExecBlock};
use crate::sandbox::sys::{Errno, Result, ZStr};

use record::{Record, Role};

/// All that the child needs, made before the clone and never changed after it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Script<'a> {
    pub(crate) init: &'a [Op],
    pub(crate) payload: &'a [Op],
    pub(crate) arena: &'a [u8],
    pub(crate) init_filter: &'a [libc::sock_filter],
    pub(crate) payload_filter: &'a [libc::sock_filter],
    pub(crate) exec: &'a ExecBlock,
}

impl<'a> Script<'a> {
    /// A string of the arena. A plan never has one that is not there; if it had, the step fails.
    fn text(&self, text: Text) -> Result<ZStr<'a>> {
        let start = text.offset as usize;
        let Some(end) = start.checked_add(text.len as usize) else { return Err(Errno(libc::EFAULT)) };
        self.arena.get(start..end).and_then(ZStr::new).ok_or(Errno(libc::EFAULT))
    }

    const fn filter(&self, of: FilterOf) -> &'a [libc::sock_filter] {
        match of {
            FilterOf::Init => self.init_filter,
            FilterOf::Payload => self.payload_filter,
        }
    }
}

/// The descriptors of the child; -1 where there is none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slots(pub(crate) [Fd; SLOTS]);

impl Slots {
    fn get(&self, slot: Slot) -> Result<Fd> {
        match self.0.get(usize::from(slot.0)) {
            Some(&fd) if fd >= 0 => Ok(fd),
            _ => Err(Errno(libc::EBADF)),
        }
    }

    pub(crate) fn set(&mut self, slot: Slot, fd: Fd) -> Result<()> {
        match self.0.get_mut(usize::from(slot.0)) {
            Some(place) => {
                *place = fd;
                Ok(())
            }
            None => Err(Errno(libc::EBADF)),
        }
    }

    fn close(&mut self, slot: Slot) -> Result<()> {
        let fd = self.get(slot)?;
        self.forget(slot)?;
        fd::close(fd)
    }

    /// Leaves the descriptor to the next `CloseOthers`, which closes many in a few calls.
    fn forget(&mut self, slot: Slot) -> Result<()> {
        self.set(slot, -1)
    }
}

/// Entry of init. The value is an exit code, which says nothing: the records do.
#[inline(never)]
pub(crate) fn run(script: &Script<'_>, slots: &mut Slots) -> i32 {
    walk(script, script.init, Role::Init, slots, &mut init::State::new());
    0
}

/// The payload's own: what it and init would change under each other's hands. The script stays where it is, in the
/// memory that they share until the exec.
#[derive(Clone, Copy)]
struct Payload<'a> {
    script: Script<'a>,
    slots: Slots,
    state: init::State,
}

impl Entry for Payload<'_> {
    /// Entry of the payload. It leaves only without an exec.
    extern "C" fn enter(own: &mut Self) -> ! {
        let Self { script, slots, state } = own;
        walk(script, script.payload, Role::Payload, slots, state);
        process::exit(1)
    }
}

/// Entry of the process that keeps a user namespace alive until the supervisor has a descriptor of it:
/// waits for the end of the pipe whose descriptor is the number `wait`. It inherits more than that: the other end of
/// the pipe, and those of other runs that other threads are just starting, which would wait for each other for ever.
/// It shares the supervisor's memory, of which it touches nothing but its stack.
#[inline(never)]
pub(crate) extern "C" fn hold(wait: *mut libc::c_void) -> i32 {
    let Ok(wait) = Fd::try_from(wait.addr()) else { return 1 };
    let mut byte = [0_u8; 1];
    i32::from(close_all_but(&[wait], 0).is_err() || fd::read(wait, &mut byte).is_err())
}

/// Closes every descriptor from `first` on but `kept`, gap by gap: the lowest kept number not yet passed
/// ends a gap. Negative numbers stand for none.
fn close_all_but(kept: &[Fd], first: u32) -> Result<()> {
    let mut from = first;
    loop {
        let mut next: Option<u32> = None;
        for &fd in kept {
            let Ok(fd) = u32::try_from(fd) else { continue };
            let lower = match next {
                Some(lowest) => fd < lowest,
                None => true,
            };
            if fd >= from && lower {
                next = Some(fd);
            }
        }
        let Some(keep) = next else { return fd::close_range(from, u32::MAX, false) };
        if keep > from {
            fd::close_range(from, keep.saturating_sub(1), false)?;
        }
        from = keep.saturating_add(1);
    }
}

fn walk(script: &Script<'_>, ops: &[Op], role: Role, slots: &mut Slots, state: &mut init::State) {
    let mut step: u16 = 0;
    for &op in ops {
        match execute::execute(script, op, slots, state) {
            Ok(()) => {}
            Err(errno) => {
                let record = Record::Failed { role, step, errno: errno.0 }.encode();
                // Nobody to tell if this fails too: the supervisor then sees an end without an exec.
                if let Ok(setup) = slots.get(Slot::SETUP)
                    && fd::write(setup, &record).is_err()
                {}
                return;
            }
        }
        step = step.saturating_add(1);
    }
}
