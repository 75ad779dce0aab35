//! Per-process limits: from the policy to setrlimit(2).
//!
//! For: RLIMIT_* of the payload. Not for: limits of the whole tree (see `cgroup` and the supervisor).
//! Runs in: the supervisor; the ops run in the payload.

use std::collections::BTreeMap;

use crate::policy::{Origin, Policy};
use crate::sandbox::sys::process::Rlimit;

use super::op::Op;

/// One op a limit; soft and hard are the same, so that a program cannot raise what it has. (CPU time is
/// the exception: at the hard limit the kernel sends SIGKILL, which says nothing, so it lies a second above.)
///
/// `tasks` is the limit on tasks, if there is to be one here.
pub(super) fn lower(policy: &Policy, hard_limits: &BTreeMap<Rlimit, u64>, tasks: Option<u64>) -> Vec<(Op, Origin)> {
    let limits = &policy.limits;
    let mut ops = Vec::new();
    let mut push = |resource: Rlimit, value: u64, origin: &Origin| {
        let above = u64::from(resource == libc::RLIMIT_CPU);
        // Nobody may go above their own hard limit (the kernel asks for CAP_SYS_RESOURCE on the host).
        let most = hard_limits.get(&resource).copied().unwrap_or(u64::MAX);
        let op = Op::Rlimit { resource, soft: value.min(most), hard: value.saturating_add(above).min(most) };
        ops.push((op, origin.clone()));
    };
    // Where core_pattern is a pipe, the kernel starts the host's helper whatever the limit is, unless it
    // is exactly 1 (core(5)); for a file, 1 byte is too little for any core.
    push(libc::RLIMIT_CORE, limits.core.value.0.max(1), &limits.core.origin);
    push(libc::RLIMIT_STACK, limits.stack.value.0, &limits.stack.origin);
    if let Some(size) = limits.fsize.value {
        push(libc::RLIMIT_FSIZE, size.0, &limits.fsize.origin);
    }
    if let Some(time) = limits.cpu_time.value {
        // A backstop, in whole seconds and for one process: the supervisor, which counts the tree, is
        // meant to be first, so this has a second more.
        push(libc::RLIMIT_CPU, time.0.div_ceil(1000) + 1, &limits.cpu_time.origin);
    }
    if let Some(tasks) = tasks {
        push(libc::RLIMIT_NPROC, tasks, &limits.pids.origin);
    }
    // The host counts these for each of its users, whatever namespace they are in: timers and queued
    // signals, message queues, locked memory.
    push(libc::RLIMIT_SIGPENDING, 1024, &Origin::Default);
    push(libc::RLIMIT_MSGQUEUE, 819_200, &Origin::Default);
    push(libc::RLIMIT_MEMLOCK, 8 << 20, &Origin::Default);
    push(libc::RLIMIT_NICE, 0, &Origin::Default);
    push(libc::RLIMIT_RTPRIO, 0, &Origin::Default);
    push(libc::RLIMIT_NOFILE, u64::from(limits.nofile.value), &limits.nofile.origin);
    ops
}

/// Names for people, without the prefix.
pub(super) const fn name(resource: Rlimit) -> &'static str {
    match resource {
        libc::RLIMIT_CORE => "core",
        libc::RLIMIT_STACK => "stack",
        libc::RLIMIT_FSIZE => "fsize",
        libc::RLIMIT_CPU => "cpu",
        libc::RLIMIT_NPROC => "nproc",
        libc::RLIMIT_MSGQUEUE => "msgqueue",
        libc::RLIMIT_SIGPENDING => "sigpending",
        libc::RLIMIT_MEMLOCK => "memlock",
        libc::RLIMIT_NICE => "nice",
        libc::RLIMIT_RTPRIO => "rtprio",
        libc::RLIMIT_NOFILE => "nofile",
        _ => "?",
    }
}
