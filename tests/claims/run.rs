//! RUN: that a run is whole or is none, what is said of its end, and that nothing of it is left.
//!
//! For: claims RUN-1 to RUN-6.
//! Not for: every way in which a run can end (see `lifecycle`) or the words of messages (see `cli`).
//! Runs in: the test process.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::{Jail, needs, outside};
use crate::support::{copy_program, degraded, is_root, jail_binary, leave_to_another_run, skip};

/// A caller that sees no cgroup: in a mount namespace of its own, where something else is in their place.
const WITHOUT_GROUPS: [&str; 7] = [
    "/usr/bin/unshare",
    "--mount",
    "--propagation=private",
    "/bin/sh",
    "-c",
    "mount -t tmpfs none /sys/fs/cgroup && exec \"$@\"",
    "sh",
];

#[test]
fn claim_run_1_a_layer_that_cannot_be_had_stops_the_run() {
    let launcher = match (is_root(), degraded()) {
        (true, _) => WITHOUT_GROUPS.as_slice(),
        (false, true) => &[],
        (false, false) => return leave_to_another_run("root, or a user who has no cgroup"),
    };
    if is_root() && !degraded() {
        assert_eq!(Jail::strictly().probe(["cwd"]).code, Some(0), "with the groups in sight it runs");
    }

    let run = Jail::strictly().through(launcher).probe(["cwd"]);

    assert_eq!((run.code, run.out().as_str()), (Some(125), ""), "{run}");
    assert!(run.err().starts_with("jail: cgroup.memory cannot be enforced here: "), "{run}");
    assert_ne!(run.field("/posture/layers/seccomp/applied"), true, "{run}");
    run.assert_clean();

    // Given up by name, it runs, and the report says without what.
    let run = Jail::strictly().through(launcher).args(["--allow-degraded", "cgroup"]).probe(["isatty"]);
    assert_eq!(run.answer(), "ok no no no");
    let given_up: Vec<&str> =
        run.field("/posture/degraded").as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(given_up, ["cgroup.memory", "cgroup.pids", "cgroup.cpu"]);
    assert_eq!(run.field("/posture/layers/seccomp/applied"), true);
    assert_eq!(run.field("/posture/layers/cgroup.pids/applied"), false);
}

#[test]
fn claim_run_2_a_run_is_whole_or_it_is_none() {
    // Each number of open files is too few for another step; `scripts/faults` makes every call fail.
    let whole = Jail::new().probe(["batch", "caps", "fds", "open-read /.decoy", "unshare 0x10000000"]).answer();
    assert!(whole.contains("NoNewPrivs=1 Seccomp=2") && whole.contains("/.decoy: errno EACCES"), "{whole}");
    let (mut refused, mut ran) = (0, 0);
    for most in (3..=115).step_by(7) {
        let few = ["/usr/bin/prlimit".to_owned(), format!("--nofile={most}:4096")];
        let run = Jail::new().through(few).probe(["batch", "caps", "fds", "open-read /.decoy", "unshare 0x10000000"]);

        if run.code == Some(0) {
            assert_eq!(run.out(), whole, "{most}: {run}");
            ran += 1;
        } else {
            assert_eq!((run.code, run.out().as_str()), (Some(125), ""), "{most}: {run}");
            assert!(run.err().starts_with("jail: "), "{most}: {run}");
            refused += 1;
        }
        run.assert_clean();
    }
    assert!(refused > 3 && ran > 0, "{refused} refused, {ran} ran");
}

#[test]
fn claim_run_3_every_end_is_told_as_what_it_was() {
    // What a limit's end looks like, from a program that comes to it by itself.
    for code in ["0", "7", "124", "125", "137", "153", "159"] {
        let run = Jail::new().probe(["exit", code]);

        let verdict = if code == "0" { "ok" } else { "nonzero_exit" };
        assert_eq!((run.code.unwrap().to_string().as_str(), run.verdict()), (code, verdict), "{run}");
        assert_eq!(run.number("/exit/code").to_string(), code, "{run}");
        assert_eq!(run.field("/limits_hit").as_array().unwrap().len(), 0, "{run}");
    }
    for signal in [6, 9, 11, 15] {
        let run = Jail::new().probe(["raise", &signal.to_string()]);

        assert_eq!((run.code, run.verdict()), (Some(128 + signal), "signaled"), "{run}");
        assert_eq!(run.field("/exit/signal"), signal, "{run}");
    }
    // And the limits' own.
    let timed_out = Jail::new().args(["--timeout", "200ms"]).probe(["sleep", "20000"]);
    assert_eq!((timed_out.code, timed_out.verdict()), (Some(124), "wall_time"), "{timed_out}");
    let flooded = Jail::new().args(["--output-limit", "4K"]).probe(["write-out", "100000"]);
    assert_eq!((flooded.code, flooded.verdict()), (Some(153), "output"), "{flooded}");
}

#[test]
fn claim_run_4_nothing_is_left_when_jail_is_killed() {
    let mut live = Jail::new().start_probe(["sleep", "30000"]);
    live.wait_ready();
    assert_eq!(live.inside().len(), 2, "init and the payload are there");

    live.signal(Signal::SIGKILL);
    let killed = live.wait();

    assert_eq!((killed.code, killed.signal), (None, Some(9)), "{killed}");
    killed.assert_clean();
    // The neighbour, whose start takes the empty groups of the killed one away.
    let next = Jail::new().probe(["cwd"]);
    assert_eq!(next.code, Some(0), "{next}");
    next.assert_clean();
}

#[test]
fn claim_run_5_the_program_does_not_write_its_report() {
    let script = "echo forged >report.json; echo '{\"verdict\":{\"kind\":\"ok\"}}'; exit 3";
    // The control: without a report of ours that file is the program's.
    let run = Jail::new().without_report().args(["--workspace-access", "write"]).run(["/bin/sh", "-c", script]);
    assert_eq!(fs::read_to_string(run.workspace().join("report.json")).unwrap(), "forged\n");

    let run = Jail::new()
        .without_report()
        .args(["--workspace-access", "write", "--report", "report.json"])
        .run(["/bin/sh", "-c", script]);

    let report: Value = serde_json::from_slice(&fs::read(run.workspace().join("report.json")).unwrap()).unwrap();
    assert_eq!(report["verdict"]["kind"], "nonzero_exit");
    assert_eq!((run.code, run.out().as_str()), (Some(3), "{\"verdict\":{\"kind\":\"ok\"}}"), "{run}");
}

#[test]
fn claim_run_6_a_set_uid_jail_refuses_to_work() {
    needs!(root);
    let folder = crate::support::folder();
    let ordinary = |program: &std::path::Path, arguments: &[&str]| {
        let output = std::process::Command::new("/usr/bin/setpriv")
            .args(["--reuid", "61234", "--regid", "61234", "--clear-groups"])
            .arg(program)
            .args(arguments)
            .current_dir("/")
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap() + &String::from_utf8(output.stdout).unwrap())
    };
    let set_uid = |from: &std::path::Path, name: &str, mode: u32| {
        let program = folder.path().join(name);
        copy_program(from, &program);
        fs::set_permissions(&program, fs::Permissions::from_mode(mode)).unwrap();
        program
    };
    let control = ordinary(&set_uid("/usr/bin/id".as_ref(), "id", 0o4755), &["-u"]);
    if control != (Some(0), "0\n".to_owned()) {
        return skip("suid", "a file system with set-uid programs under TMPDIR");
    }

    for mode in [0o4755, 0o2755] {
        let (code, said) = ordinary(&set_uid(&jail_binary(), "jail", mode), &["--version"]);

        assert_eq!(code, Some(125), "{said}");
        assert!(said.starts_with("jail: is not made to be a set-uid or set-gid program\n"), "{said}");
    }
    let (code, said) = ordinary(&set_uid(&jail_binary(), "jail", 0o755), &["--version"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(outside(["uid"]).split(' ').nth(1), Some("uid=0/0"));
}
