//! `jail run`, and `jail` without a subcommand: runs a program and reports.
//!
//! For: the order of things around a run. Signals that cancel it are held back first of all; where the
//! report goes is opened before anything is started, so that a report that cannot be written stops the run;
//! it is written also when the set-up failed.
//! Not for: the run itself (the library's), or how a report is kept from being forged (see `sink`).
//! Runs in: the supervisor.

use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};

use jail::{Command, Error, Policy, Report, Sandbox};

use crate::args::{IoArgs, RunArgs};
use crate::sink::Sink;
use crate::{FAILED, overrides, render};

pub(crate) fn run(args: &RunArgs, began: Instant) -> u8 {
    if args.command.is_empty() {
        render::short_usage();
        return FAILED;
    }
    let mut sinks = match hold_signals().and_then(|()| open_sinks(&args.io)) {
        Ok(sinks) => sinks,
        Err(error) => {
            render::error(&error);
            return error.exit_code();
        }
    };
    let (report, before) = report(args, began);
    render::ending(&report);
    if args.io.timing {
        render::timing(&report, before);
    }
    match write(&report, &mut sinks, args.io.json) {
        Ok(0) => report.exit_code,
        Ok(unprinted) => unprinted,
        Err(error) => {
            render::error(&error);
            error.exit_code()
        }
    }
}

/// Runs the program; what keeps it from running is in the report too. Beside it, how long it took to come to
/// the run.
fn report(args: &RunArgs, began: Instant) -> (Report, Duration) {
    let policy = match overrides::policy(&args.sandbox) {
        Ok(policy) => policy,
        Err(error) => return (Report::from_error(&error.into(), &args.command), began.elapsed()),
    };
    let (sandbox, command) = match prepare(args, policy.clone()) {
        Ok(prepared) => prepared,
        Err(error) => {
            let mut report = Report::from_error(&error, &args.command);
            report.profile.digest = policy.digest();
            report.profile.name = policy.name;
            return (report, began.elapsed());
        }
    };
    // Never freed: the process ends with the run, and pages that it shares with nobody any more since the clones
    // would be copied for it one by one.
    let sandbox: &'static Sandbox = Box::leak(Box::new(sandbox));
    let before = began.elapsed();
    (sandbox.run(&command), before)
}

fn prepare(args: &RunArgs, policy: Policy) -> Result<(Sandbox, Command), Error> {
    let command = overrides::command(&args.sandbox, &args.command)?;
    let command = overrides::connect(command, &args.io)?;
    Ok((overrides::sandbox(&args.sandbox, policy)?, command))
}

/// Keeps the signals that end a run from ending us without a report, before and after the library takes them.
fn hold_signals() -> Result<(), Error> {
    let held = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    held.thread_block()
        .map_err(|errno| Error::usage(format!("signals cannot be held: {}", jail::describe(&errno.into()))))
}

/// Every place beside stdout that was asked for.
fn open_sinks(args: &IoArgs) -> Result<Vec<Sink>, Error> {
    let file = args.report.iter().map(|path| Sink::file(path));
    let descriptor = args.report_fd.iter().map(|number| Sink::descriptor(*number));
    file.chain(descriptor).collect()
}

/// Writes the report to everyone who asked for it, also when one of them cannot be written to. The exit code is
/// that of printing it.
fn write(report: &Report, sinks: &mut [Sink], stdout: bool) -> Result<u8, Error> {
    let json = if stdout || !sinks.is_empty() { render::json(report)? } else { return Ok(0) };
    let mut written = Ok(());
    for sink in sinks {
        written = written.and(sink.write(&json));
    }
    let printed = if stdout { render::result(&json) } else { 0 };
    written.map(|()| printed)
}
