//! Attempts on processes: seeing, signalling, tracing others, taking other ids, outliving the run.
//!
//! For: PID, user and IPC namespaces, ids, capabilities, and the end of a run.
//! Not for: how many processes there may be (`resources`).
//! Runs in: the tables in the process of `jail selftest`, the attempts inside.

use std::fs;
use std::io::{self, IoSliceMut};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::{Gid, Pid, Uid, chdir, getpid, getsid, setgid, setgroups, setresuid, setsid, setuid};

use jail::policy::{Layer, Net};
use jail::report::VerdictKind;

use super::inside::Inside;
use super::judge::{Answer, Outcome, Seen, check};
use super::run::leftovers;
use super::stage::World;
use super::{Case, Class, INSIDE};

const PROCESSES: Class = Class::Processes;

pub(super) const CASES: &[Case] = &[
    Case::attempt("pr-see", PROCESSES, "see processes of the host in /proc", see, |_, s| {
        if s.outside("victim") != Some("true") {
            return Outcome::not_judged("the victim is not seen outside either");
        }
        s.finished().and(|| match (s.value("victim"), s.number("count")) {
            (Some("false"), Some(count)) if count <= 2 => Outcome::held(format!("{count} processes are seen")),
            (victim, count) => Outcome::failed(format!("victim seen: {victim:?}, processes: {count:?}")),
        })
    }),
    Case::attempt(
        "pr-kill",
        PROCESSES,
        "kill a process of the host",
        |i| {
            // Outside nobody is harmed: signal 0 asks whether it could be.
            let signal = if i.outside() { None } else { Some(Signal::SIGKILL) };
            i.step("kill", kill(victim(i), signal));
            i.say("tgkill", jail::attempt::tgkill(i.number("victim"), signal.map_or(0, |signal| signal as i32)));
        },
        |w, s| s.refused(&[Errno::ESRCH]).and(|| alive(w)),
    ),
    Case::attempt(
        "pr-pidfd",
        PROCESSES,
        "get a descriptor of a process of the host",
        |i| i.say("pidfd_open", jail::attempt::pidfd_open(i.number("victim"))),
        |_, s| s.refused(&[Errno::ESRCH]),
    ),
    Case::attempt(
        "pr-signal-owner",
        PROCESSES,
        "let the kernel signal a process of the host (F_SETOWN)",
        |i| i.say("own", jail::attempt::own_stdin(i.number("victim"))),
        |w, s| s.refused(&[Errno::ESRCH]).and(|| alive(w)),
    ),
    Case::attempt(
        "pr-trace",
        PROCESSES,
        "trace a process of the host",
        |i| i.step("seize", ptrace::seize(victim(i), ptrace::Options::empty())),
        |w, s| or_debug(w, s, &[Errno::EPERM], &[Errno::ESRCH]),
    ),
    Case::attempt("pr-read-memory", PROCESSES, "read the memory of a process of the host", read_memory, |w, s| {
        or_debug(w, s, &[Errno::EPERM], &[Errno::ESRCH])
    }),
    Case::attempt(
        "pr-debug-calls",
        PROCESSES,
        "calls that look into other processes, whoever they are",
        |i| {
            i.calls(&["ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp", "process_mrelease"]);
        },
        super::kernel::refused_or_allowed,
    ),
    Case::attempt(
        "pr-host-files",
        PROCESSES,
        "open /proc/PID/mem, environ, maps, root of a process of the host",
        |i| proc_files(i, i.fact("victim")),
        |_, s| s.refused(&[Errno::ENOENT]),
    ),
    Case::attempt(
        "pr-init-files",
        PROCESSES,
        "open the same of the jail's own init, whose memory is a copy of the supervisor's",
        |i| proc_files(i, if i.outside() { i.fact("victim") } else { "1" }),
        |_, s| s.refused(&[Errno::ENOENT]),
    ),
    Case::attempt(
        "pr-kill-init",
        PROCESSES,
        "kill, stop and crash the jail's init and everything up to number 64",
        |i| {
            if !apart(i) {
                return;
            }
            let own = getpid();
            for signal in [Signal::SIGKILL, Signal::SIGSTOP, Signal::SIGSEGV, Signal::SIGTERM] {
                let mut sent = 0;
                for number in (1..64).filter(|number| *number != own.as_raw()) {
                    sent += u32::from(kill(Pid::from_raw(number), signal).is_ok());
                }
                i.note(signal.as_str(), sent);
            }
        },
        |w, s| {
            s.finished()
                .and(|| check(s.value("SIGKILL").is_some(), || "it is in the host's PID namespace".to_owned()))
                .and(|| alive(w))
                .and(|| Outcome::held("the run went on, and ended in order"))
        },
    )
    .inside_only(),
    Case::attempt(
        "pr-signal-scope",
        PROCESSES,
        "signal the jail's init, which lies outside of the program's Landlock domain",
        |i| i.step("kill", kill(Pid::from_raw(if i.outside() { getpid().as_raw() } else { 1 }), None)),
        |w, s| {
            if w.posture.landlock_abi < 6 {
                return Outcome::not_judged("this kernel's Landlock has no scopes (Linux 6.12)");
            }
            s.refused(&[Errno::EPERM])
        },
    )
    .needs(Layer::Landlock),
    Case::attempt("pr-kill-all", PROCESSES, "kill everybody (kill -1): it hits the jail alone", kill_all, |w, s| {
        s.finished().and(|| alive(w)).and(|| match s.value("killed") {
            Some("3") => Outcome::held("the program's own three children died, the host's process lives"),
            killed => Outcome::failed(format!("of three own children {killed:?} died")),
        })
    })
    .inside_only(),
    Case::attempt(
        "pr-daemon",
        PROCESSES,
        "leave a daemon behind, in a session of its own",
        |i| daemon(i, "leave"),
        nothing_left,
    )
    .inside_only(),
    Case::attempt(
        "pr-disguise",
        PROCESSES,
        "the same with another name, another program file, without descriptors and parent-death signal",
        disguise,
        nothing_left,
    )
    .inside_only(),
    Case::attempt(
        "pr-hold-output",
        PROCESSES,
        "end, while a child holds the output open: the run ends too",
        |i| {
            // It inherits standard output.
            i.step("child", i.helper("sleep").stdin(Stdio::null()).spawn());
        },
        |w, s| s.finished().and(|| nothing_left(w, s)),
    )
    .inside_only(),
    Case::attempt(
        "pr-stop",
        PROCESSES,
        "stop for ever (SIGSTOP)",
        |i| i.step("stop", raise(Signal::SIGSTOP)),
        |_, s| s.ended_as(VerdictKind::WallTime),
    )
    .inside_only()
    .flags(|_| super::resources::wall("1s")),
    Case::attempt("pr-orphans", PROCESSES, "orphans without number: init reaps them", orphans, |_, s| {
        s.finished().and(|| match (s.number("made"), s.value("refused")) {
            (Some(made), Some("0")) => Outcome::held(format!("{made} orphans one after the other")),
            (made, refused) => Outcome::failed(format!("of {made:?} starts {refused:?} were refused")),
        })
    })
    .inside_only()
    .flags(super::resources::pids),
    Case::attempt(
        "pr-become-root",
        PROCESSES,
        "become another user",
        |i| {
            let root = Uid::from_raw(0);
            i.step("setresuid", setresuid(root, root, root));
            i.step("setuid", setuid(root));
            i.step("setgid", setgid(Gid::from_raw(0)));
            i.step("setuid-other", setuid(Uid::from_raw(65_000)));
        },
        |_, s| s.refused(&[Errno::EINVAL]),
    ),
    Case::attempt(
        "pr-groups",
        PROCESSES,
        "join other groups",
        |i| i.step("setgroups", setgroups(&[Gid::from_raw(0)])),
        |_, s| s.refused(&[Errno::EPERM]),
    ),
    Case::attempt("pr-privileges", PROCESSES, "hold a capability, or a way to one", status, |_, s| {
        let none = |name: &str| s.value(name).is_some_and(|value| u64::from_str_radix(value, 16) == Ok(0));
        let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
        if sets.iter().all(|set| s.outside(set).is_none_or(|value| value.trim_start_matches('0').is_empty())) {
            return Outcome::not_judged("there is none outside either");
        }
        s.finished()
            .and(|| check(sets.iter().all(|set| none(set)), || format!("{:?}", s.inside)))
            .and(|| Outcome::held("all five sets are empty"))
    }),
    Case::attempt("pr-no-new-privs", PROCESSES, "gain privileges by exec", status, |_, s| {
        if s.outside("NoNewPrivs") != Some("0") {
            return Outcome::not_judged("no_new_privs is set outside too");
        }
        check(s.value("NoNewPrivs") == Some("1"), || format!("no_new_privs is {:?}", s.value("NoNewPrivs")))
            .and(|| check(s.value("Seccomp") == Some("2"), || format!("seccomp mode {:?}", s.value("Seccomp"))))
            .and(|| Outcome::held("no_new_privs and a filter are set"))
    }),
    Case::attempt(
        "pr-host-id",
        PROCESSES,
        "be the host's root, or more than one user",
        |i| {
            i.say("uid_map", map("uid_map"));
            i.say("gid_map", map("gid_map"));
        },
        |w, s| {
            let one = |name: &str| {
                let map = s.value(name).unwrap_or_default();
                let numbers: Vec<u64> = map.split_whitespace().filter_map(|word| word.parse().ok()).collect();
                matches!(numbers.as_slice(), [1000, host, 1] if *host != 0 || !w.root())
            };
            s.finished()
                .and(|| check(one("uid_map") && one("gid_map"), || format!("{:?}", s.inside)))
                .and(|| Outcome::held(format!("uid 1000 is {} on the host", host_id(s))))
        },
    )
    .inside_only(),
    Case::attempt("pr-namespaces", PROCESSES, "share a namespace with the host", namespaces, |w, s| {
        let shared: Vec<&str> = NAMESPACES
            .into_iter()
            .filter(|name| !(*name == "net" && w.net() == Net::Host))
            .filter(|name| s.outside(name).is_none() || s.value(name).is_none() || s.outside(name) == s.value(name))
            .collect();
        s.finished()
            .and(|| check(shared.is_empty(), || format!("shared: {}", shared.join(", "))))
            .and(|| Outcome::held("user, mnt, pid, net, ipc, uts and cgroup are its own"))
    }),
    Case::attempt(
        "pr-session",
        PROCESSES,
        "stay in the caller's session, with its terminal",
        |i| {
            let own = getsid(None).is_ok_and(|session| session == getpid());
            i.note("leader", own);
            i.step("terminal", fs::File::open("/dev/tty"));
        },
        |_, s| {
            if s.outside("leader") != Some("false") {
                return Outcome::not_judged("the control leads a session too");
            }
            check(s.value("leader") == Some("true"), || "it is in another's session".to_owned()).and(|| {
                match s.answer("terminal") {
                    Some(Answer::Errno(Errno::ENXIO)) => Outcome::held("a session of its own, without a terminal"),
                    other => {
                        Outcome::failed(format!("/dev/tty: {}", other.map_or_else(String::new, ToString::to_string)))
                    }
                }
            })
        },
    ),
    Case::attempt(
        "pr-raise-limits",
        PROCESSES,
        "raise resource limits again",
        |i| {
            for (name, resource) in [
                ("nofile", Resource::RLIMIT_NOFILE),
                ("nproc", Resource::RLIMIT_NPROC),
                ("core", Resource::RLIMIT_CORE),
                ("sigpending", Resource::RLIMIT_SIGPENDING),
                ("memlock", Resource::RLIMIT_MEMLOCK),
            ] {
                if let Ok((soft, hard)) = getrlimit(resource)
                    && hard < u64::MAX / 2
                {
                    i.step(name, setrlimit(resource, soft, hard + 1));
                }
            }
        },
        |_, s| s.refused(&[Errno::EPERM]),
    ),
    Case::attempt(
        "pr-priority",
        PROCESSES,
        "take precedence over the host's processes",
        |i| i.calls(&["setpriority"]),
        |_, s| s.refused(&[Errno::EACCES]),
    ),
    Case::attempt(
        "pr-oom-score",
        PROCESSES,
        "be the last one to be killed for memory",
        |i| i.step("write", fs::write("/proc/self/oom_score_adj", "-1000")),
        |_, s| s.refused(&[Errno::EACCES]),
    ),
    Case::attempt("pr-ipc", PROCESSES, "leave shared memory behind (System V)", ipc, |_, s| {
        let (Some(_), Some(key)) = (s.value("segment"), s.number("key")) else {
            return Outcome::failed(format!("an ordinary program cannot make one: {:?}", s.inside));
        };
        let key = i32::try_from(key).unwrap_or(0);
        match jail::attempt::segment(key, false) {
            Err(errno) if errno == Errno::ENOENT as i32 => Outcome::held("it was made, and the host has none"),
            found => Outcome::failed(format!("the host has the segment: {found:?}")),
        }
    })
    .inside_only(),
];

const NAMESPACES: [&str; 7] = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];

fn victim(i: &Inside) -> Pid {
    Pid::from_raw(i.number("victim"))
}

fn alive(w: &World) -> Outcome {
    check(w.victim_lives(), || "the host's process was killed or stopped".to_owned())
}

fn host_id(s: &Seen) -> &str {
    s.value("uid_map").and_then(|map| map.split_whitespace().nth(1)).unwrap_or("?")
}

/// The errno without the call in the profile's list; with it, the other one: there is no such process.
fn or_debug(w: &World, s: &Seen, refused: &[Errno], allowed: &[Errno]) -> Outcome {
    match w.allows(&["@debug", "ptrace", "process_vm_readv"]) {
        Some(_) => s.refused(&[refused, allowed].concat()),
        None => s.refused(refused),
    }
}

fn see(i: &Inside) {
    let mut count = 0;
    let mut found = false;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().parse::<u32>().is_ok() {
            count += 1;
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            // Its own command line has the mark too, as a fact.
            let own = entry.file_name().to_string_lossy() == getpid().to_string();
            found |= !own && String::from_utf8_lossy(&line).contains(&format!("\0{}\0", i.fact("mark")));
        }
    }
    i.note("count", count);
    i.note("victim", found);
}

fn read_memory(i: &Inside) {
    let mut byte = [0];
    // An address that no process has: who may look is told that, who may not is told so.
    let remote = [RemoteIoVec { base: 8, len: 1 }];
    i.step("readv", process_vm_readv(victim(i), &mut [IoSliceMut::new(&mut byte)], &remote));
}

fn proc_files(i: &Inside, process: &str) {
    for name in ["mem", "environ", "maps", "auxv", "cmdline"] {
        i.step(name, fs::File::open(format!("/proc/{process}/{name}")));
    }
    for name in ["fd", "root", "cwd", "exe"] {
        i.step(
            name,
            fs::read_link(format!("/proc/{process}/{name}")).or_else(|error| {
                // fd is a directory: to list it is the same question.
                if error.raw_os_error() == Some(Errno::EINVAL as i32) {
                    fs::read_dir(format!("/proc/{process}/{name}")).map(|_| PathBuf::new())
                } else {
                    Err(error)
                }
            }),
        );
    }
}

/// Whether this is another PID namespace than the host's. In its own, what follows would hit everybody.
fn apart(i: &Inside) -> bool {
    let own = fs::read_link("/proc/self/ns/pid").map(|link| link.display().to_string());
    let apart = own.as_ref().is_ok_and(|own| !i.fact("pid_namespace").is_empty() && own != i.fact("pid_namespace"));
    if !apart {
        i.step::<(), _>("pid-namespace", Err(Errno::EEXIST));
    }
    apart
}

fn kill_all(i: &Inside) {
    if !apart(i) {
        return;
    }
    let children: Vec<_> = (0..3).filter_map(|_| i.sleeper().ok()).collect();
    i.step("kill", kill(Pid::from_raw(-1), Signal::SIGKILL));
    let dead = children.into_iter().filter_map(|mut child| child.wait().ok()?.signal());
    i.note("killed", dead.filter(|signal| *signal == Signal::SIGKILL as i32).count());
}

fn daemon(i: &Inside, helper: &str) {
    let left = i.helper(helper).stdin(Stdio::null()).stdout(Stdio::null()).status();
    i.say("left", left.map(|status| status.code().unwrap_or(-1)));
}

/// A helper: goes into a session of its own, starts what stays, and ends.
pub(super) fn leave(i: &Inside) {
    // Its own result is what its child becomes; whether that is found is seen from outside.
    let _session = setsid();
    let _moved = chdir("/");
    let _cleared = jail::attempt::make("prctl:SET_PDEATHSIG");
    let mut command = match i.fact("program_copy") {
        "" => i.helper("sleep"),
        copy => {
            let mut command = Command::new(copy);
            command.args([INSIDE, "x", "sleep"]).env_clear();
            command
        }
    };
    let _left = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
}

fn disguise(i: &Inside) {
    let Some(scratch) = i.scratch() else { return daemon(i, "leave") };
    let copy = scratch.join(format!("{}disguise", i.token()));
    if let Err(error) = fs::copy(i.fact("program"), &copy) {
        return i.step::<(), io::Error>("left", Err(error));
    }
    let mut helper = i.helper("leave");
    helper.arg(format!("program_copy={}", copy.display()));
    let left = helper.stdin(Stdio::null()).stdout(Stdio::null()).status();
    i.say("left", left.map(|status| status.code().unwrap_or(-1)));
}

/// The runner finds what is left; here, that it would.
fn nothing_left(w: &World, s: &Seen) -> Outcome {
    if leftovers(&format!("victim-{}", w.token), Path::new("/nowhere")).is_empty() {
        return Outcome::not_judged("the search for what is left does not find a process of our own");
    }
    s.finished()
        .and(|| check(s.leftovers.is_empty(), || format!("left: {}", s.leftovers.join(", "))))
        .and(|| Outcome::held("nothing is left"))
}

fn orphans(i: &Inside) {
    let count = i.number::<u32>("pids") + 16;
    let mut refused = 0;
    for _ in 0..count {
        let ended = i.helper("orphan").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        refused += u32::from(!ended.is_ok_and(|status| status.success()));
    }
    i.note("made", count);
    i.note("refused", refused);
}

fn status(i: &Inside) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"] {
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
        i.say(name, value.ok_or(Errno::ENOENT));
    }
}

fn map(name: &str) -> io::Result<String> {
    let text = fs::read_to_string(format!("/proc/self/{name}"))?;
    Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn namespaces(i: &Inside) {
    for name in NAMESPACES {
        i.say(name, fs::read_link(format!("/proc/self/ns/{name}")).map(|path| path.display().to_string()));
    }
}

fn ipc(i: &Inside) {
    // From the token, so that it is this run's and nobody else's.
    let digits: String = i.token().chars().take(7).collect();
    let key = i32::from_str_radix(&digits, 16).unwrap_or(1).max(1);
    i.note("key", key);
    i.say("segment", jail::attempt::segment(key, true));
}
