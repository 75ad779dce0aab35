//! The host: probed facts, as a plain struct.
//!
//! For: everything that the plan has to know about this machine and this caller. Probed by asking the
//! kernel (a call, an access check), not by reading version numbers.
//! Not for: deciding what to do about it (see `sandbox::plan`).
//! Runs in: the supervisor. Tests make up hosts.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{AccessFlags, access};

use crate::error::{Error, ErrorKind, describe, describe_errno};
use crate::policy::same_path;
use crate::sandbox::{Rlimit, has_clone3, landlock_abi, last_capability};
use crate::systemd::Scope;

/// Facts about this machine and this caller. Probe it once and keep it: it says nothing about a run.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    /// Kernel release, `uname -r`.
    pub(crate) kernel: String,
    /// Effective ids of the caller.
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The caller is the host's root, under whatever id its user namespace shows that.
    pub(crate) is_root: bool,
    /// Landlock ABI, or the errno that says why there is none.
    pub(crate) landlock: Result<u32, i32>,
    /// Whether clone3(2) is there; a container's filter may hide it.
    pub(crate) clone3: bool,
    /// Highest capability of this kernel.
    pub(crate) last_cap: u32,
    /// Signals that the caller ignores, bit 0 for signal 1; a program must not inherit that.
    pub(crate) ignored_signals: u64,
    /// Where a group with this controller can be made, or why not.
    pub(crate) cgroups: GroupHomes,
    /// The systemd scope that those places lie in, where it has to be asked for first.
    pub(crate) scope: Option<Scope>,
    /// CPUs that this process may run on.
    pub(crate) cpus: u32,
    /// There is swap in use, so that a limit on memory alone would not hold.
    pub(crate) swap: bool,
    /// First of the unprivileged ids that a root caller's jails may have, and how many there are: none where root
    /// is the only id of its user namespace.
    pub(crate) jail_ids: (u32, u32),
    /// Hard limits of the caller, by RLIMIT_* number; a child cannot go above.
    pub(crate) hard_limits: BTreeMap<Rlimit, u64>,
    pub(crate) caller: Caller,
    pub(crate) files: Files,
}

/// What of the caller matters to a run.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) cwd: PathBuf,
    /// Home directories: of `$HOME` and of the password file.
    pub(crate) homes: Vec<PathBuf>,
    pub(crate) env: BTreeMap<OsString, OsString>,
}

/// A cgroup controller that a run wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Controller {
    Memory,
    Pids,
    Cpu,
    /// CPU accounting; in v2 every group has it, without a controller.
    Cpuacct,
    /// Bytes from and to storage; v2 alone, and never asked for.
    Io,
}

impl Controller {
    pub(crate) const ALL: [Self; 5] = [Self::Memory, Self::Pids, Self::Cpu, Self::Cpuacct, Self::Io];

    /// The name in mount options and in `cgroup.controllers`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
            Self::Cpuacct => "cpuacct",
            Self::Io => "io",
        }
    }
}

/// The caller's own group, below which a run's group is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupHome {
    pub(crate) version: CgroupVersion,
    pub(crate) dir: PathBuf,
    /// v2: controllers that must be enabled for children first.
    pub(crate) enable: Vec<Controller>,
    /// v2: this process is the only one in the group and has to go to [`LEAF`] first.
    pub(crate) make_room: bool,
}

/// The place for each controller, or why there is none.
pub(crate) type GroupHomes = BTreeMap<Controller, Result<GroupHome, String>>;

/// Where this process goes when it alone keeps the own group from having children with controllers.
pub(crate) const LEAF: &str = "jail-leaf";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CgroupVersion {
    V1,
    V2,
}

/// Directories that are known to be where their path says, no component of it being a link: looked at once
/// for all that lies in them. For one plan only, since the file system changes.
#[derive(Debug, Default)]
pub(crate) struct Known(Vec<PathBuf>);

impl Known {
    fn is_real(&mut self, dir: &Path) -> bool {
        if self.0.iter().any(|known| same_path(known, dir)) {
            return true;
        }
        let real = has_no_links(dir);
        if real {
            self.0.extend(dir.ancestors().map(Path::to_owned));
        }
        real
    }
}

/// Whether there is something at a path, and no link on the way or at its end.
fn has_no_links(path: &Path) -> bool {
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    openat2(AT_FDCWD, path, how).is_ok()
}

/// The file system as the plan looks at it; made up in tests.
#[derive(Debug, Clone)]
pub(crate) enum Files {
    Real,
    #[cfg(any(test, fuzzing))]
    Made(BTreeMap<PathBuf, Kind>),
}

/// What is found at a path, symbolic links not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Dir,
    File {
        /// Some execute bit is set.
        executable: bool,
    },
    Link(PathBuf),
    Other,
}

/// A file that links can no longer lead elsewhere: where it really is, what it is, and its identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) kind: Kind,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) inode: u64,
}

impl Files {
    /// lstat(2).
    pub(crate) fn look(&self, path: &Path) -> io::Result<Kind> {
        match self {
            Self::Real => {
                let data = fs::symlink_metadata(path)?;
                if data.is_symlink() { fs::read_link(path).map(Kind::Link) } else { Ok(kind_of(&data)) }
            }
            #[cfg(any(test, fuzzing))]
            Self::Made(files) => files.get(path).cloned().ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT)),
        }
    }

    /// Follows all links, as realpath(3) does.
    pub(crate) fn find(&self, path: &Path) -> io::Result<Found> {
        match self {
            Self::Real => {
                // Most paths are real, and one call tells; realpath(3) takes one for each directory.
                let plain = path.has_root() && !path.components().any(|part| part == Component::ParentDir);
                let real =
                    if plain && has_no_links(path) { path.components().collect() } else { fs::canonicalize(path)? };
                identify(&real)
            }
            #[cfg(any(test, fuzzing))]
            Self::Made(_) => self.identify(path),
        }
    }

    /// What is at a path: links on the way are followed, one at its end is not.
    pub(crate) fn at(&self, known: &mut Known, path: &Path) -> io::Result<Found> {
        match self {
            Self::Real => {
                // A slash at the end would make lstat(2) follow a link.
                let path: PathBuf = path.components().collect();
                match (path.parent(), path.file_name()) {
                    (Some(dir), Some(_)) if known.is_real(dir) => identify(&path),
                    (Some(dir), Some(name)) => identify(&fs::canonicalize(dir)?.join(name)),
                    (None, _) | (_, None) => self.find(&path),
                }
            }
            #[cfg(any(test, fuzzing))]
            Self::Made(_) => self.identify(path),
        }
    }

    #[cfg(any(test, fuzzing))]
    fn identify(&self, path: &Path) -> io::Result<Found> {
        Ok(Found { path: path.to_owned(), kind: self.look(path)?, major: 8, minor: 1, inode: 1 })
    }
}

/// lstat(2), with the identity.
fn identify(path: &Path) -> io::Result<Found> {
    let data = fs::symlink_metadata(path)?;
    let (major, minor) = (nix::sys::stat::major(data.dev()), nix::sys::stat::minor(data.dev()));
    let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let kind = if data.is_symlink() { Kind::Link(fs::read_link(path)?) } else { kind_of(&data) };
    Ok(Found { kind, path: path.to_owned(), major: narrow(major), minor: narrow(minor), inode: data.ino() })
}

fn kind_of(data: &fs::Metadata) -> Kind {
    if data.is_dir() {
        Kind::Dir
    } else if data.is_file() {
        Kind::File { executable: data.mode() & 0o111 != 0 }
    } else {
        Kind::Other
    }
}

impl Host {
    /// Asks the kernel. Cheap (some twenty system calls): nothing is started or changed.
    ///
    /// # Errors
    /// `/proc` is not mounted, or the working directory is gone.
    pub(crate) fn probe() -> Result<Self, Error> {
        let status = read("/proc/self/status")?;
        let field = |name: &str| {
            status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map_or("", str::trim)
        };
        let uid = nix::unistd::geteuid().as_raw();
        let gid = nix::unistd::getegid().as_raw();
        let kernel = nix::sys::utsname::uname()
            .map_err(|errno| Error::new(ErrorKind::Internal, "uname").with_errno(errno as i32))?;
        let env: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
        let cwd = std::env::current_dir().map_err(|error| {
            Error::new(ErrorKind::Usage, format!("the current directory cannot be found: {}", describe(&error)))
                .with_hint("cd into a directory that exists")
        })?;
        Ok(Self {
            kernel: kernel.release().to_string_lossy().into_owned(),
            uid,
            gid,
            // It belongs to the host's root; an id that is not mapped shows as another.
            is_root: fs::metadata("/proc/sys").map_or(uid == 0, |data| data.uid() == uid),
            landlock: landlock_abi(),
            clone3: has_clone3(),
            last_cap: last_capability(),
            ignored_signals: u64::from_str_radix(field("SigIgn"), 16).unwrap_or(0),
            cgroups: cgroups(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup").unwrap_or_default()),
            scope: None,
            cpus: cpus(),
            swap: nix::sys::sysinfo::sysinfo().is_ok_and(|info| info.swap_total() > 0),
            // Of a root caller's jails alone.
            jail_ids: if uid == 0 { jail_ids(&read("/proc/self/uid_map")?) } else { (0, 0) },
            hard_limits: hard_limits(),
            caller: Caller { cwd, homes: homes(uid, env.get(OsStr::new("HOME"))), env },
            files: Files::Real,
        })
    }
}

impl Host {
    /// Processes and threads of the caller's user on the whole machine, at this moment.
    pub(crate) fn tasks_of_the_caller(&self) -> u64 {
        #[cfg(any(test, fuzzing))]
        if matches!(self.files, Files::Made(_)) {
            return 0;
        }
        let Ok(processes) = procfs::process::all_processes() else { return 0 };
        processes
            .flatten()
            .filter(|process| process.uid().is_ok_and(|uid| uid == self.uid))
            .filter_map(|process| u64::try_from(process.stat().ok()?.num_threads).ok())
            .sum()
    }

    /// The same host, with groups in a scope of systemd's where the own group lacks what that would have.
    ///
    /// # Errors
    /// `/proc` is not mounted.
    pub(crate) fn with_systemd_scope(mut self) -> Result<Self, Error> {
        let lacks = |homes: &GroupHomes| {
            // Io is a figure and no layer: not worth a move.
            homes.iter().filter(|(controller, home)| **controller != Controller::Io && home.is_err()).count()
        };
        if lacks(&self.cgroups) == 0 {
            return Ok(self);
        }
        let (mountinfo, cgroup) = (read("/proc/self/mountinfo")?, read("/proc/self/cgroup").unwrap_or_default());
        match in_scope(&mountinfo, &cgroup, self.uid) {
            Ok((scope, homes)) if lacks(&homes) < lacks(&self.cgroups) => {
                self.cgroups = homes;
                self.scope = Some(scope);
            }
            Ok(_no_better) => {}
            Err(why) => {
                for reason in self.cgroups.values_mut().filter_map(|home| home.as_mut().err()) {
                    *reason = format!("{reason}; {why}");
                }
            }
        }
        Ok(self)
    }
}

/// A file of the kernel's, in as few calls as can be: it has no size to ask for, and most fit into a page. Through the
/// stack, so that no more of the heap is touched than is kept.
pub(crate) fn text(path: impl AsRef<Path>) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    let mut text = Vec::new();
    let mut page = [0; 4096];
    loop {
        match file.read(&mut page) {
            Ok(0) => return String::from_utf8(text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
            Ok(count) => text.extend_from_slice(page.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn read(path: &str) -> Result<String, Error> {
    text(path).map_err(|error| {
        Error::new(ErrorKind::Unsupported, format!("cannot read {path}: {}", describe(&error)))
            .with_hint("jail needs a proc file system at /proc")
    })
}

/// `std::thread::available_parallelism` reads cgroup files to find a quota; ours is known.
fn cpus() -> u32 {
    let me = nix::unistd::Pid::from_raw(0);
    let Ok(set) = nix::sched::sched_getaffinity(me) else { return u32::from(u16::MAX) };
    let count = (0..nix::sched::CpuSet::count()).filter(|cpu| set.is_set(*cpu) == Ok(true)).count();
    u32::try_from(count).unwrap_or(1).max(1)
}

fn hard_limits() -> BTreeMap<Rlimit, u64> {
    [
        Resource::RLIMIT_NOFILE,
        Resource::RLIMIT_FSIZE,
        Resource::RLIMIT_CORE,
        Resource::RLIMIT_STACK,
        Resource::RLIMIT_NPROC,
        Resource::RLIMIT_CPU,
        Resource::RLIMIT_MEMLOCK,
        Resource::RLIMIT_MSGQUEUE,
        Resource::RLIMIT_SIGPENDING,
    ]
    .into_iter()
    .filter_map(|resource| Some((resource as Rlimit, getrlimit(resource).ok()?.1)))
    .collect()
}

/// Home directories that must not be a workspace by accident.
fn homes(uid: u32, home: Option<&OsString>) -> Vec<PathBuf> {
    let passwd = text("/etc/passwd").unwrap_or_default();
    let entry = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.get(2)?.parse() == Ok(uid)).then(|| fields.get(5).map(PathBuf::from))?
    });
    let mut homes: Vec<PathBuf> = home.map(PathBuf::from).into_iter().chain(entry).collect();
    // "/" is refused anyway, and would make every directory the child of a home.
    homes.retain(|home| home.is_absolute() && home.parent().is_some());
    homes.dedup();
    homes
}

/// A range of host ids that belongs to nobody: above the ranges that distributions, systemd and
/// /etc/subuid hand out; inside a container whatever is the top of what it has.
fn jail_ids(uid_map: &str) -> (u32, u32) {
    const BASE: u32 = 0x7a61_0000;
    const COUNT: u32 = 0x1_0000;
    let ranges = uid_map.lines().filter_map(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u32>);
        match (numbers.next(), numbers.next(), numbers.next()) {
            (Some(Ok(inside)), Some(Ok(_)), Some(Ok(count))) => Some((inside, count)),
            _ => None,
        }
    });
    let mut best = (0, 0);
    for (inside, count) in ranges {
        if inside <= BASE && BASE.saturating_add(COUNT) <= inside.saturating_add(count) {
            return (BASE, COUNT);
        }
        // Never 0, whatever it is on the host.
        let ids = count.saturating_sub(u32::from(inside == 0)).min(1024);
        if ids > best.1 {
            best = (inside.saturating_add(count - ids), ids);
        }
    }
    best
}

const MIXED: &str = "other controllers are mounted as cgroup v1, and a run uses one version";

/// Where groups can be made: `mountinfo` and `cgroup` are the texts of /proc/self/…
fn cgroups(mountinfo: &str, cgroup: &str) -> GroupHomes {
    let mounts: Vec<CgroupMount<'_>> = mountinfo.lines().filter_map(CgroupMount::parse).collect();
    let unified = mounts.iter().find(|mount| mount.version == CgroupVersion::V2);
    let mixed = mounts.iter().any(|mount| mount.version == CgroupVersion::V1 && mount.has(Controller::Memory));
    let mut homes: GroupHomes = Controller::ALL
        .into_iter()
        .map(|controller| {
            let v1 = mounts.iter().find(|mount| mount.version == CgroupVersion::V1 && mount.has(controller));
            let home = match (v1, unified) {
                (Some(mount), _) => v1_home(mount, controller, cgroup),
                // A figure and no layer: of use only beside limits, which are elsewhere.
                (None, Some(_)) if controller == Controller::Io && mixed => Err(MIXED.to_owned()),
                (None, Some(mount)) => v2_home(mount, controller, cgroup),
                (None, None) => Err(format!("no cgroup mount with the {} controller", controller.name())),
            };
            (controller, home)
        })
        .collect();
    let has = |homes: &GroupHomes, version| homes.values().flatten().any(|home| home.version == version);
    if has(&homes, CgroupVersion::V1) && has(&homes, CgroupVersion::V2) {
        // A run joins its v1 groups and is born into its v2 group, never both.
        for home in homes.values_mut().filter(|home| matches!(home, Ok(home) if home.version == CgroupVersion::V2)) {
            *home = Err(MIXED.to_owned());
        }
    }
    homes
}

/// The scope that systemd would give this process, and the places in it.
fn in_scope(mountinfo: &str, cgroup: &str, uid: u32) -> Result<(Scope, GroupHomes), String> {
    let mounts: Vec<CgroupMount<'_>> = mountinfo.lines().filter_map(CgroupMount::parse).collect();
    let unified = mounts.iter().find(|mount| mount.version == CgroupVersion::V2 && mount.root == "/");
    let (Some(unified), Some(own)) = (unified, own_group(cgroup, None)) else {
        return Err("systemd hands over no group without cgroup v2".to_owned());
    };
    let root = Path::new(&unified.point);
    let (scope, controllers) = Scope::foresee(root, own, uid)?;
    let dir = scope.dir(root);
    let homes = Controller::ALL.into_iter().map(|controller| {
        let has = controllers.split_whitespace().any(|name| name == controller.name());
        let home = if controller == Controller::Cpuacct {
            Ok(GroupHome { version: CgroupVersion::V2, dir: dir.clone(), enable: Vec::new(), make_room: false })
        } else if has {
            let enable = vec![controller];
            Ok(GroupHome { version: CgroupVersion::V2, dir: dir.clone(), enable, make_room: true })
        } else {
            Err(format!("systemd has no {} controller to hand over", controller.name()))
        };
        (controller, home)
    });
    let homes = homes.collect();
    Ok((scope, homes))
}

/// Space, tab, newline and backslash stand in octal in mountinfo.
fn unescape(field: &str) -> String {
    if !field.contains('\\') {
        return field.to_owned();
    }
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .into_iter()
        .fold(field.to_owned(), |text, (code, character)| text.replace(code, character))
}

struct CgroupMount<'a> {
    version: CgroupVersion,
    root: String,
    point: String,
    options: &'a str,
}

impl<'a> CgroupMount<'a> {
    /// One line of /proc/PID/mountinfo, proc_pid_mountinfo(5).
    fn parse(line: &'a str) -> Option<Self> {
        let (front, back) = line.split_once(" - ")?;
        let mut front = front.split(' ').skip(3);
        let (root, point) = (front.next()?, front.next()?);
        let mut back = back.split(' ');
        let version = match back.next()? {
            "cgroup" => CgroupVersion::V1,
            "cgroup2" => CgroupVersion::V2,
            _ => return None,
        };
        Some(Self { version, root: unescape(root), point: unescape(point), options: back.nth(1)? })
    }

    fn has(&self, controller: Controller) -> bool {
        self.options.split(',').any(|option| option == controller.name())
    }

    /// The directory of a group, given its path from /proc/PID/cgroup; `None` when it lies outside
    /// what this mount shows.
    fn dir(&self, path: &str) -> Option<PathBuf> {
        let below = Path::new(path).strip_prefix(&self.root).ok()?;
        if below.components().any(|part| part == Component::ParentDir) {
            return None;
        }
        Some(Path::new(&self.point).join(below))
    }
}

/// The path of the own group: of the line with this controller, or of the v2 line (`None`).
fn own_group(cgroup: &str, controller: Option<Controller>) -> Option<&str> {
    cgroup.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let found = match controller {
            Some(controller) => controllers.split(',').any(|name| name == controller.name()),
            None => controllers.is_empty(),
        };
        found.then_some(path)
    })
}

fn writable(dir: PathBuf, controller: Controller) -> Result<PathBuf, String> {
    match access(&dir, AccessFlags::W_OK | AccessFlags::X_OK) {
        Ok(()) => Ok(dir),
        Err(errno) => Err(format!(
            "no group with the {} controller can be made in {}: {}",
            controller.name(),
            dir.display(),
            describe_errno(errno as i32)
        )),
    }
}

fn v1_home(mount: &CgroupMount<'_>, controller: Controller, cgroup: &str) -> Result<GroupHome, String> {
    let dir = own_group(cgroup, Some(controller))
        .and_then(|path| mount.dir(path))
        .ok_or_else(|| format!("the own {} group is not below {}", controller.name(), mount.point))?;
    Ok(GroupHome { version: CgroupVersion::V1, dir: writable(dir, controller)?, enable: Vec::new(), make_room: false })
}

fn v2_home(mount: &CgroupMount<'_>, controller: Controller, cgroup: &str) -> Result<GroupHome, String> {
    let dir = own_group(cgroup, None)
        .and_then(|path| mount.dir(path))
        .ok_or_else(|| format!("the own group is not below {}", mount.point))?;
    // An earlier run of this process may have moved it.
    let dir = if dir.ends_with(LEAF) { dir.parent().map(Path::to_owned).unwrap_or(dir) } else { dir };
    let dir = writable(dir, controller)?;
    let lists = |file: &str| {
        fs::read_to_string(dir.join(file)).unwrap_or_default().split_whitespace().any(|word| word == controller.name())
    };
    if controller == Controller::Cpuacct || lists("cgroup.subtree_control") {
        return Ok(GroupHome { version: CgroupVersion::V2, dir, enable: Vec::new(), make_room: false });
    }
    if !lists("cgroup.controllers") {
        return Err(format!("{} has no {} controller", dir.display(), controller.name()));
    }
    // Only the root group may have both processes and controllers for its children (cgroups(7),
    // "no internal processes"); it is the one without a cgroup.type file.
    let is_root = !dir.join("cgroup.type").exists();
    let processes = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_else(|_unreadable| "?".to_owned());
    let alone = processes.trim() == std::process::id().to_string();
    if !processes.is_empty() && !alone && !is_root {
        return Err(format!(
            "{} has other processes in it, so its children get no {} controller",
            dir.display(),
            controller.name()
        ));
    }
    access(&dir.join("cgroup.subtree_control"), AccessFlags::W_OK).map_err(|errno| {
        format!("{}: {}", dir.join("cgroup.subtree_control").display(), describe_errno(errno as i32))
    })?;
    Ok(GroupHome { version: CgroupVersion::V2, dir, enable: vec![controller], make_room: alone && !is_root })
}

#[cfg(any(test, fuzzing))]
impl Host {
    /// A made-up machine like a current distribution's: root caller, all layers to be had.
    pub(crate) fn made() -> Self {
        let dirs = ["/", "/usr", "/usr/bin", "/usr/lib", "/etc/alternatives", "/project", "/var", "/home"];
        let mut files: BTreeMap<PathBuf, Kind> = dirs.into_iter().map(|dir| (dir.into(), Kind::Dir)).collect();
        for (link, target) in [("/bin", "usr/bin"), ("/lib", "usr/lib"), ("/lib64", "usr/lib64"), ("/sbin", "usr/sbin")]
        {
            files.insert(link.into(), Kind::Link(target.into()));
        }
        files.insert("/usr/bin/python3".into(), Kind::File { executable: true });
        files.insert("/usr/lib/data".into(), Kind::File { executable: false });
        files.insert("/etc/ld.so.cache".into(), Kind::File { executable: false });
        for node in ["null", "zero", "full", "random", "urandom", "tty"] {
            files.insert(Path::new("/dev").join(node), Kind::Other);
        }
        let group = |controller: Controller| GroupHome {
            version: CgroupVersion::V1,
            dir: Path::new("/sys/fs/cgroup").join(controller.name()),
            enable: Vec::new(),
            make_room: false,
        };
        Self {
            kernel: "6.18.0".to_owned(),
            uid: 0,
            gid: 0,
            is_root: true,
            landlock: Ok(7),
            clone3: true,
            last_cap: 40,
            ignored_signals: 1 << (libc::SIGPIPE - 1),
            cgroups: Controller::ALL
                .into_iter()
                .map(|controller| match controller {
                    Controller::Io => (controller, Err("no cgroup mount with the io controller".to_owned())),
                    Controller::Memory | Controller::Pids | Controller::Cpu | Controller::Cpuacct => {
                        (controller, Ok(group(controller)))
                    }
                })
                .collect(),
            scope: None,
            cpus: 2,
            swap: false,
            jail_ids: (0x7a61_0000, 0x1_0000),
            hard_limits: BTreeMap::new(),
            caller: Caller { cwd: "/project".into(), homes: vec!["/root".into()], env: BTreeMap::new() },
            files: Files::Made(files),
        }
    }

    /// The same for an ordinary user without a delegated cgroup.
    pub(crate) fn made_user() -> Self {
        let mut host = Self::made();
        (host.uid, host.gid, host.is_root) = (1001, 1001, false);
        for home in host.cgroups.values_mut() {
            *home = Err("no group can be made: EACCES".to_owned());
        }
        host
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_is_where_realpath_says() {
        let made = tempfile::tempdir().unwrap();
        let top = made.path().join("top");
        fs::create_dir_all(top.join("dir")).unwrap();
        fs::write(top.join("dir/file"), "").unwrap();
        std::os::unix::fs::symlink("dir", top.join("link")).unwrap();
        std::os::unix::fs::symlink("nowhere", top.join("dangling")).unwrap();

        for (path, expected) in [
            ("dir", Ok("dir")),
            ("./dir//file", Ok("dir/file")),
            ("dir/", Ok("dir")),
            ("dir/.", Ok("dir")),
            ("dir/../dir/file", Ok("dir/file")),
            ("link", Ok("dir")),
            ("link/file", Ok("dir/file")),
            ("link/../dir", Ok("dir")),
            ("dangling", Err(libc::ENOENT)),
            ("dir/none", Err(libc::ENOENT)),
            ("dir/file/", Err(libc::ENOTDIR)),
            ("dir/file/.", Err(libc::ENOTDIR)),
        ] {
            let found = Files::Real.find(&top.join(path));
            let found = found.map(|found| found.path).map_err(|error| error.raw_os_error().unwrap());
            assert_eq!(found, expected.map(|real| top.canonicalize().unwrap().join(real)), "{path}");
        }
    }

    #[test]
    fn a_mount_below_a_root_shows_only_what_is_under_it() {
        let line = "35 31 0:32 /box /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory";
        let mount = CgroupMount::parse(line).unwrap();
        assert!(mount.has(Controller::Memory));
        assert_eq!(mount.dir("/box/a"), Some("/sys/fs/cgroup/memory/a".into()));
        assert_eq!(mount.dir("/other"), None);
        assert_eq!(mount.dir("/box/../x"), None);
        assert_eq!(mount.dir("/boxer"), None);
        let line = "35 31 0:32 / /mnt/c\\040g rw - cgroup2 cgroup2 rw";
        assert_eq!(CgroupMount::parse(line).unwrap().dir("/a"), Some("/mnt/c g/a".into()));
    }

    #[test]
    fn own_group_finds_v1_by_controller_and_v2_by_its_empty_list() {
        let text = "4:cpu,cpuacct:/a\n0::/b\n";
        assert_eq!(own_group(text, Some(Controller::Cpuacct)), Some("/a"));
        assert_eq!(own_group(text, Some(Controller::Memory)), None);
        assert_eq!(own_group(text, None), Some("/b"));
    }

    #[test]
    fn jail_ids_stay_inside_the_map_of_a_container() {
        assert_eq!(jail_ids("0 0 4294967295\n"), (0x7a61_0000, 0x1_0000));
        assert_eq!(jail_ids("0 100000 65536\n"), (64512, 1024));
        assert_eq!(jail_ids("0 1000 1\n1 100000 3\n"), (1, 3));
        assert_eq!(jail_ids("0 1000 1\n"), (0, 0));
    }
}
