//! Bombs: using up what the machine has.
//!
//! For: every limit of a profile. Each bomb stops by itself at a ceiling above the limit, by number, by bytes or by
//! time, and every process of it has a lifetime; a bomb that gets to its ceiling failed.
//! Not for: what is left after the end (`processes`, `supervisor`).
//! Runs in: the tables in the process of `jail selftest`, the bombs inside, one at a time. None runs outside.
//!
//! Where reaching a limit of the profile would take long or much of the machine, the run gets a smaller one.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{self, Read as _, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, OFlag, fallocate, fcntl};
use nix::mqueue::{MQ_OFlag, MqAttr, mq_open};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{SigEvent, SigSet, SigevNotify, Signal, raise};
use nix::sys::stat::Mode;
use nix::sys::timer::Timer;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{chdir, close, pipe2, write};

use jail::policy::{Layer, OnOverflow};
use jail::report::VerdictKind;

use super::inside::Inside;
use super::judge::{Answer, Outcome, Seen, check};
use super::run::Runner;
use super::stage::World;
use super::{Case, Class, Lane};

const RESOURCES: Class = Class::Resources;
const MIB: u64 = 1 << 20;
/// Scratch file systems are made no larger than this for a bomb.
const SCRATCH: u64 = 32 * MIB;
/// Nor with more files.
const INODES: u64 = 4096;
/// Most that the supervisor may need for a flood of input or output, KiB.
const SUPERVISOR: u64 = 64 << 10;

const fn bomb(id: &'static str, title: &'static str, inside: fn(&Inside), judge: fn(&World, &Seen) -> Outcome) -> Case {
    Case::attempt(id, RESOURCES, title, inside, judge).inside_only().lane(Lane::Alone)
}

pub(super) const CASES: &[Case] = &[
    bomb("rs-forks", "start processes without end", forks, |w, s| tasks(w, s, "fork"))
        .needs(Layer::CgroupPids)
        .flags(pids),
    bomb("rs-threads", "start threads without end", threads, |w, s| tasks(w, s, "thread"))
        .needs(Layer::CgroupPids)
        .flags(pids),
    bomb("rs-reforks", "a fork bomb whose children go on forking", refork_bomb, |w, s| {
        s.reached("pids").and(|| peak_tasks(w, s))
    })
    .needs(Layer::CgroupPids)
    .flags(|w| [pids(w), wall(&format!("{}s", 5 * w.slow))].concat()),
    bomb("rs-memory", "touch memory without end", |i| touch(i, ceiling(i)), over_memory)
        .needs(Layer::CgroupMemory)
        .flags(memory),
    bomb("rs-memory-tree", "the same, spread over processes that are each below the limit", memory_tree, over_memory)
        .needs(Layer::CgroupMemory)
        .flags(memory),
    bomb("rs-memory-files", "the same, in files of a scratch directory", memory_files, over_memory)
        .needs(Layer::CgroupMemory)
        .flags(|w| {
            let big = w.memory() / MIB + 64;
            [memory(w), vec!["--tmpfs".to_owned(), format!("/selftest-big:size={big}M,inodes=1k")]].concat()
        }),
    bomb("rs-memory-memfd", "the same, in files without a name (memfd)", memory_memfd, over_memory)
        .needs(Layer::CgroupMemory)
        .flags(memory),
    bomb("rs-pipes", "fill the buffers of pipes", pipes, buffers).needs(Layer::CgroupMemory).flags(memory),
    bomb("rs-sockets", "fill the buffers of sockets", sockets, buffers).needs(Layer::CgroupMemory).flags(memory),
    bomb("rs-scratch-bytes", "fill every scratch directory", scratch_bytes, |w, s| {
        scratch(w, s, |w, dest| {
            w.policy.tmpfs.iter().find(|t| t.value.dest == dest).map(|t| t.value.size.0.min(SCRATCH))
        })
    })
    .flags(scratch_flags),
    bomb("rs-scratch-files", "files without number in every scratch directory", scratch_files, |w, s| {
        scratch(w, s, |w, dest| {
            w.policy.tmpfs.iter().find(|t| t.value.dest == dest).map(|t| t.value.inodes.min(INODES))
        })
    })
    .flags(scratch_flags),
    bomb(
        "rs-file-size",
        "a file that grows without end",
        |i| grow(i, false),
        |w, s| {
            if w.scratch().is_none() {
                return Outcome::not_judged("the profile has no scratch directory");
            }
            s.ended_as(VerdictKind::FileSize)
        },
    )
    .flags(fsize),
    bomb(
        "rs-file-size-signal",
        "the same, deaf to the signal that ends it",
        |i| grow(i, true),
        |w, s| {
            if w.scratch().is_none() {
                return Outcome::not_judged("the profile has no scratch directory");
            }
            s.finished().and(|| match (s.answer("write"), s.number("bytes")) {
                (Some(Answer::Errno(Errno::EFBIG)), Some(bytes)) if bytes <= MIB => {
                    Outcome::held(format!("EFBIG after {bytes} bytes"))
                }
                (answer, bytes) => Outcome::failed(format!("{answer:?} after {bytes:?} bytes")),
            })
        },
    )
    .flags(fsize),
    bomb("rs-sparse", "files of an exabyte that are all hole, or promised", sparse, |w, s| {
        if w.scratch().is_none() {
            return Outcome::not_judged("the profile has no scratch directory");
        }
        let each = |name: &str| matches!(s.answer(name), Some(Answer::Errno(Errno::EFBIG | Errno::ENOSPC)));
        s.finished()
            .and(|| check(each("hole") && each("promised"), || format!("{:?}", s.inside)))
            .and(|| Outcome::held("EFBIG"))
    })
    .flags(fsize),
    bomb("rs-output", "print without end", flood, |w, s| {
        let bytes = s.output_bytes;
        let bounded = || {
            // In lines of the inside half no more than the limit comes out of the jail.
            check(bytes <= MIB, || format!("{bytes} bytes came out, {MIB} are allowed"))
        };
        match w.policy.output.on_overflow.value {
            OnOverflow::Kill => s.ended_as(VerdictKind::Output).and(bounded),
            OnOverflow::Truncate => s.reached("output").and(bounded),
        }
    })
    .flags(|_| vec!["--output-limit".to_owned(), "1M".to_owned()]),
    bomb("rs-output-memory", "print much: the supervisor does not grow", flood, |_, s| {
        if s.supervisor_kib == 0 {
            return Outcome::not_judged("the supervisor's memory could not be seen");
        }
        check(s.supervisor_kib <= SUPERVISOR, || format!("the supervisor grew to {} KiB", s.supervisor_kib)).and(|| {
            Outcome::held(format!(
                "{} MiB came out, the supervisor had {} MiB",
                s.output_bytes / MIB,
                s.supervisor_kib / 1024
            ))
        })
    }),
    bomb("rs-output-closed", "close the output and compute on", closed_output, |_, s| {
        s.ended_as(VerdictKind::WallTime)
    })
    .flags(|_| wall("1s")),
    bomb("rs-open-files", "open files without end", open_files, |w, s| {
        let most = u64::from(w.policy.limits.nofile.value).min(CEILING_FILES);
        s.finished().and(|| match (s.answer("open"), s.number("opened")) {
            (Some(Answer::Errno(Errno::EMFILE)), Some(opened)) if opened <= most => {
                Outcome::held(format!("EMFILE after {opened}"))
            }
            (answer, opened) => Outcome::failed(format!("{answer:?} after {opened:?}")),
        })
    })
    .flags(|w| vec!["--nofile".to_owned(), u64::from(w.policy.limits.nofile.value).min(CEILING_FILES).to_string()]),
    bomb("rs-cpu-time", "compute without end", |_| spin(Duration::from_secs(8)), cpu_time).flags(one_second),
    bomb("rs-cpu-children", "the same in many short-lived children that nobody waits for", spin_children, cpu_time)
        .needs(Layer::CgroupCpu)
        .flags(one_second),
    bomb("rs-cpu-rate", "compute on every processor at once", spin_threads, |_, s| {
        let used = s.report.time.cpu_ms.unwrap_or(u64::MAX);
        let wall = s.number("wall_ms").unwrap_or(0);
        // A tenth of a processor, with the period that is under way at the end.
        let most = wall / 10 * 135 / 100 + 100;
        s.finished()
            .and(|| s.reached("cpus"))
            .and(|| check(used <= most, || format!("{used} ms of CPU in {wall} ms, at a tenth of a processor")))
            .and(|| Outcome::held(format!("{used} ms of CPU in {wall} ms, at a tenth of a processor")))
    })
    .needs(Layer::CgroupCpu)
    .flags(|_| vec!["--cpus".to_owned(), "0.1".to_owned()]),
    bomb(
        "rs-wall-time",
        "sleep without end",
        |_| thread::sleep(Duration::from_secs(30)),
        |_, s| s.ended_as(VerdictKind::WallTime),
    )
    .flags(|_| wall("1s")),
    bomb("rs-deaf", "compute, deaf to every signal", deaf, |_, s| s.ended_as(VerdictKind::WallTime))
        .flags(|_| wall("1s")),
    bomb("rs-stack", "recurse without end", stack, |_, s| {
        check(s.value("half").is_some(), || "half of the stack does not work".to_owned())
            .and(|| s.ended_as(VerdictKind::Signaled))
    })
    .flags(|w| vec!["--stack".to_owned(), format!("{}K", stack_kib(w))]),
    bomb(
        "rs-core",
        "dump core",
        |i| i.step("raise", raise(Signal::SIGQUIT)),
        |_, s| {
            let exit = s.report.exit;
            let dumped = exit.is_some_and(|exit| exit.core_dumped);
            check(exit.and_then(|exit| exit.signal) == Some(3), || format!("it ended as {}", s.ending()))
                .and(|| check(!dumped, || "a core was dumped".to_owned()))
                .and(|| Outcome::held("SIGQUIT, and no core"))
        },
    )
    .flags(|_| vec!["--core".to_owned(), "0B".to_owned()]),
    Case::attempt("rs-timers", RESOURCES, "timers without end, which the host counts for each user", timers, |_, s| {
        if !matches!(s.outside("made"), Some("4096")) {
            return Outcome::not_judged("there are fewer outside");
        }
        counted(s, "timer", &[Errno::EAGAIN], 1024)
    })
    .lane(Lane::Alone),
    bomb("rs-queues", "message queues without end", queues, |_, s| {
        // Landlock, which has no rule for queues, refuses even the first.
        counted(s, "queue", &[Errno::EMFILE, Errno::ENOSPC, Errno::EACCES], 64)
    }),
    Case::attempt(
        "rs-locked-memory",
        RESOURCES,
        "lock memory, so that it cannot be swapped",
        |i| {
            let held = vec![1_u8; 16 << 20];
            i.calls(&["mlockall"]);
            drop(black_box(held));
        },
        |_, s| s.refused(&[Errno::ENOMEM]),
    )
    .lane(Lane::Alone),
    bomb("rs-deep-directories", "a tree of directories a thousand deep", deep, |w, s| {
        if w.scratch().is_none() {
            return Outcome::not_judged("the profile has no scratch directory");
        }
        s.finished()
            .and(|| check(s.number("depth").is_some_and(|depth| depth > 100), || format!("{:?}", s.inside)))
            .and(|| Outcome::held(format!("{} deep, and the run ended in order", s.value("depth").unwrap_or("?"))))
    }),
    Case::drive("rs-input-flood", RESOURCES, "64 MiB of input that the program never reads", input_flood)
        .lane(Lane::Alone),
];

/// Most files that a bomb opens.
const CEILING_FILES: u64 = 4096;

pub(super) fn pids(w: &World) -> Vec<String> {
    vec!["--pids".to_owned(), w.pids().to_string()]
}

pub(super) fn wall(time: &str) -> Vec<String> {
    vec!["--timeout".to_owned(), time.to_owned()]
}

fn memory(w: &World) -> Vec<String> {
    vec!["--memory".to_owned(), format!("{}B", w.memory())]
}

fn fsize(_: &World) -> Vec<String> {
    vec!["--fsize".to_owned(), "1M".to_owned()]
}

fn one_second(_: &World) -> Vec<String> {
    ["--cpu-time", "1s", "--timeout", "20s"].map(str::to_owned).into()
}

fn stack_kib(w: &World) -> u64 {
    (w.policy.limits.stack.value.0 / 1024).min(8192)
}

fn scratch_flags(w: &World) -> Vec<String> {
    let flag = |tmpfs: &jail::policy::Tmpfs| {
        let (size, inodes) = (tmpfs.size.0.min(SCRATCH), tmpfs.inodes.min(INODES));
        ["--tmpfs".to_owned(), format!("{}:size={size}B,inodes={inodes}", tmpfs.dest.display())]
    };
    w.policy.tmpfs.iter().flat_map(|tmpfs| flag(&tmpfs.value)).collect()
}

/// The next one was refused, at the limit and not above.
fn tasks(w: &World, s: &Seen, step: &str) -> Outcome {
    counted(s, step, &[Errno::EAGAIN], w.pids()).and(|| s.reached("pids")).and(|| peak_tasks(w, s))
}

fn peak_tasks(w: &World, s: &Seen) -> Outcome {
    match s.report.tasks.peak {
        Some(peak) => check(peak <= w.pids(), || format!("there were {peak} tasks, {} are allowed", w.pids()))
            .and(|| Outcome::held(format!("{peak} tasks of {}", w.pids()))),
        None => Outcome::failed("the report has no number of tasks"),
    }
}

/// So many were made, then this errno came.
fn counted(s: &Seen, step: &str, errnos: &[Errno], most: u64) -> Outcome {
    s.finished().and(|| match (s.answer(step), s.number("made")) {
        (Some(Answer::Errno(errno)), Some(made)) if errnos.contains(errno) && made <= most => {
            Outcome::held(format!("{errno:?} after {made}"))
        }
        (answer, made) => {
            let answer = answer.map_or_else(|| "no refusal".to_owned(), ToString::to_string);
            Outcome::failed(format!("{answer} after {}", made.map_or_else(|| "?".to_owned(), |made| made.to_string())))
        }
    })
}

fn over_memory(w: &World, s: &Seen) -> Outcome {
    s.ended_as(VerdictKind::Memory).and(|| peak_memory(w, s))
}

fn peak_memory(w: &World, s: &Seen) -> Outcome {
    match s.report.memory.peak_bytes {
        Some(peak) => check(peak <= w.memory(), || format!("{peak} bytes were used, {} are allowed", w.memory())),
        None => Outcome::failed("the report has no figure of memory"),
    }
}

/// What buffers hold is memory of the jail: it ends at the limit, or with the descriptors.
fn buffers(w: &World, s: &Seen) -> Outcome {
    let ended = if s.verdict() == VerdictKind::Memory {
        Outcome::held("the memory limit")
    } else {
        s.finished().and(|| match s.answer("next") {
            Some(Answer::Errno(Errno::EMFILE)) => {
                Outcome::held(format!("EMFILE with {} KiB in buffers", s.value("kib").unwrap_or("?")))
            }
            answer => Outcome::failed(format!("the ceiling was reached: {answer:?}")),
        })
    };
    ended.and(|| peak_memory(w, s))
}

/// Every scratch directory refused more with ENOSPC, at its limit and not above.
fn scratch(w: &World, s: &Seen, limit: fn(&World, &Path) -> Option<u64>) -> Outcome {
    if w.policy.tmpfs.is_empty() {
        return Outcome::not_judged("the profile has no scratch directory");
    }
    let mut said = Vec::new();
    for tmpfs in &w.policy.tmpfs {
        let dest = tmpfs.value.dest.display().to_string();
        let used = s.number(&format!("used:{dest}"));
        match (s.answer(&dest), used, limit(w, &tmpfs.value.dest)) {
            (Some(Answer::Errno(Errno::ENOSPC)), Some(used), Some(limit)) if used <= limit => {
                said.push(format!("{dest}: ENOSPC at {used} of {limit}"));
            }
            (answer, used, limit) => {
                return Outcome::failed(format!("{dest}: {answer:?} at {used:?} of {limit:?} ({})", s.ending()));
            }
        }
    }
    s.finished().and(|| Outcome::held(said.join(", ")))
}

fn cpu_time(w: &World, s: &Seen) -> Outcome {
    let used = s.report.time.cpu_ms.unwrap_or(u64::MAX);
    let most = 1000 + 550 * u64::from(w.slow);
    s.ended_as(VerdictKind::CpuTime).and(|| check(used <= most, || format!("{used} ms were used, 1000 are allowed")))
}

fn forks(i: &Inside) {
    let mut made = 0_u64;
    let refused = loop {
        if made >= i.number::<u64>("pids") * 2 + 64 {
            break None;
        }
        match jail::attempt::idle_child(20) {
            Ok(_) => made += 1,
            Err(errno) => break Some(errno),
        }
    };
    i.note("made", made);
    i.step("fork", refused.map_or(Ok(()), Err));
}

fn threads(i: &Inside) {
    let mut made = 0_u64;
    let refused = loop {
        if made >= i.number::<u64>("pids") * 2 + 64 {
            break None;
        }
        let thread = thread::Builder::new().stack_size(64 << 10).spawn(|| thread::sleep(Duration::from_secs(20)));
        match thread {
            Ok(_) => made += 1,
            Err(error) => break Some(error),
        }
    };
    i.note("made", made);
    i.step("thread", refused.map_or(Ok(()), Err));
}

/// Every fork costs a byte of a pipe that nobody fills again.
pub(super) fn refork_bomb(i: &Inside) {
    let budget = usize::try_from(i.number::<u64>("pids") * 8).unwrap_or(512).min(4096);
    let filled = pipe2(OFlag::O_CLOEXEC).and_then(|(source, sink)| write(&sink, &vec![b'x'; budget]).map(|_| source));
    let source = match filled {
        Ok(source) => source,
        Err(errno) => return i.step::<(), _>("pipe", Err(errno)),
    };
    i.step("first", i.helper("refork").stdin(Stdio::from(source)).stdout(Stdio::null()).spawn());
    thread::sleep(2 * usual_second(i));
}

/// One process of it.
pub(super) fn refork(i: &Inside) {
    nix::unistd::alarm::set(8 * i.number::<u32>("slow"));
    let mut byte = [0];
    while matches!(io::stdin().read(&mut byte), Ok(1)) {
        // A copy of the pipe for the child. What is refused is refused: the next byte is for another try.
        if let Ok(copy) = io::stdin().as_fd().try_clone_to_owned() {
            let _started =
                i.helper("refork").stdin(Stdio::from(copy)).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        }
    }
    thread::sleep(2 * usual_second(i));
}

/// As much of this machine as a second of a usual one.
fn usual_second(i: &Inside) -> Duration {
    Duration::from_secs(i.number("slow"))
}

/// MiB that a bomb of memory uses at most.
fn ceiling(i: &Inside) -> u64 {
    let limit = i.number::<u64>("memory_mib");
    (limit * 2).min(limit + 256)
}

fn touch(i: &Inside, mib: u64) {
    let mut held = Vec::new();
    for _ in 0..mib {
        // Not zero: zeroed memory would come without pages.
        held.push(black_box(vec![1_u8; 1 << 20]));
    }
    i.note("touched", held.len());
}

/// A helper: touches as much as it is told.
pub(super) fn touch_helper(i: &Inside) {
    let held: Vec<Vec<u8>> = (0..i.number::<u64>("mib").min(2048)).map(|_| black_box(vec![1_u8; 1 << 20])).collect();
    thread::sleep(2 * usual_second(i));
    drop(black_box(held));
}

fn memory_tree(i: &Inside) {
    let each = (ceiling(i) / 4).max(1);
    let mut children = Vec::new();
    for _ in 0..4 {
        let mut helper = i.helper("touch");
        helper.arg(format!("mib={each}")).stdin(Stdio::null()).stdout(Stdio::null());
        children.extend(helper.spawn());
    }
    i.note("children", children.len());
    for mut child in children {
        i.step("child", child.wait());
    }
}

/// 32 MiB a file, or as much as a file may hold.
fn fill(mut file: impl Write, most: u64) -> (u64, io::Result<()>) {
    let piece = vec![b'x'; 64 << 10];
    let mut written = 0;
    while written < most {
        match file.write(&piece) {
            Ok(count) => written += count as u64,
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

/// Bytes of one file of a bomb, below the usual limits of a file's size.
const FILE: u64 = 8 * MIB;

fn memory_files(i: &Inside) {
    for number in 0..ceiling(i) * MIB / FILE {
        let made = File::create(Path::new("/selftest-big").join(number.to_string()));
        match made.map(|file| fill(file, FILE).1) {
            Ok(Ok(())) => {}
            Ok(Err(error)) | Err(error) => return i.step::<(), _>("write", Err(error)),
        }
    }
    i.note("written", "all of it");
}

fn memory_memfd(i: &Inside) {
    let mut held = Vec::new();
    for _ in 0..ceiling(i) * MIB / FILE {
        match memfd_create("selftest", MFdFlags::MFD_CLOEXEC).map(File::from) {
            Ok(mut file) => {
                if let (_, Err(error)) = fill(&mut file, FILE) {
                    return i.step::<(), _>("write", Err(error));
                }
                held.push(file);
            }
            Err(errno) => return i.step::<(), _>("memfd", Err(errno)),
        }
    }
    i.note("written", "all of it");
}

/// At most so much in buffers.
fn buffer_ceiling(i: &Inside) -> u64 {
    ceiling(i).min(512) * MIB
}

fn pipes(i: &Inside) {
    let mut held: Vec<(OwnedFd, OwnedFd)> = Vec::new();
    let mut bytes = 0;
    let end = Instant::now() + Duration::from_secs(10);
    let mut refused = Ok(());
    while bytes < buffer_ceiling(i) && Instant::now() < end {
        match pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC) {
            Ok((source, sink)) => {
                // Where a larger pipe is refused, the usual size has to do.
                let _larger = fcntl(&sink, FcntlArg::F_SETPIPE_SZ(1 << 20));
                let piece = vec![b'x'; 64 << 10];
                while let Ok(count @ 1..) = write(&sink, &piece) {
                    bytes += count as u64;
                }
                held.push((source, sink));
            }
            Err(errno) => {
                refused = Err(errno);
                break;
            }
        }
    }
    i.note("kib", bytes / 1024);
    i.step("next", refused);
}

fn sockets(i: &Inside) {
    let mut held = Vec::new();
    let mut bytes = 0;
    let end = Instant::now() + Duration::from_secs(10);
    let mut refused = Ok(());
    while bytes < buffer_ceiling(i) && Instant::now() < end {
        match UnixStream::pair() {
            Ok((mut one, other)) => {
                let quiet = one.set_nonblocking(true);
                let piece = vec![b'x'; 64 << 10];
                while quiet.is_ok()
                    && let Ok(count @ 1..) = one.write(&piece)
                {
                    bytes += count as u64;
                }
                held.push((one, other));
            }
            Err(error) => {
                refused = Err(error);
                break;
            }
        }
    }
    i.note("kib", bytes / 1024);
    i.step("next", refused);
}

/// Scratch directories are told by name.
fn scratch_dirs(i: &Inside) -> Vec<PathBuf> {
    i.fact("tmpfs").split(',').filter(|name| !name.is_empty()).map(PathBuf::from).collect()
}

fn scratch_bytes(i: &Inside) {
    for dir in scratch_dirs(i) {
        let name = dir.display().to_string();
        let (mut used, mut number, mut refused) = (0, 0, Ok(()));
        while used < SCRATCH * 2 && refused.is_ok() {
            number += 1;
            refused = match File::create(dir.join(format!("fill{number}"))) {
                Ok(file) => {
                    let (written, result) = fill(file, FILE / 8);
                    used += written;
                    result
                }
                Err(error) => Err(error),
            };
        }
        i.note(&format!("used:{name}"), used);
        i.step(&name, refused);
        // Both directories full at once may be more than the memory that there is.
        for number in 1..=number {
            let _removed = fs::remove_file(dir.join(format!("fill{number}")));
        }
    }
}

fn scratch_files(i: &Inside) {
    for dir in scratch_dirs(i) {
        let name = dir.display().to_string();
        let (mut used, mut refused) = (0, Ok(()));
        while used < INODES * 2 && refused.is_ok() {
            refused = File::create(dir.join(format!("empty{used}"))).map(|_file| ());
            used += u64::from(refused.is_ok());
        }
        i.note(&format!("used:{name}"), used);
        i.step(&name, refused);
    }
}

fn hold_file_size_signal() -> nix::Result<()> {
    SigSet::from_iter([Signal::SIGXFSZ]).thread_block()
}

fn grow(i: &Inside, deaf: bool) {
    let Some(scratch) = i.scratch() else { return };
    if deaf && let Err(errno) = hold_file_size_signal() {
        return i.step::<(), _>("deaf", Err(errno));
    }
    match File::create(scratch.join("grows")) {
        Ok(file) => {
            let (bytes, result) = fill(file, 4 * MIB);
            i.note("bytes", bytes);
            i.step("write", result);
        }
        Err(error) => i.step::<(), _>("create", Err(error)),
    }
}

fn sparse(i: &Inside) {
    let Some(scratch) = i.scratch() else { return };
    let ready = hold_file_size_signal().map_err(io::Error::from).and_then(|()| File::create(scratch.join("sparse")));
    match ready {
        Ok(file) => {
            i.step("hole", file.set_len(1 << 60));
            i.step("promised", fallocate(&file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, 1 << 50));
        }
        Err(error) => i.step::<(), _>("create", Err(error)),
    }
}

/// 32 MiB at most.
fn flood(_: &Inside) {
    let mut out = io::stdout().lock();
    // Lines that are nobody's: the inside half begins its own with its token.
    let piece = [b'x'; 64 << 10];
    for _ in 0..512 {
        if out.write_all(&piece).is_err() {
            return;
        }
    }
    // What does not get out any more is not missed.
    let _written = out.write_all(b"\n");
}

fn closed_output(_: &Inside) {
    for fd in 0..3 {
        let _closed = close(fd);
    }
    spin(Duration::from_secs(8));
}

fn open_files(i: &Inside) {
    let mut held = Vec::new();
    let most = i.number::<u64>("nofile").min(CEILING_FILES) + 64;
    let mut refused = Ok(());
    while (held.len() as u64) < most {
        match File::open("/dev/null") {
            Ok(file) => held.push(file),
            Err(error) => {
                refused = Err(error);
                break;
            }
        }
    }
    i.note("opened", held.len());
    i.step("open", refused);
}

/// Computes for that much of its thread's CPU time, or for twenty seconds where it does not get that.
pub(super) fn spin(time: Duration) {
    let used = || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::MAX, Duration::from);
    let start = Instant::now();
    let mut value = 0_u64;
    while used() < time && start.elapsed() < Duration::from_secs(20) {
        for _ in 0..10_000 {
            value = black_box(value.wrapping_mul(31).wrapping_add(7));
        }
    }
}

fn spin_children(i: &Inside) {
    let end = Instant::now() + Duration::from_secs(12);
    let mut started = 0;
    // Kept, so that none is waited for; few enough for any limit on tasks.
    let mut held = Vec::new();
    while Instant::now() < end && held.len() < 60 {
        let mut helper = i.helper("spin");
        helper.arg("spin_ms=60").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Ok(child) = helper.spawn() {
            started += 1;
            held.push(child);
        }
        thread::sleep(Duration::from_millis(60));
    }
    i.note("started", started);
}

fn spin_threads(i: &Inside) {
    let began = Instant::now();
    let threads: Vec<_> = (0..4).map(|_| thread::spawn(|| spin(Duration::from_millis(60)))).collect();
    for thread in threads {
        i.note("joined", thread.join().is_ok());
    }
    i.note("wall_ms", began.elapsed().as_millis());
}

fn deaf(_: &Inside) {
    // Those that cannot be held are not; the others are.
    let _held = SigSet::all().thread_block();
    spin(Duration::from_secs(8));
}

/// Uses that much stack.
fn recurse(kib: u64) -> u64 {
    let block = black_box([1_u8; 1024]);
    if kib == 0 { 0 } else { u64::from(block.first().copied().unwrap_or(0)) + recurse(kib - 1) }
}

fn stack(i: &Inside) {
    let kib = i.number::<u64>("stack_kib").min(8192);
    // A frame is more than its block.
    i.note("half", recurse(kib / 4));
    i.note("twice", recurse(kib * 2));
}

fn timers(i: &Inside) {
    let mut held = Vec::new();
    let mut refused = Ok(());
    while held.len() < 4096 {
        match Timer::new(ClockId::CLOCK_MONOTONIC, SigEvent::new(SigevNotify::SigevNone)) {
            Ok(timer) => held.push(timer),
            Err(errno) => {
                refused = Err(errno);
                break;
            }
        }
    }
    i.note("made", held.len());
    i.step("timer", refused);
}

fn queues(i: &Inside) {
    let mut held = Vec::new();
    let mut refused = Ok(());
    let flags = MQ_OFlag::O_CREAT | MQ_OFlag::O_RDWR;
    let attributes = MqAttr::new(0, 10, 8192, 0);
    while held.len() < 200 {
        let name = format!("/selftest-{}", held.len());
        match mq_open(name.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR, Some(&attributes)) {
            Ok(queue) => held.push(queue),
            Err(errno) => {
                refused = Err(errno);
                break;
            }
        }
    }
    i.note("made", held.len());
    i.step("queue", refused);
}

fn deep(i: &Inside) {
    let Some(scratch) = i.scratch() else { return };
    let mut depth = 0;
    let mut at = chdir(&scratch).map_err(io::Error::from);
    while at.is_ok() && depth < 1000 {
        at = fs::create_dir("d").and_then(|()| Ok(chdir("d")?));
        depth += u32::from(at.is_ok());
    }
    i.note("depth", depth);
}

/// The supervisor's memory, with a program that does not read what it is given.
fn input_flood(_: &World, runner: &Runner<'_>) -> Outcome {
    let mut live = match runner.inside("sleep", &wall("2s"), Stdio::piped()) {
        Ok(live) => live,
        Err(outcome) => return outcome,
    };
    let input = live.child.stdin.take();
    let writer = thread::spawn(move || {
        let Some(input) = input else { return 0 };
        // Ends with the reader, at the latest.
        fill(input, 64 * MIB).0
    });
    let run = live.finish(runner);
    let written = writer.join().unwrap_or(0);
    let report = match run.report() {
        Ok(report) => report,
        Err(outcome) => return outcome,
    };
    check(report.verdict.kind == VerdictKind::WallTime, || format!("the verdict is {:?}", report.verdict.kind))
        .and(|| check(run.kib <= SUPERVISOR, || format!("the supervisor grew to {} KiB", run.kib)))
        .and(|| check(run.leftovers.is_empty(), || run.leftovers.join(", ")))
        .and(|| Outcome::held(format!("{} KiB were taken, the supervisor had {} MiB", written / 1024, run.kib / 1024)))
}
