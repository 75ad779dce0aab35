//! The battery: which cases, in which order, how many at once, and what comes of it.
//!
//! For: the flow from a policy to an exit code. A signal that cancels ends every run, and leaves nothing.
//! Not for: a single case (`run`), or what is printed (`output`).
//! Runs in: the process of `jail selftest`.

use std::collections::VecDeque;
use std::io;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use jail::report::Posture;
use jail::{Error, Policy, Report};

use super::judge::{Outcome, word};
use super::output::{Progress, Summary, document};
use super::run::Runner;
use super::stage::World;
use super::{Case, Class, Lane, all};
use crate::render;

/// Something did not hold.
const FAILED: u8 = 1;

/// The battery could not be begun, as `jail` could not.
const NOT_BEGUN: u8 = crate::FAILED;

/// What the plainest run takes at most on a usual machine, a busy one too; an emulated one needs several times as much.
const PLAINEST: Duration = Duration::from_millis(100);

/// Nothing is given more time than this times the usual.
const SLOWEST: u32 = 10;

/// How often the bystander's timer is due.
const BYSTANDER: Duration = Duration::from_millis(80);

/// What is wanted of the battery.
#[derive(Debug)]
pub(crate) struct Selection {
    pub(crate) only: Vec<String>,
    pub(crate) skip: Vec<String>,
    pub(crate) jobs: usize,
    pub(crate) json: bool,
    pub(crate) require_all: bool,
    pub(crate) no_systemd: bool,
}

impl Selection {
    /// The cases that are meant, in the order of their tables.
    pub(super) fn cases(&self) -> Result<Vec<&'static Case>, Error> {
        for word in self.only.iter().chain(&self.skip) {
            if !all().any(|case| is_meant(case, word)) {
                return Err(Error::usage(format!("{word:?} is neither a case nor a class (see jail selftest --list)")));
            }
        }
        let meant = |words: &[String], case: &Case| words.iter().any(|word| is_meant(case, word));
        let chosen = all().filter(|case| self.only.is_empty() || meant(&self.only, case));
        let chosen: Vec<_> = chosen.filter(|case| !meant(&self.skip, case)).collect();
        if chosen.is_empty() {
            return Err(Error::usage("no case is left to run (--only and --skip leave none)"));
        }
        Ok(chosen)
    }
}

fn is_meant(case: &Case, word: &str) -> bool {
    case.id == word || case.class.name() == word
}

/// One line of the result.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) case: &'static Case,
    pub(super) outcome: Outcome,
    pub(super) report: Option<Report>,
    pub(super) elapsed: Duration,
}

/// Runs the battery, prints what came of it, and gives the exit code.
///
/// # Errors
/// The battery could not be begun: the flags, or a host on which no run starts.
pub(crate) fn battery(policy: Policy, selection: &Selection) -> Result<u8, Error> {
    let cases = selection.cases()?;
    // First of all: whatever is made from here on has to be taken away again.
    let signals = hold_signals()?;
    let began = Instant::now();
    let mut world = World::new(policy, selection.no_systemd)?;
    (world.posture, world.slow) = match first_run(&world) {
        Ok(found) => found,
        Err(said) => {
            render::passed_on(&said);
            return Ok(NOT_BEGUN);
        }
    };
    let runner = Runner::new(&world, 1);
    let late = Mutex::new(Vec::new());
    let over = AtomicBool::new(false);
    let mut progress = Progress::new(cases.len(), selection.json);
    progress.heading(&world);
    let (lines, cancelled) = thread::scope(|scope| {
        scope.spawn(|| bystander(&over, &late));
        let done = all_lanes(&cases, &runner, selection.jobs, &signals, &mut progress);
        over.store(true, Ordering::SeqCst);
        done
    });
    progress.clear();
    let late = late.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut summary = Summary::new(&lines, late, began.elapsed());
    if let Some(signal) = cancelled {
        summary.cancelled = true;
        return Ok(128_u8.saturating_add(u8::try_from(signal).unwrap_or(0)));
    }
    let code = if summary.failed > 0 || summary.judged() == 0 || (selection.require_all && summary.not_judged > 0) {
        FAILED
    } else {
        0
    };
    let printed = if selection.json {
        render::result(&document(&world, &lines, &summary, code == 0)?)
    } else {
        summary.print(&lines, selection.require_all)
    };
    Ok(code.max(printed))
}

/// The signals that end a battery come as events of a descriptor.
fn hold_signals() -> Result<SignalFd, Error> {
    let refused = |errno: nix::errno::Errno| {
        Error::usage(format!("signals cannot be held: {}", jail::describe(&io::Error::from(errno))))
    };
    let held = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    held.thread_block().map_err(refused)?;
    SignalFd::with_flags(&held, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(refused)
}

/// The plainest run. A host or a profile on which it does not start is told apart from a sandbox that fails: what
/// `jail run` said is all there is to say then. Also how slow this machine is.
fn first_run(world: &World) -> Result<(Posture, u32), String> {
    let runner = Runner::new(world, 0);
    let run = match runner.inside("true", &[], Stdio::null()) {
        Ok(live) => live.finish(&runner),
        Err(Outcome::Failed(text) | Outcome::Held(text) | Outcome::Granted(text) | Outcome::NotJudged(text)) => {
            return Err(format!("jail: the plainest run {text}"));
        }
    };
    match run.report {
        Some(report) if run.code == Some(0) => {
            let times = run.elapsed.as_millis() / PLAINEST.as_millis();
            Ok((report.posture, u32::try_from(times).unwrap_or(u32::MAX).clamp(1, SLOWEST)))
        }
        Some(report) if run.stderr.is_empty() => {
            Err(format!("jail: the plainest run does not work with this profile: {}", word(report.verdict.kind)))
        }
        Some(_) | None => Err(run.stderr),
    }
}

/// Lane after lane. Gives what was done, and the signal that ended it early, if one did.
fn all_lanes(
    cases: &[&'static Case],
    runner: &Runner<'_>,
    jobs: usize,
    signals: &SignalFd,
    progress: &mut Progress,
) -> (Vec<Line>, Option<u32>) {
    let mut lines = Vec::new();
    for (lane, workers) in [(Lane::Shared, jobs.max(1)), (Lane::Alone, 1), (Lane::Last, 1)] {
        let queue: VecDeque<&'static Case> = cases.iter().copied().filter(|case| case.lane == lane).collect();
        let queue = Mutex::new(queue);
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let (sender, receiver) = channel();
        let cancelled = thread::scope(|scope| {
            for _ in 0..workers {
                let sender = sender.clone();
                scope.spawn(move || {
                    while let Some(case) = next().filter(|_| !runner.is_cancelled()) {
                        let began = Instant::now();
                        if sender.send(Err(case.id)).is_err() {
                            break;
                        }
                        let (outcome, report) = runner.case(case);
                        if sender.send(Ok(Line { case, outcome, report, elapsed: began.elapsed() })).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(sender);
            let mut cancelled = None;
            loop {
                match receiver.recv_timeout(Duration::from_millis(100)) {
                    Ok(Err(id)) => progress.begun(id),
                    Ok(Ok(line)) => {
                        progress.done(&line);
                        lines.push(line);
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
                if let (None, Ok(Some(signal))) = (cancelled, signals.read_signal()) {
                    cancelled = Some(signal.ssi_signo);
                    runner.cancel();
                }
            }
            cancelled
        });
        if cancelled.is_some() {
            return (lines, cancelled);
        }
    }
    let order = |line: &Line| Class::ALL.iter().position(|class| *class == line.case.class);
    lines.sort_by_key(order);
    (lines, None)
}

/// Another program of this machine, with a timer: how late it is, microseconds.
fn bystander(over: &AtomicBool, late: &Mutex<Vec<u64>>) {
    while !over.load(Ordering::SeqCst) {
        let due = Instant::now() + BYSTANDER;
        thread::sleep(BYSTANDER);
        let by = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
        late.lock().unwrap_or_else(PoisonError::into_inner).push(by);
    }
}
