//! FS: what of the host's files is there, and what can be done to it.
//!
//! For: claims FS-1 to FS-9.
//! Not for: limits on scratch space (see `limits`).
//! Runs in: the test process.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::{Jail, needs, outside};
use crate::support::{copy_program, probe_binary};

#[test]
fn claim_fs_1_host_paths_outside_the_view_do_not_exist() {
    let jail = Jail::new().file("visible", "hello");
    let secret = jail.beside("secret");
    fs::write(&secret, "secret").unwrap();
    let secret = secret.to_str().unwrap();
    assert_eq!(outside(["open-read", secret]), "ok");

    let visible = jail.workspace().join("visible");
    let run = jail.probe([
        "batch",
        &format!("open-read {secret}"),
        &format!("stat {secret}"),
        &format!("open-read {}", visible.display()),
        "open-read /etc/passwd",
    ]);

    assert_eq!(
        run.answer(),
        format!(
            "open-read {secret}: errno ENOENT\n\
             stat {secret}: errno ENOENT\n\
             open-read {}: ok\n\
             open-read /etc/passwd: ok",
            visible.display()
        )
    );
    run.assert_clean();
}

#[test]
fn claim_fs_1_the_host_directories_that_no_profile_names_are_absent() {
    let jail = Jail::new();
    let workspace = jail.workspace().to_owned();
    let absent: Vec<&str> = ["/root", "/var", "/sys", "/boot", "/srv", "/mnt", "/media", "/lost+found"]
        .into_iter()
        .filter(|path| Path::new(path).is_dir() && !workspace.starts_with(path))
        .collect();
    assert!(absent.len() > 3, "this host has too few directories for the control: {absent:?}");

    let mut call = vec!["batch".to_owned()];
    call.extend(absent.iter().map(|path| format!("stat {path}")));
    let run = jail.probe(&call);

    let expected: Vec<String> = absent.iter().map(|path| format!("stat {path}: errno ENOENT")).collect();
    assert_eq!(run.answer(), expected.join("\n"));
}

#[test]
fn claim_fs_1_parents_of_the_workspace_show_nothing_but_the_way_to_it() {
    let jail = Jail::new();
    let parent = jail.workspace().parent().unwrap().to_owned();
    fs::write(jail.beside("sibling"), "x").unwrap();
    assert_eq!(outside(["list", parent.to_str().unwrap()]), "ok sibling work");

    let run = jail.probe(["list", parent.to_str().unwrap()]);

    assert_eq!(run.answer(), "ok work");
}

#[test]
fn claim_fs_1_the_root_lists_nothing_unknown() {
    let jail = Jail::new();
    let top = jail.workspace().components().nth(1).unwrap().as_os_str().to_str().unwrap().to_owned();
    let known =
        ["bin", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin", "tmp", "usr", ".decoy"];

    let run = jail.probe(["list", "/"]);

    let answer = run.answer();
    let unknown: Vec<&str> = answer.split(' ').skip(1).filter(|name| !known.contains(name) && *name != top).collect();
    assert_eq!(unknown, [""; 0], "{answer}");
    assert!(answer.contains(" usr"), "{answer}");
}

#[test]
fn claim_fs_1_nothing_lies_above_or_under_the_root() {
    // After pivot_root the old root is stacked on the new one, and `..` of the root leads onto the stack.
    let run = Jail::new().probe(["batch", "stat /../sys", "stat /../../boot", "stat /../usr", "mounts"]);

    let answer = run.answer();
    let lines: Vec<&str> = answer.lines().collect();
    assert_eq!(lines[..3], ["stat /../sys: errno ENOENT", "stat /../../boot: errno ENOENT", "stat /../usr: ok 40755"]);
    let roots = lines[3..].iter().filter(|line| line.split(' ').nth(4) == Some("/"));
    // The first mount stands behind the call that asked for it.
    let first = lines[3].split(' ').nth(5) == Some("/");
    assert_eq!(roots.count() + usize::from(first), 1, "{answer}");
}

#[test]
fn claim_fs_2_system_trees_cannot_be_written() {
    // New and missing names only: were the sandbox to fail for root, nothing of the host would be lost.
    let run = Jail::new().probe([
        "batch",
        "create /usr/jailtest-new",
        "mkdir /usr/lib/jailtest-new",
        "create /etc/jailtest-new",
        "mkdir /jailtest-new",
        "create /jailtest-new",
        "unlink /usr/bin/jailtest-missing",
        "symlink /tmp /usr/jailtest-new",
        "link /usr/bin/env /usr/jailtest-new",
        "open-read /usr/bin/env",
    ]);

    assert_eq!(
        answers(&run.answer()),
        [
            "errno EROFS",
            "errno EROFS",
            "errno EROFS",
            "errno EROFS",
            "errno EROFS",
            "errno EROFS",
            "errno EROFS",
            "errno EROFS",
            "ok"
        ]
    );
}

#[test]
fn claim_fs_2_nothing_of_the_system_is_cut_short() {
    let calls = ["batch", "write-file /tmp/new 10", "truncate /tmp/new", "truncate-to-its-size /usr/bin/env"];

    let answer = Jail::new().probe(calls).answer();

    let answers = answers(&answer);
    assert_eq!(answers[..2], ["ok 10", "ok"]);
    // The owner and the mount both forbid it; which of them the kernel asks first has changed.
    assert!(["errno EACCES", "errno EROFS"].contains(&answers[2]), "{answers:?}");
}

#[test]
fn claim_fs_2_scratch_directories_can_be_written() {
    let run = Jail::new().probe([
        "batch",
        "create /tmp/new",
        "mkdir /tmp/dir",
        "write-file /dev/shm/new 10",
        "unlink /tmp/new",
    ]);

    assert_eq!(
        run.answer(),
        "create /tmp/new: ok\nmkdir /tmp/dir: ok\nwrite-file /dev/shm/new 10: ok 10\nunlink /tmp/new: ok"
    );
}

#[test]
fn claim_fs_2_a_read_only_bind_refuses_what_a_writable_one_allows() {
    let bind = |flag: &str| {
        let jail = Jail::new();
        let data = jail.beside("data");
        fs::create_dir(&data).unwrap();
        fs::write(data.join("old"), "old").unwrap();
        let option = format!("{}:/data", data.display());
        let calls = ["batch", "create /data/new", "open-write /data/old", "open-read /data/old", "unlink /data/old"];
        (jail.args([flag, &option]).probe(calls).answer(), fs::read_dir(data).unwrap().count())
    };

    let (read_only, left) = bind("--ro");
    assert_eq!(
        read_only,
        "create /data/new: errno EROFS\n\
         open-write /data/old: errno EROFS\n\
         open-read /data/old: ok\n\
         unlink /data/old: errno EROFS"
    );
    assert_eq!(left, 1);

    let (writable, left) = bind("--rw");
    assert_eq!(
        writable,
        "create /data/new: ok\nopen-write /data/old: ok\nopen-read /data/old: ok\nunlink /data/old: ok"
    );
    assert_eq!(left, 1, "new instead of old");
}

/// What is tried on files of the caller's own, by name relative to the workspace.
fn workspace_calls(workspace: &Path) -> Vec<String> {
    let at = |name: &str| workspace.join(name).display().to_string();
    let mut calls = vec!["batch".to_owned()];
    calls.extend([
        format!("open-read {}", at("file")),
        format!("exec {}", at("probe")),
        format!("create {}", at("new")),
        format!("mkdir {}", at("dir")),
        format!("open-write {}", at("file")),
        format!("truncate {}", at("file")),
        format!("chmod {}", at("file")),
        format!("symlink x {}", at("link")),
        format!("unlink {}", at("file")),
    ]);
    calls
}

/// The answers alone.
fn answers(output: &str) -> Vec<&str> {
    output.lines().map(|line| line.rsplit_once(": ").unwrap().1).collect()
}

#[test]
fn claim_fs_3_the_workspace_of_strict_can_be_read_and_run_but_not_written() {
    let jail = Jail::new().file("file", "content");
    let calls = workspace_calls(jail.workspace());

    let run = jail.probe(&calls);

    let expected = [
        "ok",
        "ok 7",
        "errno EROFS",
        "errno EROFS",
        "errno EROFS",
        "errno EROFS",
        "errno EROFS",
        "errno EROFS",
        "errno EROFS",
    ];
    assert_eq!(answers(&run.answer()), expected);
    run.assert_clean();
}

#[test]
fn claim_fs_3_a_writable_workspace_is_written_as_the_caller() {
    let jail = Jail::new().file("file", "content").args(["--workspace-access", "write"]);
    let calls = workspace_calls(jail.workspace());

    let run = jail.probe(&calls);

    assert_eq!(answers(&run.answer()), ["ok", "ok 7", "ok", "ok", "ok", "ok", "ok", "ok", "ok"]);
    let caller = nix::unistd::geteuid().as_raw();
    let new = fs::metadata(run.workspace().join("new")).unwrap();
    assert_eq!((new.uid(), new.gid()), (caller, nix::unistd::getegid().as_raw()));
    assert_eq!(fs::metadata(run.workspace().join("dir")).unwrap().uid(), caller);
    assert!(!run.workspace().join("file").exists());
}

#[test]
fn claim_fs_3_the_callers_files_look_like_the_programs_own() {
    let jail = Jail::new().file("private", "mine");
    fs::set_permissions(jail.workspace().join("private"), fs::Permissions::from_mode(0o600)).unwrap();
    let private = jail.workspace().join("private").display().to_string();

    let run = jail.probe(["read", &private]);

    assert_eq!(run.answer(), "mine");
}

#[test]
fn claim_fs_4_a_symlink_in_the_workspace_leads_nowhere_outside() {
    let jail = Jail::new().file("target", "inside");
    let secret = jail.beside("secret");
    fs::write(&secret, "secret").unwrap();
    let out = jail.workspace().join("out");
    symlink(&secret, &out).unwrap();
    symlink("../secret", jail.workspace().join("up")).unwrap();
    symlink("target", jail.workspace().join("in")).unwrap();
    assert_eq!(outside(["read", out.to_str().unwrap()]), "secret");

    let run = jail.probe(["batch", "open-read out", "open-read up", "open-read in"]);

    assert_eq!(run.answer(), "open-read out: errno ENOENT\nopen-read up: errno ENOENT\nopen-read in: ok");
}

#[test]
fn claim_fs_5_scratch_is_empty_at_start_and_gone_after() {
    let name = format!("planted-{}", std::process::id());
    let calls = [
        "list /tmp".to_owned(),
        "list /dev/shm".to_owned(),
        format!("create /tmp/{name}"),
        format!("create /dev/shm/{name}"),
        format!("stat /tmp/{name}"),
    ];
    // Without a workspace, which may itself be below /tmp.
    let round = || {
        let jail = Jail::new().arg("--no-workspace");
        let probe = format!("{}:/opt/probe", jail.probe_path().display());
        let mut command = vec!["/opt/probe".to_owned(), "batch".to_owned()];
        command.extend(calls.iter().cloned());
        jail.args(["--rx", &probe]).run(command)
    };

    for run in [round(), round()] {
        assert_eq!(answers(&run.answer()), ["ok", "ok", "ok", "ok", "ok 100644"], "{run}");
        run.assert_clean();
    }
    for place in ["/tmp", "/dev/shm"] {
        assert_eq!(outside(["stat", &format!("{place}/{name}")]), "errno ENOENT");
    }
}

#[test]
fn claim_fs_6_to_execute_is_a_right_of_its_own() {
    let exec_in = |flag: &str| {
        let jail = Jail::new();
        let tools = jail.beside("tools");
        fs::create_dir(&tools).unwrap();
        copy_program(&jail.probe_path(), &tools.join("tool"));
        assert_eq!(outside(["exec", tools.join("tool").to_str().unwrap()]), "ok 7");
        let option = format!("{}:/tools", tools.display());
        jail.args([flag, &option]).probe(["batch", "open-read /tools/tool", "exec /tools/tool"]).answer()
    };

    assert_eq!(exec_in("--ro"), "open-read /tools/tool: ok\nexec /tools/tool: errno EACCES");
    assert_eq!(exec_in("--rw"), "open-read /tools/tool: ok\nexec /tools/tool: errno EACCES");
    assert_eq!(exec_in("--rx"), "open-read /tools/tool: ok\nexec /tools/tool: ok 7");
    assert_eq!(exec_in("--rwx"), "open-read /tools/tool: ok\nexec /tools/tool: ok 7");
}

#[test]
fn claim_fs_6_the_mount_says_so_as_well() {
    // Landlock refuses with the same EACCES, so each has to be looked at by itself.
    let options_of = |flag: &str| {
        let jail = Jail::new();
        let data = jail.beside("data");
        fs::create_dir(&data).unwrap();
        let mounts = jail.args([flag, &format!("{}:/data", data.display())]).probe(["mounts"]).answer();
        let line = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/data")).unwrap();
        line.split(' ').nth(5).unwrap().split(',').map(str::to_owned).collect::<Vec<_>>()
    };
    let noexec = "noexec".to_owned();

    assert!(options_of("--ro").contains(&noexec));
    assert!(options_of("--rw").contains(&noexec));
    assert!(!options_of("--rx").contains(&noexec));
    assert!(!options_of("--rwx").contains(&noexec));
}

#[test]
fn claim_fs_6_a_compiler_may_run_what_it_made_in_tmp() {
    let script = "cp \"$0\" /tmp/tool && chmod 755 /tmp/tool && /tmp/tool exit 7";
    let jail = Jail::new();
    let probe = jail.probe_path();

    let run = jail.run(["/bin/sh".as_ref(), "-c".as_ref(), script.as_ref(), probe.as_os_str()]);

    assert_eq!(run.code, Some(7), "{run}");
}

#[test]
fn claim_fs_7_a_planted_symlink_at_a_destination_redirects_nothing() {
    let host = crate::support::folder();
    let (data, victim) = (host.path().join("data"), host.path().join("victim"));
    fs::create_dir(&data).unwrap();
    fs::write(data.join("planted"), "x").unwrap();
    fs::create_dir(&victim).unwrap();
    for target in [victim.as_path(), Path::new("/usr"), Path::new("/tmp")] {
        let jail = Jail::new();
        symlink(target, jail.workspace().join("hole")).unwrap();
        let option = format!("{}:{}", data.display(), jail.workspace().join("hole").display());

        let run = jail.args(["--ro", &option]).probe(["list", target.to_str().unwrap()]);

        assert_eq!(run.code, Some(125), "a mount over a symbolic link must be refused: {run}");
        run.assert_clean();
    }
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);

    // The neighbour: a real directory there may be covered.
    let jail = Jail::new();
    fs::create_dir(jail.workspace().join("place")).unwrap();
    let option = format!("{}:{}", data.display(), jail.workspace().join("place").display());
    let run = jail.args(["--ro", &option]).probe(["read", "place/planted"]);
    assert_eq!(run.answer(), "x");
    run.assert_clean();
}

#[test]
fn claim_fs_7_no_stub_is_made_on_the_host_for_a_destination() {
    let jail = Jail::new().args(["--workspace-access", "write"]);
    let data = jail.beside("data");
    fs::create_dir(&data).unwrap();
    let option = format!("{}:{}", data.display(), jail.workspace().join("missing").display());

    let run = jail.args(["--ro", &option]).probe(["cwd"]);

    assert_eq!(run.code, Some(125), "a mount point inside a shown directory must exist: {run}");
    assert!(!run.workspace().join("missing").exists());
    run.assert_clean();
}

#[test]
fn claim_fs_7_no_mount_is_handed_in_or_out() {
    // Where the host's mounts are shared, as systemd makes them, a mount made in one place shows up in its peers.
    // In a mount namespace of its own, so that the host sees nothing of the test.
    needs!(root);
    let script = "mount --make-rshared / && \"$@\"; code=$?; \
                  echo \"left behind: $(grep -c /place /proc/self/mountinfo)\"; exit $code";
    let launcher = ["/usr/bin/unshare", "--mount", "--propagation", "slave", "/bin/sh", "-c", script, "sh"];
    let control = std::process::Command::new(launcher[0])
        .args(&launcher[1..])
        .arg(probe_binary())
        .arg("mounts")
        .output()
        .unwrap();
    assert!(String::from_utf8(control.stdout).unwrap().contains(" shared:"));
    let jail = Jail::new();
    let data = jail.beside("data");
    fs::create_dir(&data).unwrap();
    let place = jail.workspace().join("place");
    fs::create_dir(&place).unwrap();
    let option = format!("{}:{}", data.display(), place.display());

    let run = jail.through(launcher).args(["--ro", &option]).probe(["mounts"]);

    let answer = run.answer();
    let peers: Vec<&str> =
        answer.lines().filter(|line| line.contains(" shared:") || line.contains(" master:")).collect();
    assert_eq!(peers, [""; 0]);
    assert!(answer.contains("/place "), "{answer}");
    assert!(answer.ends_with("left behind: 0"), "{answer}");
}

#[test]
fn claim_fs_8_landlock_alone_hides_the_decoy() {
    let run = Jail::new().probe(["batch", "stat /.decoy", "open-read /.decoy", "open-read /etc/hostname"]);

    // It is there and its mode lets everybody read it, so nothing but Landlock can have said no.
    let answer = run.answer();
    let lines = answers(&answer);
    let mode = u32::from_str_radix(lines[0].strip_prefix("ok ").unwrap(), 8).unwrap();
    assert_eq!(mode & 0o170_004, 0o100_004, "{answer}");
    assert_eq!(lines[1..], ["errno EACCES", "ok"]);
    assert_eq!(run.field("/posture/layers/landlock/witnessed"), true, "{run}");
}

#[test]
fn claim_fs_9_every_mount_is_nosuid() {
    let plain = outside(["mounts"]);
    assert!(plain.lines().any(|line| !line.contains("nosuid")), "every mount of this host is nosuid: {plain}");

    let run = Jail::new().probe(["mounts"]);

    let mounts = run.answer();
    let with_suid: Vec<&str> = mounts
        .lines()
        .filter(|line| !line.split(' ').nth(5).unwrap().split(',').any(|option| option == "nosuid"))
        .collect();
    assert_eq!(with_suid, [""; 0]);
    assert!(mounts.lines().count() > 3, "{mounts}");
}

/// Prints what comes of each way to give a file a set-uid or set-gid bit, and of the same without.
const MODES: &str = r#"
import errno, os, sys
def attempt(name, action):
    try:
        action()
        print(name, "ok")
    except OSError as error:
        print(name, errno.errorcode[error.errno])
at = sys.argv[1]
file = os.path.join(at, "file")
os.close(os.open(file, os.O_CREAT | os.O_WRONLY, 0o755))
new = lambda name, mode: os.close(os.open(os.path.join(at, name), os.O_CREAT | os.O_WRONLY, mode))
attempt("chmod 4755", lambda: os.chmod(file, 0o4755))
attempt("chmod 2755", lambda: os.chmod(file, 0o2755))
attempt("fchmod 4755", lambda: os.fchmod(os.open(file, os.O_RDONLY), 0o4755))
attempt("open 4755", lambda: new("made", 0o4755))
attempt("mknod 4755", lambda: os.mknod(os.path.join(at, "node"), 0o104755))
attempt("tmpfile 4755", lambda: os.close(os.open(at, os.O_TMPFILE | os.O_WRONLY, 0o4755)))
attempt("chmod 1755", lambda: os.chmod(file, 0o1755))
attempt("open 0755", lambda: new("plain", 0o755))
"#;

#[test]
fn claim_fs_9_no_set_uid_file_is_left_behind() {
    let ways = ["chmod 4755", "chmod 2755", "fchmod 4755", "open 4755", "mknod 4755", "tmpfile 4755"];
    let plain = "chmod 1755 ok\nopen 0755 ok";
    let told = |answer: &str| {
        let ways: Vec<String> = ways.iter().map(|way| format!("{way} {answer}")).collect();
        format!("{}\n{plain}", ways.join("\n"))
    };
    let folder = crate::support::folder();
    let control = std::process::Command::new("/usr/bin/python3").args(["-c", MODES]).arg(folder.path()).output();
    assert_eq!(String::from_utf8(control.unwrap().stdout).unwrap().trim_end(), told("ok"));

    let jail = Jail::new().args(["--workspace-access", "write"]);
    let workspace = jail.workspace().display().to_string();
    let run = jail.run(["/usr/bin/python3", "-c", MODES, &workspace]);

    assert_eq!(run.answer(), told("EPERM"));
}

#[test]
fn claim_fs_9_device_nodes_cannot_be_made() {
    let run = Jail::new().probe(["batch", "mknod /tmp/null", "mknod /dev/shm/null", "create /tmp/file"]);

    assert_eq!(answers(&run.answer()), ["errno EPERM", "errno EPERM", "ok"]);
}

#[test]
fn claim_fs_9_a_device_node_in_a_bind_is_none() {
    needs!(root);
    let jail = Jail::new();
    let data = jail.beside("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("plain"), "x").unwrap();
    let node = data.join("null");
    let node = node.to_str().unwrap();
    assert_eq!(outside(["mknod", node]), "ok");
    fs::set_permissions(node, fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(outside(["open-read", node]), "ok");

    let option = format!("{}:/data", data.display());
    let run = jail.args(["--rw", &option]).probe(["batch", "open-read /data/null", "open-read /data/plain"]);

    assert_eq!(run.answer(), "open-read /data/null: errno EACCES\nopen-read /data/plain: ok");
}

#[test]
fn claim_fs_9_device_nodes_can_be_made_outside() {
    needs!(root);
    let folder = crate::support::folder();

    assert_eq!(outside(["mknod", folder.path().join("null").to_str().unwrap()]), "ok");
}

#[test]
fn claim_fs_10_dev_holds_the_six_nodes() {
    let run = Jail::new().probe([
        "batch",
        "list /dev",
        "write-file /dev/null 10",
        "open-read /dev/zero",
        "open-read /dev/urandom",
        "open-read /dev/random",
        "write-file /dev/full 10",
        "stat /dev/kmsg",
        "create /dev/new",
    ]);

    let answer = run.answer();
    let expected = [
        "ok fd full null ptmx pts random shm stderr stdin stdout tty urandom zero",
        "ok 10",
        "ok",
        "ok",
        "ok",
        "errno ENOSPC 0",
        "errno ENOENT",
        "errno EROFS",
    ];
    assert_eq!(answers(&answer), expected);
}

#[test]
fn claim_fs_11_the_callers_terminal_is_not_the_programs() {
    // In a session with a terminal. The program has the terminal as its stdin, but not as its controlling one.
    let script = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)";
    let terminal = ["/usr/bin/python3", "-c", script];
    let control = std::process::Command::new(terminal[0])
        .args(&terminal[1..])
        .arg(probe_binary())
        .args(["open-read", "/dev/tty"])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&control.stdout).trim(), "ok");

    let run = Jail::new().through(terminal).probe(["batch", "open-read /dev/tty", "ioctl 0x5412", "ioctl 0x541c"]);

    assert_eq!(answers(&run.answer()), ["errno ENXIO", "errno EPERM", "errno EPERM"]);
}
