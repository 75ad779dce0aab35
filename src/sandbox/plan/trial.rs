//! Trials: the smallest list of steps that tells whether one thing can be had here.
//!
//! For: `jail doctor`. A run stops at the first step that this host refuses; trials find out about all the
//! others as well. They are made of the same ops as a plan and carried out by the same child.
//! Not for: deciding whether a run would work; a rehearsal of the run itself does that.
//! Runs in: the supervisor; the ops run in a child of their own for each trial (see `supervisor::trial`).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Error, ErrorKind};
use crate::host::{GroupHome, Host};
use crate::policy::{Isolation, Layer, Located, Net, Origin, Policy, Proc};
use crate::sandbox::sys::mount::Attrs;
use crate::sandbox::sys::process::{ExecBlock, Start};

use super::cgroup::{self, Groups};
use super::op::{FilterOf, Op, Slot};
use super::own::OwnPlaces;
use super::{CAP_SYS_ADMIN, HostOp, Lowering, Plan, Step, Steps, ids, landlock, limits, seccomp};

/// What can be tried by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thing {
    /// A clone without a namespace.
    Clone,
    /// A user namespace, nobody in it.
    User,
    /// One id in it.
    Ids,
    Mount,
    Pid,
    Net,
    Ipc,
    Uts,
    Cgroup,
    /// A file system in memory over the old root.
    Tmpfs,
    /// A read-only copy of what is mounted here.
    Bind,
    Proc,
    Pty,
    Overlay,
    Pivot,
    Loopback,
    Caps,
    Rlimits,
    Landlock,
    Seccomp,
    /// A filter with a listener, by which calls can be observed.
    Listener,
}

/// Steps of one child, ready to be carried out.
#[derive(Debug)]
pub(crate) struct Trial {
    /// As a run would be started.
    pub(crate) start: Start,
    pub(crate) namespaces: u64,
    /// Written where there is a user namespace.
    pub(crate) map: Option<ids::IdMap>,
    /// Has steps for init alone, which ends behind the last one.
    pub(crate) plan: Plan,
}

const SIZE: &str = "1m";

impl Trial {
    /// # Errors
    /// There is no id to give, or the filter of the policy cannot be compiled.
    pub(crate) fn new(thing: Thing, policy: &Policy, host: &Host) -> Result<Self, Error> {
        // Each thing is tried as full isolation has it; a run without namespaces needs fewer of them.
        let mut policy = Policy { isolation: Located::new(Isolation::Full, Origin::Default), ..policy.clone() };
        if matches!(thing, Thing::Net | Thing::Loopback) {
            policy.net = Located::new(Net::Loopback, Origin::Default);
        }
        let policy = &policy;
        let own = namespaces(thing);
        let map =
            if own != 0 && thing != Thing::User { Some(ids::IdMap::new(host, std::process::id())?) } else { None };
        let unmapped = ids::IdMap { uid: host.uid, gid: host.gid, privileged: false };
        let mut steps = Lowering::new(policy, host, map.unwrap_or(unmapped), OwnPlaces::on_our_root());
        match map {
            Some(_) => {
                steps.enter(&Groups::default(), false);
                // Each has a trial of its own.
                let (net, cgroup) = (matches!(thing, Thing::Net | Thing::Loopback), thing == Thing::Cgroup);
                steps.init.retain(|op| (net || *op != Op::UnshareNet) && (cgroup || *op != Op::UnshareCgroup));
            }
            None => {
                for op in [Op::HoldSignals, Op::CloseOthers, Op::DieWithParent] {
                    steps.add(op);
                }
            }
        }
        let mut filters = seccomp::Programs::default();
        match thing {
            Thing::Clone | Thing::User | Thing::Pid | Thing::Net | Thing::Ipc | Thing::Cgroup => {}
            Thing::Ids => steps.add(Op::ExpectIds { uid: ids::INSIDE, gid: ids::INSIDE }),
            Thing::Mount => steps.add(Op::MakePrivate),
            Thing::Uts => {
                let name = steps.text("jail");
                steps.add(Op::Hostname { name });
            }
            Thing::Tmpfs => steps.root(),
            Thing::Bind => steps.bind()?,
            Thing::Proc => {
                steps.add(Op::MakePrivate);
                steps.add(Op::NewProc { subset_pid: policy.proc.value == Proc::Pid });
            }
            Thing::Pty => {
                steps.add(Op::MakePrivate);
                steps.add(Op::NewDevpts);
            }
            Thing::Overlay => steps.overlay(),
            Thing::Pivot => {
                steps.root();
                steps.add(Op::PivotRoot);
                steps.add(Op::DetachOldRoot);
            }
            Thing::Loopback => steps.add(Op::LoopbackUp),
            Thing::Caps => {
                for op in [
                    Op::LockSecurebits,
                    Op::DropBoundingSet { last: host.last_cap },
                    Op::DropCaps,
                    Op::NoNewPrivs,
                    Op::ExpectNoPrivileges { probe: Some(CAP_SYS_ADMIN) },
                ] {
                    steps.add(op);
                }
            }
            Thing::Rlimits => {
                for (op, _) in limits::lower(policy, &host.hard_limits, steps.nproc(true)) {
                    steps.add(op);
                }
            }
            Thing::Landlock => {
                // A kernel without Landlock refuses this step, with the reason.
                let handled = landlock::Rights::new(host.landlock.unwrap_or(1)).init();
                let path = steps.text("/");
                for op in
                    [Op::NoNewPrivs, Op::LandlockRuleset { handled }, Op::LandlockRestrict, Op::ExpectDenied { path }]
                {
                    steps.add(op);
                }
            }
            Thing::Seccomp => {
                filters = seccomp::Programs::new(policy)?;
                for op in [Op::NoNewPrivs, Op::SetFilter { of: FilterOf::Payload }, Op::ExpectFiltered] {
                    steps.add(op);
                }
            }
            Thing::Listener => {
                steps.add(Op::NoNewPrivs);
                steps.add(Op::ExpectListener);
            }
        }
        // The sign of success: a child that was killed on the way says nothing.
        steps.add(Op::Open { gate: Slot::SETUP });
        let exec = ExecBlock::new("/".as_ref(), [], [])
            .ok_or_else(|| Error::new(ErrorKind::Internal, "a trial has no program"))?;
        let Steps { ops: init, origins: init_origins } = steps.init;
        let plan = Plan {
            supervisor: Vec::new(),
            init,
            payload: Vec::new(),
            init_origins,
            payload_origins: Vec::new(),
            arena: steps.arena,
            filters: Arc::new(filters),
            exec,
            groups: Groups::default(),
            isolation: Isolation::Full,
            cpus: host.cpus,
            fates: BTreeMap::new(),
            kernel: host.kernel.clone(),
            landlock_abi: host.landlock.unwrap_or(0),
        };
        let start = if host.clone3 { Start::Clone3 } else { Start::Clone };
        Ok(Self { start, namespaces: own, map, plan })
    }

    /// Whether a step is the wait for the supervisor.
    pub(crate) fn is_gate(&self, step: u16) -> bool {
        matches!(self.plan.init.get(usize::from(step)), Some(Op::Await { .. }))
    }

    /// The step that failed, in words.
    pub(crate) fn words(&self, step: u16) -> String {
        self.plan.init.get(usize::from(step)).map_or_else(|| format!("step {step}"), |op| self.plan.words(*op))
    }
}

/// The groups of one layer alone, and the steps that make and limit them.
///
/// # Errors
/// This host has none for it.
pub(crate) fn groups(
    layer: Layer,
    policy: &Policy,
    host: &Host,
    name: &str,
) -> Result<(Groups, Vec<Step<HostOp>>), Error> {
    if let Some(reason) = cgroup::missing(host, layer) {
        return Err(Error::new(ErrorKind::Unsupported, reason));
    }
    let groups = cgroup::groups(host, &[layer], name);
    let steps = cgroup::lower(host, policy, &groups);
    Ok((groups, steps))
}

/// Where the groups of a layer are made.
pub(crate) fn home(layer: Layer, host: &Host) -> Option<&GroupHome> {
    cgroup::controllers(layer).iter().find_map(|controller| host.cgroups.get(controller)?.as_ref().ok())
}

/// The namespaces of the child; a user namespace with all of them, for it gives the right to make the others.
const fn namespaces(thing: Thing) -> u64 {
    let beside = match thing {
        Thing::Clone | Thing::Rlimits | Thing::Landlock | Thing::Seccomp | Thing::Listener => return 0,
        Thing::User | Thing::Ids | Thing::Caps | Thing::Cgroup | Thing::Net | Thing::Loopback => 0,
        Thing::Mount | Thing::Tmpfs | Thing::Bind | Thing::Overlay | Thing::Pivot | Thing::Pty => libc::CLONE_NEWNS,
        Thing::Pid => libc::CLONE_NEWPID,
        Thing::Proc => libc::CLONE_NEWNS | libc::CLONE_NEWPID,
        Thing::Ipc => libc::CLONE_NEWIPC,
        Thing::Uts => libc::CLONE_NEWUTS,
    };
    (libc::CLONE_NEWUSER | beside).cast_unsigned() as u64
}

impl Lowering<'_> {
    fn add(&mut self, op: Op) {
        self.init(op, &Origin::Default);
    }

    /// A new root over the old one, as `mounts` begins.
    fn root(&mut self) {
        let (size, inodes, mode) = (self.text(SIZE), self.text("64"), self.text("0755"));
        let attrs = Attrs::NOSUID.and(Attrs::NODEV);
        self.add(Op::MakePrivate);
        self.add(Op::NewTmpfs { slot: Slot::ROOT, size, inodes, mode, attrs });
        self.add(Op::AttachRoot);
    }

    fn bind(&mut self) -> Result<(), Error> {
        let found = self.host.files.find("/".as_ref()).map_err(|error| {
            Error::new(ErrorKind::Setup, format!("cannot look at /: {}", crate::error::describe(&error)))
        })?;
        let path = self.path(&found.path);
        self.add(Op::MakePrivate);
        self.add(Op::OpenSource { path, major: found.major, minor: found.minor, inode: found.inode });
        self.add(Op::CloneTree { recursive: true });
        let attrs = Attrs::RDONLY.and(Attrs::NOSUID).and(Attrs::NODEV);
        self.add(Op::SetAttrs { slot: Slot::MOUNT, attrs, recursive: true });
        Ok(())
    }

    fn overlay(&mut self) {
        self.root();
        let [lower, upper, work] = ["lower", "upper", "work"].map(|name| self.text(name));
        for path in [lower, upper, work] {
            self.add(Op::MakeDir { path, mode: 0o755 });
        }
        self.add(Op::NewOverlay { lower, upper, work });
    }
}

impl Thing {
    /// Whether a run under this policy takes the steps of this trial.
    pub(crate) fn needed(self, policy: &Policy) -> bool {
        match self {
            Self::Net => policy.net.value != Net::Host && policy.isolation.value == Isolation::Full,
            Self::Loopback => policy.net.value == Net::Loopback,
            Self::Overlay | Self::Listener => false,
            Self::Clone | Self::Rlimits | Self::Landlock | Self::Seccomp => true,
            Self::User
            | Self::Ids
            | Self::Mount
            | Self::Pid
            | Self::Ipc
            | Self::Uts
            | Self::Cgroup
            | Self::Tmpfs
            | Self::Bind
            | Self::Proc
            | Self::Pty
            | Self::Pivot
            | Self::Caps => policy.isolation.value == Isolation::Full,
        }
    }
}
