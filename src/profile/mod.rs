//! The profile: what a person wrote.
//!
//! For: reading TOML profiles, following `extends`, and merging profiles, flags and requests into one
//! [`Profile`], in which every value remembers where it was written.
//! Not for: what it means. Defaults, ranges and rules across keys are the policy's ([`crate::Policy`]).
//! Runs in: the supervisor, on text that nobody has checked.

mod builtin;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod load;
mod schema;
mod units;

pub use builtin::{BUILTIN, Builtin};
pub(crate) use units::{ISOLATION, NET, ON_OVERFLOW, PROC, WORKSPACE, duration_text, size_text, word_of};

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::policy::{
    Bytes, EnvVar, Isolation, Layer, Located, MilliCpus, Millis, Net, OnOverflow, Origin, Proc, Quota, Tmpfs,
    ViewEntry, Workspace, same_path,
};

/// What was written, in one profile or in several that were merged. Everything is optional.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Profile {
    pub(crate) name: String,
    pub(crate) description: Option<Located<String>>,
    /// Emptied by the loader, which follows them.
    extends: Vec<Located<String>>,
    pub(crate) degradable: BTreeMap<Layer, Origin>,
    pub(crate) isolation: Option<Located<Isolation>>,
    pub(crate) hostname: Option<Located<String>>,
    pub(crate) workspace: Option<Located<Workspace>>,
    pub(crate) proc: Option<Located<Proc>>,
    /// Destinations are unique over `view` and `tmpfs` together.
    pub(crate) view: Vec<Located<ViewEntry>>,
    pub(crate) tmpfs: Vec<Located<Tmpfs>>,
    drop: Vec<Located<PathBuf>>,
    pub(crate) net: Option<Located<Net>>,
    /// `None` when nobody said anything, which means the usual list; a list may also have been emptied again.
    pub(crate) allow: Option<Vec<Located<String>>>,
    pub(crate) deny: Vec<Located<String>>,
    pub(crate) limits: LimitsPatch,
    pub(crate) output: OutputPatch,
    pub(crate) env: Vec<Located<EnvVar>>,
}

/// The `[limits]` section.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LimitsPatch {
    pub(crate) wall: Option<Quota<Millis>>,
    pub(crate) cpu_time: Option<Quota<Millis>>,
    pub(crate) cpus: Option<Quota<MilliCpus>>,
    pub(crate) memory: Option<Located<Bytes>>,
    pub(crate) pids: Option<Located<u32>>,
    pub(crate) nofile: Option<Located<u32>>,
    pub(crate) fsize: Option<Quota<Bytes>>,
    pub(crate) core: Option<Located<Bytes>>,
    pub(crate) stack: Option<Located<Bytes>>,
}

/// The `[output]` section.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct OutputPatch {
    pub(crate) limit: Option<Quota<Bytes>>,
    pub(crate) keep: Option<Located<Bytes>>,
    pub(crate) on_overflow: Option<Located<OnOverflow>>,
}

/// One value from a flag or a field of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key of the profile: `limits.memory`.
    pub key: &'static str,
    /// The value as text; of a list one element, of `env.set` one `NAME=VALUE`.
    pub value: String,
    /// What the caller knows it by: `--memory`.
    pub flag: &'static str,
}

impl Profile {
    /// A shipped profile, by name.
    ///
    /// # Errors
    /// When no shipped profile has this name.
    pub fn builtin(name: &str) -> Result<Self, ProfileError> {
        load::builtin(name)
    }

    /// A profile by name or path, with everything that it extends.
    ///
    /// A path has a slash or ends in `.toml`. A name is looked up in `$XDG_CONFIG_HOME/jail/profiles`
    /// (else `~/.config/jail/profiles`), in `/etc/jail/profiles`, and among the shipped profiles; never
    /// in the working directory.
    ///
    /// # Errors
    /// When it cannot be found or read, or with everything that is wrong with its text.
    pub fn load(name_or_path: &str) -> Result<Self, ProfileError> {
        load::load(name_or_path)
    }

    /// The text of a profile by name or path, as it stands in its file.
    ///
    /// # Errors
    /// When it cannot be found or read.
    pub fn text(name_or_path: &str) -> Result<String, ProfileError> {
        load::text(name_or_path)
    }

    /// The directories in which names are looked up, first one first.
    #[must_use]
    pub fn directories() -> Vec<PathBuf> {
        load::directories()
    }

    /// A profile from text. `name` is what error messages call it.
    ///
    /// # Errors
    /// Everything that is wrong with the text.
    pub fn parse(name: &str, text: &str) -> Result<Self, ProfileError> {
        load::parse(name, text)
    }

    /// A profile made of single values: what flags and requests say.
    ///
    /// # Errors
    /// Everything that is wrong with the values.
    pub fn from_settings(settings: impl IntoIterator<Item = Setting>) -> Result<Self, ProfileError> {
        let mut profile = Self::default();
        let mut violations = Vec::new();
        for Setting { key, value, flag } in settings {
            if let Err(problem) = schema::set(&mut profile, key, &value, Origin::Flag(flag.into())) {
                violations.push(format!("{flag} {value}: {problem}"));
            }
        }
        if violations.is_empty() { Ok(profile) } else { Err(ProfileError::new(violations)) }
    }

    /// The name of the outermost profile; empty when there are only settings.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// One line of what it is for.
    #[must_use]
    pub fn description(&self) -> Option<&str> {
        self.description.as_ref().map(|description| description.value.as_str())
    }

    /// Lays `patch` over this profile: of a scalar the patch's value wins, lists are appended, and an
    /// entry with the same destination, name or word replaces the earlier one.
    pub fn merge(&mut self, patch: Self) {
        if !patch.name.is_empty() {
            self.name = patch.name;
        }
        later(&mut self.description, patch.description);
        self.degradable.extend(patch.degradable);
        later(&mut self.isolation, patch.isolation);
        later(&mut self.hostname, patch.hostname);
        later(&mut self.workspace, patch.workspace);
        later(&mut self.proc, patch.proc);
        later(&mut self.net, patch.net);

        // What the patch drops is what it inherits, so its own entries come after.
        for dropped in patch.drop {
            self.leave_out(&dropped.value);
            self.drop.retain(|there| there.value != dropped.value);
            self.drop.push(dropped);
        }
        for entry in patch.view {
            self.leave_out(&entry.value.dest);
            self.view.push(entry);
        }
        for tmpfs in patch.tmpfs {
            self.leave_out(&tmpfs.value.dest);
            self.tmpfs.push(tmpfs);
        }

        if let Some(words) = patch.allow {
            let allow = self.allow.get_or_insert_default();
            for word in words {
                decide(allow, &mut self.deny, word);
            }
        }
        let mut nothing = Vec::new();
        for word in patch.deny {
            decide(&mut self.deny, self.allow.as_mut().unwrap_or(&mut nothing), word);
        }
        for variable in patch.env {
            self.env.retain(|there| there.value.name() != variable.value.name());
            self.env.push(variable);
        }

        let LimitsPatch { wall, cpu_time, cpus, memory, pids, nofile, fsize, core, stack } = patch.limits;
        later(&mut self.limits.wall, wall);
        later(&mut self.limits.cpu_time, cpu_time);
        later(&mut self.limits.cpus, cpus);
        later(&mut self.limits.memory, memory);
        later(&mut self.limits.pids, pids);
        later(&mut self.limits.nofile, nofile);
        later(&mut self.limits.fsize, fsize);
        later(&mut self.limits.core, core);
        later(&mut self.limits.stack, stack);

        let OutputPatch { limit, keep, on_overflow } = patch.output;
        later(&mut self.output.limit, limit);
        later(&mut self.output.keep, keep);
        later(&mut self.output.on_overflow, on_overflow);
    }

    fn leave_out(&mut self, dest: &Path) {
        self.view.retain(|there| !same_path(&there.value.dest, dest));
        self.tmpfs.retain(|there| !same_path(&there.value.dest, dest));
    }

    /// Refuses a second entry for a destination in one and the same profile: which of the two was meant?
    fn not_yet_at(&self, dest: &Path) -> Result<(), String> {
        let view = self.view.iter().find(|there| same_path(&there.value.dest, dest)).map(|there| &there.origin);
        let tmpfs = self.tmpfs.iter().find(|there| same_path(&there.value.dest, dest)).map(|there| &there.origin);
        match view.or(tmpfs) {
            Some(origin) => Err(format!("{} is already given by {origin} (keep one of the two)", dest.display())),
            None => Ok(()),
        }
    }
}

fn later<T>(slot: &mut Option<T>, patch: Option<T>) {
    if patch.is_some() {
        *slot = patch;
    }
}

/// Moves a word into one list: the last one to name it decides.
fn decide(list: &mut Vec<Located<String>>, other: &mut Vec<Located<String>>, word: Located<String>) {
    other.retain(|there| there.value != word.value);
    list.retain(|there| there.value != word.value);
    list.push(word);
}

/// One line about one mistake.
pub(crate) fn violation(origin: &Origin, key: &str, problem: &str) -> String {
    match origin {
        Origin::File { .. } => format!("{origin}: {key}: {problem}"),
        Origin::Flag(flag) => format!("{flag}: {problem}"),
        Origin::Default => format!("{key}: {problem}"),
    }
}

/// Everything that is wrong with a profile, one line each: `file:line: key: what (what to write)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileError {
    lines: Vec<String>,
    unreadable: bool,
}

impl ProfileError {
    pub(crate) const fn new(lines: Vec<String>) -> Self {
        Self { lines, unreadable: false }
    }

    /// The profile itself could not be found or read, so nothing is known about its text.
    fn unreadable(line: String) -> Self {
        Self { lines: vec![line], unreadable: true }
    }

    /// One line per mistake.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Whether the profile could not be found or read at all.
    #[must_use]
    pub const fn is_unreadable(&self) -> bool {
        self.unreadable
    }
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

impl std::error::Error for ProfileError {}

#[cfg(test)]
pub(crate) mod tests;
