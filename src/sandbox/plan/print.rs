//! Printing: a plan in words.
//!
//! For: `jail plan`, golden tests, and the name of a step that failed.
//! Not for: anything that changes what is done.
//! Runs in: the supervisor.

use std::fmt;

use super::op::{FilterOf, Moment, Op, Slot, Text};
use super::{Fate, HostOp, Plan, limits};
use crate::policy::{Layer, Origin};
use crate::sandbox::child::record::Role;
use crate::sandbox::sys::mount::Attrs;
use crate::sandbox::sys::process::Start;

impl fmt::Display for Plan {
    /// One step a line, in order: role, number, what, and the line that caused it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.supervisor.iter().enumerate() {
            line(f, "supervisor", number, &host_op(&step.op), &step.origin)?;
        }
        for (number, (op, origin)) in self.init.iter().zip(&self.init_origins).enumerate() {
            line(f, "init", number, &self.words(*op), origin)?;
        }
        for (number, (op, origin)) in self.payload.iter().zip(&self.payload_origins).enumerate() {
            line(f, "payload", number, &self.words(*op), origin)?;
        }
        for (number, dir) in self.groups.unique().iter().rev().enumerate() {
            line(f, "undo", number, &format!("remove group {}", dir.display()), &Origin::Default)?;
        }
        for layer in Layer::ALL {
            match self.fates.get(&layer) {
                Some(Fate::Applied { detail, .. }) => writeln!(f, "layer {layer}: {detail}")?,
                Some(Fate::InPart { detail, reason, .. }) => {
                    writeln!(f, "layer {layer}: {detail}, IN PART: {reason}")?;
                }
                Some(Fate::NotAsked) => writeln!(f, "layer {layer}: not asked for")?,
                Some(Fate::GivenUp { reason }) => writeln!(f, "layer {layer}: GIVEN UP: {reason}")?,
                None => writeln!(f, "layer {layer}: not decided")?,
            }
        }
        Ok(())
    }
}

fn line(f: &mut fmt::Formatter<'_>, role: &str, number: usize, words: &str, origin: &Origin) -> fmt::Result {
    match origin {
        Origin::Default => writeln!(f, "{role:<10} {number:>3}  {words}"),
        Origin::File { .. } | Origin::Flag(_) => writeln!(f, "{role:<10} {number:>3}  {words:<72}  # {origin}"),
    }
}

impl Plan {
    /// The name of a step that failed: `init 14 attach /data`.
    pub(crate) fn step_name(&self, role: Role, step: u16) -> String {
        let (name, ops) = match role {
            Role::Init => ("init", &self.init),
            Role::Payload => ("payload", &self.payload),
        };
        match ops.get(usize::from(step)) {
            Some(op) => format!("{name} {step} {}", self.words(*op)),
            None => format!("{name} {step}"),
        }
    }

    pub(super) fn str(&self, text: Text) -> String {
        let start = text.offset as usize;
        let end = start.saturating_add(text.len as usize).saturating_sub(1);
        String::from_utf8_lossy(self.arena.get(start..end).unwrap_or_default()).into_owned()
    }

    pub(in crate::sandbox) fn words(&self, op: Op) -> String {
        match op {
            Op::HoldSignals => "hold all signals back".to_owned(),
            Op::CloseOthers => "close all that has no slot".to_owned(),
            Op::DieWithParent => "die with the supervisor's thread".to_owned(),
            Op::UnshareNet => "unshare network namespace".to_owned(),
            Op::TellNetwork => "tell that it is there".to_owned(),
            Op::Await { gate } => format!("wait at gate {}", slot(gate)),
            Op::JoinCgroup { file } => format!("join cgroup by {}", self.str(file)),
            Op::UnshareCgroup => "unshare cgroup namespace".to_owned(),
            Op::DropGroups => "drop supplementary groups".to_owned(),
            Op::SetGid { gid } => format!("gid {gid}"),
            Op::SetUid { uid } => format!("uid {uid}"),
            Op::MakePrivate => "make all mounts private".to_owned(),
            Op::NewTmpfs { slot: place, size, inodes, mode, attrs } => format!(
                "new tmpfs size={} nr_inodes={} mode={} ({}) in {}",
                self.str(size),
                self.str(inodes),
                self.str(mode),
                flags(attrs),
                slot(place)
            ),
            Op::NewProc { subset_pid: true } => "new proc subset=pid".to_owned(),
            Op::NewProc { subset_pid: false } => "new proc".to_owned(),
            Op::NewDevpts => "new devpts".to_owned(),
            Op::NewOverlay { .. } => "new overlay".to_owned(),
            Op::AttachRoot => "attach root".to_owned(),
            Op::MakeDir { path, mode } => format!("mkdir /{} mode={mode:o}", self.str(path)),
            Op::MakeLink { path, target } => format!("link /{} -> {}", self.str(path), self.str(target)),
            Op::MakePoint { path, mode } => format!("mount point /{} mode={mode:o}", self.str(path)),
            Op::MakeFile { path, mode, .. } => format!("file /{} mode={mode:o}", self.str(path)),
            Op::OpenSource { path, .. } => format!("open {} of the host", self.str(path)),
            Op::OpenInside { path } => format!("open /{}", self.str(path)),
            Op::CloneTree { recursive: true } => "clone tree".to_owned(),
            Op::CloneTree { recursive: false } => "clone mount".to_owned(),
            Op::SetAttrs { slot: place, attrs, recursive } => {
                format!("make {} {}{}", slot(place), flags(attrs), if recursive { " and all below" } else { "" })
            }
            Op::Attach { slot: place, dest } => format!("attach {} at /{}", slot(place), self.str(dest)),
            Op::PivotRoot => "pivot_root".to_owned(),
            Op::DetachOldRoot => "detach old root".to_owned(),
            Op::Chdir { path } => format!("chdir {}", self.str(path)),
            Op::Hostname { name } => format!("hostname {}", self.str(name)),
            Op::LoopbackUp => "loopback up".to_owned(),
            Op::NewSession => "new session".to_owned(),
            Op::Umask { mask } => format!("umask {mask:03o}"),
            Op::LockSecurebits => "lock securebits".to_owned(),
            Op::DropBoundingSet { last } => format!("empty bounding set (0 to {last})"),
            Op::DropCaps => "drop all capabilities".to_owned(),
            Op::NoNewPrivs => "no_new_privs".to_owned(),
            Op::Undumpable => "undumpable".to_owned(),
            Op::BecomeReaper => "become the reaper of orphans".to_owned(),
            Op::SpawnPayload => "clone the payload".to_owned(),
            Op::KeepOnly { slots } => format!("close all but {}", slots.map(slot).join(" ")),
            Op::Close { slot: place } => format!("close {}", slot(place)),
            Op::LandlockRuleset { handled } => {
                format!("landlock ruleset fs={:#x} net={:#x} scoped={:#x}", handled.fs, handled.net, handled.scoped)
            }
            Op::LandlockAllow { path, access } => format!("landlock allow {:#x} beneath {}", access, self.str(path)),
            Op::LandlockAllowSource { access } => format!("landlock allow {access:#x} beneath it"),
            Op::LandlockRestrict => "landlock restrict".to_owned(),
            Op::Rlimit { resource, soft, hard } if soft == hard => format!("rlimit {} {soft}", limits::name(resource)),
            Op::Rlimit { resource, soft, hard } => format!("rlimit {} {soft} to {hard}", limits::name(resource)),
            Op::Stdio { slot: place, fd } => format!("{} becomes descriptor {fd}", slot(place)),
            Op::ResetSignals { signals } => format!("reset signals {signals:#x}, hold none back"),
            Op::CloseOnExec => "close-on-exec from 3 on".to_owned(),
            Op::Open { gate } => format!("open gate {}", slot(gate)),
            Op::ExpectAbsent { path } => format!("expect no {}", self.str(path)),
            Op::ExpectDenied { path } => format!("expect landlock to deny {}", self.str(path)),
            Op::ExpectRlimit { resource, value } => format!("expect rlimit {} {value}", limits::name(resource)),
            Op::ExpectNoInternet => "expect no internet socket".to_owned(),
            Op::ExpectIds { uid, gid } => format!("expect uid {uid} gid {gid}"),
            Op::ExpectScoped => "expect signals to stay within".to_owned(),
            Op::ExpectNoPrivileges { .. } => "expect no capabilities and no_new_privs".to_owned(),
            Op::SetFilter { of } => {
                let (name, filter) = match of {
                    FilterOf::Init => ("init", &self.filters.init),
                    FilterOf::Payload => ("payload", &self.filters.payload),
                };
                format!("filter for {name} ({} instructions)", filter.len())
            }
            Op::ExpectFiltered => "expect the filter to deny unshare".to_owned(),
            Op::Stamp { moment } => match moment {
                Moment::Entered => "take the time: entered".to_owned(),
                Moment::Rooted => "take the time: root entered".to_owned(),
                Moment::Confined => "take the time: confined".to_owned(),
            },
            Op::SendStamps => "send the times".to_owned(),
            Op::ExpectListener => "expect that a filter with a listener can be set".to_owned(),
            Op::Exec => format!("exec {}", self.exec.path().display()),
            Op::Reap => "reap, forward signals, end with the payload".to_owned(),
            Op::KillAll => "kill all that is left, and reap it".to_owned(),
        }
    }
}

fn host_op(op: &HostOp) -> String {
    match op {
        HostOp::JoinScope { scope } => format!("have systemd move this process to {}", scope.name),
        HostOp::MoveSelf { dir } => format!("move this process to {}", dir.display()),
        HostOp::MakeGroup { dir } => format!("make group {}", dir.display()),
        HostOp::SetLimit { file, value, optional } => {
            format!("write {value} to {}{}", file.display(), if *optional { " if it is there" } else { "" })
        }
        HostOp::MakeIdMap { to_uid, to_gid } => format!("make id map 0 -> uid {to_uid} gid {to_gid}"),
        HostOp::MapTree { source, attrs, slot: place, plain_if_unsupported } => format!(
            "clone id-mapped tree {} ({}) as {}{}",
            source.path.display(),
            flags(*attrs),
            slot(*place),
            if *plain_if_unsupported { ", unmapped if its file system cannot" } else { "" }
        ),
        HostOp::MakeScratch { dir } => format!("make scratch directory {}", dir.display()),
        HostOp::Clone { start, namespaces, into } => {
            let names: Vec<&str> = [
                (libc::CLONE_NEWUSER, "user"),
                (libc::CLONE_NEWNS, "mount"),
                (libc::CLONE_NEWPID, "pid"),
                (libc::CLONE_NEWIPC, "ipc"),
                (libc::CLONE_NEWUTS, "uts"),
            ]
            .into_iter()
            .filter(|(flag, _)| namespaces & u64::from(flag.cast_unsigned()) != 0)
            .map(|(_, name)| name)
            .collect();
            let group = into.as_ref().map(|dir| format!(" into {}", dir.display())).unwrap_or_default();
            let call = match start {
                Start::Clone3 => "clone",
                Start::Clone => "clone (the old call)",
            };
            let names =
                if names.is_empty() { "no namespaces".to_owned() } else { format!("namespaces {}", names.join(" ")) };
            format!("{call} init with {names}{group}")
        }
        HostOp::WriteMaps { map } => format!(
            "map uid {inside} -> {}, gid {inside} -> {}{}",
            map.uid,
            map.gid,
            if map.privileged { "" } else { ", setgroups denied" },
            inside = super::ids::INSIDE
        ),
        HostOp::Release => "open gate tie".to_owned(),
    }
}

fn slot(slot: Slot) -> String {
    let name = match slot {
        Slot::SETUP => "setup",
        Slot::STATUS => "status",
        Slot::TIE => "tie",
        Slot::ROOT => "root",
        Slot::SOURCE => "source",
        Slot::MOUNT => "mount",
        Slot::RULESET => "ruleset",
        Slot::GATE_WAIT => "init",
        Slot::GATE_OPEN => "payload",
        Slot::CHILDREN => "children",
        Slot(number) => match Slot::STDIO.iter().position(|stdio| *stdio == slot) {
            Some(0) => "stdin",
            Some(1) => "stdout",
            Some(_) => "stderr",
            None => return format!("slot{number}"),
        },
    };
    name.to_owned()
}

fn flags(attrs: Attrs) -> String {
    [(Attrs::RDONLY, "ro"), (Attrs::NOSUID, "nosuid"), (Attrs::NODEV, "nodev"), (Attrs::NOEXEC, "noexec")]
        .into_iter()
        .filter(|(flag, _)| attrs.has(*flag))
        .map(|(_, name)| name)
        .collect::<Vec<_>>()
        .join(",")
}
