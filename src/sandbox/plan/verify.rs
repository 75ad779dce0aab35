//! Verify: the order of a plan, checked as data.
//!
//! For: the invariants that hold for every plan, whatever the policy and the host; a plan that breaks
//! one is not carried out.
//! Not for: whether the plan is what the policy meant (golden plans and claim tests do that).
//! Runs in: the supervisor.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::policy::Isolation;

use super::op::{Op, Text};
use super::{HostOp, Plan};

impl Plan {
    /// # Errors
    /// The invariant that does not hold, in words.
    pub(super) fn verify(&self) -> Result<(), &'static str> {
        supervisor(self.supervisor.iter().map(|step| &step.op))?;
        self.joins_its_groups()?;
        init(&self.init)?;
        match self.isolation {
            Isolation::Full => init_of_its_own_namespaces(&self.init)?,
            Isolation::Landlock => init_of_a_domain(&self.init)?,
        }
        payload(&self.payload)?;
        let in_arena = |text: Text| {
            let end = (text.offset as usize).saturating_add(text.len as usize);
            text.len > 0 && self.arena.get(end - 1) == Some(&0)
        };
        let mut texts = self.init.iter().chain(&self.payload).flat_map(|op| texts(*op)).flatten();
        holds(texts.all(in_arena), "a string of a step is not in the arena")?;
        let filtered = self.payload.iter().any(|op| matches!(op, Op::SetFilter { .. }));
        let filters = [&self.filters.init, &self.filters.payload];
        holds(!filtered || filters.iter().all(|filter| !filter.is_empty()), "a filter is empty")
    }
}

impl Plan {
    /// Those that the supervisor makes, all of them and no others: by itself, or by birth.
    fn joins_its_groups(&self) -> Result<(), &'static str> {
        let steps = self.supervisor.iter();
        let made: BTreeSet<PathBuf> = steps
            .clone()
            .filter_map(|step| if let HostOp::MakeGroup { dir } = &step.op { Some(dir.clone()) } else { None })
            .collect();
        let born = steps.filter_map(|step| if let HostOp::Clone { into, .. } = &step.op { into.clone() } else { None });
        let joined = self.init.iter().filter_map(|op| {
            let Op::JoinCgroup { file } = op else { return None };
            Path::new(&self.str(*file)).parent().map(Path::to_owned)
        });
        holds(born.chain(joined).collect::<BTreeSet<_>>() == made, "the child is not in the run's groups, or in others")
    }
}

fn holds(condition: bool, otherwise: &'static str) -> Result<(), &'static str> {
    if condition { Ok(()) } else { Err(otherwise) }
}

/// Position of the only op of a kind.
fn once(ops: &[Op], is: impl Fn(&Op) -> bool, otherwise: &'static str) -> Result<usize, &'static str> {
    let mut places = ops.iter().enumerate().filter(|(_, op)| is(op)).map(|(at, _)| at);
    match (places.next(), places.next()) {
        (Some(at), None) => Ok(at),
        _ => Err(otherwise),
    }
}

fn last(ops: &[Op], is: impl Fn(&Op) -> bool) -> Option<usize> {
    ops.iter().rposition(is)
}

fn supervisor<'a>(ops: impl Iterator<Item = &'a HostOp>) -> Result<(), &'static str> {
    let mut groups = Vec::new();
    let mut stage = 0;
    let mut mapped = true;
    for op in ops {
        match op {
            HostOp::JoinScope { .. } | HostOp::MoveSelf { .. } => {
                holds(groups.is_empty(), "the supervisor moves after the group was made")?
            }
            HostOp::MakeGroup { dir } => {
                holds(stage < 3, "a group is made when the child should be in it")?;
                groups.push(dir);
            }
            HostOp::SetLimit { file, .. } => {
                let own = file.parent().is_some_and(|dir| groups.iter().any(|group| *group == dir));
                let enables = file.ends_with("cgroup.subtree_control");
                holds(own || enables, "a limit is written outside the run's group")?;
                holds(stage < 3, "a limit is set when the child may be running")?;
            }
            HostOp::MakeIdMap { .. } | HostOp::MapTree { .. } => {
                holds(stage == 0, "a tree is made after the clone that has to inherit it")?;
            }
            HostOp::MakeScratch { .. } => {
                holds(stage == 0, "the scratch directory is made when the child may be looking for it")?;
            }
            HostOp::Clone { namespaces, .. } => {
                holds(stage == 0, "more than one clone")?;
                mapped = *namespaces != 0;
                stage = 1;
            }
            HostOp::WriteMaps { .. } => {
                holds(stage == 1, "maps are not written right after the clone")?;
                stage = 2;
            }
            HostOp::Release => {
                holds(stage == if mapped { 2 } else { 1 }, "the child is released before its maps are written")?;
                stage = 3;
            }
        }
    }
    holds(stage == 3, "the child is never released")
}

/// What holds for init however it is kept apart.
fn init(ops: &[Op]) -> Result<(), &'static str> {
    holds(matches!(ops.first(), Some(Op::HoldSignals)), "init does not begin by holding signals back")?;
    let released = once(ops, |op| matches!(op, Op::Await { .. }), "init has not one gate")?;
    let joined = last(ops, |op| matches!(op, Op::JoinCgroup { .. }));
    let caps = once(ops, |op| matches!(op, Op::DropCaps), "capabilities are not dropped once")?;
    holds(last(ops, Op::needs_capability).is_none_or(|at| at < caps), "a step needs a capability that is gone")?;
    let no_new_privs = once(ops, |op| matches!(op, Op::NoNewPrivs), "no_new_privs is not set once")?;
    let undumpable = once(ops, |op| matches!(op, Op::Undumpable), "init does not become undumpable once")?;
    let spawn = once(ops, |op| matches!(op, Op::SpawnPayload), "the payload is not cloned once")?;
    holds(caps < no_new_privs && no_new_privs < spawn, "the payload is cloned with privileges")?;
    holds(joined.is_none_or(|at| released < at && at < spawn), "init joins before there is a group, or too late")?;
    holds(undumpable < spawn, "init is dumpable when the payload is there")?;
    let open = once(ops, |op| matches!(op, Op::Open { .. }), "the payload's gate is not opened once")?;
    let own = |op: &Op| matches!(op, Op::SetFilter { .. } | Op::KeepOnly { .. });
    holds(ops.iter().position(own).is_some_and(|at| at > spawn), "what is init's alone comes before the payload")?;
    let shut_in = |op: &Op| own(op) || matches!(op, Op::LandlockRestrict);
    holds(last(ops, shut_in).is_some_and(|at| at < open), "the payload may go before init is shut in")
}

/// Init of namespaces, which end with it.
fn init_of_its_own_namespaces(ops: &[Op]) -> Result<(), &'static str> {
    holds(matches!(ops.last(), Some(Op::Reap)), "init does not end by reaping")?;
    let released = once(ops, |op| matches!(op, Op::Await { .. }), "init has not one gate")?;
    let uid = once(ops, |op| matches!(op, Op::SetUid { .. }), "init does not set its uid once")?;
    let gid = once(ops, |op| matches!(op, Op::SetGid { .. }), "init does not set its gid once")?;
    holds(released < gid && gid < uid, "ids are set before the maps are there, or the uid before the gid")?;
    let network = ops.iter().position(|op| matches!(op, Op::UnshareNet));
    let told = ops.iter().position(|op| matches!(op, Op::TellNetwork));
    holds(told.is_none() || network.map(|at| at + 1) == told, "init does not say at once that its network is there")?;
    holds(told.is_none_or(|at| at < released), "the supervisor waits for a namespace that init makes after the gate")?;
    let seen = once(ops, |op| matches!(op, Op::UnshareCgroup), "the cgroup namespace is not unshared once")?;
    let joined = last(ops, |op| matches!(op, Op::JoinCgroup { .. }));
    holds(joined.is_none_or(|at| at < seen) && seen < gid, "init sees another group than its own as the root")?;
    let tie = last(ops, |op| matches!(op, Op::DieWithParent)).ok_or("init has no parent-death signal")?;
    holds(tie > uid, "the parent-death signal is lost with the change of ids")?;
    let private = once(ops, |op| matches!(op, Op::MakePrivate), "mounts are not made private once")?;
    let first_mount = ops.iter().position(|op| matches!(op, Op::AttachRoot | Op::Attach { .. }));
    holds(first_mount.is_some_and(|at| private < at), "a mount is made before mounts are private")?;
    let pivot = once(ops, |op| matches!(op, Op::PivotRoot), "there is not one pivot_root")?;
    let detach = once(ops, |op| matches!(op, Op::DetachOldRoot), "the old root is not detached once")?;
    holds(detach == pivot + 1, "the old root is not detached right after pivot_root")?;
    let mounts = last(ops, |op| matches!(op, Op::Attach { .. } | Op::SetAttrs { .. }));
    holds(mounts.is_some_and(|at| at < pivot), "something is mounted after pivot_root")?;
    let caps = once(ops, |op| matches!(op, Op::DropCaps), "capabilities are not dropped once")?;
    let bounding = once(ops, |op| matches!(op, Op::DropBoundingSet { .. }), "the bounding set is not emptied once")?;
    holds(bounding < caps, "the bounding set is emptied too late")?;
    let undumpable = once(ops, |op| matches!(op, Op::Undumpable), "init does not become undumpable once")?;
    holds(undumpable > uid, "init is dumpable when the payload is there")?;
    let spawn = once(ops, |op| matches!(op, Op::SpawnPayload), "the payload is not cloned once")?;
    let landlock = ops.iter().position(|op| matches!(op, Op::LandlockRestrict));
    holds(landlock.is_none_or(|at| at > spawn), "what is init's alone comes before the payload")
}

/// Init of a Landlock domain, which kills what is in it. To kill everything that can be signalled is safe only where
/// it was seen that nothing outside can be.
fn init_of_a_domain(ops: &[Op]) -> Result<(), &'static str> {
    holds(matches!(ops, [.., Op::Reap, Op::KillAll]), "init does not end by killing what is left")?;
    holds(!ops.iter().any(Op::needs_capability), "a step needs a capability that nobody has")?;
    holds(!ops.contains(&Op::DieWithParent), "init is killed before it can kill")?;
    let spawn = once(ops, |op| matches!(op, Op::SpawnPayload), "the payload is not cloned once")?;
    let seen = once(ops, |op| matches!(op, Op::ExpectScoped), "nobody saw that signals stay within")?;
    let reaper = once(ops, |op| matches!(op, Op::BecomeReaper), "init does not become a reaper once")?;
    let domain = ops.iter().position(|op| matches!(op, Op::LandlockRestrict));
    holds(domain.is_some_and(|at| at < seen), "signals are said to stay within before they do")?;
    holds(seen < spawn && reaper < spawn, "the payload is outside of the domain, or its orphans are")
}

fn payload(ops: &[Op]) -> Result<(), &'static str> {
    holds(matches!(ops.last(), Some(Op::Exec)), "the payload does not end with exec")?;
    holds(!ops.iter().any(Op::needs_capability), "the payload's steps need a capability that is gone")?;
    let gate = once(ops, |op| matches!(op, Op::Await { .. }), "the payload does not wait for init once")?;
    let closed = once(ops, |op| matches!(op, Op::CloseOnExec), "descriptors are not closed once")?;
    let rule = |op: &Op| matches!(op, Op::LandlockAllow { .. } | Op::LandlockAllowSource { .. });
    let opens =
        |op: &Op| rule(op) || matches!(op, Op::LandlockRuleset { .. } | Op::OpenSource { .. } | Op::Stdio { .. });
    holds(last(ops, opens).is_some_and(|at| at < closed), "a descriptor is opened after the last one was closed")?;
    if let Some(filter) = last(ops, |op| matches!(op, Op::SetFilter { .. })) {
        holds(gate < filter, "the payload waits under its filter")?;
        let rest = ops.get(filter + 1..).unwrap_or_default();
        let witnessed = [Op::ExpectFiltered, Op::ExpectNoInternet, Op::Exec];
        let plain = [Op::ExpectFiltered, Op::Exec];
        holds(rest == witnessed || rest == plain, "something but exec comes after the filter")?;
    }
    let ruleset = ops.iter().position(|op| matches!(op, Op::LandlockRuleset { .. }));
    let restrict = last(ops, |op| matches!(op, Op::LandlockRestrict));
    match (ruleset, restrict) {
        (None, None) => {}
        (Some(ruleset), Some(restrict)) => {
            let between = |at: usize| ruleset < at && at < restrict;
            let rules = ops.iter().enumerate().filter(|(_, op)| rule(op));
            holds(rules.clone().count() > 0, "the Landlock ruleset is empty")?;
            holds(rules.into_iter().all(|(at, _)| between(at)), "a Landlock rule is added outside its ruleset")?;
        }
        _ => return Err("a Landlock ruleset is made and not enforced"),
    }
    Ok(())
}

/// The strings of a step.
fn texts(op: Op) -> [Option<Text>; 3] {
    match op {
        Op::NewTmpfs { size, inodes, mode, .. } => [Some(size), Some(inodes), Some(mode)],
        Op::NewOverlay { lower, upper, work } => [Some(lower), Some(upper), Some(work)],
        Op::MakeLink { path, target } => [Some(path), Some(target), None],
        Op::MakeFile { path, content, .. } => [Some(path), Some(content), None],
        Op::MakeDir { path, .. }
        | Op::MakePoint { path, .. }
        | Op::OpenSource { path, .. }
        | Op::OpenInside { path }
        | Op::Chdir { path }
        | Op::LandlockAllow { path, .. }
        | Op::ExpectAbsent { path }
        | Op::ExpectDenied { path } => [Some(path), None, None],
        Op::Attach { dest, .. } => [Some(dest), None, None],
        Op::Hostname { name } => [Some(name), None, None],
        Op::JoinCgroup { file } => [Some(file), None, None],
        Op::HoldSignals
        | Op::CloseOthers
        | Op::DieWithParent
        | Op::UnshareNet
        | Op::TellNetwork
        | Op::Await { .. }
        | Op::UnshareCgroup
        | Op::DropGroups
        | Op::SetGid { .. }
        | Op::SetUid { .. }
        | Op::MakePrivate
        | Op::NewProc { .. }
        | Op::NewDevpts
        | Op::AttachRoot
        | Op::CloneTree { .. }
        | Op::SetAttrs { .. }
        | Op::PivotRoot
        | Op::DetachOldRoot
        | Op::LoopbackUp
        | Op::NewSession
        | Op::Umask { .. }
        | Op::LockSecurebits
        | Op::DropBoundingSet { .. }
        | Op::DropCaps
        | Op::NoNewPrivs
        | Op::Undumpable
        | Op::BecomeReaper
        | Op::SpawnPayload
        | Op::KeepOnly { .. }
        | Op::Close { .. }
        | Op::LandlockRuleset { .. }
        | Op::LandlockAllowSource { .. }
        | Op::LandlockRestrict
        | Op::Rlimit { .. }
        | Op::Stdio { .. }
        | Op::ResetSignals { .. }
        | Op::CloseOnExec
        | Op::Open { .. }
        | Op::ExpectRlimit { .. }
        | Op::ExpectNoInternet
        | Op::ExpectListener
        | Op::ExpectIds { .. }
        | Op::ExpectNoPrivileges { .. }
        | Op::ExpectScoped
        | Op::SetFilter { .. }
        | Op::ExpectFiltered
        | Op::Stamp { .. }
        | Op::SendStamps
        | Op::Exec
        | Op::Reap
        | Op::KillAll => [None; 3],
    }
}
