//! `jail profile`: what profiles there are, what they say and mean, and what is wrong with them.
//!
//! For: people who write profiles.
//! Not for: running anything.
//! Runs in: the supervisor.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use jail::profile::BUILTIN;
use jail::{Policy, Profile, ProfileError};

use crate::args::{ProfileAction, ProfileArgs};
use crate::{FAILED, render};

/// Exit code of `check` when there is something to mend.
const MISTAKES: u8 = 1;

#[inline(never)]
pub(crate) fn profile(args: &ProfileArgs) -> u8 {
    match &args.action {
        ProfileAction::List => render::result(&list()),
        ProfileAction::Show { name, resolved } => match show(name, *resolved) {
            Ok(text) => render::result(&text),
            Err(error) => {
                render::profile_error(&error);
                FAILED
            }
        },
        ProfileAction::Check { files } => files.iter().map(|file| check(file)).max().unwrap_or_default(),
    }
}

fn show(name: &str, resolved: bool) -> Result<String, ProfileError> {
    if resolved { policy(name).map(|policy| policy.to_toml()) } else { Profile::text(name) }
}

fn policy(name: &str) -> Result<Policy, ProfileError> {
    Policy::new(&Profile::load(name)?)
}

/// Every name that `--profile` takes, with what it would find.
fn list() -> String {
    let mut found = BTreeMap::new();
    // What is looked up first is put in last, so that it stands for its name.
    for builtin in BUILTIN {
        found.insert(builtin.name.to_owned(), String::new());
    }
    for directory in Profile::directories().into_iter().rev() {
        for name in names(&directory) {
            let path = directory.join(format!("{name}.toml"));
            found.insert(name, format!(" ({})", path.display()));
        }
    }
    let width = found.keys().map(|name| name.chars().count()).max().unwrap_or_default();
    let line = |(name, place): (String, String)| {
        let description = match Profile::load(&name) {
            Ok(profile) => profile.description().unwrap_or("no description").to_owned(),
            Err(_mistakes) => format!("has mistakes: jail profile check {name}"),
        };
        format!("{name:width$}  {description}{place}\n")
    };
    found.into_iter().map(line).collect()
}

/// The profiles of a directory. One that is not there, or not ours to read, has none.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter_map(|name| name.strip_suffix(".toml").map(str::to_owned)).collect()
}

fn check(file: &str) -> u8 {
    match policy(file) {
        Ok(policy) => render::result(&format!("{file}: ok (digest {})", policy.digest())),
        Err(error) if error.is_unreadable() => {
            render::profile_error(&error);
            FAILED
        }
        Err(error) => render::result(&error.to_string()).max(MISTAKES),
    }
}
