//! `jail selftest`: the battery holds here, and it notices when something does not.
//!
//! For: the shipped command with its whole battery, its document, and the negative side: a sandbox that is none, a
//! program that the profile breaks, what the profile grants.
//! Not for: what a single case tries; the battery's own tables say that.
//! Runs in: the test process. The attempts run in jails; where a sandbox is pretended, only such as are harmless.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::{copy_program, degraded, folder, jail_binary};

/// The battery with its temporary things in that directory, of which nothing may be left.
fn selftest(place: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(jail_binary());
    command.arg("selftest").args(args).env("TMPDIR", place).stdin(Stdio::null());
    if degraded() {
        command.args(["--allow-degraded", "cgroup"]);
    }
    command
}

#[track_caller]
fn run(args: &[&str]) -> Output {
    let place = folder();
    let output = selftest(place.path(), args).output().unwrap();
    let left: Vec<_> = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "left: {left:?}");
    output
}

/// The document, held against its schema.
#[track_caller]
fn document(output: &Output) -> Value {
    static SCHEMA: OnceLock<jsonschema::Validator> = OnceLock::new();
    let schema = SCHEMA.get_or_init(|| {
        let schema: Value = serde_json::from_str(include_str!("../schema/selftest-1.json")).unwrap();
        jsonschema::validator_for(&schema).unwrap()
    });
    let text = String::from_utf8_lossy(&output.stdout);
    let document: Value = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    let errors: Vec<String> = schema.iter_errors(&document).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    document
}

/// `id: outcome (detail)` of the cases with that outcome.
fn with(document: &Value, outcome: &str) -> Vec<String> {
    let cases = document["cases"].as_array().unwrap().iter().filter(|case| case["outcome"] == outcome);
    cases.map(|case| format!("{} ({})", case["id"].as_str().unwrap(), case["detail"].as_str().unwrap())).collect()
}

#[track_caller]
fn case<'a>(document: &'a Value, id: &str) -> &'a Value {
    let cases = document["cases"].as_array().unwrap();
    cases.iter().find(|case| case["id"] == id).unwrap_or_else(|| panic!("no {id} in {document:#}"))
}

#[test]
fn the_whole_battery_holds_here() {
    let output = run(&["--json"]);
    let document = document(&output);
    let failed = with(&document, "failed");
    assert!(failed.is_empty(), "{failed:#?}\nnot judged: {:#?}", with(&document, "not_judged"));
    assert_eq!((output.status.code(), &document["held"]), (Some(0), &Value::Bool(true)));
    let cases = document["cases"].as_array().unwrap();
    let works = cases.iter().filter(|case| case["class"] == "works").count();
    assert!(works >= 20 && cases.len() - works >= 100, "{works} programs of {} cases", cases.len());
    // What this suite needs anyway is there, so that much can be judged on any machine that runs it.
    let (held, works) = (with(&document, "held").len(), with(&document, "works").len());
    assert!(held >= 100 && works >= 15, "{held} held, {works} work: {:#?}", with(&document, "not_judged"));
    if !degraded() {
        for bomb in ["rs-forks", "rs-reforks", "rs-memory", "rs-memory-tree", "rs-cpu-children"] {
            assert_eq!(case(&document, bomb)["outcome"], "held", "{bomb}");
        }
    }
}

/// A program in the place of `jail` that runs what it is given without any sandbox, and reports what one would.
const PRETENDER: &str = r#"#!/bin/sh
while [ "$1" != -- ]; do
  if [ "$1" = --report ]; then report=$2; fi
  if [ "$1" = --workspace ]; then workspace=$2; fi
  shift
done
shift
cd "$workspace" && "$@"
code=$?
cp "$HONEST_REPORT" "$report"
exit $code
"#;

#[test]
fn a_sandbox_that_only_pretends_is_noticed() {
    // The self-test starts the program that it is itself. One that was removed is named "… (deleted)": there
    // stands what pretends.
    let place = folder();
    let tools = place.path().join("tools");
    let work = place.path().join("work");
    for dir in [&tools, &work] {
        fs::create_dir(dir).unwrap();
    }
    let program = tools.join("jail");
    copy_program(&jail_binary(), &program);
    let report = tools.join("report.json");
    let mut honest = Command::new(&program);
    honest
        .arg("--report")
        .arg(&report)
        .args(degraded().then_some(["--allow-degraded", "cgroup"]).into_iter().flatten());
    assert!(honest.arg("/usr/bin/true").current_dir(&work).status().unwrap().success());
    let pretender = tools.join("jail (deleted)");
    fs::write(&pretender, PRETENDER).unwrap();
    fs::set_permissions(&pretender, fs::Permissions::from_mode(0o755)).unwrap();

    // Only what is tried outside anyway, as its own positive control.
    let harmless = "fs-read,fs-list,fs-climb,fs-init-program,fs-descriptors,pr-see,pr-host-files,pr-namespaces,\
                    ks-bpf,ks-userfaultfd,ks-io-uring,ks-socket-families,ks-terminal-input,ks-unseen-arguments,\
                    ks-init-module,nw-tcp,nw-unix,nw-abstract,in-environment,in-mounts,in-neighbours";
    let script = "exec 9<\"$0\"; rm \"$0\"; exec /proc/self/fd/9 selftest --json --only \"$1\"";
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).arg(&program).arg(harmless);
    let output = command.env("TMPDIR", place.path()).env("HONEST_REPORT", &report).stdin(Stdio::null()).output();
    let output = output.unwrap();
    let document = document(&output);
    let (held, failed) = (with(&document, "held"), with(&document, "failed"));
    assert!(held.is_empty(), "nothing can hold without a sandbox: {held:#?}");
    assert!(failed.len() >= 15, "{failed:#?}\nnot judged: {:#?}", with(&document, "not_judged"));
    assert_eq!((output.status.code(), &document["held"]), (Some(1), &Value::Bool(false)));
}

#[test]
fn what_the_profile_shows_is_granted_and_seen_and_still_not_written() {
    let place = folder();
    let shown = place.path().to_str().unwrap();
    let ids = "fs-read,fs-list,fs-change,fs-remove,fs-intact,nw-tcp,nw-unix";
    // Older kernels' Landlock cannot do all that the host's network asks of it.
    let args = ["--json", "--only", ids, "--ro", shown, "--net", "host", "--allow-degraded", "landlock"];
    let output = selftest(place.path(), &args).output().unwrap();
    let document = document(&output);
    assert_eq!(output.status.code(), Some(0), "{document:#}");
    for id in ["fs-read", "fs-list", "nw-tcp"] {
        let case = case(&document, id);
        let detail = case["detail"].as_str().unwrap();
        assert!(case["outcome"] == "granted" && detail.contains(": ok"), "{case:#}");
    }
    for id in ["fs-change", "fs-remove"] {
        let case = case(&document, id);
        assert!(case["outcome"] == "held" && case["detail"] == "EROFS", "{case:#}");
    }
    assert_eq!(case(&document, "fs-intact")["outcome"], "held");
}

#[test]
fn a_profile_that_breaks_programs_fails_the_battery() {
    let output = run(&["--only", "works-shell", "--syscalls-deny", "pipe,pipe2"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("\nFAILED:\n  works-shell") && text.contains("1 FAILED"), "{text}");
}

#[test]
fn what_is_not_installed_is_said_and_fails_only_when_everything_is_required() {
    let only = ["--only", "works-node,works-perl", "--env", "PATH=/usr/lib/no-such-place"];
    let output = run(&only);
    let text = String::from_utf8_lossy(&output.stdout);
    // Nothing is left that could be judged.
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("not judged works-node") && text.contains("is not installed in the view"), "{text}");
    let mut both = vec!["--only", "fs-read"];
    both.extend(only);
    assert_eq!(run(&both).status.code(), Some(0));
    both.push("--require-all");
    assert_eq!(run(&both).status.code(), Some(1));
}

#[test]
fn words_that_mean_nothing_are_refused_before_anything_is_made() {
    for (args, said) in [
        (&["--only", "fs-raed"][..], "jail: \"fs-raed\" is neither a case nor a class (see jail selftest --list)\n"),
        (&["--only", "fs-read", "--skip", "files"], "jail: no case is left to run (--only and --skip leave none)\n"),
        (&["--workspace", "/tmp"], "jail: --workspace and --chdir: the self-test works in directories of its own\n"),
        (
            &["--profile", "no-such"],
            "jail: no profile is named \"no-such\" (shipped are strict, judge, build, agent)\n",
        ),
    ] {
        let output = run(args);
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(125), said));
        assert!(output.stdout.is_empty());
    }
    let list = run(&["--list"]);
    let text = String::from_utf8_lossy(&list.stdout);
    assert!(list.status.success() && text.contains("\n  fs-read ") && text.lines().count() > 150, "{text}");
}

#[test]
fn a_host_that_cannot_is_told_as_by_a_run() {
    let place = folder();
    let mut command = Command::new(jail_binary());
    let output = command.args(["selftest", "--only", "fs-read", "--ro", "/no/such/place"]).env("TMPDIR", place.path());
    let output = output.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(said.contains("cannot show /no/such/place") && said.contains("hint: "), "{said}");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}

#[test]
fn an_interrupt_leaves_nothing() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let place = folder();
        let args = ["--only", "pr-daemon,rs-wall-time,rs-deaf,pr-stop,rs-forks,sv-stopped"];
        let mut child = selftest(place.path(), &args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // In the middle of it: the directory is there.
        while fs::read_dir(place.path()).unwrap().count() == 0 {
            assert!(child.try_wait().unwrap().is_none(), "it ended before anything was seen");
            thread::sleep(Duration::from_millis(2));
        }
        thread::sleep(Duration::from_millis(300));
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(128 + signal as i32));
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "the temporary directory is left");
        let place = place.path().to_str().unwrap().to_owned();
        let mut processes = fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&place)
        });
        assert!(processes.next().is_none(), "a process is left");
    }
}
