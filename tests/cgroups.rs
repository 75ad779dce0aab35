//! Control groups on real kernels: which files hold which limits, where the groups are made, what is left alone.
//!
//! For: what the claims do not see from inside (`claims::limits`): cgroup v2 with everything that it has, partial
//! delegation, real swap, systemd's scopes, v1 groups that were handed to a user.
//! Not for: that a limit ends a run, but where that is what an arrangement of groups has to show.
//! Runs in: the test process, mostly in the guests of scripts/kernels: a host has one arrangement only, and each
//! test says which it needs.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use jail::{Policy, Profile, Sandbox};

use crate::support::{Jail, Run, home_v2, is_root, jail_binary, leave_to_another_host, make_room, needs, own_v2, room};

/// The v2 group below which this caller may make groups, or the end of the test.
macro_rules! home {
    () => {{
        make_room();
        match home_v2() {
            Some(home) => home,
            None => return leave_to_another_host("v2", "a delegated cgroup v2 with memory, pids and cpu"),
        }
    }};
}

/// Groups made by a test, removed with it, and whoever is still in them killed before.
struct Groups(Vec<PathBuf>);

impl Groups {
    const fn new() -> Self {
        Self(Vec::new())
    }

    fn make(&mut self, dir: PathBuf) -> PathBuf {
        fs::create_dir(&dir).unwrap();
        self.0.push(dir.clone());
        dir
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for dir in self.0.iter().rev() {
            // Where the test itself ended well there is nobody, and the leaf may never have been made.
            drop(fs::write(dir.join("cgroup.kill"), "1"));
            drop(fs::remove_dir(dir.join("jail-leaf")));
            let end = Instant::now() + room(Duration::from_secs(1));
            while fs::remove_dir(dir).is_err() && dir.exists() && Instant::now() < end {
                thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

/// A name that no other test uses.
fn unique(name: &str) -> String {
    format!("test-{}-{name}", std::process::id())
}

fn read(file: impl AsRef<Path>) -> String {
    let file = file.as_ref();
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display())).trim().to_owned()
}

/// The directory of a process's v2 group.
fn group_of(pid: i32) -> PathBuf {
    let text = read(format!("/proc/{pid}/cgroup"));
    let path = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
    Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/'))
}

/// Starts a command line of `jail` in a group, as its only process.
fn alone_in(group: &Path) -> Vec<String> {
    let script = format!("echo 0 > {}/cgroup.procs && exec \"$@\"", group.display());
    vec!["/bin/sh".to_owned(), "-c".to_owned(), script, "sh".to_owned()]
}

/// A process that sleeps in a group until the test ends it.
struct Sleeper(Child);

impl Sleeper {
    fn start(group: &Path) -> Self {
        let child = Command::new("/bin/sleep").arg("1000").spawn().unwrap();
        let sleeper = Self(child);
        fs::write(group.join("cgroup.procs"), sleeper.0.id().to_string()).unwrap();
        sleeper
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn detail(run: &Run, layer: &str) -> String {
    run.field("/posture/layers")[layer]["detail"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn v2_limits_are_in_the_runs_own_group_below_ours() {
    let home = home!();
    let jail = Jail::strictly().args(["--memory", "64M", "--pids", "16", "--cpus", "0.5"]);

    let mut live = jail.start_probe(["sleep", "60000"]);
    live.wait_ready();
    let inside = live.inside();
    let group = group_of(inside[0]);

    assert_eq!(group.parent(), Some(home.as_path()), "below our own group");
    assert!(inside.len() == 2 && inside.iter().all(|pid| group_of(*pid) == group), "init and payload: {inside:?}");
    assert_ne!(group_of(live.pid().as_raw()), group, "jail itself is not in it");
    assert_eq!(read(group.join("memory.max")), (64 << 20).to_string());
    assert_eq!(read(group.join("memory.swap.max")), "0");
    assert_eq!(read(group.join("memory.oom.group")), "1");
    assert_eq!(read(group.join("pids.max")), "17", "the jail's init is one");
    assert_eq!(read(group.join("cpu.max")), "50000 100000");

    live.signal(nix::sys::signal::Signal::SIGTERM);
    let run = live.wait();
    assert_eq!(run.verdict(), "cancelled", "{run}");
    run.assert_clean();
    assert!(!group.exists());
}

#[test]
fn v2_figures_come_from_the_groups_counters() {
    drop(Jail::new());
    home!();

    let run = Jail::strictly().probe(["mem", "32"]);

    assert_eq!(run.answer(), "ok 32");
    for source in ["/time/source", "/memory/source", "/tasks/source"] {
        assert_eq!(run.field(source), "cgroup", "{source} of {run}");
    }
    assert!(run.number("/memory/peak_bytes") >= 32 << 20, "{run}");
    assert_eq!(run.number("/tasks/peak"), 1, "{run}");
    for layer in ["cgroup.memory", "cgroup.pids", "cgroup.cpu"] {
        assert_eq!(run.field("/posture/layers")[layer]["witnessed"], true, "{layer} of {run}");
        assert!(detail(&run, layer).starts_with("cgroup v2"), "{run}");
    }
}

/// Where init is alone at the end the counters are read before it has gone, else after that.
#[test]
fn the_figures_are_the_same_whoever_is_left_at_the_end() {
    needs!(cgroup);
    for left in ["", "sleep 30 >/dev/null 2>&1 &"] {
        let run = Jail::new().run(["sh", "-c", &format!("head -c 25165824 /dev/zero > /tmp/file; {left}")]);

        assert_eq!(run.verdict(), "ok", "{run}");
        assert!((24 << 20..64 << 20).contains(&run.number("/memory/peak_bytes")), "{run}");
        assert_ne!(run.number("/time/cpu_ms"), 0, "{run}");
        assert_eq!(run.number("/tasks/peak"), 2, "the shell and one other: {run}");
        for source in ["/time/source", "/memory/source", "/tasks/source"] {
            assert_eq!(run.field(source), "cgroup", "{source} of {run}");
        }
        if is_root() {
            assert!((24 << 20..25 << 20).contains(&run.number("/io/write_bytes")), "{run}");
        }
        run.assert_clean();
    }
}

#[test]
fn v2_bytes_to_storage_are_counted_by_the_io_controller() {
    let home = home!();
    if !read(home.join("cgroup.subtree_control")).split(' ').any(|name| name == "io") {
        return leave_to_another_host("io", "a delegated io controller");
    }
    let outside = crate::support::folder();
    fs::set_permissions(outside.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let file = outside.path().join("file");
    let jail = || Jail::strictly().arg("--rw").arg(outside.path());

    let idle = jail().run(["/usr/bin/true"]);
    let line = ["/usr/bin/dd", "if=/dev/zero", "bs=65536", "count=64", "conv=fsync", "status=none"];
    let run = jail().run(line.map(str::to_owned).into_iter().chain([format!("of={}", file.display())]));

    assert_eq!(run.code, Some(0), "{run}");
    assert_eq!(run.field("/io/storage_source"), "cgroup", "{run}");
    assert!(run.number("/io/storage_write_bytes") >= 4 << 20, "{run}");
    assert!(idle.number("/io/storage_write_bytes") < 4 << 20, "{idle}");
}

#[test]
fn v2_siblings_are_left_alone() {
    let home = home!();
    let mut groups = Groups::new();
    let sibling = groups.make(home.join(unique("sibling")));
    fs::write(sibling.join("memory.max"), "100M").unwrap();
    let sleeper = Sleeper::start(&sibling);
    let state = || {
        let files = ["memory.max", "pids.max", "cpu.max", "cgroup.procs", "cgroup.subtree_control"];
        files.map(|file| read(sibling.join(file)))
    };
    let before = state();
    assert_eq!(before[3], sleeper.0.id().to_string());

    let run = Jail::strictly().args(["--memory", "64M"]).probe(["mem", "96"]);

    assert_eq!(run.verdict(), "memory", "{run}");
    assert_eq!(state(), before);
}

#[test]
fn v2_whoever_is_still_in_the_group_at_the_end_is_killed() {
    let home = home!();
    let mut live = Jail::strictly().start_probe(["sleep", "60000"]);
    live.wait_ready();
    let group = group_of(live.inside()[0]);
    assert_eq!(group.parent(), Some(home.as_path()));
    // Nothing of the jail's outlives its init; what somebody put beside it would.
    let mut sleeper = Sleeper::start(&group);

    live.signal(nix::sys::signal::Signal::SIGTERM);
    let run = live.wait();

    assert_eq!(run.verdict(), "cancelled", "{run}");
    assert_eq!(sleeper.0.wait().unwrap().signal(), Some(9));
    assert!(!group.exists());
}

#[test]
fn v2_a_jail_alone_in_a_group_makes_room_for_itself() {
    let home = home!();
    let mut groups = Groups::new();
    let group = groups.make(home.join(unique("alone")));

    let mut live = Jail::strictly().through(alone_in(&group)).start_probe(["sleep", "60000"]);
    live.wait_ready();

    assert_eq!(group_of(live.pid().as_raw()), group.join("jail-leaf"));
    assert_eq!(group_of(live.inside()[0]).parent(), Some(group.as_path()));
    live.signal(nix::sys::signal::Signal::SIGTERM);
    let run = live.wait();
    assert_eq!(run.verdict(), "cancelled", "{run}");
    run.assert_clean();
}

#[test]
fn v2_a_self_test_alone_in_a_group_makes_room_for_its_runs() {
    let home = home!();
    let mut groups = Groups::new();
    let group = groups.make(home.join(unique("battery")));

    let line = alone_in(&group);
    let mut command = Command::new(&line[0]);
    command.args(&line[1..]).arg(jail_binary()).args(["selftest", "--no-systemd", "--only", "fs-read"]);
    let output = command.output().unwrap();

    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(said.contains("1 held"), "{said}");
    assert!(group.join("jail-leaf").exists());
}

#[test]
fn v2_beside_others_in_a_group_a_jail_is_refused_and_touches_nobody() {
    let home = home!();
    let mut groups = Groups::new();
    let group = groups.make(home.join(unique("crowd")));
    let sleeper = Sleeper::start(&group);

    let run = Jail::strictly().arg("--no-systemd").through(alone_in(&group)).probe(["cwd"]);

    assert_eq!(run.code, Some(125), "{run}");
    let wanted = format!(
        "jail: cgroup.memory cannot be enforced here: {} has other processes in it, so its children get no memory \
         controller\nhint: run where a cgroup is delegated to you",
        group.display()
    );
    assert!(run.err().starts_with(&wanted), "{}", run.err());
    assert_eq!(read(group.join("cgroup.procs")), sleeper.0.id().to_string());
    assert_eq!(read(group.join("cgroup.subtree_control")), "");
}

#[test]
fn v2_what_is_delegated_in_part_is_used_for_what_it_gives() {
    let home = home!();
    let mut groups = Groups::new();
    let outer = groups.make(home.join(unique("partial")));
    fs::write(outer.join("cgroup.subtree_control"), "+pids").unwrap();
    let group = groups.make(outer.join("inner"));
    assert_eq!(read(group.join("cgroup.controllers")), "pids");
    let jail = || Jail::strictly().arg("--no-systemd").through(alone_in(&group)).args(["--pids", "16"]);

    let refused = jail().probe(["fork", "40"]);

    assert_eq!(refused.code, Some(125), "{refused}");
    assert!(refused.err().starts_with("jail: cgroup.memory cannot be enforced here: "), "{refused}");
    assert!(refused.err().contains("--allow-degraded cgroup.memory,cgroup.cpu\n"), "{refused}");

    let run = jail().args(["--allow-degraded", "cgroup.memory,cgroup.cpu"]).probe(["fork", "40"]);

    assert_eq!(run.answer(), "errno EAGAIN 15");
    assert!(run.hit("pids"), "{run}");
    assert!(run.number("/tasks/refused_forks") >= 1, "counted by the kernel: {run}");
    assert_eq!(run.field("/tasks/source"), "cgroup", "{run}");
    assert_eq!(run.field("/time/source"), "cgroup", "a group counts CPU time without a controller: {run}");
    assert_eq!(run.field("/posture/degraded"), &serde_json::json!(["cgroup.memory", "cgroup.cpu"]), "{run}");
    run.assert_clean();
}

/// Whether there is swap. A run's limit counts it, so only there that can be seen.
fn swap() -> bool {
    fs::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().count() > 1)
}

#[test]
fn v2_swap_does_not_stretch_the_memory_limit() {
    let home = home!();
    if !swap() {
        return leave_to_another_host("swap", "real swap");
    }
    let mut groups = Groups::new();
    let group = groups.make(home.join(unique("swap")));
    fs::write(group.join("memory.max"), "64M").unwrap();
    let words = alone_in(&group);
    let control = Command::new(&words[0])
        .args(&words[1..])
        .arg(crate::support::probe_binary())
        .args(["mem", "96"])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&control.stdout).trim(),
        "ok 96",
        "without a limit on swap it fits: {control:?}"
    );

    let run = Jail::strictly().args(["--memory", "64M"]).probe(["mem", "96"]);

    assert_eq!((run.code, run.verdict()), (Some(137), "memory"), "{run}");
    run.assert_clean();
}

// ---- systemd

/// The socket of this user's systemd, for a caller whose own group is not delegated: what a login gives.
fn user_session() -> bool {
    let bus = std::env::var_os("XDG_RUNTIME_DIR").map(|dir| Path::new(&dir).join("bus"));
    drop(Jail::strictly());
    bus.is_some_and(|bus| bus.exists()) && home_v2().is_none() && own_v2().is_some()
}

macro_rules! needs_session {
    () => {
        if !user_session() {
            return leave_to_another_host("systemd", "a login session with a systemd user manager");
        }
    };
}

/// The names of the scopes of `jail` that systemd knows.
fn scopes() -> Vec<String> {
    let output = Command::new("systemctl")
        .args(["--user", "list-units", "--all", "--plain", "--no-legend", "jail-*.scope"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn systemd_gives_a_scope_to_a_user_in_a_login_session() {
    needs_session!();

    let mut live = Jail::strictly().args(["--memory", "64M"]).start(["/bin/sh", "-c", "echo ready; exec sleep 60"]);
    live.wait_ready();
    let own = read(format!("/proc/{}/cgroup", live.pid()));
    let scope = own.rsplit('/').find(|part| part.ends_with(".scope")).unwrap_or_default().to_owned();
    assert!(scope.starts_with(&format!("jail-{}-", live.pid())), "{own}");
    assert!(scopes().iter().any(|line| line.starts_with(&scope)), "{:?}", scopes());
    let group = group_of(live.inside()[0]);
    assert_eq!(read(group.join("memory.max")), (64 << 20).to_string());
    live.signal(nix::sys::signal::Signal::SIGTERM);
    let run = live.wait();

    assert_eq!(run.verdict(), "cancelled", "{run}");
    for layer in ["cgroup.memory", "cgroup.pids", "cgroup.cpu"] {
        assert_eq!(detail(&run, layer), format!("cgroup v2, systemd scope {scope}"), "{run}");
    }
    run.assert_clean();
    // systemd removes it when it learns that it is empty.
    let end = Instant::now() + room(Duration::from_secs(1));
    while scopes().iter().any(|line| line.starts_with(&scope)) {
        assert!(Instant::now() < end, "{scope} stays");
        thread::sleep(Duration::from_millis(50));
    }
    assert!(!group.parent().unwrap().exists());
}

#[test]
fn systemds_scope_enforces_the_limits_and_is_not_failed_by_them() {
    needs_session!();

    let run = Jail::strictly().args(["--memory", "64M"]).probe(["mem", "96"]);
    assert_eq!((run.code, run.verdict()), (Some(137), "memory"), "{run}");
    let run = Jail::strictly().args(["--pids", "16"]).probe(["fork", "40"]);
    assert_eq!(run.answer(), "errno EAGAIN 15");
    assert!(run.hit("pids"), "{run}");

    let failed = || scopes().into_iter().filter(|line| line.contains(" failed ")).collect::<Vec<_>>();
    assert!(failed().is_empty(), "{:?}", failed());
}

#[test]
fn a_plan_shows_the_scope_and_asks_for_none() {
    needs_session!();

    let run = Jail::strictly().through(["/usr/bin/env"]).without_report().arg("plan").run(["/usr/bin/true"]);

    let text = run.out();
    assert_eq!(run.code, Some(0), "{run}");
    assert!(text.starts_with("supervisor   0  have systemd move this process to jail-"), "{text}");
    assert!(text.contains("\nlayer cgroup.memory: cgroup v2, systemd scope jail-"), "{text}");
    let scope = text.split_whitespace().find(|word| word.ends_with(".scope")).unwrap();
    assert!(!scopes().iter().any(|line| line.starts_with(scope)), "{scope}");
}

#[test]
fn without_systemd_the_refusal_says_so() {
    needs_session!();

    let run = Jail::strictly().arg("--no-systemd").probe(["cwd"]);
    assert_eq!(run.code, Some(125), "{run}");
    assert!(run.err().contains("hint: run where a cgroup is delegated to you (systemd-run --user --scope"), "{run}");

    let run = Jail::strictly().env("XDG_RUNTIME_DIR", "/nonexistent").probe(["cwd"]);
    assert_eq!(run.code, Some(125), "{run}");
    assert!(run.err().contains("; no systemd of this user runs here (/nonexistent/bus does not exist)\n"), "{run}");

    let jail = Jail::strictly().env("XDG_RUNTIME_DIR", "/nonexistent").args(["--allow-degraded", "cgroup"]);
    let run = jail.probe(["cwd"]);
    assert_eq!(run.code, Some(0), "{run}");
    assert_eq!(run.field("/posture/degraded").as_array().unwrap().len(), 3, "{run}");
}

#[test]
fn the_library_asks_systemd_only_when_it_is_told_to() {
    needs_session!();
    let before = read("/proc/self/cgroup");
    let profile = Profile::parse("test", "extends = [\"strict\"]\nfs.workspace = \"none\"").unwrap();
    let policy = Policy::new(&profile).unwrap();
    let command = jail::Command::new("/usr/bin/true");

    let sandbox = Sandbox::new(policy).unwrap();
    let error = sandbox.plan(&command).unwrap_err();
    assert_eq!(error.kind(), jail::ErrorKind::Unsupported);
    let sandbox = sandbox.with_systemd_scope().unwrap();
    assert!(sandbox.plan(&command).unwrap().to_string().contains("have systemd move this process"));

    assert_eq!(read("/proc/self/cgroup"), before, "asking is for the first run");
}

// ---- v1

/// The mount points of the v1 hierarchies that runs use, where they are there.
fn v1() -> Option<Vec<PathBuf>> {
    let mounts = read("/proc/self/mountinfo");
    let point = |controller: &str| {
        mounts.lines().find_map(|line| {
            let (front, back) = line.split_once(" - cgroup ")?;
            let options = back.rsplit(' ').next()?;
            options
                .split(',')
                .any(|option| option == controller)
                .then(|| PathBuf::from(front.split(' ').nth(4).unwrap()))
        })
    };
    let mut points: Vec<PathBuf> =
        ["memory", "pids", "cpu", "cpuacct"].map(point).into_iter().collect::<Option<_>>()?;
    points.sort();
    points.dedup();
    Some(points)
}

/// Where this process's own v1 group is below a mount point.
fn own_v1(point: &Path) -> PathBuf {
    let name = point.file_name().unwrap().to_string_lossy().into_owned();
    let text = read("/proc/self/cgroup");
    let path = text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let controllers = fields.next()?;
        let same = controllers.split(',').any(|controller| name.split(',').any(|part| part == controller));
        same.then(|| fields.next().unwrap().to_owned())
    });
    point.join(path.unwrap().trim_start_matches('/'))
}

#[test]
fn v1_groups_that_were_handed_to_a_user_enforce_the_limits() {
    let (Some(points), true) = (v1(), is_root()) else {
        return leave_to_another_host("v1", "root, and cgroup v1 with memory, pids and cpu");
    };
    let mut groups = Groups::new();
    let mut dirs = Vec::new();
    for point in points {
        let dir = groups.make(own_v1(&point).join(unique("user")));
        for path in [dir.clone(), dir.join("tasks"), dir.join("cgroup.procs")] {
            chown(path, Some(61234), Some(61234)).unwrap();
        }
        dirs.push(dir);
    }
    let joins: Vec<String> = dirs.iter().map(|dir| format!("echo 0 > {}/cgroup.procs", dir.display())).collect();
    let script = format!(
        "{} && exec setpriv --reuid 61234 --regid 61234 --clear-groups env HOME=/nonexistent \"$@\"",
        joins.join(" && ")
    );
    let jail = || {
        let jail = Jail::strictly().through(["/bin/sh", "-c", &script, "sh"]);
        // The report is the user's to write.
        chown(jail.beside(""), Some(61234), Some(61234)).unwrap();
        jail
    };

    let run = jail().args(["--memory", "64M"]).probe(["mem", "96"]);
    assert_eq!((run.code, run.verdict()), (Some(137), "memory"), "{run}");
    assert_eq!(detail(&run, "cgroup.memory"), "cgroup v1", "{run}");
    run.assert_clean();

    let run = jail().args(["--pids", "16"]).probe(["fork", "40"]);
    assert_eq!(run.answer(), "errno EAGAIN 15");
    assert!(run.number("/tasks/refused_forks") >= 1, "{run}");
    assert_eq!(run.field("/posture/degraded"), &serde_json::json!([]), "{run}");
    run.assert_clean();

    for dir in &dirs {
        let below = fs::read_dir(dir).unwrap().flatten().filter(|entry| entry.file_type().unwrap().is_dir()).count();
        assert_eq!(below, 0, "left in {}", dir.display());
    }
}
