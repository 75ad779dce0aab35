//! PR: processes. Who is seen, who can be touched, and that nobody outlives the run.
//!
//! For: claims PR-1 to PR-6.
//! Not for: the ways in which a run can end (see `lifecycle`).
//! Runs in: the test process.

use super::{Jail, needs, outside};

#[test]
fn claim_pr_1_only_the_jails_own_processes_are_seen() {
    let host = std::process::id();
    assert!(outside(["list", "/proc"]).split(' ').any(|name| name == host.to_string()));

    let run = Jail::new().probe(["batch", "list /proc", "pid", &format!("stat /proc/{host}")]);

    assert_eq!(
        run.answer(),
        format!("list /proc: ok 2 self thread-self\npid: ok 2 parent 1\nstat /proc/{host}: errno ENOENT")
    );
}

#[test]
fn claim_pr_1_nothing_of_the_kernel_is_seen_in_strict() {
    assert_eq!(outside(["open-read", "/proc/version"]), "ok");

    let run = Jail::new().probe([
        "batch",
        "open-read /proc/version",
        "open-read /proc/kallsyms",
        "open-write /proc/sys/kernel/core_pattern",
        "open-write /proc/sysrq-trigger",
        "open-read /proc/self/status",
    ]);

    let answer = run.answer();
    let refused: Vec<&str> = answer.lines().filter(|line| line.ends_with("errno ENOENT")).collect();
    assert_eq!(refused.len(), 4, "{answer}");
    assert!(answer.ends_with("open-read /proc/self/status: ok"), "{answer}");
}

#[test]
fn claim_pr_2_host_processes_cannot_be_signalled() {
    let host = std::process::id();
    assert_eq!(outside(["kill", &host.to_string(), "0"]), "ok");

    let run = Jail::new().probe(["batch", &format!("kill {host} 0"), "kill 2 0"]);

    assert_eq!(run.answer(), format!("kill {host} 0: errno ESRCH\nkill 2 0: ok"));
}

#[test]
fn claim_pr_6_another_run_of_the_same_caller_is_not_reached() {
    let mut other = Jail::new().start_probe(["sleep", "30000"]);
    other.wait_ready();
    let calls: Vec<String> = other.inside().iter().map(|pid| format!("kill {pid} 0")).collect();
    assert_eq!(calls.len(), 2, "init and the payload");
    for call in &calls {
        assert_eq!(outside(call.split(' ')), "ok");
    }

    let run = Jail::new().probe(["batch", &calls[0], &calls[1], "kill 2 0", "list /tmp"]);

    let answer = run.answer();
    let answers: Vec<&str> = answer.lines().map(|line| line.rsplit_once(": ").unwrap().1).collect();
    assert_eq!(answers[..3], ["errno ESRCH", "errno ESRCH", "ok"], "{answer}");
    assert!(other.running());
    other.signal(nix::sys::signal::Signal::SIGTERM);
    other.wait().assert_clean();
}

#[test]
fn claim_pr_3_nobody_is_traced() {
    let trace_me = format!("syscall {} 0 0 0 0", libc::SYS_ptrace);
    assert_eq!(outside(["batch", &trace_me]), format!("{trace_me}: ok 0"));

    let run = Jail::new().probe(["batch", &trace_me, "ptrace 1", "ptrace 2"]);

    assert_eq!(run.answer(), format!("{trace_me}: errno EPERM\nptrace 1: errno EPERM\nptrace 2: errno EPERM"));
}

#[test]
fn claim_pr_4_nothing_outlives_the_run() {
    let run = Jail::new().probe(["daemon", "20000"]);

    assert_eq!(run.answer(), "ok left");
    assert!(run.elapsed < crate::support::room(std::time::Duration::from_secs(5)), "{run}");
    run.assert_clean();
}

#[test]
fn claim_pr_4_not_even_a_stopped_init_does() {
    // An init that stands still cannot see that the supervisor is gone; the kernel kills it all the same.
    let mut live = Jail::new().start_probe(["sleep", "30000"]);
    live.wait_ready();
    let inside = live.inside();
    let init = nix::unistd::Pid::from_raw(*inside.iter().min().unwrap());
    nix::sys::signal::kill(init, nix::sys::signal::Signal::SIGSTOP).unwrap();

    live.signal(nix::sys::signal::Signal::SIGKILL);
    let run = live.wait();
    let left = run.leftovers();
    if !left.is_empty() {
        nix::sys::signal::kill(init, nix::sys::signal::Signal::SIGCONT).unwrap();
    }

    assert_eq!(left, [""; 0], "{run}");
}

#[test]
fn claim_pr_5_the_jails_init_cannot_be_looked_into() {
    let own = ["open-read /proc/self/environ", "open-read /proc/self/maps", "readlink /proc/self/exe"];
    let init = [
        "open-read /proc/1/mem",
        "open-write /proc/1/mem",
        "open-read /proc/1/environ",
        "open-read /proc/1/maps",
        "readlink /proc/1/exe",
        "readlink /proc/1/root",
        "list /proc/1/fd",
    ];
    let run = Jail::new().probe(["batch"].iter().chain(&own).chain(&init));

    let answer = run.answer();
    let lines: Vec<&str> = answer.lines().collect();
    assert!(lines[..3].iter().all(|line| line.contains(": ok")), "{answer}");
    let expected: Vec<String> = init.iter().map(|call| format!("{call}: errno ENOENT")).collect();
    assert_eq!(lines[3..], expected);
}

#[test]
fn claim_pr_5_not_even_from_outside_without_privilege() {
    needs!(user);
    let mut live = Jail::new().start_probe(["sleep", "30000"]);
    live.wait_ready();

    // The program's memory is its caller's to read, init's is nobody's.
    let readable =
        |pid: &i32| std::fs::File::open(format!("/proc/{pid}/environ")).map_err(|error| error.raw_os_error());
    let mut inside = live.inside();
    inside.sort_unstable();
    let answers: Vec<_> = inside.iter().map(|pid| readable(pid).err().flatten()).collect();

    assert_eq!(answers, [Some(13), None], "init and the payload");
    live.signal(nix::sys::signal::Signal::SIGTERM);
    live.wait().assert_clean();
}
