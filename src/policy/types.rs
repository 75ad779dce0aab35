//! The vocabulary of a policy: range-checked values that know their unit and where they came from.
//!
//! For: types shared by the profile reader, the policy and the plan.
//! Not for: parsing (see `profile::units`) or cross-field rules (see `validate`).
//! Runs in: the supervisor.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Where a value was written: `strict.toml:14`, `--memory`, or the built-in default.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// A profile: its name or path, and the 1-based line.
    File {
        /// The profile's path, or `strict.toml` for an embedded one.
        file: Arc<str>,
        /// 1-based line.
        line: u32,
    },
    /// A command-line flag or an API field, by its long name (`--memory`).
    Flag(Arc<str>),
    /// Nobody said anything: the documented default.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line } => write!(f, "{file}:{line}"),
            Self::Flag(flag) => f.write_str(flag),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value together with the place where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    /// What was said.
    pub value: T,
    /// Where it was said.
    pub origin: Origin,
}

impl<T> Located<T> {
    /// Pairs a value with its origin.
    pub const fn new(value: T, origin: Origin) -> Self {
        Self { value, origin }
    }
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    /// The largest binary unit that divides the value: `512 MiB`, `1 KiB`, `1000 B`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u32, &str); 4] = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        for (shift, name) in UNITS {
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{} {name}", self.0 >> shift);
            }
        }
        write!(f, "{} B", self.0)
    }
}

/// A duration in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Millis(pub u64);

impl fmt::Display for Millis {
    /// `30 s` when whole, else `1.5 s`, else `250 ms` below a second.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, rest) = (self.0 / 1000, self.0 % 1000);
        if rest == 0 {
            write!(f, "{seconds} s")
        } else if seconds == 0 {
            write!(f, "{rest} ms")
        } else {
            let fraction = format!("{rest:03}");
            write!(f, "{seconds}.{} s", fraction.trim_end_matches('0'))
        }
    }
}

/// Thousandths of one CPU: `1500` is one and a half CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct MilliCpus(pub u32);

impl fmt::Display for MilliCpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fraction = format!("{:03}", self.0 % 1000);
        let fraction = fraction.trim_end_matches('0');
        if fraction.is_empty() { write!(f, "{}", self.0 / 1000) } else { write!(f, "{}.{fraction}", self.0 / 1000) }
    }
}

/// A protection that can be asked for, applied, witnessed or missing. The names are those of
/// `--allow-degraded` and of the report's `posture`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Layer {
    /// User, mount, PID, network, IPC, UTS and cgroup namespaces.
    #[serde(rename = "namespaces")]
    Namespaces,
    /// A root that shows only what the profile names.
    #[serde(rename = "rootfs")]
    Rootfs,
    /// The program runs under an unprivileged id.
    #[serde(rename = "ids")]
    Ids,
    /// No capabilities, empty bounding set, no_new_privs.
    #[serde(rename = "caps")]
    Caps,
    /// Landlock rules from the same table as the mounts.
    #[serde(rename = "landlock")]
    Landlock,
    /// The system call filter.
    #[serde(rename = "seccomp")]
    Seccomp,
    /// Memory and swap of the whole tree.
    #[serde(rename = "cgroup.memory")]
    CgroupMemory,
    /// Number of tasks of the whole tree.
    #[serde(rename = "cgroup.pids")]
    CgroupPids,
    /// CPU rate, and CPU time of the whole tree.
    #[serde(rename = "cgroup.cpu")]
    CgroupCpu,
    /// Per-process limits.
    #[serde(rename = "rlimits")]
    Rlimits,
    /// The network of the jail.
    #[serde(rename = "net")]
    Net,
}

impl Layer {
    /// Every layer, in the order of reports.
    pub const ALL: [Self; 11] = [
        Self::Namespaces,
        Self::Rootfs,
        Self::Ids,
        Self::Caps,
        Self::Landlock,
        Self::Seccomp,
        Self::CgroupMemory,
        Self::CgroupPids,
        Self::CgroupCpu,
        Self::Rlimits,
        Self::Net,
    ];

    /// The name in profiles, flags and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Rootfs => "rootfs",
            Self::Ids => "ids",
            Self::Caps => "caps",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
            Self::CgroupMemory => "cgroup.memory",
            Self::CgroupPids => "cgroup.pids",
            Self::CgroupCpu => "cgroup.cpu",
            Self::Rlimits => "rlimits",
            Self::Net => "net",
        }
    }

    /// The layers that a name stands for: itself, or all three of `cgroup`. Empty when unknown.
    #[must_use]
    pub fn from_name(name: &str) -> Vec<Self> {
        if name == "cgroup" {
            return vec![Self::CgroupMemory, Self::CgroupPids, Self::CgroupCpu];
        }
        Self::ALL.into_iter().filter(|layer| layer.name() == name).collect()
    }

    /// Whether a run without this layer is possible at all. The others carry everything else:
    /// without namespaces there is no private root, without a root nothing to confine to.
    #[must_use]
    pub const fn can_be_given_up(self) -> bool {
        match self {
            Self::Ids | Self::Landlock | Self::Seccomp | Self::CgroupMemory | Self::CgroupPids | Self::CgroupCpu => {
                true
            }
            Self::Namespaces | Self::Rootfs | Self::Caps | Self::Rlimits | Self::Net => false,
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the program may do with a part of the view. Execute is apart from read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Read files, list directories.
    Ro,
    /// Read and execute.
    Rx,
    /// Read, write, create, remove; not execute.
    Rw,
    /// Everything of `rw`, and execute.
    Rwx,
}

impl Access {
    /// The key in profiles and the long flag, without the dashes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ro => "ro",
            Self::Rx => "rx",
            Self::Rw => "rw",
            Self::Rwx => "rwx",
        }
    }

    /// Whether files can be changed.
    #[must_use]
    pub const fn writes(self) -> bool {
        matches!(self, Self::Rw | Self::Rwx)
    }

    /// Whether files can be executed.
    #[must_use]
    pub const fn executes(self) -> bool {
        matches!(self, Self::Rx | Self::Rwx)
    }

    /// Whether it allows all that the other does.
    pub(crate) const fn includes(self, other: Self) -> bool {
        (self.writes() || !other.writes()) && (self.executes() || !other.executes())
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One file or directory of the host that is shown inside. Both paths are absolute and normalised
/// (no `.`, `..`, doubled or trailing slash); `dest` is never `/`, `/proc`, `/dev` or below those.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ViewEntry {
    /// The path on the host. A symbolic link whose destination is its own path is shown as the same
    /// link (`/bin -> usr/bin`); its target is not shown along with it.
    pub source: PathBuf,
    /// The path inside.
    pub dest: PathBuf,
    /// What the program may do there.
    pub access: Access,
    /// A missing source is passed over instead of refused.
    pub optional: bool,
}

/// A private scratch file system, empty at start and gone at the end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tmpfs {
    /// The path inside, absolute and normalised. `/dev/shm` is allowed, the rest of `/dev` is not.
    pub dest: PathBuf,
    /// Upper bound of its content.
    pub size: Bytes,
    /// Upper bound of its number of files and directories, at least 2.
    pub inodes: u64,
}

/// How the working directory of the run is shown, at its own path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Workspace {
    /// Not shown; the program starts in its home directory.
    None,
    /// Shown with [`Access::Rx`].
    Read,
    /// Shown with [`Access::Rwx`].
    Write,
}

/// How much of the jail's own `/proc` is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Proc {
    /// Only the processes of the jail (`subset=pid`, Linux 5.8).
    Pid,
    /// All of it, with the parts that speak of the kernel or steer it masked or read-only.
    Masked,
}

/// The network of the jail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Net {
    /// Its own network namespace with nothing in it; no internet socket can be made.
    None,
    /// Its own network namespace with a loopback device.
    Loopback,
    /// The host's network.
    Host,
}

/// What keeps the program apart from the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// All layers.
    Full,
    /// No namespaces and no root of its own: Landlock, the filter, limits. For hosts that forbid user namespaces;
    /// SECURITY.md lists the claims that fall away. Never chosen but by name.
    Landlock,
}

impl Isolation {
    /// The word in profiles, flags and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Landlock => "landlock",
        }
    }
}

/// The system calls that are let through, by name, after groups were expanded and edits applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemCalls {
    /// `@group` and call names to allow, in the order of the profile.
    pub allow: Vec<Located<String>>,
    /// `@group` and call names to take away again; wins over `allow`.
    pub deny: Vec<Located<String>>,
}

/// A limit that can be lifted: `Some(value)`, or `None` where the profile says `"none"`.
pub type Quota<T> = Located<Option<T>>;

/// What bounds a run. Counts and sizes are those of the whole process tree unless they say otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Wall time from the start of set-up.
    pub wall: Quota<Millis>,
    /// CPU time, user and system, of all processes together.
    pub cpu_time: Quota<Millis>,
    /// CPU rate.
    pub cpus: Quota<MilliCpus>,
    /// Memory, swap included. Cannot be lifted.
    pub memory: Located<Bytes>,
    /// Processes and threads. Cannot be lifted.
    pub pids: Located<u32>,
    /// Open files of one process (RLIMIT_NOFILE).
    pub nofile: Located<u32>,
    /// Size of one file (RLIMIT_FSIZE).
    pub fsize: Quota<Bytes>,
    /// Size of a core dump (RLIMIT_CORE).
    pub core: Located<Bytes>,
    /// Stack of one process's first thread (RLIMIT_STACK).
    pub stack: Located<Bytes>,
}

/// What happens when more was written than `Output::limit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnOverflow {
    /// What is over the limit is read and dropped; the run goes on.
    Truncate,
    /// The run is ended with the verdict `output`.
    Kill,
}

/// What happens to stdout and stderr.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// How many bytes may be written to both streams together.
    pub limit: Quota<Bytes>,
    /// How many bytes of each stream the report keeps, half from the head and half from the tail.
    pub keep: Located<Bytes>,
    /// What happens above `limit`.
    pub on_overflow: Located<OnOverflow>,
}

/// One variable of the program's environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvVar {
    /// `NAME=VALUE`.
    Set {
        /// Not empty, no `=` and no NUL.
        name: String,
        /// No NUL.
        value: String,
    },
    /// The caller's own value of this name, if it has one.
    Keep(String),
}

impl EnvVar {
    /// The variable's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Set { name, .. } | Self::Keep(name) => name,
        }
    }
}
