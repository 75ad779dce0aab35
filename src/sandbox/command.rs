//! The command: what is to be run, and how it is connected to the caller.
//!
//! For: the per-run half of what a plan is made from; the policy is the other.
//! Not for: limits and rights, which are the policy's.
//! Runs in: the supervisor.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the program's standard input comes from. It always reads from a pipe of ours.
#[derive(Debug, Clone, Default)]
pub enum Stdin {
    /// It reads an end of file at once.
    #[default]
    Null,
    /// It reads these bytes.
    Bytes(Vec<u8>),
    /// It reads what the caller's own standard input has.
    Inherit,
    /// It reads what this descriptor has.
    File(Arc<OwnedFd>),
}

/// Where stdout and stderr go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutputMode {
    /// Into the report, bounded by the policy's `output.keep`.
    #[default]
    Capture,
    /// To the caller's own stdout and stderr, as it comes.
    Inherit,
}

/// A program with its arguments. Like `std::process::Command`, but with nothing inherited.
#[derive(Debug, Clone)]
pub struct Command {
    program: OsString,
    arguments: Vec<OsString>,
    chdir: Option<PathBuf>,
    workspace: Option<PathBuf>,
    stdin: Stdin,
    output: OutputMode,
    cancel_on_signals: bool,
    /// There is no program: the run ends where it would begin.
    rehearsal: bool,
}

impl Command {
    /// `program` is looked for on the PATH inside the jail, unless it has a slash in it.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            chdir: None,
            workspace: None,
            stdin: Stdin::default(),
            output: OutputMode::default(),
            cancel_on_signals: false,
            rehearsal: false,
        }
    }

    /// The same without a program.
    pub(super) fn rehearsal(mut self) -> Self {
        (self.stdin, self.output, self.rehearsal) = (Stdin::Null, OutputMode::Capture, true);
        self
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item = A>, A: Into<OsString>>(mut self, arguments: I) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// The working directory inside; relative to the workspace. Without it, the workspace.
    #[must_use]
    pub fn cwd(mut self, directory: impl Into<PathBuf>) -> Self {
        self.chdir = Some(directory.into());
        self
    }

    /// The workspace; without it, the caller's working directory. Naming one is "on purpose": a home
    /// directory is then taken as well.
    #[must_use]
    pub fn workspace(mut self, directory: impl Into<PathBuf>) -> Self {
        self.workspace = Some(directory.into());
        self
    }

    /// Where standard input comes from; nothing, if this is not called.
    #[must_use]
    pub fn stdin(mut self, stdin: Stdin) -> Self {
        self.stdin = stdin;
        self
    }

    /// Where output goes; into the report, if this is not called.
    #[must_use]
    pub fn output(mut self, output: OutputMode) -> Self {
        self.output = output;
        self
    }

    /// Whether SIGINT, SIGTERM and SIGHUP to the calling thread cancel the run. They are blocked in this
    /// thread while it lasts, so this is for programs with one thread, like the command.
    #[must_use]
    pub fn cancel_on_signals(mut self, cancel: bool) -> Self {
        self.cancel_on_signals = cancel;
        self
    }

    pub(super) fn program(&self) -> &OsStr {
        &self.program
    }

    pub(super) const fn is_rehearsal(&self) -> bool {
        self.rehearsal
    }

    pub(super) fn arguments(&self) -> &[OsString] {
        &self.arguments
    }

    pub(super) fn chdir(&self) -> Option<&Path> {
        self.chdir.as_deref()
    }

    pub(super) fn named_workspace(&self) -> Option<&Path> {
        self.workspace.as_deref()
    }

    pub(super) fn stdin_source(&self) -> &Stdin {
        &self.stdin
    }

    pub(super) const fn output_mode(&self) -> OutputMode {
        self.output
    }

    pub(super) const fn cancels_on_signals(&self) -> bool {
        self.cancel_on_signals
    }

    /// Program and arguments for people and reports.
    pub(super) fn display(&self) -> Vec<String> {
        std::iter::once(&self.program).chain(&self.arguments).map(|word| word.to_string_lossy().into_owned()).collect()
    }
}
