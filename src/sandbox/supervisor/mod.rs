//! The supervisor: one thread, one poll loop, from the clone to the report.
//!
//! For: following a run to its end, whatever the program does: limits that no kernel mechanism ends a
//! run for, streams, signals, accounting, clean-up.
//! Not for: deciding what to set up (see `plan`) or doing it inside (see `child`).
//! Runs in: the caller's thread that calls [`Running::wait`].
//!
//! No signal handlers, no `waitpid(-1)`, no threads: a library must not own its caller's SIGCHLD. The
//! number of descriptors does not grow with the number of tasks inside.

mod cgroup;
mod explain;
mod finish;
mod gate;
mod scratch;
mod stream;
mod teardown;
pub(crate) mod trial;
mod usage;
mod verdict;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::{TimeSpec, TimeValLike as _};
use nix::unistd::{dup, read, write};

use crate::error::{Error, ErrorKind, describe_errno};
use crate::policy::{Isolation, Layer, OnOverflow};
use crate::report::{Report, Setup, rfc3339};
use crate::sandbox::child::record::{self, Record};
use crate::sandbox::plan::op::Moment;
use crate::sandbox::plan::{Plan, RunName};
use crate::sandbox::sys::process::{self, Process};
use crate::sandbox::{Command, OutputMode, Stdin, Terms};

pub(super) use cgroup::start_time;
use gate::News;
use stream::{Buffer, Input, Output};
use teardown::Network;
pub(super) use teardown::wait_for_few;
use usage::Samples;
use verdict::Cause;

/// How long the program has to end by itself after a signal that cancels the run.
const GRACE: Duration = Duration::from_millis(300);

/// How long a reader has to take what is left when the run was ended by force.
const DRAIN: Duration = Duration::from_millis(250);

/// How long init may take to kill what is in its domain.
const LEAVE: Duration = Duration::from_secs(2);

/// How often procfs is looked at, where it has to stand in for a cgroup.
const SAMPLE: Duration = Duration::from_millis(20);

/// How long an OOM kill may take after it was announced.
const OOM_WAIT: Duration = Duration::from_millis(200);

/// The least time between two looks at the CPU time.
const CPU_TICK: Duration = Duration::from_millis(5);

/// A run that has been started. Dropping it kills everything in it and removes its groups.
#[derive(Debug)]
pub struct Running {
    terms: Arc<Terms>,
    plan: Plan,
    name: RunName,
    argv: Vec<String>,
    started_at: String,
    started: Instant,
    setup: Setup,
    /// The child's last moment, on its clock.
    last_stamp: u32,
    unmapped: Vec<gate::Unmapped>,
    /// `None` once it is reaped.
    process: Option<Process>,
    /// Let go of after the process.
    _network: Option<Network>,
    guard: cgroup::Guard,
    /// Removed after everybody who could write to it.
    scratch: Option<scratch::Scratch>,
    /// `None` after its end: the program runs, or the set-up failed.
    setup_pipe: Option<OwnedFd>,
    /// `None` when nothing more can come from it.
    status_pipe: Option<OwnedFd>,
    /// `None` once the run is being ended.
    tie: Option<OwnedFd>,
    stdin: Input,
    stdout: Output,
    stderr: Output,
    signals: Option<Signals>,
    buffer: Buffer,
    samples: Option<Samples>,
    next_sample: Instant,
    next_cpu_check: Option<Instant>,
    oom_seen: Option<Instant>,
    failure: Option<Error>,
    cause: Option<Cause>,
    kill_at: Option<Instant>,
    killed: bool,
    /// Until then init has to have killed what only it can.
    force_at: Option<Instant>,
    output_cut: bool,
    /// The program was executed: every step of the set-up succeeded.
    ran: bool,
    status: Option<i32>,
    /// What was counted, read before init's end where init had said that nobody else was left.
    figures: Option<finish::Figures>,
    ended: Option<Instant>,
    drain_until: Option<Instant>,
}

/// The caller's signals that cancel a run, taken as descriptor events for as long as it lasts.
#[derive(Debug)]
struct Signals {
    fd: SignalFd,
    before: SigSet,
}

impl Signals {
    fn take() -> nix::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            set.add(signal);
        }
        let before = SigSet::thread_get_mask()?;
        set.thread_block()?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { fd, before })
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // The mask was valid when it was read; there is no other way for this to fail.
        if self.before.thread_set_mask().is_err() {}
    }
}

/// Names a run. Another supervisor can tell from the name whether this one is still alive.
pub(super) fn name_run() -> RunName {
    static STARTED: OnceLock<u64> = OnceLock::new();
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let pid = std::process::id();
    let started = *STARTED.get_or_init(|| start_time(pid).unwrap_or(0));
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    RunName {
        name: cgroup::name(pid, started, run),
        number: pid.wrapping_add(run.wrapping_mul(7919)),
        // The command makes no second, and need not pay for it.
        counted: run > 0,
    }
}

/// Carries out a plan up to the moment when the program runs, or the set-up has failed.
///
/// # Errors
/// The supervisor's own part of the set-up failed. A failure inside is in the [`Running`].
pub(super) fn launch(
    terms: &Arc<Terms>,
    plan: Plan,
    name: RunName,
    command: &Command,
    started: Instant,
) -> Result<Running, Error> {
    let plan_us = micros(started.elapsed());
    let started_at = rfc3339(SystemTime::now());
    let signals = if command.cancels_on_signals() {
        Some(Signals::take().map_err(|errno| refused("take the cancelling signals", errno))?)
    } else {
        None
    };
    // Before there are groups of ours: where a directory cannot be closed, the standard library ends this process.
    let sweep = Instant::now();
    cgroup::sweep(&plan.groups);
    let sweep = sweep.elapsed();
    let (bytes, from) = stdin(command)?;
    // Before any descriptor is made: with the caller's stdout closed, one of ours would get its number.
    let sinks = match command.output_mode() {
        OutputMode::Capture => None,
        OutputMode::Inherit => Some((sink(dup(io::stdout()))?, sink(dup(io::stderr()))?)),
    };
    let mut guard = cgroup::Guard::new(plan.groups.clone());
    let gate::Started { process, network, ends, unmapped, scratch, cgroup, clone, released, released_us } =
        gate::start(&plan, &mut guard)?;
    // The report has it. It is made here, while the child makes its root.
    terms.digest();
    let (cgroup_us, clone_us) = (micros(sweep + cgroup), micros(clone));
    let keep = terms.policy.output.keep.value.0;
    let (stdout, stderr) = match sinks {
        None => (Output::keep(ends.stdout, keep), Output::keep(ends.stderr, keep)),
        Some((out, err)) => (Output::pass(ends.stdout, out), Output::pass(ends.stderr, err)),
    };
    let counts =
        [Layer::CgroupMemory, Layer::CgroupPids, Layer::CgroupCpu].into_iter().all(|layer| plan.applies(layer));
    let mut running = Running {
        setup: Setup {
            plan_us,
            cgroup_us,
            prepare_us: micros(released - started).saturating_sub(plan_us + cgroup_us + clone_us),
            clone_us,
            ..Setup::default()
        },
        last_stamp: released_us,
        unmapped,
        _network: network,
        process: Some(process),
        guard,
        scratch,
        setup_pipe: Some(ends.setup),
        status_pipe: Some(ends.status),
        tie: Some(ends.tie),
        stdin: Input::new(ends.stdin, bytes, from),
        stdout,
        stderr,
        signals,
        buffer: Buffer::default(),
        samples: (!counts).then(Samples::default),
        next_sample: released,
        next_cpu_check: None,
        oom_seen: None,
        failure: None,
        cause: None,
        kill_at: None,
        killed: false,
        force_at: None,
        output_cut: false,
        ran: false,
        status: None,
        figures: None,
        ended: None,
        drain_until: None,
        terms: Arc::clone(terms),
        plan,
        name,
        argv: command.display(),
        started_at,
        started,
    };
    if let Some(limit) = running.terms.policy.limits.cpu_time.value {
        // Nothing is used up yet.
        running.next_cpu_check = Some(released + running.soonest(limit.0 * 1000));
    }
    while running.setup_pipe.is_some() && running.ended.is_none() {
        running.turn()?;
    }
    Ok(running)
}

/// A stream of the caller's to pass output on to. One that is closed takes nothing, as without us.
fn sink(stream: nix::Result<OwnedFd>) -> Result<Option<OwnedFd>, Error> {
    match stream {
        Ok(stream) => Ok(Some(stream)),
        Err(Errno::EBADF) => Ok(None),
        Err(errno) => Err(refused("use stdout or stderr", errno)),
    }
}

/// What the program reads first, and where the rest comes from.
fn stdin(command: &Command) -> Result<(Vec<u8>, Option<OwnedFd>), Error> {
    let from = match command.stdin_source() {
        Stdin::Null => return Ok((Vec::new(), None)),
        Stdin::Bytes(bytes) => return Ok((bytes.clone(), None)),
        Stdin::Inherit => dup(io::stdin()),
        Stdin::File(file) => dup(file),
    };
    match from {
        Ok(from) => {
            let stat = nix::sys::stat::fstat(&from).map_err(|errno| refused("look at stdin", errno))?;
            if stat.st_mode & libc::S_IFMT == libc::S_IFDIR {
                return Err(Error::new(ErrorKind::Usage, "stdin is a directory").with_hint("redirect it from a file"));
            }
            Ok((Vec::new(), Some(from)))
        }
        // The caller runs with stdin closed: there is nothing to read.
        Err(Errno::EBADF) => Ok((Vec::new(), None)),
        Err(errno) => Err(refused("use stdin", errno)),
    }
}

fn refused(what: &str, errno: Errno) -> Error {
    Error::new(ErrorKind::Setup, format!("cannot {what}: {}", describe_errno(errno as i32))).with_errno(errno as i32)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What a descriptor of the poll set stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Event {
    Ended,
    Status,
    Setup,
    Signal,
    Oom,
    StdinSource,
    StdinTarget,
    StdoutSource,
    StdoutTarget,
    StderrSource,
    StderrTarget,
}

impl Running {
    /// Why the set-up failed, if it did: the program never ran.
    pub(super) fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// Takes the failure out.
    pub(super) fn into_failure(mut self) -> Option<Error> {
        self.failure.take()
    }

    /// Ends the run at once. Its report will say that it was cancelled.
    pub fn kill(&mut self) {
        if self.ended.is_none() {
            self.end(Cause::Cancelled(None));
        }
    }

    /// Sends a signal, 1 to 64, to the program (not to what it started).
    ///
    /// # Errors
    /// There is no such signal, or the run has ended.
    pub fn signal(&self, signal: u8) -> Result<(), Error> {
        if !(1..=64).contains(&signal) {
            return Err(Error::new(ErrorKind::Usage, format!("{signal} is not a signal (1 to 64 are)")));
        }
        let Some(tie) = &self.tie else {
            return Err(Error::new(ErrorKind::Usage, "the run has ended: there is nobody to signal"));
        };
        write(tie, &[signal]).map_err(|errno| refused("send a signal", errno))?;
        Ok(())
    }

    /// Follows the run to its end. Nothing of it is left when this returns.
    #[must_use]
    pub fn wait(mut self) -> Report {
        while !self.is_over() {
            if let Err(error) = self.turn() {
                self.failure.get_or_insert(error);
                self.kill_all();
                break;
            }
        }
        self.finish()
    }

    fn is_over(&self) -> bool {
        let Some(_) = self.ended else { return false };
        self.stdout.is_done() && self.stderr.is_done()
    }

    /// One poll and what follows from it.
    fn turn(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        self.act_on_time(now)?;
        if self.ended.is_some() {
            self.take_the_rest()?;
        }
        if self.is_over() {
            return Ok(());
        }
        let timeout = self.next_deadline().map(|at| at.saturating_duration_since(now));
        // Rounded up: a poll that returns just before its deadline would be followed by another.
        let timeout = timeout.map(|left| TimeSpec::nanoseconds(i64::try_from(left.as_nanos()).unwrap_or(i64::MAX)));
        for event in self.poll(timeout)? {
            self.act_on(event)?;
        }
        Ok(())
    }

    fn poll(&self, timeout: Option<TimeSpec>) -> Result<Vec<Event>, Error> {
        let mut set: Vec<(Event, BorrowedFd<'_>, PollFlags)> = Vec::new();
        if let (Some(process), None) = (&self.process, self.ended) {
            set.push((Event::Ended, process.pidfd.as_fd(), PollFlags::POLLIN));
        }
        if let Some(status) = &self.status_pipe {
            set.push((Event::Status, status.as_fd(), PollFlags::POLLIN));
        }
        if let Some(setup) = &self.setup_pipe {
            set.push((Event::Setup, setup.as_fd(), PollFlags::POLLIN));
        }
        if let Some(signals) = &self.signals {
            set.push((Event::Signal, signals.fd.as_fd(), PollFlags::POLLIN));
        }
        if let (Some(event), None) = (self.guard.oom_event(), self.ended) {
            set.push((Event::Oom, event, PollFlags::POLLIN));
        }
        let streams = [
            (Event::StdinSource, self.stdin.source(), PollFlags::POLLIN),
            (Event::StdinTarget, self.stdin.target(), PollFlags::POLLOUT),
            (Event::StdoutSource, self.stdout.source(), PollFlags::POLLIN),
            (Event::StdoutTarget, self.stdout.target(), PollFlags::POLLOUT),
            (Event::StderrSource, self.stderr.source(), PollFlags::POLLIN),
            (Event::StderrTarget, self.stderr.target(), PollFlags::POLLOUT),
        ];
        set.extend(streams.into_iter().filter_map(|(event, fd, flags)| Some((event, fd?, flags))));
        let mut fds: Vec<PollFd<'_>> = set.iter().map(|(_, fd, flags)| PollFd::new(*fd, *flags)).collect();
        match ppoll(&mut fds, timeout, None) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Vec::new()),
            Err(errno) => return Err(refused("poll", errno)),
        }
        let ready = |fd: &PollFd<'_>| fd.any().unwrap_or(true);
        Ok(set.iter().zip(&fds).filter(|(_, fd)| ready(fd)).map(|((event, ..), _)| *event).collect())
    }

    fn act_on(&mut self, event: Event) -> Result<(), Error> {
        match event {
            Event::Ended => {
                self.read_status()?;
                self.ended = Some(Instant::now());
                self.stdout.all_written();
                self.stderr.all_written();
                // Nobody of the jail holds it any more; a copy in another process of the caller's may.
                self.setup_pipe = None;
                if self.cause.is_some() || self.failure.is_some() {
                    self.drain_until = Some(Instant::now() + DRAIN);
                }
            }
            Event::Status => self.read_status()?,
            Event::Setup => self.read_setup()?,
            Event::Signal => self.read_signal()?,
            Event::Oom => {
                self.guard.clear_oom_event().map_err(|error| {
                    refused("read the OOM event", Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
                })?;
                // The event comes just before the kill: the counter tells when it has happened.
                self.oom_seen = Some(Instant::now());
            }
            Event::StdinSource => self.stdin.fill(&mut self.buffer),
            Event::StdinTarget => self.stdin.flush(),
            Event::StdoutSource | Event::StderrSource => {
                self.take_output(event == Event::StdoutSource)?;
            }
            Event::StdoutTarget => {
                let result = self.stdout.flush();
                self.handed_on(result);
            }
            Event::StderrTarget => {
                let result = self.stderr.flush();
                self.handed_on(result);
            }
        }
        Ok(())
    }

    /// After the end of everything in the jail: what is in the pipes is all there will be. Their end of file
    /// is not waited for, since somebody outside may have been sent a copy of the writing end.
    fn take_the_rest(&mut self) -> Result<(), Error> {
        for is_stdout in [true, false] {
            let stream = |running: &Self| {
                if is_stdout { running.stdout.source().is_some() } else { running.stderr.source().is_some() }
            };
            while stream(self) {
                if self.take_output(is_stdout)? == 0 {
                    if is_stdout { self.stdout.close() } else { self.stderr.close() }
                }
            }
        }
        Ok(())
    }

    /// How many bytes there were.
    fn take_output(&mut self, is_stdout: bool) -> Result<u64, Error> {
        let written = self.stdout.total() + self.stderr.total();
        let allowed = self.terms.policy.output.limit.value.map_or(u64::MAX, |limit| limit.0.saturating_sub(written));
        let stream = if is_stdout { &mut self.stdout } else { &mut self.stderr };
        let count = stream
            .fill(&mut self.buffer, allowed)
            .map_err(|error| refused("read output", Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))))?;
        if count > allowed {
            self.output_cut = true;
            match self.terms.policy.output.on_overflow.value {
                // Whether or not the program has meanwhile ended by itself.
                OnOverflow::Kill => {
                    self.cause.get_or_insert(Cause::Output);
                    self.kill_all();
                }
                OnOverflow::Truncate => {}
            }
        }
        Ok(count)
    }

    /// A full disk or a broken terminal on the caller's side ends the run: its output would be lost.
    fn handed_on(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            let desc = describe_errno(errno);
            self.failure.get_or_insert(
                Error::new(ErrorKind::Output, format!("the program's output cannot be handed on: {desc}"))
                    .with_hint("the run was ended, for its output would be lost; see where stdout and stderr go")
                    .with_errno(errno),
            );
            self.kill_all();
        }
    }

    fn read_setup(&mut self) -> Result<(), Error> {
        let Some(pipe) = &self.setup_pipe else { return Ok(()) };
        let failed = match gate::news(pipe)? {
            News::None => return Ok(()),
            // A moment that this plan does not have, as that of a root without namespaces; and word of the network
            // namespace, for which only those wait who count them.
            News::Record(Record::Stamp { at: 0, .. } | Record::Networked) => return self.read_setup(),
            News::Record(Record::Stamp { moment, at }) => {
                let passed = Some(u64::from(at.wrapping_sub(self.last_stamp)));
                self.last_stamp = at;
                match moment {
                    Moment::Entered => self.setup.gate_us = passed,
                    Moment::Rooted => self.setup.root_us = passed,
                    Moment::Confined => self.setup.confinement_us = passed,
                }
                // There are three, and what may follow is read at once: after init's end nothing else reads it.
                return self.read_setup();
            }
            // Init closes its end when it is shut in, the payload by its exec. It is also what is left when
            // both are killed on the way: then init has ended as well. Or it has after a payload that ran, which its
            // status says.
            News::End => {
                self.ran |= !self.killed && self.init_lives();
                let now = process::clock_us().map_err(|errno| refused("read the clock", Errno::from_raw(errno.0)))?;
                let sent = self.setup.confinement_us.is_some();
                self.setup.exec_us = sent.then(|| u64::from(now.wrapping_sub(self.last_stamp)));
                None
            }
            News::Record(Record::Failed { role, step, errno }) => {
                // As the caller named it.
                let program = self.argv.first().map_or("", String::as_str);
                Some(explain::step(&self.plan, role, step, errno, program))
            }
            News::Record(Record::Ended { .. }) => {
                Some(Error::new(ErrorKind::Internal, "init reported an end where set-up records belong"))
            }
        };
        self.setup_pipe = None;
        if failed.is_some() {
            self.failure = failed;
            self.kill_all();
        }
        Ok(())
    }

    fn read_status(&mut self) -> Result<(), Error> {
        // The earlier news first: of a payload that failed there is a status too.
        self.read_setup()?;
        let Some(pipe) = &self.status_pipe else { return Ok(()) };
        let mut bytes = [0; record::LEN];
        match read(pipe, &mut bytes) {
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(()),
            // One record is all that comes, and no init's end without one is a status.
            Ok(_) | Err(_) => self.status_pipe = None,
        }
        if let Some(Record::Ended { status, alone }) = Record::decode(&bytes) {
            self.status = Some(status);
            // Init waits for a payload only after it has let it go.
            self.ran |= self.failure.is_none();
            if alone {
                // While init's namespaces end, which takes as long.
                self.figures = Some(self.read_figures());
            }
        }
        Ok(())
    }

    fn init_lives(&self) -> bool {
        let Some(process) = &self.process else { return false };
        let mut fds = [PollFd::new(process.pidfd.as_fd(), PollFlags::POLLIN)];
        ppoll(&mut fds, Some(TimeSpec::nanoseconds(0)), None) == Ok(0)
    }

    fn read_signal(&mut self) -> Result<(), Error> {
        let Some(signals) = &self.signals else { return Ok(()) };
        let info = signals.fd.read_signal().map_err(|errno| refused("read a signal", errno))?;
        let Some(info) = info else { return Ok(()) };
        let number = i32::try_from(info.ssi_signo).unwrap_or(libc::SIGTERM);
        if self.ended.is_some() {
            // Only the reader of our output is slow; the caller does not want to wait for it.
            self.drain_until = Some(Instant::now());
        } else if self.cause.is_some() || self.setup_pipe.is_some() {
            self.cause.get_or_insert(Cause::Cancelled(Some(number)));
            self.kill_all();
        } else if self.signal(u8::try_from(number).unwrap_or(15)).is_ok() {
            // The program may want to tidy up; it has a moment for that. When it cannot be told, it has
            // just ended by itself, as its pidfd says next.
            self.cause = Some(Cause::Cancelled(Some(number)));
            self.kill_at = Some(Instant::now() + GRACE);
        }
        Ok(())
    }

    /// Ends the run for `cause`, unless it is already ending for another, or has ended by itself.
    fn end(&mut self, cause: Cause) {
        // It may have come since the last look.
        if let Err(error) = self.read_status() {
            self.failure.get_or_insert(error);
        }
        if self.status.is_none() {
            self.cause.get_or_insert(cause);
        }
        self.kill_all();
    }

    /// Kills init, and with it the kernel kills everything in its PID namespace. Without one, init is told by the end
    /// of the tie, and kills everything in its domain.
    fn kill_all(&mut self) {
        if self.killed {
            return;
        }
        self.killed = true;
        self.stdin.close();
        // The second tie: should the signal not get through, init sees the end of this pipe.
        self.tie = None;
        match self.plan.isolation {
            Isolation::Full => self.kill_init(),
            Isolation::Landlock => self.force_at = Some(Instant::now() + LEAVE),
        }
    }

    fn kill_init(&self) {
        if let Some(process) = &self.process
            && process.signal(libc::SIGKILL).is_err()
        {
            // It has ended; the pidfd says so next.
        }
    }

    fn act_on_time(&mut self, now: Instant) -> Result<(), Error> {
        if self.drain_until.is_some_and(|at| now >= at) {
            self.stdout.abandon();
            self.stderr.abandon();
        }
        if self.ended.is_some() {
            return Ok(());
        }
        if self.kill_at.is_some_and(|at| now >= at) {
            self.kill_all();
        }
        if self.force_at.is_some_and(|at| now >= at) {
            // Somebody outside holds it up. What it leaves behind is the cgroup's to kill.
            self.force_at = None;
            self.kill_init();
        }
        if self.wall_deadline().is_some_and(|at| now >= at) {
            self.end(Cause::WallTime);
        }
        if let Some(seen) = self.oom_seen {
            if self.guard.oom_kills().is_some_and(|kills| kills > 0) {
                self.oom_seen = None;
                self.end(Cause::Memory);
            } else if now - seen > OOM_WAIT {
                // Memory was found elsewhere.
                self.oom_seen = None;
            }
        }
        let init = self.process.as_ref().map_or(0, |process| process.pid);
        if let Some(samples) = &mut self.samples
            && now >= self.next_sample
        {
            let limit = self.terms.policy.limits.memory.value.0;
            let limit = (!self.plan.applies(Layer::CgroupMemory)).then_some(limit);
            let over = samples.take(init, limit);
            self.next_sample = now + SAMPLE;
            if over {
                self.end(Cause::SampledMemory);
            }
        }
        if self.next_cpu_check.is_some_and(|at| now >= at) {
            self.check_cpu(now);
        }
        Ok(())
    }

    /// Ends the run when the tree has used up its CPU time, else says when that can be at the earliest.
    fn check_cpu(&mut self, now: Instant) {
        let Some(limit) = self.terms.policy.limits.cpu_time.value else { return };
        let used = self.cpu_us().unwrap_or(0);
        let left = (limit.0 * 1000).saturating_sub(used);
        if left == 0 {
            self.next_cpu_check = None;
            self.end(Cause::CpuTime);
            return;
        }
        self.next_cpu_check = Some(now + self.soonest(left));
    }

    /// How soon so many microseconds of CPU time can be used up.
    fn soonest(&self, left: u64) -> Duration {
        let machine = u64::from(self.plan.cpus) * 1000;
        let cpus = self.terms.policy.limits.cpus.value.filter(|_| self.plan.applies(Layer::CgroupCpu));
        let most = cpus.map_or(machine, |cpus| u64::from(cpus.0).clamp(1, machine));
        // A period of the CPU rate may be used up ahead of time: look a little earlier.
        let earliest = Duration::from_micros(left.saturating_mul(1000) / most * 9 / 10);
        earliest.max(CPU_TICK)
    }

    fn cpu_us(&self) -> Option<u64> {
        self.guard.cpu_us().or_else(|| self.samples.as_ref().map(|samples| samples.cpu_us))
    }

    fn wall_deadline(&self) -> Option<Instant> {
        self.terms.policy.limits.wall.value.map(|limit| self.started + Duration::from_millis(limit.0))
    }

    /// The next moment at which time alone makes something happen.
    fn next_deadline(&self) -> Option<Instant> {
        if self.ended.is_some() {
            return self.drain_until;
        }
        if self.killed {
            return self.force_at;
        }
        let sample = self.samples.as_ref().map(|_| self.next_sample);
        let oom = self.oom_seen.map(|_| Instant::now() + Duration::from_millis(1));
        [self.wall_deadline(), self.kill_at, sample, self.next_cpu_check, oom].into_iter().flatten().min()
    }
}

impl Drop for Running {
    /// Ends what is left; the process is reaped and the groups are removed as the fields go.
    fn drop(&mut self) {
        self.kill_all();
        if let (Some(process), Some(_)) = (&self.process, self.force_at) {
            let mut fds = [PollFd::new(process.pidfd.as_fd(), PollFlags::POLLIN)];
            let left = TimeSpec::nanoseconds(i64::try_from(LEAVE.as_nanos()).unwrap_or(i64::MAX));
            // Whatever it says: init is killed and reaped next.
            if ppoll(&mut fds, Some(left), None).is_err() {}
        }
    }
}
