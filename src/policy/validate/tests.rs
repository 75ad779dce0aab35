//! Validation: every rule with its exact message, and the defaults.

use super::*;
use crate::policy::{Access, Layer};

fn check(text: &str) -> Result<Policy, ProfileError> {
    policy(&Profile::parse("p.toml", text).unwrap())
}

fn errors(text: &str) -> String {
    check(text).unwrap_err().to_string()
}

const BASE: &str = "[limits]\nmemory = \"64M\"\npids = 8\n";

#[test]
fn memory_and_tasks_must_be_said() {
    assert_eq!(
        errors("[limits]\nwall = \"0s\""),
        "p.toml:2: limits.wall: 0 s is too little (write at least 1 ms)\n\
         p.toml: limits.memory: is not set and has no default (write memory = \"512M\", or extends = [\"strict\"])\n\
         p.toml: limits.pids: is not set and has no default (write pids = 64, or extends = [\"strict\"])"
    );
}

#[test]
fn a_profile_that_extends_nothing_is_narrow() {
    let policy = check(BASE).unwrap();
    assert!(policy.view.is_empty() && policy.tmpfs.is_empty());
    assert_eq!(policy.workspace, Located::new(Workspace::None, Origin::Default));
    assert_eq!((policy.proc.value, policy.net.value), (Proc::Pid, Net::None));
    assert_eq!(policy.syscalls.allow, [Located::new("@default".to_owned(), Origin::Default)]);
    assert_eq!((policy.limits.wall.value, policy.limits.nofile.value), (Some(Millis(30_000)), 256));
    assert_eq!(policy.output.on_overflow.value, OnOverflow::Kill);
    assert_eq!(policy.hostname.value, "jail");
}

#[test]
fn the_defaults_are_those_of_strict() {
    let strict = Policy::new(&Profile::builtin("strict").unwrap()).unwrap();
    let narrow = check("[limits]\nmemory = \"512M\"\npids = 64\n").unwrap();
    let values = |policy: &Policy| {
        let (l, o) = (&policy.limits, &policy.output);
        (
            (l.wall.value, l.cpu_time.value, l.cpus.value, l.nofile.value, l.fsize.value, l.core.value, l.stack.value),
            (o.limit.value, o.keep.value, o.on_overflow.value),
            (policy.hostname.value.clone(), policy.proc.value, policy.net.value),
        )
    };
    assert_eq!(values(&strict), values(&narrow));
    assert_eq!((strict.limits.memory.value, strict.limits.pids.value), (Bytes(512 * MIB), 64));
    assert!(strict.view.iter().all(|entry| matches!(entry.value.access, Access::Ro | Access::Rx)));
}

#[test]
fn every_range_at_once() {
    let text = r#"[limits]
wall = "366h"
cpu_time = "9000h"
cpus = 0.001
memory = "4K"
pids = 0
nofile = 15
fsize = "9000000T"
core = "9000000T"
stack = "4K"
[output]
limit = "9000000T"
keep = "17M"
[fs]
tmpfs = ["/a:size=1B", "/b:inodes=1"]
"#;
    assert_eq!(
        errors(text),
        "p.toml:3: limits.cpu_time: 32400000 s is too much (write at most 31536000 s)\n\
         p.toml:4: limits.cpus: 0.001 is too little (write at least 0.01)\n\
         p.toml:5: limits.memory: 4 KiB is too little (write at least 1 MiB)\n\
         p.toml:6: limits.pids: 0 is too little (write at least 1)\n\
         p.toml:7: limits.nofile: 15 is too little (write at least 16)\n\
         p.toml:8: limits.fsize: 9000000 TiB is too much (write at most 9223372036854775807 B)\n\
         p.toml:9: limits.core: 9000000 TiB is too much (write at most 9223372036854775807 B)\n\
         p.toml:10: limits.stack: 4 KiB is too little (write at least 64 KiB)\n\
         p.toml:12: output.limit: 9000000 TiB is too much (write at most 9223372036854775807 B)\n\
         p.toml:13: output.keep: 17 MiB is too much (write at most 16 MiB)\n\
         p.toml:15: fs.tmpfs: 1 B is too little (write at least 4 KiB)\n\
         p.toml:15: fs.tmpfs: 1 is too little (write at least 2)"
    );
}

#[test]
fn places_that_are_the_jails_own() {
    for (dest, reason) in [
        ("/", "/ is the root, which is always the jail's own (name what the program needs below it)"),
        ("/proc/x", "/proc/x is always the jail's own /proc (see fs.proc)"),
        ("/dev/kvm", "/dev/kvm is in the jail's own /dev (only a tmpfs at /dev/shm can be given)"),
        ("/etc", "/etc is written by the jail itself (name other files below /etc)"),
        ("/etc/passwd", "/etc/passwd is written by the jail itself (name other files below /etc)"),
        ("/.decoy", "/.decoy is the file with which the jail tests itself (write another path)"),
    ] {
        assert_eq!(errors(&format!("{BASE}[fs]\nrw = [\"/x:{dest}\"]")), format!("p.toml:5: fs.rw: {reason}"));
        assert_eq!(errors(&format!("{BASE}[fs]\ntmpfs = [\"{dest}\"]")), format!("p.toml:5: fs.tmpfs: {reason}"));
    }
    check(&format!("{BASE}[fs]\ntmpfs = [\"/dev/shm\"]\nro = [\"/etc/ssl/certs\", \"/devel\"]")).unwrap();
    assert!(errors(&format!("{BASE}[fs]\nro = [\"/dev/shm\"]")).contains("jail's own /dev"));
    assert!(errors(&format!("{BASE}[fs]\nro = [\"/proc/1:/x\"]")).contains("show the processes of this machine"));
}

#[test]
fn names() {
    for (text, message) in [
        ("[run]\nhostname = \"\"", "run.hostname: \"\" is not a host name (write 1 to 64 of a-z, A-Z, 0-9, . and -)"),
        (
            "[run]\nhostname = \"a_b\"",
            "run.hostname: \"a_b\" is not a host name (write 1 to 64 of a-z, A-Z, 0-9, . and -)",
        ),
        ("[env]\nset = { \"\" = \"x\" }", "env.set: \"\" is not a name of a variable (write one without = and NUL)"),
        ("[env]\nkeep = [\"A=B\"]", "env.keep: \"A=B\" is not a name of a variable (write one without = and NUL)"),
        ("[env]\nset = { A = \"\\u0000\" }", "env.set: the value of \"A\" holds a NUL byte (leave it out)"),
    ] {
        assert_eq!(errors(&format!("{BASE}{text}")), format!("p.toml:5: {message}"));
    }
    assert!(
        errors(&format!("description = \"a\\nb\"\n{BASE}")).starts_with("p.toml:1: description: holds a line break")
    );
}

#[test]
fn layers_that_carry_the_rest_stay() {
    assert_eq!(
        errors(&format!("allow_degraded = [\"rootfs\", \"cgroup\"]\n{BASE}")),
        "p.toml:1: allow_degraded: rootfs cannot be given up: everything else rests on it (leave it out)"
    );
    let policy = check(&format!("allow_degraded = [\"cgroup\"]\n{BASE}")).unwrap();
    let layers: Vec<Layer> = policy.degradable.into_keys().collect();
    assert_eq!(layers, [Layer::CgroupMemory, Layer::CgroupPids, Layer::CgroupCpu]);
}

#[test]
fn overflow_needs_a_limit_unless_it_was_inherited() {
    assert_eq!(
        errors(&format!("{BASE}[output]\nlimit = \"none\"\non_overflow = \"kill\"")),
        "p.toml:6: output.on_overflow: there is no output limit to overflow (set one, or leave this out; the limit is \
         lifted by p.toml:5)"
    );
    check("extends = [\"strict\"]\n[output]\nlimit = \"none\"").unwrap();
}
