//! Hosts on which a call is not there or refused: old kernels, kernels without a part, filters of containers.
//!
//! For: what `jail` makes of each. Not for: places and mounts (see `places`).
//! Runs in: the test process; the filter is laid around `jail` by the probe.

use super::*;

#[test]
fn host_no_landlock() {
    for (errno, cause, remedy) in [
        ("ENOSYS", "this kernel has no Landlock", "CONFIG_SECURITY_LANDLOCK"),
        ("EOPNOTSUPP", "Landlock is switched off at boot", "add landlock to the lsm= parameter"),
        ("EPERM", "a container's filter forbids Landlock", "allow the three landlock calls"),
    ] {
        let host = || denying([&format!("landlock_create_ruleset={errno}")]);

        let run = Jail::new().through(host()).probe(["uid"]);
        refused_with_report(&run, "landlock", cause, remedy);
        assert!(run.err().contains("--allow-degraded landlock"), "{run}");

        let run = Jail::new().through(host()).args(["--allow-degraded", "landlock"]).probe(["uid"]);
        ran_without(&run, &["landlock"]);
        assert_eq!(run.field("/posture/landlock_abi"), 0, "{run}");
        assert!(run.field("/posture/layers/landlock/reason").as_str().unwrap().contains(cause), "{run}");
    }
}

#[test]
fn host_landlock_that_can_be_asked_for_and_not_be_had() {
    let run = Jail::new().through(denying(["landlock_restrict_self=EPERM"])).probe(["uid"]);

    refused_with_report(&run, "landlock", "landlock restrict: operation not permitted", "seccomp profile");
}

#[test]
fn host_old_landlock() {
    needs!(root);
    // A kernel can be made to look older than it is, not newer.
    let own = Jail::new().probe(["uid"]).number("/posture/landlock_abi");
    assert!(own > 0);
    for abi in (1..=own.min(7)).map(|abi| abi.to_string()) {
        let host = || [probe_binary().display().to_string(), "landlock-abi".into(), abi.clone(), "--".into()];
        // The neighbour: the mounts say the same as the rules, so nothing is lost with an old ABI.
        let run = Jail::new().through(host()).probe(["uid"]);
        ran_in_full(&run);
        assert_eq!(run.number("/posture/landlock_abi").to_string(), abi, "{run}");

        // But one thing, which Landlock does alone.
        let host_network = || Jail::new().through(host()).args(["--net", "host"]);
        let run = host_network().probe(["uid"]);
        if abi.parse::<u32>().unwrap() >= 6 {
            ran_in_full(&run);
            continue;
        }
        refused_with_report(&run, "landlock", &format!("this kernel has ABI {abi}"), "Linux 6.12");
        let run = host_network().args(["--allow-degraded", "landlock"]).probe(["uid"]);
        ran_without(&run, &["landlock"]);
        assert_eq!(run.field("/posture/layers/landlock/applied"), true, "what there is of it is used: {run}");
    }
}

#[test]
fn host_without_clone3_gives_full_isolation() {
    // Docker's filter hides clone3 from whoever lacks CAP_SYS_ADMIN; the older call does as well.
    let run = Jail::new().through(denying(["clone3=ENOSYS"])).probe(["caps"]);
    ran_in_full(&run);
    run.assert_clean();

    let run = Jail::new().through(denying(["clone3=ENOSYS"])).args(["-t", "1s"]).probe(["sleep", "60000"]);
    assert_eq!(run.verdict(), "wall_time", "{run}");
    run.assert_clean();
}

#[test]
fn host_whose_filter_forbids_user_namespaces() {
    // Docker's default: clone3 is hidden so that the flags of clone can be looked at.
    let run = Jail::new().through(denying(["clone3=ENOSYS", "clone-newuser=EPERM"])).probe(["uid"]);
    refused_with_report(&run, "namespaces", "operation not permitted", "--isolation landlock");

    let run = Jail::new().through(denying(["clone3=EPERM"])).probe(["uid"]);
    refused_with_report(&run, "namespaces", "operation not permitted", "kernel.unprivileged_userns_clone");
}

#[test]
fn host_with_namespaces_without_capabilities() {
    // What Ubuntu's AppArmor restriction looks like from inside: the namespace and its maps, and nothing else.
    let mut calls = vec!["unshare=EPERM", "mount_setattr=EPERM", "fsopen=EPERM", "sethostname=EPERM"];
    if crate::support::is_root() {
        // There the caller's own capabilities are beside the point.
        calls.retain(|call| !call.starts_with("mount_setattr"));
    }
    for first in 0..calls.len() {
        let denied: Vec<String> = calls[first..].iter().map(|call| (*call).to_owned()).collect();
        let mut host = vec![probe_binary().display().to_string(), "deny".to_owned()];
        host.extend(denied);
        host.push("--".to_owned());
        let run = Jail::new().through(host).probe(["uid"]);
        refused_with_report(&run, "namespaces", "operation not permitted", "AppArmor");
    }
}

#[test]
fn host_that_lets_root_mount_nothing() {
    needs!(root);
    let run = Jail::new().through(denying(["open_tree=EPERM"])).probe(["uid"]);

    refused_with_report(&run, "rootfs", "clone the mount of", "ordinary user");
}

#[test]
fn host_without_the_mount_calls() {
    for call in ["fsopen=ENOSYS", "mount_setattr=ENOSYS", "move_mount=ENOSYS", "open_tree=ENOSYS"] {
        let run = Jail::new().through(denying([call])).probe(["uid"]);
        refused_with_report(&run, "rootfs", "function not implemented", "Linux 5.12");
    }
}

#[test]
fn host_whose_root_cannot_be_left() {
    // The initial ramfs, on which pivot_root(2) is EINVAL.
    let run = Jail::new().through(denying(["pivot_root=EINVAL"])).probe(["uid"]);

    refused_with_report(&run, "rootfs", "pivot_root: invalid argument", "switch_root");
}

#[test]
fn host_without_filters() {
    let run = Jail::new().through(denying(["seccomp=EINVAL"])).probe(["uid"]);

    refused_with_report(&run, "seccomp", "invalid argument", "CONFIG_SECCOMP_FILTER");
}
