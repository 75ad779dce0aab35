//! What a run left behind on the host.
//!
//! For: [`Before`], the state of the host before a run, which later tells what is new.
//! Not for: deciding whether that is a failure (the test does).
//! Runs in: the test process, which sees the host.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, thread};

/// How long the kernel may take to let go of what a run had.
const GRACE: Duration = Duration::from_secs(1);

/// The state of the host before a run.
pub(crate) struct Before {
    token: PathBuf,
    workspace: PathBuf,
    mounts: BTreeSet<String>,
    tree: BTreeMap<PathBuf, String>,
}

impl Before {
    /// Looks around. `token` is the folder whose name the run's command lines carry.
    pub(crate) fn new(token: &Path, workspace: &Path) -> Self {
        Self {
            token: token.to_owned(),
            workspace: workspace.to_owned(),
            mounts: mounts().collect(),
            tree: tree(workspace),
        }
    }

    /// What is there now that was not before, after up to a second of patience.
    pub(crate) fn leftovers(&self, run_id: Option<&str>) -> Vec<String> {
        let end = Instant::now() + super::room(GRACE);
        loop {
            let found = self.look(run_id);
            if found.is_empty() || Instant::now() > end {
                return found;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn look(&self, run_id: Option<&str>) -> Vec<String> {
        let mut found: Vec<String> =
            processes(&self.token).into_iter().map(|pid| format!("process {pid}: {}", command_line(pid))).collect();
        if let Some(run_id) = run_id {
            found.extend(cgroups(run_id).into_iter().map(|path| format!("cgroup {}", path.display())));
            found.extend(scratch(run_id).into_iter().map(|path| format!("file {}", path.display())));
        }
        found.extend(mounts().filter(|line| !self.mounts.contains(line)).map(|line| format!("mount {line}")));
        let tree = tree(&self.workspace);
        for path in tree.keys().chain(self.tree.keys()).collect::<BTreeSet<_>>() {
            let (was, is) = (self.tree.get(path), tree.get(path));
            if was != is {
                found.push(format!("{}: was {was:?}, is {is:?}", path.display()));
            }
        }
        found
    }
}

/// Every process whose command line names the token, zombies not among them (they have none).
pub(super) fn processes(token: &Path) -> Vec<i32> {
    let token = token.as_os_str().as_bytes();
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.windows(token.len()).any(|window| window == token)
    })
    .collect()
}

fn command_line(pid: i32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ")
}

/// Whatever carries the run's id where programs put temporary things.
fn scratch(run_id: &str) -> Vec<PathBuf> {
    let places = ["/tmp", "/var/tmp", "/run", "/dev/shm"].map(PathBuf::from);
    let own = [std::env::temp_dir()].into_iter().chain(std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from));
    let entries = places.into_iter().chain(own).filter_map(|place| fs::read_dir(place).ok()).flatten().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().contains(run_id)).map(|entry| entry.path()).collect()
}

/// Every cgroup directory, under any mounted hierarchy, whose name carries the run's id.
pub(crate) fn cgroups(run_id: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for line in mounts() {
        let mut halves = line.split(" - ");
        let place = halves.next().and_then(|half| half.split(' ').nth(4)).unwrap_or_default();
        let kind = halves.next().and_then(|half| half.split(' ').next()).unwrap_or_default();
        if kind.starts_with("cgroup") {
            search(Path::new(place), run_id, &mut found);
        }
    }
    found
}

fn search(folder: &Path, name_part: &str, found: &mut Vec<PathBuf>) {
    // A group may go away while we look; another run's end is none of this one's business.
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if entry.file_name().to_string_lossy().contains(name_part) {
                found.push(entry.path());
            }
            search(&entry.path(), name_part, found);
        }
    }
}

fn mounts() -> impl Iterator<Item = String> {
    fs::read_to_string("/proc/self/mountinfo").unwrap().lines().map(str::to_owned).collect::<Vec<_>>().into_iter()
}

/// Names, modes, owners, sizes and times of everything in a folder, itself included.
fn tree(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        if meta.is_dir() {
            open.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
        let what = format!(
            "mode {:o} owner {}:{} size {} changed {}.{}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.len(),
            meta.mtime(),
            meta.mtime_nsec()
        );
        all.insert(path, what);
    }
    all
}
