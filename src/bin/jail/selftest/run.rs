//! One run of `jail`, as a user would start it.
//!
//! For: starting it in a workspace of its own, following it to its end or to a deadline, and finding what it left.
//! Also the positive control: the inside half, without a sandbox.
//! Not for: what is run or what it means.
//! Runs in: the process of `jail selftest`; `jail run` is its child.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use jail::Report;
use jail::policy::Workspace;

use super::judge::{Outcome, Seen, Step, steps};
use super::stage::{SECRET, World};
use super::{Case, Control, INSIDE, Work};

/// Wall time of a run, unless the profile's own is shorter or the case says another.
const WALL: Duration = Duration::from_secs(30);
/// When `jail` itself is given up.
const DEADLINE: Duration = Duration::from_secs(45);
/// When a positive control is.
const CONTROL_DEADLINE: Duration = Duration::from_secs(10);
/// Output that is kept; all of it is counted.
const KEEP: usize = 256 << 10;

/// Starts runs, and can end them all.
#[derive(Debug)]
pub(super) struct Runner<'a> {
    pub(super) world: &'a World,
    children: Mutex<Vec<u32>>,
    cancelled: AtomicBool,
    count: AtomicU32,
    supervisors: Mutex<Vec<u32>>,
}

/// A run that goes on.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) child: Child,
    pub(super) token: String,
    work: PathBuf,
    report: PathBuf,
    started: Instant,
    slow: u32,
    stdout: Receiver<Vec<u8>>,
    stderr: Receiver<Vec<u8>>,
    said: Vec<u8>,
    total: u64,
    complained: Vec<u8>,
    /// Most memory of the supervisor, KiB.
    kib: u64,
}

/// A run that is over.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) token: String,
    pub(super) code: Option<i32>,
    pub(super) report: Option<Report>,
    pub(super) stdout: Vec<u8>,
    pub(super) total: u64,
    pub(super) stderr: String,
    pub(super) elapsed: Duration,
    pub(super) kib: u64,
    pub(super) leftovers: Vec<String>,
    /// `jail` did not end by itself.
    pub(super) hung: bool,
}

impl Run {
    /// The report, or why there is none.
    pub(super) fn report(&self) -> Result<&Report, Outcome> {
        if self.hung {
            return Err(Outcome::Failed(format!("jail did not end within {} s", self.elapsed.as_secs())));
        }
        self.report.as_ref().ok_or_else(|| {
            let said = self.stderr.lines().next().unwrap_or_default();
            Outcome::Failed(format!("jail left no report (exit code {:?}): {said}", self.code))
        })
    }
}

impl<'a> Runner<'a> {
    /// The runs are numbered from `first` on.
    pub(super) const fn new(world: &'a World, first: u32) -> Self {
        Self {
            world,
            children: Mutex::new(Vec::new()),
            cancelled: AtomicBool::new(false),
            count: AtomicU32::new(first),
            supervisors: Mutex::new(Vec::new()),
        }
    }

    /// Ends every run, and starts no more.
    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        let children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        for pid in children.iter() {
            // One that ended meanwhile is not reaped yet: the list is kept under the same lock.
            let _gone = kill(to_pid(*pid), Signal::SIGTERM);
        }
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    /// The process ids of every `jail` that was started.
    pub(super) fn supervisors(&self) -> Vec<u32> {
        self.supervisors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One case from its control to its outcome.
    pub(super) fn case(&self, case: &Case) -> (Outcome, Option<Report>) {
        if let Some(layer) = case.needs.filter(|layer| !self.world.has(*layer)) {
            return (Outcome::not_judged(format!("{layer} was given up")), None);
        }
        match case.work {
            Work::Drive(drive) => (drive(self.world, self), None),
            Work::Program(command) => super::works::program(self, command),
            Work::Attempt(_) => match self.attempt(case) {
                Ok(seen) => {
                    let outcome = (case.judge)(self.world, &seen);
                    let outcome = match (outcome, seen.leftovers.first()) {
                        (Outcome::Held(_) | Outcome::Granted(_), Some(left)) => {
                            Outcome::Failed(format!("left behind: {left}"))
                        }
                        (outcome, _) => outcome,
                    };
                    (outcome, Some(seen.report))
                }
                Err(outcome) => (outcome, None),
            },
        }
    }

    fn attempt(&self, case: &Case) -> Result<Seen, Outcome> {
        let control = match case.control {
            Control::Outside => self.outside(case.id),
            Control::None => Err("has no positive control".to_owned()),
        };
        let flags = (case.flags)(self.world);
        let run = self.inside(case.id, &flags, Stdio::null())?.finish(self);
        let report = run.report()?.clone();
        let (inside, ended) = steps(&run.token, &run.stdout);
        Ok(Seen {
            control,
            inside,
            ended,
            report,
            elapsed_ms: u64::try_from(run.elapsed.as_millis()).unwrap_or(u64::MAX),
            output_bytes: run.total,
            supervisor_kib: run.kib,
            leftovers: run.leftovers,
        })
    }

    /// Starts the inside half of a case.
    pub(super) fn inside(&self, id: &str, flags: &[String], stdin: Stdio) -> Result<Live, Outcome> {
        self.start(flags, stdin, |token, work, program| {
            let mut command: Vec<OsString> = vec![program.into(), INSIDE.into(), token.into(), id.into()];
            command.extend(self.world.facts(false).into_iter().map(OsString::from));
            command.push(format!("work={}", work.display()).into());
            command.push(format!("program={}", program.display()).into());
            command
        })
    }

    /// Starts a command, which is told its token, its workspace and where this program is inside.
    pub(super) fn start(
        &self,
        flags: &[String],
        stdin: Stdio,
        command: impl FnOnce(&str, &Path, &Path) -> Vec<OsString>,
    ) -> Result<Live, Outcome> {
        let number = self.count.fetch_add(1, Ordering::SeqCst);
        let token = format!("{}-{number}-", self.world.token);
        let failed = |error: io::Error| Outcome::Failed(format!("cannot be started: {}", jail::describe(&error)));
        let work = self.world.at("work").join(number.to_string());
        let (shared, own) = (self.world.at("bin/jail"), work.join("jail"));
        fs::create_dir(&work).map_err(failed)?;
        fs::hard_link(&shared, &own).map_err(failed)?;
        // As somebody may have planted them there before.
        symlink(self.world.at("outside/secret"), work.join("planted")).map_err(failed)?;
        symlink(self.world.at("outside"), work.join("planted-directory")).map_err(failed)?;
        let report = self.world.at("reports").join(format!("{number}.json"));
        let wall = self.world.policy.limits.wall.value.map_or(WALL, |wall| Duration::from_millis(wall.0).min(WALL));
        let wall = wall * self.world.slow;
        let mut line = Command::new(&self.world.jail);
        line.arg("run").arg("--profile").arg(&self.world.profile).arg("--report").arg(&report);
        line.arg("--timeout").arg(format!("{}ms", wall.as_millis()));
        if let Some(cpu) = self.world.policy.limits.cpu_time.value {
            line.arg("--cpu-time").arg(format!("{}ms", cpu.0 * u64::from(self.world.slow)));
        }
        line.args(self.world.no_systemd.then_some("--no-systemd"));
        let program = if self.world.workspace() == Workspace::None {
            line.arg("--rx").arg(&shared);
            shared
        } else {
            line.arg("--workspace").arg(&work);
            own
        };
        line.args(flags).arg("--").args(command(&token, &work, &program));
        line.env(SECRET, &self.world.secret).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Signals of a terminal come to the battery alone, which passes them on.
        line.process_group(0).current_dir(&work);
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_cancelled() {
            return Err(Outcome::not_judged("interrupted"));
        }
        let mut child = line.spawn().map_err(failed)?;
        children.push(child.id());
        drop(children);
        self.supervisors.lock().unwrap_or_else(PoisonError::into_inner).push(child.id());
        let (stdout, stderr) = (reader(child.stdout.take()), reader(child.stderr.take()));
        Ok(Live {
            child,
            token,
            work,
            report,
            started: Instant::now(),
            slow: self.world.slow,
            stdout,
            stderr,
            said: Vec::new(),
            total: 0,
            complained: Vec::new(),
            kib: 0,
        })
    }

    /// The inside half of a case without a sandbox: its steps, or why there are none.
    fn outside(&self, id: &str) -> Result<Vec<Step>, String> {
        let number = self.count.fetch_add(1, Ordering::SeqCst);
        let token = format!("{}-{number}-", self.world.token);
        let work = self.world.at("work").join(number.to_string());
        let describe = |error: io::Error| format!("the positive control cannot be started: {}", jail::describe(&error));
        fs::create_dir(&work).map_err(describe)?;
        let program = self.world.at("bin/jail");
        symlink(self.world.at("outside/secret"), work.join("planted")).map_err(describe)?;
        symlink(self.world.at("control"), work.join("planted-directory")).map_err(describe)?;
        let mut command = Command::new(&program);
        command.args([INSIDE, &token, id]).args(self.world.facts(true));
        command.arg(format!("work={}", work.display())).arg(format!("program={}", program.display()));
        command.env(SECRET, &self.world.secret).current_dir(&work).process_group(0);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().map_err(describe)?;
        let output = reader(child.stdout.take());
        let end = Instant::now() + CONTROL_DEADLINE * self.world.slow;
        let mut said = Vec::new();
        loop {
            match output.recv_timeout(Duration::from_millis(50)) {
                Ok(bytes) => said.extend(bytes),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
            }
            if Instant::now() > end || self.is_cancelled() {
                // The whole group: a helper may hold the pipe.
                let _gone = killpg(to_pid(child.id()), Signal::SIGKILL);
                let _reaped = child.wait();
                return Err("the positive control did not end".to_owned());
            }
        }
        let _status = child.wait();
        Ok(steps(&token, &said).0)
    }

    fn forget(&self, pid: u32) {
        self.children.lock().unwrap_or_else(PoisonError::into_inner).retain(|other| *other != pid);
    }
}

/// A process id for kill(2).
fn to_pid(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX))
}

impl Live {
    /// Takes in what was printed so far.
    pub(super) fn read(&mut self) -> &[u8] {
        for bytes in self.stdout.try_iter() {
            self.total += bytes.len() as u64;
            let room = KEEP.saturating_sub(self.said.len()).min(bytes.len());
            self.said.extend(bytes.into_iter().take(room));
        }
        self.complained.extend(self.stderr.try_iter().flatten());
        self.complained.truncate(KEEP);
        &self.said
    }

    /// Waits until these bytes were printed; false when the run ended or nothing came for too long.
    pub(super) fn wait_for(&mut self, text: &str) -> bool {
        let end = Instant::now() + CONTROL_DEADLINE * self.slow;
        loop {
            if String::from_utf8_lossy(self.read()).contains(text) {
                return true;
            }
            if Instant::now() > end || !matches!(self.child.try_wait(), Ok(None)) {
                return String::from_utf8_lossy(self.read()).contains(text);
            }
            thread::sleep(Duration::from_millis(3));
        }
    }

    /// Reads no more: the reader of the pipe ends, and the pipe with it.
    pub(super) fn close(&mut self) {
        self.stdout = channel().1;
    }

    pub(super) fn signal(&self, signal: Signal) {
        // It is not reaped yet, so the number is still its own.
        let _gone = kill(to_pid(self.child.id()), signal);
    }

    /// Follows the run to its end.
    pub(super) fn finish(mut self, runner: &Runner<'_>) -> Run {
        let end = self.started + DEADLINE * runner.world.slow;
        let mut hung = false;
        let status = loop {
            self.kib = self.kib.max(peak(self.child.id()));
            self.read();
            match self.child.try_wait() {
                Ok(None) if !hung && Instant::now() > end => {
                    hung = true;
                    let _gone = self.child.kill();
                }
                Ok(None) => thread::sleep(Duration::from_millis(3)),
                Ok(Some(status)) => break Some(status),
                Err(_reaped) => break None,
            }
        };
        let elapsed = self.started.elapsed();
        runner.forget(self.child.id());
        let mut leftovers = leftovers(&self.token, &self.work);
        // What still holds a pipe of a `jail` that is gone is something left behind too.
        let drained = Instant::now() + Duration::from_secs(2);
        while !(is_closed(&self.stdout, &mut self.said, &mut self.total) && Instant::now() < drained) {
            if Instant::now() > drained {
                leftovers.push("an open end of its output".to_owned());
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        while let Ok(bytes) = self.stderr.recv_timeout(Duration::from_millis(100)) {
            self.complained.extend(bytes);
        }
        let report = fs::read(&self.report).ok().and_then(|text| serde_json::from_slice(&text).ok());
        Run {
            token: self.token,
            code: status.and_then(|status| status.code()),
            report,
            stdout: self.said,
            total: self.total,
            stderr: String::from_utf8_lossy(&self.complained).into_owned(),
            elapsed,
            kib: self.kib,
            leftovers,
            hung,
        }
    }
}

/// Takes in the rest, and says whether the other end is closed.
fn is_closed(from: &Receiver<Vec<u8>>, said: &mut Vec<u8>, total: &mut u64) -> bool {
    loop {
        match from.try_recv() {
            Ok(bytes) => {
                *total += bytes.len() as u64;
                let room = KEEP.saturating_sub(said.len()).min(bytes.len());
                said.extend(bytes.into_iter().take(room));
            }
            Err(std::sync::mpsc::TryRecvError::Empty) => return false,
            Err(std::sync::mpsc::TryRecvError::Disconnected) => return true,
        }
    }
}

/// A pipe, read by a thread that ends with it.
fn reader(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let Some(mut pipe) = pipe else { return };
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = pipe.read(&mut buffer) {
            if sender.send(buffer.get(..count).unwrap_or_default().to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// The most memory that a process had, KiB; 0 when it is gone.
fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Processes of a run that are still there.
pub(super) fn leftovers(token: &str, work: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let path = entry.path();
        let line = fs::read(path.join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        // A process that took another name still has its program and its directory.
        let link = |name: &str| fs::read_link(path.join(name)).unwrap_or_default();
        let links = [link("exe"), link("cwd")];
        let ours = |link: &PathBuf| link.starts_with(work) || link.to_string_lossy().contains(token);
        if line.contains(token) || links.iter().any(ours) {
            found.push(format!("process {pid} ({})", line.chars().take(60).collect::<String>()));
        }
    }
    found
}
