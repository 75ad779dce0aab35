//! The model of a filter: an action, or a look at one word of the call and a rule for each value of it.
//!
//! For: saying once what is allowed, in a form that can be decided, compiled, compared and printed.
//! Not for: which calls get which rule (see `calls` and `arguments`).
//! Runs in: the supervisor.
//!
//! Every comparison is of 32 bits. Where the kernel takes an `int` it ignores the upper half of the register,
//! so a filter that looked at it could be passed by setting a bit there (CVE-2019-10063). Where the kernel
//! takes a `long`, `arguments` says why the lower half decides.

use std::fmt;

// The error numbers that the rules answer with. They are the same on all architectures but a few old ones.
pub(super) const EPERM: u16 = 1;
pub(super) const EINVAL: u16 = 22;
pub(super) const ENOTTY: u16 = 25;
pub(super) const ENOSYS: u16 = 38;
pub(super) const EPROTONOSUPPORT: u16 = 93;
pub(super) const ESOCKTNOSUPPORT: u16 = 94;
pub(super) const EAFNOSUPPORT: u16 = 97;

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// The kernel carries it out.
    Allow,
    /// It is not carried out and answers this error number.
    Errno(u16),
    /// The whole process is killed with SIGSYS.
    KillProcess,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::Allow => "allow",
            Self::KillProcess => "kill",
            Self::Errno(EPERM) => "EPERM",
            Self::Errno(EINVAL) => "EINVAL",
            Self::Errno(ENOTTY) => "ENOTTY",
            Self::Errno(ENOSYS) => "ENOSYS",
            Self::Errno(EPROTONOSUPPORT) => "EPROTONOSUPPORT",
            Self::Errno(ESOCKTNOSUPPORT) => "ESOCKTNOSUPPORT",
            Self::Errno(EAFNOSUPPORT) => "EAFNOSUPPORT",
            Self::Errno(number) => return write!(f, "errno {number}"),
        })
    }
}

/// A word of `struct seccomp_data`. The rules look at no more than the first four arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Number,
    Arch,
    Arg0,
    Arg1,
    Arg2,
    Arg3,
}

impl Field {
    /// Where the word lies; of an argument the lower half, which is the first one on a little-endian machine.
    pub(super) const fn offset(self) -> u32 {
        match self {
            Self::Number => 0,
            Self::Arch => 4,
            Self::Arg0 => 16,
            Self::Arg1 => 24,
            Self::Arg2 => 32,
            Self::Arg3 => 40,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Arch => "architecture",
            Self::Arg0 => "arg0",
            Self::Arg1 => "arg1",
            Self::Arg2 => "arg2",
            Self::Arg3 => "arg3",
        }
    }
}

/// What to do with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rule {
    Do(Action),
    Look(Box<Switch>),
}

/// A choice by one word of the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Switch {
    pub(super) field: Field,
    /// Which bits of the word are looked at.
    pub(super) mask: u32,
    /// First value, last value and what they get; in ascending order, without overlap.
    pub(super) cases: Vec<(u32, u32, Rule)>,
    /// What every other value gets.
    pub(super) otherwise: Rule,
}

impl Rule {
    /// A choice by `field & mask`. The cases must not overlap.
    pub(super) fn look(field: Field, mask: u32, mut cases: Vec<(u32, u32, Rule)>, otherwise: Self) -> Self {
        cases.sort_unstable_by_key(|(first, _, _)| *first);
        Self::Look(Box::new(Switch { field, mask, cases, otherwise }))
    }

    /// What happens to a call with these arguments, for a rule that looks at nothing but arguments.
    pub(super) fn decide(&self, arguments: [u64; 6]) -> Action {
        let [arg0, arg1, arg2, arg3, ..] = arguments;
        let mut rule = self;
        loop {
            let switch = match rule {
                Self::Do(action) => return *action,
                Self::Look(switch) => switch,
            };
            let word = match switch.field {
                Field::Arg0 => arg0,
                Field::Arg1 => arg1,
                Field::Arg2 => arg2,
                Field::Arg3 => arg3,
                // `Filter` chooses by these before it comes here.
                Field::Number | Field::Arch => return Action::KillProcess,
            };
            let value = word & u64::from(switch.mask);
            let case =
                switch.cases.iter().find(|(first, last, _)| (u64::from(*first)..=u64::from(*last)).contains(&value));
            rule = case.map_or(&switch.otherwise, |(_, _, then)| then);
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, indent: usize) -> fmt::Result {
        let switch = match self {
            Self::Do(action) => return write!(f, "{action}"),
            Self::Look(switch) => switch,
        };
        write!(f, "by {}", switch.field.name())?;
        if switch.mask != u32::MAX {
            write!(f, " & {:#x}", switch.mask)?;
        }
        for (first, last, then) in &switch.cases {
            write!(f, "\n{:indent$}{first:#x}", "")?;
            if last != first {
                write!(f, "-{last:#x}")?;
            }
            f.write_str(": ")?;
            then.write(f, indent + 4)?;
        }
        write!(f, "\n{:indent$}otherwise: ", "")?;
        switch.otherwise.write(f, indent + 4)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 12)
    }
}
