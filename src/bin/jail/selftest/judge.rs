//! From what was seen to what it means.
//!
//! For: the outcomes of a case, and the questions that the tables ask. An exact answer is asked for every time;
//! "it did not succeed" is none.
//! Not for: what is tried (the tables) or how (`run`).
//! Runs in: the process of `jail selftest`.

use std::collections::BTreeSet;

use nix::errno::Errno;

use jail::Report;
use jail::report::VerdictKind;

/// What a case came to, with what was seen in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The attempt was held back, or the program worked.
    Held(String),
    /// It was not.
    Failed(String),
    /// The profile lets it through.
    Granted(String),
    /// Nobody can say, for this reason.
    NotJudged(String),
}

impl Outcome {
    pub(super) fn held(text: impl Into<String>) -> Self {
        Self::Held(text.into())
    }

    pub(super) fn failed(text: impl Into<String>) -> Self {
        Self::Failed(text.into())
    }

    pub(super) fn granted(text: impl Into<String>) -> Self {
        Self::Granted(text.into())
    }

    pub(super) fn not_judged(text: impl Into<String>) -> Self {
        Self::NotJudged(text.into())
    }

    /// The second condition decides where the first one held.
    pub(super) fn and(self, next: impl FnOnce() -> Self) -> Self {
        match self {
            Self::Held(text) => match next() {
                Self::Held(more) if more.is_empty() || text.contains(&more) => Self::Held(text),
                Self::Held(more) if text.is_empty() => Self::Held(more),
                Self::Held(more) => Self::Held(format!("{text}; {more}")),
                other @ (Self::Failed(_) | Self::Granted(_) | Self::NotJudged(_)) => other,
            },
            other @ (Self::Failed(_) | Self::Granted(_) | Self::NotJudged(_)) => other,
        }
    }
}

/// Holds where the condition does; says what was seen where it does not.
pub(super) fn check(holds: bool, seen: impl FnOnce() -> String) -> Outcome {
    if holds { Outcome::Held(String::new()) } else { Outcome::Failed(seen()) }
}

/// What one step answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Ok(String),
    Errno(Errno),
    Other(String),
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ok(value) if value.is_empty() => f.write_str("ok"),
            Self::Ok(value) => write!(f, "ok ({value})"),
            Self::Errno(errno) => write!(f, "{errno:?}"),
            Self::Other(text) => write!(f, "error ({text})"),
        }
    }
}

/// One step of the inside half.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) answer: Answer,
}

/// The lines of the inside half in what a program printed, and whether the last one is among them.
pub(super) fn steps(token: &str, output: &[u8]) -> (Vec<Step>, bool) {
    let text = String::from_utf8_lossy(output);
    let mut ended = false;
    let mut steps = Vec::new();
    for line in text.lines().filter_map(|line| line.strip_prefix(token)?.strip_prefix(' ')) {
        let mut words = line.splitn(3, ' ');
        let (name, kind, rest) = (words.next(), words.next(), words.next().unwrap_or_default());
        match (name, kind) {
            (Some("end"), None) => ended = true,
            (Some(name), Some(kind)) => {
                let answer = match kind {
                    "ok" => Answer::Ok(rest.to_owned()),
                    "errno" => Answer::Errno(Errno::from_raw(rest.parse().unwrap_or(0))),
                    _ => Answer::Other(rest.to_owned()),
                };
                steps.push(Step { name: name.to_owned(), answer });
            }
            (None, _) | (Some(_), None) => {}
        }
    }
    (steps, ended)
}

/// What is known of one case when it is judged.
#[derive(Debug)]
pub(super) struct Seen {
    /// The steps of the positive control; `None` where there was none, and why not or how it ended otherwise.
    pub(super) control: Result<Vec<Step>, String>,
    pub(super) inside: Vec<Step>,
    /// The inside half came to its end.
    pub(super) ended: bool,
    pub(super) report: Report,
    pub(super) elapsed_ms: u64,
    /// Bytes that came out of `jail`.
    pub(super) output_bytes: u64,
    /// Most memory that `jail` itself had, KiB.
    pub(super) supervisor_kib: u64,
    /// What the run left behind.
    pub(super) leftovers: Vec<String>,
}

impl Seen {
    pub(super) fn verdict(&self) -> VerdictKind {
        self.report.verdict.kind
    }

    /// The value that a step said.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        value(&self.inside, name)
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.value(name)?.parse().ok()
    }

    /// The value that the control said.
    pub(super) fn outside(&self, name: &str) -> Option<&str> {
        value(self.control.as_ref().ok()?, name)
    }

    pub(super) fn answer(&self, name: &str) -> Option<&Answer> {
        answer(&self.inside, name)
    }

    /// Every step answered one of these errnos, and would not have outside.
    pub(super) fn refused(&self, errnos: &[Errno]) -> Outcome {
        self.refused_by(|_| errnos)
    }

    /// As [`refused`](Self::refused), with errnos for each step by its name.
    pub(super) fn refused_by<'a>(&self, errnos: impl Fn(&str) -> &'a [Errno]) -> Outcome {
        let expected = |step: &Step| matches!(&step.answer, Answer::Errno(errno) if errnos(&step.name).contains(errno));
        if let Some(step) = self.inside.iter().find(|step| !expected(step)) {
            let wanted: Vec<String> = errnos(&step.name).iter().map(|errno| format!("{errno:?}")).collect();
            return Outcome::Failed(format!("{}: {}, not {}", step.name, step.answer, wanted.join(" or ")));
        }
        if !self.ended {
            return self.unfinished();
        }
        let control = match &self.control {
            Ok(control) => control,
            Err(reason) => return Outcome::NotJudged(reason.clone()),
        };
        // What is refused outside in the same way says nothing about the sandbox.
        let tells = |step: &&Step| {
            answer(control, &step.name)
                .is_some_and(|outside| !matches!(outside, Answer::Errno(errno) if errnos(&step.name).contains(errno)))
        };
        let telling: Vec<&Step> = self.inside.iter().filter(tells).collect();
        if telling.is_empty() {
            let said: BTreeSet<String> = self.inside.iter().map(|step| step.answer.to_string()).collect();
            let said: Vec<String> = said.into_iter().collect();
            return Outcome::NotJudged(format!("is refused outside in the same way ({})", said.join(", ")));
        }
        let said: BTreeSet<String> = telling.iter().map(|step| step.answer.to_string()).collect();
        let said: Vec<String> = said.into_iter().collect();
        let of = self.inside.len();
        Outcome::Held(if telling.len() == of {
            said.join(", ")
        } else {
            format!("{} ({} of {of} are refused outside too)", said.join(", "), of - telling.len())
        })
    }

    /// The filter killed the process for its first step, which outside does not end it like that.
    pub(super) fn killed_by_the_filter(&self) -> Outcome {
        if let Err(reason) = &self.control {
            return Outcome::NotJudged(reason.clone());
        }
        check(self.verdict() == VerdictKind::SyscallKilled, || match self.inside.last() {
            Some(step) => format!("{}: {}, and the verdict is {}", step.name, step.answer, self.ending()),
            None => format!("the verdict is {}", self.ending()),
        })
        .and(|| Outcome::held("killed by the filter"))
    }

    /// The run has this verdict.
    pub(super) fn ended_as(&self, kind: VerdictKind) -> Outcome {
        check(self.verdict() == kind, || {
            let said: Vec<String> =
                self.inside.iter().rev().take(2).map(|step| format!("{}: {}", step.name, step.answer)).collect();
            format!("the verdict is {}, not {} ({})", self.ending(), word(kind), said.join(", "))
        })
        .and(|| {
            let verdict = &self.report.verdict;
            Outcome::Held(match (verdict.observed, verdict.limit) {
                (Some(observed), Some(limit)) => format!("{}: {observed} of {limit}", word(kind)),
                (Some(_) | None, None) | (None, Some(_)) => word(kind).to_owned(),
            })
        })
    }

    /// A limit is among those that were reached.
    pub(super) fn reached(&self, limit: &str) -> Outcome {
        let hit = self.report.limits_hit.iter().find(|hit| hit.limit == limit);
        match hit {
            Some(hit) => Outcome::Held(hit.evidence.clone()),
            None => Outcome::Failed(format!("the limit {limit:?} was never reached ({})", self.ending())),
        }
    }

    /// The inside half came to its end, and the program with it.
    pub(super) fn finished(&self) -> Outcome {
        if self.ended && self.verdict() == VerdictKind::Ok { Outcome::held("") } else { self.unfinished() }
    }

    fn unfinished(&self) -> Outcome {
        let last = self.inside.last().map_or_else(|| "no step".to_owned(), |step| step.name.clone());
        Outcome::Failed(format!("the attempt did not come to its end (after {last}): {}", self.ending()))
    }

    /// The verdict, in words.
    pub(super) fn ending(&self) -> String {
        let error = self.report.error.as_ref().map(|error| format!(": {}", error.message)).unwrap_or_default();
        let evidence = self.report.verdict.evidence.join(", ");
        format!("{} ({evidence}{error})", word(self.verdict()))
    }

    /// What was done, for something that the profile lets through.
    pub(super) fn granted(&self, by: &str) -> Outcome {
        let said: Vec<String> =
            self.inside.iter().take(3).map(|step| format!("{}: {}", step.name, step.answer)).collect();
        Outcome::Granted(format!("{by} ({})", said.join(", ")))
    }
}

fn answer<'a>(steps: &'a [Step], name: &str) -> Option<&'a Answer> {
    steps.iter().find(|step| step.name == name).map(|step| &step.answer)
}

fn value<'a>(steps: &'a [Step], name: &str) -> Option<&'a str> {
    match answer(steps, name)? {
        Answer::Ok(value) => Some(value),
        Answer::Errno(_) | Answer::Other(_) => None,
    }
}

/// The name in reports.
pub(super) const fn word(kind: VerdictKind) -> &'static str {
    match kind {
        VerdictKind::InternalError => "internal_error",
        VerdictKind::SyscallKilled => "syscall_killed",
        VerdictKind::Output => "output",
        VerdictKind::Memory => "memory",
        VerdictKind::CpuTime => "cpu_time",
        VerdictKind::WallTime => "wall_time",
        VerdictKind::FileSize => "file_size",
        VerdictKind::Cancelled => "cancelled",
        VerdictKind::ExecFailed => "exec_failed",
        VerdictKind::Signaled => "signaled",
        VerdictKind::NonzeroExit => "nonzero_exit",
        VerdictKind::Ok => "ok",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(control: &[u8], inside: &[u8]) -> Seen {
        let (inside, ended) = steps("T", inside);
        Seen {
            control: Ok(steps("T", control).0),
            inside,
            ended,
            report: Report::from_error(&jail::Error::usage("made up"), ["x"]),
            elapsed_ms: 0,
            output_bytes: 0,
            supervisor_kib: 0,
            leftovers: Vec::new(),
        }
    }

    #[test]
    fn only_lines_with_the_token_count() {
        let (found, ended) = steps("T", b"open errno 2\nT open errno 13\nT x ok a b\nTT end\nXT end\n");
        assert!(!ended, "the end had another token");
        assert_eq!(found.len(), 2);
        assert_eq!(found.first().unwrap().answer, Answer::Errno(Errno::EACCES));
        assert_eq!(found.last().unwrap().answer, Answer::Ok("a b".to_owned()));
    }

    #[test]
    fn a_refusal_needs_the_exact_errno_a_control_that_differs_and_an_end() {
        let outcome = |control: &[u8], inside: &[u8]| seen(control, inside).refused(&[Errno::ENOENT]);
        assert_eq!(outcome(b"T open ok\n", b"T open errno 2\nT end\n"), Outcome::held("ENOENT"));
        assert_eq!(outcome(b"T open ok\n", b"T open errno 13\nT end\n"), Outcome::failed("open: EACCES, not ENOENT"));
        assert_eq!(outcome(b"T open ok\n", b"T open ok\nT end\n"), Outcome::failed("open: ok, not ENOENT"));
        assert!(matches!(outcome(b"T open ok\n", b"T open errno 2\n"), Outcome::Failed(_)), "it did not end");
        assert!(matches!(outcome(b"T open errno 2\n", b"T open errno 2\nT end\n"), Outcome::NotJudged(_)));
        assert!(matches!(outcome(b"", b"T open errno 2\nT end\n"), Outcome::NotJudged(_)), "no control");
        assert!(matches!(outcome(b"T open ok\n", b"T end\n"), Outcome::NotJudged(_)), "no step");
    }

    #[test]
    fn what_is_refused_outside_too_is_left_out_and_said() {
        let seen = seen(b"T a errno 1\nT b ok\n", b"T a errno 1\nT b errno 1\nT end\n");
        assert_eq!(seen.refused(&[Errno::EPERM]), Outcome::held("EPERM (1 of 2 are refused outside too)"));
    }

    #[test]
    fn a_kill_by_the_filter_is_a_verdict_and_not_a_silence() {
        let seen = seen(b"T call ok\n", b"");
        assert!(matches!(seen.killed_by_the_filter(), Outcome::Failed(_)));
    }
}
