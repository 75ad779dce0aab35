//! The doors for the fuzz targets in `fuzz/`: each takes bytes that nobody has checked, panics on a finding,
//! and says whether the bytes were taken for what they should be.
//!
//! For: `scripts/fuzz`, and `cargo test`, which sends every seed through the same doors.
//! Not for: programs: it exists under `--cfg fuzzing` and in tests alone, and is no public interface.
//! Runs in: fuzzers and tests.

use crate::{profile, sandbox};

/// A door: a target's name is that of its function here.
pub type Target = fn(&[u8]) -> bool;

/// Every target.
pub const TARGETS: [(&str, Target); 5] =
    [("filter", filter), ("plan", plan), ("profile", profile), ("record", record), ("units", units)];

/// A profile file: parse, validate, print, parse again.
#[must_use]
pub fn profile(bytes: &[u8]) -> bool {
    str::from_utf8(bytes).is_ok_and(profile::fuzz::profile)
}

/// A size, a duration, a count, a number of CPUs, a path, an entry of the view, a tmpfs.
#[must_use]
pub fn units(bytes: &[u8]) -> bool {
    str::from_utf8(bytes).is_ok_and(profile::fuzz::units)
}

/// What the child says on its pipes.
#[must_use]
pub fn record(bytes: &[u8]) -> bool {
    sandbox::fuzz::record(bytes)
}

/// A policy, a host and a command: plan, verify, print.
#[must_use]
pub fn plan(bytes: &[u8]) -> bool {
    str::from_utf8(bytes).is_ok_and(sandbox::fuzz::plan)
}

/// A filter: compile, check as the kernel does, and run against the rules.
#[must_use]
pub fn filter(bytes: &[u8]) -> bool {
    sandbox::fuzz::filter(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Names tell what the door must say: `ok-…` is taken, `no-…` is refused, and a finding that was fixed
    /// (`fixed-…`) only has to be survived.
    #[test]
    fn every_seed_goes_through_its_door() {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
        for (target, door) in TARGETS {
            let mut kinds = BTreeSet::new();
            for entry in fs::read_dir(seeds.join(target)).unwrap() {
                let path = entry.unwrap().path();
                let kind = path.file_name().unwrap().to_str().unwrap().split('-').next().unwrap().to_owned();
                let taken = door(&fs::read(&path).unwrap());
                match kind.as_str() {
                    "ok" => assert!(taken, "{} is refused", path.display()),
                    "no" => assert!(!taken, "{} is taken", path.display()),
                    "fixed" => {}
                    _ => panic!("{}: a seed is called ok-…, no-… or fixed-…", path.display()),
                }
                kinds.insert(kind);
            }
            assert!(kinds.contains("ok") && kinds.contains("no"), "{target}: {kinds:?}");
        }
    }
}
