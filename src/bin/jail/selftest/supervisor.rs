//! Attempts on the supervisor and on the truth of its report.
//!
//! For: forged reports, odd ends, odd output, a supervisor that is killed or cancelled, and what is left of it all.
//! Not for: limits (`resources`).
//! Runs in: the process of `jail selftest`, which does to `jail run` what its callers could.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, raise};
use nix::unistd::getpid;

use jail::policy::Workspace;
use jail::report::VerdictKind;

use super::inside::Inside;
use super::judge::{Outcome, check, word};
use super::run::{Live, Run, Runner, leftovers};
use super::stage::World;
use super::{Case, Class, Lane};

const SUPERVISOR: Class = Class::Supervisor;

/// How long what is being killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) const CASES: &[Case] = &[
    Case::attempt(
        "sv-signal",
        SUPERVISOR,
        "a program that a signal kills is no success, and no memory limit",
        |i| {
            i.step("kill", kill(getpid(), Signal::SIGKILL));
        },
        |_, s| {
            let exit = s.report.exit.and_then(|exit| exit.signal);
            s.ended_as(VerdictKind::Signaled)
                .and(|| {
                    check(exit == Some(9) && s.report.exit_code == 137, || {
                        format!("{exit:?}, exit code {}", s.report.exit_code)
                    })
                })
                .and(|| Outcome::held("SIGKILL, exit code 137"))
        },
    )
    .inside_only(),
    Case::attempt("sv-forged-report", SUPERVISOR, "print a report of its own, on every descriptor", forge, |_, s| {
        s.ended_as(VerdictKind::Signaled)
            .and(|| check(s.report.exit.and_then(|exit| exit.signal) == Some(6), || s.ending()))
            .and(|| Outcome::held("the report is the truth: SIGABRT"))
    })
    .inside_only(),
    Case::drive("sv-exit-codes", SUPERVISOR, "exit with the codes that jail uses itself", exit_codes),
    Case::drive("sv-odd-output", SUPERVISOR, "output of all bytes, without lines: it comes out unchanged", odd_output),
    Case::drive("sv-not-found", SUPERVISOR, "programs that are not there, or none", not_found),
    Case::drive("sv-bad-values", SUPERVISOR, "absurd values are refused, and nothing runs", bad_values),
    Case::drive("sv-many", SUPERVISOR, "twelve runs at once: each has its own end", many),
    Case::drive("sv-cancel", SUPERVISOR, "SIGTERM to jail: everything inside ends, and there is a report", cancel),
    Case::drive("sv-kill", SUPERVISOR, "SIGKILL to jail: everything inside ends", |_, runner| {
        killed(runner, "tree", Duration::from_millis(100))
    }),
    Case::drive("sv-kill-bomb", SUPERVISOR, "the same in the middle of a fork bomb", |_, runner| {
        killed(runner, "bomb", Duration::from_millis(700))
    })
    .lane(Lane::Alone),
    Case::drive("sv-stopped", SUPERVISOR, "stop jail for a while (SIGSTOP): the limit holds afterwards", stopped),
    Case::drive("sv-closed-reader", SUPERVISOR, "nobody reads the output any more: jail ends", closed_reader),
    Case::drive("sv-processes", SUPERVISOR, "after all of this: no process is left", no_processes).lane(Lane::Last),
    Case::drive("sv-mounts", SUPERVISOR, "after all of this: no mount is left", |w, _| {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let left = mounts.lines().find(|line| line.contains(&w.token));
        check(!mounts.is_empty() && left.is_none(), || format!("{left:?}")).and(|| Outcome::held("none"))
    })
    .lane(Lane::Last),
    Case::drive("sv-groups", SUPERVISOR, "after all of this: no cgroup is left", no_groups).lane(Lane::Last),
];

/// The inside halves of the drives, by name.
pub(super) fn helper(i: &Inside, name: &str) -> bool {
    match name {
        "tree" => tree(i),
        "bomb" => {
            i.note("ready", "");
            super::resources::refork_bomb(i);
        }
        "bytes" => bytes(),
        "flood" => loop {
            if io::stdout().write_all(&[b'x'; 4096]).is_err() {
                break;
            }
        },
        _ => return false,
    }
    true
}

fn tree(i: &Inside) {
    let children: Vec<_> = (0..3).filter_map(|_| i.sleeper().ok()).collect();
    let daemon = i.helper("leave").stdin(Stdio::null()).stdout(Stdio::null()).status();
    i.say("ready", daemon.map(|_| children.len()));
    thread::sleep(Duration::from_secs(30));
}

/// Every byte, in every position of a line, and no end of a line.
fn pattern() -> Vec<u8> {
    (0..=255_u8).cycle().take(100_000).filter(|byte| *byte != b'\n').collect()
}

fn bytes() {
    // What does not get out is missed by the host half.
    let _written = io::stdout().write_all(&pattern());
}

fn forge(i: &Inside) {
    let text = r#"{"schema":"jail.report/1","verdict":{"kind":"ok","evidence":[]},"exit_code":0}"#;
    i.note("forged", text);
    for fd in 0..64 {
        // Whatever can be opened for writing gets it.
        if let Ok(mut file) = fs::OpenOptions::new().write(true).open(format!("/proc/self/fd/{fd}")) {
            let _written = file.write_all(text.as_bytes());
        }
    }
    i.step("abort", raise(Signal::SIGABRT));
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// A run of that command, to its end.
fn run(runner: &Runner<'_>, flags: &[&str], command: &[&str]) -> Result<Run, Outcome> {
    let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
    Ok(runner.start(&flags, Stdio::null(), |_, _, _| words(command))?.finish(runner))
}

fn exit_codes(_: &World, runner: &Runner<'_>) -> Outcome {
    for code in ["124", "125", "126", "127", "137", "153", "159", "255"] {
        let run = match run(runner, &[], &["sh", "-c", &format!("exit {code}")]) {
            Ok(run) => run,
            Err(outcome) => return outcome,
        };
        let report = match run.report() {
            Ok(report) => report,
            Err(outcome) => return outcome,
        };
        if report.verdict.kind == VerdictKind::ExecFailed {
            return Outcome::not_judged("sh is not in the view");
        }
        let said = report.exit.and_then(|exit| exit.code).map(|code| code.to_string());
        if report.verdict.kind != VerdictKind::NonzeroExit || said.as_deref() != Some(code) {
            return Outcome::failed(format!("exit {code} is reported as {} ({said:?})", word(report.verdict.kind)));
        }
    }
    Outcome::held("each is reported as the program's own")
}

fn odd_output(_: &World, runner: &Runner<'_>) -> Outcome {
    let run = match runner.inside("bytes", &[], Stdio::null()) {
        Ok(live) => live.finish(runner),
        Err(outcome) => return outcome,
    };
    check(run.stdout == pattern(), || format!("{} bytes came, and differ", run.stdout.len()))
        .and(|| Outcome::held(format!("{} bytes", run.stdout.len())))
}

fn not_found(_: &World, runner: &Runner<'_>) -> Outcome {
    for (command, code) in [("/no/such/program", 127), ("--version", 127), ("/usr", 126)] {
        let run = match run(runner, &[], &[command]) {
            Ok(run) => run,
            Err(outcome) => return outcome,
        };
        let kind = run.report.as_ref().map(|report| report.verdict.kind);
        if run.code != Some(code) || kind != Some(VerdictKind::ExecFailed) {
            return Outcome::failed(format!("{command}: exit code {:?}, verdict {kind:?}", run.code));
        }
    }
    Outcome::held("exec_failed, exit codes 126 and 127")
}

fn bad_values(w: &World, runner: &Runner<'_>) -> Outcome {
    const BAD: [&[&str]; 11] = [
        &["--memory", "99999999999999G"],
        &["--memory", "0B"],
        &["--memory", "512"],
        &["--pids", "0"],
        &["--pids", "-1"],
        &["--timeout", "0s"],
        &["--timeout", "1 year"],
        &["--cpus", "0"],
        &["--tmpfs", "/proc/x:size=1M"],
        &["--ro", "/no/such/place"],
        &["--syscalls-allow", "mount"],
    ];
    let whole_machine: &[&str] = &["--workspace", "/"];
    let shown = w.workspace() != Workspace::None;
    for flags in BAD.into_iter().chain(shown.then_some(whole_machine)) {
        let run = match run(runner, flags, &["/bin/echo", "it ran"]) {
            Ok(run) => run,
            Err(outcome) => return outcome,
        };
        if run.code != Some(125) || run.total != 0 || run.stderr.trim().is_empty() {
            return Outcome::failed(format!("{}: exit code {:?}", flags.join(" "), run.code));
        }
    }
    Outcome::held(format!("{} of them: exit code 125 and a message", BAD.len()))
}

fn many(_: &World, runner: &Runner<'_>) -> Outcome {
    let mut lives = Vec::new();
    for code in 1..=12 {
        let script = format!("sleep 0.1; exit {code}");
        match runner.start(&[], Stdio::null(), |_, _, _| words(&["sh", "-c", &script])) {
            Ok(live) => lives.push((code, live)),
            Err(outcome) => return outcome,
        }
    }
    let ends: Vec<(i32, Run)> = lives.into_iter().map(|(code, live)| (code, live.finish(runner))).collect();
    let exec_failed =
        |run: &Run| run.report.as_ref().is_some_and(|report| report.verdict.kind == VerdictKind::ExecFailed);
    if ends.iter().any(|(_, run)| exec_failed(run)) {
        return Outcome::not_judged("sh is not in the view");
    }
    let wrong = ends.iter().find(|(code, run)| run.code != Some(*code) || !run.leftovers.is_empty());
    check(wrong.is_none(), || format!("{:?}", wrong.map(|(code, run)| (code, run.code, &run.leftovers))))
        .and(|| Outcome::held("twelve exit codes"))
}

/// A run with processes in it.
fn lively(runner: &Runner<'_>, name: &str) -> Result<Live, Outcome> {
    let pids = super::resources::pids(runner.world);
    let mut live = runner.inside(name, &pids, Stdio::null())?;
    if live.wait_for(" ready ") {
        return Ok(live);
    }
    let run = live.finish(runner);
    Err(Outcome::failed(format!("the program inside did not begin: {}", run.stderr.trim())))
}

fn cancel(_: &World, runner: &Runner<'_>) -> Outcome {
    let live = match lively(runner, "tree") {
        Ok(live) => live,
        Err(outcome) => return outcome,
    };
    live.signal(Signal::SIGTERM);
    let run = live.finish(runner);
    let kind = run.report.as_ref().map(|report| report.verdict.kind);
    check(kind == Some(VerdictKind::Cancelled) && run.code == Some(143), || {
        format!("{kind:?}, exit code {:?}", run.code)
    })
    .and(|| check(run.leftovers.is_empty(), || run.leftovers.join(", ")))
    .and(|| Outcome::held("cancelled, exit code 143, nothing is left"))
}

fn killed(runner: &Runner<'_>, name: &str, after: Duration) -> Outcome {
    let live = match lively(runner, name) {
        Ok(live) => live,
        Err(outcome) => return outcome,
    };
    thread::sleep(after);
    let before = leftovers(&live.token, Path::new("/nowhere")).len();
    let token = live.token.clone();
    live.signal(Signal::SIGKILL);
    // What the killed one left in the moment of its end is not yet a finding: the kernel is ending it.
    drop(live.finish(runner));
    let end = Instant::now() + PATIENCE;
    loop {
        let left = leftovers(&token, Path::new("/nowhere"));
        if left.is_empty() {
            // jail itself and its init were among them.
            return check(before > 2, || format!("only {before} processes were seen before"))
                .and(|| Outcome::held(format!("{before} processes before, none after")));
        }
        if Instant::now() > end {
            return Outcome::failed(format!("{} of {before} processes live on: {}", left.len(), left.join(", ")));
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn stopped(_: &World, runner: &Runner<'_>) -> Outcome {
    let live = match runner.inside("sleep", &super::resources::wall("1s"), Stdio::null()) {
        Ok(live) => live,
        Err(outcome) => return outcome,
    };
    thread::sleep(Duration::from_millis(200));
    live.signal(Signal::SIGSTOP);
    thread::sleep(Duration::from_millis(1500));
    live.signal(Signal::SIGCONT);
    let run = live.finish(runner);
    let kind = run.report.as_ref().map(|report| report.verdict.kind);
    check(kind == Some(VerdictKind::WallTime), || format!("{kind:?}, exit code {:?}", run.code))
        .and(|| check(run.leftovers.is_empty(), || run.leftovers.join(", ")))
        .and(|| Outcome::held("wall_time, nothing is left"))
}

fn closed_reader(_: &World, runner: &Runner<'_>) -> Outcome {
    let mut live = match runner.inside("flood", &super::resources::wall("10s"), Stdio::null()) {
        Ok(live) => live,
        Err(outcome) => return outcome,
    };
    let _first = live.wait_for("x");
    live.close();
    let run = live.finish(runner);
    let report = match run.report() {
        Ok(report) => report,
        Err(outcome) => return outcome,
    };
    check(report.verdict.kind != VerdictKind::WallTime, || "it went on to its wall time".to_owned())
        .and(|| check(run.leftovers.is_empty(), || run.leftovers.join(", ")))
        .and(|| Outcome::held(word(report.verdict.kind)))
}

fn no_processes(w: &World, _: &Runner<'_>) -> Outcome {
    let victim = format!("process {} ", w.victim());
    let own = format!("process {} ", std::process::id());
    // What a `jail` that was killed had inside may still be on its way out.
    let end = Instant::now() + PATIENCE;
    loop {
        let all = leftovers(&w.token, &w.at("work"));
        if !all.iter().any(|line| line.starts_with(&victim)) {
            return Outcome::not_judged("the search does not find a process of our own");
        }
        let left: Vec<_> =
            all.into_iter().filter(|line| !line.starts_with(&victim) && !line.starts_with(&own)).collect();
        if left.is_empty() {
            return Outcome::held("none");
        }
        if Instant::now() > end {
            return Outcome::failed(left.join(", "));
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// What a killed `jail` left, a later run sweeps, once the kernel has let go of what was in it.
fn no_groups(_: &World, runner: &Runner<'_>) -> Outcome {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Err(outcome) = runner.inside("true", &[], Stdio::null()).map(|live| live.finish(runner)) {
            return outcome;
        }
        let (looked, left) = groups(&runner.supervisors());
        if left.is_empty() {
            return Outcome::held(format!("none among {looked}, of {} runs", runner.supervisors().len()));
        }
        if Instant::now() > end {
            return Outcome::failed(left.join(", "));
        }
        thread::sleep(Duration::from_millis(200));
    }
}

/// How many groups there are on this machine, and which of them are of these supervisors.
fn groups(pids: &[u32]) -> (usize, Vec<String>) {
    let ours = |name: &str| {
        let pid = name.strip_prefix("jail-").and_then(|rest| rest.split('-').next()).and_then(|pid| pid.parse().ok());
        pid.is_some_and(|pid: u32| pids.contains(&pid))
    };
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounts = mounts.lines().filter(|line| line.contains(" - cgroup"));
    let mut rest: Vec<_> =
        mounts.filter_map(|line| line.split(' ').nth(4)).map(|path| Path::new(path).to_owned()).collect();
    let (mut looked, mut left) = (0, Vec::new());
    while let Some(dir) = rest.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                looked += 1;
                if entry.file_name().to_str().is_some_and(ours) {
                    left.push(entry.path().display().to_string());
                }
                rest.push(entry.path());
            }
        }
    }
    (looked, left)
}
