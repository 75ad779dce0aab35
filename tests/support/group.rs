//! The cgroup v2 group of the test process.
//!
//! For: making room in it, as every program does that has a delegated group and starts `jail` from it: the
//! processes of a group with controllers for its children have to sit in a leaf.
//! Not for: v1, where there is no such rule.
//! Runs in: the test process, once.

use std::fs;
use std::path::{Path, PathBuf};

/// The leaf in which `jail` looks for its caller.
const LEAF: &str = "jail-leaf";

/// The directory of this process's v2 group, where it has one.
pub(crate) fn own_v2() -> Option<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap();
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
    Some(Path::new(mount.split(' ').nth(4)?).join(path.trim_start_matches('/')))
}

/// The v2 group below which this process may make groups with limits, once it has made room in it.
pub(crate) fn home_v2() -> Option<PathBuf> {
    let own = own_v2()?;
    let home = if own.ends_with(LEAF) { own.parent()?.to_owned() } else { own };
    let enabled = fs::read_to_string(home.join("cgroup.subtree_control")).ok()?;
    let all = ["memory", "pids", "cpu"].iter().all(|name| enabled.split_whitespace().any(|word| word == *name));
    let writable = nix::unistd::access(&home, nix::unistd::AccessFlags::W_OK).is_ok();
    (all && writable).then_some(home)
}

/// Moves this process into a leaf of its group and enables all controllers beside it. Does nothing where the
/// group is not this process's alone.
pub(super) fn make_room() {
    let Some(group) = own_v2() else { return };
    let alone =
        fs::read_to_string(group.join("cgroup.procs")).is_ok_and(|text| text.trim() == std::process::id().to_string());
    let is_root = !group.join("cgroup.type").exists();
    let Ok(controllers) = fs::read_to_string(group.join("cgroup.controllers")) else { return };
    if !alone || is_root || controllers.trim().is_empty() || fs::create_dir(group.join(LEAF)).is_err() {
        return;
    }
    fs::write(group.join(LEAF).join("cgroup.procs"), "0").unwrap();
    for controller in controllers.split_whitespace() {
        fs::write(group.join("cgroup.subtree_control"), format!("+{controller}")).unwrap();
    }
}
