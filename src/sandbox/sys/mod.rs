//! System calls: the only unsafe code of the program.
//!
//! For: one thin, safe wrapper a system call, with its man page, what it reads and writes, and the
//! kernel that brought it. Not for: decisions, fallbacks, text.
//! Runs in: the child (everything that goes through [`raw`]) and the supervisor.
//!
//! Rules. One unsafe operation a block; its SAFETY comment names the pointers the kernel follows, how
//! long they live, and what ownership changes. What the child calls goes through our own system call
//! instruction: no libc, no errno in thread-local memory, no cached ids, nothing that another thread
//! of the caller could have locked when the child was cloned.

#![allow(unsafe_code, reason = "this module is where the program talks to the kernel")]

pub(crate) mod attempt;
pub(crate) mod confine;
pub(crate) mod fd;
pub(crate) mod mount;
pub(crate) mod process;
mod raw;

/// A system error number, as the kernel gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

impl From<Errno> for std::io::Error {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(errno.0)
    }
}

/// What every wrapper returns.
pub(crate) type Result<T> = core::result::Result<T, Errno>;

/// A byte string that ends in NUL, borrowed from the plan's arena or from static memory. Unlike
/// `CStr` it is made without looking for the NUL again: the child cannot afford a search that panics.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ZStr<'a>(&'a [u8]);

impl<'a> ZStr<'a> {
    /// Wraps bytes whose last one is NUL.
    pub(crate) const fn new(bytes: &'a [u8]) -> Option<Self> {
        match bytes.last() {
            Some(0) => Some(Self(bytes)),
            _ => None,
        }
    }

    /// For string literals, checked when the program is compiled.
    pub(crate) const fn literal(bytes: &'static [u8]) -> ZStr<'static> {
        assert!(matches!(bytes.last(), Some(0)), "a literal must end in NUL");
        ZStr(bytes)
    }

    /// The content without the NUL.
    pub(crate) const fn bytes(self) -> &'a [u8] {
        match self.0.split_last() {
            Some((_, content)) => content,
            None => self.0,
        }
    }

    fn arg(self) -> usize {
        self.0.as_ptr().addr()
    }
}
