//! LIM: each limit bites, says so, and lets through what stays below it.
//!
//! For: claims LIM-1 to LIM-13.
//! Not for: parsing of limits (unit tests of the profile).
//! Runs in: the test process. Every bomb in the probe has a ceiling of its own.

use std::time::Duration;

use super::{Jail, needs, outside};
use crate::support::{Run, room, seconds, slowness};

/// The one line that `jail` says when it ended a run: its start, and nothing after the time.
#[track_caller]
fn assert_one_line(run: &Run, start: &str) {
    let err = run.err();
    assert!(err.starts_with(start) && err.lines().count() == 1 && err.ends_with('\n'), "{start:?} is not {err:?}");
}

/// Exit code and verdict at once.
fn ending(run: &Run) -> (i32, &str) {
    (run.code.unwrap_or(-1), run.verdict())
}

#[test]
fn claim_lim_1_memory_ends_the_run() {
    needs!(cgroup);
    assert_eq!(outside(["mem", "96"]), "ok 96");

    let run = Jail::new().args(["--memory", "64M"]).probe(["mem", "96"]);

    assert_eq!(ending(&run), (137, "memory"), "{run}");
    assert_one_line(&run, "jail: memory limit 64 MiB reached after ");
    assert!(run.err().contains(" s (peak "), "{}", run.err());
    assert_eq!(run.number("/verdict/limit"), 64 << 20);
    assert_eq!(run.field("/verdict/unit"), "bytes");
    assert!(run.number("/memory/oom_kills") >= 1, "{run}");
    let peak = run.number("/memory/peak_bytes");
    assert!((60 << 20..=64 << 20).contains(&peak), "{peak}");
    assert!(run.hit("memory"), "{run}");
    run.assert_clean();
}

#[test]
fn claim_lim_1_less_memory_is_let_through_and_measured() {
    needs!(cgroup);
    let run = Jail::new().args(["--memory", "64M"]).probe(["mem", "32"]);

    assert_eq!(run.answer(), "ok 32");
    let peak = run.number("/memory/peak_bytes");
    assert!((32 << 20..=64 << 20).contains(&peak), "{peak}");
    assert_eq!(run.number("/memory/oom_kills"), 0);
    assert!(!run.hit("memory"));
}

#[test]
fn claim_lim_1_memory_is_that_of_the_whole_tree() {
    needs!(cgroup);
    let run = Jail::new().args(["--memory", "64M"]).probe(["mem-tree", "24", "4"]);
    assert_eq!(ending(&run), (137, "memory"), "{run}");
    run.assert_clean();

    let run = Jail::new().args(["--memory", "128M"]).probe(["mem-tree", "24", "4"]);
    assert_eq!(run.answer(), "ok");
}

#[test]
fn claim_lim_1_scratch_files_count_as_memory() {
    needs!(cgroup);
    let jail = Jail::new().args(["--memory", "32M", "--fsize", "none", "--tmpfs", "/tmp2:size=128M,inodes=100"]);

    let run = jail.probe(["tmpfs-fill", "/tmp2", "100000000"]);

    assert_eq!(ending(&run), (137, "memory"), "{run}");
    run.assert_clean();
}

#[test]
fn claim_lim_2_tasks_are_refused_at_exactly_the_limit() {
    needs!(cgroup);
    assert_eq!(outside(["fork", "40"]), "ok 40");

    // The program itself is the 16th.
    let run = Jail::new().args(["--pids", "16"]).probe(["fork", "40"]);

    assert_eq!(run.answer(), "errno EAGAIN 15");
    assert_eq!(run.verdict(), "ok");
    assert!(run.hit("pids"), "{run}");
    assert!(run.number("/tasks/refused_forks") >= 1);
    assert_eq!(run.number("/tasks/peak"), 16);
    run.assert_clean();
}

#[test]
fn claim_lim_2_without_a_group_a_fork_bomb_still_meets_a_wall() {
    // By RLIMIT_NPROC, which counts the user's tasks in this namespace: a backstop, not the limit.
    let run = Jail::new().args(["--pids", "16"]).probe(["fork", "40"]);

    assert_eq!(run.answer(), "errno EAGAIN 15");
    // What was not measured is absent, never 0.
    assert_ne!(run.field("/tasks/peak"), 0, "{run}");
    run.assert_clean();
}

#[test]
fn claim_lim_2_threads_are_tasks() {
    needs!(cgroup);
    let run = Jail::new().args(["--pids", "16"]).probe(["threads", "40"]);
    assert_eq!(run.answer(), "errno EAGAIN 15");

    let run = Jail::new().args(["--pids", "16"]).probe(["threads", "15"]);
    assert_eq!(run.answer(), "ok 15");
    assert!(!run.hit("pids"), "{run}");
}

#[test]
fn claim_lim_2_zombies_are_tasks() {
    needs!(cgroup);
    let run = Jail::new().args(["--pids", "16"]).probe(["zombies", "40"]);

    assert_eq!(run.answer(), "errno EAGAIN 15");
    run.assert_clean();
}

#[test]
fn claim_lim_3_wall_time_ends_the_run() {
    let run = Jail::new().args(["--timeout", "300ms"]).probe(["sleep", "20000"]);

    assert_eq!(ending(&run), (124, "wall_time"), "{run}");
    assert_eq!(run.err(), "jail: wall time limit 300 ms reached\n");
    assert_eq!(run.number("/verdict/limit"), 300);
    assert_eq!(run.field("/verdict/unit"), "ms");
    let wall = Duration::from_millis(run.number("/time/wall_ms"));
    assert!((Duration::from_millis(300)..room(Duration::from_millis(1300))).contains(&wall), "{run}");
    assert!(run.elapsed < room(Duration::from_secs(2)), "{run}");
    assert!(run.hit("wall"), "{run}");
    run.assert_clean();
}

#[test]
fn claim_lim_3_a_run_within_its_time_is_left_alone() {
    let run = Jail::new().args(["--timeout", "10s"]).probe(["sleep", "200"]);

    assert_eq!(run.answer(), "ready\nok");
    assert_eq!(run.err(), "");
    assert!(run.number("/time/wall_ms") >= 200, "{run}");
}

#[test]
fn claim_lim_4_cpu_time_ends_the_run() {
    let run = Jail::new().args(["--cpu-time", "500ms", "--timeout", &seconds(20)]).probe(["spin", "15000"]);

    assert_eq!(ending(&run), (124, "cpu_time"), "{run}");
    assert_one_line(&run, "jail: CPU time limit 500 ms reached after ");
    assert_eq!(run.number("/verdict/limit"), 500);
    assert!((500..1500).contains(&run.number("/time/cpu_ms")), "{run}");
    assert!(run.hit("cpu_time"), "{run}");
    run.assert_clean();
}

#[test]
fn claim_lim_4_cpu_time_is_that_of_the_whole_tree() {
    // Each child has used a fraction of it when all of them have used it up.
    let jail = Jail::new().args(["--cpu-time", "2s", "--timeout", &seconds(20), "--cpus", "2"]);
    let run = jail.probe(["spin", "15000", "4"]);
    assert_eq!(ending(&run), (124, "cpu_time"), "{run}");

    let jail = Jail::new().args(["--cpu-time", "2s", "--timeout", &seconds(20), "--cpus", "2"]);
    let run = jail.probe(["spin", "100", "2"]);
    assert_eq!(run.answer(), "ok");
}

#[test]
fn claim_lim_4_children_that_nobody_waits_for_count() {
    let jail = Jail::new().args(["--cpu-time", "500ms", "--timeout", &seconds(20), "--cpus", "2"]);

    let run = jail.probe(["cpu-children-ignored", "10000", "2"]);

    assert_eq!(ending(&run), (124, "cpu_time"), "{run}");
    run.assert_clean();
}

#[test]
fn claim_lim_4_many_short_lives_count() {
    needs!(cgroup);
    let run = Jail::new().args(["--cpu-time", "500ms", "--timeout", &seconds(20)]).probe(["churn", "15000"]);

    assert_eq!(ending(&run), (124, "cpu_time"), "{run}");
    run.assert_clean();
}

#[test]
fn claim_lim_4_sleeping_costs_nothing() {
    // In an emulated guest the start alone costs 200 ms.
    let run = Jail::new().args(["--cpu-time", "1s", "--timeout", &seconds(20)]).probe(["sleep", "2000"]);

    assert_eq!(run.answer(), "ready\nok");
}

#[test]
fn claim_lim_5_the_cpu_rate_holds_the_tree_back() {
    needs!(cgroup);
    let used = |cpus: &str| {
        let run = Jail::new().args(["--cpus", cpus, "--cpu-time", "none"]).probe(["spin", "1500", "2"]);
        assert_eq!(run.answer(), "ok");
        let ratio = run.number("/time/cpu_ms") * 1000 / run.number("/time/wall_ms");
        (ratio, run)
    };

    let (slow, run) = used("0.25");
    // One period more than the rate may fall into the run. How much less it gets is up to the rest of the machine.
    assert!(slow < 400, "{slow} thousandths: {run}");
    assert!(run.number("/sched/throttled_ms") > 100, "{run}");
    assert!(run.hit("cpus"), "{run}");

    // How much it gets without a rate is up to the rest of the machine.
    let (_free, run) = used("none");
    assert_eq!(run.field("/sched/throttled_ms").as_u64().unwrap_or(0), 0, "{run}");
    assert!(!run.hit("cpus"), "{run}");
}

#[test]
fn claim_lim_6_open_files_are_bounded() {
    assert_eq!(outside(["open-many", "100"]), "ok 100");

    // Three are stdin, stdout and stderr.
    let run = Jail::new().args(["--nofile", "20"]).probe(["open-many", "100"]);
    assert_eq!(run.answer(), "errno EMFILE 17");

    let run = Jail::new().args(["--nofile", "20"]).probe(["open-many", "17"]);
    assert_eq!(run.answer(), "ok 17");
}

#[test]
fn claim_lim_7_a_file_that_grows_too_large_ends_the_run() {
    let run = Jail::new().args(["--fsize", "1M"]).probe(["write-file", "/tmp/large", "2000000"]);

    assert_eq!(ending(&run), (153, "file_size"), "{run}");
    assert_one_line(&run, "jail: file size limit 1 MiB reached after ");
    assert_eq!(run.number("/verdict/limit"), 1 << 20);
    assert!(run.hit("fsize"), "{run}");
    run.assert_clean();

    let run = Jail::new().args(["--fsize", "1M"]).probe(["write-file", "/tmp/exact", "1048576"]);
    assert_eq!(run.answer(), "ok 1048576");
}

#[test]
fn claim_lim_7_who_ignores_the_signal_is_refused_the_write() {
    let write = |bytes: &str| {
        let jail = Jail::new().args(["--fsize", "1M"]);
        let probe = jail.probe_path().display().to_string();
        let script = "trap '' XFSZ; exec \"$@\"";
        jail.run(["/bin/sh", "-c", script, "sh", &probe, "write-file", "/tmp/large", bytes])
    };

    let run = write("2000000");

    assert_eq!(run.answer(), "errno EFBIG 1048576");
    assert_eq!(run.verdict(), "ok");
    assert_eq!(write("1048576").answer(), "ok 1048576");
}

#[test]
fn claim_lim_8_output_above_the_limit_ends_the_run() {
    let run = Jail::new().args(["--output-limit", "64K"]).probe(["write-out", "50000000"]);

    assert_eq!(ending(&run), (153, "output"), "{run}");
    assert_one_line(&run, "jail: output limit 64 KiB reached after ");
    assert_eq!(run.stdout.len(), 64 << 10, "exactly the limit is passed on");
    assert_eq!(run.number("/verdict/limit"), 64 << 10);
    assert!(run.hit("output"), "{run}");
    run.assert_clean();
}

#[test]
fn claim_lim_8_output_at_the_limit_is_let_through() {
    let run = Jail::new().args(["--output-limit", "64K"]).probe(["write-out", "65536"]);

    assert_eq!((ending(&run), run.stdout.len()), ((0, "ok"), 65536), "{run}");
    assert_eq!(run.number("/output/stdout/total_bytes"), 65536);
    assert_eq!(run.number("/output/stdout/omitted_bytes"), 0);
}

#[test]
fn claim_lim_8_output_can_be_cut_instead() {
    let jail = Jail::new().args(["--output-limit", "64K", "--on-overflow", "truncate"]);

    let run = jail.probe(["write-out", "1000000"]);

    assert_eq!((ending(&run), run.stdout.len()), ((0, "ok"), 65536), "{run}");
    assert_eq!(run.number("/output/stdout/total_bytes"), 1_000_000);
    assert_eq!(run.number("/output/stdout/omitted_bytes"), 1_000_000 - 65536);
    assert!(run.hit("output"), "{run}");
    run.assert_clean();
}

#[test]
fn claim_lim_8_a_flood_does_not_grow_the_supervisor() {
    let jail = Jail::new().args(["--output-limit", "none", "--timeout", &seconds(20), "--cpu-time", "none", "--json"]);
    // Many times what the supervisor may grow by, also where it has to be less.
    let flood = 2_000_000_000 / u64::from(slowness());
    let mut live = jail.start_probe(["write-out", &flood.to_string()]);
    let mut peak = 0;
    while live.running() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", live.pid())).unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = resident.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0_u64);
        peak = peak.max(kib);
        std::thread::sleep(Duration::from_millis(10));
    }
    let run = live.wait();

    assert!(peak > 0 && peak < 32 << 10, "jail itself used {peak} KiB");
    // Where the report keeps the output, it keeps 1 MiB of it and counts the rest.
    assert_eq!(run.number("/output/stdout/total_bytes"), flood, "{}", run.code.unwrap());
    assert_eq!(run.number("/output/stdout/omitted_bytes"), flood - (1 << 20));
    run.assert_clean();
}

#[test]
fn claim_lim_9_scratch_bytes_are_bounded() {
    let jail = Jail::new().args(["--tmpfs", "/scratch:size=1M,inodes=100"]);

    let run =
        jail.probe(["batch", "tmpfs-fill /scratch 4000000", "unlink /scratch/fill", "write-file /scratch/small 1000"]);

    assert_eq!(
        run.answer(),
        "tmpfs-fill /scratch 4000000: errno ENOSPC 1048576\n\
         unlink /scratch/fill: ok\n\
         write-file /scratch/small 1000: ok 1000"
    );
}

#[test]
fn claim_lim_9_the_tmp_of_strict_is_bounded() {
    let jail = Jail::new().args(["--fsize", "none"]);

    let run = jail.probe(["tmpfs-fill", "/tmp", "100000000"]);

    let answer = run.answer();
    let written: u64 = answer.strip_prefix("errno ENOSPC ").unwrap_or_else(|| panic!("{answer}")).parse().unwrap();
    // The way to the workspace may take pages of it.
    assert!(((64 << 20) - 65536..=64 << 20).contains(&written), "{written}");
}

#[test]
fn claim_lim_10_scratch_files_are_bounded() {
    let jail = Jail::new().args(["--tmpfs", "/scratch:size=1M,inodes=100"]);

    let run = jail.probe(["files", "/scratch", "1000"]);

    assert_eq!(run.answer(), "errno ENOSPC 99", "the directory itself is one");
}

#[test]
fn claim_lim_10_shared_memory_is_bounded_likewise() {
    let jail = Jail::new().args(["--tmpfs", "/dev/shm:size=1M,inodes=50"]);
    let run = jail.probe(["batch", "files /dev/shm 1000", "unlink /dev/shm/f0", "tmpfs-fill /dev/shm 4000000"]);
    assert_eq!(
        run.answer(),
        "files /dev/shm 1000: errno ENOSPC 49\n\
         unlink /dev/shm/f0: ok\n\
         tmpfs-fill /dev/shm 4000000: errno ENOSPC 1048576"
    );

    let run = Jail::new().args(["--fsize", "none"]).probe(["tmpfs-fill", "/dev/shm", "300000000"]);
    assert!(run.answer().starts_with("errno ENOSPC "), "shared memory of strict has no bound: {run}");
}

#[test]
fn claim_lim_11_the_stack_is_bounded() {
    assert_eq!(outside(["recurse", "3000"]), "ok 3000");

    let run = Jail::new().args(["--stack", "1M"]).probe(["recurse", "3000"]);
    assert_eq!(ending(&run), (139, "signaled"), "{run}");
    assert_eq!(run.field("/exit/signal"), 11);

    let run = Jail::new().args(["--stack", "1M"]).probe(["recurse", "200"]);
    assert_eq!(run.answer(), "ok 200");
}

#[test]
fn claim_lim_12_no_core_is_dumped() {
    let run = Jail::new().args(["--workspace-access", "write"]).probe(["raise", "11"]);

    assert_eq!(ending(&run), (139, "signaled"), "{run}");
    assert_eq!(run.field("/exit/core_dumped"), false, "{run}");
    assert_eq!(std::fs::read_dir(run.workspace()).unwrap().count(), 1, "the probe alone");
}

#[test]
fn claim_lim_13_every_resource_limit_is_set_for_good() {
    let control = outside(["rlimits"]);
    let run = Jail::new().args(["--cpu-time", "10s", "--pids", "16"]).probe(["rlimits"]);

    let answer = run.answer();
    let number = |text: &str| text.parse().unwrap_or(u64::MAX);
    // Soft and hard; nobody gets above the hard limit that the caller has.
    let of = |name: &str, wanted: [u64; 2]| {
        let own = control.split(' ').find_map(|own| own.strip_prefix(&format!("{name}="))).unwrap();
        let most = number(own.split_once(':').unwrap().1);
        format!("{name}={}:{}", wanted[0].min(most), wanted[1].min(most))
    };
    // Where a group counts the tasks, the backstop is out of its way. Init is one.
    let tasks = if crate::support::degraded() { 17 } else { 49 };
    for (name, wanted) in [
        ("nofile", [256; 2]),
        ("fsize", [64 << 20; 2]),
        // One byte is no core, and the one value at which the kernel starts no core helper of the host's either.
        ("core", [1; 2]),
        ("stack", [8 << 20; 2]),
        ("memlock", [8 << 20; 2]),
        ("msgqueue", [819_200; 2]),
        ("sigpending", [1024; 2]),
        ("rtprio", [0; 2]),
        ("nice", [0; 2]),
        ("nproc", [tasks; 2]),
        ("cpu", [11, 12]),
    ] {
        let limit = of(name, wanted);
        assert!(answer.split(' ').any(|own| own == limit), "{limit} is not in {answer}");
    }
    assert!(answer.contains("as=inf:inf"), "the address space is no memory limit: {answer}");
}

#[test]
fn claim_lim_13_a_limit_can_be_lowered_and_never_raised() {
    let script = "import resource as r\n\
                  def attempt(most):\n    \
                      try: r.setrlimit(r.RLIMIT_NOFILE, (most, most)); print(most, 'ok')\n    \
                      except ValueError as error: print(most, error)\n\
                  attempt(300)\nattempt(100)\nattempt(256)";

    let run = Jail::new().run(["/usr/bin/python3", "-c", script]);

    // In these words Python tells of EPERM.
    let refused = "not allowed to raise maximum limit";
    assert_eq!(run.answer(), format!("300 {refused}\n100 ok\n256 {refused}"));
}

/// The limits that the host counts by user, as the jail has them.
const BY_USER: &str = "memlock=8388608:8388608 msgqueue=819200:819200 rtprio=0:0 nice=0:0 sigpending=1024:1024";

/// What the probe says of its limits when `launcher` starts it; nothing where the launcher may not.
fn limits_under(launcher: &[&str]) -> Option<String> {
    let control = std::process::Command::new(launcher[0])
        .args(&launcher[1..])
        .arg(crate::support::probe_binary())
        .arg("rlimits")
        .output()
        .unwrap();
    control.status.success().then(|| String::from_utf8(control.stdout).unwrap())
}

#[test]
fn claim_lim_13_a_callers_own_soft_limits_are_not_handed_down() {
    let launcher = ["/usr/bin/prlimit", "--memlock=4096:", "--msgqueue=4096:", "--sigpending=5:"];
    let control = limits_under(&launcher).unwrap();
    for limit in ["memlock=4096:", "msgqueue=4096:", "sigpending=5:"] {
        assert!(control.contains(limit), "{control}");
    }
    let plain = outside(["rlimits"]);
    let most = |name: &str| {
        let own = plain.split(' ').find_map(|own| own.strip_prefix(name)).unwrap();
        own.split_once(':').unwrap().1.parse().unwrap_or(u64::MAX)
    };

    let answer = Jail::new().through(launcher).probe(["rlimits"]).answer();

    for (name, value) in [("memlock=", 8 << 20), ("msgqueue=", 819_200), ("sigpending=", 1024)] {
        let value = most(name).min(value);
        assert!(answer.contains(&format!("{name}{value}:{value}")), "{answer}");
    }
}

#[test]
fn claim_lim_13_a_caller_without_limits_hands_none_of_that_down() {
    let launcher = [
        "/usr/bin/prlimit",
        "--memlock=unlimited",
        "--msgqueue=unlimited",
        "--sigpending=unlimited",
        "--rtprio=99",
        "--nice=40",
    ];
    let Some(control) = limits_under(&launcher) else {
        return crate::support::skip("root", "CAP_SYS_RESOURCE, to raise limits before the run");
    };
    assert!(
        control.contains("memlock=inf:inf msgqueue=inf:inf rtprio=99:99 nice=40:40 sigpending=inf:inf"),
        "{control}"
    );

    let answer = Jail::new().through(launcher).probe(["rlimits"]).answer();

    assert!(answer.contains(BY_USER), "{answer}");
}
