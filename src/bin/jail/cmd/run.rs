//! `jail run`, and `jail` without a subcommand: runs a program and reports.
//!
//! For: the order of things around a run. Where the report goes is opened before anything is started,
//! so that a report that cannot be written stops the run; it is written also when the set-up failed.
//! Not for: the run itself (the library's).
//! Runs in: the supervisor.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use jail::{Error, Policy, Report, Sandbox};

use crate::args::{IoArgs, RunArgs};
use crate::{FAILED, overrides, render};

pub(crate) fn run(args: &RunArgs) -> u8 {
    if args.command.is_empty() {
        render::short_usage();
        return FAILED;
    }
    let mut sinks = match Sinks::open(&args.io) {
        Ok(sinks) => sinks,
        Err(error) => {
            render::error(&error);
            return error.exit_code();
        }
    };
    let report = report(args);
    render::ending(&report);
    match sinks.write(&report, args.io.json) {
        Ok(0) => report.exit_code,
        Ok(unprinted) => unprinted,
        Err(error) => {
            render::error(&error);
            error.exit_code()
        }
    }
}

/// Runs the program; what keeps it from running is in the report too.
fn report(args: &RunArgs) -> Report {
    let policy = match overrides::policy(&args.sandbox) {
        Ok(policy) => policy,
        Err(error) => return Report::from_error(&error.into(), &args.command),
    };
    let (name, digest) = (policy.name.clone(), policy.digest());
    start(args, policy).unwrap_or_else(|error| {
        let mut report = Report::from_error(&error, &args.command);
        report.profile.name = name;
        report.profile.digest = digest;
        report
    })
}

fn start(args: &RunArgs, policy: Policy) -> Result<Report, Error> {
    let command = overrides::command(&args.sandbox, &args.command)?;
    let command = overrides::connect(command, &args.io)?;
    Ok(Sandbox::new(policy)?.run(&command))
}

/// Where the report goes, beside stdout.
struct Sinks {
    /// The flag and its value, and the open file.
    files: Vec<(String, File)>,
}

impl Sinks {
    fn open(args: &IoArgs) -> Result<Self, Error> {
        let mut files = Vec::new();
        if let Some(path) = &args.report {
            let name = format!("--report {}", path.display());
            // A report holds output and file names: nobody else's business.
            let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
            let file =
                file.map_err(|error| Error::usage(format!("{name}: cannot be written: {}", jail::describe(&error))))?;
            files.push((name, file));
        }
        if let Some(number) = args.report_fd {
            let name = format!("--report-fd {number}");
            let file = inherited(number).map_err(|problem| Error::usage(format!("{name}: {problem}")))?;
            files.push((name, file));
        }
        Ok(Self { files })
    }

    /// Writes the report to everyone who asked for it. The exit code is that of printing it.
    fn write(&mut self, report: &Report, stdout: bool) -> Result<u8, Error> {
        let json = if stdout || !self.files.is_empty() { render::json(report)? } else { return Ok(0) };
        for (name, file) in &mut self.files {
            let written = file.write_all(json.as_bytes());
            written.map_err(|error| {
                Error::usage(format!("{name}: the report cannot be written: {}", jail::describe(&error)))
            })?;
        }
        Ok(if stdout { render::result(&json) } else { 0 })
    }
}

/// A copy of a descriptor that we were given.
fn inherited(number: u32) -> Result<File, String> {
    let refuse = |what: &str| format!("the descriptor is {what} (write --report-fd {number} {number}>FILE)");
    let file = i32::try_from(number).ok().and_then(|number| jail::inherited_descriptor(number).ok());
    let file = File::from(file.ok_or_else(|| refuse("not open"))?);
    // Known now and not when the run is over.
    let flags = fcntl(&file, FcntlArg::F_GETFL).map_err(|_errno| refuse("not open"))?;
    if OFlag::from_bits_truncate(flags) & OFlag::O_ACCMODE == OFlag::O_RDONLY {
        Err(refuse("open for reading only"))
    } else {
        Ok(file)
    }
}
