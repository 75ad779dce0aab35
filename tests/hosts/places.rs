//! Hosts made of places and ids: masked /proc, read-only cgroups, chroot, noexec, file systems without id maps.
//!
//! For: what `jail` makes of each. Not for: calls that are refused (see `calls`).
//! Runs in: the test process, which as root makes private mount namespaces; an ordinary caller is made of it where
//! the host is about one.

use std::fs;

use super::*;

/// A shell line that goes on as an ordinary user of no name with a copy of `jail`, which that one can reach.
pub(super) fn as_nobody(jail: &Jail) -> String {
    let copy = jail.beside("jail");
    copy_program(&jail_binary(), &copy);
    format!("shift; exec setpriv --reuid 61234 --regid 61234 --clear-groups --inh-caps=-all {} \"$@\"", copy.display())
}

#[test]
fn host_without_delegation() {
    needs!(root);
    let jail = Jail::strictly().open_to_all();
    let go_on = as_nobody(&jail);
    let run = jail.through(shell(&go_on)).probe(["uid"]);
    refused_with_report(&run, "cgroup.memory", "permission denied", "Delegate=yes");
    assert!(run.err().contains("--allow-degraded cgroup"), "{run}");

    let jail = Jail::strictly().open_to_all();
    let go_on = as_nobody(&jail);
    let run = jail.through(shell(&go_on)).args(["--allow-degraded", "cgroup"]).probe(["uid"]);
    ran_without(&run, &CGROUP);
}

#[test]
fn host_with_read_only_cgroups() {
    needs!(root);
    needs!(cgroup);
    let script = "for point in $(awk '$3 ~ /^cgroup2?$/ { print $2 }' /proc/mounts); do \
                  mount -o remount,bind,ro $point; done; exec \"$@\"";
    let run = Jail::new().through(mounting(script)).probe(["uid"]);
    refused_with_report(&run, "cgroup.memory", "read-only file system", "--allow-degraded cgroup");

    let run = Jail::new().through(mounting(script)).args(["--allow-degraded", "cgroup"]).probe(["uid"]);
    ran_without(&run, &CGROUP);
}

#[test]
fn host_with_masked_proc() {
    needs!(root);
    let mask = "mount -t tmpfs none /proc/fs; ";
    // A whole /proc: one of processes alone is not held up by masks from Linux 7 on.
    let whole = ["--profile", "build", "--workspace-access", "read"];
    let run = Jail::new().args(whole).through(mounting(&format!("{mask} exec \"$@\""))).probe(["uid"]);
    refused_with_report(&run, "rootfs", "new proc", "systempaths=unconfined");

    let jail = Jail::new().open_to_all();
    let script = format!("{mask} {}", as_nobody(&jail));
    let run = jail.args(whole).args(["--allow-degraded", "cgroup"]).through(mounting(&script)).probe(["uid"]);
    refused_with_report(&run, "rootfs", "new proc", "procMount: Unmasked");
}

#[test]
fn host_with_no_room_for_namespaces() {
    // The limit is lowered in a user namespace of the test's own.
    let lower = "echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --ambient-caps=-all --inh-caps=-all \"$@\"";
    let mut host =
        ["/usr/bin/unshare", "--user", "--map-user=7", "--map-group=7", "--keep-caps"].map(str::to_owned).to_vec();
    if crate::support::is_root() {
        // As somebody else: the host's root is refused for another reason.
        host.splice(0..0, ["/usr/bin/setpriv", "--reuid=61234", "--regid=61234", "--clear-groups"].map(str::to_owned));
    }
    let jail = Jail::new().open_to_all();
    let copy = jail.beside("jail");
    copy_program(&jail_binary(), &copy);
    let positive = host.clone();
    host.extend(shell(&format!("shift; set -- {} \"$@\"; {lower}", copy.display())));
    let run = jail.args(["--allow-degraded", "cgroup"]).through(host).probe(["uid"]);
    refused_with_report(&run, "namespaces", "no space left", "user.max_user_namespaces");

    // The neighbour: the same caller with room.
    let jail = Jail::new().open_to_all();
    let copy = jail.beside("jail");
    copy_program(&jail_binary(), &copy);
    let mut host = positive;
    host.extend(shell(&format!("shift; exec setpriv --ambient-caps=-all --inh-caps=-all {} \"$@\"", copy.display())));
    let run = jail.args(["--allow-degraded", "cgroup"]).through(host).probe(["uid"]);
    // A user keeps the groups that were delegated; nobody was given any of root's.
    ran_without(&run, if crate::support::is_root() { &CGROUP } else { &[] });
}

#[test]
fn host_in_which_root_is_an_ordinary_user() {
    // A container without a range of ids: its root is the caller's id on the host, and no other id is there.
    needs!(root);
    let jail = Jail::new().open_to_all();
    let copy = jail.beside("jail");
    copy_program(&jail_binary(), &copy);
    let host = format!(
        "shift; exec setpriv --reuid 61234 --regid 61234 --clear-groups unshare --user --map-root-user {} \"$@\"",
        copy.display()
    );
    let run = jail.args(["--allow-degraded", "cgroup"]).through(shell(&host)).probe(["uid"]);

    ran_without(&run, &CGROUP);
    assert!(run.out().starts_with("ok uid=1000/1000 gid=1000/1000"), "{run}");
}

#[test]
fn host_root_without_another_id_is_refused() {
    needs!(root);
    for map in [["--map-root-user", "--map-root-user"], ["--map-user=7", "--map-group=7"]] {
        let host = ["/usr/bin/unshare", "--user", map[0], map[1]];
        let run = Jail::new().args(["--allow-degraded", "cgroup"]).through(host).probe(["uid"]);
        refused_with_report(&run, "ids", "the caller is the host's root", "range of ids");
    }
}

#[test]
fn host_that_is_a_chroot() {
    needs!(root);
    let jail = Jail::new();
    let root = jail.beside("root");
    fs::create_dir(&root).unwrap();
    let (root, work) = (root.display().to_string(), jail.workspace().display().to_string());
    let enter = format!("mount --rbind / {root}; exec chroot {root} /bin/sh -euc 'cd {work}; exec \"$@\"' sh \"$@\"");
    let run = jail.through(mounting(&enter)).probe(["uid"]);

    refused(&run, "namespaces", "operation not permitted", "chroot");
}

#[test]
fn host_with_a_noexec_tmp_gives_full_isolation() {
    needs!(root);
    // jail itself and the workspace may lie below /tmp, which is another now: the one is held open, the other left out.
    let script = "exec 3< \"$1\"; shift; cd /usr; mount -t tmpfs -o noexec none /tmp; exec /proc/self/fd/3 \"$@\"";
    let run = Jail::new().through(mounting(script)).arg("--no-workspace").without_report().run([
        "/bin/sh",
        "-c",
        "cp /bin/true /tmp/own && /tmp/own && echo ran",
    ]);

    assert_eq!((run.code, run.out().as_str()), (Some(0), "ran"), "the jail's own /tmp is for building too: {run}");
}

#[test]
fn host_with_a_noexec_workspace_says_so() {
    needs!(root);
    let jail = Jail::new();
    let work = jail.workspace().display().to_string();
    let script = format!("mount --bind {work} {work}; mount -o remount,bind,noexec {work}; cd {work}; exec \"$@\"");
    let run = jail.through(mounting(&script)).probe(["uid"]);

    assert_eq!(run.code, Some(126), "{run}");
    assert!(run.err().contains("mounted noexec on this machine"), "{run}");
    assert!(run.err().contains("hint: put it on another file system, or name its interpreter"), "{run}");
}

#[test]
fn host_without_id_mapped_mounts() {
    needs!(root);
    // ramfs cannot be id-mapped; the owner of what is on it is the caller.
    let script = |jail: &Jail| {
        let work = jail.workspace().display().to_string();
        let beside = jail.beside("copy").display().to_string();
        format!(
            "cp {work}/probe {beside}; mount -t ramfs none {work}; chmod 755 {work}; cp {beside} {work}/probe; \
             rm {beside}; cd {work}; exec \"$@\""
        )
    };
    // To be read it is shown as it is, which the posture says.
    let jail = Jail::new();
    let host = mounting(&script(&jail));
    let run = jail.through(host).probe(["uid"]);
    ran_in_full(&run);
    assert!(run.field("/posture/layers/ids/detail").as_str().unwrap().contains("shown without an id map"), "{run}");

    // To be written to it is refused, or given up by name.
    let jail = Jail::new().args(["--workspace-access", "write"]);
    let host = mounting(&script(&jail));
    let run = jail.through(host).probe(["uid"]);
    refused_with_report(&run, "ids", "cannot be id-mapped", "--allow-degraded ids");

    let jail = Jail::new().args(["--workspace-access", "write", "--allow-degraded", "ids"]);
    let host = mounting(&script(&jail));
    let run = jail.through(host).probe(["create", "new"]);
    // Honest to the end: the caller's directory is not the program's to write to.
    assert_eq!(run.out(), "errno EACCES", "{run}");
    ran_without(&run, &["ids"]);
}

#[test]
fn host_with_usable_everything_is_the_control() {
    assert_eq!(outside(["deny", "unshare=EPERM", "--", "/bin/echo", "through"]), "through");
    let run = Jail::new().through(denying(["prctl=ENOSYS"])).probe(["uid"]);
    assert_eq!(run.code, Some(125), "a filter is laid around jail, and felt inside: {run}");
    let run = Jail::new().through(denying([])).probe(["uid"]);
    ran_in_full(&run);
}
