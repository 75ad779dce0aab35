//! Mounts: from the view to the ops that build the jail's root.
//!
//! For: the new root file system, what is mounted in it, and leaving the old one behind.
//! Not for: what is shown (see `view`).
//! Runs in: the supervisor; the ops run in init.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::host::{Kind, Known};
use crate::policy::{Access, Origin, Proc, same_path};
use crate::sandbox::sys::mount::Attrs;

use super::op::{Op, Slot};
use super::view::{DECOY, OWN_DIRS, Part, Shows, View, cannot_show};
use super::{HostOp, Lowering, etc};

/// The device nodes of the host that are shown.
const DEVICES: [&str; 6] = ["full", "null", "random", "tty", "urandom", "zero"];

/// What of a full procfs is covered: it steers the kernel, or speaks of it or of the host.
/// A name that this kernel does not have is passed over.
const PROC_FILES: [&str; 10] = [
    "config.gz",
    "kallsyms",
    "kcore",
    "keys",
    "key-users",
    "kmsg",
    "kpagecount",
    "sched_debug",
    "sysrq-trigger",
    "timer_list",
];
const PROC_DIRS: [&str; 8] = ["acpi", "asound", "bus", "driver", "fs", "irq", "pressure", "scsi"];

const QUIET: Attrs = Attrs::NOSUID.and(Attrs::NODEV);

/// Builds the root, in the order that the kernel asks for.
pub(super) fn lower(plan: &mut Lowering<'_>, view: &View) -> Result<(), Error> {
    let default = Origin::Default;
    // Before any mount is made: nothing that happens here may be seen in the host's mount namespace.
    plan.init(Op::MakePrivate, &default);
    // Room for the generated files and the mount points, no more: it is not for the program.
    let (size, inodes, mode) = (plan.text("1m"), plan.text("4096"), plan.text("0755"));
    plan.init(Op::NewTmpfs { slot: Slot::ROOT, size, inodes, mode, attrs: QUIET }, &default);
    // Before the first directory is made, and before any place below it is looked up.
    plan.init(Op::AttachRoot, &default);
    let mut root = Root { plan, view, made: vec![PathBuf::from("/")] };
    for dir in OWN_DIRS {
        root.make_dirs(Path::new(dir), &default);
    }
    root.point(Path::new(DECOY), 0o444, &default);
    root.etc();
    root.proc();
    root.devices()?;
    for (number, part) in view.parts().iter().enumerate() {
        // Each part leaves a few descriptors open. However many there are, the limit on them is not met.
        if number % 32 == 31 {
            root.plan.init(Op::CloseOthers, &default);
        }
        root.part(part)?;
    }
    root.plan.init(Op::CloseOthers, &default);
    // After the last thing was made on it.
    let seal = QUIET.and(Attrs::RDONLY);
    root.plan.init(Op::SetAttrs { slot: Slot::ROOT, attrs: seal, recursive: false }, &default);
    // The new root is the current directory since AttachRoot: pivot_root stacks the old one on it, and
    // only then can that be let go.
    root.plan.init(Op::PivotRoot, &default);
    root.plan.init(Op::DetachOldRoot, &default);
    let top = root.plan.text("/");
    root.plan.init(Op::Chdir { path: top }, &default);
    Ok(())
}

struct Root<'p, 'a> {
    plan: &'p mut Lowering<'a>,
    view: &'p View,
    /// Directories that exist on file systems of ours.
    made: Vec<PathBuf>,
}

impl Root<'_, '_> {
    /// Makes `dir` and what is missing above it, on file systems of ours.
    fn make_dirs(&mut self, dir: &Path, origin: &Origin) {
        let there = |dir: &&Path| self.made.iter().any(|made| same_path(made, dir));
        // What is above a directory that is there is there too.
        let missing: Vec<&Path> = dir.ancestors().take_while(|dir| !there(dir)).collect();
        for dir in missing.into_iter().rev() {
            if self.view.is_ours(dir) {
                let path = self.plan.below_root(dir);
                self.plan.init(Op::MakeDir { path, mode: 0o755 }, origin);
                self.made.push(dir.to_owned());
            }
        }
    }

    /// An empty file, to be mounted on or to be hidden by Landlock.
    fn point(&mut self, path: &Path, mode: u32, origin: &Origin) {
        let path = self.plan.below_root(path);
        self.plan.init(Op::MakePoint { path, mode }, origin);
    }

    fn file(&mut self, path: &Path, content: &str, mode: u32, origin: &Origin) {
        let (path, content) = (self.plan.below_root(path), self.plan.text(content));
        self.plan.init(Op::MakeFile { path, content, mode }, origin);
    }

    fn link(&mut self, path: &Path, target: &Path, origin: &Origin) {
        let (path, target) = (self.plan.below_root(path), self.plan.path(target));
        self.plan.init(Op::MakeLink { path, target }, origin);
    }

    fn attach(&mut self, dest: &Path, origin: &Origin) {
        let dest = self.plan.below_root(dest);
        self.plan.init(Op::Attach { slot: Slot::MOUNT, dest }, origin);
    }

    fn etc(&mut self) {
        for (name, content, origin) in etc::files(self.plan.policy) {
            self.file(&Path::new("/etc").join(name), &content, 0o444, &origin);
        }
        let mtab = if self.plan.policy.proc.value == Proc::Masked { "/proc/mounts" } else { "/proc/self/mounts" };
        self.link(Path::new("/etc/mtab"), Path::new(mtab), &Origin::Default);
    }

    fn proc(&mut self) {
        let policy = self.plan.policy;
        let origin = &policy.proc.origin;
        let subset_pid = policy.proc.value == Proc::Pid;
        self.plan.init(Op::NewProc { subset_pid }, origin);
        self.attach(Path::new("/proc"), origin);
        if subset_pid {
            return;
        }
        // Covered also where the host does not say whether it is there: the step then says so.
        let seen = |name: &&str| match self.plan.host.files.look(&Path::new("/proc").join(name)) {
            Err(error) => error.raw_os_error() != Some(libc::ENOENT),
            Ok(_) => true,
        };
        let (files, dirs): (Vec<_>, Vec<_>) =
            (PROC_FILES.into_iter().filter(seen).collect(), PROC_DIRS.into_iter().filter(seen).collect());
        for name in files {
            let dest = Path::new("/proc").join(name);
            let decoy = self.plan.below_root(Path::new(DECOY));
            self.plan.init(Op::OpenInside { path: decoy }, origin);
            self.plan.init(Op::CloneTree { recursive: false }, origin);
            self.plan
                .init(Op::SetAttrs { slot: Slot::MOUNT, attrs: QUIET.and(Attrs::RDONLY), recursive: false }, origin);
            self.attach(&dest, origin);
        }
        for name in dirs {
            self.tmpfs(&Path::new("/proc").join(name), "4k", "2", "0555", QUIET.and(Attrs::RDONLY), origin);
        }
        // Some files below /proc/sys are guarded by the uid of their owner alone, not by a capability.
        let sys = Path::new("/proc/sys");
        let path = self.plan.below_root(sys);
        self.plan.init(Op::OpenInside { path }, origin);
        self.plan.init(Op::CloneTree { recursive: true }, origin);
        self.plan.init(Op::SetAttrs { slot: Slot::MOUNT, attrs: QUIET.and(Attrs::RDONLY), recursive: true }, origin);
        self.attach(sys, origin);
        // As below, for the parts of the view: these are many.
        self.plan.init(Op::CloseOthers, origin);
    }

    fn devices(&mut self) -> Result<(), Error> {
        let origin = &Origin::Default;
        let mut known = Known::default();
        for name in DEVICES {
            let path = Path::new("/dev").join(name);
            let found = match self.plan.host.files.at(&mut known, &path) {
                Ok(found) => found,
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => continue,
                Err(error) => return Err(cannot_show(&path, origin, &error)),
            };
            self.point(&path, 0o666, origin);
            let source = self.plan.path(&found.path);
            self.plan.init(
                Op::OpenSource { path: source, major: found.major, minor: found.minor, inode: found.inode },
                origin,
            );
            self.plan.init(Op::CloneTree { recursive: false }, origin);
            let attrs = Attrs::NOSUID.and(Attrs::NOEXEC);
            self.plan.init(Op::SetAttrs { slot: Slot::MOUNT, attrs, recursive: false }, origin);
            self.attach(&path, origin);
        }
        self.plan.init(Op::NewDevpts, origin);
        self.attach(Path::new("/dev/pts"), origin);
        for (name, target) in [
            ("ptmx", "pts/ptmx"),
            ("fd", "/proc/self/fd"),
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"),
        ] {
            self.link(&Path::new("/dev").join(name), Path::new(target), origin);
        }
        Ok(())
    }

    fn tmpfs(&mut self, dest: &Path, size: &str, inodes: &str, mode: &str, attrs: Attrs, origin: &Origin) {
        let (size, inodes, mode) = (self.plan.text(size), self.plan.text(inodes), self.plan.text(mode));
        self.plan.init(Op::NewTmpfs { slot: Slot::MOUNT, size, inodes, mode, attrs }, origin);
        self.attach(dest, origin);
    }

    fn part(&mut self, part: &Part) -> Result<(), Error> {
        let Part { dest, shows, origin } = part;
        if let Some(parent) = dest.parent() {
            self.make_dirs(parent, origin);
        }
        match shows {
            Shows::Link { target } => self.link(dest, target, origin),
            Shows::Tmpfs { size, inodes } => {
                self.make_dirs(dest, origin);
                // Everybody's, as /tmp is; but a home is its owner's.
                let mode = if dest.starts_with("/home") { "0755" } else { "1777" };
                self.tmpfs(dest, &size.to_string(), &inodes.to_string(), mode, QUIET, origin);
            }
            Shows::Bind { found, access, callers } => {
                let is_dir = found.kind == Kind::Dir;
                if is_dir {
                    self.make_dirs(dest, origin);
                } else if self.view.is_ours(dest) {
                    self.point(dest, 0o444, origin);
                }
                let attrs = bind_attrs(*access);
                if *callers && self.plan.map.privileged {
                    // Only somebody with CAP_SYS_ADMIN over the file system can map its ids: the
                    // supervisor makes the tree, the child puts it in its place.
                    let slot = self.plan.slot()?;
                    let plain_if_unsupported =
                        !access.writes() || self.plan.policy.degradable.contains_key(&crate::policy::Layer::Ids);
                    let op = HostOp::MapTree { source: found.clone(), attrs, slot, plain_if_unsupported };
                    self.plan.map_tree(op, origin);
                    let dest = self.plan.below_root(dest);
                    self.plan.init(Op::Attach { slot, dest }, origin);
                    return Ok(());
                }
                let path = self.plan.path(&found.path);
                let op = Op::OpenSource { path, major: found.major, minor: found.minor, inode: found.inode };
                self.plan.init(op, origin);
                self.plan.init(Op::CloneTree { recursive: is_dir }, origin);
                self.plan.init(Op::SetAttrs { slot: Slot::MOUNT, attrs, recursive: is_dir }, origin);
                self.attach(dest, origin);
            }
        }
        Ok(())
    }
}

/// No bind brings devices or set-uid programs in; the rest follows the access.
fn bind_attrs(access: Access) -> Attrs {
    let mut attrs = QUIET;
    if !access.writes() {
        attrs = attrs.and(Attrs::RDONLY);
    }
    if !access.executes() {
        attrs = attrs.and(Attrs::NOEXEC);
    }
    attrs
}

/// The namespaces of the clone. Init makes two itself: that of the network, which takes the kernel longest, while
/// the supervisor has other work; and that of the cgroup when it is in its group.
pub(super) const NAMESPACES: u64 =
    (libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS)
        .cast_unsigned() as u64;
