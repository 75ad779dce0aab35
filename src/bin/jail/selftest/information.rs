//! Attempts on information: what a program could learn of the host, its users and other runs.
//!
//! For: the environment, names, `/proc`, `/sys`, `/etc` and private directories.
//! Not for: what is documented as visible (kernel version, time, CPU model), or side channels.
//! Runs in: the tables in the process of `jail selftest`, the attempts inside.

use std::env;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::gethostname;

use jail::policy::{Proc, Workspace};

use super::inside::Inside;
use super::judge::{Answer, Outcome, Seen, check};
use super::stage::SECRET;
use super::{Case, Class};

const INFORMATION: Class = Class::Information;

pub(super) const CASES: &[Case] = &[
    Case::attempt(
        "in-environment",
        INFORMATION,
        "read the caller's environment",
        |i| {
            i.note("secret", env::var_os(SECRET).is_some());
            i.note("variables", env::vars_os().count());
        },
        |w, s| {
            if w.policy.env.iter().any(|var| var.value.name() == SECRET) {
                return s.granted(&format!("env names {SECRET}"));
            }
            if s.outside("secret") != Some("true") {
                return Outcome::not_judged("it does not come through outside either");
            }
            s.finished()
                .and(|| check(s.value("secret") == Some("false"), || "a variable of the caller's is there".to_owned()))
                .and(|| {
                    Outcome::held(format!("{} variables, none of the caller's", s.value("variables").unwrap_or("?")))
                })
        },
    ),
    Case::attempt(
        "in-loader-variables",
        INFORMATION,
        "inherit variables that load code (LD_*, PYTHON*, BASH_ENV …)",
        |i| {
            let names = [
                "LD_PRELOAD",
                "LD_LIBRARY_PATH",
                "LD_AUDIT",
                "PYTHONPATH",
                "PYTHONSTARTUP",
                "BASH_ENV",
                "ENV",
                "NODE_OPTIONS",
                "PERL5LIB",
                "RUBYLIB",
                "SSH_AUTH_SOCK",
                "DBUS_SESSION_BUS_ADDRESS",
                "DISPLAY",
                "XAUTHORITY",
                "LISTEN_FDS",
            ];
            let set: Vec<&str> = names.into_iter().filter(|name| env::var_os(name).is_some()).collect();
            i.note("set", set.join(" "));
        },
        |w, s| {
            let named = |name: &str| w.policy.env.iter().any(|var| var.value.name() == name);
            let set: Vec<&str> = s.value("set").unwrap_or("?").split_whitespace().filter(|name| !named(name)).collect();
            s.finished()
                .and(|| check(set.is_empty(), || format!("set: {}", set.join(" "))))
                .and(|| Outcome::held("none is set"))
        },
    )
    .inside_only(),
    Case::attempt("in-host-name", INFORMATION, "learn the host's name", host_name, |w, s| {
        let Some(host) = s.outside("uname") else { return Outcome::not_judged("the host has no name") };
        if host == w.policy.hostname.value || host == "localhost" {
            return Outcome::not_judged(format!("the host's name is {host}, as inside"));
        }
        let known = ["uname", "hostname", "hosts"]
            .into_iter()
            .find(|name| s.value(name).is_some_and(|text| text.split_whitespace().any(|word| word == host)));
        s.finished()
            .and(|| check(known.is_none(), || format!("{host} is in {known:?}")))
            .and(|| Outcome::held(format!("it is {} inside", s.value("uname").unwrap_or("?"))))
    }),
    Case::attempt("in-mounts", INFORMATION, "list the host's mounts", mounts, |w, s| {
        let outside: Vec<&str> = s.outside("points").unwrap_or_default().split_whitespace().collect();
        let hosts: Vec<&&str> =
            outside.iter().filter(|point| !w.stands(Path::new(point)) && !COMMON.contains(*point)).collect();
        if hosts.is_empty() {
            return Outcome::not_judged("the host has no mount that the jail has not");
        }
        let inside: Vec<&str> = s.value("points").unwrap_or_default().split_whitespace().collect();
        let seen = hosts.iter().find(|point| inside.contains(point));
        s.finished()
            .and(|| check(seen.is_none(), || format!("it sees {seen:?}")))
            .and(|| Outcome::held(format!("none of {} is among the {} inside", hosts.len(), inside.len())))
    }),
    Case::attempt(
        "in-kernel",
        INFORMATION,
        "read the kernel's addresses, memory, log and keys (/proc/kallsyms, kcore, kmsg, keys …)",
        |i| {
            for name in [
                "kallsyms",
                "kcore",
                "kmsg",
                "keys",
                "key-users",
                "timer_list",
                "kpagecount",
                "config.gz",
                "sched_debug",
            ] {
                i.say(name, first_bytes(&Path::new("/proc").join(name)));
            }
            i.say("dev-kmsg", first_bytes(Path::new("/dev/kmsg")));
        },
        |w, s| match w.policy.proc.value {
            Proc::Pid => s.refused(&[Errno::ENOENT]),
            // Covered, where it exists: it opens and is empty, or does not open.
            Proc::Masked => s
                .finished()
                .and(|| {
                    let told =
                        s.inside.iter().find(|step| matches!(&step.answer, Answer::Ok(value) if value != "0 bytes"));
                    check(told.is_none(), || format!("{told:?}"))
                })
                .and(|| Outcome::held("covered")),
        },
    ),
    Case::attempt(
        "in-host-statistics",
        INFORMATION,
        "read what the kernel says of the whole host (/proc/stat, meminfo, diskstats, modules …)",
        |i| {
            for name in [
                "stat",
                "meminfo",
                "cpuinfo",
                "uptime",
                "loadavg",
                "diskstats",
                "modules",
                "cmdline",
                "interrupts",
                "partitions",
                "version",
            ] {
                i.step(name, File::open(Path::new("/proc").join(name)));
            }
        },
        |w, s| match w.policy.proc.value {
            Proc::Pid => s.refused(&[Errno::ENOENT]),
            Proc::Masked => s.granted("fs.proc = \"masked\" shows it"),
        },
    ),
    Case::attempt(
        "in-sys",
        INFORMATION,
        "read /sys: hardware, serial numbers, cgroups",
        |i| {
            i.step("list", fs::read_dir("/sys"));
            i.step("cgroup", fs::read_dir("/sys/fs/cgroup"));
            i.step("net", fs::read_dir("/sys/class/net"));
        },
        |w, s| match w.shows(Path::new("/sys")) {
            Some(access) => s.granted(&format!("the profile shows /sys ({access})")),
            None => s.refused(&[Errno::ENOENT]),
        },
    ),
    Case::attempt(
        "in-identity",
        INFORMATION,
        "tell this machine from others (machine-id, boot id, product id)",
        |i| {
            for (name, path) in [
                ("machine", "/etc/machine-id"),
                ("dbus", "/var/lib/dbus/machine-id"),
                ("boot", "/proc/sys/kernel/random/boot_id"),
                ("product", "/sys/class/dmi/id/product_uuid"),
            ] {
                i.say(name, fs::read_to_string(path).map(|text| text.trim().to_owned()));
            }
        },
        |w, s| {
            let ids = ["machine", "dbus", "boot", "product"].map(|name| (name, s.value(name), s.outside(name)));
            if ids.iter().all(|(_, _, outside)| outside.is_none()) {
                return Outcome::not_judged("this machine has none of them");
            }
            let same = |name: &str| {
                ids.iter().any(|(id, inside, outside)| *id == name && inside.is_some() && inside == outside)
            };
            if w.policy.proc.value == Proc::Masked && same("boot") {
                return s
                    .finished()
                    .and(|| check(!same("machine") && !same("dbus") && !same("product"), || format!("{:?}", s.inside)))
                    .and(|| Outcome::granted("fs.proc = \"masked\" shows the boot id; the others are hidden"));
            }
            let told = ids.iter().find(|(name, _, _)| same(name)).map(|(name, _, _)| *name);
            s.finished()
                .and(|| check(told.is_none(), || format!("it knows {told:?}")))
                .and(|| Outcome::held("none is known"))
        },
    ),
    Case::attempt("in-users", INFORMATION, "list the host's users", users, |_, s| {
        let count = |names: Option<&str>| names.map_or(0, |names| names.split_whitespace().count());
        if count(s.outside("names")) <= 3 {
            return Outcome::not_judged("the host has no more users than the jail");
        }
        s.finished()
            .and(|| check((1..=3).contains(&count(s.value("names"))), || format!("{:?}", s.value("names"))))
            .and(|| Outcome::held(format!("it knows {}", s.value("names").unwrap_or("?"))))
    }),
    Case::attempt(
        "in-secrets",
        INFORMATION,
        "read the system's secrets in /etc (shadow, sudoers, keys)",
        |i| {
            for (name, path) in [
                ("shadow", "/etc/shadow"),
                ("gshadow", "/etc/gshadow"),
                ("sudoers", "/etc/sudoers"),
                ("ssh", "/etc/ssh"),
                ("private-keys", "/etc/ssl/private"),
                ("fstab", "/etc/fstab"),
                ("crontab", "/etc/crontab"),
            ] {
                i.step(name, fs::symlink_metadata(path));
            }
        },
        |w, s| match w.shows(Path::new("/etc/shadow")) {
            Some(access) => s.granted(&format!("the profile shows /etc ({access})")),
            None => s.refused(&[Errno::ENOENT]),
        },
    ),
    Case::attempt(
        "in-private-directories",
        INFORMATION,
        "list private directories of the host",
        |i| {
            for name in PRIVATE {
                i.step(name, fs::read_dir(name));
            }
        },
        |w, s| {
            let shown: Vec<&str> = PRIVATE.into_iter().filter(|path| w.stands(Path::new(path))).collect();
            s.refused_but(&shown, &[Errno::ENOENT])
        },
    ),
    Case::attempt(
        "in-homes",
        INFORMATION,
        "see home directories of others",
        |i| {
            let names = fs::read_dir("/home").map(|entries| {
                let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
                names.collect::<Vec<_>>().join(" ")
            });
            i.say("names", names);
        },
        |w, s| {
            if w.policy.view.iter().any(|entry| entry.value.dest.starts_with("/home")) {
                return s.granted("the profile shows something in /home");
            }
            s.finished()
                .and(|| check(s.value("names") == Some("jail"), || format!("{:?}", s.answer("names"))))
                .and(|| Outcome::held("there is but its own"))
        },
    )
    .inside_only(),
    Case::attempt(
        "in-cgroup",
        INFORMATION,
        "learn the host's cgroups from its own",
        |i| {
            let text = fs::read_to_string("/proc/self/cgroup");
            i.say(
                "groups",
                text.map(|text| {
                    text.lines().filter_map(|line| line.splitn(3, ':').nth(2)).collect::<Vec<_>>().join(" ")
                }),
            );
        },
        |_, s| {
            let all = s.value("groups").unwrap_or("?");
            s.finished()
                .and(|| check(all.split_whitespace().all(|group| group == "/"), || format!("it sees {all}")))
                .and(|| Outcome::held("its own is the root of what it sees"))
        },
    )
    .inside_only(),
    Case::attempt("in-neighbours", INFORMATION, "find the workspaces of other runs", neighbours, |w, s| {
        if w.workspace() == Workspace::None {
            return Outcome::not_judged("the profile shows no workspace");
        }
        if s.outside("count").and_then(|count| count.parse::<u32>().ok()).is_none_or(|count| count < 2) {
            return Outcome::not_judged("there is no other");
        }
        match s.answer("count") {
            Some(Answer::Ok(count)) if count == "1" => Outcome::held("its own alone is there"),
            Some(Answer::Errno(Errno::EACCES)) => Outcome::held("EACCES"),
            answer => Outcome::failed(format!("{answer:?}")),
        }
    }),
    Case::attempt(
        "in-streams",
        INFORMATION,
        "learn from the three streams where they lead",
        |i| {
            for fd in 0..3 {
                let link = fs::read_link(format!("/proc/self/fd/{fd}"));
                i.say(&fd.to_string(), link.map(|link| link.display().to_string()));
            }
        },
        |_, s| {
            let pipe = |name: &str| s.value(name).is_some_and(|link| link.starts_with("pipe:"));
            s.finished()
                .and(|| check(["0", "1", "2"].into_iter().all(pipe), || format!("{:?}", s.inside)))
                .and(|| Outcome::held("pipes, all three"))
        },
    )
    .inside_only(),
];

/// Mounts that every system has, the jail too.
const COMMON: [&str; 8] = ["/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/tmp", "/run", "/home"];

const PRIVATE: [&str; 12] = [
    "/root",
    "/boot",
    "/var/log",
    "/var/lib",
    "/var/spool",
    "/srv",
    "/mnt",
    "/media",
    "/opt",
    "/run/user",
    "/lost+found",
    "/var/cache",
];

impl Seen {
    /// As `refused`, but for some steps.
    fn refused_but(&self, but: &[&str], errnos: &[Errno]) -> Outcome {
        let rest: Vec<_> = self.inside.iter().filter(|step| !but.contains(&step.name.as_str())).cloned().collect();
        let seen = Self {
            control: self.control.clone(),
            inside: rest,
            ended: self.ended,
            report: self.report.clone(),
            elapsed_ms: self.elapsed_ms,
            output_bytes: self.output_bytes,
            supervisor_kib: self.supervisor_kib,
            leftovers: self.leftovers.clone(),
        };
        seen.refused(errnos)
    }
}

/// How many bytes there are, of the first few.
fn first_bytes(path: &Path) -> io::Result<String> {
    let mut bytes = [0; 16];
    // The kernel's log has no end to wait for.
    let mut file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    let count = file.read(&mut bytes)?;
    Ok(format!("{count} bytes"))
}

fn host_name(i: &Inside) {
    i.say("uname", gethostname().map(|name| name.to_string_lossy().into_owned()));
    for (name, path) in [("hostname", "/etc/hostname"), ("hosts", "/etc/hosts")] {
        let text = fs::read_to_string(path);
        i.say(name, text.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" ")));
    }
}

fn mounts(i: &Inside) {
    let text = fs::read_to_string("/proc/self/mountinfo");
    i.say(
        "points",
        text.map(|text| text.lines().filter_map(|line| line.split(' ').nth(4)).collect::<Vec<_>>().join(" ")),
    );
}

fn users(i: &Inside) {
    let text = fs::read_to_string("/etc/passwd");
    i.say(
        "names",
        text.map(|text| text.lines().filter_map(|line| line.split(':').next()).collect::<Vec<_>>().join(" ")),
    );
}

fn neighbours(i: &Inside) {
    let parent = i.path("work").parent().map(Path::to_owned).unwrap_or_default();
    i.say("count", fs::read_dir(parent).map(|entries| entries.count()));
}
