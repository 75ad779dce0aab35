//! Runs one command over and over from several threads of one process, as a judge or a service would, and
//! prints how many starts a second that made. Every report is looked at.
//!
//! ```console
//! $ cargo run --release --example throughput -- --threads 4 --milliseconds 2000 /bin/true
//! ```
//!
//! One [`Sandbox`] is shared: the host is probed once, each run has a plan and a supervisor of its own, in the
//! thread that asked for it. `scripts/bench library` compares the figure with the same made by bare system calls.

use std::error::Error;
use std::io::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use jail::report::VerdictKind;
use jail::{Command, Policy, Profile, Sandbox};

struct Arguments {
    threads: usize,
    window: Duration,
    /// A layer to go without where this host lacks it.
    degraded: Vec<String>,
    command: Vec<String>,
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let mut found = Arguments { threads: 4, window: Duration::from_secs(2), degraded: Vec::new(), command: Vec::new() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--threads" => found.threads = value()?.parse()?,
            "--milliseconds" => found.window = Duration::from_millis(value()?.parse()?),
            "--allow-degraded" => found.degraded.push(value()?),
            _ => {
                found.command = std::iter::once(word).chain(words).collect();
                break;
            }
        }
    }
    if found.command.is_empty() {
        return Err(
            "usage: throughput [--threads N] [--milliseconds N] [--allow-degraded LAYER] COMMAND [ARGS]…".into()
        );
    }
    Ok(found)
}

/// Runs `command` until `deadline`; the value is how often.
fn work(sandbox: &Sandbox, command: &Command, deadline: Instant) -> Result<u32, String> {
    let mut runs = 0;
    while Instant::now() < deadline {
        let report = sandbox.run(command);
        if report.verdict.kind != VerdictKind::Ok {
            return Err(format!("{:?}: {:?} {:?}", report.verdict.kind, report.verdict.evidence, report.error));
        }
        runs += 1;
    }
    Ok(runs)
}

fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { threads, window, degraded, command } = arguments()?;
    let text = format!("extends = ['strict']\nallow_degraded = {degraded:?}");
    let sandbox = Sandbox::new(Policy::new(&Profile::parse("throughput", &text)?)?)?;
    let (program, rest) = command.split_first().ok_or("no command")?;
    let command = Command::new(program).args(rest);

    let began = Instant::now();
    let deadline = began + window;
    let runs = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| work(&sandbox, &command, deadline))).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().map_err(|_panic| "a thread panicked".to_owned())?)
            .sum::<Result<u32, _>>()
    })?;
    let rate = f64::from(runs) / began.elapsed().as_secs_f64();
    writeln!(std::io::stdout(), "{rate:.1}")?;
    Ok(())
}
