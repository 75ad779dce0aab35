//! The digest depends on the meaning alone.

use proptest::prelude::*;

use crate::profile::{Setting, tests::settings};
use crate::{Policy, Profile};

fn policy(text: &str) -> Policy {
    Policy::new(&Profile::parse("p.toml", text).unwrap()).unwrap()
}

#[test]
fn the_way_of_writing_does_not_matter() {
    let one = policy(
        "extends = [\"strict\"]\ndescription = \"one\"\n[limits]\nwall = \"2m\"\nmemory = \"1G\"\n[fs]\nro = [\"/a/\", \"/b\"]\n\
         [env]\nset = { A = \"1\", B = \"2\" }\n[syscalls]\nallow = [\"kcmp\", \"ptrace\"]",
    );
    let other = policy(
        "extends = [\"strict\", \"judge\", \"strict\"]\nlimits.memory = \"1024 MiB\"\nlimits.wall = \"120s\"\n[fs]\n\
         ro = [{ path = \"/b\", optional = false }, \"/a:/a\"]\n[env.set]\nB = \"2\"\nA = \"1\"\n\
         [syscalls]\nallow = [\"ptrace\", \"@default\", \"kcmp\"]",
    );
    assert_eq!(one.digest(), other.digest());
    assert_eq!(one.digest().len(), 64);
}

#[test]
fn every_value_matters() {
    let digest = |more: &str| policy(&format!("extends = [\"strict\"]\n{more}")).digest();
    let mut seen = vec![digest("")];
    for more in [
        "allow_degraded = [\"landlock\"]",
        "run.hostname = \"x\"",
        "fs.workspace = \"write\"",
        "fs.proc = \"masked\"",
        "fs.ro = [\"/a\"]",
        "fs.rx = [\"/a\"]",
        "fs.ro = [{ path = \"/a\", optional = true }]",
        "fs.ro = [\"/a:/b\"]",
        "fs.tmpfs = [\"/a\"]",
        "fs.drop = [\"/tmp\"]",
        "net.mode = \"loopback\"",
        "syscalls.allow = [\"kcmp\"]",
        "syscalls.deny = [\"kcmp\"]",
        "limits.wall = \"none\"",
        "limits.cpu_time = \"none\"",
        "limits.cpus = \"none\"",
        "limits.memory = \"1G\"",
        "limits.pids = 65",
        "limits.nofile = 257",
        "limits.fsize = \"none\"",
        "limits.core = \"1B\"",
        "limits.stack = \"16M\"",
        "output.limit = \"none\"",
        "output.keep = \"2M\"",
        "output.on_overflow = \"truncate\"",
        "env.set = { A = \"\" }",
        "env.keep = [\"A\"]",
    ] {
        let digest = digest(more);
        assert!(!seen.contains(&digest), "{more}");
        seen.push(digest);
    }
}

#[test]
fn origins_stand_behind_the_values() {
    let text = Policy::new(&Profile::builtin("judge").unwrap()).unwrap().to_toml();
    assert!(text.contains("\nmemory = \"256M\"  # judge.toml:"), "{text}");
    assert!(text.contains("\nnofile = 256  # strict.toml:"), "{text}");
    assert!(text.contains("\n  \"/tmp:size=64M,inodes=16384\",  # strict.toml:"), "{text}");
}

proptest! {
    #[test]
    fn what_is_printed_means_the_same(some in settings(), text in "\\PC*|[\\x01-\\x7f]*") {
        let mut profile = Profile::builtin("strict").unwrap();
        let strange = Setting { key: "env.set", value: format!("STRANGE={text}"), flag: "--env" };
        profile.merge(Profile::from_settings(some.into_iter().chain([strange])).unwrap());
        let policy = Policy::new(&profile).unwrap();
        let again = Policy::new(&Profile::parse("again.toml", &policy.to_toml()).unwrap()).unwrap();
        prop_assert_eq!(again.digest(), policy.digest());
    }
}
