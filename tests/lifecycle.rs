//! How runs end, and that within a second nothing of them is left.
//!
//! For: timeouts, signals to `jail`, programs that resist, descriptors that are held, and many runs in a row.
//! Not for: the limits themselves (see `claims::limits`).
//! Runs in: the test process.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};

use crate::support::{Jail, needs, room};

/// Longest that an ending may take, by the promise.
fn prompt() -> Duration {
    room(Duration::from_secs(1))
}

/// The lines of `jail` for a run that the caller ended.
#[track_caller]
fn cancel(signal: Signal, verb: &[&str], code: i32) {
    let mut live = Jail::new().start_probe(verb);
    live.wait_ready();
    assert!(!live.inside().is_empty(), "the check for leftovers must see what runs");
    let sent = Instant::now();

    live.signal(signal);
    let run = live.wait();

    assert!(sent.elapsed() < prompt(), "{:?}: {run}", sent.elapsed());
    assert_eq!((run.code, run.verdict()), (Some(code), "cancelled"), "{run}");
    let start = format!("jail: cancelled by {} after ", signal.as_str());
    assert!(run.err().starts_with(&start) && run.err().lines().count() == 1, "{}", run.err());
    run.assert_clean();
}

#[test]
fn interrupt_ends_the_run() {
    cancel(Signal::SIGINT, &["sleep", "30000"], 130);
}

#[test]
fn terminate_ends_the_run() {
    cancel(Signal::SIGTERM, &["sleep", "30000"], 143);
}

#[test]
fn interrupt_ends_a_program_that_ignores_every_signal() {
    cancel(Signal::SIGINT, &["sigignore"], 130);
}

#[test]
fn terminate_ends_a_program_that_stopped_itself() {
    cancel(Signal::SIGTERM, &["stop"], 143);
}

#[test]
fn terminate_ends_a_program_in_a_session_of_its_own() {
    cancel(Signal::SIGTERM, &["setsid", "30000"], 143);
}

/// Whether a process holds a signal back.
fn holds(pid: Pid, signal: Signal) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let held = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).unwrap();
    u64::from_str_radix(held, 16).unwrap() & 1 << (signal as i32 - 1) != 0
}

#[test]
fn terminate_at_any_time_leaves_a_report() {
    for round in 0..20 {
        let mut live = Jail::new().start_probe(["exit", "3"]);
        // From here on, and not before: nothing can be asked of a program that is not in its main function yet.
        while live.running() && !holds(live.pid(), Signal::SIGTERM) {}
        thread::sleep(Duration::from_micros(500 * round));

        // On a busy machine it may be over by now.
        if live.running() {
            live.signal(Signal::SIGTERM);
        }
        let run = live.wait();

        assert!(matches!((run.code, run.verdict()), (Some(143), "cancelled") | (Some(3), "nonzero_exit")), "{run}");
        run.assert_clean();
    }
}

#[test]
fn terminate_ends_a_run_whose_input_never_came() {
    let jail = Jail::new();
    let fifo = jail.beside("fifo");
    mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let mut live = jail.arg("--stdin").arg(&fifo).start(["/bin/sh", "-c", "echo ready; cat"]);
    live.wait_ready();

    live.signal(Signal::SIGTERM);
    let run = live.wait();

    assert_eq!((run.code, run.verdict()), (Some(143), "cancelled"), "{run}");
    run.assert_clean();
}

#[test]
fn input_comes_from_a_fifo_whose_writer_is_late() {
    let jail = Jail::new();
    let fifo = jail.beside("fifo");
    mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let mut live = jail.arg("--stdin").arg(&fifo).start(["/bin/sh", "-c", "echo ready; cat"]);
    live.wait_ready();

    fs::write(&fifo, "late").unwrap();
    let run = live.wait();

    assert_eq!((run.code, run.out().as_str()), (Some(0), "ready\nlate"), "{run}");
}

/// A run that the wall time ends.
#[track_caller]
fn time_out(verb: &[&str]) {
    let run = Jail::new().args(["--timeout", "500ms"]).probe(verb);

    assert_eq!((run.code, run.verdict()), (Some(124), "wall_time"), "{run}");
    assert!(run.elapsed < Duration::from_millis(500) + prompt(), "{run}");
    run.assert_clean();
}

#[test]
fn timeout_ends_a_sleeping_program() {
    time_out(&["sleep", "30000"]);
}

#[test]
fn timeout_ends_a_program_that_ignores_every_signal() {
    time_out(&["sigignore"]);
}

#[test]
fn timeout_ends_a_program_that_stopped_itself() {
    time_out(&["stop"]);
}

#[test]
fn timeout_ends_a_program_that_closed_its_outputs() {
    time_out(&["closeout", "30000"]);
}

#[test]
fn timeout_ends_a_program_in_a_session_of_its_own() {
    time_out(&["setsid", "30000"]);
}

#[test]
fn closed_outputs_are_not_the_end() {
    let run = Jail::new().probe(["closeout", "700"]);

    assert_eq!((run.code, run.verdict()), (Some(0), "ok"), "{run}");
    assert!(run.number("/time/wall_ms") >= 700, "{run}");
    run.assert_clean();
}

#[test]
fn an_orphan_that_holds_the_output_does_not_hold_the_caller() {
    let run = Jail::new().probe(["daemon", "30000"]);

    assert_eq!((run.code, run.out().as_str()), (Some(0), "ok left"), "{run}");
    assert!(run.elapsed < room(Duration::from_secs(2)), "{run}");
    assert!(!run.held, "{run}");
    run.assert_clean();
}

#[test]
fn killing_jail_kills_everything_inside() {
    let mut live = Jail::new().start_probe(["sleep", "30000"]);
    live.wait_ready();
    let inside = live.inside();
    assert_eq!(inside.len(), 2, "init and the payload");
    let lives = |pid: &i32| PathBuf::from(format!("/proc/{pid}/root/usr")).exists();
    assert!(inside.iter().any(lives), "the root of none is seen from here: {inside:?}");

    live.signal(Signal::SIGKILL);
    let run = live.wait();

    assert_eq!((run.code, run.signal), (None, Some(9)), "{run}");
    run.assert_clean();
    // Looked for by what is in their memory, they are gone a moment before their root is.
    let end = Instant::now() + prompt();
    while inside.iter().any(lives) {
        assert!(Instant::now() < end, "{inside:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn killing_jail_kills_a_program_that_ignores_every_signal() {
    let mut live = Jail::new().start_probe(["sigignore"]);
    live.wait_ready();

    live.signal(Signal::SIGKILL);

    live.wait().assert_clean();
}

#[test]
fn an_init_that_is_killed_from_outside_is_told_of() {
    // Nobody knows then how the program would have ended: no success, and not a word less than that.
    let mut live = Jail::new().start_probe(["sleep", "30000"]);
    live.wait_ready();
    let init = Pid::from_raw(live.inside().into_iter().min().unwrap());

    nix::sys::signal::kill(init, Signal::SIGKILL).unwrap();
    let run = live.wait();

    assert_eq!((run.code, run.verdict()), (Some(125), "internal_error"), "{run}");
    assert!(run.err().starts_with("jail: the jail's init ended before it could tell how the program did\n"), "{run}");
    run.assert_clean();
}

/// The directories of a process's cgroups on this host, those of the caller itself not among them.
fn cgroup_directories(pid: i32) -> BTreeSet<PathBuf> {
    let groups = |pid: &str| -> BTreeSet<String> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        text.lines().filter_map(|line| Some(line.splitn(3, ':').nth(2)?.to_owned())).collect()
    };
    let own = groups("self");
    let names = groups(&pid.to_string());
    let names = names.difference(&own).filter_map(|path| path.rsplit('/').find(|part| !part.is_empty()));
    names.flat_map(crate::support::cgroups).collect()
}

#[test]
fn the_groups_of_a_killed_jail_are_swept_by_the_next_run() {
    needs!(cgroup);
    let mut live = Jail::new().start_probe(["sleep", "30000"]);
    live.wait_ready();
    let groups: BTreeSet<PathBuf> = live.inside().into_iter().flat_map(cgroup_directories).collect();
    assert!(!groups.is_empty(), "the run has no group of its own");
    live.signal(Signal::SIGKILL);
    live.wait().assert_clean();

    let run = Jail::new().probe(["cwd"]);

    assert_eq!(run.code, Some(0), "{run}");
    run.assert_clean();
    let left: Vec<_> = groups.iter().filter(|path| path.exists()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_group_of_a_running_jail_is_not_swept() {
    needs!(cgroup);
    let mut live = Jail::new().start_probe(["sleep", "30000"]);
    live.wait_ready();
    let groups: BTreeSet<PathBuf> = live.inside().into_iter().flat_map(cgroup_directories).collect();

    assert_eq!(Jail::new().probe(["cwd"]).code, Some(0));

    assert!(live.running());
    assert!(!groups.is_empty() && groups.iter().all(|path| path.exists()), "{groups:?}");
    live.signal(Signal::SIGTERM);
    live.wait().assert_clean();
}

/// A run's groups are empty until its init joins them. Who takes them away then has ended that run.
#[test]
fn the_empty_group_of_a_starting_jail_is_not_swept() {
    needs!(cgroup);
    let mut live = Jail::new().start_probe(["sleep", "30000"]);
    live.wait_ready();
    let groups: BTreeSet<PathBuf> = live.inside().into_iter().flat_map(cgroup_directories).collect();
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let started = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap();
    let name = format!("jail-{}-{started}-4294967295", std::process::id());
    let ours: Vec<PathBuf> = groups.iter().map(|group| group.with_file_name(&name)).collect();
    for group in &ours {
        fs::create_dir(group).unwrap();
    }
    let left = || ours.iter().filter(|group| group.exists()).count();

    // Somewhere there is no descriptor to look at the owner with.
    for most in 3..40 {
        let few = ["/usr/bin/prlimit".to_owned(), format!("--nofile={most}:4096")];
        drop(Jail::new().through(few).probe(["cwd"]));
    }
    let by_the_short = left();
    let (mut by_the_far, mut unlocked) = (by_the_short, 0);
    if nix::unistd::geteuid().is_root() {
        // From another PID namespace the owner is not to be seen; the lock is.
        let far = || {
            let words = ["/usr/bin/unshare", "--pid", "--fork", "--mount-proc", "--"].map(str::to_owned);
            let run = Jail::new().through(words).probe(["cwd"]);
            assert_eq!(run.code, Some(0), "{run}");
        };
        let lock = |group| Flock::lock(fs::File::open(group).unwrap(), FlockArg::LockExclusiveNonblock).unwrap();
        let held: Vec<_> = ours.iter().map(lock).collect();
        far();
        by_the_far = left();
        drop(held);
        far();
        unlocked = left();
    }
    for group in ours.iter().filter(|group| group.exists()) {
        fs::remove_dir(group).unwrap();
    }

    assert!(!ours.is_empty(), "the run has no group of its own");
    assert_eq!((by_the_short, by_the_far, unlocked), (ours.len(), ours.len(), 0));
    live.signal(Signal::SIGTERM);
    live.wait().assert_clean();
}

#[test]
fn a_reader_that_does_not_read_holds_the_program_back_and_the_clock_goes_on() {
    let jail = Jail::new().args(["--timeout", "1s", "--output-limit", "none"]);
    let started = Instant::now();
    let mut live = jail.start_unread(["/usr/bin/yes"]);
    while live.running() && started.elapsed() < room(Duration::from_secs(5)) {
        thread::sleep(Duration::from_millis(10));
    }

    assert!(started.elapsed() < Duration::from_secs(1) + prompt(), "{:?}", started.elapsed());
    let run = live.wait();
    assert_eq!((run.code, run.verdict()), (Some(124), "wall_time"), "{run}");
    assert!(run.stdout.len() < 4 << 20, "{} bytes went somewhere unread", run.stdout.len());
    run.assert_clean();
}

#[test]
fn a_slow_reader_gets_every_byte() {
    let jail = Jail::new().args(["--output-limit", "none"]);
    let mut live = jail.start_unread(["/bin/sh", "-c", "head -c 3000000 /dev/zero"]);
    thread::sleep(Duration::from_millis(700));
    assert!(live.running(), "the pipes are full, so the program must wait");

    live.read();
    let run = live.wait();

    assert_eq!((run.code, run.stdout.len()), (Some(0), 3_000_000), "{}", run.err());
    assert!(run.stdout.iter().all(|byte| *byte == 0));
}

#[test]
fn input_that_is_never_read_hinders_nobody() {
    let run = Jail::new().stdin(vec![b'x'; 2 << 20]).probe(["exit", "3"]);

    assert_eq!((run.code, run.verdict()), (Some(3), "nonzero_exit"), "{run}");
    assert!(run.elapsed < room(Duration::from_secs(2)), "{run}");
    run.assert_clean();
}

#[test]
fn input_of_megabytes_arrives() {
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|index| index.to_le_bytes()[0] ^ index.to_le_bytes()[1]).collect();

    let run = Jail::new().stdin(bytes.clone()).probe(["stdin-cat"]);

    assert_eq!(run.code, Some(0), "{}", run.err());
    assert!(run.stdout == bytes, "{} bytes came back", run.stdout.len());
}

#[test]
fn output_streams_through_as_it_comes() {
    let mut live = Jail::new().start(["/bin/sh", "-c", "echo first; sleep 2; echo second"]);
    let started = Instant::now();
    live.wait_for(b"first\n");

    assert!(started.elapsed() < room(Duration::from_millis(1500)), "{:?}", started.elapsed());
    assert!(live.running());
    let run = live.wait();
    assert_eq!(run.out(), "first\nsecond", "{run}");
}

#[test]
fn a_caller_that_closes_the_output_is_survived() {
    let mut live = Jail::new().start_unread(["/bin/sh", "-c", "while :; do echo line || exit 5; done"]);
    let mut first = [0; 64];
    let count = live.take_stdout().read(&mut first).unwrap();
    assert!(count > 0);
    // The reader is gone now: the program gets SIGPIPE or EPIPE as it would without jail.
    let run = live.wait();

    assert!(matches!(run.code, Some(5 | 141)), "{run}");
    assert!(run.elapsed < room(Duration::from_secs(5)), "{run}");
    run.assert_clean();
}

#[test]
fn twenty_runs_in_a_row_leave_no_trace() {
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count();
    let before = mounts();
    for round in 0..20 {
        let run = Jail::new().probe(["exit", "0"]);
        assert_eq!(run.code, Some(0), "round {round}: {run}");
        run.assert_clean();
    }
    assert_eq!(mounts(), before);
}

#[test]
fn runs_side_by_side_do_not_disturb_each_other() {
    let runs: Vec<_> = (0..6).map(|code| (code, Jail::new().start_probe(["exit", &code.to_string()]))).collect();
    for (code, live) in runs {
        let run = live.wait();
        assert_eq!(run.code, Some(code), "{run}");
        run.assert_clean();
    }
}

#[test]
fn timeout_ends_a_run_whose_terminal_nobody_reads() {
    // A terminal that takes nothing more, as a hung one does.
    let script = "import os, pty, subprocess, sys\n\
                  keep, end = pty.openpty()\n\
                  sys.exit(subprocess.call(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=end))";
    let jail = Jail::new().through(["/usr/bin/python3", "-c", script]).args(["--timeout", "1s"]);
    let started = Instant::now();

    let run = jail.run(["/usr/bin/yes"]);

    assert!(started.elapsed() < room(Duration::from_secs(4)), "{:?}: {run}", started.elapsed());
    assert_eq!((run.code, run.verdict()), (Some(124), "wall_time"), "{run}");
    run.assert_clean();
}

#[test]
fn a_copy_of_the_output_pipe_outside_does_not_hold_the_run_up() {
    // The first jail sends its stdout to the second, through a socket in a directory that both may write.
    let receive = "import socket, sys, time\n\
                   s = socket.socket(socket.AF_UNIX)\n\
                   s.bind(sys.argv[1]); s.listen(1)\n\
                   c, _ = s.accept()\n\
                   held = socket.recv_fds(c, 1, 1)\n\
                   c.send(b'x'); time.sleep(20)";
    let send = "import socket, sys, time\n\
                s = socket.socket(socket.AF_UNIX)\n\
                for _ in range(200):\n\
                \x20   try: s.connect(sys.argv[1]); break\n\
                \x20   except OSError: time.sleep(0.05)\n\
                socket.send_fds(s, [b'x'], [1]); s.recv(1); print('sent', flush=True)";
    let folder = crate::support::folder();
    let socket = folder.path().join("socket").display().to_string();
    let shared = ["--rw".to_owned(), folder.path().display().to_string()];
    let holder = Jail::new().args(&shared).start(["/usr/bin/python3", "-c", receive, &socket]);
    let started = Instant::now();

    let run = Jail::new().args(&shared).run(["/usr/bin/python3", "-c", send, &socket]);

    assert_eq!((run.code, run.out().as_str()), (Some(0), "sent"), "{run}");
    assert!(started.elapsed() < room(Duration::from_secs(10)), "{:?}", started.elapsed());
    holder.signal(Signal::SIGTERM);
    holder.wait().assert_clean();
}

#[test]
fn output_over_the_limit_is_never_success() {
    for _ in 0..20 {
        let run = Jail::new().args(["--output-limit", "1K"]).run(["/usr/bin/head", "-c", "2000", "/dev/zero"]);

        assert_eq!((run.code, run.verdict(), run.out().len()), (Some(153), "output", 1024), "{run}");
    }
}
