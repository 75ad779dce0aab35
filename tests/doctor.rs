//! `jail doctor`: what it says of this host and of hosts that lack something, each made for real.
//!
//! For: that its word and a run's agree, that each gap is named with its errno and the right remedy, and that
//! nothing is left behind.
//! Not for: the words of remedies for machines that this is not (their tests stand beside the code).
//! Runs in: the caller's place.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::{self, Jail, needs};

/// What the doctor found, started through `launcher`, in a fresh directory. Its exit code has to agree with it, and
/// a run through the same launcher with both.
#[track_caller]
fn examine<const N: usize>(launcher: [&str; N], options: &[&str]) -> Value {
    let folder = support::folder();
    let jail = support::jail_binary();
    let mut line: Vec<String> = launcher.iter().map(|&word| word.to_owned()).collect();
    line.extend([jail.display().to_string(), "doctor".to_owned(), "--json".to_owned()]);
    line.extend(options.iter().map(|&word| word.to_owned()));
    let Output { status, stdout, stderr } =
        Command::new(&line[0]).args(&line[1..]).current_dir(folder.path()).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&stderr);
    let found: Value = serde_json::from_slice(&stdout).unwrap_or_else(|error| panic!("{error}: {line:?}: {said}"));
    check_schema(&found);
    let code = if found["would_run"] == true { 0 } else { 125 };
    assert_eq!(status.code(), Some(code), "{found:#}");
    assert_eq!(said, "");

    let run = Jail::strictly().args(options).through(launcher).run(["/usr/bin/true"]);
    assert_eq!(run.code, Some(code), "the doctor and the run do not agree: {run}\n{found:#}");
    if code == 0 {
        let report = run.report();
        for layer in found["layers"].as_array().unwrap() {
            let applied = &report["posture"]["layers"][layer["layer"].as_str().unwrap()]["applied"];
            assert_eq!(*applied, layer["with_profile"] == "enforced", "{layer:#}");
        }
    }
    found
}

#[track_caller]
fn check_schema(found: &Value) {
    let schema: Value = serde_json::from_str(include_str!("../schema/doctor-1.json")).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = schema.iter_errors(found).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "the doctor breaks its schema: {errors:#?}\n{found:#}");
}

#[track_caller]
fn layer<'a>(found: &'a Value, name: &str) -> &'a Value {
    found["layers"].as_array().unwrap().iter().find(|layer| layer["layer"] == name).unwrap()
}

#[track_caller]
fn step<'a>(found: &'a Value, of: &str, name: &str) -> &'a Value {
    layer(found, of)["steps"].as_array().unwrap().iter().find(|step| step["step"] == name).unwrap()
}

/// Every line that a step's remedies say to type or write.
fn lines(step: &Value) -> String {
    step["remedies"].to_string()
}

fn options() -> &'static [&'static str] {
    if support::degraded() { &["--allow-degraded", "cgroup"] } else { &[] }
}

#[test]
fn a_host_that_runs_jails_is_found_to_and_gets_what_it_says() {
    let found = examine([] as [&str; 0], options());
    assert_eq!(found["would_run"], true);
    for name in ["namespaces", "rootfs", "ids", "caps", "seccomp", "rlimits", "net"] {
        let layer = layer(&found, name);
        assert_eq!((&layer["works"], &layer["with_profile"]), (&true.into(), &"enforced".into()), "{layer:#}");
    }
    for name in ["cgroup.memory", "cgroup.pids", "cgroup.cpu"] {
        let layer = layer(&found, name);
        let (with_profile, tier) =
            if support::degraded() { ("degraded", Value::Null) } else { ("enforced", layer["tier"].clone()) };
        assert_eq!((&layer["with_profile"], &layer["tier"]), (&with_profile.into(), &tier), "{layer:#}");
        assert_eq!(tier.is_null(), support::degraded());
    }
}

#[test]
fn without_a_cgroup_the_way_to_one_is_named_and_the_run_is_refused() {
    needs!(user);
    if !support::degraded() {
        return support::skip("a caller without a cgroup");
    }
    let found = examine([] as [&str; 0], &[]);
    assert_eq!(found["would_run"], false);
    assert!(found["error"]["message"].as_str().unwrap().contains("cgroup.memory"));
    for name in ["cgroup.memory", "cgroup.pids", "cgroup.cpu"] {
        assert_eq!(layer(&found, name)["with_profile"], "missing");
        assert!(lines(step(&found, name, "group")).contains("--allow-degraded cgroup"));
    }
    // The others are not dragged along.
    assert_eq!(layer(&found, "rootfs")["works"], true);
}

#[test]
fn a_switched_off_user_namespace_is_named_with_its_switch() {
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";
    let found = examine(["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh"], options());
    assert_eq!(found["would_run"], false);
    let user = step(&found, "namespaces", "user");
    assert_eq!((&user["outcome"], &user["errno"]), (&"fails".into(), &"ENOSPC".into()), "{user:#}");
    assert!(user["cause"].as_str().unwrap().contains("user.max_user_namespaces is 0"), "{user:#}");
    assert!(lines(user).contains("user.max_user_namespaces = 15000"), "{user:#}");
    // What stands on it cannot be known, what does not still works.
    assert_eq!(step(&found, "namespaces", "mount")["outcome"], "untried");
    assert_eq!(step(&found, "rootfs", "proc")["outcome"], "untried");
    assert_eq!(step(&found, "seccomp", "filter")["outcome"], "works");
    assert_eq!(step(&found, "rlimits", "soft and hard")["outcome"], "works");
}

#[test]
fn a_masked_proc_is_named_with_the_engines_settings() {
    needs!(root);
    let script = "mount --bind /dev/null /proc/version && exec \"$@\"";
    let found = examine(["unshare", "--mount", "sh", "-c", script, "sh"], options());
    assert_eq!(found["would_run"], false);
    let proc = step(&found, "rootfs", "proc");
    assert_eq!((&proc["outcome"], &proc["errno"]), (&"fails".into(), &"EPERM".into()), "{proc:#}");
    assert!(proc["cause"].as_str().unwrap().contains("/proc/version is covered"), "{proc:#}");
    // Those of the engine that this shows signs of, or of all.
    let settings =
        [("docker", "systempaths=unconfined"), ("podman", "unmask=/proc/*"), ("kubernetes", "procMount: Unmasked")];
    let here = found["host"]["container"].as_str().filter(|name| *name != "unknown");
    for (_, setting) in settings.iter().filter(|(engine, _)| here.is_none_or(|here| here == *engine)) {
        assert!(lines(proc).contains(setting), "{proc:#}");
    }
    for name in ["tmpfs", "bind", "pty", "pivot_root"] {
        assert_eq!(step(&found, "rootfs", name)["outcome"], "works", "{name}");
    }
}

#[test]
fn a_chroot_is_named_as_one() {
    needs!(root);
    let folder = support::folder();
    let root = folder.path().join("root");
    std::fs::create_dir_all(root.join("proc")).unwrap();
    std::fs::create_dir(root.join("bin")).unwrap();
    support::copy_program(&support::jail_binary(), &root.join("bin/jail"));
    let script = "mount -t proc proc root/proc && exec chroot root /bin/jail doctor --json --no-workspace";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    check_schema(&found);
    let user = step(&found, "namespaces", "user");
    assert_eq!((&user["outcome"], &user["errno"]), (&"fails".into(), &"EPERM".into()), "{user:#}");
    assert!(user["cause"].as_str().unwrap().contains("chroot"), "{user:#}");
    assert!(lines(user).contains("systemd-nspawn"), "{user:#}");
}

#[test]
fn without_proc_it_says_so_and_tries_nothing() {
    needs!(root);
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", "mount -t tmpfs none /proc && exec \"$@\"", "sh"])
        .arg(support::jail_binary())
        .args(["doctor", "--json"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    check_schema(&found);
    assert!(found["error"]["message"].as_str().unwrap().contains("/proc/self/status"), "{found:#}");
    assert_eq!(step(&found, "rootfs", "proc")["outcome"], "untried");
}

#[test]
fn the_table_fits_80_columns_and_ends_with_the_answer() {
    let folder = support::folder();
    let text = |options: &[&str]| {
        let output =
            Command::new(support::jail_binary()).arg("doctor").args(options).current_dir(folder.path()).output();
        let output = output.unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, table) = text(options());
    assert_eq!(code, Some(0), "{table}");
    assert!(table.contains("A run with strict starts here."), "{table}");
    // What is to be copied is indented by six and never broken.
    let wide: Vec<&str> =
        table.lines().filter(|line| line.chars().count() > 80 && !line.starts_with("      ")).collect();
    assert!(wide.is_empty(), "{wide:#?}");
    let order: Vec<usize> = ["\nnamespaces", "\nrootfs", "\nlandlock", "\ncgroup.memory", "\nnet"]
        .map(|name| table.find(name).unwrap())
        .into();
    assert!(order.is_sorted(), "{table}");
    // Another profile is asked for by its name.
    let mut judge = vec!["--profile", "judge"];
    judge.extend(options());
    assert!(text(&judge).1.contains("A run with judge starts here."));
}

#[test]
fn nothing_is_left_behind() {
    let folder = support::folder();
    let before = support::Before::new(folder.path(), folder.path());
    let mut doctor = Command::new(support::jail_binary())
        .args(["doctor", "--workspace"])
        .arg(folder.path())
        .args(options())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Its groups are named after it.
    let groups = format!("jail-{}-", doctor.id());
    assert!(doctor.wait().unwrap().success());
    assert_eq!(before.leftovers(Some(&groups)), Vec::<String>::new());
}
