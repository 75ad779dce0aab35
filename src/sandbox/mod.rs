//! The trusted part: everything that touches the kernel on behalf of a run.
//!
//! For: [`Sandbox`], [`Command`] and [`Running`], and behind them the plan, the child and the supervisor.
//! Not for: text (profiles, reports in words): nothing here reads a profile.
//! Runs in: the supervisor and the child; each module says which.
#![doc = include_str!("DESIGN.md")]

mod child;
mod command;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub(crate) mod plan;
pub(crate) mod supervisor;
mod sys;

use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

pub use command::{Command, OutputMode, Stdin};
pub use plan::Plan;
pub use supervisor::Running;

/// What `jail selftest` tries that no safe wrapper offers.
pub mod attempt {
    pub use super::sys::attempt::{
        child_in_namespaces, idle_child, int80, make, own_stdin, pidfd_open, segment, tgkill, x32,
    };
}

use crate::error::{Error, ErrorKind};
use crate::host::Host;
use crate::policy::{Layer, Millis, Net, Policy};
use crate::report::{LayerStatus, Posture, ProfileId, Report, VerdictKind};

use plan::seccomp::Programs;
pub(crate) use sys::process::Rlimit;

/// Longest that a rehearsal may take.
const REHEARSAL: Millis = Millis(10_000);

/// A policy on this host: what runs are started from. Cheap to keep, shared by any number of runs and
/// threads.
#[derive(Debug, Clone)]
pub struct Sandbox {
    terms: Arc<Terms>,
    host: Host,
}

/// A policy and what follows from it alone: the same for every run, and made once.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) policy: Policy,
    pub(crate) filters: Arc<Programs>,
    digest: OnceLock<String>,
}

impl Terms {
    fn new(policy: Policy) -> Result<Arc<Self>, Error> {
        let filters = Arc::new(Programs::new(&policy)?);
        Ok(Arc::new(Self { policy, filters, digest: OnceLock::new() }))
    }

    /// Made when it is first asked for.
    pub(crate) fn digest(&self) -> &str {
        self.digest.get_or_init(|| self.policy.digest())
    }
}

impl Sandbox {
    /// Probes the host for what the policy needs. Nothing is started.
    ///
    /// # Errors
    /// The host cannot be looked at: no `/proc`, no working directory. The policy's system calls make no filter.
    pub fn new(policy: Policy) -> Result<Self, Error> {
        Ok(Self { terms: Terms::new(policy)?, host: Host::probe()? })
    }

    /// Another policy on the same host.
    pub(crate) fn under(&self, policy: Policy) -> Result<Self, Error> {
        Ok(Self { terms: Terms::new(policy)?, host: self.host.clone() })
    }

    pub(crate) const fn host(&self) -> &Host {
        &self.host
    }

    /// Lets runs ask systemd for a scope, where this process's own cgroup cannot have children with all the limits:
    /// in a login session, or together with other processes. An ordinary user's own systemd is asked, for root the
    /// system's. The first run then moves the calling process there, with all its threads and for good, so this is
    /// for programs that know where they want to be; the `jail` command does it.
    ///
    /// # Errors
    /// `/proc` is not mounted.
    pub fn with_systemd_scope(self) -> Result<Self, Error> {
        Ok(Self { host: self.host.with_systemd_scope()?, ..self })
    }

    /// The steps that a run of `command` would take. Nothing is started.
    ///
    /// # Errors
    /// What would keep the run from being started: a layer that cannot be had, a missing program, a
    /// workspace that may not be one.
    pub fn plan(&self, command: &Command) -> Result<Plan, Error> {
        Plan::new(&self.terms, &self.host, command, &supervisor::name_run())
    }

    /// Starts `command`, and returns when the program runs.
    ///
    /// # Errors
    /// As [`Sandbox::plan`], and a step of the set-up that failed. Then nothing is left behind, and the
    /// program has not run.
    pub fn start(&self, command: &Command) -> Result<Running, Error> {
        let running = self.launch(command)?;
        if running.failure().is_none() {
            return Ok(running);
        }
        Err(running
            .into_failure()
            .unwrap_or_else(|| Error::new(ErrorKind::Internal, "the set-up failed without a reason")))
    }

    /// Runs `command` to its end. Whatever happens is in the report, a failed set-up too.
    #[must_use]
    pub fn run(&self, command: &Command) -> Report {
        match self.launch(command) {
            Ok(running) => running.wait(),
            Err(error) => {
                let mut report = Report::from_error(&error, command.display());
                let Terms { policy, .. } = &*self.terms;
                report.profile = ProfileId { name: policy.name.clone(), digest: self.terms.digest().to_owned() };
                report.posture = self.posture_of_nothing(&error);
                report
            }
        }
    }

    /// Goes through a run of `command` but for the program: every step up to its exec, on this host, with this
    /// workspace. The posture is what the run would get. Nothing is left behind.
    ///
    /// # Errors
    /// What would keep the run from starting, but for what has to do with the program itself.
    pub fn rehearse(&self, command: &Command) -> Result<Posture, Error> {
        let mut policy = self.terms.policy.clone();
        let wall = &mut policy.limits.wall.value;
        // A host on which a step hangs must not hang its examiner.
        *wall = Some(wall.map_or(REHEARSAL, |wall| wall.min(REHEARSAL)));
        let command = command.clone().rehearsal();
        let running = self.under(policy)?.launch(&command)?;
        if running.failure().is_some() {
            return Err(running
                .into_failure()
                .unwrap_or_else(|| Error::new(ErrorKind::Internal, "the set-up failed without a reason")));
        }
        let report = running.wait();
        // The child came to the end of its steps.
        if report.verdict.kind == VerdictKind::NonzeroExit {
            return Ok(report.posture);
        }
        let ending = report.summary_line().unwrap_or_else(|| "the program's place was never reached".to_owned());
        Err(Error::new(ErrorKind::Setup, format!("the set-up did not come to its end: {ending}")))
    }

    /// No layer was applied, for nothing was started.
    fn posture_of_nothing(&self, error: &Error) -> Posture {
        let status =
            LayerStatus { requested: true, reason: Some(format!("not started: {error}")), ..LayerStatus::default() };
        Posture {
            kernel: self.host.kernel.clone(),
            landlock_abi: self.host.landlock.unwrap_or(0),
            layers: Layer::ALL.into_iter().map(|layer| (layer.name().to_owned(), status.clone())).collect(),
            isolation: Some(self.terms.policy.isolation.value),
            degraded: Vec::new(),
        }
    }

    fn launch(&self, command: &Command) -> Result<Running, Error> {
        // Before the clock of the run starts: what others left to be taken down is not its time.
        if self.terms.policy.net.value != Net::Host {
            supervisor::wait_for_few();
        }
        let started = Instant::now();
        let name = supervisor::name_run();
        let mut plan = Plan::new(&self.terms, &self.host, command, &name)?;
        if command.is_rehearsal() {
            plan = plan.without_exec();
        }
        supervisor::launch(&self.terms, plan, name, command, started)
    }
}

/// A copy of a descriptor that this process was started with, by its number: what a program needs that
/// is told "write to descriptor 5" (`--report-fd 5`).
///
/// # Errors
/// No such descriptor is open.
pub fn inherited_descriptor(number: i32) -> std::io::Result<OwnedFd> {
    sys::fd::duplicate(number).map_err(Into::into)
}

/// When a process was started, in clock ticks after boot.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    supervisor::start_time(pid)
}

/// The Landlock ABI of this kernel, or the errno that says why there is none.
pub(crate) fn landlock_abi() -> Result<u32, i32> {
    sys::confine::landlock_abi().map_err(|errno| errno.0)
}

/// Whether this process may call clone3(2).
pub(crate) fn has_clone3() -> bool {
    sys::process::has_clone3()
}

/// The highest capability of this kernel.
pub(crate) fn last_capability() -> u32 {
    sys::confine::last_capability()
}
