//! ID: as whom the program runs, inside and seen from the host.
//!
//! For: claims ID-1 to ID-3.
//! Not for: owners of files (see `fs`).
//! Runs in: the test process.

use std::fs;

use super::{Jail, needs, outside};
use crate::support::is_root;

/// The numbers of one line of a process's status on the host.
fn host_ids(pid: i32, key: &str) -> Vec<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.split_whitespace().map(|id| id.parse().unwrap()).collect()
}

#[test]
fn claim_id_1_the_program_is_uid_1000_inside() {
    let run = Jail::new().probe(["uid"]);

    let answer = run.answer();
    assert!(answer.starts_with("ok uid=1000/1000 gid=1000/1000 groups="), "{answer}");
}

#[test]
fn claim_id_1_a_root_callers_program_is_nobody_special_on_the_host() {
    needs!(root);
    let mut live = Jail::new().start_probe(["sleep", "30000"]);
    live.wait_ready();

    let inside = live.inside();

    assert_eq!(inside.len(), 2, "init and the payload");
    for pid in inside {
        for key in ["Uid:", "Gid:"] {
            let ids = host_ids(pid, key);
            assert_eq!(ids.len(), 4);
            assert!(ids.iter().all(|id| *id == ids[0] && *id >= 1000), "{key} {ids:?}");
        }
        assert_eq!(host_ids(pid, "Groups:"), [0_u32; 0], "supplementary groups of the caller");
    }
    live.signal(nix::sys::signal::Signal::SIGTERM);
    live.wait().assert_clean();
}

#[test]
fn claim_id_1_an_ordinary_callers_program_is_the_caller_on_the_host() {
    needs!(user);
    let mut live = Jail::new().start_probe(["sleep", "30000"]);
    live.wait_ready();

    let inside = live.inside();

    assert_eq!(inside.len(), 2, "init and the payload");
    for pid in inside {
        assert_eq!(host_ids(pid, "Uid:"), [nix::unistd::getuid().as_raw(); 4]);
        assert_eq!(host_ids(pid, "Gid:"), [nix::unistd::getgid().as_raw(); 4]);
    }
    live.signal(nix::sys::signal::Signal::SIGTERM);
    live.wait().assert_clean();
}

#[test]
fn claim_id_1_no_group_of_a_root_caller_is_kept() {
    needs!(root);
    let with_groups = ["/usr/bin/setpriv", "--groups", "4,20"];
    let control =
        std::process::Command::new(with_groups[0]).args(&with_groups[1..]).args(["/usr/bin/id", "-G"]).output();
    assert_eq!(String::from_utf8(control.unwrap().stdout).unwrap().trim_end(), "0 4 20");

    let run = Jail::new().through(with_groups).probe(["uid"]);

    assert_eq!(run.answer(), "ok uid=1000/1000 gid=1000/1000 groups=");
}

#[test]
fn claim_id_1_no_other_id_can_be_taken() {
    let calls = [libc::SYS_setuid, libc::SYS_setgid].map(|number| format!("syscall {number} 0"));
    if is_root() {
        assert_eq!(outside(["batch", &calls[0], &calls[1]]), format!("{}: ok 0\n{}: ok 0", calls[0], calls[1]));
    }
    let run = Jail::new().probe(["batch", &calls[0], &calls[1], &format!("syscall {} 1000", libc::SYS_setuid)]);

    let answer = run.answer();
    let lines: Vec<&str> = answer.lines().map(|line| line.split_once(": ").unwrap().1).collect();
    // What the kernel says of an id that is not mapped; the own one may be set again.
    assert_eq!(lines, ["errno EINVAL", "errno EINVAL", "ok 0"], "{answer}");
}

#[test]
fn claim_id_2_no_capability_and_no_way_to_one() {
    if is_root() {
        assert!(!outside(["caps"]).contains("CapEff=0000000000000000"));
    }
    let zero = "0000000000000000";
    let expected =
        format!("CapInh={zero} CapPrm={zero} CapEff={zero} CapBnd={zero} CapAmb={zero} NoNewPrivs=1 Seccomp=2");

    let run = Jail::new().probe(["caps"]);

    assert_eq!(run.answer(), format!("ok {expected}"));
}

#[test]
fn claim_id_2_uid_0_would_mean_nothing() {
    // PR_GET_SECUREBITS: no root, no set-uid fix-up, no ambient capabilities, and each of them locked.
    assert_eq!(outside(["prctl", "27"]), "ok 0");

    let run = Jail::new().probe(["prctl", "27"]);

    // Exec clears KEEP_CAPS; its lock stays.
    assert_eq!(run.answer(), format!("ok {}", 0xef));
}

#[test]
fn claim_id_2_init_is_no_less_confined() {
    // From outside: inside, init is not shown.
    let mut live = Jail::new().start_probe(["sleep", "30000"]);
    live.wait_ready();

    let inside = live.inside();

    assert_eq!(inside.len(), 2, "init and the payload");
    for pid in inside {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        for line in [
            "CapPrm:\t0000000000000000",
            "CapEff:\t0000000000000000",
            "CapBnd:\t0000000000000000",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
        ] {
            assert!(status.lines().any(|own| own == line), "{line} is not in {status}");
        }
    }
    live.signal(nix::sys::signal::Signal::SIGTERM);
    live.wait().assert_clean();
}

#[test]
fn claim_id_3_every_namespace_is_its_own() {
    let of = |answer: &str| -> Vec<(String, String)> {
        let pairs = answer.split(' ').skip(1).map(|pair| pair.split_once('=').unwrap());
        pairs.map(|(name, id)| (name.to_owned(), id.to_owned())).collect()
    };
    let host = of(&outside(["ns"]));
    assert_eq!(host, of(&outside(["ns"])), "outside, all are shared");

    let jailed = of(&Jail::new().probe(["ns"]).answer());

    for name in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"] {
        let id = |all: &[(String, String)]| all.iter().find(|(own, _id)| own == name).unwrap().1.clone();
        assert_ne!(id(&host), id(&jailed), "{name}");
    }
}
