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
fn examine(launcher: &[&str], options: &[&str]) -> Value {
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
    let found = examine(&[], options());
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
        return support::leave_to_another_host("no-cgroup", "a caller without a cgroup");
    }
    let found = examine(&[], &[]);
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
    let found = examine(&["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh"], options());
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

/// What container filters and kernels without a part refuse, and the step and the remedy that it comes to.
const REFUSALS: [(&[&str], &str, &str, &str, &str); 9] = [
    (&["clone3=ENOSYS", "clone-newuser=EPERM"], "namespaces", "user", "EPERM", "jail-seccomp.json"),
    (&["clone3=EPERM"], "namespaces", "clone", "EPERM", "jail-seccomp.json"),
    (&["unshare=EPERM"], "namespaces", "cgroup", "EPERM", "jail-seccomp.json"),
    (&["sethostname=EPERM"], "namespaces", "uts", "EPERM", "jail-seccomp.json"),
    (&["fsopen=EPERM"], "rootfs", "tmpfs", "EPERM", "jail-seccomp.json"),
    (&["pivot_root=EINVAL"], "rootfs", "pivot_root", "EINVAL", "switch_root"),
    (&["landlock_create_ruleset=EOPNOTSUPP"], "landlock", "rules", "EOPNOTSUPP", "lsm=landlock,"),
    (&["landlock_create_ruleset=ENOSYS"], "landlock", "rules", "ENOSYS", "--allow-degraded landlock"),
    (&["seccomp=EINVAL"], "seccomp", "filter", "EINVAL", "CONFIG_SECCOMP_FILTER=y"),
];

#[test]
fn each_refusal_is_found_at_its_step_with_its_remedy() {
    let probe = support::probe_binary().display().to_string();
    for (calls, of, name, errno, remedy) in REFUSALS {
        let mut launcher = vec![probe.as_str(), "deny"];
        launcher.extend(calls);
        launcher.push("--");
        let found = examine(&launcher, options());
        assert_eq!((&found["would_run"], &found["host"]["filtered"]), (&false.into(), &true.into()), "{calls:?}");
        let refused = step(&found, of, name);
        assert_eq!((&refused["outcome"], &refused["errno"]), (&"fails".into(), &errno.into()), "{calls:?}: {found:#}");
        assert_eq!(refused["needed"], true, "{calls:?}: {refused:#}");
        assert!(lines(refused).contains(remedy), "{calls:?}: no {remedy}: {refused:#}");
        assert_eq!(layer(&found, of)["with_profile"], "missing", "{calls:?}");
    }
}

#[test]
fn what_was_given_up_by_name_is_no_gap_and_a_hidden_clone3_is_none_either() {
    let probe = support::probe_binary().display().to_string();
    let mut given_up = vec!["--allow-degraded", "landlock"];
    given_up.extend(options());
    let found = examine(&[&probe, "deny", "landlock_create_ruleset=ENOSYS", "--"], &given_up);
    assert_eq!(found["would_run"], true);
    assert_eq!(layer(&found, "landlock")["with_profile"], "degraded");

    let found = examine(&[&probe, "deny", "clone3=ENOSYS", "--"], options());
    assert_eq!(found["would_run"], true);
    assert_eq!(layer(&found, "namespaces")["tier"], "clone, for clone3 is hidden");
}

#[test]
fn a_masked_proc_is_named_with_the_engines_settings() {
    needs!(root);
    let script = "mount --bind /dev/null /proc/version && exec \"$@\"";
    // A whole /proc: one of processes alone is not held up by masks from Linux 7 on.
    let options = [options(), &["--profile", "build", "--workspace-access", "read"]].concat();
    let found = examine(&["unshare", "--mount", "sh", "-c", script, "sh"], &options);
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

#[test]
fn the_profiles_that_remedies_install_are_there() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let profile = text("contrib/apparmor/jail");
    // What the remedy's sed replaces, and what it is for.
    assert_eq!(profile.matches("\nprofile jail /usr/local/bin/jail flags=(unconfined) {").count(), 1);
    assert!(profile.contains("\n  userns,\n"));
    assert!(text("contrib/apparmor/jail-container").contains("\nprofile jail-container "));
    let version = Command::new("apparmor_parser").arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    if !version.contains("version 4") {
        return support::leave_to_another_host("apparmor", "apparmor_parser from 4.0 on");
    }
    for name in ["jail", "jail-container"] {
        let path = root.join("contrib/apparmor").join(name);
        let parsed = Command::new("apparmor_parser").args(["-Q", "-K"]).arg(path).output().unwrap();
        assert!(parsed.status.success(), "{name}: {parsed:?}");
    }
}

#[test]
fn a_profile_of_an_engine_is_widened_by_what_jail_needs_and_no_more() {
    use std::io::Write as _;
    let widen = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/containers/widen-seccomp");
    let mut child =
        Command::new(widen).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3 is on the PATH");
    let default = r#"{"defaultAction": "SCMP_ACT_ERRNO", "archMap": [], "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["clone3", "keyctl"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]}"#;
    child.stdin.take().unwrap().write_all(default.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(made["defaultAction"], "SCMP_ACT_ERRNO");
    let rules = made["syscalls"].as_array().unwrap();
    assert_eq!(rules[0]["names"], serde_json::json!(["read"]));
    assert_eq!(rules[1]["names"], serde_json::json!(["keyctl"]));
    assert_eq!((rules.len(), &rules[2]["action"]), (3, &"SCMP_ACT_ALLOW".into()));
    let allowed: Vec<&str> = rules[2]["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(allowed.contains(&"clone3") && allowed.contains(&"pivot_root"));
    for never in ["mount", "setns", "ptrace", "bpf", "keyctl", "chroot", "mknod", "init_module"] {
        assert!(!allowed.contains(&never), "{never}");
    }
}
