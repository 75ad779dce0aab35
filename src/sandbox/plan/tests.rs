//! Golden plans, and what must hold for every plan.
//!
//! For: the printed plan of every shipped profile on made-up hosts: a reviewer reads the difference of
//! a plan, not of code. `JAIL_BLESS=1` writes them anew.
//! Runs in: tests.

use std::path::Path;

use super::op::Op;
use super::*;
use crate::host::{CgroupVersion, GroupHome};
use crate::profile::{BUILTIN, Profile};
use crate::sandbox::Command;

fn run_name() -> RunName {
    RunName { name: "jail-1-2-3".to_owned(), number: 7, counted: false }
}

fn policy(profile: &str, patch: &str) -> Policy {
    let mut merged = Profile::builtin(profile).unwrap();
    merged.merge(Profile::parse("patch.toml", patch).unwrap());
    Policy::new(&merged).unwrap()
}

fn plan(policy: &Policy, host: &Host) -> Result<Plan, Error> {
    Plan::new(&*Terms::new(policy.clone())?, host, &Command::new("python3").arg("script.py"), &run_name())
}

/// A root caller with cgroup v2 instead of v1, and a kernel with an older Landlock.
fn made_v2() -> Host {
    let mut host = Host::made();
    host.landlock = Ok(2);
    for home in host.cgroups.values_mut() {
        *home = Ok(GroupHome {
            version: CgroupVersion::V2,
            dir: "/sys/fs/cgroup/user.slice".into(),
            enable: Vec::new(),
            make_room: false,
        });
    }
    host
}

fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("JAIL_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(expected == text, "{} differs from the plan; JAIL_BLESS=1 writes it anew:\n{text}", path.display());
}

#[test]
fn every_shipped_profile_has_a_golden_plan_on_three_hosts() {
    for builtin in BUILTIN {
        let name = builtin.name;
        let root = plan(&policy(name, ""), &Host::made()).unwrap();
        golden(&format!("plan-{name}-root-v1.txt"), &root.to_string());
        let user = plan(&policy(name, "allow_degraded = [\"cgroup\"]"), &Host::made_user()).unwrap();
        golden(&format!("plan-{name}-user-degraded.txt"), &user.to_string());
        let v2 = plan(&policy(name, ""), &made_v2()).unwrap();
        golden(&format!("plan-{name}-root-v2.txt"), &v2.to_string());
    }
}

/// An ordinary caller with somewhere to put temporary files.
fn made_for_landlock() -> Host {
    let mut host = Host::made_user();
    let crate::host::Files::Made(files) = &mut host.files else { panic!("made hosts have made files") };
    files.insert("/tmp".into(), crate::host::Kind::Dir);
    host
}

const WITHOUT_NAMESPACES: &str = "isolation = \"landlock\"\nallow_degraded = [\"cgroup\", \"landlock\"]";

#[test]
fn the_isolation_landlock_has_a_golden_plan() {
    for name in ["strict", "build"] {
        let plan = plan(&policy(name, WITHOUT_NAMESPACES), &made_for_landlock()).unwrap();
        golden(&format!("plan-{name}-user-landlock.txt"), &plan.to_string());
    }
}

#[test]
fn the_isolation_landlock_is_refused_where_it_cannot_be_kept() {
    let policy = policy("strict", WITHOUT_NAMESPACES);
    for abi in [1, 3, 4, 5] {
        let mut host = made_for_landlock();
        host.landlock = Ok(abi);
        let error = plan(&policy, &host).unwrap_err();
        assert!(error.to_string().contains("needs ABI 6"), "{error}");
    }
    for (landlock, works) in [(Ok(6), true), (Ok(8), true), (Ok(9), true), (Err(libc::ENOSYS), false)] {
        let mut host = made_for_landlock();
        host.landlock = landlock;
        assert_eq!(plan(&policy, &host).is_ok(), works, "{landlock:?}");
    }
    let error = plan(&policy, &Host::made()).unwrap_err();
    assert!(error.to_string().starts_with("ids cannot be enforced here"), "{error}");
    // The private directory would be part of what is shown.
    let mut host = made_for_landlock();
    host.caller.env.insert("TMPDIR".into(), "/project".into());
    let error = plan(&policy, &host).unwrap_err();
    assert!(error.to_string().contains("/project/jail-1-2-3 would be in /project"), "{error}");
}

#[test]
fn verify_refuses_a_domain_that_would_kill_others() {
    let make = || plan(&policy("strict", WITHOUT_NAMESPACES), &made_for_landlock()).unwrap();
    let without = |gone: fn(&Op) -> bool| {
        let mut plan = make();
        let at = plan.init.iter().position(gone).unwrap();
        plan.init.remove(at);
        plan.verify()
    };
    assert_eq!(make().verify(), Ok(()));
    assert_eq!(without(|op| matches!(op, Op::ExpectScoped)), Err("nobody saw that signals stay within"));
    assert_eq!(without(|op| matches!(op, Op::LandlockRestrict)), Err("signals are said to stay within before they do"));
    assert_eq!(without(|op| matches!(op, Op::KillAll)), Err("init does not end by killing what is left"));
    assert_eq!(without(|op| matches!(op, Op::BecomeReaper)), Err("init does not become a reaper once"));
}

#[test]
fn a_layer_that_cannot_be_had_stops_the_run_unless_given_up_by_name() {
    let error = plan(&policy("strict", ""), &Host::made_user()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(error.to_string(), "cgroup.memory cannot be enforced here: no group can be made: EACCES");
    assert!(error.hint().unwrap().ends_with("--allow-degraded cgroup"), "{:?}", error.hint());

    let mut host = Host::made();
    host.landlock = Err(libc::ENOSYS);
    let error = plan(&policy("strict", ""), &host).unwrap_err();
    assert_eq!(
        error.to_string(),
        "landlock cannot be enforced here: this kernel has no Landlock, or a container's filter hides it"
    );
    assert!(error.hint().unwrap().ends_with("or go without by name: --allow-degraded landlock"), "{:?}", error.hint());
    let without = plan(&policy("strict", "allow_degraded = [\"landlock\"]"), &host).unwrap();
    assert!(!without.payload.iter().any(|op| matches!(op, Op::LandlockRestrict)));
    assert!(matches!(without.fates.get(&Layer::Landlock), Some(Fate::GivenUp { .. })));
}

#[test]
fn a_layer_that_can_be_had_is_applied_although_it_was_given_up() {
    let given_up = plan(&policy("strict", "allow_degraded = [\"cgroup\", \"landlock\", \"seccomp\"]"), &Host::made());
    let plain = plan(&policy("strict", ""), &Host::made()).unwrap();
    assert_eq!(given_up.unwrap().to_string(), plain.to_string());
}

#[test]
fn a_process_alone_in_its_group_makes_room_before_controllers_are_enabled() {
    let mut host = made_v2();
    for (controller, home) in &mut host.cgroups {
        let home = home.as_mut().unwrap();
        (home.enable, home.make_room) = (vec![*controller], true);
    }

    let plan = plan(&policy("strict", ""), &host).unwrap();

    let first: Vec<&HostOp> = plan.supervisor.iter().map(|step| &step.op).take(2).collect();
    let [HostOp::MoveSelf { dir }, HostOp::SetLimit { file, .. }] = first[..] else { panic!("{first:?}") };
    assert_eq!(dir, Path::new("/sys/fs/cgroup/user.slice/jail-leaf"));
    assert_eq!(file, Path::new("/sys/fs/cgroup/user.slice/cgroup.subtree_control"));
}

#[test]
fn without_clone3_the_child_joins_its_v2_group_and_forgets_the_callers_handlers() {
    let mut host = made_v2();
    host.clone3 = false;

    let plan = plan(&policy("strict", ""), &host).unwrap();

    let joined: Vec<String> = plan
        .init
        .iter()
        .filter_map(|op| if let Op::JoinCgroup { file } = op { Some(plan.str(*file)) } else { None })
        .collect();
    assert_eq!(joined, ["/sys/fs/cgroup/user.slice/jail-1-2-3/cgroup.procs"]);
    let clone = plan.supervisor.iter().find_map(|step| {
        if let HostOp::Clone { start, into, .. } = &step.op { Some((*start, into.clone())) } else { None }
    });
    assert_eq!(clone, Some((Start::Clone, None)));
    assert!(plan.payload.contains(&Op::ResetSignals { signals: ALL_SIGNALS }));
}

#[test]
fn init_says_that_its_network_is_there_where_somebody_counts() {
    let (terms, host, command) = (Terms::new(policy("strict", "")).unwrap(), Host::made(), Command::new("python3"));
    let told = |counted| Plan::new(&terms, &host, &command, &RunName { counted, ..run_name() }).unwrap();

    assert!(!told(false).tells_network());
    let told = told(true);
    let network = told.init.iter().position(|op| *op == Op::UnshareNet).unwrap();
    assert_eq!(told.init.get(network + 1), Some(&Op::TellNetwork));
    assert!(told.tells_network());
}

#[test]
fn what_is_the_callers_below_a_system_tree_may_not_be_truncated_either() {
    let mut host = Host::made();
    if let crate::host::Files::Made(files) = &mut host.files {
        files.insert("/data".into(), crate::host::Kind::Dir);
    }
    let usr = |patch: &str| {
        let plan = plan(&policy("strict", patch), &host).unwrap();
        let rule = |op: &Op| {
            let Op::LandlockAllow { path, access } = op else { return None };
            (plan.str(*path) == "/usr").then_some(*access)
        };
        plan.payload.iter().find_map(rule).unwrap()
    };

    let rights = landlock::Rights::new(7);
    let plain = rights.of(crate::policy::Access::Rx, true);
    assert_eq!(usr(""), rights.system());
    assert_eq!(usr("[fs]\nro = [\"/data:/elsewhere\"]"), rights.system());
    assert_eq!(usr("[fs]\nro = [\"/data:/usr/lib\"]"), plain);
    assert_ne!(plain, rights.system());
}

#[test]
fn the_hosts_network_needs_a_landlock_that_scopes_abstract_sockets() {
    let net = policy("strict", "[net]\nmode = \"host\"");
    let given_up = policy("strict", "allow_degraded = [\"landlock\"]\n[net]\nmode = \"host\"");
    let mut host = Host::made();
    for abi in [1, 3, 4, 5] {
        host.landlock = Ok(abi);
        let error = plan(&net, &host).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "ABI {abi}");
        assert!(plan(&policy("strict", ""), &host).is_ok(), "ABI {abi}: an own network needs no scope");
        let weaker = plan(&given_up, &host).unwrap();
        assert!(matches!(weaker.fates.get(&Layer::Landlock), Some(Fate::InPart { .. })), "ABI {abi}");
        assert!(weaker.payload.contains(&Op::LandlockRestrict), "ABI {abi}: what there is of it is used");
    }
    for abi in [6, 8, 9] {
        host.landlock = Ok(abi);
        let plan = plan(&net, &host).unwrap();
        assert!(matches!(plan.fates.get(&Layer::Landlock), Some(Fate::Applied { .. })), "ABI {abi}");
    }
}

#[test]
fn nobody_becomes_the_hosts_root() {
    let mut host = Host::made();
    host.jail_ids = (0, 0);
    assert!(plan(&policy("strict", ""), &host).unwrap_err().to_string().contains("no other id to give"));
    // The host's root under another id of its user namespace.
    (host.uid, host.gid, host.jail_ids) = (7, 7, (64512, 1024));
    assert!(plan(&policy("strict", ""), &host).unwrap_err().to_string().contains("no other id to give"));
    // Root of a container that has no id but its own, an ordinary user's on the host.
    (host.uid, host.gid, host.is_root, host.jail_ids) = (0, 0, false, (0, 0));
    let plan = plan(&policy("strict", ""), &host).unwrap();
    let map = ids::IdMap { uid: 0, gid: 0, privileged: false };
    assert!(plan.supervisor.iter().any(|step| step.op == HostOp::WriteMaps { map }));
}

#[test]
fn a_newer_landlock_than_we_know_is_said_to_be_used_as_the_newest_known() {
    let mut host = Host::made();
    host.landlock = Ok(landlock::NEWEST + 1);

    let plan = plan(&policy("strict", ""), &host).unwrap();

    let Some(Fate::Applied { detail, .. }) = plan.fates.get(&Layer::Landlock) else { panic!("given up") };
    assert_eq!(detail, "ABI 12, used as 11");
}

#[test]
fn verify_refuses_a_wrong_order() {
    let make = || plan(&policy("strict", ""), &Host::made()).unwrap();
    assert_eq!(make().verify(), Ok(()));
    let at = |ops: &[Op], is: fn(&Op) -> bool| ops.iter().position(is).unwrap();
    type Break = fn(&mut Plan, &dyn Fn(&[Op], fn(&Op) -> bool) -> usize);
    let breaks: [(Break, &str); 9] = [
        (
            |plan, at| {
                let seccomp = at(&plan.payload, |op| matches!(op, Op::SetFilter { .. }));
                plan.payload.insert(seccomp + 1, Op::NewSession);
            },
            "something but exec comes after the filter",
        ),
        (
            |plan, at| {
                let caps = at(&plan.init, |op| matches!(op, Op::DropCaps));
                plan.init.swap(caps, caps - 1);
            },
            "a step needs a capability that is gone",
        ),
        (
            |plan, _| {
                let again = plan.init.iter().rposition(|op| matches!(op, Op::DieWithParent)).unwrap();
                plan.init.remove(again);
            },
            "the parent-death signal is lost with the change of ids",
        ),
        (
            |plan, at| {
                let detach = at(&plan.init, |op| matches!(op, Op::DetachOldRoot));
                plan.init.remove(detach);
            },
            "the old root is not detached once",
        ),
        (
            |plan, at| {
                let undumpable = at(&plan.init, |op| matches!(op, Op::Undumpable));
                plan.init.swap(undumpable, undumpable + 1);
            },
            "init is dumpable when the payload is there",
        ),
        (
            |plan, at| {
                let restrict = at(&plan.payload, |op| matches!(op, Op::LandlockRestrict));
                plan.payload.remove(restrict);
            },
            "a Landlock ruleset is made and not enforced",
        ),
        (|plan, _| plan.filters = Arc::default(), "a filter is empty"),
        (
            |plan, _| {
                let release = plan.supervisor.len() - 1;
                plan.supervisor.swap(release, release - 1);
            },
            "the child is released before its maps are written",
        ),
        (
            |plan, at| {
                let filter = at(&plan.init, |op| matches!(op, Op::SetFilter { .. }));
                plan.init.swap(filter, filter + 1);
            },
            "the payload may go before init is shut in",
        ),
    ];
    for (break_it, broken) in breaks {
        let mut plan = make();
        break_it(&mut plan, &at);
        assert_eq!(plan.verify(), Err(broken));
    }
}

mod random {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever a policy says, its plan is in order, or there is none.
        #[test]
        fn plans_of_random_settings_are_in_order(settings in crate::profile::tests::settings(), user: bool, v2: bool) {
            let mut profile = Profile::builtin("strict").unwrap();
            if let Ok(patch) = Profile::from_settings(settings) {
                profile.merge(patch);
            }
            let Ok(policy) = Policy::new(&profile) else { return Ok(()) };
            let host = if user { Host::made_user() } else if v2 { made_v2() } else { Host::made() };
            if let Ok(plan) = plan(&policy, &host) {
                prop_assert_eq!(plan.verify(), Ok(()));
            }
        }
    }
}
