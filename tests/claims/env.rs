//! ENV: what the program inherits from the caller.
//!
//! For: claims ENV-1 to ENV-4.
//! Not for: files (see `fs`).
//! Runs in: the test process.

use super::{Jail, outside};
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
fn claim_env_3_the_host_is_not_named() {
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

    let run = Jail::new().through(["/bin/sh", "-c", script, "sh"]).run(["/bin/grep", "^Sig[BI]", "/proc/self/status"]);

    let zero = "0000000000000000";
    assert_eq!(run.out(), format!("SigBlk:\t{zero}\nSigIgn:\t{zero}"), "{run}");
}
