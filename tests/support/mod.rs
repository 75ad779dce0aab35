//! What every integration test stands on: running `jail` in a fresh workspace, and asking what it left behind.
//!
//! For: the builder [`Jail`], its result [`Run`], the probe as positive control ([`outside`]), and [`needs!`].
//! Not for: assertions that belong to one test.
//! Runs in: the test process.
//!
//! Every run gets a folder of its own whose name carries a token. Because the program, the report and with them
//! the command lines of `jail`, its init and its payload name that folder, the token finds whatever outlives a run.

mod group;
mod leftovers;

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};
use std::{env, fmt, fs, thread};

pub(crate) use group::{home_v2, make_room, own_v2};
pub(crate) use leftovers::{Before, cgroups};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

/// Longest that one run of `jail` may take before the test gives up on it.
fn deadline() -> Duration {
    room(Duration::from_secs(60))
}

/// How much longer things may take here than on a machine of its own: an emulated guest (`JAIL_VM=1`, set by
/// scripts/vm/run) needs some twenty times as long to start a sandbox.
pub(crate) fn slowness() -> u32 {
    if env::var_os("JAIL_VM").is_some_and(|value| value == "1") { 20 } else { 1 }
}

/// The longest that something may take, with the room that this machine needs.
pub(crate) fn room(time: Duration) -> Duration {
    time * slowness()
}

/// A wall-clock limit for `jail`, of so many seconds with the room that this machine needs: for runs that are
/// about another limit.
pub(crate) fn seconds(count: u32) -> String {
    format!("{}s", count * slowness())
}

/// Skips the test, loudly, unless the host and the user can do what it needs.
macro_rules! needs {
    (root) => {
        if !crate::support::is_root() {
            return crate::support::skip("root", "the caller to be root");
        }
    };
    (user) => {
        if crate::support::is_root() {
            return crate::support::leave_to_another_run("an ordinary user");
        }
    };
    (cgroup) => {
        if crate::support::degraded() {
            return crate::support::skip(
                "cgroup",
                "a writable cgroup with memory, pids and cpu (this caller has none)",
            );
        }
    };
}
pub(crate) use needs;

/// Says on the real stderr, past the capture of the test runner, what was not tested. A failure when
/// `JAIL_TESTS_REQUIRE`, a list with commas, has the need or `all`.
pub(crate) fn skip(need: &str, what: &str) {
    require_not(&[need, "all"], what);
}

/// The same for what no host has together with the rest: `all` does not ask for it, only the need's own name.
pub(crate) fn leave_to_another_host(need: &str, what: &str) {
    require_not(&[need], what);
}

fn require_not(needs: &[&str], what: &str) {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let required = env::var("JAIL_TESTS_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|word| needs.contains(&word)), "{test} needs {what}");
    skipped(&format!("{test} needs {what}"));
}

/// Says that this caller is the wrong one for a test. No failure ever: no single run of the suite can be made by
/// root and by an ordinary user.
pub(crate) fn leave_to_another_run(caller: &str) {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    skipped(&format!("{test} is for a run of the suite by {caller}"));
}

/// In one write: `scripts/kernels` counts these lines, and other tests write at the same time.
fn skipped(what: &str) {
    drop(io::stderr().write_all(format!("\nSKIPPED: {what}\n").as_bytes()));
}

pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// The program under test. `JAIL_TESTS_JAIL` names another copy, for runs as another user.
pub(crate) fn jail_binary() -> PathBuf {
    env::var_os("JAIL_TESTS_JAIL").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_jail")), PathBuf::from)
}

/// The probe: a cargo example, which `cargo test` builds too. `JAIL_TESTS_PROBE` names another copy.
pub(crate) fn probe_binary() -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_jail")).with_file_name("examples").join("probe");
    let probe = env::var_os("JAIL_TESTS_PROBE").map_or(built, PathBuf::from);
    assert!(probe.is_file(), "{} is missing: cargo build --example probe", probe.display());
    probe
}

/// Whether this caller has no cgroup to enforce limits with, so that runs must give those layers up by name.
/// Any other reason why the plainest run fails is a failure of the whole suite.
pub(crate) fn degraded() -> bool {
    static DEGRADED: OnceLock<bool> = OnceLock::new();
    *DEGRADED.get_or_init(|| {
        let run = Jail::strictly().run(["/usr/bin/true"]);
        run.record();
        match run.code {
            Some(0) => false,
            Some(125) if run.err().contains("cgroup") => {
                Jail::strictly().args(["--allow-degraded", "cgroup"]).run(["/usr/bin/true"]).record();
                true
            }
            _ => panic!("the plainest run fails here: {run}"),
        }
    })
}

/// Copies a program, in a process of its own: were the new file open for writing here, a child that another test
/// starts at this moment would hold it open too, and executing it would fail with ETXTBSY.
pub(crate) fn copy_program(from: &Path, to: &Path) {
    assert!(Command::new("/bin/cp").arg(from).arg(to).status().unwrap().success());
}

/// A folder for one run's files, under TMPDIR, that everybody may enter (so that the uid of a jail started by root
/// depends on nothing but what `jail` does about it).
pub(crate) fn folder() -> TempDir {
    let folder = tempfile::Builder::new().prefix("jailtest-").tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// Runs the probe outside of any sandbox, as the positive control, and gives its answer.
#[track_caller]
pub(crate) fn outside<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> String {
    let output = Command::new(probe_binary()).args(args).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "the probe failed outside: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A run to be made.
pub(crate) struct Jail {
    folder: TempDir,
    workspace: PathBuf,
    options: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    stdin: Vec<u8>,
    cwd: Option<PathBuf>,
    report: bool,
    launcher: Vec<OsString>,
}

impl Jail {
    /// A run with the default profile in a fresh workspace that holds a copy of the probe. Where this caller has no
    /// cgroup, the three cgroup layers are given up.
    pub(crate) fn new() -> Self {
        let jail = Self::strictly();
        if degraded() { jail.args(["--allow-degraded", "cgroup"]) } else { jail }
    }

    /// The same, but never giving up a layer.
    pub(crate) fn strictly() -> Self {
        make_room();
        let folder = folder();
        let workspace = folder.path().join("work");
        fs::create_dir(&workspace).unwrap();
        copy_program(&probe_binary(), &workspace.join("probe"));
        // The same tests for another isolation: see `hosts::landlock`.
        let isolation = env::var_os("JAIL_TESTS_ISOLATION").map(|name| ["--isolation".into(), name]);
        Self {
            folder,
            workspace,
            options: isolation.into_iter().flatten().collect(),
            variables: Vec::new(),
            stdin: Vec::new(),
            cwd: None,
            report: true,
            launcher: Vec::new(),
        }
    }

    /// One more option of `jail`.
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.options.push(arg.as_ref().to_owned());
        self
    }

    /// More options of `jail`.
    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.options.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// A variable in the caller's environment.
    pub(crate) fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.variables.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Bytes on the standard input, which is a pipe.
    pub(crate) fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// The caller's working directory, when it is not the workspace.
    pub(crate) fn cwd(mut self, path: impl Into<PathBuf>) -> Self {
        self.cwd = Some(path.into());
        self
    }

    /// Without `--report`, for tests about it or about `jail` ending before there is one.
    pub(crate) fn without_report(mut self) -> Self {
        self.report = false;
        self
    }

    /// Starts `jail` through another program, which gets its command line as its last arguments.
    pub(crate) fn through<S: AsRef<OsStr>>(mut self, launcher: impl IntoIterator<Item = S>) -> Self {
        self.launcher = launcher.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        self
    }

    /// A file in the workspace.
    pub(crate) fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        fs::write(self.workspace.join(name), content).unwrap();
        self
    }

    /// The folder that is the run's workspace.
    pub(crate) fn workspace(&self) -> &Path {
        &self.workspace
    }

    /// Lets everybody write beside the workspace, for a launcher that becomes somebody else.
    pub(crate) fn open_to_all(self) -> Self {
        fs::set_permissions(self.folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        self
    }

    /// A path beside the workspace: on the host, not in the view.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The probe inside.
    pub(crate) fn probe_path(&self) -> PathBuf {
        self.workspace.join("probe")
    }

    /// Runs the probe with a verb and its arguments.
    #[track_caller]
    pub(crate) fn probe<S: AsRef<OsStr>>(self, args: impl IntoIterator<Item = S>) -> Run {
        let command = self.probe_command(args);
        self.run(command)
    }

    /// Starts the probe with a verb and its arguments.
    pub(crate) fn start_probe<S: AsRef<OsStr>>(self, args: impl IntoIterator<Item = S>) -> Live {
        let command = self.probe_command(args);
        self.start(command)
    }

    fn probe_command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Vec<OsString> {
        let mut command = vec![self.probe_path().into_os_string()];
        command.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        command
    }

    /// Runs a command to its end.
    #[track_caller]
    pub(crate) fn run<S: AsRef<OsStr>>(self, command: impl IntoIterator<Item = S>) -> Run {
        self.start(command).wait()
    }

    /// Starts a command, with readers on its outputs.
    pub(crate) fn start<S: AsRef<OsStr>>(self, command: impl IntoIterator<Item = S>) -> Live {
        let mut live = self.start_unread(command);
        live.read();
        live
    }

    /// Starts a command whose outputs nobody reads yet.
    pub(crate) fn start_unread<S: AsRef<OsStr>>(self, command: impl IntoIterator<Item = S>) -> Live {
        let report = self.folder.path().join("report.json");
        let mut line = self.launcher.clone();
        line.push(jail_binary().into());
        if self.report {
            line.extend([OsString::from("--report"), report.clone().into()]);
            if slowness() > 1 {
                // What the profile allows is too little in a guest whose host is busy: the guest takes the time
                // that it waits for a processor for time that it used. What a test asks for itself comes behind.
                line.extend(
                    ["--cpu-time".to_owned(), seconds(10), "--timeout".to_owned(), seconds(30)].map(OsString::from),
                );
            }
        }
        line.extend(self.options.iter().cloned());
        line.extend(command.into_iter().map(|arg| arg.as_ref().to_owned()));
        let before = Before::new(self.folder.path(), &self.workspace);
        let mut child = Command::new(&line[0])
            .args(&line[1..])
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.cwd.as_ref().unwrap_or(&self.workspace))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let bytes = self.stdin.clone();
        // In a thread of its own, because the program may never read; it ends when the pipe's other end is closed.
        thread::spawn(move || drop(input.write_all(&bytes)));
        Live { jail: self, line, child, report, before, started: Instant::now(), streams: None }
    }
}

/// A run that goes on.
pub(crate) struct Live {
    jail: Jail,
    line: Vec<OsString>,
    child: Child,
    report: PathBuf,
    before: Before,
    started: Instant,
    streams: Option<[Stream; 2]>,
}

impl Live {
    /// Begins to read the outputs.
    pub(crate) fn read(&mut self) {
        // A stream that the test took for itself is empty here.
        let stdout = self.child.stdout.take().map_or_else(|| Stream::new(io::empty()), Stream::new);
        let stderr = self.child.stderr.take().map_or_else(|| Stream::new(io::empty()), Stream::new);
        self.streams = Some([stdout, stderr]);
    }

    /// The standard output, of a run whose outputs nobody reads yet; dropping it closes the reader's end.
    pub(crate) fn take_stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().unwrap()
    }

    /// The process of `jail` itself.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    /// Waits until the program inside said `ready`.
    #[track_caller]
    pub(crate) fn wait_ready(&mut self) {
        self.wait_for(b"ready\n");
    }

    /// Waits until the program inside wrote these bytes.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, bytes: &[u8]) {
        let [stdout, stderr] = self.streams.as_mut().expect("call read() first");
        let end = Instant::now() + deadline();
        while !stdout.so_far().windows(bytes.len()).any(|window| window == bytes) {
            let gone = self.child.try_wait().unwrap();
            if gone.is_some() || Instant::now() > end {
                let said = String::from_utf8_lossy(stderr.so_far()).into_owned();
                panic!("the program never got ready; jail: {gone:?}, stderr: {said}");
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a signal to `jail` itself.
    pub(crate) fn signal(&self, signal: Signal) {
        nix::sys::signal::kill(self.pid(), signal).unwrap();
    }

    /// Host process ids of the run, `jail` itself not among them: init and the payload's tree.
    pub(crate) fn inside(&self) -> Vec<i32> {
        let own = self.pid().as_raw();
        leftovers::processes(self.jail.folder.path()).into_iter().filter(|pid| *pid != own).collect()
    }

    /// Whether `jail` is still there.
    pub(crate) fn running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for the end of `jail`, and gives up (with what was seen) at the deadline.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Run {
        if self.streams.is_none() {
            self.read();
        }
        let end = self.started + deadline();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break Some(status);
            }
            if Instant::now() > end {
                break None;
            }
            thread::sleep(Duration::from_millis(2));
        };
        let elapsed = self.started.elapsed();
        if status.is_none() {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
        let [mut stdout, mut stderr] = self.streams.take().unwrap();
        // Output that is still held open once jail is gone is a finding of its own: see `held`.
        let held = [stdout.finish(), stderr.finish()].contains(&false);
        let report = fs::read(&self.report).ok().filter(|text| !text.is_empty());
        let report: Option<Value> = report.map(|text| serde_json::from_slice(&text).expect("the report is no JSON"));
        if let Some(report) = &report {
            validate(report);
        }
        let run = Run {
            code: status.and_then(|status| status.code()),
            signal: status.and_then(|status| status.signal()),
            stdout: stdout.bytes,
            stderr: stderr.bytes,
            report,
            elapsed,
            held,
            line: self.line,
            before: self.before,
            jail: self.jail,
        };
        assert!(status.is_some(), "jail did not end within {:?}: {run}", deadline());
        run
    }
}

/// One output, read by a thread.
struct Stream {
    pieces: mpsc::Receiver<Vec<u8>>,
    bytes: Vec<u8>,
}

impl Stream {
    fn new(mut from: impl Read + Send + 'static) -> Self {
        let (sender, pieces) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { pieces, bytes: Vec::new() }
    }

    fn so_far(&mut self) -> &[u8] {
        self.bytes.extend(self.pieces.try_iter().flatten());
        &self.bytes
    }

    /// Reads to the end; false when somebody still held the other end a second later.
    fn finish(&mut self) -> bool {
        let end = Instant::now() + room(Duration::from_secs(1));
        loop {
            match self.pieces.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(piece) => self.bytes.extend(piece),
                Err(mpsc::RecvTimeoutError::Disconnected) => return true,
                Err(mpsc::RecvTimeoutError::Timeout) => return false,
            }
        }
    }
}

/// A run that ended.
pub(crate) struct Run {
    /// Exit code of `jail`; none when a signal ended it.
    pub(crate) code: Option<i32>,
    /// The signal that ended `jail` itself.
    pub(crate) signal: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    report: Option<Value>,
    /// From start to exit of `jail`.
    pub(crate) elapsed: Duration,
    /// Whether somebody still held stdout or stderr after `jail` had ended.
    pub(crate) held: bool,
    line: Vec<OsString>,
    before: Before,
    jail: Jail,
}

impl Run {
    /// Adds the report to the file that `JAIL_TESTS_POSTURE` names, for scripts/kernels.
    fn record(&self) {
        let (Some(path), Some(report)) = (env::var_os("JAIL_TESTS_POSTURE"), &self.report) else { return };
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "{report}").unwrap();
    }

    /// Stdout as text, trimmed.
    pub(crate) fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }

    /// Stderr as text.
    pub(crate) fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// What the probe said. A run in which it did not get to say it fails the test.
    #[track_caller]
    pub(crate) fn answer(&self) -> String {
        assert_eq!(self.code, Some(0), "the probe did not answer: {self}");
        self.out()
    }

    /// The report.
    #[track_caller]
    pub(crate) fn report(&self) -> &Value {
        self.report.as_ref().unwrap_or_else(|| panic!("there is no report: {self}"))
    }

    /// A value of the report by its JSON pointer; `Null` when absent.
    #[track_caller]
    pub(crate) fn field(&self, pointer: &str) -> &Value {
        self.report().pointer(pointer).unwrap_or(&Value::Null)
    }

    /// A number of the report by its JSON pointer.
    #[track_caller]
    pub(crate) fn number(&self, pointer: &str) -> u64 {
        self.field(pointer).as_u64().unwrap_or_else(|| panic!("{pointer} is no number: {self}"))
    }

    /// The verdict's kind.
    #[track_caller]
    pub(crate) fn verdict(&self) -> &str {
        self.field("/verdict/kind").as_str().unwrap()
    }

    /// Whether a limit is listed as reached.
    #[track_caller]
    pub(crate) fn hit(&self, limit: &str) -> bool {
        self.field("/limits_hit").as_array().unwrap().iter().any(|hit| hit["limit"] == limit)
    }

    /// The run's workspace, as it is now.
    pub(crate) fn workspace(&self) -> &Path {
        &self.jail.workspace
    }

    /// What the run left behind, waiting up to a second for it to go. Empty is right.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let run_id = self.report.as_ref().and_then(|report| report["run_id"].as_str());
        let mut found = self.before.leftovers(run_id);
        if self.held {
            found.push("somebody holds the output".to_owned());
        }
        found
    }

    /// Fails the test when anything was left behind.
    #[track_caller]
    pub(crate) fn assert_clean(&self) {
        let found = self.leftovers();
        assert!(found.is_empty(), "left behind: {found:#?} by {self}");
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clip = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(4000)]).into_owned();
        let line: Vec<_> = self.line.iter().map(|word| word.to_string_lossy()).collect();
        writeln!(f, "{}", line.join(" "))?;
        writeln!(f, "code {:?} signal {:?} after {:?}", self.code, self.signal, self.elapsed)?;
        writeln!(f, "stdout ({} bytes): {}", self.stdout.len(), clip(&self.stdout))?;
        writeln!(f, "stderr ({} bytes): {}", self.stderr.len(), clip(&self.stderr))?;
        match &self.report {
            Some(report) => write!(f, "report: {report:#}"),
            None => write!(f, "no report"),
        }
    }
}

/// Holds a report against the schema that is shipped.
#[track_caller]
pub(crate) fn validate(report: &Value) {
    static SCHEMA: OnceLock<jsonschema::Validator> = OnceLock::new();
    let validator = SCHEMA.get_or_init(|| {
        let schema: Value = serde_json::from_str(include_str!("../../schema/report-1.json")).unwrap();
        jsonschema::validator_for(&schema).unwrap()
    });
    let errors: Vec<String> =
        validator.iter_errors(report).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "the report breaks its schema: {errors:#?}\n{report:#}");
}
