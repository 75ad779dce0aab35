//! Profiles: exact messages, search path, `extends`, and the laws of merging.

use std::collections::BTreeSet;
use std::fs;

use proptest::prelude::*;

use super::*;
use crate::Policy;
use crate::sandbox::plan::seccomp::{Action, Filter};

fn errors(text: &str) -> String {
    Profile::parse("p.toml", text).unwrap_err().to_string()
}

fn merged(mut base: Profile, patch: Profile) -> Profile {
    base.merge(patch);
    base
}

#[test]
fn every_shipped_profile_is_a_policy() {
    for builtin in BUILTIN {
        let profile = Profile::builtin(builtin.name).unwrap();
        assert_eq!(profile.name(), builtin.name);
        assert!(profile.description().is_some());
        Policy::new(&profile).unwrap();
    }
}

#[test]
fn all_mistakes_at_once_in_the_order_of_the_text() {
    let text = r#"
description = 5
[limits]
wall = 30
memory = "512MB"
pids = ["64"]
memroy = "1G"

[net]
mode = "all"

[limts]
x = 1

[fs]
ro = ["relative", { path = "/ok", optional = "yes" }, { paht = "/x" }, {}, 7]
rw = ["/ok2", "/ok2"]
tmpfs = "x"

[syscalls]
allow = ["ptrace"]
deny = ["ptrace"]

[env]
set = { A = 1, "B=C" = "x" }
keep = ["A", "A"]
"#;
    let expected = r#"p.toml:2: description: expected a string, found integer (write description = "compiles our code")
p.toml:4: limits.wall: a duration needs a unit: 30s is 30 seconds, 30ms is 30 milliseconds
p.toml:5: limits.memory: "512MB" is not a size (write a whole number with B, K, M, G or T, such as 512M)
p.toml:6: limits.pids: expected a number or a string, found array (write pids = 64)
p.toml:7: limits.memroy: unknown key (did you mean limits.memory?)
p.toml:10: net.mode: "all" is not a known value (write none, loopback, host)
p.toml:12: limts: unknown key or section (did you mean limits?)
p.toml:16: fs.ro: "relative" is not an absolute path (write a path that begins with /)
p.toml:16: fs.ro: expected true or false, found string (write optional = true)
p.toml:16: fs.ro: "paht" is unknown here (write path, at or optional)
p.toml:16: fs.ro: the path is missing (write { path = "/opt" })
p.toml:16: fs.ro: expected a string, found integer (write ro = ["/data"])
p.toml:17: fs.rw: /ok2 is already given by p.toml:17 (keep one of the two)
p.toml:18: fs.tmpfs: expected a list, found string (write tmpfs = ["/tmp:size=64M,inodes=16k"])
p.toml:22: syscalls.deny: "ptrace" is also allowed, by p.toml:21 (keep one of the two)
p.toml:25: env.set: expected a string, found integer (write set = { CI = "1" })
p.toml:25: env.set: "B=C" holds = (write a name without it)
p.toml:26: env.keep: "A" is already given by p.toml:26 (keep one of the two)"#;
    assert_eq!(errors(text), expected);
}

#[test]
fn unknown_keys_get_a_suggestion_or_the_list() {
    assert_eq!(errors("memory = \"1G\""), "p.toml:1: memory: unknown key or section (did you mean limits.memory?)");
    assert_eq!(errors("[net]\nallow_hosts = []"), "p.toml:2: net.allow_hosts: unknown key (known here: mode)");
    assert_eq!(
        errors("zzzzzzzz = 1"),
        "p.toml:1: zzzzzzzz: unknown key or section (known here: extends, description, allow_degraded, isolation, run, fs, net, \
         syscalls, limits, output, env)"
    );
    assert_eq!(errors("fs = 3"), "p.toml:1: fs: expected a section, found integer (write [fs])");
    assert_eq!(
        errors("allow_degraded = [\"cgroups\"]"),
        "p.toml:1: allow_degraded: \"cgroups\" is not a layer (did you mean cgroup?)"
    );
}

#[test]
fn syntax_errors_have_a_column() {
    let text = errors("[limits]\nwall = \"30s\"\npids = = 3\n");
    assert!(text.starts_with("p.toml:3:8: "), "{text}");
    assert!(!text.contains('\n'), "{text}");
    assert!(errors("a = 1\na = 2").starts_with("p.toml:2:1: duplicate key"), "{}", errors("a = 1\na = 2"));
}

#[test]
fn numbers_may_be_strings_and_none_lifts() {
    let profile = Profile::parse(
        "p.toml",
        "[limits]\npids = \"16k\"\nnofile = 1_000\ncpus = 2\nfsize = \"none\"\nwall = \"none\"\n[output]\nlimit = \"none\"",
    )
    .unwrap();
    assert_eq!(profile.limits.pids.map(|pids| pids.value), Some(16_384));
    assert_eq!(profile.limits.nofile.map(|nofile| nofile.value), Some(1000));
    assert_eq!(profile.limits.cpus.map(|cpus| cpus.value), Some(Some(MilliCpus(2000))));
    assert_eq!(profile.limits.fsize.map(|fsize| fsize.value), Some(None));
}

#[test]
fn settings_go_the_same_way_and_are_named_by_their_flag() {
    let error = Profile::from_settings([
        Setting { key: "limits.memory", value: "512".into(), flag: "--memory" },
        Setting { key: "net.mode", value: "all".into(), flag: "--net" },
        Setting { key: "extends", value: "x".into(), flag: "--extends" },
        Setting { key: "limits.memroy", value: "1G".into(), flag: "--memroy" },
    ])
    .unwrap_err();
    assert_eq!(
        error.lines(),
        [
            "--memory 512: a size needs a unit: 512M is 512 MiB, 512B is 512 bytes",
            "--net all: \"all\" is not a known value (write none, loopback, host)",
            "--extends x: only a profile file can extend another",
            "--memroy 1G: unknown key (did you mean limits.memory?)",
        ]
    );
    let patch = Profile::from_settings([
        Setting { key: "limits.memory", value: "1G".into(), flag: "--memory" },
        Setting { key: "fs.tmpfs", value: "/tmp:size=1M".into(), flag: "--tmpfs" },
    ])
    .unwrap();
    let profile = merged(Profile::builtin("strict").unwrap(), patch);
    assert_eq!(profile.name(), "strict");
    assert_eq!(profile.limits.memory, Some(Located::new(Bytes(1 << 30), Origin::Flag("--memory".into()))));
    let tmp: Vec<u64> = profile
        .tmpfs
        .iter()
        .filter(|tmpfs| tmpfs.value.dest == Path::new("/tmp"))
        .map(|tmpfs| tmpfs.value.size.0)
        .collect();
    assert_eq!(tmp, [1 << 20]);
}

#[test]
fn origins_are_files_and_lines() {
    let judge = Profile::builtin("judge").unwrap();
    let line = |text: &str, what: &str| {
        let at = text.lines().position(|line| line.starts_with(what)).unwrap();
        u32::try_from(at + 1).unwrap()
    };
    let origin = |file: &str, line| Origin::File { file: file.into(), line };
    assert_eq!(judge.limits.wall.unwrap().origin, origin("judge.toml", line(BUILTIN[1].text, "wall")));
    assert_eq!(judge.limits.nofile.unwrap().origin, origin("strict.toml", line(BUILTIN[0].text, "nofile")));
}

#[test]
fn extends_follows_files_and_names() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(
        path("base.toml"),
        "extends = [\"strict\"]\ndescription = \"base\"\n[limits]\npids = 7\nnofile = 99\n[fs]\ndrop = [\"/libx32\"]\n",
    )
    .unwrap();
    fs::write(path("top.toml"), "extends = [\"./base.toml\"]\n[limits]\npids = 8\n").unwrap();
    let top = Profile::load(path("top.toml").to_str().unwrap()).unwrap();
    assert_eq!(top.limits.pids.as_ref().unwrap().value, 8);
    assert_eq!(top.limits.nofile.as_ref().unwrap().value, 99);
    assert_eq!(top.limits.memory.as_ref().unwrap().value, Bytes(512 << 20));
    assert_eq!(top.description(), None);
    assert!(!top.view.iter().any(|entry| entry.value.dest == Path::new("/libx32")));
    assert!(top.view.iter().any(|entry| entry.value.dest == Path::new("/lib")));

    fs::write(path("a.toml"), "extends = [\"b.toml\"]\n").unwrap();
    fs::write(path("b.toml"), "\nextends = [\"a.toml\"]\n").unwrap();
    let (a, b) = (path("a.toml"), path("b.toml"));
    let (a, b) = (a.display(), b.display());
    assert_eq!(
        Profile::load(&a.to_string()).unwrap_err().to_string(),
        format!("{b}:2: extends: goes in a circle: {a} -> {b} -> {a} (take one of them out)")
    );

    for level in 0..9 {
        fs::write(path(&format!("l{level}.toml")), format!("extends = [\"l{}.toml\"]\n", level + 1)).unwrap();
    }
    fs::write(path("l9.toml"), "").unwrap();
    let error = Profile::load(path("l0.toml").to_str().unwrap()).unwrap_err();
    assert!(error.to_string().ends_with("\"l8.toml\" is more than 8 levels deep (extend fewer)"), "{error}");
    assert!(!error.is_unreadable());
}

#[test]
fn what_cannot_be_found_or_read_says_so() {
    let error = Profile::load("stric").unwrap_err();
    assert_eq!(error.to_string(), "no profile is named \"stric\" (did you mean strict?)");
    assert!(error.is_unreadable());
    assert_eq!(
        Profile::builtin("wasm-thing").unwrap_err().to_string(),
        "no profile is named \"wasm-thing\" (shipped are strict, judge, build, agent)"
    );
    assert_eq!(Profile::load("/nowhere/x.toml").unwrap_err().to_string(), "/nowhere/x.toml: there is no such file");
    assert_eq!(
        Profile::parse("p.toml", "extends = [\"nothing-like-it\"]").unwrap_err().to_string(),
        "p.toml:1: extends: no profile is named \"nothing-like-it\" (shipped are strict, judge, build, agent)"
    );
}

#[test]
fn the_last_to_name_a_word_decides() {
    let words = |list: &[Located<String>]| list.iter().map(|word| word.value.clone()).collect::<Vec<_>>();
    let parse = |text| Profile::parse("p.toml", text).unwrap();
    let base = parse("[syscalls]\nallow = [\"@default\", \"kcmp\"]\ndeny = [\"ptrace\"]");
    let profile = merged(base, parse("[syscalls]\nallow = [\"ptrace\"]\ndeny = [\"kcmp\"]"));
    assert_eq!(words(&profile.allow.unwrap()), ["@default", "ptrace"]);
    assert_eq!(words(&profile.deny), ["kcmp"]);
}

#[test]
fn denying_the_last_word_does_not_bring_the_usual_list_back() {
    let profile = merged(calls("allow", &["kcmp"]), calls("deny", &["kcmp"]));

    assert_eq!(
        Policy::new(&profile).unwrap_err().to_string(),
        "syscalls.allow: is empty, and no program can run so; \"@default\" is the usual list"
    );
}

/// A small universe, so that values of two patches collide.
pub(crate) fn settings() -> impl Strategy<Value = Vec<Setting>> {
    let some = |key: &'static str, values: &'static [&'static str]| {
        proptest::option::of(proptest::sample::select(values))
            .prop_map(move |value| value.map(|value| Setting { key, value: value.to_owned(), flag: "--x" }))
    };
    (
        some("limits.wall", &["1s", "1000ms", "none"]),
        some("limits.memory", &["64M", "1G", "1024MiB"]),
        some("limits.cpus", &["0.5", "none"]),
        some("net.mode", &["none", "host"]),
        some("fs.workspace", &["read", "write"]),
        (some("fs.ro", &["/a", "/b", "/x:/a"]), some("fs.rwx", &["/c", "/d"])),
        (some("fs.tmpfs", &["/e", "/f:size=1M"]), some("fs.drop", &["/a", "/d", "/tmp"])),
        (some("syscalls.allow", &["kcmp", "@keyring"]), some("syscalls.deny", &["ptrace", "kexec_load"])),
        (some("env.set", &["A=1", "A=2", "B=\"\\"]), some("env.keep", &["C", "D"])),
        some("allow_degraded", &["cgroup", "landlock"]),
    )
        .prop_map(|(a, b, c, d, e, (f, g), (h, i), (j, k), (l, m), n)| {
            [a, b, c, d, e, f, g, h, i, j, k, l, m, n].into_iter().flatten().collect()
        })
}

/// Some words for system calls.
fn words() -> impl Strategy<Value = Vec<&'static str>> {
    let known = vec!["@default", "@io", "@process", "kcmp", "ptrace", "@keyring", "add_key", "read", "socket"];
    let most = known.len();
    proptest::sample::subsequence(known, 0..=most)
}

fn calls(key: &str, words: &[&str]) -> Profile {
    let text = format!("[limits]\nmemory = \"64M\"\npids = 8\n[syscalls]\n{key} = {words:?}");
    Profile::parse("p.toml", &text).unwrap()
}

/// The numbers that the filter of a profile lets through, if it means a policy.
fn allowed(profile: &Profile) -> Option<BTreeSet<u32>> {
    let policy = Policy::new(profile).ok()?;
    let filter = Filter::from_policy(&policy.syscalls, policy.net.value).unwrap();
    Some((0..1024).filter(|number| filter.decide_native(*number) == Action::Allow).collect())
}

proptest! {
    #[test]
    fn merging_twice_is_merging_once(base in settings(), patch in settings()) {
        let base = merged(Profile::builtin("strict").unwrap(), Profile::from_settings(base).unwrap());
        let patch = Profile::from_settings(patch).unwrap();
        let once = merged(base, patch.clone());
        prop_assert_eq!(merged(once.clone(), patch), once);
    }

    #[test]
    fn the_later_scalar_wins(base in settings(), patch in settings()) {
        let base = Profile::from_settings(base).unwrap();
        let patch = Profile::from_settings(patch).unwrap();
        let both = merged(base.clone(), patch.clone());
        prop_assert_eq!(both.limits.wall, patch.limits.wall.or(base.limits.wall));
        prop_assert_eq!(both.net, patch.net.or(base.net));
        for entry in &patch.view {
            prop_assert!(both.view.contains(entry));
        }
    }

    #[test]
    fn the_grouping_of_merges_does_not_matter(a in settings(), b in settings(), c in settings()) {
        let [a, b, c] = [a, b, c].map(|settings| Profile::from_settings(settings).unwrap());
        let left = merged(merged(a.clone(), b.clone()), c.clone());
        prop_assert_eq!(left, merged(a, merged(b, c)));
    }

    /// Who only takes away can only take away: no patch of denials lets a call through that was refused before.
    #[test]
    fn denying_never_allows(base in words(), denied in words()) {
        let before = allowed(&calls("allow", &base)).unwrap_or_default();
        let after = allowed(&merged(calls("allow", &base), calls("deny", &denied))).unwrap_or_default();
        prop_assert!(after.is_subset(&before), "{:?}", after.difference(&before));
    }

    /// Of a list that there is: the first word of all takes the place of the usual list.
    #[test]
    fn allowing_never_denies(base in words(), denied in words(), more in words()) {
        prop_assume!(!base.is_empty());
        let base = merged(calls("allow", &base), calls("deny", &denied));
        let Some(before) = allowed(&base) else { return Ok(()) };
        let Some(after) = allowed(&merged(base, calls("allow", &more))) else { return Ok(()) };
        prop_assert!(before.is_subset(&after), "{:?}", before.difference(&after));
    }

    /// Nothing is shown and no layer given up that neither of the two names; and what one gives up stays given up.
    #[test]
    fn merging_makes_nothing_up(base in settings(), patch in settings()) {
        let base = merged(Profile::builtin("strict").unwrap(), Profile::from_settings(base).unwrap());
        let patch = Profile::from_settings(patch).unwrap();
        let both = merged(base.clone(), patch.clone());
        prop_assert!(both.view.iter().all(|entry| base.view.contains(entry) || patch.view.contains(entry)));
        prop_assert!(both.tmpfs.iter().all(|entry| base.tmpfs.contains(entry) || patch.tmpfs.contains(entry)));
        prop_assert!(both.env.iter().all(|entry| base.env.contains(entry) || patch.env.contains(entry)));
        let mut given_up: Vec<&Layer> = base.degradable.keys().chain(patch.degradable.keys()).collect();
        given_up.sort();
        given_up.dedup();
        prop_assert_eq!(both.degradable.keys().collect::<Vec<_>>(), given_up);
        let mut places: Vec<&Path> = both.view.iter().map(|entry| entry.value.dest.as_path()).collect();
        places.extend(both.tmpfs.iter().map(|entry| entry.value.dest.as_path()));
        let all = places.len();
        places.sort();
        places.dedup();
        prop_assert_eq!(places.len(), all, "two things in one place");
    }

    /// A limit is the number that was written, or there is no policy.
    #[test]
    fn limits_never_wrap(number: u64, unit in 0..5_usize) {
        let (name, factor) = [("B", 1_u128), ("K", 1 << 10), ("M", 1 << 20), ("G", 1 << 30), ("T", 1 << 40)][unit];
        let text = format!("extends = [\"strict\"]\n[limits]\nmemory = \"{number}{name}\"\nfsize = \"{number}{name}\"");
        if let Ok(policy) = Profile::parse("p.toml", &text).and_then(|profile| Policy::new(&profile)) {
            prop_assert_eq!(u128::from(policy.limits.memory.value.0), u128::from(number) * factor);
            prop_assert_eq!(policy.limits.fsize.value, Some(policy.limits.memory.value));
        }
        let text = format!("extends = [\"strict\"]\n[limits]\npids = {}\nnofile = {}", number >> 1, number >> 1);
        if let Ok(policy) = Profile::parse("p.toml", &text).and_then(|profile| Policy::new(&profile)) {
            prop_assert_eq!(u64::from(policy.limits.pids.value), number >> 1);
            prop_assert_eq!(u64::from(policy.limits.nofile.value), number >> 1);
        }
    }

    #[test]
    fn no_text_panics(text in "(?s).{0,200}") {
        if let Err(error) = Profile::parse("p.toml", &text) {
            prop_assert!(!error.lines().is_empty());
            prop_assert!(error.lines().iter().all(|line| !line.contains('\n')));
        }
    }
}
