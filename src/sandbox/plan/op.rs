//! Ops: what a plan is made of.
//!
//! For: the vocabulary between the plan (which decides) and the child (which obeys). An op is plain
//! `Copy` data over one arena of NUL-ended strings and a table of descriptor slots.
//! Not for: deciding (see the files beside this one) or doing (see `child::execute`).
//! Runs in: written by the supervisor, read by the child.

use crate::sandbox::sys::confine::Handled;
use crate::sandbox::sys::mount::Attrs;
use crate::sandbox::sys::process::Rlimit;

/// A NUL-ended string in the plan's arena; the length counts the NUL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) offset: u32,
    pub(crate) len: u32,
}

/// A place for a descriptor of the child: inherited from the supervisor, or opened on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot(pub(crate) u8);

/// How many slots a child has. A view of any size takes turns in a few of them; only what is inherited
/// holds one to itself.
pub(crate) const SLOTS: usize = 128;

impl Slot {
    /// Failure records of init and payload; end-of-file once the program runs.
    pub(crate) const SETUP: Self = Self(0);
    /// How the payload ended; init's alone.
    pub(crate) const STATUS: Self = Self(1);
    /// Held open by the supervisor alone: its end means that the supervisor is gone. Carries the byte
    /// that opens the first gate, and later signals for the payload.
    pub(crate) const TIE: Self = Self(2);
    /// The payload's standard streams.
    pub(crate) const STDIO: [Self; 3] = [Self(3), Self(4), Self(5)];
    /// The new root.
    pub(crate) const ROOT: Self = Self(6);
    /// A file on its way to becoming a mount.
    pub(crate) const SOURCE: Self = Self(7);
    /// A detached mount on its way to its place.
    pub(crate) const MOUNT: Self = Self(8);
    /// The Landlock rules while they are being written.
    pub(crate) const RULESET: Self = Self(9);
    /// The gate at which the payload waits for init: its two ends.
    pub(crate) const GATE_WAIT: Self = Self(10);
    /// See [`Slot::GATE_WAIT`].
    pub(crate) const GATE_OPEN: Self = Self(11);
    /// Readable when a child of init has ended; made before the payload, so that no end is missed.
    pub(crate) const CHILDREN: Self = Self(12);
    /// The first slot for descriptors that only some runs have: id-mapped trees.
    pub(crate) const FIRST_EXTRA: u8 = 13;
}

/// The two filters of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FilterOf {
    Init,
    Payload,
}

/// A moment that the child takes down for the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Init has joined its group and has its ids.
    Entered,
    /// The root is built and entered.
    Rooted,
    /// The payload is confined but for its filter.
    Confined,
}

impl Moment {
    pub(crate) const ALL: [Self; 3] = [Self::Entered, Self::Rooted, Self::Confined];
}

/// One thing that the child does. The order of the variants is about the order of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    /// Hold back all signals: init has no use for any, and the payload starts with a clean mask. The
    /// one that tells of ended children is read from `CHILDREN`.
    HoldSignals,
    /// Close every descriptor from 3 on that no slot names: what the caller had open, and the ends of
    /// pipes of other runs that its other threads were just starting; later, what the mounts left open.
    CloseOthers,
    /// PR_SET_PDEATHSIG.
    DieWithParent,
    /// A network namespace of its own, Linux 2.6.24.
    UnshareNet,
    /// Tell the supervisor that it is there.
    TellNetwork,
    /// Wait for one byte.
    Await {
        gate: Slot,
    },
    /// Join a cgroup by writing to its `tasks` file (v1: free of the wait for an RCU grace period that a write of
    /// a foreign pid to `cgroup.procs` brings) or `cgroup.procs` (v2 without clone3).
    JoinCgroup {
        file: Text,
    },
    /// See the own group as the root of the hierarchy.
    UnshareCgroup,
    DropGroups,
    SetGid {
        gid: u32,
    },
    SetUid {
        uid: u32,
    },
    /// No mount event goes out or comes in.
    MakePrivate,
    /// A fresh tmpfs, detached, in `slot`. The strings are mount options.
    NewTmpfs {
        slot: Slot,
        size: Text,
        inodes: Text,
        mode: Text,
        attrs: Attrs,
    },
    /// The jail's own procfs, detached, in `MOUNT`.
    NewProc {
        subset_pid: bool,
    },
    /// A private devpts instance, detached, in `MOUNT`.
    NewDevpts,
    /// An overlay over three directories of the current one, detached, in `MOUNT`. For trials.
    NewOverlay {
        lower: Text,
        upper: Text,
        work: Text,
    },
    /// Lay the new root over the old one and make it the current directory.
    AttachRoot,
    MakeDir {
        path: Text,
        mode: u32,
    },
    MakeLink {
        path: Text,
        target: Text,
    },
    /// An empty file, to be mounted on.
    MakePoint {
        path: Text,
        mode: u32,
    },
    /// A small file with this content; the NUL is not written.
    MakeFile {
        path: Text,
        content: Text,
        mode: u32,
    },
    /// Open `path` of the host into `SOURCE`, following neither symbolic nor magic links, and demand
    /// that it is still the file that the plan was made for.
    OpenSource {
        path: Text,
        major: u32,
        minor: u32,
        inode: u64,
    },
    /// Open `path` below the new root into `SOURCE`, following no links.
    OpenInside {
        path: Text,
    },
    /// A detached copy of the mount of `SOURCE`, in `MOUNT`; `SOURCE` is closed.
    CloneTree {
        recursive: bool,
    },
    SetAttrs {
        slot: Slot,
        attrs: Attrs,
        recursive: bool,
    },
    /// Put the detached mount of `slot` on `dest` below the new root, following no links; `slot` is closed.
    Attach {
        slot: Slot,
        dest: Text,
    },
    /// pivot_root(".", ".").
    PivotRoot,
    /// Let go of the old root, which is stacked on the new one.
    DetachOldRoot,
    Chdir {
        path: Text,
    },
    Hostname {
        name: Text,
    },
    LoopbackUp,
    NewSession,
    Umask {
        mask: u32,
    },
    LockSecurebits,
    DropBoundingSet {
        last: u32,
    },
    DropCaps,
    NoNewPrivs,
    Undumpable,
    /// PR_SET_CHILD_SUBREAPER: what a PID namespace does for its init.
    BecomeReaper,
    /// Clone the payload, which goes on with its own script.
    SpawnPayload,
    /// Close every descriptor but those five.
    KeepOnly {
        slots: [Slot; 5],
    },
    Close {
        slot: Slot,
    },
    LandlockRuleset {
        handled: Handled,
    },
    LandlockAllow {
        path: Text,
        access: u64,
    },
    /// A rule for the file of `SOURCE`, which is closed.
    LandlockAllowSource {
        access: u64,
    },
    LandlockRestrict,
    Rlimit {
        resource: Rlimit,
        soft: u64,
        hard: u64,
    },
    /// Put a slot's descriptor on 0, 1 or 2.
    Stdio {
        slot: Slot,
        fd: i32,
    },
    /// SIG_DFL for these signals (bit 0 is signal 1), and then none held back.
    ResetSignals {
        signals: u64,
    },
    /// Mark every descriptor from 3 on close-on-exec.
    CloseOnExec,
    /// Write one byte.
    Open {
        gate: Slot,
    },
    /// Demand that `path` does not exist: it does on the host.
    ExpectAbsent {
        path: Text,
    },
    /// Demand that Landlock, and nothing else, refuses to open `path`.
    ExpectDenied {
        path: Text,
    },
    /// Demand that this limit reads back.
    ExpectRlimit {
        resource: Rlimit,
        value: u64,
    },
    /// Demand these effective ids.
    ExpectIds {
        uid: u32,
        gid: u32,
    },
    /// Demand empty capability sets, no_new_privs, and an empty bounding set (asked of `probe`).
    ExpectNoPrivileges {
        probe: Option<u32>,
    },
    /// Demand that signals do not leave the Landlock domain: the parent, which is outside, gets none.
    ExpectScoped,
    SetFilter {
        of: FilterOf,
    },
    /// Demand that the filter refuses a call that succeeds without it.
    ExpectFiltered,
    /// Demand that no internet socket can be made.
    ExpectNoInternet,
    /// Take the time.
    Stamp {
        moment: Moment,
    },
    /// Tell the supervisor the times that were taken.
    SendStamps,
    /// Demand that a filter with a listener can be set; it lets everything through. For trials.
    ExpectListener,
    /// Run the program.
    Exec,
    /// Reap until the payload ends, forward signals, end with the supervisor.
    Reap,
    /// Kill everything in the Landlock domain but init itself, and reap it.
    KillAll,
}

impl Op {
    /// Needs CAP_SYS_ADMIN (or another capability) in the user namespace.
    pub(crate) const fn needs_capability(&self) -> bool {
        matches!(
            self,
            Self::UnshareNet
                | Self::UnshareCgroup
                | Self::DropGroups
                | Self::SetGid { .. }
                | Self::SetUid { .. }
                | Self::MakePrivate
                | Self::NewTmpfs { .. }
                | Self::NewProc { .. }
                | Self::NewDevpts
                | Self::NewOverlay { .. }
                | Self::AttachRoot
                | Self::CloneTree { .. }
                | Self::SetAttrs { .. }
                | Self::Attach { .. }
                | Self::PivotRoot
                | Self::DetachOldRoot
                | Self::Hostname { .. }
                | Self::LoopbackUp
                | Self::LockSecurebits
                | Self::DropBoundingSet { .. }
        )
    }
}
