//! ENV: what the program inherits from the caller.
//!
//! For: claims ENV-1 to ENV-5.
//! Not for: files (see `fs`).
//! Runs in: the test process.

use super::{Jail, needs, outside};
use crate::support::probe_binary;

/// The whole environment, with the caller's terminal.
fn minimum(term: &str) -> String {
    format!(
        "HOME=/home/jail JAIL=1 LANG=C.UTF-8 LOGNAME=jail PATH=/usr/local/bin:/usr/bin:/bin TERM={term} TMPDIR=/tmp USER=jail"
    )
}

#[test]
fn claim_env_1_the_callers_variables_are_absent() {
    let jail = Jail::new().env("SECRET_TOKEN", "hunter2").env("LD_PRELOAD_TEST", "x").env("TERM", "test-terminal");
    let control = std::process::Command::new(probe_binary()).arg("env").env("SECRET_TOKEN", "hunter2").output();
    assert!(String::from_utf8(control.unwrap().stdout).unwrap().contains(" SECRET_TOKEN=hunter2"));

    let run = jail.probe(["env"]);

    assert_eq!(run.answer(), format!("ok {}", minimum("test-terminal")));
}

#[test]
fn claim_env_1_without_a_terminal_it_is_dumb() {
    let run = Jail::new().through(["/usr/bin/env", "-u", "TERM"]).probe(["env"]);

    assert_eq!(run.answer(), format!("ok {}", minimum("dumb")));
}

#[test]
fn claim_env_1_what_is_named_is_passed() {
    let jail = Jail::new().env("TOKEN", "kept").env("OTHER", "dropped").env("TERM", "t");

    let run =
        jail.args(["-e", "TOKEN", "--env", "ADDED=value", "--setenv", "USER=somebody", "-e", "ABSENT"]).probe(["env"]);

    let expected = format!("ADDED=value {}", minimum("t")).replace("TERM=t", "TERM=t TMPDIR=/tmp TOKEN=kept");
    let expected = expected.replace("TOKEN=kept TMPDIR=/tmp", "TOKEN=kept").replace("USER=jail", "USER=somebody");
    assert_eq!(run.answer(), format!("ok {expected}"));
}

#[test]
fn claim_env_2_inherited_descriptors_are_closed() {
    let leak = [probe_binary().into_os_string(), "exec-with-fd".into(), "57".into(), "/etc/passwd".into()];
    let mut control = vec!["exec-with-fd".into(), "57".into(), "/etc/passwd".into(), probe_binary().into_os_string()];
    control.push("fds".into());
    assert!(outside(control).split(' ').any(|fd| fd == "57"));

    let run = Jail::new().through(leak).probe(["fds"]);

    assert_eq!(run.answer(), "ok 0 1 2");
}

#[test]
fn claim_env_2_init_keeps_none_but_its_own() {
    // From outside, where only root may look at a process that is not dumpable.
    needs!(root);
    let leak = [probe_binary().into_os_string(), "exec-with-fd".into(), "57".into(), "/etc/passwd".into()];
    let mut live = Jail::new().through(leak).start_probe(["sleep", "30000"]);
    live.wait_ready();
    let init = live.inside().into_iter().min().unwrap();

    let links = std::fs::read_dir(format!("/proc/{init}/fd")).unwrap().map(|entry| entry.unwrap().path());
    let mut held: Vec<String> = links.map(|link| std::fs::read_link(link).unwrap().display().to_string()).collect();
    held.sort();

    // How the payload ended, the tie to the supervisor, and who has ended; no end of the program's streams.
    assert_eq!(held.len(), 3, "{held:?}");
    assert!(held[0] == "anon_inode:[signalfd]" && held[1..].iter().all(|name| name.starts_with("pipe:")), "{held:?}");
    live.signal(nix::sys::signal::Signal::SIGTERM);
    live.wait().assert_clean();
}

#[test]
fn claim_env_3_the_host_is_not_named() {
    let node = std::process::Command::new("/bin/uname").arg("-n").output().unwrap();
    assert_ne!(String::from_utf8(node.stdout).unwrap().trim(), "jail", "this host would give the test nothing to tell");

    let run = Jail::new().probe(["batch", "hostname", "cwd"]);
    let expected = format!("hostname: ok jail jail\ncwd: ok {}", run.workspace().display());
    assert_eq!(run.answer(), expected);

    let run = Jail::new().args(["--hostname", "other"]).probe(["hostname"]);
    assert_eq!(run.answer(), "ok other other");
}

#[test]
fn claim_env_4_signals_are_as_the_kernel_makes_them() {
    // A caller that ignores SIGPIPE and SIGINT, as many daemons and shells do for their children.
    let script = "trap '' PIPE INT; exec \"$@\"";
    let control = std::process::Command::new("/bin/sh")
        .args(["-c", script, "sh", "/bin/grep", "^SigI", "/proc/self/status"])
        .output();
    let control = String::from_utf8(control.unwrap().stdout).unwrap();
    let ignored = u64::from_str_radix(control.trim_start_matches("SigIgn:").trim(), 16).unwrap();
    assert_eq!(ignored & 0x1002, 0x1002, "{control}");

    let run = Jail::new().through(["/bin/sh", "-c", script, "sh"]).run(["/bin/grep", "^Sig[BI]", "/proc/self/status"]);

    let zero = "0000000000000000";
    assert_eq!(run.out(), format!("SigBlk:\t{zero}\nSigIgn:\t{zero}"), "{run}");
}

#[test]
fn claim_env_5_the_mode_mask_is_not_the_callers() {
    let calls = ["batch", "create /tmp/file", "mkdir /tmp/dir", "stat /tmp/file", "stat /tmp/dir", "list /home"];
    let made = |mask: &str| {
        // Without a report, which that mask is for.
        let caller = format!("umask {mask}; exec \"$@\"");
        Jail::new().without_report().through(["/bin/sh", "-c", &caller, "sh"]).probe(calls).answer()
    };
    let expected = "create /tmp/file: ok\nmkdir /tmp/dir: ok\nstat /tmp/file: ok 100644\nstat /tmp/dir: ok 40755\n\
                    list /home: ok jail";

    assert_eq!(made("000"), expected);
    // The jail's own directories could not even be listed, were they made with that.
    assert_eq!(made("0477"), expected);
}
