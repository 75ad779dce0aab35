//! Facts about the surroundings that explain a refusal: the distribution, containers, filters, switches.
//!
//! For: telling which of the possible causes of an error it is, and wording the remedy for this machine.
//! Not for: deciding whether something works; that is tried.
//! Runs in: the supervisor.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The machine and the caller, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Name of the distribution.
    pub distribution: String,
    /// Kernel release.
    pub kernel: String,
    /// `x86_64`, `aarch64`.
    pub architecture: String,
    /// Effective uid of the caller.
    pub uid: u32,
    /// Which container this is, as far as it shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The caller is under a system call filter already.
    pub filtered: bool,
    /// AppArmor's or SELinux's label of the caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_label: Option<String>,
}

/// Families of distributions, as far as remedies differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Debian,
    Ubuntu,
    Fedora,
    Arch,
    Alpine,
    Suse,
    Other,
}

/// Container engines, as far as remedies differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Container {
    Docker,
    Podman,
    Kubernetes,
    /// Another one, or it does not say which.
    Other,
}

/// What explains refusals.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) distribution: String,
    pub(super) family: Family,
    pub(super) kernel: String,
    pub(super) uid: u32,
    pub(super) container: Option<Container>,
    /// Seccomp mode 2.
    pub(super) filtered: bool,
    pub(super) chrooted: bool,
    pub(super) label: Option<String>,
    /// What is mounted below `/proc`.
    pub(super) covered: Vec<String>,
    /// Where the controllers that limits stand on are mounted as cgroup v1.
    pub(super) v1: Vec<String>,
    /// Some cgroup file system is mounted read-only.
    pub(super) cgroup_read_only: bool,
    /// The machine was booted with systemd.
    pub(super) systemd: bool,
    /// The security modules in force: `capability,landlock,…`.
    pub(super) lsm: Option<String>,
    /// `kernel.apparmor_restrict_unprivileged_userns`.
    pub(super) apparmor_restricts: Option<i64>,
    /// `kernel.unprivileged_userns_clone`.
    pub(super) userns_clone: Option<i64>,
    /// The lowest of `user.max_…_namespaces`, with its name.
    pub(super) namespaces_limit: Option<(String, i64)>,
    /// This program.
    pub(super) program: PathBuf,
}

/// What `user.max_…_namespaces` there are.
const LIMITS: [&str; 7] = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];

impl Facts {
    /// Reads them. What cannot be read is not known.
    pub(super) fn look() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let release =
            ["/etc/os-release", "/usr/lib/os-release"].into_iter().find_map(|path| fs::read_to_string(path).ok());
        let release = release.unwrap_or_default();
        let sysctl = |name: &str| {
            let path = Path::new("/proc/sys").join(name.replace('.', "/"));
            fs::read_to_string(path).ok()?.trim().parse::<i64>().ok()
        };
        let limits = LIMITS.into_iter().filter_map(|kind| {
            let name = format!("user.max_{kind}_namespaces");
            sysctl(&name).map(|value| (name, value))
        });
        let filtered = status.lines().any(|line| line.split_whitespace().eq(["Seccomp:", "2"]));
        let covered = covered(&mounts);
        let cgroup_read_only = cgroup_read_only(&mounts);
        Self {
            distribution: field(&release, "PRETTY_NAME").unwrap_or_else(|| "an unknown distribution".to_owned()),
            family: family(&release),
            kernel: nix::sys::utsname::uname()
                .map_or_else(|_| "unknown".to_owned(), |names| names.release().to_string_lossy().into_owned()),
            uid: nix::unistd::geteuid().as_raw(),
            // A virtual machine that was made from a container's image has its signs as well.
            container: container().filter(|_| filtered || cgroup_read_only || !covered.is_empty()),
            filtered,
            chrooted: is_chrooted(&mounts),
            label: label(),
            covered,
            v1: v1(&mounts),
            cgroup_read_only,
            systemd: Path::new("/run/systemd/system").is_dir(),
            lsm: fs::read_to_string("/sys/kernel/security/lsm").ok().map(|text| text.trim().to_owned()),
            apparmor_restricts: sysctl("kernel.apparmor_restrict_unprivileged_userns"),
            userns_clone: sysctl("kernel.unprivileged_userns_clone"),
            namespaces_limit: limits.min_by_key(|(_, value)| *value),
            program: std::env::current_exe().unwrap_or_else(|_unknown| "jail".into()),
        }
    }

    pub(super) fn about(&self) -> About {
        let container = self.container.map(|container| match container {
            Container::Docker => "docker",
            Container::Podman => "podman",
            Container::Kubernetes => "kubernetes",
            Container::Other => "unknown",
        });
        About {
            distribution: self.distribution.clone(),
            kernel: self.kernel.clone(),
            architecture: std::env::consts::ARCH.to_owned(),
            uid: self.uid,
            container: container.map(str::to_owned),
            filtered: self.filtered,
            security_label: self.label.clone(),
        }
    }

    /// Whether this looks like a container, with or without a sign of which.
    pub(super) fn in_container(&self) -> bool {
        self.container.is_some() || self.filtered || !self.covered.is_empty()
    }

    /// Major and minor number of the kernel.
    pub(super) fn kernel_version(&self) -> Option<(u32, u32)> {
        let mut numbers = self.kernel.split(|c: char| !c.is_ascii_digit());
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }
}

/// A value of os-release(5).
fn field(release: &str, name: &str) -> Option<String> {
    let value = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.trim_matches(['"', '\'']).to_owned())
}

fn family(release: &str) -> Family {
    let id = field(release, "ID").unwrap_or_default();
    let like = field(release, "ID_LIKE").unwrap_or_default();
    let of = |id: &str| match id {
        "debian" => Some(Family::Debian),
        "ubuntu" => Some(Family::Ubuntu),
        "fedora" | "rhel" | "centos" => Some(Family::Fedora),
        "arch" => Some(Family::Arch),
        "alpine" => Some(Family::Alpine),
        "suse" | "opensuse" => Some(Family::Suse),
        _ => None,
    };
    std::iter::once(id.as_str()).chain(like.split(' ')).find_map(of).unwrap_or(Family::Other)
}

fn container() -> Option<Container> {
    // A pod may run on any engine, so it comes first.
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        return Some(Container::Kubernetes);
    }
    if Path::new("/run/.containerenv").exists() {
        return Some(Container::Podman);
    }
    if Path::new("/.dockerenv").exists() {
        return Some(Container::Docker);
    }
    let said = std::env::var("container").or_else(|_| fs::read_to_string("/run/systemd/container"));
    said.is_ok_and(|name| !name.trim().is_empty()).then_some(Container::Other)
}

/// The root is not that of the mount namespace: it is no mount point of its own, or not what process 1 has.
fn is_chrooted(mounts: &str) -> bool {
    let root_is_mounted = mounts.lines().any(|line| line.split(' ').nth(4) == Some("/"));
    let same = || {
        let (own, first) = (fs::metadata("/").ok()?, fs::metadata("/proc/1/root/").ok()?);
        Some((own.dev(), own.ino()) == (first.dev(), first.ino()))
    };
    // No mounts at all: /proc is not there, and nothing is known.
    !mounts.is_empty() && (!root_is_mounted || same() == Some(false))
}

fn label() -> Option<String> {
    let text = fs::read_to_string("/proc/self/attr/current").ok()?;
    let label = text.trim_matches(['\0', '\n', ' ']);
    (!label.is_empty() && label != "unconfined").then(|| label.to_owned())
}

fn covered(mounts: &str) -> Vec<String> {
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|point| point.starts_with("/proc/")).map(str::to_owned).collect()
}

/// Each mount point of a cgroup v1 hierarchy with one of the controllers that limits stand on.
fn v1(mounts: &str) -> Vec<String> {
    let of = |line: &str| {
        let (front, back) = line.split_once(" - ")?;
        let mut back = back.split(' ');
        let limiting = back.next()? == "cgroup"
            && back.nth(1)?.split(',').any(|option| matches!(option, "memory" | "pids" | "cpu" | "cpuacct"));
        limiting.then(|| front.split(' ').nth(4).map(str::to_owned))?
    };
    mounts.lines().filter_map(of).collect()
}

fn cgroup_read_only(mounts: &str) -> bool {
    mounts.lines().any(|line| {
        let Some((front, back)) = line.split_once(" - ") else { return false };
        let read_only = front.split(' ').nth(5).is_some_and(|options| options.split(',').any(|option| option == "ro"));
        read_only && matches!(back.split(' ').next(), Some("cgroup" | "cgroup2"))
    })
}

#[cfg(test)]
impl Facts {
    /// A made-up machine on which nothing is in the way.
    pub(super) fn made(family: Family) -> Self {
        Self {
            distribution: format!("{family:?}"),
            family,
            kernel: "6.8.0-45-generic".to_owned(),
            uid: 1000,
            container: None,
            filtered: false,
            chrooted: false,
            label: None,
            covered: Vec::new(),
            v1: Vec::new(),
            cgroup_read_only: false,
            systemd: true,
            lsm: Some("lockdown,capability,yama,apparmor".to_owned()),
            apparmor_restricts: None,
            userns_clone: None,
            namespaces_limit: Some(("user.max_net_namespaces".to_owned(), 96365)),
            program: "/usr/local/bin/jail".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_derived_distribution_is_its_parents() {
        assert_eq!(family("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"), Family::Ubuntu);
        assert_eq!(family("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n"), Family::Fedora);
        assert_eq!(family("ID=alpine\n"), Family::Alpine);
        assert_eq!(family(""), Family::Other);
        assert_eq!(field("A=1\nPRETTY_NAME=\"Debian 12\"\n", "PRETTY_NAME"), Some("Debian 12".to_owned()));
    }

    #[test]
    fn what_covers_proc_and_which_cgroups_are_read_only_is_in_mountinfo() {
        let text = "1 0 0:1 / / rw - overlay overlay rw\n2 1 0:2 / /proc rw - proc proc rw\n\
                    3 2 0:3 /null /proc/kcore rw - tmpfs tmpfs rw\n4 1 0:4 / /sys/fs/cgroup ro,nosuid - cgroup2 c rw\n";
        assert_eq!(covered(text), ["/proc/kcore"]);
        assert!(cgroup_read_only(text));
        assert!(!cgroup_read_only(&text.replace(" ro,", " rw,")));
        assert!(is_chrooted("2 1 0:2 / /proc rw - proc proc rw\n"));
        assert!(!is_chrooted(""));
    }

    #[test]
    fn where_v1_controllers_are_is_in_mountinfo() {
        let text = "1 0 0:1 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n2 1 0:2 / /c/freezer rw - cgroup c rw,freezer\n\
                    3 1 0:3 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(v1(text), ["/sys/fs/cgroup/cpu"]);
    }

    #[test]
    fn the_kernels_version_is_its_first_two_numbers() {
        assert_eq!(Facts::made(Family::Other).kernel_version(), Some((6, 8)));
    }
}
