//! The same thing a thousand times over: what goes wrong once in a thousand runs, and what grows a little with each.
//!
//! For: `scripts/soak`, which runs each of these in a process of its own. `JAIL_TESTS_SOAK` is the percentage of the
//! full numbers, `JAIL_TESTS_SEED` the seed of the random choices.
//! Not for: an ordinary `cargo test`, which leaves them out. One round of each is in `lifecycle` and `library`.
//! Runs in: the test process.

#![expect(clippy::print_stderr, reason = "progress, for people who wait and for logs")]

use std::env;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process;
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jail::{Command, Policy, Profile, Report, Sandbox};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;

use crate::support::{Before, Jail, Run, cgroups, degraded, needs};

/// How much a caller may grow over all of its runs.
const GROWTH: u64 = 1 << 20;

/// xorshift64*: the same choices for the same seed.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let seed = env::var("JAIL_TESTS_SEED").ok().map_or_else(
            || u64::from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos()),
            |text| text.parse().expect("JAIL_TESTS_SEED is no number"),
        );
        eprintln!("soak: seed {seed}");
        // Zero would stay zero.
        Self(seed.wrapping_mul(2).wrapping_add(1))
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.below(range.end() - range.start() + 1)
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[usize::try_from(self.below(u64::try_from(from.len()).unwrap())).unwrap()]
    }
}

/// Counts the rounds of a test, and says how far it is.
struct Rounds {
    name: &'static str,
    done: u64,
    all: u64,
    began: Instant,
    said: Instant,
}

impl Rounds {
    /// The part of `full` that was asked for, but `least`.
    fn new(name: &'static str, full: u64, least: u64) -> Self {
        let percent: u64 =
            env::var("JAIL_TESTS_SOAK").map_or(100, |text| text.parse().expect("JAIL_TESTS_SOAK is no percentage"));
        let all = (full * percent / 100).max(least);
        eprintln!("soak: {name}: {all} of {full}");
        Self { name, done: 0, all, began: Instant::now(), said: Instant::now() }
    }

    /// Whether there is another one.
    fn next(&mut self) -> bool {
        if self.done == self.all {
            eprintln!("soak: {}: {} done in {:.1} s", self.name, self.all, self.began.elapsed().as_secs_f64());
            return false;
        }
        if self.said.elapsed() > Duration::from_secs(10) {
            self.said = Instant::now();
            eprintln!("soak: {}: {} of {}", self.name, self.done, self.all);
        }
        self.done += 1;
        true
    }
}

/// `strict`, giving up what this caller cannot have.
fn sandbox() -> Sandbox {
    let degraded = if degraded() { "allow_degraded = [\"cgroup\"]\n" } else { "" };
    let profile = Profile::parse("soak", &format!("extends = [\"strict\"]\n{degraded}")).unwrap();
    Sandbox::new(Policy::new(&profile).unwrap()).unwrap()
}

/// What a caller that lives long must not collect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Figures {
    resident: u64,
    descriptors: usize,
    threads: usize,
    children: usize,
    mounts: usize,
    groups: usize,
}

impl Figures {
    fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let own = process::id().to_string();
        let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let is_child = |pid: &String| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)) == Some(own.as_str())
        };
        Self {
            resident: resident.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024,
            descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
            threads: fs::read_dir("/proc/self/task").unwrap().count(),
            children: pids.filter(|pid| pid.parse::<u32>().is_ok()).filter(is_child).count(),
            mounts: fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count(),
            groups: cgroups(&format!("jail-{}-", process::id())).len(),
        }
    }

    /// Nothing but memory and descriptors may differ, and those by little.
    #[track_caller]
    fn assert_like(self, before: Self) {
        // Network namespaces that the kernel is still taking down keep one each, 64 at most (supervisor/teardown.rs).
        assert!(self.descriptors <= before.descriptors + 64, "{self:?}, once {before:?}");
        let plain = |figures| Self { resident: 0, descriptors: 0, ..figures };
        assert_eq!(plain(self), plain(before));
        assert!(self.resident < before.resident + GROWTH, "grown from {} to {}", before.resident, self.resident);
    }
}

#[track_caller]
fn assert_exited(report: &Report, code: u8) {
    let code_and_signal = report.exit.map(|exit| (exit.code, exit.signal));
    assert_eq!((report.exit_code, code_and_signal), (code, Some((Some(code), None))), "{report:#?}");
    assert!(report.error.is_none(), "{report:#?}");
}

#[test]
#[ignore = "long: scripts/soak"]
fn in_a_row() {
    let mut rounds = Rounds::new("runs in a row", 10_000, 200);
    let folder = Jail::strictly();
    let before = Before::new(folder.workspace().parent().unwrap(), folder.workspace());
    let sandbox = sandbox();
    let warm = rounds.all / 10;
    let mut figures = None;
    while rounds.next() {
        let code = u8::try_from(rounds.done % 256).unwrap();
        let command = Command::new(folder.probe_path()).workspace(folder.workspace()).args(["exit", &code.to_string()]);

        assert_exited(&sandbox.run(&command), code);

        if rounds.done == warm {
            figures = Some(Figures::now());
        } else if let (Some(figures), 0) = (figures, rounds.done % 100) {
            Figures::now().assert_like(figures);
            assert_eq!(before.leftovers(None), [""; 0]);
        }
    }
    let (figures, now) = (figures.unwrap(), Figures::now());
    now.assert_like(figures);
    assert_eq!((now.children, now.groups), (0, 0));
    eprintln!("soak: resident {} KiB after {warm} runs, {} KiB now", figures.resident >> 10, now.resident >> 10);
}

#[test]
#[ignore = "long: scripts/soak"]
fn at_once() {
    const RUNS: u8 = 100;
    // A dozen descriptors a run, while it is started.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(20_000), hard).unwrap();
    let mut rounds = Rounds::new("rounds of 100 runs at once", 20, 2);
    // The first ones are for threads and allocator to settle in.
    rounds.all += 8;
    let folder = Jail::strictly();
    let before = Before::new(folder.workspace().parent().unwrap(), folder.workspace());
    let sandbox = sandbox();
    let all = rounds.all;
    let (start, end) = (Barrier::new(usize::from(RUNS) + 1), Barrier::new(usize::from(RUNS) + 1));
    let wrong = Mutex::new(Vec::new());
    let mut figures = None;
    thread::scope(|scope| {
        for code in 0..RUNS {
            let (sandbox, folder, start, end, wrong) = (&sandbox, &folder, &start, &end, &wrong);
            scope.spawn(move || {
                let command =
                    Command::new(folder.probe_path()).workspace(folder.workspace()).args(["exit", &code.to_string()]);
                for _ in 0..all {
                    start.wait();
                    let report = sandbox.run(&command);
                    if report.exit_code != code || report.error.is_some() {
                        // A panic here would leave the others at the barrier.
                        wrong.lock().unwrap().push(format!("{report:#?}"));
                    }
                    end.wait();
                }
            });
        }
        while rounds.next() {
            start.wait();
            end.wait();
            if rounds.done == 8 {
                figures = Some(Figures::now());
            }
        }
        // With the threads still there, as at the first look: they wait to be joined.
        let found = wrong.lock().unwrap();
        assert!(found.is_empty(), "{} runs: {}", found.len(), found[0]);
    });
    let (figures, now) = (figures.unwrap(), Figures::now());
    Figures { threads: figures.threads, ..now }.assert_like(figures);
    assert_eq!((now.children, now.groups), (0, 0));
    assert_eq!(before.leftovers(None), [""; 0]);
    eprintln!("soak: resident {} KiB after 8 rounds, {} KiB now", figures.resident >> 10, now.resident >> 10);
}

/// Groups on this host whose names begin like one of these.
fn groups_of(names: &[String]) -> Vec<String> {
    let all = cgroups("jail-").into_iter().map(|path| path.display().to_string());
    all.filter(|path| names.iter().any(|name| path.contains(name.as_str()))).collect()
}

#[test]
#[ignore = "long: scripts/soak"]
fn killed_supervisors() {
    let mut random = Random::new();
    let mut rounds = Rounds::new("supervisors killed at a random moment", 1000, 20);
    let mut lives: Vec<Duration> = (0..9).map(|_| Jail::new().probe(["exit", "0"]).elapsed).collect();
    lives.sort();
    let life = u64::try_from(lives[4].as_micros()).unwrap();
    let (mut names, mut alive, mut with_groups) = (Vec::new(), 0_u64, 0_usize);
    while rounds.next() {
        let verb = *random.pick(&["exit 0", "exit 0", "sleep 30000", "daemon 30000"]);
        let delay = random.below(life * 5 / 4);
        let live = Jail::new().start_probe(verb.split(' '));
        names.push(format!("/jail-{}-", live.pid()));
        thread::sleep(Duration::from_micros(delay));

        live.signal(Signal::SIGKILL);
        let run = live.wait();

        alive += u64::from(run.signal == Some(9));
        // Processes, mounts, files; within a second.
        run.assert_clean();
        assert_eq!(temporary_reports(&run), 0, "{run}");
        if rounds.done.is_multiple_of(20) || rounds.done == rounds.all {
            let left = groups_of(&names);
            // Of v1, one in each of the four hierarchies at most.
            assert!(left.len() <= 4 * names.len(), "{left:?}");
            with_groups += left.len();
            // The next run takes away what they had no time to take away, once the kernel has let go of it.
            let end = Instant::now() + Duration::from_secs(1);
            loop {
                let run = Jail::new().probe(["exit", "0"]);
                assert_eq!(run.code, Some(0), "{run}");
                run.assert_clean();
                if groups_of(&names).is_empty() || Instant::now() > end {
                    break;
                }
            }
            assert_eq!(groups_of(&names), [""; 0]);
            names.clear();
        }
    }
    eprintln!(
        "soak: {alive} of {} were killed alive; {with_groups} cgroups left and swept; a life is {life} us",
        rounds.all
    );
    // Else the moments were none.
    assert!(alive * 2 > rounds.all, "{alive} of {} were killed alive", rounds.all);
    assert!(with_groups > 0 || degraded(), "none of them was killed while its groups were there");
}

/// Reports that were begun and not put in place.
fn temporary_reports(run: &Run) -> usize {
    let folder = run.workspace().parent().unwrap();
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().starts_with(".jail-report")).count()
}

#[test]
#[ignore = "long: scripts/soak"]
fn killed_bombs() {
    needs!(cgroup);
    let mut random = Random::new();
    let mut rounds = Rounds::new("full fork bombs killed", 1000, 10);
    let (mut most, mut full) = (0, 0);
    while rounds.next() {
        // 2 GiB: kernel memory of tasks that have just died counts until it is freed. 64 tasks are 5 MiB when they rest,
        // and were hundreds while they re-forked on a busy machine.
        let (signal, code) = *random.pick(&[
            (Some(Signal::SIGKILL), None),
            (Some(Signal::SIGTERM), Some(143)),
            (Some(Signal::SIGINT), Some(130)),
            (None, Some(124)),
        ]);
        let mut jail = Jail::new().args(["--pids", "64", "--memory", "2G", "--cpus", "none", "--cpu-time", "none"]);
        if signal.is_none() {
            jail = jail.args(["--timeout", "1s"]);
        }
        let mut live = jail.start_probe(["rebomb", "20000"]);
        if let Some(signal) = signal {
            live.wait_for(b"full\n");
            thread::sleep(Duration::from_micros(random.below(5000)));
            let inside = live.inside().len();
            // Init, which is not of the payload, and 64 tasks.
            assert!(inside <= 65, "{inside} tasks");
            most = most.max(inside);
            live.signal(signal);
        }
        let run = live.wait();

        assert_eq!(run.code, code, "{run}");
        run.assert_clean();
        // On a busy machine the clock may be faster than the bomb.
        if signal.is_some() || !run.out().is_empty() {
            assert!(run.out().starts_with("full"), "{run}");
            full += 1;
            assert!(signal == Some(Signal::SIGKILL) || run.hit("pids"), "{run}");
        }
    }
    assert!(most > 32, "never more than {most} tasks at once: no bomb");
    assert!(full * 2 > rounds.all, "{full} of {} got to their limit", rounds.all);
    eprintln!("soak: {full} of {} were full; {most} tasks at once at most, init among them", rounds.all);
    assert_eq!(Jail::new().probe(["exit", "0"]).code, Some(0), "the sweep after those that were killed");
}

/// A way to end, and what must be said of it.
struct End {
    options: Vec<String>,
    command: Vec<String>,
    code: i32,
    verdict: &'static str,
    /// Figures of the report and what they may be.
    figures: Vec<(&'static str, RangeInclusive<u64>)>,
    hit: Option<&'static str>,
    /// Sent when the program is ready.
    signal: Option<Signal>,
}

impl End {
    fn new(code: i32, verdict: &'static str, command: &[&str]) -> Self {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        Self { options: Vec::new(), command, code, verdict, figures: Vec::new(), hit: None, signal: None }
    }

    fn option(mut self, flag: &str, value: impl ToString) -> Self {
        self.options.extend([flag.to_owned(), value.to_string()]);
        self
    }

    fn figure(mut self, pointer: &'static str, range: RangeInclusive<u64>) -> Self {
        self.figures.push((pointer, range));
        self
    }

    fn hit(mut self, limit: &'static str) -> Self {
        self.hit = Some(limit);
        self
    }
}

/// What a machine under load may add to a time.
const LATE: u64 = 20_000;

/// Signals that end a program by default and mean nothing else to `jail`: not those of its limits (SIGXFSZ, SIGXCPU)
/// and of the filter (SIGSYS), and not the two that glibc keeps for itself.
const DEADLY: [u8; 26] =
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 26, 27, 29, 30, 34, 40, 50, 60, 63, 64];

fn some_end(random: &mut Random) -> End {
    loop {
        let kind = random.below(16);
        let ms = random.within(50..=150);
        let end = match kind {
            0 => {
                let code = random.within(1..=255);
                End::new(i32::try_from(code).unwrap(), "nonzero_exit", &["exit", &code.to_string()])
                    .figure("/exit/code", code..=code)
            }
            1 => End::new(0, "ok", &["exit", "0"]).figure("/exit/code", 0..=0),
            2 => {
                let signal = *random.pick(&DEADLY);
                End::new(128 + i32::from(signal), "signaled", &["raise", &signal.to_string()])
                    .figure("/exit/signal", signal.into()..=signal.into())
            }
            3 => End::new(124, "wall_time", &["sleep", "30000"])
                .option("--timeout", format!("{ms}ms"))
                .figure("/verdict/limit", ms..=ms)
                .figure("/verdict/observed", ms..=ms + LATE)
                .figure("/time/wall_ms", ms..=ms + LATE)
                .figure("/time/cpu_ms", 0..=ms)
                .hit("wall"),
            4 => End::new(124, "cpu_time", &["spin", "20000"])
                .option("--cpu-time", format!("{ms}ms"))
                .figure("/verdict/limit", ms..=ms)
                .figure("/verdict/observed", ms..=ms + 1000)
                .figure("/time/cpu_ms", ms..=ms + 1000)
                .hit("cpu_time"),
            5 | 6 if degraded() => continue,
            5 => {
                let mib = random.within(8..=48);
                End::new(137, "memory", &["mem", "96"])
                    .option("--memory", format!("{mib}M"))
                    .figure("/verdict/limit", mib << 20..=mib << 20)
                    .figure("/memory/peak_bytes", (mib - 2) << 20..=mib << 20)
                    .figure("/memory/oom_kills", 1..=9)
                    .hit("memory")
            }
            6 => {
                let tasks = random.within(2..=20);
                End::new(0, "ok", &["fork", "40"])
                    .option("--pids", tasks)
                    .figure("/tasks/peak", tasks..=tasks)
                    .figure("/tasks/refused_forks", 1..=1)
                    .hit("pids")
            }
            7 => {
                let limit = random.within(1..=200_000);
                let more = limit + random.within(1..=200_000);
                End::new(153, "output", &["write-out", &more.to_string()])
                    .option("--output-limit", format!("{limit}B"))
                    .figure("/verdict/limit", limit..=limit)
                    .figure("/verdict/observed", limit + 1..=more)
                    .hit("output")
            }
            8 => {
                let kib = random.within(1..=1024);
                End::new(153, "file_size", &["write-file", "/tmp/large", "4000000"])
                    .option("--fsize", format!("{kib}K"))
                    .hit("fsize")
            }
            9 => End::new(159, "syscall_killed", &["int80", "20"]),
            10 => End::new(127, "exec_failed", &["/usr/bin/no-such-program"]),
            11 => End::new(126, "exec_failed", &["./data"]),
            12 => End::new(126, "exec_failed", &["/usr/bin"]),
            13 => End::new(125, "internal_error", &["exit", "0"]).option("--workspace", "/no/such/directory"),
            14 => End::new(125, "internal_error", &["exit", "0"]).option("--ro", "/no/such/source"),
            _ => {
                let (signal, code) =
                    *random.pick(&[(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)]);
                let verb: Vec<&str> = random.pick(&["sleep 30000", "sigignore", "stop"]).split(' ').collect();
                End { signal: Some(signal), ..End::new(code, "cancelled", &verb) }
            }
        };
        return end;
    }
}

/// What the report says that it should not.
fn misreported(end: &End, run: &Run) -> Option<String> {
    let verdict = run.field("/verdict/kind").as_str().unwrap_or("none");
    if (run.code, verdict) != (Some(end.code), end.verdict) {
        return Some(format!("{:?} {verdict}, not {} {}", run.code, end.code, end.verdict));
    }
    if run.field("/exit_code").as_i64() != Some(end.code.into()) {
        return Some(format!("exit_code {}", run.field("/exit_code")));
    }
    for (pointer, range) in &end.figures {
        let value = run.field(pointer);
        if !value.as_u64().is_some_and(|value| range.contains(&value)) {
            return Some(format!("{pointer} is {value}, not in {range:?}"));
        }
    }
    let hits: Vec<&str> =
        run.field("/limits_hit").as_array().unwrap().iter().filter_map(|hit| hit["limit"].as_str()).collect();
    // The CPU rate holds back whom it will; it ends nobody.
    let hits: Vec<&str> = hits.into_iter().filter(|hit| *hit != "cpus").collect();
    if hits != end.hit.into_iter().collect::<Vec<_>>() {
        return Some(format!("limits_hit {hits:?}, not {:?}", end.hit));
    }
    let ran = !matches!(end.verdict, "exec_failed" | "internal_error");
    (run.field("/error").is_null() != ran).then(|| format!("error {}", run.field("/error")))
}

#[test]
#[ignore = "long: scripts/soak"]
fn random_ends() {
    let mut random = Random::new();
    let mut rounds = Rounds::new("random ends", 1000, 32);
    let mut wrong = Vec::new();
    while rounds.next() {
        let end = some_end(&mut random);
        let jail = Jail::new().file("data", "no program").args(&end.options);
        let mut live = if Path::new(&end.command[0]).has_root() || end.command[0].starts_with('.') {
            jail.start(&end.command)
        } else {
            jail.start_probe(&end.command)
        };
        if let Some(signal) = end.signal {
            live.wait_ready();
            live.signal(signal);
        }
        let run = live.wait();
        if let Some(what) = misreported(&end, &run) {
            eprintln!("soak: MISREPORTED in round {}: {what}: {run}", rounds.done);
            wrong.push(what);
        }
        run.assert_clean();
    }
    assert!(wrong.is_empty(), "{} misreported: {wrong:#?}", wrong.len());
}
