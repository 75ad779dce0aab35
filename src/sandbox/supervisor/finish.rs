//! The end of a run: what is left is read, removed and written down.
//!
//! For: reaping, the counters, and the report with its posture.
//! Not for: following the run (see the loop in `mod`) or the verdict's precedence (see `verdict`).
//! Runs in: the supervisor.

use std::time::Instant;

use crate::error::{Error, ErrorKind};
use crate::policy::{Layer, Limits};
use crate::report::{
    ErrorInfo, Faults, Io, LayerStatus, Memory, OutputReport, Posture, ProfileId, Report, SCHEMA, Sched, Source, Tasks,
    Time, Verdict, VerdictKind,
};
use crate::sandbox::plan::{Fate, Witness};
use crate::sandbox::sys::process::Reaped;

use super::verdict::{self, Evidence};
use super::{Running, micros, millis, scratch, usage};

/// Input and output of the tree. Init's accounting is root's to read, for init is undumpable; wait4 tells
/// everybody what went to and came from storage. For storage the group's counters come first: they miss nobody.
fn io_report(moved: Option<usage::Moved>, reaped: Option<Reaped>, storage: Option<(u64, u64)>) -> Io {
    let mut io = match (moved, reaped) {
        (Some(moved), _) => Io {
            read_bytes: Some(moved.read),
            write_bytes: Some(moved.write),
            storage_read_bytes: Some(moved.storage_read),
            storage_write_bytes: Some(moved.storage_write),
            source: Some(Source::Procfs),
            storage_source: None,
        },
        (None, Some(reaped)) => Io {
            storage_read_bytes: Some(reaped.storage_read),
            storage_write_bytes: Some(reaped.storage_write),
            source: Some(Source::Rusage),
            ..Io::default()
        },
        (None, None) => Io::default(),
    };
    if let Some((read, write)) = storage {
        (io.storage_read_bytes, io.storage_write_bytes) = (Some(read), Some(write));
        io.storage_source = Some(Source::Cgroup);
        // Of rusage's figures nothing is left.
        io.source = io.source.filter(|source| *source == Source::Procfs);
    }
    io
}

impl Running {
    /// Reaps, reads the counters, removes the groups, and writes it all down.
    pub(super) fn finish(mut self) -> Report {
        let ended = Instant::now();
        let figures = self.figures.take().unwrap_or_else(|| self.read_figures());
        // After init's own figures were read: a process that was reaped has none.
        let reaped = self.process.take().and_then(|process| process.reap().ok());
        let removed = self.remove();
        let limits = &self.terms.policy.limits;
        let samples = self.samples.take();
        let rusage_cpu = reaped.map(|reaped| reaped.user_us + reaped.system_us);
        let sampled_cpu = samples.as_ref().map(|samples| samples.cpu_us);
        let (cpu_us, cpu_source) = match (figures.cpu_us, rusage_cpu, sampled_cpu) {
            (Some(us), _, _) => (Some(us), Some(Source::Cgroup)),
            // A process that nobody waits for is missing in rusage; a look may have seen it.
            (None, Some(rusage), Some(sampled)) if sampled > rusage => (Some(sampled), Some(Source::ProcfsSampled)),
            (None, Some(us), _) => (Some(us), Some(Source::Rusage)),
            (None, None, sampled) => (sampled, sampled.map(|_| Source::ProcfsSampled)),
        };
        let (memory_peak, memory_source) = match (figures.memory_peak, &samples) {
            (Some(bytes), _) => (Some(bytes), Some(Source::Cgroup)),
            (None, Some(samples)) => {
                let largest = reaped.map_or(0, |reaped| reaped.max_rss_kib * 1024);
                let source = if samples.memory_peak >= largest { Source::ProcfsSampled } else { Source::Rusage };
                (Some(samples.memory_peak.max(largest)), Some(source))
            }
            (None, None) => (None, None),
        };
        let without_init = |tasks: u64| tasks.saturating_sub(1);
        let (tasks_peak, tasks_source) = match (figures.tasks_peak, &samples) {
            (Some(tasks), _) => (Some(without_init(tasks)), Some(Source::Cgroup)),
            // Init alone was seen when the program came and went between two looks.
            (None, Some(samples)) if samples.tasks_peak > 1 => {
                (Some(without_init(samples.tasks_peak)), Some(Source::ProcfsSampled))
            }
            (None, Some(_)) => (None, None),
            (None, None) => (None, None),
        };
        let wall = ended - self.started;
        let evidence = Evidence {
            cause: self.cause,
            status: self.status,
            wall_ms: millis(wall),
            cpu_us,
            memory_peak,
            oom_kills: figures.oom_kills,
            oom_file: self.guard.oom_file(),
            refused_forks: figures.refused_forks,
            throttled_us: figures.throttled_us,
            output_total: self.stdout.total() + self.stderr.total(),
            output_limit: self.terms.policy.output.limit.value.map(|limit| limit.0),
            output_cut: self.output_cut,
        };
        // Of two things that went wrong the earlier one is told.
        if self.failure.is_none() && evidence.is_unknown() {
            self.failure = Some(
                Error::new(ErrorKind::Internal, "the jail's init ended before it could tell how the program did")
                    .with_hint("somebody outside killed it, or the kernel refused it a system call; the run was ended"),
            );
        }
        if let (None, Err(error)) = (&self.failure, removed) {
            self.failure = Some(error);
        }
        let (verdict, error) = self.judge(&evidence, limits);
        let exit = self.status.filter(|_| self.ran).and_then(verdict::exit);
        let exit_code = match &self.failure {
            Some(error) if evidence.cause.is_none() => error.exit_code(),
            _ => verdict::exit_code(verdict.kind, exit, self.cause),
        };
        let (user_us, system_us) = match (figures.user_system_us, reaped) {
            (Some((user, system)), _) => (Some(user), Some(system)),
            (None, Some(reaped)) => (Some(reaped.user_us), Some(reaped.system_us)),
            (None, None) => (None, None),
        };
        self.setup.teardown_us = self.ended.map(|at| micros(at.elapsed()));
        Report {
            schema: SCHEMA.to_owned(),
            run_id: self.name.name.clone(),
            started_at: self.started_at.clone(),
            profile: ProfileId { name: self.terms.policy.name.clone(), digest: self.terms.digest().to_owned() },
            argv: self.argv.clone(),
            exit_code,
            exit,
            limits_hit: evidence.limits_hit(limits),
            verdict,
            error,
            time: Time {
                wall_ms: millis(wall),
                user_ms: user_us.map(|us| us / 1000),
                system_ms: system_us.map(|us| us / 1000),
                cpu_ms: cpu_us.map(|us| us / 1000),
                source: cpu_source,
            },
            memory: Memory { peak_bytes: memory_peak, source: memory_source, oom_kills: figures.oom_kills },
            tasks: Tasks { peak: tasks_peak, source: tasks_source, refused_forks: figures.refused_forks },
            io: io_report(figures.moved, reaped, figures.storage),
            sched: Sched {
                voluntary_switches: reaped.map(|reaped| reaped.voluntary_switches),
                involuntary_switches: reaped.map(|reaped| reaped.involuntary_switches),
                throttled_ms: figures.throttled_us.map(|us| us / 1000),
            },
            faults: Faults {
                minor: reaped.map(|reaped| reaped.minor_faults),
                major: reaped.map(|reaped| reaped.major_faults),
            },
            output: OutputReport { stdout: self.stdout.report(), stderr: self.stderr.report() },
            posture: self.posture(&evidence),
            setup: Some(self.setup.clone()),
        }
    }

    /// The verdict, and what of it is an error of ours.
    fn judge(&self, evidence: &Evidence, limits: &Limits) -> (Verdict, Option<ErrorInfo>) {
        let Some(error) = &self.failure else { return (evidence.verdict(limits), None) };
        // A set-up that was cut short by a limit or by the caller failed for that reason.
        if evidence.cause.is_some() && self.status.is_none() {
            return (evidence.verdict(limits), None);
        }
        let kind = VerdictKind::from(error.kind());
        let verdict = Verdict { kind, limit: None, observed: None, unit: None, evidence: vec![error.to_string()] };
        (verdict, Some(ErrorInfo::from(error)))
    }

    /// The group's counters, and what only the not yet reaped init tells. Of a run that is over: nobody but init may be
    /// left to be counted.
    pub(super) fn read_figures(&self) -> Figures {
        let guard = &self.guard;
        let over = self.status.is_some() || self.ended.is_some();
        Figures {
            cpu_us: guard.cpu_us(),
            user_system_us: guard.user_system_us(),
            throttled_us: guard.throttled_us(),
            memory_peak: guard.memory_peak(),
            oom_kills: guard.oom_kills(),
            tasks_peak: guard.tasks_peak(),
            refused_forks: guard.refused_forks(),
            storage: guard.storage(),
            moved: self.process.as_ref().filter(|_| over).and_then(|process| usage::moved(process.pid)),
        }
    }

    /// Removes the groups and the directory of the run.
    fn remove(&mut self) -> Result<(), Error> {
        let groups = self.guard.remove();
        // After the groups: nobody is left to make anything in it. Also where a group could not be removed.
        let scratch = self.scratch.as_mut().map_or(Ok(()), scratch::Scratch::remove);
        groups.and(scratch)
    }

    /// What held. All witnesses of the child are steps without which the program would not have started.
    fn posture(&self, evidence: &Evidence) -> Posture {
        let ran = self.ran;
        let mut posture = Posture {
            kernel: self.plan.kernel.clone(),
            landlock_abi: self.plan.landlock_abi,
            isolation: Some(self.plan.isolation),
            ..Posture::default()
        };
        for (layer, fate) in &self.plan.fates {
            let held = |detail: &str, witness: &Witness| LayerStatus {
                requested: true,
                applied: ran,
                witnessed: ran
                    && match witness {
                        Witness::Child => true,
                        Witness::Counter => self.counted(*layer, evidence),
                        Witness::No => false,
                    },
                detail: Some(detail.to_owned()),
                reason: (!ran).then(|| "the set-up failed".to_owned()),
            };
            let mut status = match fate {
                Fate::Applied { detail, witness } => held(detail, witness),
                Fate::InPart { detail, witness, reason } => {
                    posture.degraded.push(layer.name().to_owned());
                    LayerStatus { reason: Some(reason.clone()), ..held(detail, witness) }
                }
                Fate::NotAsked => LayerStatus {
                    reason: Some("isolation = \"landlock\" goes without it".to_owned()),
                    ..LayerStatus::default()
                },
                Fate::GivenUp { reason } => {
                    posture.degraded.push(layer.name().to_owned());
                    LayerStatus { requested: true, reason: Some(reason.clone()), ..LayerStatus::default() }
                }
            };
            if *layer == Layer::Ids && !self.unmapped.is_empty() {
                let paths: Vec<&str> = self.unmapped.iter().map(|tree| tree.path.as_str()).collect();
                let detail = status.detail.unwrap_or_default();
                status.detail = Some(format!("{detail}; shown without an id map: {}", paths.join(", ")));
                // For reading alone nothing is lost but how owners look.
                if self.unmapped.iter().any(|tree| tree.writable) {
                    posture.degraded.push(layer.name().to_owned());
                    status.reason.get_or_insert_with(|| "a file system cannot be id-mapped".to_owned());
                }
            }
            posture.layers.insert(layer.name().to_owned(), status);
        }
        posture
    }

    /// The group's own counters have seen the run's processes.
    fn counted(&self, layer: Layer, evidence: &Evidence) -> bool {
        match layer {
            Layer::CgroupMemory => evidence.memory_peak.is_some_and(|bytes| bytes > 0),
            Layer::CgroupCpu => evidence.cpu_us.is_some_and(|us| us > 0),
            Layer::CgroupPids => true,
            Layer::Namespaces
            | Layer::Rootfs
            | Layer::Ids
            | Layer::Caps
            | Layer::Landlock
            | Layer::Seccomp
            | Layer::Rlimits
            | Layer::Net => false,
        }
    }
}

/// What was counted of a run, at its end.
#[derive(Debug)]
pub(super) struct Figures {
    cpu_us: Option<u64>,
    user_system_us: Option<(u64, u64)>,
    throttled_us: Option<u64>,
    memory_peak: Option<u64>,
    oom_kills: Option<u64>,
    tasks_peak: Option<u64>,
    refused_forks: Option<u64>,
    storage: Option<(u64, u64)>,
    moved: Option<usage::Moved>,
}
