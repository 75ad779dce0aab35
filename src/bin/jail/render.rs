//! Everything that the command prints.
//!
//! For: results on stdout, messages on stderr.
//! Not for: wording of errors and verdicts; they come from the library.
//! Runs in: the supervisor.
//!
//! A reader that went away is no error: `jail profile list | head -1` ends quietly.

use std::io::{self, Write};

use clap::error::{ContextKind, ContextValue, ErrorKind as Misuse};

use jail::{Error, ErrorKind, ProfileError, Report};

use crate::FAILED;

const SHORT_USAGE: &str = "\
usage: jail [OPTIONS] [--] COMMAND [ARGS…]
       jail doctor [OPTIONS]
       jail plan [OPTIONS] COMMAND…
       jail profile list | show NAME | check FILE…
       jail selftest [OPTIONS]
example: jail -m 1G -t 30s python3 script.py
more: jail --help";

/// Prints a result. The exit code is that of the printing.
pub(crate) fn result(text: &str) -> u8 {
    match write(&mut io::stdout().lock(), text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            problem(&format!("stdout cannot be written: {}", jail::describe(&error)), None);
            FAILED
        }
        Ok(()) | Err(_) => 0,
    }
}

/// Prints what another `jail` said on its stderr.
pub(crate) fn passed_on(text: &str) {
    message(text);
}

/// Writes over the line that shows progress, on the terminal that stderr is; an empty text takes it away.
pub(crate) fn progress(text: &str) {
    let text: String = plain(text).chars().take(78).collect();
    let mut out = io::stderr().lock();
    // When stderr is gone, there is nobody to show progress to.
    let _written = write!(out, "\r\x1b[K{text}").and_then(|()| out.flush());
}

fn message(text: &str) {
    // When stderr is gone, there is nowhere left to say it.
    let _written = write(&mut io::stderr().lock(), text);
}

fn write(to: &mut dyn Write, text: &str) -> io::Result<()> {
    to.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        to.write_all(b"\n")?;
    }
    to.flush()
}

/// Prints help, the version, or what is wrong with the flags, in the form of every other error.
pub(crate) fn usage(answer: &clap::Error) {
    let kind = answer.kind();
    if !answer.use_stderr() || kind == Misuse::DisplayHelpOnMissingArgumentOrSubcommand {
        // A reader that went away is no error.
        let _written = answer.print();
        return;
    }
    let words = |kind| match answer.get(kind) {
        Some(ContextValue::String(word)) => word.clone(),
        Some(ContextValue::Strings(words)) => words.join(", "),
        _ => String::new(),
    };
    let (argument, value) = (words(ContextKind::InvalidArg), words(ContextKind::InvalidValue));
    // Clap names the option with its placeholder: `--net <MODE>`.
    let option = argument.split(' ').next().unwrap_or_default();
    let text = if kind == Misuse::InvalidValue && value.is_empty() {
        format!("{option}: a value is missing")
    } else if kind == Misuse::InvalidValue {
        format!("{option} {value}: {value:?} is not a known value (write {})", words(ContextKind::ValidValue))
    } else if kind == Misuse::UnknownArgument {
        let similar = words(ContextKind::SuggestedArg);
        let hint = if similar.is_empty() { "see jail --help".to_owned() } else { format!("did you mean {similar}?") };
        format!("{option}: no such option ({hint})")
    } else {
        // Its first line says it all; the rest is usage.
        answer.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
    };
    problem(&text, None);
}

/// Prints what to type, when nothing was.
pub(crate) fn short_usage() {
    message(SHORT_USAGE);
}

/// Prints an error and what to do about it.
pub(crate) fn error(error: &Error) {
    failure(error.kind().name(), &error.to_string(), error.hint());
}

/// Prints everything that is wrong with a profile.
pub(crate) fn profile_error(error: &ProfileError) {
    problem(&error.to_string(), None);
}

/// What is said behind an error that lies in this host.
const POINTER: &str = "jail doctor says what this host lacks, and what to do about it";

fn failure(kind: &str, text: &str, hint: Option<&str>) {
    problem(text, hint);
    if [ErrorKind::Unsupported.name(), ErrorKind::Setup.name()].contains(&kind) {
        message(&format!("hint: {POINTER}"));
    }
}

fn problem(text: &str, hint: Option<&str>) {
    let lines = text.lines().map(|line| format!("jail: {}\n", plain(line)));
    let hint = hint.map(|hint| format!("hint: {}\n", plain(hint)));
    message(&lines.chain(hint).collect::<String>());
}

/// Prints why `jail` ended the run or could not start it; nothing when the program ended by itself.
pub(crate) fn ending(report: &Report) {
    if let Some(error) = &report.error {
        failure(&error.kind, &error.message, error.hint.as_deref());
    } else if let Some(line) = report.summary_line() {
        problem(&line, None);
    }
}

/// A report, or what the doctor found, as one line of JSON.
pub(crate) fn json(what: &impl serde::Serialize) -> Result<String, Error> {
    let text = serde_json::to_string(what);
    text.map(|text| text + "\n").map_err(|error| Error::usage(format!("the report cannot be written as JSON: {error}")))
}

/// Keeps what a program or a file name says from steering the terminal.
fn plain(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}
