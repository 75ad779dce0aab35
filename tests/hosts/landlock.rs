//! Without namespaces: the attacks of the claims against `--isolation landlock`.
//!
//! For: every row of SECURITY.md's table "Without namespaces" that does not say that a claim falls away. Where the
//! answer is the same as with namespaces, the claim's own tests are run ([`KEPT_ELSEWHERE`]); where it is another, or
//! the claim is kept in part, a test here is named after it.
//! Not for: claims that fall away.
//! Runs in: the test process; `jail` is an ordinary user's, for root is refused.

use std::collections::BTreeSet;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::Command;
use std::{env, fs};

use nix::sys::signal::Signal;

use super::places::as_nobody;
use super::*;
use crate::support::{is_root, make_room};

/// A run of an ordinary caller's without namespaces, and without a cgroup where there is none.
fn without_namespaces() -> Jail {
    let jail = Jail::strictly().args(["--isolation", "landlock", "--allow-degraded", "cgroup"]);
    if !is_root() {
        return jail;
    }
    let jail = jail.open_to_all();
    let uid = Some(61234);
    std::os::unix::fs::chown(jail.workspace(), uid, uid).unwrap();
    let go_on = as_nobody(&jail);
    jail.through(shell(&go_on))
}

#[test]
fn landlock_stages_of_a_start_are_within_it_and_there_is_no_root() {
    let run = without_namespaces().probe(["exit", "0"]);

    assert_eq!(run.code, Some(0), "{run}");
    assert!(run.field("/setup").get("root_us").is_none(), "{run}");
    let stages = ["gate", "confinement", "exec"];
    let parts: u64 = stages.map(|stage| run.number(&format!("/setup/{stage}_us"))).iter().sum();
    assert!(parts <= run.number("/time/wall_ms") * 1000 + 1000, "{run}");
}

/// Claim tests whose answer is another here. What is not in this list must pass as it stands.
const DIFFERENT: [&str; 44] = [
    "claim_env_1_",
    "claim_env_3_",
    "claim_env_4_signals_are_as",
    "claim_env_5_",
    "claim_fs_1_",
    "claim_fs_10_dev",
    "claim_fs_11_",
    "claim_fs_2_",
    "claim_fs_3_a_writable",
    "claim_fs_3_the_workspace",
    "claim_fs_4_a_symlink",
    "claim_fs_5_scratch",
    "claim_fs_6_a_compiler",
    "claim_fs_6_the_mount",
    "claim_fs_6_to_execute",
    "claim_fs_7_a_planted",
    "claim_fs_8_",
    "claim_fs_9_device",
    "claim_fs_9_every_mount",
    "claim_fs_9_no_set_uid_file",
    "claim_id_1_",
    "claim_id_2_init",
    "claim_id_2_no_cap",
    "claim_id_2_uid_0",
    "claim_id_3_",
    "claim_lim_10_",
    "claim_lim_13_every",
    // Scratch files are on disk.
    "claim_lim_1_scratch",
    "claim_lim_2_without_a_group",
    "claim_lim_7_",
    "claim_lim_9_",
    "claim_net_1_",
    "claim_net_2_",
    "claim_net_3_",
    "claim_net_4_",
    "claim_pr_1_",
    "claim_pr_2_",
    "claim_pr_4_not_even_a_stopped",
    "claim_pr_5_",
    "claim_pr_6_",
    "claim_run_2_",
    // The published table is that of the filter with namespaces.
    "claim_sc_1_every_call",
    "claim_sc_10_the_profile",
    "claim_sc_7_",
];

#[test]
fn landlock_the_claims_own_tests() {
    needs!(user);
    // The tests are a second process of this group, which could make no room there.
    make_room();
    let mut tests = Command::new(env::current_exe().unwrap());
    tests.arg("claims::").env("JAIL_TESTS_ISOLATION", "landlock");
    for name in DIFFERENT {
        tests.args(["--skip", name]);
    }
    let output = tests.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    let ran = said.lines().filter(|line| line.starts_with("test claims::") && line.ends_with("ok")).count();
    assert!(ran >= 50, "only {ran} claim tests were left: {said}");
}

/// Rows of the table: the claim's id, and what is said of it.
fn table() -> Vec<(String, String)> {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/SECURITY.md")).unwrap();
    let (_, section) = text.split_once("## Without namespaces").expect("SECURITY.md has the section");
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")).filter(|row| row.contains('-'));
    rows.filter_map(|row| {
        let mut cells = row.split(" | ");
        Some((cells.next()?.to_owned(), cells.next()?.to_owned()))
    })
    .filter(|(id, _)| id.starts_with(|c: char| c.is_ascii_uppercase()))
    .collect()
}

#[test]
fn the_table_without_namespaces_is_about_every_claim_and_tested() {
    let rows = table();
    let ids: BTreeSet<&str> = rows.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids.len(), rows.len(), "a claim has two rows");
    let claims = crate::security::claims();
    assert_eq!(ids, claims.iter().map(String::as_str).collect(), "the rows are those of the claims");

    let here = include_str!("landlock.rs");
    let named = crate::security::claim_tests();
    let mut untested = Vec::new();
    for (id, said) in &rows {
        let id = id.to_lowercase().replace('-', "_");
        let own = here.contains(&format!("fn landlock_{id}_"));
        let elsewhere = named.iter().any(|name| {
            name.starts_with(&format!("claim_{id}_")) && !DIFFERENT.iter().any(|other| name.contains(other))
        });
        match said.as_str() {
            "kept" | "in part" => untested.extend((!own && !elsewhere).then_some(id)),
            "falls" => assert!(!own, "{id} falls away and has a test"),
            other => panic!("{id}: {other:?} is none of kept, in part, falls"),
        }
    }
    assert!(untested.is_empty(), "said to be kept, and no test says so: {untested:?}");
}

#[test]
fn landlock_the_report_says_so() {
    let run = without_namespaces().probe(["uid"]);

    assert_eq!(run.code, Some(0), "{run}");
    validate(run.report());
    assert_eq!(run.field("/posture/isolation"), "landlock", "{run}");
    for layer in ["namespaces", "rootfs"] {
        assert_eq!(run.field(&format!("/posture/layers/{layer}/requested")), false, "{run}");
        assert_eq!(run.field(&format!("/posture/layers/{layer}/applied")), false, "{run}");
    }
    for layer in ["landlock", "seccomp", "caps", "ids", "net", "rlimits"] {
        assert_eq!(run.field(&format!("/posture/layers/{layer}/witnessed")), true, "{layer}: {run}");
    }
    let full = Jail::new().probe(["uid"]);
    assert_eq!(full.field("/posture/isolation"), "full", "never chosen but by name: {full}");
}

#[test]
fn landlock_is_had_where_user_namespaces_are_forbidden() {
    let docker = "clone3=ENOSYS clone-newuser=EPERM unshare=EPERM mount=EPERM fsopen=EPERM";
    let jail = without_namespaces();
    let probe = probe_binary().display().to_string();
    let mut launcher = vec![probe, "deny".to_owned()];
    launcher.extend(docker.split(' ').map(str::to_owned));
    launcher.push("--".to_owned());
    if is_root() {
        launcher.extend(shell(&as_nobody(&jail)));
    }
    let run = jail.through(launcher).probe(["uid"]);

    assert_eq!(run.code, Some(0), "{run}");
    run.assert_clean();
}

#[test]
fn landlock_is_refused_where_it_cannot_be_kept() {
    let run = Jail::new().args(["--isolation", "landlock", "--net", "loopback"]).probe(["uid"]);
    assert_eq!(run.code, Some(125), "{run}");
    assert!(run.err().contains("needs a network namespace"), "{run}");

    let run = Jail::new().args(["--isolation", "landlock", "--ro", "/usr/share:/data"]).probe(["uid"]);
    assert_eq!(run.code, Some(125), "{run}");
    assert!(run.err().contains("without a mount namespace"), "{run}");

    let jail = without_namespaces();
    let mut launcher = denying(["landlock_create_ruleset=ENOSYS"]);
    if is_root() {
        launcher.extend(shell(&as_nobody(&jail)));
    }
    let run = without_namespaces().through(launcher).probe(["uid"]);
    refused(&run, "landlock", "has no Landlock", "CONFIG_SECURITY_LANDLOCK");
    assert!(!run.err().contains("--allow-degraded landlock"), "there is no doing without: {run}");
}

#[test]
fn landlock_is_refused_below_the_abi_that_keeps_signals_within() {
    let mut launcher = vec![probe_binary().display().to_string(), "landlock-abi".into(), "5".into(), "--".into()];
    let jail = without_namespaces();
    if is_root() {
        launcher.extend(shell(&as_nobody(&jail)));
    }
    let run = jail.through(launcher).probe(["uid"]);

    refused(&run, "landlock", "needs ABI 6", "Linux 6.12");
}

#[test]
fn landlock_is_refused_to_root() {
    needs!(root);
    let run = Jail::new().args(["--isolation", "landlock"]).probe(["uid"]);

    refused_with_report(&run, "ids", "root's is given to nobody", "setpriv --reuid");
}

#[test]
fn landlock_fs_1_what_the_profile_does_not_name_is_neither_read_listed_nor_run() {
    let jail = without_namespaces();
    let secret = jail.beside("secret");
    fs::write(&secret, "x").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o666)).unwrap();
    let (secret, beside) = (secret.display().to_string(), jail.beside("").display().to_string());
    assert_eq!(outside(["open-read", &secret]), "ok");
    let run = jail.probe([
        "batch",
        &format!("open-read {secret}"),
        &format!("open-write {secret}"),
        &format!("truncate {secret}"),
        &format!("unlink {secret}"),
        &format!("create {beside}new"),
        &format!("link {secret} {beside}second"),
        &format!("list {beside}"),
        "list /",
        "open-read /etc/passwd",
        "list /proc",
        "open-read /proc/self/status",
        "open-read /proc/1/cmdline",
        "list /sys",
        "list /dev",
        "list /tmp",
        "list /dev/shm",
        "exec /proc/self/exe",
        "open-read /usr/bin/env",
    ]);

    let answer = run.answer();
    let answers: Vec<&str> = answer.lines().map(|line| line.rsplit_once(": ").unwrap().1).collect();
    let mut expected = vec!["errno EACCES"; 16];
    // The program itself is shown, and the system's trees.
    expected.extend(["ok", "ok"]);
    assert_eq!(answers[..16], expected[..16], "{answer}");
    assert_eq!(answers.last(), Some(&"ok"), "the allowed neighbour: {answer}");
    run.assert_clean();
}

#[test]
fn landlock_fs_1_nothing_of_the_callers_is_changed_by_its_metadata() {
    // Landlock does not look at these, so the filter refuses them all.
    let jail = without_namespaces().args(["--workspace-access", "write"]).file("own", "x");
    let victim = jail.beside("victim");
    fs::write(&victim, "x").unwrap();
    if is_root() {
        for file in [&victim, &jail.workspace().join("own")] {
            std::os::unix::fs::chown(file, Some(61234), Some(61234)).unwrap();
        }
    }
    let before = fs::metadata(&victim).unwrap();
    let path = victim.display().to_string();
    let script = r"
import os, sys
path = sys.argv[1]
for name, change in [
    ('chmod', lambda: os.chmod(path, 0o777)),
    ('chown', lambda: os.chown(path, -1, os.getgid())),
    ('utime', lambda: os.utime(path, (1, 1))),
    ('setxattr', lambda: os.setxattr(path, 'user.x', b'y')),
    ('fchmod', lambda: os.fchmod(os.open('own', os.O_RDONLY), 0o777)),
]:
    try:
        change()
        print(name, 'ok')
    except OSError as error:
        print(name, error.errno)
open('own', 'w').write('changed')
print('write ok')
";
    let run = jail.run(["/usr/bin/python3", "-c", script, &path]);

    assert_eq!(run.out(), "chmod 1\nchown 1\nutime 1\nsetxattr 1\nfchmod 1\nwrite ok", "{run}");
    let after = fs::metadata(&victim).unwrap();
    assert_eq!((after.mode(), after.mtime(), after.ctime()), (before.mode(), before.mtime(), before.ctime()));
}

#[test]
fn landlock_sc_10_what_reaches_all_files_is_allowed_by_its_own_name_alone() {
    let jail = || without_namespaces().args(["--workspace-access", "write"]);
    let run =
        jail().args(["--syscalls-allow", "@file"]).run(["/bin/sh", "-c", "touch $TMPDIR/x && chmod 700 $TMPDIR/x"]);
    assert_ne!(run.code, Some(0), "{run}");

    let named = "chmod,fchmod,fchmodat,utimensat";
    let run = jail().args(["--syscalls-allow", named]).run(["/bin/sh", "-c", "touch $TMPDIR/x && chmod 700 $TMPDIR/x"]);
    assert_eq!(run.code, Some(0), "{run}");
    let detail = run.field("/posture/layers/seccomp/detail").as_str().unwrap();
    assert!(detail.ends_with("chmod, fchmod, fchmodat, utimensat"), "the report lists what was given up: {run}");
}

#[test]
fn landlock_fs_2_system_trees_cannot_be_written() {
    let run = without_namespaces().probe(["batch", "create /usr/new", "open-read /usr/bin/env"]);

    assert_eq!(run.answer(), "create /usr/new: errno EACCES\nopen-read /usr/bin/env: ok");
}

#[test]
fn landlock_fs_3_the_workspace_is_read_only_in_strict_and_the_callers_where_writable() {
    let changes = ["batch", "create new", "mkdir dir", "symlink a link", "open-read probe"];
    let run = without_namespaces().probe(changes);
    assert_eq!(
        run.answer(),
        "create new: errno EACCES\nmkdir dir: errno EACCES\nsymlink a link: errno EACCES\nopen-read probe: ok"
    );
    run.assert_clean();

    let run = without_namespaces().args(["--workspace-access", "write"]).probe(changes);
    assert_eq!(run.answer(), "create new: ok\nmkdir dir: ok\nsymlink a link: ok\nopen-read probe: ok");
    let owner = if is_root() { 61234 } else { nix::unistd::getuid().as_raw() };
    assert_eq!(fs::metadata(run.workspace().join("new")).unwrap().uid(), owner);
}

#[test]
fn landlock_fs_4_a_symbolic_link_leads_nowhere_outside() {
    let jail = without_namespaces();
    let secret = jail.beside("secret");
    fs::write(&secret, "x").unwrap();
    std::os::unix::fs::symlink(&secret, jail.workspace().join("link")).unwrap();
    std::os::unix::fs::symlink("probe", jail.workspace().join("neighbour")).unwrap();

    let run = jail.probe(["batch", "open-read link", "open-read neighbour"]);

    assert_eq!(run.answer(), "open-read link: errno EACCES\nopen-read neighbour: ok");
}

#[test]
fn landlock_fs_5_the_private_directories_are_empty_at_first_and_gone_at_last() {
    // Deep, closed, and full of links to somewhere else: it is removed all the same, and nothing behind a link.
    let jail = without_namespaces().args(["--pids", "256"]);
    let kept = jail.beside("kept");
    fs::write(&kept, "x").unwrap();
    let script = "import os, sys\n\
        home, tmp = os.environ['HOME'], os.environ['TMPDIR']\n\
        assert os.listdir(home) == [] and os.listdir(tmp) == [], 'not empty'\n\
        os.chdir(tmp); os.symlink(sys.argv[1], 'link'); os.symlink(os.path.dirname(sys.argv[1]), 'dir')\n\
        open('exec', 'w').write('x'); os.mkdir('closed', 0o700); os.mkdir('closed/in', 0o000)\n\
        os.mkdir('closed/in2', 0o100)\n\
        for _ in range(3000): os.mkdir('d', 0o700); os.chdir('d')\n\
        os.symlink(os.path.dirname(sys.argv[1]), 'deep')\n\
        print(os.path.dirname(home))";
    let run = jail.run(["/usr/bin/python3", "-c", script, &kept.display().to_string()]);

    assert_eq!(run.code, Some(0), "{run}");
    let dir = run.out();
    assert!(dir.contains("/jail-"), "{run}");
    assert!(fs::symlink_metadata(&dir).is_err(), "{dir} is left behind: {run}");
    assert!(kept.exists());
    run.assert_clean();
}

#[test]
fn landlock_fs_5_what_a_killed_supervisor_left_the_next_run_removes() {
    let mut live = without_namespaces().start(["/bin/sh", "-c", "echo $HOME; sleep 60"]);
    live.wait_for(b"/home\n");
    live.signal(Signal::SIGKILL);
    let run = live.wait();
    let (dir, _) = run.out().split_once("/home").map(|(dir, rest)| (dir.to_owned(), rest.to_owned())).unwrap();
    let run = without_namespaces().probe(["uid"]);

    assert_eq!(run.code, Some(0), "{run}");
    assert!(fs::symlink_metadata(&dir).is_err(), "{dir}");
}

#[test]
fn landlock_fs_6_to_execute_is_a_right_of_its_own() {
    let jail = without_namespaces();
    let tool = jail.beside("tool");
    copy_program(&probe_binary(), &tool);
    let path = tool.display().to_string();
    let calls = || ["batch".to_owned(), format!("open-read {path}"), format!("exec {path}")];
    let run = jail.args(["--ro", &path]).probe(calls());
    assert_eq!(run.answer(), format!("open-read {path}: ok\nexec {path}: errno EACCES"));
}

#[test]
fn landlock_fs_8_landlock_alone_hides_the_decoy() {
    // The file is the caller's own, in the run's own directory: nothing else keeps it.
    let run = without_namespaces().run([
        "/bin/sh",
        "-c",
        "cd $HOME/..; test -f decoy && echo there; cat < decoy || echo refused; echo x > home/mine && cat home/mine",
    ]);

    assert_eq!(run.out(), "there\nrefused\nx", "{run}");
}

#[test]
fn landlock_fs_9_no_device_and_no_set_uid_file_is_made() {
    let run = without_namespaces().args(["--workspace-access", "write"]).probe([
        "batch",
        "mknod node",
        "chmod probe",
        "create plain",
    ]);

    assert_eq!(run.answer(), "mknod node: errno EPERM\nchmod probe: errno EPERM\ncreate plain: ok");
}

#[test]
fn landlock_fs_10_of_dev_there_are_five_harmless_nodes() {
    let run = without_namespaces().probe([
        "batch",
        "open-write /dev/null",
        "open-read /dev/zero",
        "open-read /dev/full",
        "open-read /dev/random",
        "open-read /dev/urandom",
        "open-read /dev/tty",
        "open-read /dev/ptmx",
        "list /dev/pts",
    ]);

    let answer = run.answer();
    let answers: Vec<&str> = answer.lines().map(|line| line.rsplit_once(": ").unwrap().1).collect();
    let refused = "errno EACCES";
    assert_eq!(answers, ["ok", "ok", "ok", "ok", "ok", refused, refused, refused], "{answer}");
}

#[test]
fn landlock_fs_11_the_callers_terminal_is_not_the_programs() {
    let run = without_namespaces().probe(["batch", "isatty", "open-read /dev/tty"]);

    assert_eq!(run.answer(), "isatty: ok no no no\nopen-read /dev/tty: errno EACCES");
}

#[test]
fn landlock_pr_1_nothing_of_proc_is_read_or_listed() {
    let run = without_namespaces().probe(["batch", "list /proc", "open-read /proc/stat", "open-read /proc/self/maps"]);

    let refused = "errno EACCES";
    assert_eq!(
        run.answer(),
        format!("list /proc: {refused}\nopen-read /proc/stat: {refused}\nopen-read /proc/self/maps: {refused}")
    );
}

/// A process of the same user as the run's.
struct Bystander(std::process::Child);

impl Bystander {
    fn new() -> Self {
        let mut command = Command::new("/bin/sleep");
        if is_root() {
            std::os::unix::process::CommandExt::uid(&mut command, 61234);
        }
        Self(command.arg("60").spawn().unwrap())
    }

    fn lives(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn landlock_pr_2_no_other_process_of_the_callers_is_signalled_or_held_back() {
    let mut bystander = Bystander::new();
    let pid = bystander.0.id();
    let run = without_namespaces().probe([
        "batch".to_owned(),
        format!("kill {pid} 9"),
        format!("kill {pid} 0"),
        // Its limits, its CPUs, its priority.
        format!("syscall {} {pid} 0 0 0", libc::SYS_prlimit64),
        format!("syscall {} {pid} 0 0", libc::SYS_sched_setaffinity),
        format!("syscall {} 0 {pid} 19", libc::SYS_setpriority),
        format!("syscall {} 1 {pid} 0", libc::SYS_ioprio_set),
        format!("syscall {} {pid} 0 0", libc::SYS_sched_setscheduler),
        "kill 0 0".to_owned(),
        format!("syscall {} 0 0 5", libc::SYS_setpriority),
    ]);

    let answer = run.answer();
    let answers: Vec<&str> = answer.lines().map(|line| line.rsplit_once(": ").unwrap().1).collect();
    assert_eq!(answers[..7], ["errno EPERM"; 7], "{answer}");
    assert_eq!(answers[7], "ok", "its own group is its own: {answer}");
    assert!(answers[8].starts_with("ok"), "{answer}");
    assert!(bystander.lives());
}

#[test]
fn landlock_pr_2_to_kill_everything_kills_the_run_and_nobody_else() {
    let mut bystander = Bystander::new();
    let run = without_namespaces().probe(["kill", "-1", "9"]);
    assert_eq!(run.code, Some(0), "there was nobody to kill but itself, which -1 spares: {run}");
    // And what is left when the run ends is killed by its init, in the same way.
    let run = without_namespaces().run(["/bin/sh", "-c", "(setsid sleep 60 >/dev/null 2>&1 &); exit 3"]);
    assert_eq!(run.code, Some(3), "{run}");
    run.assert_clean();
    assert!(bystander.lives());
}

#[test]
fn landlock_pr_4_nothing_outlives_the_run_however_it_ends() {
    let daemons = "(setsid setsid sleep 60 &); (trap '' TERM INT HUP; sleep 60 &); sleep 60 & echo ready; ";
    // By itself, by its limit, by a signal, by a supervisor that is killed.
    let run = without_namespaces().run(["/bin/sh", "-c", &format!("{daemons} exit 0")]);
    assert_eq!(run.code, Some(0), "{run}");
    run.assert_clean();

    let run = without_namespaces().args(["-t", "1s"]).run(["/bin/sh", "-c", &format!("{daemons} sleep 60")]);
    assert_eq!(run.verdict(), "wall_time", "{run}");
    run.assert_clean();

    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let mut live = without_namespaces().start(["/bin/sh", "-c", &format!("{daemons} sleep 60")]);
        live.wait_ready();
        live.signal(signal);
        let run = live.wait();
        let left: Vec<String> = run.leftovers().into_iter().filter(|left| left.starts_with("process")).collect();
        assert!(left.is_empty(), "{signal}: {left:?} {run}");
    }
}

#[test]
fn landlock_pr_5_the_jails_init_cannot_be_looked_into() {
    let run = without_namespaces().run([
        "/bin/sh",
        "-c",
        "read line < /proc/$PPID/cmdline || echo refused; kill -0 $PPID || echo unreached",
    ]);

    assert_eq!(run.out(), "refused\nunreached", "{run}");
}

#[test]
fn landlock_pr_6_another_run_of_the_same_caller_is_not_reached() {
    let mut other = without_namespaces().start_probe(["sleep", "30000"]);
    other.wait_ready();
    let calls: Vec<String> = other.inside().iter().map(|pid| format!("kill {pid} 9")).collect();
    assert_eq!(calls.len(), 2, "init and the payload");

    let run = without_namespaces().probe(["batch", &calls[0], &calls[1], "kill 0 0"]);

    let answer = run.answer();
    let answers: Vec<&str> = answer.lines().map(|line| line.rsplit_once(": ").unwrap().1).collect();
    assert_eq!(answers, ["errno EPERM", "errno EPERM", "ok"], "{answer}");
    assert!(other.running());
    other.signal(Signal::SIGTERM);
    other.wait().assert_clean();
}

#[test]
fn landlock_run_2_when_a_step_fails_no_program_runs_and_nothing_is_left() {
    for (call, layer) in [("seccomp=EINVAL", "seccomp"), ("landlock_restrict_self=EPERM", "landlock")] {
        let jail = without_namespaces();
        let mut launcher = denying([call]);
        if is_root() {
            launcher.extend(shell(&as_nobody(&jail)));
        }
        let run = jail.through(launcher).probe(["uid"]);
        refused_with_report(&run, layer, "", "");
        let id = run.field("/run_id").as_str().unwrap();
        assert!(!env::temp_dir().join(id).exists(), "the private directory is left: {run}");
    }
}

#[test]
fn landlock_id_2_no_privileges() {
    let run = without_namespaces().probe(["batch", "prctl 39", "prctl 21", "syscall 105 0", "mount"]);

    let answer = run.answer();
    assert!(answer.starts_with("prctl 39: ok 1\nprctl 21: ok 2\nsyscall 105 0: errno EPERM\n"), "{answer}");
    assert!(answer.contains("mount: errno EPERM"), "{answer}");
}

#[test]
fn landlock_net_1_no_internet_socket_and_nothing_of_interfaces() {
    let run = without_namespaces().probe(["batch", "socket inet 1 0", "socket netlink 3 0", "socket packet 3 0"]);

    let refused = "errno EAFNOSUPPORT";
    assert_eq!(
        run.answer(),
        format!("socket inet 1 0: {refused}\nsocket netlink 3 0: {refused}\nsocket packet 3 0: {refused}")
    );
}

#[test]
fn landlock_sc_7_only_known_socket_families_exist_and_fewer() {
    let families = ["unix", "inet", "netlink", "packet", "alg", "vsock"].map(|family| format!("socket {family} 3 0"));
    let words = || std::iter::once("batch").chain(families.iter().map(String::as_str));
    let answers = |run: &Run| -> Vec<String> {
        run.answer().lines().map(|line| line.rsplit_once(": ").unwrap().1.to_owned()).collect()
    };
    let none = answers(&without_namespaces().probe(words()));
    assert_eq!(none, ["errno EAFNOSUPPORT"; 6]);

    let host = answers(&without_namespaces().args(["--net", "host"]).probe(words()));
    // A raw internet socket is no plain one.
    let expected = ["errno EAFNOSUPPORT", "errno EPERM", "ok"].into_iter().chain(["errno EAFNOSUPPORT"; 3]);
    assert_eq!(host, expected.collect::<Vec<_>>());
}

#[test]
fn landlock_net_3_no_unix_socket_of_the_host_is_reached() {
    let jail = without_namespaces();
    let path = jail.beside("socket");
    let _listener = UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    let path = path.display().to_string();
    assert_eq!(outside(["connect-unix", &path]), "ok");

    // AF_UNIX sockets are refused, and of pairs those that can send elsewhere.
    let run = jail.args(["--net", "host"]).probe([
        "batch".to_owned(),
        format!("connect-unix {path}"),
        format!("syscall {} 1 2 0 0", libc::SYS_socketpair),
        format!("syscall {} 1 1 0 0", libc::SYS_socketpair),
        "socket inet 1 0".to_owned(),
    ]);

    let answer = run.answer();
    let answers: Vec<&str> = answer.lines().map(|line| line.rsplit_once(": ").unwrap().1).collect();
    // The stream pair comes as far as the address that it is to be written to.
    assert_eq!(answers, ["errno EAFNOSUPPORT", "errno EPERM", "errno EFAULT", "ok"], "{answer}");
}

#[test]
fn landlock_net_4_no_abstract_socket_of_the_host_is_reached() {
    let name = format!("jail-test-{}", std::process::id());
    let _listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    assert_eq!(outside(["abstract-unix", &name]), "ok");

    let run = without_namespaces().args(["--net", "host"]).probe(["abstract-unix", &name]);

    assert_eq!(run.answer(), "errno EAFNOSUPPORT");
}

#[test]
fn landlock_env_1_no_variable_of_the_callers_is_inside() {
    let run = without_namespaces().env("SECRET", "x").args(["-e", "NAMED=y"]).probe(["env"]);

    let answer = run.answer();
    assert!(!answer.contains("SECRET") && answer.contains("NAMED=y") && answer.contains("TMPDIR="), "{answer}");
}

#[test]
fn landlock_env_4_signals_are_handled_as_the_kernels_default_has_it() {
    let script = "import signal\n\
        print(signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL, signal.pthread_sigmask(signal.SIG_BLOCK, []))";
    let ignoring = |jail: Jail| {
        let go_on = if is_root() { as_nobody(&jail) } else { "exec \"$@\"".to_owned() };
        jail.through(shell(&format!("trap '' USR1; {go_on}")))
    };
    let control =
        Command::new("/bin/sh").args(["-c", "trap '' USR1; exec /usr/bin/python3 -c \"$0\"", script]).output();
    assert_eq!(String::from_utf8_lossy(&control.unwrap().stdout).trim(), "False set()");

    let run = ignoring(without_namespaces()).run(["/usr/bin/python3", "-c", script]);

    assert_eq!(run.out(), "True set()", "{run}");
}

#[test]
fn landlock_env_5_the_mode_mask_is_022() {
    let run = without_namespaces().run(["/bin/sh", "-c", "umask"]);

    assert_eq!(run.out(), "0022", "{run}");
}

#[test]
fn landlock_lim_2_without_a_group_a_fork_bomb_still_meets_a_wall() {
    // The kernel counts all of the caller's tasks, which come and go meanwhile: a wall, and not an exact one.
    let run = without_namespaces().args(["--pids", "16"]).probe(["fork", "600"]);

    let answer = run.answer();
    let forks: u32 = answer.strip_prefix("errno EAGAIN ").unwrap_or_else(|| panic!("{run}")).parse().unwrap();
    assert!(forks < 300, "{run}");
}

#[test]
fn landlock_lim_7_a_file_that_grows_too_large_ends_the_run() {
    let run = without_namespaces().args(["--fsize", "1M"]).run([
        "/bin/sh",
        "-c",
        "exec /bin/dd if=/dev/zero of=$TMPDIR/large bs=2000000 count=2 2>/dev/null",
    ]);

    assert_eq!(run.verdict(), "file_size", "{run}");
    run.assert_clean();
}

#[test]
fn landlock_lim_13_no_resource_limit_can_be_raised_again() {
    let run = without_namespaces().run(["/bin/sh", "-c", "ulimit -n; ulimit -n 4096 || echo refused"]);

    assert_eq!(run.out(), "256\nrefused", "{run}");
}
