//! From what was written to what it means: defaults, ranges, and rules across keys.
//!
//! For: the one way to make a [`Policy`]; reports every violation at once.
//! Not for: reading text (see `profile::units`), the words of the system call lists (the plan knows the
//! groups), or anything that depends on the machine.
//! Runs in: the supervisor.
//!
//! The defaults for what nobody said are those of `strict`, over an empty view without workspace. Memory
//! and tasks have none: how much of the machine a run may take must be said by somebody.

use std::fmt::Display;
use std::path::Path;

use super::types::{
    Bytes, EnvVar, Isolation, Limits, Located, MilliCpus, Millis, Net, OnOverflow, Origin, Output, Proc, Quota,
    SystemCalls, Tmpfs, ViewEntry, Workspace,
};
use super::{Policy, in_order, lies_in};
use crate::profile::{Profile, ProfileError, violation};
use crate::sandbox::plan::seccomp::Filter;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// Sizes end up in signed 64-bit fields of the kernel.
const MAX_BYTES: u64 = i64::MAX.unsigned_abs();
const YEAR: Millis = Millis(365 * 24 * 3600 * 1000);
/// The most that pid_max can be (PID_MAX_LIMIT).
const MAX_PIDS: u32 = 1 << 22;
/// The kernel's default for fs.nr_open, above which no process can go.
const MAX_NOFILE: u32 = 1 << 20;

/// Scratch file systems that a private directory stands in for, or that are not there, without a mount namespace.
const STAND_INS: [&str; 3] = ["/dev/shm", "/home/jail", "/tmp"];

/// Files of `/etc` that the jail writes itself.
const GENERATED: [&str; 7] = [
    "/etc/passwd",
    "/etc/group",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
    "/etc/nsswitch.conf",
    "/etc/machine-id",
];

pub(super) fn policy(profile: &Profile) -> Result<Policy, ProfileError> {
    let mut check = Check { violations: Vec::new() };

    let name = if profile.name.is_empty() { "settings".to_owned() } else { profile.name.clone() };
    check.description(profile);
    for (layer, origin) in profile.degradable.iter().filter(|(layer, _)| !layer.can_be_given_up()) {
        let problem = format!("{layer} cannot be given up: everything else rests on it (leave it out)");
        check.refuse(origin, "allow_degraded", problem);
    }
    let hostname = given(profile.hostname.as_ref(), "jail".to_owned());
    check.hostname(&hostname);

    let mut view = profile.view.clone();
    // A parent before what lies below it, and the same order however it was written.
    view.sort_by(|a, b| in_order(&a.value.dest, &b.value.dest));
    for entry in &view {
        let key = format!("fs.{}", entry.value.access);
        check.destination(&key, &entry.value.dest, &entry.origin);
        check.source(&key, &entry.value.source, &entry.origin);
    }
    let mut tmpfs = profile.tmpfs.clone();
    tmpfs.sort_by(|a, b| in_order(&a.value.dest, &b.value.dest));
    for entry in &tmpfs {
        if entry.value.dest != Path::new("/dev/shm") {
            check.destination("fs.tmpfs", &entry.value.dest, &entry.origin);
        }
        check.within("fs.tmpfs", &entry.origin, entry.value.size, Bytes(4 * KIB), Bytes(MAX_BYTES));
        check.within("fs.tmpfs", &entry.origin, entry.value.inodes, 2, MAX_BYTES);
    }

    // Not for a list that was emptied by denials: that would allow what nobody asked for.
    let usual = || vec![Located::new("@default".to_owned(), Origin::Default)];
    let allow = profile.allow.clone().unwrap_or_else(usual);
    for variable in &profile.env {
        check.variable(variable);
    }

    let limits = check.limits(profile);
    let output = check.output(profile);
    let syscalls = SystemCalls { allow, deny: profile.deny.clone() };
    let net = given(profile.net.as_ref(), Net::None);
    let isolation = given(profile.isolation.as_ref(), Isolation::Full);
    if isolation.value == Isolation::Landlock {
        check.without_namespaces(&net, &view, &tmpfs);
    }
    if let Err(problems) = Filter::check(&syscalls) {
        check.violations.extend(problems);
    }
    if !check.violations.is_empty() {
        return Err(check.finish());
    }
    Ok(Policy {
        name,
        description: profile.description().unwrap_or_default().to_owned(),
        isolation,
        view,
        tmpfs,
        workspace: given(profile.workspace.as_ref(), Workspace::None),
        proc: given(profile.proc.as_ref(), Proc::Pid),
        net,
        syscalls,
        limits,
        output,
        env: profile.env.clone(),
        hostname,
        degradable: profile.degradable.clone(),
    })
}

/// What was said, or the default.
fn given<T: Clone>(value: Option<&Located<T>>, default: T) -> Located<T> {
    value.cloned().unwrap_or_else(|| Located::new(default, Origin::Default))
}

struct Check {
    violations: Vec<(Origin, String)>,
}

impl Check {
    fn finish(mut self) -> ProfileError {
        self.violations.sort_by(|(a, _), (b, _)| a.cmp(b));
        ProfileError::new(self.violations.into_iter().map(|(_, line)| line).collect())
    }

    fn refuse(&mut self, origin: &Origin, key: &str, problem: impl AsRef<str>) {
        self.violations.push((origin.clone(), violation(origin, key, problem.as_ref())));
    }

    fn within<T: PartialOrd + Display>(&mut self, key: &str, origin: &Origin, value: T, least: T, most: T) {
        if value < least {
            self.refuse(origin, key, format!("{value} is too little (write at least {least})"));
        } else if value > most {
            self.refuse(origin, key, format!("{value} is too much (write at most {most})"));
        }
    }

    fn description(&mut self, profile: &Profile) {
        if let Some(description) = &profile.description
            && description.value.contains(char::is_control)
        {
            self.refuse(
                &description.origin,
                "description",
                "holds a line break or another control character (write one line)",
            );
        }
    }

    fn hostname(&mut self, name: &Located<String>) {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
        if !(1..=64).contains(&name.value.len()) || !name.value.bytes().all(good) {
            let problem = format!("{:?} is not a host name (write 1 to 64 of a-z, A-Z, 0-9, . and -)", name.value);
            self.refuse(&name.origin, "run.hostname", problem);
        }
    }

    fn destination(&mut self, key: &str, dest: &Path, origin: &Origin) {
        let lies_in = |dir: &str| lies_in(dest, Path::new(dir));
        let is = |path: &str| dest.as_os_str() == path;
        let reason = if is("/") {
            "is the root, which is always the jail's own (name what the program needs below it)"
        } else if lies_in("/proc") {
            "is always the jail's own /proc (see fs.proc)"
        } else if lies_in("/dev") {
            "is in the jail's own /dev (only a tmpfs at /dev/shm can be given)"
        } else if is("/etc") || GENERATED.iter().any(|generated| lies_in(generated)) {
            "is written by the jail itself (name other files below /etc)"
        } else if is("/.decoy") {
            "is the file with which the jail tests itself (write another path)"
        } else {
            return;
        };
        self.refuse(origin, key, format!("{} {reason}", dest.display()));
    }

    /// What only a namespace can give.
    fn without_namespaces(&mut self, net: &Located<Net>, view: &[Located<ViewEntry>], tmpfs: &[Located<Tmpfs>]) {
        if net.value == Net::Loopback {
            let problem = "a loopback of its own needs a network namespace, which isolation = \"landlock\" has not \
                           (write none or host)";
            self.refuse(&net.origin, "net.mode", problem);
        }
        for Located { value, origin } in view.iter().filter(|entry| entry.value.source != entry.value.dest) {
            let (source, dest) = (value.source.display(), value.dest.display());
            let problem = format!(
                "{source} at {dest}: without a mount namespace, that is with isolation = \"landlock\", everything is \
                 where it is (name it without a second path)"
            );
            self.refuse(origin, &format!("fs.{}", value.access), problem);
        }
        let own = |dest: &Path| STAND_INS.iter().any(|there| dest == Path::new(there));
        for Located { value, origin } in tmpfs.iter().filter(|entry| !own(&entry.value.dest)) {
            let problem = format!(
                "{}: without a mount namespace, that is with isolation = \"landlock\", there is no scratch directory \
                 but those of TMPDIR and HOME (leave it out)",
                value.dest.display()
            );
            self.refuse(origin, "fs.tmpfs", problem);
        }
    }

    fn source(&mut self, key: &str, source: &Path, origin: &Origin) {
        if lies_in(source, Path::new("/proc")) {
            let source = source.display();
            self.refuse(
                origin,
                key,
                format!("{source} would show the processes of this machine (leave it out, see fs.proc)"),
            );
        }
    }

    fn variable(&mut self, variable: &Located<EnvVar>) {
        let name = variable.value.name();
        let key = match &variable.value {
            EnvVar::Set { value, .. } => {
                if value.contains('\0') {
                    self.refuse(
                        &variable.origin,
                        "env.set",
                        format!("the value of {name:?} holds a NUL byte (leave it out)"),
                    );
                }
                "env.set"
            }
            EnvVar::Keep(_) => "env.keep",
        };
        if name.is_empty() || name.contains(['=', '\0']) {
            let problem = format!("{name:?} is not a name of a variable (write one without = and NUL)");
            self.refuse(&variable.origin, key, problem);
        }
    }

    fn limits(&mut self, profile: &Profile) -> Limits {
        let said = &profile.limits;
        let memory = self.must("limits.memory", "\"512M\"", profile, said.memory.as_ref(), Bytes(MIB));
        let pids = self.must("limits.pids", "64", profile, said.pids.as_ref(), 1);
        let limits = Limits {
            wall: given(said.wall.as_ref(), Some(Millis(30_000))),
            cpu_time: given(said.cpu_time.as_ref(), Some(Millis(10_000))),
            cpus: given(said.cpus.as_ref(), Some(MilliCpus(1000))),
            memory,
            pids,
            nofile: given(said.nofile.as_ref(), 256),
            fsize: given(said.fsize.as_ref(), Some(Bytes(64 * MIB))),
            core: given(said.core.as_ref(), Bytes(0)),
            stack: given(said.stack.as_ref(), Bytes(8 * MIB)),
        };
        self.quota("limits.wall", &limits.wall, Millis(1), YEAR);
        self.quota("limits.cpu_time", &limits.cpu_time, Millis(1), YEAR);
        self.quota("limits.cpus", &limits.cpus, MilliCpus(10), MilliCpus(1_024_000));
        self.value("limits.memory", &limits.memory, Bytes(MIB), Bytes(MAX_BYTES));
        self.value("limits.pids", &limits.pids, 1, MAX_PIDS);
        self.value("limits.nofile", &limits.nofile, 16, MAX_NOFILE);
        self.quota("limits.fsize", &limits.fsize, Bytes(0), Bytes(MAX_BYTES));
        self.value("limits.core", &limits.core, Bytes(0), Bytes(MAX_BYTES));
        self.value("limits.stack", &limits.stack, Bytes(64 * KIB), Bytes(MAX_BYTES));
        limits
    }

    fn output(&mut self, profile: &Profile) -> Output {
        let said = &profile.output;
        let output = Output {
            limit: given(said.limit.as_ref(), Some(Bytes(64 * MIB))),
            keep: given(said.keep.as_ref(), Bytes(MIB)),
            on_overflow: given(said.on_overflow.as_ref(), OnOverflow::Kill),
        };
        self.quota("output.limit", &output.limit, Bytes(0), Bytes(MAX_BYTES));
        self.value("output.keep", &output.keep, Bytes(0), Bytes(16 * MIB));
        // An inherited on_overflow means nothing once the limit is lifted, and does no harm. Written
        // together, one of the two is a mistake.
        if output.limit.value.is_none() && together(&output.limit.origin, &output.on_overflow.origin) {
            let problem = format!(
                "there is no output limit to overflow (set one, or leave this out; the limit is lifted by {})",
                output.limit.origin
            );
            self.refuse(&output.on_overflow.origin, "output.on_overflow", problem);
        }
        output
    }

    fn value<T: PartialOrd + Display + Copy>(&mut self, key: &str, value: &Located<T>, least: T, most: T) {
        self.within(key, &value.origin, value.value, least, most);
    }

    fn quota<T: PartialOrd + Display + Copy>(&mut self, key: &str, quota: &Quota<T>, least: T, most: T) {
        if let Some(value) = quota.value {
            self.within(key, &quota.origin, value, least, most);
        }
    }

    /// A value without default. `least` stands in for it while the other values are looked at.
    fn must<T: Clone>(
        &mut self,
        key: &str,
        example: &str,
        profile: &Profile,
        value: Option<&Located<T>>,
        least: T,
    ) -> Located<T> {
        if value.is_none() {
            let name = key.split_once('.').map_or(key, |(_, name)| name);
            let place = if profile.name.is_empty() { String::new() } else { format!("{}: ", profile.name) };
            let line = format!(
                "{place}{key}: is not set and has no default (write {name} = {example}, or extends = [\"strict\"])"
            );
            self.violations.push((Origin::Default, line));
        }
        given(value, least)
    }
}

/// Whether two values were written in the same file, or both as flags.
fn together(a: &Origin, b: &Origin) -> bool {
    match (a, b) {
        (Origin::File { file: a, .. }, Origin::File { file: b, .. }) => a == b,
        (Origin::Flag(_), Origin::Flag(_)) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
