//! Control groups: from memory, tasks and CPU limits to groups and the files to write.
//!
//! For: which groups are made where, and what goes into them.
//! Not for: doing it (see `supervisor::cgroup`, which also reads the counters).
//! Runs in: the supervisor.
//!
//! A run's group is always below the caller's own: a limit on the caller then also holds for the run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::host::{CgroupVersion, Controller, GroupHome, Host, LEAF};
use crate::policy::{Layer, Origin, Policy};

use super::{HostOp, Step};

/// The groups of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Groups {
    /// The directory of the run's group for each controller that is to be had; in v2, and where v1
    /// controllers are mounted together, several share one.
    pub(crate) dirs: BTreeMap<Controller, PathBuf>,
    pub(crate) version: Option<CgroupVersion>,
    /// The file by which the child joins; `None` when it is born into its group, which only v2 with clone3 can.
    joins_by: Option<&'static str>,
}

impl Groups {
    /// Each directory once, in the order they are made.
    pub(crate) fn unique(&self) -> Vec<&Path> {
        let mut unique: Vec<&Path> = Vec::new();
        for dir in self.dirs.values() {
            if !unique.contains(&dir.as_path()) {
                unique.push(dir);
            }
        }
        unique
    }

    /// The files by which the child joins.
    pub(super) fn join_files(&self) -> Vec<PathBuf> {
        let Some(file) = self.joins_by else { return Vec::new() };
        self.unique().into_iter().map(|dir| dir.join(file)).collect()
    }

    /// Made after the clone, where the child joins by itself: it makes its network namespace meanwhile. A v2 group has
    /// to be there before, for the child is born into it.
    pub(super) fn after_the_clone(&self) -> bool {
        self.version == Some(CgroupVersion::V1)
    }

    /// The group that the child is born into.
    pub(super) fn born_into(&self) -> Option<&Path> {
        if self.joins_by.is_some() { None } else { self.unique().first().copied() }
    }

    pub(crate) fn dir(&self, controller: Controller) -> Option<&Path> {
        self.dirs.get(&controller).map(PathBuf::as_path)
    }
}

/// The controllers that a layer stands on.
pub(super) const fn controllers(layer: Layer) -> &'static [Controller] {
    match layer {
        Layer::CgroupMemory => &[Controller::Memory],
        Layer::CgroupPids => &[Controller::Pids],
        Layer::CgroupCpu => &[Controller::Cpu, Controller::Cpuacct],
        Layer::Namespaces
        | Layer::Rootfs
        | Layer::Ids
        | Layer::Caps
        | Layer::Landlock
        | Layer::Seccomp
        | Layer::Rlimits
        | Layer::Net => &[],
    }
}

/// Why a layer cannot be had on this host, if it cannot.
pub(super) fn missing(host: &Host, layer: Layer) -> Option<String> {
    controllers(layer).iter().find_map(|controller| match host.cgroups.get(controller) {
        Some(Ok(_)) => None,
        Some(Err(reason)) => Some(reason.clone()),
        None => Some(format!("the {} controller was not looked for", controller.name())),
    })
}

/// Plans the groups of the layers in `layers`, which this host has, under the name `name`. In v2 the same group
/// counts CPU time, and bytes where it can, whatever the layers are.
pub(super) fn groups(host: &Host, layers: &[Layer], name: &str) -> Groups {
    let mut groups = Groups::default();
    let figures = [Controller::Cpuacct, Controller::Io].iter().filter(
        |controller| matches!(host.cgroups.get(controller), Some(Ok(home)) if home.version == CgroupVersion::V2),
    );
    for controller in layers.iter().flat_map(|layer| controllers(*layer)).chain(figures) {
        if let Some(Ok(home)) = host.cgroups.get(controller) {
            groups.version = Some(home.version);
            groups.joins_by = match home.version {
                CgroupVersion::V1 => Some("tasks"),
                CgroupVersion::V2 if host.clone3 => None,
                CgroupVersion::V2 => Some("cgroup.procs"),
            };
            groups.dirs.insert(*controller, home.dir.join(name));
        }
    }
    groups
}

/// The supervisor's steps, in order: into a scope of systemd's, where there has to be one; itself out of the way
/// before controllers are enabled (cgroups(7), "no internal processes"), controllers enabled before the group is
/// made, the group before its limits, the limits before anything is in it.
pub(super) fn lower(host: &Host, policy: &Policy, groups: &Groups) -> Vec<Step<HostOp>> {
    let mut steps = Vec::new();
    let mut push = |op, origin: &Origin| steps.push(Step { op, origin: origin.clone() });
    let homes: Vec<&GroupHome> =
        groups.dirs.keys().filter_map(|controller| host.cgroups.get(controller)?.as_ref().ok()).collect();
    if let (Some(scope), false) = (&host.scope, homes.is_empty()) {
        push(HostOp::JoinScope { scope: scope.clone() }, &Origin::Default);
    }
    if let Some(home) = homes.iter().find(|home| home.make_room) {
        push(HostOp::MoveSelf { dir: home.dir.join(LEAF) }, &Origin::Default);
    }
    for home in &homes {
        for controller in &home.enable {
            let op = HostOp::SetLimit {
                file: home.dir.join("cgroup.subtree_control"),
                value: format!("+{}", controller.name()),
                optional: false,
            };
            push(op, &Origin::Default);
        }
    }
    for dir in groups.unique() {
        push(HostOp::MakeGroup { dir: dir.to_owned() }, &Origin::Default);
    }
    let v2 = groups.version == Some(CgroupVersion::V2);
    let mut limit = |dir: &Path, file: &str, value: String, optional: bool, origin: &Origin| {
        push(HostOp::SetLimit { file: dir.join(file), value, optional }, origin);
    };
    if let Some(dir) = groups.dir(Controller::Memory) {
        let (bytes, origin) = (policy.limits.memory.value.0, &policy.limits.memory.origin);
        if v2 {
            limit(dir, "memory.max", bytes.to_string(), false, origin);
            // Absent where the kernel does not account swap; then there must be none.
            limit(dir, "memory.swap.max", "0".to_owned(), !host.swap, origin);
            limit(dir, "memory.oom.group", "1".to_owned(), true, origin);
        } else {
            limit(dir, "memory.limit_in_bytes", bytes.to_string(), false, origin);
            // Memory and swap together; cannot be below the limit on memory, so it comes second.
            limit(dir, "memory.memsw.limit_in_bytes", bytes.to_string(), !host.swap, origin);
        }
    }
    if let Some(dir) = groups.dir(Controller::Pids) {
        // One more than asked for: the jail's init counts too.
        let tasks = u64::from(policy.limits.pids.value) + 1;
        limit(dir, "pids.max", tasks.to_string(), false, &policy.limits.pids.origin);
    }
    if let (Some(dir), Some(cpus)) = (groups.dir(Controller::Cpu), policy.limits.cpus.value) {
        // Thousandths of a CPU are microseconds in a period of 1 ms; the period of a new group is 100 ms
        // (Documentation/scheduler/sched-bwc.rst).
        let quota = u64::from(cpus.0) * 100;
        let origin = &policy.limits.cpus.origin;
        if v2 {
            limit(dir, "cpu.max", format!("{quota} 100000"), false, origin);
        } else {
            limit(dir, "cpu.cfs_quota_us", quota.to_string(), false, origin);
        }
    }
    steps
}
