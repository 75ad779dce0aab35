//! What the self-test prints: the table, the progress line, the summary, the JSON document.
//!
//! For: people and CI. The document is described by `schema/selftest-1.json`.
//! Not for: judging.
//! Runs in: the process of `jail selftest`.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use serde_json::{Value, json};

use jail::Error;

use super::battery::Line;
use super::judge::{Outcome, word};
use super::stage::World;
use super::{Class, all};
use crate::render;

/// The version of the document that this program writes.
const SCHEMA: &str = "jail.selftest/1";

/// Every case, for `--list`.
pub(crate) fn list() -> String {
    let mut text = String::new();
    for class in Class::ALL {
        let of_class: Vec<_> = all().filter(|case| case.class == class).collect();
        text += &format!("{} ({})\n", class.name(), of_class.len());
        for case in of_class {
            text += &format!("  {:<24} {}\n", case.id, case.title);
        }
    }
    text + &format!("{} cases\n", all().count())
}

/// The table while it grows.
#[derive(Debug)]
pub(super) struct Progress {
    total: usize,
    done: usize,
    running: Vec<&'static str>,
    /// Rows go to stdout, unless a document does.
    rows: bool,
    /// The line that is written over goes to a terminal only.
    live: bool,
}

impl Progress {
    pub(super) fn new(total: usize, json: bool) -> Self {
        Self { total, done: 0, running: Vec::new(), rows: !json, live: io::stderr().is_terminal() }
    }

    pub(super) fn heading(&self, world: &World) {
        if self.rows {
            let degraded = world.posture.degraded.join(", ");
            let degraded = if degraded.is_empty() { String::new() } else { format!(", given up: {degraded}") };
            let kernel = &world.posture.kernel;
            let slow = if world.slow == 1 { String::new() } else { format!(", {} times as slow as usual", world.slow) };
            render::result(&format!(
                "profile {}, kernel {kernel}, Landlock ABI {}{degraded}{slow}: {} cases",
                world.policy.name, world.posture.landlock_abi, self.total
            ));
        }
    }

    pub(super) fn begun(&mut self, id: &'static str) {
        self.running.push(id);
        self.show();
    }

    pub(super) fn done(&mut self, line: &Line) {
        self.done += 1;
        self.running.retain(|id| *id != line.case.id);
        if self.rows {
            self.clear();
            let (outcome, detail) = words(line);
            render::result(&format!("{outcome:<10} {:<22} {}: {detail}", line.case.id, line.case.title));
        }
        self.show();
    }

    pub(super) fn clear(&self) {
        if self.live {
            render::progress("");
        }
    }

    fn show(&self) {
        if self.live {
            render::progress(&format!("[{}/{}] {}", self.done, self.total, self.running.join(" ")));
        }
    }
}

/// The outcome in a word, and what was seen.
fn words(line: &Line) -> (&'static str, &str) {
    match &line.outcome {
        Outcome::Held(text) => (if line.case.must_work() { "works" } else { "held" }, text),
        Outcome::Failed(text) => ("FAILED", text),
        Outcome::Granted(text) => ("granted", text),
        Outcome::NotJudged(text) => ("not judged", text),
    }
}

/// The word in the document.
fn outcome(line: &Line) -> &'static str {
    match words(line).0 {
        "FAILED" => "failed",
        "not judged" => "not_judged",
        other => other,
    }
}

/// The counts.
#[derive(Debug, Default)]
pub(super) struct Summary {
    held: usize,
    works: usize,
    pub(super) failed: usize,
    granted: usize,
    pub(super) not_judged: usize,
    pub(super) cancelled: bool,
    elapsed: Duration,
    /// How late another program's timer was, microseconds, sorted.
    late: Vec<u64>,
}

impl Summary {
    pub(super) fn new(lines: &[Line], mut late: Vec<u64>, elapsed: Duration) -> Self {
        late.sort_unstable();
        let mut summary = Self { elapsed, late, ..Self::default() };
        for line in lines {
            let count = match &line.outcome {
                Outcome::Held(_) if line.case.must_work() => &mut summary.works,
                Outcome::Held(_) => &mut summary.held,
                Outcome::Failed(_) => &mut summary.failed,
                Outcome::Granted(_) => &mut summary.granted,
                Outcome::NotJudged(_) => &mut summary.not_judged,
            };
            *count += 1;
        }
        summary
    }

    pub(super) const fn judged(&self) -> usize {
        self.held + self.works + self.failed + self.granted
    }

    fn late(&self, percent: usize) -> Option<u64> {
        self.late.get((self.late.len() * percent / 100).min(self.late.len().saturating_sub(1))).copied()
    }

    /// Prints what did not hold, what nobody can say, and the counts.
    pub(super) fn print(&self, lines: &[Line], require_all: bool) -> u8 {
        let mut text = String::new();
        for (title, wanted) in [("not judged", self.not_judged), ("FAILED", self.failed)] {
            if wanted == 0 {
                continue;
            }
            text += &format!("\n{title}:\n");
            for line in lines.iter().filter(|line| words(line).0 == title) {
                text += &format!("  {:<22} {}: {}\n", line.case.id, line.case.title, words(line).1);
            }
        }
        let counts = [
            (self.held, "held"),
            (self.works, "work"),
            (self.granted, "granted by the profile"),
            (self.not_judged, "not judged"),
            (self.failed, "FAILED"),
        ];
        let counts: Vec<String> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        text += &format!("\n{} in {:.0} s", counts.join(", "), self.elapsed.as_secs_f64());
        if let (Some(half), Some(most)) = (self.late(50), self.late(99)) {
            text += &format!(
                "; meanwhile a timer of this machine was late by {:.1} ms (median), {:.1} ms (p99)",
                millis(half),
                millis(most)
            );
        }
        text += "\n";
        if require_all && self.not_judged > 0 {
            text += "--require-all: what was not judged counts as failed\n";
        }
        render::result(&text)
    }
}

/// Microseconds as milliseconds, for people.
fn millis(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64() * 1000.0
}

/// The result as one line of JSON.
pub(super) fn document(world: &World, lines: &[Line], summary: &Summary, held: bool) -> Result<String, Error> {
    let elapsed = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let cases: Vec<Value> = lines
        .iter()
        .map(|line| {
            let mut case = json!({
                "id": line.case.id,
                "class": line.case.class.name(),
                "title": line.case.title,
                "outcome": outcome(line),
                "detail": words(line).1,
                "elapsed_ms": elapsed(line.elapsed),
            });
            if let (Some(report), Some(case)) = (&line.report, case.as_object_mut()) {
                case.insert("verdict".to_owned(), json!(word(report.verdict.kind)));
                let hit: Vec<&str> = report.limits_hit.iter().map(|hit| hit.limit.as_str()).collect();
                case.insert("limits_hit".to_owned(), json!(hit));
            }
            case
        })
        .collect();
    let mut document = json!({
        "schema": SCHEMA,
        "version": env!("CARGO_PKG_VERSION"),
        "held": held,
        "profile": { "name": world.policy.name, "digest": world.policy.digest() },
        "posture": {
            "kernel": world.posture.kernel,
            "landlock_abi": world.posture.landlock_abi,
            "degraded": world.posture.degraded,
        },
        "root": world.root(),
        "summary": {
            "held": summary.held,
            "works": summary.works,
            "failed": summary.failed,
            "granted": summary.granted,
            "not_judged": summary.not_judged,
        },
        "elapsed_ms": elapsed(summary.elapsed),
        "cases": cases,
    });
    if let (Some(half), Some(most), Some(document)) = (summary.late(50), summary.late(99), document.as_object_mut()) {
        document.insert("bystander".to_owned(), json!({ "late_median_us": half, "late_p99_us": most }));
    }
    serde_json::to_string(&document)
        .map(|text| text + "\n")
        .map_err(|error| Error::usage(format!("the result cannot be written as JSON: {error}")))
}
