//! Hosts that lack something, each made for real: a filter around `jail` like a container's, or private namespaces.
//!
//! For: "no silent weakness". Each host gives full isolation, or exit 125 with the layer, the cause and the remedy;
//! what was given up by name is listed, and nothing else.
//! Not for: old kernels (the guests of `scripts/kernels`), or which ABI of Landlock knows what (unit tests).
//! Runs in: the test process.

mod calls;
mod landlock;
mod places;

use crate::support::{Jail, Run, copy_program, degraded, jail_binary, needs, outside, probe_binary, validate};

const CGROUP: [&str; 3] = ["cgroup.memory", "cgroup.pids", "cgroup.cpu"];

/// `probe deny …`: the words before `--`.
fn denying<const N: usize>(calls: [&str; N]) -> Vec<String> {
    let mut line = vec![probe_binary().display().to_string(), "deny".to_owned()];
    line.extend(calls.map(str::to_owned));
    line.push("--".to_owned());
    line
}

/// A shell that does `script`, whose `"$@"` is the command line of `jail`.
fn shell(script: &str) -> Vec<String> {
    ["/bin/sh", "-euc", script, "sh"].map(str::to_owned).to_vec()
}

/// The same in a mount namespace of its own, from which nothing gets out.
fn mounting(script: &str) -> Vec<String> {
    let mut line = ["/usr/bin/unshare", "--mount", "--propagation", "private"].map(str::to_owned).to_vec();
    line.extend(shell(script));
    line
}

/// The program ran with every layer but `given_up`, which is what the report says was given up.
#[track_caller]
fn ran_without(run: &Run, given_up: &[&str]) {
    assert_eq!(run.code, Some(0), "{run}");
    validate(run.report());
    let mut expected: Vec<&str> = given_up.to_vec();
    if degraded() {
        expected.extend(CGROUP);
    }
    expected.sort_unstable();
    expected.dedup();
    let mut listed: Vec<&str> =
        run.field("/posture/degraded").as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    listed.sort_unstable();
    assert_eq!(listed, expected, "{run}");
    for (name, status) in run.field("/posture/layers").as_object().unwrap() {
        let whole = !expected.contains(&name.as_str());
        assert_eq!(status["reason"].is_null(), whole, "{name}: {run}");
        if whole {
            assert_eq!(status["applied"], true, "{name}: {run}");
        }
    }
}

/// Everything that was asked for.
#[track_caller]
fn ran_in_full(run: &Run) {
    ran_without(run, &[]);
}

/// The program did not run: exit 125, with the layer, the cause, the remedy in one sentence, and where to look.
#[track_caller]
fn refused(run: &Run, layer: &str, cause: &str, remedy: &str) {
    assert_eq!(run.code, Some(125), "{run}");
    assert_eq!(run.out(), "", "{run}");
    let message = run.err();
    let lines: Vec<&str> = message.lines().collect();
    let [what, hint, pointer] = lines[..] else { panic!("not three lines: {run}") };
    assert!(what.starts_with(&format!("jail: {layer} cannot be enforced here: ")), "{run}");
    assert!(what.contains(cause), "no {cause:?}: {run}");
    assert!(hint.starts_with("hint: ") && hint.contains(remedy), "no {remedy:?}: {run}");
    assert!(pointer.starts_with("hint: jail doctor "), "{run}");
    run.assert_clean();
}

/// The same, where the report can be written.
#[track_caller]
fn refused_with_report(run: &Run, layer: &str, cause: &str, remedy: &str) {
    refused(run, layer, cause, remedy);
    validate(run.report());
    assert_eq!(run.field("/error/kind"), "unsupported", "{run}");
    assert!(run.field("/exit").is_null(), "{run}");
    let layers = run.field("/posture/layers").as_object().unwrap();
    assert!(layers.values().all(|status| status["applied"] == false), "{run}");
}
