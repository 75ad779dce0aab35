//! Errors of the library: what failed, which value, and what to do about it.
//!
//! For: the one public error type, its kinds, and the only map from an error to an exit code.
//! Not for: printing (the `jail` command does that) or deciding what to do.
//! Runs in: the supervisor. The child has no errors but a step number and an errno.

use std::io;

use crate::profile::ProfileError;

/// What kind of thing failed. Decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller asked for something that makes no sense: a workspace that may not be one, a bad flag.
    Usage,
    /// A profile that cannot be read or means nothing.
    Profile,
    /// This host cannot provide a layer that was asked for.
    Unsupported,
    /// A step of the set-up failed.
    Setup,
    /// The program was found but cannot be executed.
    NotExecutable,
    /// The program was not found in the view.
    NotFound,
    /// The caller's stdout or stderr does not take the program's output.
    Output,
    /// Something that should not happen; a bug in `jail` or a failing kernel.
    Internal,
}

impl ErrorKind {
    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Profile => "profile",
            Self::Unsupported => "unsupported",
            Self::Setup => "setup",
            Self::NotExecutable => "not_executable",
            Self::NotFound => "not_found",
            Self::Output => "output",
            Self::Internal => "internal",
        }
    }
}

/// Why a run could not be started, or not be followed to its end.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    step: Option<String>,
    errno: Option<i32>,
}

impl Error {
    /// An error with a message that names the object and the value, in lower case, without a full stop.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, step: None, errno: None }
    }

    /// An error in what the caller asked for, found by the caller: a front end's bad flag, an input
    /// that cannot be read.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    /// Adds one sentence of what to do.
    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the step of the plan that failed.
    #[must_use]
    pub(crate) fn with_step(mut self, step: impl Into<String>) -> Self {
        self.step = Some(step.into());
        self
    }

    /// Adds the system error number.
    #[must_use]
    pub(crate) fn with_errno(mut self, errno: i32) -> Self {
        self.errno = Some(errno);
        self
    }

    /// What kind of thing failed.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// One sentence of what to do about it, if there is something.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        // Whatever could not be opened: a start takes up to a hundred at once.
        if self.errno == Some(libc::EMFILE) {
            return Some("the caller's limit on open files is too small for a start: ulimit -n 256");
        }
        self.hint.as_deref()
    }

    /// The step of the plan that failed, if it was one.
    #[must_use]
    pub fn step(&self) -> Option<&str> {
        self.step.as_deref()
    }

    /// The system error number, if there was one.
    #[must_use]
    pub const fn errno(&self) -> Option<i32> {
        self.errno
    }

    /// The exit code of `jail` for this error.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self.kind {
            ErrorKind::NotExecutable => 126,
            ErrorKind::NotFound => 127,
            ErrorKind::Usage
            | ErrorKind::Profile
            | ErrorKind::Unsupported
            | ErrorKind::Setup
            | ErrorKind::Output
            | ErrorKind::Internal => 125,
        }
    }
}

/// A system error in the words of the C library, in lower case and without its number: what messages say
/// behind the object and the value.
#[must_use]
pub fn describe(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), describe_errno)
}

/// The same for a bare number.
pub(crate) fn describe_errno(errno: i32) -> String {
    nix::errno::Errno::from_raw(errno).desc().to_lowercase()
}

impl From<ProfileError> for Error {
    fn from(error: ProfileError) -> Self {
        Self::new(ErrorKind::Profile, error.to_string())
    }
}
