//! The cgroup v2 group of the test process.
//!
//! For: making room in it, as every program does that has a delegated group and starts `jail` from it: the
//! processes of a group with controllers for its children have to sit in a leaf.
//! Not for: v1, where there is no such rule.
//! Runs in: the test process, once.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;

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

/// Moves this process, with the children that other tests have at this moment, into a leaf of its group and enables
/// all controllers beside it, once. Does nothing where somebody else is in the group. A test that starts other
/// programs than `jail`, which would be in the way, has to call it before them.
pub(crate) fn make_room() {
    static ROOM: Once = Once::new();
    ROOM.call_once(move_to_leaf);
}

fn move_to_leaf() {
    let Some(group) = own_v2() else { return };
    let members = || fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let is_root = !group.join("cgroup.type").exists();
    let Ok(controllers) = fs::read_to_string(group.join("cgroup.controllers")) else { return };
    let ours = members().lines().all(|pid| is_ours(pid.to_owned()));
    let leaf = group.join(LEAF);
    if !ours || is_root || controllers.trim().is_empty() || fs::create_dir(&leaf).is_err() {
        return;
    }
    let enable: String = controllers.split_whitespace().map(|name| format!("+{name} ")).collect();
    for _ in 0..1000 {
        for pid in members().lines() {
            match fs::write(leaf.join("cgroup.procs"), pid) {
                // It has ended meanwhile.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                moved => moved.unwrap(),
            }
        }
        match fs::write(group.join("cgroup.subtree_control"), &enable) {
            // A child was begun meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            enabled => return enabled.unwrap(),
        }
    }
    panic!("{} does not become empty: {}", group.display(), members());
}

/// Whether a process is this one, a descendant of it, or gone.
fn is_ours(mut pid: String) -> bool {
    let own = std::process::id().to_string();
    while pid != own {
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
        // The fields behind the name, which may hold anything: the state, then the parent.
        pid = stat.rsplit(") ").next().unwrap().split(' ').nth(1).unwrap().to_owned();
        if pid == "0" {
            return false;
        }
    }
    true
}
