//! Words for what failed while a jail was set up.
//!
//! For: from a step and an errno to what is missing on this host, and what to do about it in one sentence.
//! Not for: layers whose lack is known before anything is started (the plan refuses those).
//! Runs in: the supervisor.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::sys::statvfs::{FsFlags, statvfs};

use crate::error::{Error, ErrorKind, describe_errno};
use crate::sandbox::child::record::Role;
use crate::sandbox::plan::Plan;
use crate::sandbox::plan::op::Op;
use crate::sandbox::sys::Errno;

/// Where to go when a host has no usable user namespaces at all.
const NO_NAMESPACES: &str = "or do with less, by name: --isolation landlock";

/// A call that is not there.
const NO_SUCH_CALL: &str = "this kernel is too old (mount_setattr came with Linux 5.12), or a container's filter hides \
                            the call: allow the mount calls in its seccomp profile";

/// A step that failed inside. `program` is the command as the caller named it.
pub(super) fn step(plan: &Plan, role: Role, step: u16, errno: i32, program: &str) -> Error {
    let name = plan.step_name(role, step);
    let desc = describe_errno(errno);
    let op = match role {
        Role::Init => plan.init.get(usize::from(step)),
        Role::Payload => plan.payload.get(usize::from(step)),
    };
    let unsupported = |what: &str, hint: String| {
        Error::new(ErrorKind::Unsupported, format!("{what}: {name}: {desc}")).with_hint(hint)
    };
    let error = match (op, errno) {
        (Some(Op::Exec), _) => exec(plan, errno, program),
        (Some(Op::OpenSource { .. }), libc::ESTALE) => {
            Error::new(ErrorKind::Setup, format!("{name}: it was replaced while the jail was set up"))
        }
        (_, libc::EUCLEAN) => Error::new(ErrorKind::Setup, format!("a layer does not hold: {name}"))
            .with_hint("this is a bug in jail or in the kernel; please report it with the output of jail plan"),
        (Some(Op::NewProc { .. }), libc::EPERM) => unsupported(
            "rootfs cannot be enforced here",
            "parts of /proc are masked, as in a container, and then the kernel lets nobody mount another: unmask it \
             (Docker: --security-opt systempaths=unconfined; Podman: --security-opt unmask=ALL; Kubernetes: \
             procMount: Unmasked)"
                .to_owned(),
        ),
        (Some(Op::PivotRoot), libc::EINVAL) => unsupported(
            "rootfs cannot be enforced here",
            "the root is the initial ramfs or a chroot, which the kernel does not let go of: start from a real root \
             (switch_root, pivot_root)"
                .to_owned(),
        ),
        (Some(Op::UnshareNet | Op::UnshareCgroup), libc::ENOSPC | libc::EINVAL) => clone(Errno(errno)),
        (Some(op), libc::EPERM | libc::EACCES) if op.needs_capability() => unsupported(
            "namespaces cannot be enforced here",
            format!(
                "user namespaces can be made but not used: on Ubuntu install jail's AppArmor profile (or set \
                 kernel.apparmor_restrict_unprivileged_userns=0), in a container allow mounts in its seccomp profile, \
                 {NO_NAMESPACES}"
            ),
        ),
        (Some(op), libc::ENOSYS) if op.needs_capability() => {
            unsupported("rootfs cannot be enforced here", NO_SUCH_CALL.to_owned())
        }
        (Some(Op::SetFilter { .. }), libc::EINVAL | libc::ENOSYS) => {
            unsupported("seccomp cannot be enforced here", "use a kernel with CONFIG_SECCOMP_FILTER".to_owned())
        }
        (Some(Op::LandlockRuleset { .. } | Op::LandlockAllow { .. } | Op::LandlockRestrict), _) => unsupported(
            "landlock cannot be enforced here",
            "see the seccomp profile of the container, or go without by name: --allow-degraded landlock".to_owned(),
        ),
        _ => Error::new(ErrorKind::Setup, format!("the jail could not be set up: {name}: {desc}")),
    };
    error.with_step(name).with_errno(errno)
}

/// A step of the supervisor's own, around the trees that a root caller's jail sees.
pub(super) fn mount(what: &str, errno: Errno) -> Error {
    let desc = describe_errno(errno.0);
    let error = |kind| Error::new(kind, format!("rootfs cannot be enforced here: cannot {what}: {desc}"));
    match errno.0 {
        libc::ENOSYS => error(ErrorKind::Unsupported).with_hint(NO_SUCH_CALL),
        libc::EPERM | libc::EACCES => error(ErrorKind::Unsupported).with_hint(
            "this root may not mount anything, as in a container: start jail as an ordinary user, or allow it there \
             (CAP_SYS_ADMIN, the mount calls in the seccomp profile)",
        ),
        _ => error(ErrorKind::Setup),
    }
    .with_errno(errno.0)
}

/// The program cannot be executed.
fn exec(plan: &Plan, errno: i32, program: &str) -> Error {
    match errno {
        libc::ENOENT => Error::new(
            ErrorKind::NotFound,
            format!("{program}: the interpreter or loader that it names is not in the view"),
        )
        .with_hint("look at its first line (#!) or at readelf -l, and show that path with --rx"),
        libc::ENOEXEC => Error::new(
            ErrorKind::NotExecutable,
            format!("{program}: neither a program of this machine nor a script with a #! line"),
        )
        .with_hint("name its interpreter: sh FILE"),
        libc::EACCES if on_noexec(plan) => Error::new(
            ErrorKind::NotExecutable,
            format!("{program}: its file system is mounted noexec on this machine, and so it is inside"),
        )
        .with_hint("put it on another file system, or name its interpreter"),
        _ => Error::new(ErrorKind::NotExecutable, format!("{program}: {}", describe_errno(errno))),
    }
}

/// What the view shows at its own path is on a file system from which the host executes nothing either.
fn on_noexec(plan: &Plan) -> bool {
    let path = Path::new(std::ffi::OsStr::from_bytes(plan.program().as_bytes()));
    statvfs(path).is_ok_and(|fs| fs.flags().contains(FsFlags::ST_NOEXEC))
}

/// A refused clone is the most common reason why sandboxes do not start: say which of the causes it is.
pub(super) fn clone(errno: Errno) -> Error {
    let (kind, hint) = match errno.0 {
        libc::EPERM => (
            ErrorKind::Unsupported,
            format!(
                "user namespaces are forbidden here, by kernel.unprivileged_userns_clone or \
                 kernel.apparmor_restrict_unprivileged_userns, the container's seccomp profile, or because this is a \
                 chroot: allow them, {NO_NAMESPACES}"
            ),
        ),
        libc::ENOSPC => (
            ErrorKind::Unsupported,
            format!(
                "the limit on namespaces is reached: raise user.max_user_namespaces and its siblings in \
                 /proc/sys/user, {NO_NAMESPACES}"
            ),
        ),
        libc::EINVAL => (
            ErrorKind::Unsupported,
            format!("this kernel lacks a kind of namespace: use one with CONFIG_USER_NS, {NO_NAMESPACES}"),
        ),
        libc::EAGAIN => (
            ErrorKind::Setup,
            "the caller's limit on processes is reached: see ulimit -u and pids.max of its cgroup".to_owned(),
        ),
        libc::ENOMEM => (ErrorKind::Setup, "the machine is out of memory".to_owned()),
        _ => (ErrorKind::Setup, "see clone(2)".to_owned()),
    };
    let what = if kind == ErrorKind::Unsupported {
        "namespaces cannot be enforced here: they cannot be made"
    } else {
        "cannot clone"
    };
    Error::new(kind, format!("{what}: {}", describe_errno(errno.0))).with_errno(errno.0).with_hint(hint)
}

/// An id map cannot be written, or what comes with it.
pub(super) fn map(file: &str, error: &std::io::Error) -> Error {
    let errno = error.raw_os_error().unwrap_or(libc::EIO);
    Error::new(
        ErrorKind::Unsupported,
        format!("ids cannot be enforced here: cannot write {file} of the child: {}", describe_errno(errno)),
    )
    .with_errno(errno)
    .with_hint(format!(
        "user namespaces can be made but not used: on Ubuntu install jail's AppArmor profile (or set \
         kernel.apparmor_restrict_unprivileged_userns=0), in a container see its seccomp profile and give it a range \
         of ids, {NO_NAMESPACES}"
    ))
}
