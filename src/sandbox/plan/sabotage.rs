//! Sabotage: a plan with steps left out on purpose.
//!
//! For: `scripts/sabotage`, which shows that each step is missed by some test. Compiled with `--cfg sabotage`
//! alone; `scripts/check` sees to it that the shipped program has none of it.
//! Not for: any other use; what it makes is no sandbox.
//! Runs in: the supervisor.

use std::env;

use crate::sandbox::sys::mount::Attrs;

use super::op::{Op, Slot};
use super::{HostOp, Step, Steps, limits};

const NAMESPACES: [(&str, i32); 5] = [
    ("Clone:user", libc::CLONE_NEWUSER),
    ("Clone:mount", libc::CLONE_NEWNS),
    ("Clone:pid", libc::CLONE_NEWPID),
    ("Clone:ipc", libc::CLONE_NEWIPC),
    ("Clone:uts", libc::CLONE_NEWUTS),
];

const ATTRS: [(&str, Attrs); 4] = [
    ("SetAttrs:rdonly", Attrs::RDONLY),
    ("SetAttrs:nosuid", Attrs::NOSUID),
    ("SetAttrs:nodev", Attrs::NODEV),
    ("SetAttrs:noexec", Attrs::NOEXEC),
];

/// Leaves out what `JAIL_SABOTAGE` names (`KIND` or `KIND:WHICH`, a comma between two) and, unless
/// `JAIL_SABOTAGE_WITNESSES` is set, every step that would notice. Says whether there was anything to do.
pub(super) fn leave_out(supervisor: &mut Vec<Step<HostOp>>, init: &mut Steps, payload: &mut Steps) -> bool {
    let Ok(names) = env::var("JAIL_SABOTAGE") else { return false };
    let named = |name: &str| names.split(',').any(|own| own == name);
    let either = |kind: &str, which: &str| named(kind) || named(&format!("{kind}:{which}"));
    let witnesses = env::var_os("JAIL_SABOTAGE_WITNESSES").is_some();

    supervisor.retain(|step| match &step.op {
        HostOp::SetLimit { file, .. } => {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            !either("SetLimit", name.split('.').next().unwrap_or_default())
        }
        HostOp::Clone { .. }
        | HostOp::MakeGroup { .. }
        | HostOp::MakeScratch { .. }
        | HostOp::JoinScope { .. }
        | HostOp::MoveSelf { .. }
        | HostOp::MakeIdMap { .. }
        | HostOp::MapTree { .. }
        | HostOp::WriteMaps { .. }
        | HostOp::Release => true,
    });
    for (role, steps) in [("init", &mut *init), ("payload", &mut *payload)] {
        steps.retain(|op| {
            let text = format!("{op:?}");
            let kind = text.split(' ').next().unwrap_or_default();
            let which = match op {
                Op::Rlimit { resource, .. } => limits::name(*resource),
                Op::SetAttrs { slot: Slot::ROOT, .. } => "root",
                _ => role,
            };
            let layer = if kind.starts_with("Landlock") { "Landlock" } else { kind };
            !((kind != "NewProc" && either(layer, which)) || (kind.starts_with("Expect") && !witnesses))
        });
    }

    if named("NewProc") {
        // What was to be attached next is not there.
        let mut gone = false;
        init.retain(|op| match op {
            Op::NewProc { .. } => {
                gone = true;
                false
            }
            Op::Attach { .. } => !std::mem::take(&mut gone),
            _ => true,
        });
    }
    let without = |attrs: &mut Attrs| {
        for (_, bit) in ATTRS.into_iter().filter(|(name, _)| named(name)) {
            attrs.0 &= !bit.0;
        }
    };
    for step in supervisor {
        if let HostOp::Clone { namespaces, .. } = &mut step.op {
            for (_, flag) in NAMESPACES.into_iter().filter(|(name, _)| named(name)) {
                *namespaces &= !u64::from(flag.cast_unsigned());
            }
        }
        if let HostOp::MapTree { attrs, .. } = &mut step.op {
            without(attrs);
        }
        // The caller's own ids: for root those of the host's root.
        if named("Ids") {
            match &mut step.op {
                HostOp::WriteMaps { map } => (map.uid, map.gid) = (0, 0),
                HostOp::MakeIdMap { to_uid, to_gid } => (*to_uid, *to_gid) = (0, 0),
                _ => {}
            }
        }
    }
    for op in &mut init.ops {
        if let Op::SetAttrs { slot: Slot::MOUNT, attrs, .. } | Op::NewTmpfs { attrs, .. } = op {
            without(attrs);
        }
    }
    true
}
