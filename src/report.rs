//! The report: the truth about one run.
//!
//! For: the only result type. CLI text and JSON are views of it.
//! Not for: gathering the figures (see `sandbox::supervisor`).
//! Runs in: the supervisor, and in whoever reads a report.
//!
//! Field names carry their unit, values are integers, and what was not measured is absent, never 0.
//! The JSON form is described by `schema/report-1.json`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use crate::policy::{Bytes, Isolation, Millis};
use crate::{Error, ErrorKind};

/// The value of [`Report::schema`] that this version writes.
pub const SCHEMA: &str = "jail.report/1";

/// What happened in one run. Always produced, also when the set-up failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Unique on this host: names the cgroup and temporary things of the run.
    pub run_id: String,
    /// Start of the run, RFC 3339 in UTC with milliseconds.
    pub started_at: String,
    /// The profile that was in force; both of its fields are empty when the run failed before there was one.
    pub profile: ProfileId,
    /// The command as given. Bytes that are no UTF-8 are replaced.
    pub argv: Vec<String>,
    /// The exit code that `jail` gives for this report.
    pub exit_code: u8,
    /// How the program itself ended; absent when it never ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// How the run ended and why.
    pub verdict: Verdict,
    /// Limits that were reached, whether or not they ended the run.
    pub limits_hit: Vec<LimitHit>,
    /// What the set-up or `jail` itself failed at; absent when nothing failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorInfo>,
    /// Time that was used.
    pub time: Time,
    /// Memory of the whole tree.
    pub memory: Memory,
    /// Processes and threads of the whole tree.
    pub tasks: Tasks,
    /// Input and output of the whole tree.
    pub io: Io,
    /// Scheduling of the whole tree.
    pub sched: Sched,
    /// Page faults of the whole tree.
    pub faults: Faults,
    /// What was written to stdout and stderr.
    pub output: OutputReport,
    /// Which protections were requested, applied and witnessed.
    pub posture: Posture,
    /// Where the start went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setup: Option<Setup>,
}

impl Report {
    /// The report of a run that failed before anything was started. Which policy it would have had is
    /// left open: there may be none.
    #[must_use]
    pub fn from_error(error: &Error, argv: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        let now = SystemTime::now();
        let kind = VerdictKind::from(error.kind());
        Self {
            schema: SCHEMA.to_owned(),
            run_id: run_id(now),
            started_at: rfc3339(now),
            profile: ProfileId { name: String::new(), digest: String::new() },
            argv: argv.into_iter().map(|word| word.as_ref().to_string_lossy().into_owned()).collect(),
            exit_code: error.exit_code(),
            exit: None,
            verdict: Verdict { kind, limit: None, observed: None, unit: None, evidence: Vec::new() },
            limits_hit: Vec::new(),
            error: Some(ErrorInfo::from(error)),
            time: Time::default(),
            memory: Memory::default(),
            tasks: Tasks::default(),
            io: Io::default(),
            sched: Sched::default(),
            faults: Faults::default(),
            output: OutputReport::default(),
            posture: Posture::default(),
            setup: None,
        }
    }

    /// One line that says why `jail` ended the run, without the program's name in front; nothing when
    /// the program ended by itself or never ran.
    #[must_use]
    pub fn summary_line(&self) -> Option<String> {
        let after = tenths(self.time.wall_ms);
        let limit = |what: &str| match (self.verdict.limit, self.verdict.unit) {
            (Some(limit), Some(Unit::Ms)) => format!("{what} limit {}", Millis(limit)),
            (Some(limit), Some(Unit::Bytes)) => format!("{what} limit {}", Bytes(limit)),
            (Some(limit), Some(Unit::Tasks)) => format!("{what} limit {limit}"),
            (Some(_) | None, None) | (None, Some(_)) => format!("{what} limit"),
        };
        let line = match self.verdict.kind {
            VerdictKind::Memory => {
                let peak = self.memory.peak_bytes.map(|peak| format!(" (peak {})", rounded(peak))).unwrap_or_default();
                format!("{} reached after {after}{peak}", limit("memory"))
            }
            VerdictKind::WallTime => format!("{} reached", limit("wall time")),
            VerdictKind::CpuTime => format!("{} reached after {after}", limit("CPU time")),
            VerdictKind::Output => format!("{} reached after {after}", limit("output")),
            VerdictKind::FileSize => format!("{} reached after {after}", limit("file size")),
            VerdictKind::SyscallKilled => {
                format!("system call refused by the filter: the program was killed after {after}")
            }
            VerdictKind::Cancelled => {
                let by = match self.exit_code {
                    130 => " by SIGINT",
                    143 => " by SIGTERM",
                    _ => "",
                };
                format!("cancelled{by} after {after}")
            }
            VerdictKind::InternalError
            | VerdictKind::ExecFailed
            | VerdictKind::Signaled
            | VerdictKind::NonzeroExit
            | VerdictKind::Ok => return None,
        };
        Some(line)
    }
}

/// A name for a run: no process has the same id at the same time.
pub(crate) fn run_id(now: SystemTime) -> String {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    format!("{:x}-{:x}", since.as_nanos(), std::process::id())
}

/// A time as RFC 3339 in UTC with milliseconds: `2026-01-31T12:34:56.789Z`.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second, milli) = (second / 3600, second / 60 % 60, second % 60, since.subsec_millis());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// The date of a day counted from 1970-01-01. Years here begin in March, which puts the leap day last,
/// and repeat every 400 years (146097 days).
const fn date(days: u64) -> (u64, u64, u64) {
    // 719468 days lie between 0000-03-01 and 1970-01-01.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // 153 days are the five months from March to July, and from August to December.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (400 * era + year + next, month, day)
}

/// Seconds with one digit: `1.2 s`.
fn tenths(millis: u64) -> String {
    let tenths = millis.saturating_add(50) / 100;
    format!("{}.{} s", tenths / 10, tenths % 10)
}

/// Bytes with at most one digit behind the point: `511.9 MiB`, `512 MiB`.
fn rounded(bytes: u64) -> String {
    let (shift, name) = match bytes {
        0x400..0x10_0000 => (10, "KiB"),
        0x10_0000..0x4000_0000 => (20, "MiB"),
        0x4000_0000.. => (30, "GiB"),
        _ => return format!("{bytes} B"),
    };
    let tenths = (u128::from(bytes) * 10 + (1 << (shift - 1))) >> shift;
    if tenths % 10 == 0 { format!("{} {name}", tenths / 10) } else { format!("{}.{} {name}", tenths / 10, tenths % 10) }
}

/// Which policy was in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileId {
    /// Name of the outermost profile.
    pub name: String,
    /// [`Policy::digest`](crate::Policy::digest) of what it meant, flags included.
    pub digest: String,
}

/// How the program itself ended. Exactly one of the two is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its exit code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u8>,
    /// The signal that killed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<u8>,
    /// Whether the kernel says that it dumped core.
    pub core_dumped: bool,
}

/// The one reason why a run ended. The order is the precedence: when several hold, the first one is
/// the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictKind {
    /// `jail` or the set-up failed; the program did not run, or its end is unknown.
    InternalError,
    /// The filter killed the program for a system call.
    SyscallKilled,
    /// More output than allowed.
    Output,
    /// The kernel killed for memory.
    Memory,
    /// More CPU time than allowed.
    CpuTime,
    /// More wall time than allowed.
    WallTime,
    /// The program wrote a file larger than allowed.
    FileSize,
    /// The caller ended the run.
    Cancelled,
    /// The program could not be executed.
    ExecFailed,
    /// A signal of its own.
    Signaled,
    /// An exit code other than 0.
    NonzeroExit,
    /// Exit code 0.
    Ok,
}

impl From<ErrorKind> for VerdictKind {
    /// The verdict of a run that failed in this way.
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::NotFound | ErrorKind::NotExecutable => Self::ExecFailed,
            ErrorKind::Usage
            | ErrorKind::Profile
            | ErrorKind::Unsupported
            | ErrorKind::Setup
            | ErrorKind::Output
            | ErrorKind::Internal => Self::InternalError,
        }
    }
}

/// How the run ended, why, and how that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The reason.
    pub kind: VerdictKind,
    /// The limit that was reached, in the unit of `unit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// What was observed, in the unit of `unit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<u64>,
    /// `ms`, `bytes` or `tasks`; there when `limit` is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
    /// Kernel counters and own timers that say so, in words: `memory.events oom_kill +1`.
    pub evidence: Vec<String>,
}

/// The unit of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Milliseconds.
    Ms,
    /// Bytes.
    Bytes,
    /// Processes and threads.
    Tasks,
}

/// A limit that was reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitHit {
    /// `wall`, `cpu_time`, `cpus`, `memory`, `pids`, `fsize` or `output`.
    pub limit: String,
    /// The counter that says so: `pids.events max +17`.
    pub evidence: String,
}

/// What failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorInfo {
    /// Which kind of thing: the [`ErrorKind`] in snake case.
    pub kind: String,
    /// What, with the value.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The step of the plan that failed: `init 14 bind /data -> /data (ro)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The system error number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno: Option<i32>,
}

impl From<&Error> for ErrorInfo {
    fn from(error: &Error) -> Self {
        Self {
            kind: error.kind().name().to_owned(),
            message: error.to_string(),
            hint: error.hint().map(str::to_owned),
            step: error.step().map(str::to_owned),
            errno: error.errno(),
        }
    }
}

/// Where a figure came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Source {
    /// A counter of the run's cgroup: complete.
    #[serde(rename = "cgroup")]
    Cgroup,
    /// wait4(2): complete for processes that were waited for.
    #[serde(rename = "rusage")]
    Rusage,
    /// A counter in procfs that sums up the tree at its end.
    #[serde(rename = "procfs")]
    Procfs,
    /// Looked at now and then: a peak between two looks is missed.
    #[serde(rename = "procfs sampled")]
    ProcfsSampled,
}

/// Time that was used.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Time {
    /// From the start of set-up to the end of the last process, milliseconds.
    pub wall_ms: u64,
    /// CPU time in user mode, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_ms: Option<u64>,
    /// CPU time in the kernel, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_ms: Option<u64>,
    /// CPU time in all, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<u64>,
    /// Source of `cpu_ms`; `user_ms` and `system_ms` are from rusage where the group does not tell them apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
}

/// Memory of the whole tree.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Highest use at one moment, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_bytes: Option<u64>,
    /// Source of `peak_bytes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Processes that the kernel killed for memory; at least 1 stands for "some" with `memory.oom.group`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_kills: Option<u64>,
}

/// Processes and threads of the whole tree, without the jail's own init.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tasks {
    /// Most at one moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak: Option<u64>,
    /// Source of `peak`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Forks that the limit refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_forks: Option<u64>,
}

/// Input and output of the whole tree.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Io {
    /// Bytes that read(2) and its kind returned, whatever they were read from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_bytes: Option<u64>,
    /// Bytes that write(2) and its kind took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_bytes: Option<u64>,
    /// Bytes fetched from storage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_read_bytes: Option<u64>,
    /// Bytes sent to storage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_write_bytes: Option<u64>,
    /// Source of what is there: an ordinary caller gets the storage figures from rusage, and no others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Source of the storage figures, where it is another: the io controller of cgroup v2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_source: Option<Source>,
}

/// Scheduling of the whole tree.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sched {
    /// Context switches by waiting (rusage).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voluntary_switches: Option<u64>,
    /// Context switches by being preempted (rusage).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub involuntary_switches: Option<u64>,
    /// Time that the CPU rate held the tree back, milliseconds (cgroup).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttled_ms: Option<u64>,
}

/// Page faults of the whole tree (rusage).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Faults {
    /// Served without input or output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minor: Option<u64>,
    /// Served from storage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub major: Option<u64>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OutputReport {
    /// Standard output.
    pub stdout: Stream,
    /// Standard error.
    pub stderr: Stream,
}

/// One output stream.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stream {
    /// Bytes that the program wrote.
    pub total_bytes: u64,
    /// Bytes dropped, because the limit or the room to keep them was reached.
    pub omitted_bytes: u64,
    /// The first bytes, when the run was recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<Text>,
    /// The last bytes; there only when something between was omitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tail: Option<Text>,
}

impl Stream {
    /// The bytes that were kept: the head, then the tail. What lay between is not there.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.head.iter().chain(&self.tail).flat_map(Text::bytes).collect()
    }
}

/// Bytes in JSON: as text when they are UTF-8, else in base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// `utf-8` or `base64`.
    pub encoding: Encoding,
    /// The bytes in that encoding.
    pub data: String,
}

impl Text {
    /// As text when the bytes are UTF-8, else in base64.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self { encoding: Encoding::Utf8, data: text.to_owned() },
            Err(_binary) => Self { encoding: Encoding::Base64, data: BASE64_STANDARD.encode(bytes) },
        }
    }

    /// The bytes. Data that is no base64, which no report of ours has, stands for none.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        match self.encoding {
            Encoding::Utf8 => self.data.clone().into_bytes(),
            Encoding::Base64 => BASE64_STANDARD.decode(&self.data).unwrap_or_default(),
        }
    }
}

/// How [`Text::data`] stands for bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Encoding {
    /// The data is the text.
    #[serde(rename = "utf-8")]
    Utf8,
    /// RFC 4648 with padding.
    #[serde(rename = "base64")]
    Base64,
}

/// Which protections were in force.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Posture {
    /// Kernel release.
    pub kernel: String,
    /// Landlock ABI of this kernel; 0 when it has none.
    pub landlock_abi: u32,
    /// What kept the program apart; absent when the run failed before there was a policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    /// Each layer by its name.
    pub layers: BTreeMap<String, LayerStatus>,
    /// The layers that were given up.
    pub degraded: Vec<String>,
}

/// One layer of the posture.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LayerStatus {
    /// The profile asked for it.
    pub requested: bool,
    /// Every step of it succeeded.
    pub applied: bool,
    /// It was tried from inside, or read back, and held.
    pub witnessed: bool,
    /// How: `v1 memory,pids,cpu,cpuacct`, `ABI 7, 24 rules`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Why it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Where the time of a start went, microseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Setup {
    /// Making the plan.
    pub plan_us: u64,
    /// Making the cgroup and its limits; on v1 while init makes its network namespace.
    pub cgroup_us: u64,
    /// What else the supervisor did until it let init go on: pipes, id-mapped trees, id maps.
    pub prepare_us: u64,
    /// The clone, with its namespaces but that of the network.
    pub clone_us: u64,
    /// From then until init had its network namespace, was in its cgroup and had its ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate_us: Option<u64>,
    /// Building the root file system and entering it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_us: Option<u64>,
    /// Privileges dropped, Landlock, resource limits, in both processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confinement_us: Option<u64>,
    /// Loading the filter, trying it, and exec, until the supervisor saw that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec_us: Option<u64>,
    /// From the program's end to nothing left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teardown_us: Option<u64>,
}

impl Setup {
    /// Names and figures in the order in which the time passed; what was not reached is left out.
    #[must_use]
    pub fn stages(&self) -> Vec<(&'static str, u64)> {
        let stages = [
            ("plan", Some(self.plan_us)),
            ("cgroup", Some(self.cgroup_us)),
            ("prepare", Some(self.prepare_us)),
            ("clone", Some(self.clone_us)),
            ("gate", self.gate_us),
            ("root", self.root_us),
            ("confinement", self.confinement_us),
            ("exec", self.exec_us),
            ("teardown", self.teardown_us),
        ];
        stages.into_iter().filter_map(|(name, us)| Some((name, us?))).collect()
    }
}

#[cfg(test)]
mod tests;
