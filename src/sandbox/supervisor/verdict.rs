//! Verdicts: from evidence to the one reason why a run ended.
//!
//! For: the precedence of `DESIGN.md`, as a function without side effects.
//! Not for: gathering evidence (the loop does) or words for people (the report's views).
//! Runs in: the supervisor.

use nix::sys::signal::Signal;

use crate::policy::Limits;
use crate::report::{Exit, LimitHit, Unit, Verdict, VerdictKind};

/// Why the supervisor ended the run. The first one counts: what comes after it is its consequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    WallTime,
    CpuTime,
    /// A kernel OOM kill was seen.
    Memory,
    /// Sampled memory over the limit, where no group enforces it.
    SampledMemory,
    Output,
    /// The caller: a signal to us, or `Running::kill` (no signal).
    Cancelled(Option<i32>),
}

/// All that is known at the end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Evidence {
    pub(super) cause: Option<Cause>,
    /// The payload's raw wait status, if init told it.
    pub(super) status: Option<i32>,
    pub(super) wall_ms: u64,
    pub(super) cpu_us: Option<u64>,
    pub(super) memory_peak: Option<u64>,
    pub(super) oom_kills: Option<u64>,
    pub(super) oom_file: &'static str,
    pub(super) refused_forks: Option<u64>,
    pub(super) throttled_us: Option<u64>,
    pub(super) output_total: u64,
    pub(super) output_limit: Option<u64>,
    pub(super) output_cut: bool,
}

/// How the program itself ended, from its wait status.
pub(super) fn exit(status: i32) -> Option<Exit> {
    if libc::WIFEXITED(status) {
        let code = u8::try_from(libc::WEXITSTATUS(status)).ok()?;
        return Some(Exit { code: Some(code), signal: None, core_dumped: false });
    }
    let signal = u8::try_from(libc::WTERMSIG(status)).ok()?;
    Some(Exit { code: None, signal: Some(signal), core_dumped: libc::WCOREDUMP(status) })
}

fn name(signal: i32) -> String {
    Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |signal| signal.as_str().to_owned())
}

impl Evidence {
    fn killed_by(&self, signal: i32) -> bool {
        self.status.is_some_and(|status| libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == signal)
    }

    fn cpu_limit_used(&self, limits: &Limits) -> bool {
        limits.cpu_time.value.zip(self.cpu_us).is_some_and(|(limit, used)| used / 1000 >= limit.0)
    }

    fn oom(&self) -> bool {
        self.oom_kills.is_some_and(|kills| kills > 0)
    }

    /// Nobody knows how the program ended: init told nothing, and neither the kernel, for memory, nor we killed it.
    pub(super) fn is_unknown(&self) -> bool {
        self.status.is_none() && self.cause.is_none() && !self.oom()
    }

    /// The verdict: kinds in the order of their precedence.
    pub(super) fn verdict(&self, limits: &Limits) -> Verdict {
        let plain = |kind, evidence: String| Verdict {
            kind,
            limit: None,
            observed: None,
            unit: None,
            evidence: vec![evidence],
        };
        let limited = |kind, unit, limit: Option<u64>, observed: Option<u64>, evidence: String| Verdict {
            kind,
            limit,
            observed: limit.and(observed),
            unit: limit.map(|_| unit),
            evidence: vec![evidence],
        };
        let oom = self.oom();
        if self.is_unknown() {
            return plain(VerdictKind::InternalError, "the program's end is not known".to_owned());
        }
        if self.cause.is_none() && self.killed_by(libc::SIGSYS) {
            return plain(VerdictKind::SyscallKilled, "the program was killed by SIGSYS".to_owned());
        }
        let memory_limit = Some(limits.memory.value.0);
        let oom_evidence = || format!("{} oom_kill +{}", self.oom_file, self.oom_kills.unwrap_or(0));
        match self.cause {
            Some(Cause::Output) => {
                let evidence = format!("{} bytes were written", self.output_total);
                return limited(VerdictKind::Output, Unit::Bytes, self.output_limit, Some(self.output_total), evidence);
            }
            Some(Cause::Memory) => {
                return limited(VerdictKind::Memory, Unit::Bytes, memory_limit, self.memory_peak, oom_evidence());
            }
            Some(Cause::SampledMemory) => {
                let evidence = "resident memory sampled from procfs".to_owned();
                return limited(VerdictKind::Memory, Unit::Bytes, memory_limit, self.memory_peak, evidence);
            }
            None if oom && (self.killed_by(libc::SIGKILL) || self.status.is_none()) => {
                return limited(VerdictKind::Memory, Unit::Bytes, memory_limit, self.memory_peak, oom_evidence());
            }
            Some(Cause::CpuTime) => {
                let used = self.cpu_us.map(|us| us / 1000);
                let evidence = format!("CPU time of the tree {} ms", used.unwrap_or(0));
                let limit = limits.cpu_time.value.map(|limit| limit.0);
                return limited(VerdictKind::CpuTime, Unit::Ms, limit, used, evidence);
            }
            // The backstop was first. A program may also send the signal to itself: the time tells.
            None if self.cpu_limit_used(limits) && self.killed_by(libc::SIGXCPU) => {
                let limit = limits.cpu_time.value.map(|limit| limit.0);
                let evidence = "the program was killed by SIGXCPU (RLIMIT_CPU)".to_owned();
                return limited(VerdictKind::CpuTime, Unit::Ms, limit, self.cpu_us.map(|us| us / 1000), evidence);
            }
            Some(Cause::WallTime) => {
                let limit = limits.wall.value.map(|limit| limit.0);
                let evidence = format!("own timer fired after {} ms", self.wall_ms);
                return limited(VerdictKind::WallTime, Unit::Ms, limit, Some(self.wall_ms), evidence);
            }
            None if limits.fsize.value.is_some() && self.killed_by(libc::SIGXFSZ) => {
                let limit = limits.fsize.value.map(|limit| limit.0);
                let evidence = "the program was killed by SIGXFSZ (RLIMIT_FSIZE)".to_owned();
                return limited(VerdictKind::FileSize, Unit::Bytes, limit, None, evidence);
            }
            Some(Cause::Cancelled(signal)) => {
                let evidence = signal
                    .map_or_else(|| "killed by the caller".to_owned(), |signal| format!("{} to jail", name(signal)));
                return plain(VerdictKind::Cancelled, evidence);
            }
            None => {}
        }
        match self.status.and_then(exit) {
            Some(Exit { code: Some(0), .. }) => plain(VerdictKind::Ok, "exit code 0".to_owned()),
            Some(Exit { code: Some(code), .. }) => plain(VerdictKind::NonzeroExit, format!("exit code {code}")),
            Some(Exit { signal: Some(signal), .. }) => {
                plain(VerdictKind::Signaled, format!("killed by {}", name(i32::from(signal))))
            }
            Some(Exit { code: None, signal: None, .. }) | None => {
                plain(VerdictKind::InternalError, "the program's end is not known".to_owned())
            }
        }
    }

    /// Limits that were reached, ending the run or not.
    pub(super) fn limits_hit(&self, limits: &Limits) -> Vec<LimitHit> {
        let hit = |limit: &str, evidence: String| LimitHit { limit: limit.to_owned(), evidence };
        let mut hits = Vec::new();
        if self.cause == Some(Cause::WallTime) {
            hits.push(hit("wall", format!("own timer fired after {} ms", self.wall_ms)));
        }
        if self.cause == Some(Cause::CpuTime) || (self.cpu_limit_used(limits) && self.killed_by(libc::SIGXCPU)) {
            hits.push(hit("cpu_time", format!("{} ms used", self.cpu_us.unwrap_or(0) / 1000)));
        }
        if let Some(kills) = self.oom_kills.filter(|kills| *kills > 0) {
            hits.push(hit("memory", format!("{} oom_kill +{kills}", self.oom_file)));
        } else if self.cause == Some(Cause::SampledMemory) {
            hits.push(hit("memory", "resident memory sampled from procfs".to_owned()));
        }
        if let Some(refused) = self.refused_forks.filter(|refused| *refused > 0) {
            hits.push(hit("pids", format!("pids.events max +{refused}")));
        }
        if let Some(us) = self.throttled_us.filter(|us| *us > 0) {
            hits.push(hit("cpus", format!("held back for {} ms", us / 1000)));
        }
        if self.killed_by(libc::SIGXFSZ) {
            hits.push(hit("fsize", "SIGXFSZ".to_owned()));
        }
        if self.output_cut {
            hits.push(hit("output", format!("{} bytes written", self.output_total)));
        }
        hits
    }
}

/// The exit code of `jail`, from the verdict.
pub(super) fn exit_code(verdict: VerdictKind, exit: Option<Exit>, cause: Option<Cause>) -> u8 {
    match verdict {
        VerdictKind::InternalError => 125,
        VerdictKind::SyscallKilled => 159,
        VerdictKind::Output | VerdictKind::FileSize => 153,
        VerdictKind::Memory => 137,
        VerdictKind::CpuTime | VerdictKind::WallTime => 124,
        VerdictKind::Cancelled => match cause {
            Some(Cause::Cancelled(Some(signal))) => 128_u8.saturating_add(u8::try_from(signal).unwrap_or(0)),
            _ => 137,
        },
        VerdictKind::ExecFailed => 127,
        VerdictKind::Signaled | VerdictKind::NonzeroExit | VerdictKind::Ok => match exit {
            Some(Exit { code: Some(code), .. }) => code,
            Some(Exit { signal: Some(signal), .. }) => 128_u8.saturating_add(signal),
            Some(Exit { code: None, signal: None, .. }) | None => 125,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Policy, Profile};

    const QUIET: Evidence = Evidence {
        cause: None,
        status: Some(0),
        wall_ms: 5,
        cpu_us: Some(1000),
        memory_peak: Some(4096),
        oom_kills: Some(0),
        oom_file: "memory.events",
        refused_forks: Some(0),
        throttled_us: Some(0),
        output_total: 0,
        output_limit: Some(10),
        output_cut: false,
    };

    fn strict() -> Limits {
        Policy::new(&Profile::builtin("strict").unwrap()).unwrap().limits
    }

    fn kind(evidence: Evidence) -> VerdictKind {
        evidence.verdict(&strict()).kind
    }

    #[test]
    fn each_cause_has_its_verdict() {
        let with = |cause| kind(Evidence { cause: Some(cause), status: Some(9), ..QUIET });
        assert_eq!(with(Cause::WallTime), VerdictKind::WallTime);
        assert_eq!(with(Cause::CpuTime), VerdictKind::CpuTime);
        assert_eq!(with(Cause::Memory), VerdictKind::Memory);
        assert_eq!(with(Cause::Output), VerdictKind::Output);
        assert_eq!(with(Cause::Cancelled(Some(2))), VerdictKind::Cancelled);
    }

    #[test]
    fn a_status_alone_never_means_memory() {
        assert_eq!(kind(Evidence { status: Some(9), ..QUIET }), VerdictKind::Signaled);
        assert_eq!(kind(Evidence { status: Some(137 << 8), ..QUIET }), VerdictKind::NonzeroExit);
        assert_eq!(kind(Evidence { status: Some(9), oom_kills: Some(1), ..QUIET }), VerdictKind::Memory);
    }

    #[test]
    fn an_oom_kill_that_the_program_survived_is_a_limit_hit_and_no_verdict() {
        let survived = Evidence { oom_kills: Some(1), ..QUIET };
        assert_eq!(kind(survived), VerdictKind::Ok);
        assert_eq!(survived.limits_hit(&strict())[0].limit, "memory");
    }

    #[test]
    fn an_end_that_nobody_saw_is_never_success() {
        assert_eq!(kind(Evidence { status: None, ..QUIET }), VerdictKind::InternalError);
        assert_eq!(kind(Evidence { status: None, oom_kills: Some(1), ..QUIET }), VerdictKind::Memory);
    }

    #[test]
    fn signals_of_the_limits_are_theirs() {
        assert_eq!(kind(Evidence { status: Some(libc::SIGSYS), ..QUIET }), VerdictKind::SyscallKilled);
        assert_eq!(kind(Evidence { status: Some(libc::SIGXFSZ), ..QUIET }), VerdictKind::FileSize);
        let spent = Evidence { status: Some(libc::SIGXCPU), cpu_us: Some(11_000_000), ..QUIET };
        assert_eq!(kind(spent), VerdictKind::CpuTime);
        // Sent by the program to itself.
        assert_eq!(kind(Evidence { cpu_us: Some(1000), ..spent }), VerdictKind::Signaled);
        assert_eq!(kind(Evidence { status: Some(libc::SIGSEGV), ..QUIET }), VerdictKind::Signaled);
    }
}
