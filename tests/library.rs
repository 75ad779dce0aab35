//! The library as a program uses it: from many threads, with bytes in and out, and without owning its host.
//!
//! For: [`Sandbox`], [`Running`](jail::Running) and what dropping one does.
//! Not for: what the sandbox holds back (see `claims`); the command goes through the same code.
//! Runs in: the test process, which has many threads.

use std::fs;
use std::process;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use jail::report::VerdictKind;
use jail::{Command, ErrorKind, Policy, Profile, Report, Sandbox, Stdin};

use crate::support::{self, Jail, room, validate};

/// `strict`, giving up what this caller cannot have.
fn sandbox() -> Sandbox {
    let degraded = if support::degraded() { "allow_degraded = [\"cgroup\"]\n" } else { "" };
    let profile = Profile::parse("test", &format!("extends = [\"strict\"]\n{degraded}")).unwrap();
    Sandbox::new(Policy::new(&profile).unwrap()).unwrap()
}

/// The probe in a fresh workspace. The folder is gone when the first value is dropped.
fn probe(verb: &str) -> (Jail, Command) {
    let folder = Jail::strictly();
    let command = Command::new(folder.probe_path()).workspace(folder.workspace()).args(verb.split(' '));
    (folder, command)
}

fn valid(report: &Report) {
    validate(&serde_json::to_value(report).unwrap());
}

#[test]
fn many_threads_run_at_once_with_bytes_in_and_out() {
    let (sender, reports) = mpsc::channel();
    let sandbox = sandbox();
    for index in 0..6_u8 {
        let (sandbox, sender) = (sandbox.clone(), sender.clone());
        thread::spawn(move || {
            for _ in 0..5 {
                let (_folder, command) = probe("stdin-cat");
                let report = sandbox.run(&command.stdin(Stdin::Bytes(vec![index; 100_000])));
                sender.send((index, report)).unwrap();
            }
        });
    }
    drop(sender);

    for _ in 0..30 {
        // Threads that inherit each other's pipes could wait for each other for ever.
        let (index, report) = reports.recv_timeout(room(Duration::from_secs(30))).expect("a run hangs");
        assert_eq!(report.verdict.kind, VerdictKind::Ok, "{report:#?}");
        assert!(report.output.stdout.bytes() == vec![index; 100_000], "of thread {index}");
        valid(&report);
    }
}

#[test]
fn dropping_a_run_ends_it() {
    let (folder, command) = probe("sleep 30000");
    let before = support::Before::new(folder.workspace().parent().unwrap(), folder.workspace());
    let running = sandbox().start(&command).unwrap();
    assert!(!before.leftovers(None).is_empty(), "the check for leftovers must see what runs");
    let dropped = Instant::now();

    drop(running);

    assert!(dropped.elapsed() < room(Duration::from_secs(1)));
    assert_eq!(before.leftovers(None), [""; 0]);
}

#[test]
fn killing_a_run_is_cancelling_it() {
    let (_folder, command) = probe("sigignore");
    let mut running = sandbox().start(&command).unwrap();

    running.kill();
    let report = running.wait();

    assert_eq!(report.verdict.kind, VerdictKind::Cancelled, "{report:#?}");
    valid(&report);
}

#[test]
fn a_signal_reaches_the_program() {
    let (_folder, command) = probe("sleep 30000");
    let running = sandbox().start(&command).unwrap();

    running.signal(15).unwrap();
    let report = running.wait();

    assert_eq!((report.verdict.kind, report.exit_code), (VerdictKind::Signaled, 143), "{report:#?}");
}

#[test]
fn starting_a_missing_program_is_an_error_with_its_kind() {
    let folder = Jail::strictly();
    let command = Command::new("no-such-program").workspace(folder.workspace());

    let error = sandbox().start(&command).unwrap_err();
    assert_eq!((error.kind(), error.exit_code()), (ErrorKind::NotFound, 127), "{error}");

    let report = sandbox().run(&command);
    assert_eq!((report.verdict.kind, report.exit_code), (VerdictKind::ExecFailed, 127));
    valid(&report);
}

#[test]
fn other_children_of_the_caller_are_left_alone() {
    let mut child = process::Command::new("/bin/sleep").arg("0.3").spawn().unwrap();
    let (_folder, command) = probe("exit 0");

    assert_eq!(sandbox().run(&command).exit_code, 0);

    assert!(child.wait().unwrap().success(), "somebody else has reaped it");
}

#[test]
fn twenty_runs_keep_no_descriptor() {
    // Alone in a process, because the tests beside this one open descriptors too.
    let mut alone = process::Command::new(std::env::current_exe().unwrap());
    let output = alone.args(["--ignored", "--exact", "library::twenty_runs_alone"]).output().unwrap();

    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
#[ignore = "twenty_runs_keep_no_descriptor calls it, in a process of its own"]
fn twenty_runs_alone() {
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    let sandbox = sandbox();
    let run = || {
        let (_folder, command) = probe("exit 0");
        assert_eq!(sandbox.run(&command).exit_code, 0);
    };
    run();
    let before = descriptors();

    for _ in 0..20 {
        run();
    }

    // There is one for each network namespace that the kernel has yet to take down; the next start lets go of
    // those that are gone, and leaves its own.
    let deadline = Instant::now() + Duration::from_secs(60);
    while descriptors() > before + 1 {
        assert!(Instant::now() < deadline, "{} descriptors, {before} after the first run", descriptors());
        thread::sleep(Duration::from_millis(100));
        run();
    }
}

#[test]
fn a_signal_that_there_is_not_is_refused_and_harmless() {
    let (_folder, command) = probe("sleep 300");
    let running = sandbox().start(&command).unwrap();

    for number in [0, 65, 255] {
        assert_eq!(running.signal(number).unwrap_err().kind(), ErrorKind::Usage, "{number}");
    }

    assert_eq!(running.wait().verdict.kind, VerdictKind::Ok);
}
