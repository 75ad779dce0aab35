//! Attempts on files: reading, changing and planting what the profile does not show.
//!
//! For: the view (private root, mounts, Landlock) and what links, handles, descriptors and races could do to it.
//! Not for: calls that would change the view (`kernel`).
//! Runs in: the tables in the process of `jail selftest`, the attempts inside.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open, openat};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, mknod, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{AccessFlags, access, chdir, chown, dup, getgid, getuid, linkat, mkfifo};

use jail::policy::{Access, Layer, Proc, Workspace};

use super::inside::Inside;
use super::judge::{Outcome, Seen, check};
use super::run::Runner;
use super::stage::World;
use super::{Case, Class, Lane};

const FILES: Class = Class::Files;

pub(super) const CASES: &[Case] = &[
    Case::attempt(
        "fs-read",
        FILES,
        "read a file of the host by its path",
        |i| i.say("open", read(&i.path("canary"))),
        hidden,
    ),
    Case::attempt(
        "fs-stat",
        FILES,
        "ask about a file of the host",
        |i| i.step("stat", fs::metadata(i.path("canary"))),
        hidden,
    ),
    Case::attempt(
        "fs-list",
        FILES,
        "list a directory of the host",
        |i| i.step("list", fs::read_dir(i.path("target"))),
        hidden,
    ),
    Case::attempt(
        "fs-planted-link",
        FILES,
        "read a file of the host through a link that lay in the workspace before",
        |i| {
            i.say("file", read(&i.path("work").join("planted")));
            i.say("directory", read(&i.path("work").join("planted-directory/file")));
        },
        hidden_in_workspace,
    ),
    Case::attempt(
        "fs-own-link",
        FILES,
        "read a file of the host through links made inside",
        |i| {
            let Some(scratch) = i.scratch() else { return };
            let (one, two) = (scratch.join("own-link"), scratch.join("own-link-2"));
            let made = symlink(i.path("canary"), &one).and_then(|()| symlink("own-link", &two));
            i.say("read", made.and_then(|()| read(&two)));
        },
        hidden,
    ),
    Case::attempt("fs-climb", FILES, "climb out of the working directory with ../", climb, hidden),
    Case::attempt("fs-descriptor", FILES, "climb out from a descriptor of /", from_root_descriptor, hidden),
    Case::attempt("fs-self-root", FILES, "go through /proc/self/root and /proc/self/cwd", through_proc, hidden),
    Case::attempt(
        "fs-init-root",
        FILES,
        "go through /proc/1/root, the root of the jail's own init",
        |i| {
            let canary = i.fact("canary").to_owned();
            // Outside, process 1 is another's; what has to work there is the same way through our own.
            let process = if i.outside() { "self" } else { "1" };
            i.say("root", read(Path::new(&format!("/proc/{process}/root{canary}"))));
        },
        |w, s| granted_or(w, s, || s.refused(&[Errno::ENOENT])),
    ),
    Case::attempt("fs-deleted-cwd", FILES, "climb out of a working directory that was removed", deleted_cwd, hidden),
    Case::attempt("fs-race", FILES, "win a race between a harmless file and a link to the host", race, |w, s| {
        if s.outside("hits").is_none_or(|hits| hits == "0") {
            return Outcome::not_judged("the race is not won outside either");
        }
        granted_or(w, s, || {
            s.finished().and(|| match s.number("hits") {
                Some(0) => Outcome::held(format!("0 hits in {} tries", s.value("tries").unwrap_or("?"))),
                hits => Outcome::failed(format!("the host's file was read {hits:?} times")),
            })
        })
    }),
    Case::attempt("fs-change", FILES, "overwrite, append to and truncate a file of the host", change, untouched),
    Case::attempt("fs-create", FILES, "make files, directories, links and pipes on the host", create, untouched),
    Case::attempt("fs-remove", FILES, "remove and rename files of the host", remove, untouched),
    Case::attempt("fs-metadata", FILES, "change mode, owner and times of a file of the host", metadata, untouched),
    Case::attempt("fs-hardlink", FILES, "give a file of the host a second name inside", hardlink, untouched),
    Case::attempt(
        "fs-system-write",
        FILES,
        "write to the system's directories",
        |i| {
            for (name, dir) in SYSTEM {
                // Outside the same is done where it harms nobody.
                let dir = if i.outside() { i.path("target") } else { PathBuf::from(dir) };
                let made = File::create_new(dir.join(format!("selftest-{name}")));
                if made.is_ok() && !i.outside() {
                    i.step("removed-again", fs::remove_file(dir.join(format!("selftest-{name}"))));
                }
                i.step(name, made);
            }
        },
        |w, s| {
            let shown = |name: &str| SYSTEM.iter().find(|(other, _)| *other == name).map(|(_, dir)| Path::new(*dir));
            if SYSTEM.iter().any(|(_, dir)| w.shows(Path::new(dir)).is_some_and(Access::writes)) {
                return s.granted("the profile shows a system directory for writing");
            }
            // What is no mount of its own is the jail's root, which is read-only.
            s.refused_by(|name| match shown(name) {
                Some(dir) if !w.stands(dir) && !matches!(name, "root" | "etc" | "run" | "home") => &[Errno::ENOENT],
                Some(_) | None => &[Errno::EROFS],
            })
        },
    ),
    Case::attempt(
        "fs-workspace",
        FILES,
        "write to the workspace",
        |i| {
            i.step("create", File::create_new(i.path("work").join("made")));
            i.step("mkdir", fs::create_dir(i.path("work").join("made-dir")));
        },
        |w, s| match w.workspace() {
            Workspace::None => Outcome::not_judged("the profile shows no workspace"),
            Workspace::Read => s.refused(&[Errno::EROFS]),
            Workspace::Write => s.finished().and(|| match (s.value("create"), s.value("mkdir")) {
                (Some(_), Some(_)) => s.granted("fs.workspace = \"write\""),
                _ => Outcome::failed("the profile lets the workspace be written, and that does not work"),
            }),
        },
    ),
    Case::attempt(
        "fs-noexec",
        FILES,
        "execute a program that is shown with --ro",
        |i| {
            let program = i.path("ro").join("program");
            i.step("exec", std::process::Command::new(program).args([super::INSIDE, "x", "true"]).status());
            i.step("read", File::open(i.path("ro").join("program")));
        },
        |_, s| {
            if s.value("read").is_none() {
                return Outcome::failed("what --ro shows cannot be read");
            }
            match s.answer("exec") {
                Some(super::judge::Answer::Errno(Errno::EACCES)) if s.outside("exec").is_some() => {
                    Outcome::held("EACCES")
                }
                Some(_) if s.outside("exec").is_none() => Outcome::not_judged("it does not run outside either"),
                answer => Outcome::failed(format!("exec: {}", answer.map_or_else(String::new, ToString::to_string))),
            }
        },
    )
    .flags(|w| vec!["--ro".to_owned(), w.at("ro").display().to_string()]),
    Case::attempt("fs-set-uid", FILES, "leave a set-uid or set-gid program behind", set_uid, |w, s| {
        scratch_or(w, || s.refused(&[Errno::EPERM]))
    }),
    Case::attempt("fs-device-node", FILES, "make device nodes", device_nodes, |w, s| {
        scratch_or(w, || s.refused(&[Errno::EPERM]))
    }),
    Case::attempt(
        "fs-devices",
        FILES,
        "find devices of the host in /dev",
        |i| {
            for name in DEVICES {
                i.step(name, fs::symlink_metadata(Path::new("/dev").join(name)));
            }
        },
        |_, s| s.refused(&[Errno::ENOENT]),
    ),
    Case::attempt(
        "fs-dev-write",
        FILES,
        "make a file in /dev",
        |i| {
            let dir = if i.outside() { i.path("target") } else { PathBuf::from("/dev") };
            let made = File::create_new(dir.join("selftest-dev"));
            if made.is_ok() {
                i.step("removed-again", fs::remove_file(dir.join("selftest-dev")));
            }
            i.step("create", made);
        },
        |_, s| s.refused(&[Errno::EROFS, Errno::EACCES]),
    ),
    Case::attempt(
        "fs-kernel-controls",
        FILES,
        "open the kernel's controls for writing (core_pattern, sysrq-trigger, drop_caches …)",
        |i| {
            for (name, path) in CONTROLS {
                i.step(name, OpenOptions::new().write(true).open(path));
            }
        },
        |w, s| match w.policy.proc.value {
            Proc::Pid => s.refused(&[Errno::ENOENT]),
            Proc::Masked => s.refused(&[Errno::EROFS, Errno::EACCES, Errno::ENOENT]),
        },
    ),
    Case::attempt(
        "fs-init-program",
        FILES,
        "reach the program that started the jail (/proc/1/exe)",
        |i| {
            let process = if i.outside() { "self" } else { "1" };
            i.step("read", File::open(format!("/proc/{process}/exe")));
            i.step("link", fs::read_link(format!("/proc/{process}/exe")));
        },
        |_, s| s.refused(&[Errno::ENOENT]),
    ),
    Case::attempt("fs-descriptors", FILES, "use descriptors that the caller left open", descriptors, |_, s| {
        if s.outside("open").is_none_or(str::is_empty) {
            return Outcome::not_judged("no descriptor came through to a program outside either");
        }
        s.finished().and(|| match s.value("open") {
            Some("") => Outcome::held("none above 2 is open"),
            open => Outcome::failed(format!("open: {}", open.unwrap_or("?"))),
        })
    }),
    Case::attempt(
        "fs-lease",
        FILES,
        "make the host wait with leases and notifications",
        |i| i.calls(&["fcntl:F_SETLEASE", "fcntl:F_NOTIFY"]),
        |_, s| s.refused(&[Errno::EPERM]),
    ),
    Case::attempt(
        "fs-watch",
        FILES,
        "watch files of others (inotify, fanotify)",
        |i| i.calls(&["inotify_init1", "fanotify_init"]),
        super::kernel::refused_or_allowed,
    ),
    Case::attempt(
        "fs-landlock",
        FILES,
        "read a file that no mount hides and that Landlock alone forbids",
        |i| i.say("read", read(Path::new("/.decoy"))),
        |_, s| s.refused(&[Errno::EACCES]),
    )
    .needs(Layer::Landlock),
    Case::attempt("fs-fresh", FILES, "find what an earlier run left in scratch directories", fresh, |w, s| {
        scratch_or(w, || {
            s.finished().and(|| match (s.value("before"), s.value("made")) {
                (Some(""), Some(_)) => Outcome::held("empty at the start"),
                (before, made) => Outcome::failed(format!("there was {before:?}, and could be written: {made:?}")),
            })
        })
    })
    .inside_only(),
    Case::drive("fs-gone", FILES, "leave files of scratch directories behind on the host", gone),
    Case::drive("fs-intact", FILES, "after all of this: every file of the host is as it was", |w, _| {
        match w.intact() {
            Ok(()) => Outcome::held("content, mode, owner, links and times"),
            Err(what) => Outcome::Failed(what),
        }
    })
    .lane(Lane::Last),
];

const SYSTEM: [(&str, &str); 9] = [
    ("root", "/"),
    ("etc", "/etc"),
    ("usr", "/usr"),
    ("usr-bin", "/usr/bin"),
    ("usr-local", "/usr/local/lib"),
    ("run", "/run"),
    ("home", "/home"),
    ("var", "/var"),
    ("opt", "/opt"),
];

/// Some of these are on any host.
const DEVICES: [&str; 19] = [
    "mem",
    "kmsg",
    "kvm",
    "fuse",
    "loop-control",
    "loop0",
    "console",
    "tty0",
    "ttyS0",
    "port",
    "hpet",
    "rtc0",
    "sda",
    "vda",
    "nvme0",
    "vhost-net",
    "vfio",
    "uinput",
    "mapper",
];

const CONTROLS: [(&str, &str); 9] = [
    ("core_pattern", "/proc/sys/kernel/core_pattern"),
    ("modprobe", "/proc/sys/kernel/modprobe"),
    ("hostname", "/proc/sys/kernel/hostname"),
    ("panic", "/proc/sys/kernel/panic"),
    ("drop_caches", "/proc/sys/vm/drop_caches"),
    ("overcommit", "/proc/sys/vm/overcommit_memory"),
    ("sysrq-trigger", "/proc/sysrq-trigger"),
    ("ip_forward", "/proc/sys/net/ipv4/ip_forward"),
    ("max_user_ns", "/proc/sys/user/max_user_namespaces"),
];

impl Inside {
    /// Makes calls of the fixed list, a step each.
    pub(super) fn calls(&self, names: &[&str]) {
        for name in names {
            if let Some(result) = jail::attempt::make(name) {
                self.say(name, result);
            }
        }
    }
}

/// The first bytes of a file.
fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(64).read_to_end(&mut bytes)?;
    Ok(format!("{} bytes", bytes.len()))
}

/// The attempt is what the profile allows, if it shows the canary.
fn granted_or(w: &World, s: &Seen, judge: impl FnOnce() -> Outcome) -> Outcome {
    match w.shows(&w.at("outside/secret")) {
        Some(access) => s.granted(&format!("the profile shows {} ({access})", w.at("outside").display())),
        None => judge(),
    }
}

/// Nothing of the canary's directory is there.
fn hidden(w: &World, s: &Seen) -> Outcome {
    granted_or(w, s, || s.refused(&[Errno::ENOENT]))
}

fn hidden_in_workspace(w: &World, s: &Seen) -> Outcome {
    if w.workspace() == Workspace::None {
        return Outcome::not_judged("the profile shows no workspace");
    }
    hidden(w, s)
}

/// As [`hidden`], and the host's files are as they were. A host's directory that is shown read-only is another matter.
fn untouched(w: &World, s: &Seen) -> Outcome {
    match w.shows(&w.at("outside/secret")) {
        Some(access) if access.writes() => s.granted(&format!("the profile shows it ({access})")),
        Some(_) => s.refused(&[Errno::EROFS]).and(|| intact(w)),
        None => s.refused(&[Errno::ENOENT]).and(|| intact(w)),
    }
}

fn intact(w: &World) -> Outcome {
    match w.intact() {
        Ok(()) => Outcome::held(""),
        Err(what) => Outcome::Failed(what),
    }
}

fn scratch_or(w: &World, judge: impl FnOnce() -> Outcome) -> Outcome {
    if w.scratch().is_none() { Outcome::not_judged("the profile has no scratch directory") } else { judge() }
}

fn climb(i: &Inside) {
    let canary = i.fact("canary");
    i.say("relative", read(Path::new(&format!("{}{canary}", "../".repeat(40)))));
    i.say("dotted", read(Path::new(&format!("{}/..{canary}", i.fact("work").replace('/', "/./") + &"/..".repeat(40)))));
}

fn from_root_descriptor(i: &Inside) {
    let root = open("/", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty());
    let below = format!("../..{}", i.fact("canary"));
    let opened = root.and_then(|root| openat(&root, below.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()));
    i.step("openat", opened);
}

fn through_proc(i: &Inside) {
    let canary = i.fact("canary");
    i.say("root", read(Path::new(&format!("/proc/self/root{canary}"))));
    i.say("root-up", read(Path::new(&format!("/proc/self/root/../../..{canary}"))));
    i.say("cwd-up", read(Path::new(&format!("/proc/self/cwd/{}{canary}", "../".repeat(40)))));
    let here = open(".", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty());
    if let Ok(here) = here {
        i.say("fd-up", read(Path::new(&format!("/proc/self/fd/{}/{}{canary}", here.as_raw_fd(), "../".repeat(40)))));
    }
}

fn deleted_cwd(i: &Inside) {
    let Some(scratch) = i.scratch() else { return };
    let dir = scratch.join("deleted");
    let gone = fs::create_dir(&dir).and_then(|()| Ok(chdir(&dir)?)).and_then(|()| fs::remove_dir(&dir));
    let climbed = gone.and_then(|()| match chdir("..") {
        // The parent of a removed directory cannot be asked for: then from where the kernel left us.
        Ok(()) | Err(Errno::ENOENT) => read(Path::new(&format!("/../../..{}", i.fact("canary")))),
        Err(errno) => Err(errno.into()),
    });
    i.say("climb", climbed);
}

/// One thread swaps what a name leads to while another opens it.
fn race(i: &Inside) {
    let Some(scratch) = i.scratch() else { return };
    let (name, next) = (scratch.join("race"), scratch.join("race-next"));
    let harmless = scratch.join("harmless");
    if let Err(error) = fs::write(&harmless, "harmless") {
        return i.step::<(), _>("prepare", Err(error));
    }
    let over = AtomicBool::new(false);
    let secret = i.path("canary");
    let (mut hits, mut tries) = (0_u64, 0_u64);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut turn = false;
            while !over.load(Ordering::Relaxed) {
                turn = !turn;
                let to = if turn { &secret } else { &harmless };
                // A turn that fails is one less; the next one is tried anyway.
                let _swapped = symlink(to, &next).and_then(|()| fs::rename(&next, &name));
            }
        });
        let end = Instant::now() + Duration::from_millis(300);
        while Instant::now() < end {
            tries += 1;
            if fs::read(&name).is_ok_and(|bytes| bytes != b"harmless") {
                hits += 1;
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    i.note("tries", tries);
    i.note("hits", hits);
}

fn change(i: &Inside) {
    let file = i.path("target").join("file");
    i.step("overwrite", OpenOptions::new().write(true).open(&file).and_then(|mut file| file.write_all(b"changed")));
    i.step("append", OpenOptions::new().append(true).open(&file).and_then(|mut file| file.write_all(b"more")));
    i.step("truncate", nix::unistd::truncate(&file, 0));
    i.step("open-truncate", File::create(&file));
}

fn create(i: &Inside) {
    let target = i.path("target");
    i.step("file", File::create_new(target.join("made")));
    i.step("directory", fs::create_dir(target.join("made-dir")));
    i.step("link", symlink("made", target.join("made-link")));
    i.step("fifo", mkfifo(&target.join("made-fifo"), Mode::S_IRWXU));
    i.step("unnamed", open(&target, OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::S_IRWXU));
    i.step("socket", std::os::unix::net::UnixListener::bind(target.join("made-socket")));
}

fn remove(i: &Inside) {
    let target = i.path("target");
    i.step("rename", fs::rename(target.join("victim"), target.join("renamed")));
    i.step("unlink", fs::remove_file(target.join(if i.outside() { "renamed" } else { "victim" })));
    i.step("rmdir", fs::remove_dir(target.join("empty")));
    i.step("unlink-link", fs::remove_file(target.join("link")));
}

fn metadata(i: &Inside) {
    let file = i.path("target").join("file");
    i.step("chmod", fs::set_permissions(&file, Permissions::from_mode(0o600)));
    i.step("chown", chown(&file, Some(getuid()), Some(getgid())));
    let then = TimeSpec::new(1, 0);
    i.step("utimens", utimensat(nix::fcntl::AT_FDCWD, &file, &then, &then, UtimensatFlags::FollowSymlink));
    i.step("access", access(&file, AccessFlags::W_OK));
}

fn hardlink(i: &Inside) {
    let Some(scratch) = i.scratch() else { return };
    let at = nix::fcntl::AT_FDCWD;
    let linked =
        linkat(at, &i.path("target").join("secret"), at, &scratch.join("second-name"), nix::fcntl::AtFlags::empty());
    // Beside it, as another file system cannot be linked to.
    let beside = i.path("target").join("second-name");
    i.step("into-scratch", linked);
    i.step("beside", fs::hard_link(i.path("target").join("file"), beside));
}

fn set_uid(i: &Inside) {
    let Some(scratch) = i.scratch() else { return };
    let file = scratch.join("set-uid");
    let made = fs::write(&file, "#!/bin/sh\n");
    i.step("chmod-uid", made.and_then(|()| fs::set_permissions(&file, Permissions::from_mode(0o4755))));
    i.step("chmod-gid", fs::set_permissions(&file, Permissions::from_mode(0o2755)));
    let open =
        |name: &str, mode: u32| OpenOptions::new().write(true).create_new(true).mode(mode).open(scratch.join(name));
    i.step("open-uid", open("set-uid-2", 0o4755));
    i.step("open-gid", open("set-gid-2", 0o2755));
    i.step("mknod", mknod(&scratch.join("set-uid-3"), SFlag::S_IFREG, Mode::S_ISUID | Mode::S_IRWXU, 0));
}

fn device_nodes(i: &Inside) {
    let Some(scratch) = i.scratch() else { return };
    // The numbers of /dev/null, harmless wherever it works, and no device for blocks.
    for (name, kind, major) in [("character", SFlag::S_IFCHR, 1), ("block", SFlag::S_IFBLK, 0)] {
        let device = nix::sys::stat::makedev(major, 3);
        i.step(name, mknod(&scratch.join(name), kind, Mode::S_IRUSR, device));
    }
}

fn descriptors(i: &Inside) {
    let numbers = 3..1024;
    let open = numbers.filter(|number| {
        // A copy is asked for of each; what is no descriptor has none.
        Path::new("/proc/self/fd").join(number.to_string()).symlink_metadata().is_ok()
    });
    let open: Vec<String> = open.map(|number| number.to_string()).collect();
    i.note("open", open.join(","));
    // The number of the first free descriptor says the same without /proc.
    if let Ok(copy) = dup(io::stdin()) {
        let flags = fcntl(&copy, FcntlArg::F_GETFD).is_ok();
        i.note("next", format!("{} {flags}", copy.as_raw_fd()));
    }
}

fn fresh(i: &Inside) {
    let mut found = Vec::new();
    let mut made = Ok(());
    for dir in ["/tmp", "/dev/shm", "/home/jail"].map(Path::new) {
        let names = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        // The way to the workspace is there.
        found.extend(names.filter(|path| !i.path("program").starts_with(path)).map(|path| path.display().to_string()));
    }
    if let Some(scratch) = i.scratch() {
        made = fs::write(scratch.join("left-by-an-earlier-run"), "left");
    }
    i.note("before", found.join(" "));
    i.step("made", made);
}

/// A run writes a file with a name that nobody else has; then the host is searched for it.
fn gone(w: &World, runner: &Runner<'_>) -> Outcome {
    let Some(scratch) = w.scratch() else { return Outcome::not_judged("the profile has no scratch directory") };
    let name = format!("left-{}", w.token);
    let file = scratch.join(&name);
    let words = |text: &str| vec!["sh".into(), "-c".into(), format!("echo x > {} && {text}", file.display()).into()];
    let first = match runner.start(&[], std::process::Stdio::null(), |_, _, _| words("echo ok")) {
        Ok(live) => live.finish(runner),
        Err(outcome) => return outcome,
    };
    if !first.stdout.ends_with(b"ok\n") {
        return Outcome::not_judged(format!(
            "sh cannot write to {} inside: {}",
            scratch.display(),
            first.stderr.trim()
        ));
    }
    let places = ["/tmp", "/var/tmp", "/dev/shm", "/run", "/home/jail"].map(|dir| Path::new(dir).join(&name));
    if let Some(place) = places.iter().find(|place| place.symlink_metadata().is_ok()) {
        return Outcome::failed(format!("{} is there", place.display()));
    }
    let script = format!("test ! -e {} && echo ok", file.display());
    let second =
        runner.start(&[], std::process::Stdio::null(), |_, _, _| vec!["sh".into(), "-c".into(), script.into()]);
    match second.map(|live| live.finish(runner)) {
        Ok(run) => check(run.stdout.ends_with(b"ok\n"), || "the next run finds it".to_owned())
            .and(|| Outcome::held("neither the host nor the next run has it")),
        Err(outcome) => outcome,
    }
}
