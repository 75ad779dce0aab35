//! `jail selftest`: what is tried, and what must hold.
//!
//! For: the types of the battery. A [`Case`] is one attempt, one program that must still work, or one thing that is
//! done to the supervisor; the tables are in one file a class.
//! Not for: the sandbox. Every case is a run of this same program as a user would start it, `jail run`, and all
//! that is known about it is what such a user sees.
//! Runs in: the process of `jail selftest`; `inside` says which part runs in the jail.
//!
//! How a case is judged. The inside half makes its calls and says what each answered, a step a line. The same
//! code runs outside first, as the positive control, wherever that is harmless: a step that is refused there in the
//! same way proves nothing, and is not counted; a case without a step that counts is *not judged*. What is not
//! harmless outside (bombs) has a ceiling of its own, and is judged by the report: a bomb that reaches its ceiling
//! failed. What the profile grants is neither held nor failed but *granted*, and tried all the same.

mod battery;
mod files;
mod information;
mod inside;
mod judge;
mod kernel;
mod network;
mod output;
mod processes;
mod resources;
mod run;
mod stage;
mod supervisor;
mod works;

pub(crate) use battery::{Selection, battery};
pub(crate) use inside::main as inside;
pub(crate) use output::list;

use jail::policy::Layer;

use inside::Inside;
use judge::{Outcome, Seen};
use run::Runner;
use stage::World;

/// The first word of the inside half's command line. No name of a program that anybody has.
pub(crate) const INSIDE: &str = "selftest-case";

/// What a case is about: the classes of the threat model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Files,
    Processes,
    Resources,
    Kernel,
    Network,
    Information,
    Supervisor,
    Works,
}

impl Class {
    const ALL: [Self; 8] = [
        Self::Files,
        Self::Processes,
        Self::Resources,
        Self::Kernel,
        Self::Network,
        Self::Information,
        Self::Supervisor,
        Self::Works,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Processes => "processes",
            Self::Resources => "resources",
            Self::Kernel => "kernel",
            Self::Network => "network",
            Self::Information => "information",
            Self::Supervisor => "supervisor",
            Self::Works => "works",
        }
    }
}

/// What is done.
#[derive(Debug, Clone, Copy)]
enum Work {
    /// The inside half makes these calls.
    Attempt(fn(&Inside)),
    /// A program runs that must work: it exits with 0 and prints `ok` as its last line.
    Program(&'static [&'static str]),
    /// The host half starts what it needs by itself, and judges.
    Drive(fn(&World, &Runner<'_>) -> Outcome),
}

/// Whether the attempt runs outside first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Control {
    /// Yes: it is harmless there.
    Outside,
    /// No: it would not be, or there is nothing to compare.
    None,
}

/// What may run at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    /// Other cases.
    Shared,
    /// Nothing: it takes much of the machine, or measures.
    Alone,
    /// Nothing, when all others are done.
    Last,
}

/// One thing that is tried.
#[derive(Debug, Clone, Copy)]
struct Case {
    /// Unique, for `--only` and `--skip`.
    id: &'static str,
    class: Class,
    /// What is tried, in words.
    title: &'static str,
    work: Work,
    control: Control,
    lane: Lane,
    /// Further flags of the run: limits made smaller, so that reaching them takes seconds.
    flags: fn(&World) -> Vec<String>,
    /// Without this layer there is nothing to try.
    needs: Option<Layer>,
    /// Says what the outcome means, of an attempt.
    judge: fn(&World, &Seen) -> Outcome,
}

impl Case {
    /// An attempt that runs outside too.
    const fn attempt(
        id: &'static str,
        class: Class,
        title: &'static str,
        inside: fn(&Inside),
        judge: fn(&World, &Seen) -> Outcome,
    ) -> Self {
        Self {
            id,
            class,
            title,
            work: Work::Attempt(inside),
            control: Control::Outside,
            lane: Lane::Shared,
            flags: |_| Vec::new(),
            needs: None,
            judge,
        }
    }

    /// A program that must work.
    const fn program(id: &'static str, title: &'static str, command: &'static [&'static str]) -> Self {
        Self {
            id,
            class: Class::Works,
            title,
            work: Work::Program(command),
            control: Control::None,
            lane: Lane::Shared,
            flags: |_| Vec::new(),
            needs: None,
            judge: |_, _| Outcome::Failed("a program has no judge".to_owned()),
        }
    }

    /// Something that the host half does by itself.
    const fn drive(
        id: &'static str,
        class: Class,
        title: &'static str,
        drive: fn(&World, &Runner<'_>) -> Outcome,
    ) -> Self {
        Self {
            id,
            class,
            title,
            work: Work::Drive(drive),
            control: Control::None,
            lane: Lane::Shared,
            flags: |_| Vec::new(),
            needs: None,
            judge: |_, _| Outcome::Failed("a drive judges by itself".to_owned()),
        }
    }

    /// Not outside.
    const fn inside_only(mut self) -> Self {
        self.control = Control::None;
        self
    }

    /// In that lane.
    const fn lane(mut self, lane: Lane) -> Self {
        self.lane = lane;
        self
    }

    /// Not where that layer was given up.
    const fn needs(mut self, layer: Layer) -> Self {
        self.needs = Some(layer);
        self
    }

    /// With further flags.
    const fn flags(mut self, flags: fn(&World) -> Vec<String>) -> Self {
        self.flags = flags;
        self
    }

    /// Whether something has to work rather than be held back.
    const fn must_work(&self) -> bool {
        matches!(self.class, Class::Works)
    }
}

/// Every case, class by class.
fn all() -> impl Iterator<Item = &'static Case> {
    [
        files::CASES,
        processes::CASES,
        resources::CASES,
        kernel::CASES,
        network::CASES,
        information::CASES,
        supervisor::CASES,
        works::CASES,
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_begin_with_their_class() {
        let ids: Vec<&str> = all().map(|case| case.id).collect();
        for (index, id) in ids.iter().enumerate() {
            assert!(ids.iter().skip(index + 1).all(|other| other != id), "{id} is there twice");
        }
        for class in Class::ALL {
            let of_class: Vec<_> = all().filter(|case| case.class == class).collect();
            assert!(!of_class.is_empty(), "{class:?} has no case");
            let prefix = |id: &str| id.split('-').next().unwrap_or_default().to_owned();
            let first = prefix(of_class.first().unwrap().id);
            assert!(of_class.iter().all(|case| prefix(case.id) == first), "{class:?}");
        }
    }
}
