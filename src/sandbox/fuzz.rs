//! What must hold for every record and every plan.
//!
//! For: the bodies of the fuzz targets `record` and `plan`, which panic on a finding.
//! Not for: programs; nothing here is part of them.
//! Runs in: fuzzers and tests.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a panic is how a finding is told")]

use std::path::{Path, PathBuf};

use super::child::record::{LEN, Record};
use super::plan::seccomp::fuzz;
use super::plan::{Fate, Plan, RunName};
use super::{Command, Terms};
use crate::error::ErrorKind;
use crate::host::{CgroupVersion, Files, GroupHome, Host, Kind};
use crate::policy::Policy;
use crate::profile::{self, Profile};

pub(crate) use fuzz::filter;

/// What a child may have written. Whether it is a record.
pub(crate) fn record(bytes: &[u8]) -> bool {
    let Some(record) = Record::decode(bytes) else { return false };
    assert_eq!(bytes, record.encode(), "two spellings of one record");
    // One flipped bit is no other record of the same length: the check covers value and magic.
    assert_eq!(bytes.len(), LEN);
    for bit in 64..128 {
        let mut other = record.encode();
        other[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Record::decode(&other), None, "bit {bit} does not matter");
    }
    true
}

/// A host, a command and a profile, as lines of `key=value`. Whether there is a plan.
///
/// `profile=` a shipped one; `host=` `user`, which begins anew, or `v2` or `alone`; `landlock=` an ABI or `none`; `dir=`, `file=`,
/// `program=` and `link=PATH:TARGET` add to what the host has; `cwd=` and `home=` of the caller; `run=` the
/// program and `arg=` its arguments; `chdir=` and `workspace=` as the flags; every other key is a profile's.
pub(crate) fn plan(text: &str) -> bool {
    let mut profile = Profile::builtin("strict").unwrap();
    let mut host = Host::made();
    let mut command = Command::new("python3");
    for line in text.lines() {
        let Some((key, value)) = line.split_once('=') else { continue };
        match key {
            "profile" => {
                if let Ok(other) = Profile::builtin(value) {
                    profile = other;
                }
            }
            "host" if value == "user" => host = Host::made_user(),
            "host" => cgroups(&mut host, value),
            "landlock" => host.landlock = value.parse().map_err(|_none| libc::EOPNOTSUPP),
            "cwd" => host.caller.cwd = Path::new("/").join(value),
            "home" => host.caller.homes.push(value.into()),
            "dir" => add(&mut host, value, Kind::Dir),
            "file" => add(&mut host, value, Kind::File { executable: false }),
            "program" => add(&mut host, value, Kind::File { executable: true }),
            "link" => {
                if let Some((path, target)) = value.split_once(':') {
                    add(&mut host, path, Kind::Link(target.into()));
                }
            }
            "run" => command = Command::new(value),
            "arg" => command = command.arg(value),
            "chdir" => command = command.cwd(value),
            "workspace" => command = command.workspace(value),
            _ => {
                let mut patch = Profile::default();
                if profile::fuzz::set(&mut patch, key, value) {
                    profile.merge(patch);
                }
            }
        }
    }
    let Ok(policy) = Policy::new(&profile) else { return false };
    let run = RunName { name: "jail-1-2-3".to_owned(), number: 7, counted: false };
    let terms = Terms::new(policy).unwrap_or_else(|error| panic!("a policy without a filter: {error}"));
    let plan = match Plan::new(&terms, &host, &command, &run) {
        Ok(plan) => plan,
        Err(error) => {
            // Above all: a plan that `verify` refuses.
            assert!(error.kind() != ErrorKind::Internal, "{error}");
            assert!(!error.to_string().is_empty() && error.exit_code() >= 125, "{error}");
            return false;
        }
    };
    for (layer, fate) in &plan.fates {
        let given_up = matches!(fate, Fate::GivenUp { .. });
        assert!(!given_up || terms.policy.degradable.contains_key(layer), "{layer} is missing and nobody gave it up");
    }
    let again = Plan::new(&terms, &host, &command, &run).unwrap_or_else(|error| panic!("only once: {error}"));
    assert_eq!(plan.to_string(), again.to_string(), "the same policy, host and command make two plans");
    true
}

fn add(host: &mut Host, path: &str, kind: Kind) {
    if let (Files::Made(files), true) = (&mut host.files, path.starts_with('/')) {
        files.insert(PathBuf::from(path), kind);
    }
}

/// Where the caller can make groups.
fn cgroups(host: &mut Host, word: &str) {
    for (controller, home) in &mut host.cgroups {
        if matches!(word, "v2" | "alone") {
            let alone = word == "alone";
            *home = Ok(GroupHome {
                version: CgroupVersion::V2,
                dir: "/sys/fs/cgroup/user.slice".into(),
                enable: if alone { vec![*controller] } else { Vec::new() },
                make_room: alone,
            });
        }
    }
}
