//! Remedies: why a step was refused, and what to do about it on this machine.
//!
//! For: from a step, an error number and facts to one sentence and a few lines to type. Each remedy gives away as
//! little as possible: never `--privileged`, never a protection of everybody's for the sake of one program.
//! Not for: trying anything, or doing what it says.
//! Runs in: the supervisor.

use serde::{Deserialize, Serialize};

use crate::error::describe_errno;
use crate::policy::Policy;
use crate::sandbox::plan::trial::Thing;
use crate::sandbox::supervisor::trial::{At, Refused};

use super::Check;
use super::facts::{Container, Facts, Family};

/// Where a remedy is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// On this machine, by root.
    Host,
    /// In how `jail` is started.
    Jail,
    /// In the options of `docker run`.
    Docker,
    /// In the options of `podman run`.
    Podman,
    /// In the pod's specification.
    Kubernetes,
    /// In the unit that starts this.
    Systemd,
}

impl Place {
    /// The name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host => "here",
            Self::Jail => "jail",
            Self::Docker => "Docker",
            Self::Podman => "Podman",
            Self::Kubernetes => "Kubernetes",
            Self::Systemd => "systemd",
        }
    }
}

/// One way out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remedy {
    /// Where.
    pub place: Place,
    /// What it does, in one sentence.
    pub what: String,
    /// What to type or write there.
    pub lines: Vec<String>,
}

fn remedy<const N: usize>(place: Place, what: &str, lines: [&str; N]) -> Remedy {
    Remedy { place, what: what.to_owned(), lines: lines.map(str::to_owned).to_vec() }
}

/// The cause, as far as the facts tell, and what to do.
pub(super) fn explain(check: Check, refused: &Refused, facts: &Facts, policy: &Policy) -> (String, Vec<Remedy>) {
    let errno = refused.errno.unwrap_or(0);
    match check {
        Check::Group(_) => group(refused, facts),
        Check::OwnTree | Check::IdMap => id_map(errno, facts),
        Check::Child(_) if refused.at == At::Gone => (
            "the child was killed on the way: by the system call filter of whoever started this, most likely"
                .to_owned(),
            filter(facts),
        ),
        Check::Child(Thing::Landlock) => landlock(errno, facts),
        Check::Child(Thing::Listener) => listener(errno),
        Check::Child(Thing::Overlay) => overlay(errno, facts),
        Check::Child(Thing::Proc) if errno == libc::EPERM => proc(facts),
        Check::Child(Thing::Seccomp) if errno == libc::EINVAL => (
            "this kernel was built without system call filters".to_owned(),
            vec![remedy(Place::Host, "use a kernel with CONFIG_SECCOMP_FILTER=y", [])],
        ),
        Check::Child(Thing::Pivot) if errno == libc::EINVAL => (
            "the root is the kernel's initial one, which nobody can leave by pivot_root".to_owned(),
            vec![remedy(Place::Host, "move to another root early at boot", ["switch_root /newroot /sbin/init"])],
        ),
        Check::Child(thing) => namespace(thing, refused.at, errno, facts, policy),
    }
}

/// User namespaces, and what their capabilities are for.
fn namespace(thing: Thing, at: At, errno: i32, facts: &Facts, policy: &Policy) -> (String, Vec<Remedy>) {
    if let (libc::ENOSPC, Some((name, limit))) = (errno, &facts.namespaces_limit) {
        let cause = if *limit < 8 {
            format!("{name} is {limit}: no more namespaces may be made")
        } else {
            "so many namespaces exist, or lie inside each other, as may".to_owned()
        };
        return (cause, vec![sysctl(facts, name, "15000")]);
    }
    match errno {
        libc::ENOSYS if facts.filtered => {
            ("a system call filter hides the call; it came with whoever started this".to_owned(), filter(facts))
        }
        libc::ENOSYS => (
            format!("Linux {} does not know the call", facts.kernel),
            vec![remedy(Place::Host, "use Linux 5.12 or later", [])],
        ),
        libc::EINVAL if at == At::Clone || matches!(thing, Thing::Net | Thing::Cgroup) => (
            "this kernel was built without that kind of namespace".to_owned(),
            vec![remedy(Place::Host, "use a kernel with CONFIG_USER_NS, CONFIG_PID_NS and CONFIG_NET_NS", [])],
        ),
        libc::EAGAIN => (
            "the caller has as many processes as it may".to_owned(),
            vec![remedy(Place::Host, "raise the limit on processes", ["ulimit -u 4096"])],
        ),
        libc::EPERM | libc::EACCES => refused(thing, at, facts),
        _ => (format!("{} is not an answer that is expected here", describe_errno(errno)), unknown(policy)),
    }
}

fn unknown(policy: &Policy) -> Vec<Remedy> {
    let line = format!("jail plan --profile {} true", policy.name);
    vec![Remedy { place: Place::Jail, what: "please report it, with the output of".to_owned(), lines: vec![line] }]
}

/// EPERM and EACCES: which of those who can say no it was.
fn refused(thing: Thing, at: At, facts: &Facts) -> (String, Vec<Remedy>) {
    if facts.apparmor_restricts == Some(1) && facts.uid != 0 {
        return (
            "AppArmor takes the capabilities of user namespaces from programs without a profile for them \
             (kernel.apparmor_restrict_unprivileged_userns = 1)"
                .to_owned(),
            vec![apparmor_profile(facts)],
        );
    }
    if facts.userns_clone == Some(0) && facts.uid != 0 {
        return (
            "ordinary users may not make user namespaces (kernel.unprivileged_userns_clone = 0)".to_owned(),
            vec![sysctl(facts, "kernel.unprivileged_userns_clone", "1")],
        );
    }
    if facts.chrooted && at == At::Clone {
        return (
            "the kernel makes no user namespaces for who was put here by chroot".to_owned(),
            vec![remedy(
                Place::Host,
                "enter the tree by something that uses pivot_root instead of chroot",
                ["systemd-nspawn -D DIRECTORY", "bwrap --bind DIRECTORY / --dev /dev --proc /proc sh"],
            )],
        );
    }
    if at == At::Maps && facts.uid == 0 {
        return (
            "this root may not map other ids: it lacks CAP_SETUID or CAP_SETGID".to_owned(),
            vec![
                remedy(Place::Docker, "run jail as an ordinary user, which needs neither", ["--user 1000:1000"]),
                remedy(Place::Podman, "run jail as an ordinary user, which needs neither", ["--user 1000:1000"]),
                remedy(
                    Place::Kubernetes,
                    "run jail as an ordinary user, which needs neither",
                    ["securityContext: {runAsUser: 1000, runAsNonRoot: true}"],
                ),
            ],
        );
    }
    let mounts = matches!(thing, Thing::Mount | Thing::Tmpfs | Thing::Bind | Thing::Pivot | Thing::Pty);
    if let (true, Some(label)) = (mounts, &facts.label) {
        return (format!("a security module forbids mounts to what it calls {label}"), label_allows_mounts());
    }
    if facts.filtered {
        return (
            "a system call filter refuses it; it came with whoever started this: a container engine or a unit"
                .to_owned(),
            filter(facts),
        );
    }
    let what = "see what refused it: the last lines of the kernel's log, and of SELinux or AppArmor";
    (
        "the kernel or a security module of it forbids this to the caller".to_owned(),
        vec![remedy(Place::Host, what, ["dmesg | tail", "ausearch -m avc -ts recent"])],
    )
}

/// A filter in force cannot be taken off: whoever set it has to let these calls through.
fn filter(facts: &Facts) -> Vec<Remedy> {
    let what = "let the calls through that make namespaces and mounts; without capabilities they work in a user \
                namespace alone (docs/containers.md says how the file is made)";
    let mut remedies = engines(
        facts,
        remedy(Place::Docker, what, ["--security-opt seccomp=jail-seccomp.json"]),
        remedy(Place::Podman, what, ["--security-opt seccomp=jail-seccomp.json"]),
        remedy(
            Place::Kubernetes,
            what,
            ["securityContext: {seccompProfile: {type: Localhost, localhostProfile: jail-seccomp.json}}"],
        ),
    );
    if facts.container.is_none() && facts.systemd {
        remedies.push(remedy(
            Place::Systemd,
            "in a unit, take these settings out or widen them",
            ["RestrictNamespaces=no", "SystemCallFilter=@system-service @mount"],
        ));
    }
    remedies
}

/// The remedies of the engine that this is, or of all three where it does not show.
fn engines(facts: &Facts, docker: Remedy, podman: Remedy, kubernetes: Remedy) -> Vec<Remedy> {
    match facts.container {
        Some(Container::Docker) => vec![docker],
        Some(Container::Podman) => vec![podman],
        Some(Container::Kubernetes) => vec![kubernetes],
        Some(Container::Other) | None => vec![docker, podman, kubernetes],
    }
}

fn label_allows_mounts() -> Vec<Remedy> {
    let what = "run the container under a profile that allows mounts in its own namespaces";
    vec![
        remedy(Place::Docker, what, ["--security-opt apparmor=jail-container"]),
        remedy(Place::Podman, what, ["--security-opt apparmor=jail-container"]),
        remedy(
            Place::Kubernetes,
            what,
            ["securityContext: {appArmorProfile: {type: Localhost, localhostProfile: jail-container}}"],
        ),
    ]
}

fn proc(facts: &Facts) -> (String, Vec<Remedy>) {
    let Some(first) = facts.covered.first() else {
        return (
            "this /proc does not show everything, and the kernel lets nobody mount a new one who cannot see all of \
             the old"
                .to_owned(),
            vec![remedy(
                Place::Host,
                "mount a /proc without options, in this PID namespace",
                ["mount -t proc proc /proc"],
            )],
        );
    };
    let more = match facts.covered.len() {
        1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    let what = "leave /proc as it is; the jail's own then hides more than that did";
    (
        format!("{first}{more} is covered, and the kernel lets nobody mount a new /proc who cannot see all of the old"),
        engines(
            facts,
            remedy(Place::Docker, what, ["--security-opt systempaths=unconfined"]),
            remedy(Place::Podman, what, ["--security-opt unmask=/proc/*"]),
            remedy(Place::Kubernetes, what, ["spec: {hostUsers: false}", "securityContext: {procMount: Unmasked}"]),
        ),
    )
}

fn apparmor_profile(facts: &Facts) -> Remedy {
    let program = facts.program.display();
    Remedy {
        place: Place::Host,
        what: "give jail, and nobody else, a profile that allows them (it is in the repository)".to_owned(),
        lines: vec![
            format!("sed 's,/usr/local/bin/jail,{program},' contrib/apparmor/jail > /etc/apparmor.d/jail"),
            "apparmor_parser -r /etc/apparmor.d/jail".to_owned(),
        ],
    }
}

/// A switch, now and for good.
fn sysctl(facts: &Facts, name: &str, value: &str) -> Remedy {
    let load = match facts.family {
        Family::Alpine => "rc-update add sysctl boot && rc-service sysctl restart",
        Family::Debian | Family::Ubuntu | Family::Fedora | Family::Arch | Family::Suse | Family::Other => {
            "sysctl --system"
        }
    };
    Remedy {
        place: Place::Host,
        what: "as root, now and after every boot".to_owned(),
        lines: vec![format!("echo '{name} = {value}' > /etc/sysctl.d/60-jail.conf"), load.to_owned()],
    }
}

fn landlock(errno: i32, facts: &Facts) -> (String, Vec<Remedy>) {
    let go_without = remedy(
        Place::Jail,
        "go without it by name: the mounts and namespaces stand alone",
        ["jail --allow-degraded landlock …"],
    );
    let old = facts.kernel_version().is_some_and(|version| version < (5, 13));
    match errno {
        libc::EOPNOTSUPP => {
            let before = facts.lsm.as_deref().filter(|list| !list.is_empty());
            let list = before.map_or_else(|| "landlock,yama,…".to_owned(), |list| format!("landlock,{list}"));
            (
                "Landlock is built in, but not switched on at boot".to_owned(),
                vec![kernel_parameter(facts, &format!("lsm={list}")), go_without],
            )
        }
        libc::ENOSYS if old => (
            format!("Linux {} has no Landlock; it came with 5.13", facts.kernel),
            vec![newer_kernel(facts), go_without],
        ),
        libc::ENOSYS | libc::EPERM if facts.filtered => {
            let mut remedies = filter(facts);
            remedies.push(go_without);
            ("the system call filter of whoever started this does not know Landlock".to_owned(), remedies)
        }
        libc::ENOSYS => (
            "this kernel was built without Landlock".to_owned(),
            vec![remedy(Place::Host, "use a kernel with CONFIG_SECURITY_LANDLOCK=y", []), go_without],
        ),
        _ => (format!("the kernel refuses Landlock: {}", describe_errno(errno)), vec![go_without]),
    }
}

fn newer_kernel(facts: &Facts) -> Remedy {
    match facts.family {
        Family::Debian => {
            let line = "apt install -t bookworm-backports linux-image-amd64";
            remedy(Place::Host, "install a newer kernel", [line])
        }
        Family::Ubuntu => remedy(Place::Host, "install a newer kernel", ["apt install linux-generic-hwe-22.04"]),
        Family::Fedora => remedy(Place::Host, "install a newer kernel", ["dnf upgrade kernel"]),
        Family::Arch => remedy(Place::Host, "install a newer kernel", ["pacman -Syu linux"]),
        Family::Alpine => remedy(Place::Host, "install a newer kernel", ["apk add linux-lts"]),
        Family::Suse => remedy(Place::Host, "install a newer kernel", ["zypper install kernel-default"]),
        Family::Other => remedy(Place::Host, "install a newer kernel", []),
    }
}

/// How this distribution adds a parameter to the kernel's command line.
fn kernel_parameter(facts: &Facts, parameter: &str) -> Remedy {
    let grub = format!("in /etc/default/grub: GRUB_CMDLINE_LINUX=\"… {parameter}\"");
    let lines = match facts.family {
        Family::Fedora => vec![format!("grubby --update-kernel=ALL --args=\"{parameter}\"")],
        Family::Alpine => {
            vec![
                format!("in /etc/update-extlinux.conf: default_kernel_opts=\"… {parameter}\""),
                "update-extlinux".into(),
            ]
        }
        Family::Debian | Family::Ubuntu => vec![grub, "update-grub".to_owned()],
        Family::Arch | Family::Suse | Family::Other => vec![grub, "grub-mkconfig -o /boot/grub/grub.cfg".to_owned()],
    };
    Remedy { place: Place::Host, what: "add it to the kernel's command line, and reboot".to_owned(), lines }
}

fn listener(errno: i32) -> (String, Vec<Remedy>) {
    let cause = match errno {
        libc::EBUSY => "a filter outside this one has a listener already, and there can be one alone".to_owned(),
        libc::EINVAL => "this kernel knows no listeners; they came with Linux 5.0".to_owned(),
        _ => describe_errno(errno),
    };
    (cause, Vec::new())
}

fn overlay(errno: i32, facts: &Facts) -> (String, Vec<Remedy>) {
    match errno {
        libc::ENODEV => (
            "the overlay module is not loaded".to_owned(),
            vec![remedy(Place::Host, "as root", ["modprobe overlay", "echo overlay > /etc/modules-load.d/jail.conf"])],
        ),
        libc::EPERM if facts.kernel_version().is_some_and(|version| version < (5, 11)) => {
            ("ordinary users can mount overlays since Linux 5.11".to_owned(), vec![newer_kernel(facts)])
        }
        _ => (format!("the kernel refuses it: {}", describe_errno(errno)), Vec::new()),
    }
}

fn id_map(errno: i32, facts: &Facts) -> (String, Vec<Remedy>) {
    let ordinary = remedy(
        Place::Jail,
        "or run jail as an ordinary user, who needs no id map",
        ["setpriv --reuid 1000 --regid 1000 --clear-groups jail …"],
    );
    match errno {
        libc::EPERM if facts.in_container() => {
            let what = "run jail as an ordinary user, who needs no mounts outside its own namespaces";
            (
                "this root may not mount: it has no CAP_SYS_ADMIN, as in a container".to_owned(),
                engines(
                    facts,
                    remedy(Place::Docker, what, ["--user 1000:1000"]),
                    remedy(Place::Podman, what, ["--user 1000:1000"]),
                    remedy(Place::Kubernetes, what, ["securityContext: {runAsUser: 1000, runAsNonRoot: true}"]),
                ),
            )
        }
        _ => (
            "the file system of the current directory cannot be shown under other ids".to_owned(),
            vec![
                remedy(
                    Place::Host,
                    "work on a file system that can: ext4, xfs, btrfs, tmpfs (Linux 6.3)",
                    ["cp -a . /var/tmp/work && cd /var/tmp/work"],
                ),
                ordinary,
                remedy(Place::Jail, "or show it as it is, by name", ["jail --allow-degraded ids …"]),
            ],
        ),
    }
}

/// No cgroup that the caller may use.
fn group(refused: &Refused, facts: &Facts) -> (String, Vec<Remedy>) {
    let go_without = remedy(
        Place::Jail,
        "or go without by name: limits are then per process, or sampled",
        ["jail --allow-degraded cgroup …"],
    );
    let cause = refused.what.clone();
    let mut remedies = if facts.in_container() && (facts.cgroup_read_only || !facts.systemd) {
        let what = "make the container's own cgroup writable (its limits stay the engine's), and start with \
                    contrib/containers/as-user";
        engines(
            facts,
            remedy(Place::Docker, what, ["--cgroupns private --security-opt writable-cgroups=true"]),
            remedy(Place::Podman, what, ["--cgroupns private --security-opt unmask=/sys/fs/cgroup"]),
            remedy(
                Place::Kubernetes,
                "on containerd 2.1 or later: a runtime class whose runtime has this setting",
                ["cgroup_writable = true"],
            ),
        )
    } else if facts.systemd && facts.uid != 0 {
        vec![
            remedy(
                Place::Systemd,
                "run in a scope of your own, which systemd gives away to you",
                ["systemd-run --user --scope -p Delegate=yes jail …"],
            ),
            Remedy {
                place: Place::Host,
                what: "if you have no systemd of your own, as after su or in a cron job: as root, once".to_owned(),
                lines: vec![format!("loginctl enable-linger {}", facts.uid)],
            },
            remedy(
                Place::Host,
                "if that scope lacks the controller: as root, once, then log in again",
                [
                    "mkdir -p /etc/systemd/system/user@.service.d",
                    "printf '[Service]\\nDelegate=cpu memory pids\\n' > /etc/systemd/system/user@.service.d/jail.conf",
                    "systemctl daemon-reload",
                ],
            ),
        ]
    } else if facts.systemd {
        vec![remedy(
            Place::Systemd,
            "run in a scope that systemd leaves to its processes",
            ["systemd-run --scope -p Delegate=yes jail …"],
        )]
    } else {
        vec![by_hand(facts)]
    };
    remedies.push(go_without);
    (cause, remedies)
}

/// Without systemd, root gives groups away.
fn by_hand(facts: &Facts) -> Remedy {
    let mut lines = Vec::new();
    let mut tops = facts.v1.join(" ");
    if tops.is_empty() {
        if facts.family == Family::Alpine {
            lines.push("echo 'rc_cgroup_mode=\"unified\"' >> /etc/rc.conf; rc-service cgroups restart".to_owned());
        }
        lines.push("echo '+cpu +memory +pids' > /sys/fs/cgroup/cgroup.subtree_control".to_owned());
        "/sys/fs/cgroup".clone_into(&mut tops);
    }
    lines.push(format!("for top in {tops}; do"));
    lines.push(format!("  mkdir -p $top/jail; chown -R {} $top/jail; echo PID > $top/jail/cgroup.procs", facts.uid));
    lines.push("done".to_owned());
    let what = "as root, put the caller's shell, PID, into groups of its own";
    Remedy { place: Place::Host, what: what.to_owned(), lines }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Profile;

    fn at(at: At, errno: i32) -> Refused {
        Refused { at, what: "x".to_owned(), errno: Some(errno) }
    }

    fn said(check: Check, refused: &Refused, facts: &Facts) -> (String, Vec<Remedy>) {
        explain(check, refused, facts, &Policy::new(&Profile::builtin("strict").unwrap()).unwrap())
    }

    #[test]
    fn each_way_to_forbid_user_namespaces_has_its_own_remedy() {
        let user = Check::Child(Thing::User);
        let none = Facts::made(Family::Debian);
        let clone = at(At::Clone, libc::EPERM);
        let text = |facts: &Facts, refused: &Refused| format!("{:?}", said(user, refused, facts));

        let ubuntu = Facts { apparmor_restricts: Some(1), ..Facts::made(Family::Ubuntu) };
        assert!(text(&ubuntu, &clone).contains("/etc/apparmor.d/jail"));
        // The switch is not for root.
        assert!(!text(&Facts { uid: 0, ..ubuntu }, &clone).contains("apparmor.d"));
        let debian = Facts { userns_clone: Some(0), ..none.clone() };
        assert!(text(&debian, &clone).contains("kernel.unprivileged_userns_clone = 1"));
        let chroot = Facts { chrooted: true, ..none.clone() };
        assert!(text(&chroot, &clone).contains("systemd-nspawn"));
        let limit = Facts { namespaces_limit: Some(("user.max_user_namespaces".to_owned(), 0)), ..none.clone() };
        assert!(text(&limit, &at(At::Clone, libc::ENOSPC)).contains("user.max_user_namespaces = 15000"));
        let filtered = Facts { filtered: true, ..none };
        let places: Vec<Place> = said(user, &clone, &filtered).1.into_iter().map(|remedy| remedy.place).collect();
        assert_eq!(places, [Place::Docker, Place::Podman, Place::Kubernetes, Place::Systemd]);
        let podman = Facts { container: Some(Container::Podman), ..filtered };
        let places: Vec<Place> = said(user, &clone, &podman).1.into_iter().map(|remedy| remedy.place).collect();
        assert_eq!(places, [Place::Podman]);
    }

    #[test]
    fn words_differ_where_distributions_do() {
        let landlock = Check::Child(Thing::Landlock);
        let off = at(At::Step, libc::EOPNOTSUPP);
        for (family, tool) in [
            (Family::Debian, "update-grub"),
            (Family::Ubuntu, "update-grub"),
            (Family::Fedora, "grubby"),
            (Family::Arch, "grub-mkconfig"),
            (Family::Alpine, "update-extlinux"),
        ] {
            let facts = Facts::made(family);
            let text = format!("{:?}", said(landlock, &off, &facts));
            assert!(text.contains(tool) && text.contains("lsm=landlock,lockdown"), "{family:?}: {text}");
        }
        let old = Facts { kernel: "5.10.0".to_owned(), ..Facts::made(Family::Arch) };
        assert!(format!("{:?}", said(landlock, &at(At::Step, libc::ENOSYS), &old)).contains("pacman"));
    }

    #[test]
    fn no_remedy_gives_everything_away() {
        let refusals = [libc::EPERM, libc::EACCES, libc::ENOSYS, libc::ENOSPC, libc::EINVAL, libc::EOPNOTSUPP, 0];
        let things = [Thing::Clone, Thing::User, Thing::Ids, Thing::Mount, Thing::Proc, Thing::Landlock, Thing::Pivot];
        let checks = things.map(Check::Child).into_iter().chain([
            Check::OwnTree,
            Check::IdMap,
            Check::Group(crate::policy::Layer::CgroupPids),
        ]);
        let mut seen = 0;
        for check in checks {
            for errno in refusals {
                for place in [At::Clone, At::Maps, At::Step, At::Gone] {
                    for container in [None, Some(Container::Docker), Some(Container::Other)] {
                        for uid in [0, 1000] {
                            let facts = Facts {
                                container,
                                uid,
                                filtered: container.is_some(),
                                covered: container.map(|_| "/proc/keys".to_owned()).into_iter().collect(),
                                ..Facts::made(Family::Other)
                            };
                            let (cause, remedies) = said(check, &at(place, errno), &facts);
                            assert!(!cause.is_empty() && !remedies.is_empty(), "{check:?} {errno} {place:?}");
                            let text = format!("{remedies:?}");
                            for all in
                                ["--privileged", "SYS_ADMIN", "seccomp=unconfined", "userns=0", "apparmor=unconfined"]
                            {
                                assert!(!text.contains(all), "{check:?} {errno}: {text}");
                            }
                            seen += 1;
                        }
                    }
                }
            }
        }
        assert_eq!(seen, 10 * 7 * 4 * 3 * 2);
    }
}
