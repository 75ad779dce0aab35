//! Landlock: from the view to rules.
//!
//! For: which rights are handled (all that the kernel knows) and which of them each part of the view gets.
//! Not for: making the ruleset, which the child does from these numbers.
//! Runs in: the supervisor.
//!
//! Rules come from the same table as the mounts, so the two layers say the same twice. Landlock adds
//! rights up along a path and cannot take any away below: a read-only directory inside a writable one
//! is kept read-only by its mount alone.

use std::path::Path;

use landlock::{ABI, Access as _, AccessFs, AccessNet, BitFlags, Scope};

use crate::policy::{Access, Net, in_order, lies_in, same_path};
use crate::sandbox::sys::confine::Handled;

/// What a ruleset of this kernel can forbid, given its ABI.
pub(super) struct Rights {
    abi: ABI,
}

/// The newest ABI whose rights are known here; a newer kernel's are not handled. ABI 11 (Linux 7.3) forbids
/// nothing that 10 does not: tried there, bit by bit.
pub(super) const NEWEST: u32 = 11;

/// The first ABI that keeps signals and abstract unix sockets within (Linux 6.12).
pub(super) const SCOPES: u32 = 6;

impl Rights {
    /// Rights of a newer ABI than the `landlock` crate knows are not handled.
    pub(super) fn new(abi: u32) -> Self {
        Self { abi: i32::try_from(abi).map_or(ABI::V10, ABI::from) }
    }

    /// For the payload: everything. Where the network is the jail's own loopback or the host's, TCP and
    /// UDP ports are not Landlock's to forbid.
    pub(super) fn payload(&self, net: Net) -> Handled {
        let handled_net = match net {
            Net::None => AccessNet::from_all(self.abi).bits(),
            Net::Loopback | Net::Host => 0,
        };
        Handled { fs: self.all().bits(), net: handled_net, scoped: Scope::from_all(self.abi).bits() }
    }

    /// For init, which may touch no file and no port. It has to signal the payload, which is outside
    /// its domain, so signals are not scoped.
    pub(super) fn init(&self) -> Handled {
        let scoped = (Scope::from_all(self.abi) & BitFlags::from(Scope::AbstractUnixSocket)).bits();
        Handled { fs: self.all().bits(), net: AccessNet::from_all(self.abi).bits(), scoped }
    }

    /// Around init and the payload where there is no PID namespace: nothing but the scopes, so that neither signals
    /// nor abstract sockets get out, and all that is inside can be killed in one step.
    pub(super) fn domain(&self) -> Handled {
        Handled { fs: 0, net: 0, scoped: Scope::from_all(self.abi).bits() }
    }

    fn all(&self) -> BitFlags<AccessFs> {
        AccessFs::from_all(self.abi)
    }

    fn known(&self, rights: BitFlags<AccessFs>) -> u64 {
        (rights & self.all()).bits()
    }

    /// A directory or file of the view.
    pub(super) fn of(&self, access: Access, is_dir: bool) -> u64 {
        let mut rights = AccessFs::ReadFile | AccessFs::ReadDir;
        if access.executes() {
            rights |= AccessFs::Execute;
        }
        if access.writes() {
            rights |= AccessFs::WriteFile
                | AccessFs::Truncate
                | AccessFs::RemoveDir
                | AccessFs::RemoveFile
                | AccessFs::MakeDir
                | AccessFs::MakeReg
                | AccessFs::MakeSym
                | AccessFs::MakeFifo
                | AccessFs::MakeSock
                | AccessFs::Refer;
        }
        if !is_dir {
            rights &= AccessFs::from_file(self.abi);
        }
        self.known(rights)
    }

    /// A tree of the system's programs and libraries. Truncation, which a read-only mount and the files' owner forbid,
    /// is not forbidden here a third time: each open(2) looks for that right too (what is opened could be truncated
    /// later), and where it is not found below the rule, goes on to the root.
    pub(super) fn system(&self) -> u64 {
        self.of(Access::Rx, true) | self.known(BitFlags::from(AccessFs::Truncate))
    }

    /// A scratch file system: as a writable directory, and sockets may be connected to.
    pub(super) fn tmpfs(&self) -> u64 {
        self.of(Access::Rwx, true) | self.known(BitFlags::from(AccessFs::ResolveUnix))
    }

    /// Directories of our own root may be listed, nothing more.
    pub(super) fn list(&self) -> u64 {
        self.known(BitFlags::from(AccessFs::ReadDir))
    }

    /// `/dev`: the few nodes there are for reading, writing and their own ioctls, which the filter
    /// goes through one by one.
    pub(super) fn devices(&self) -> u64 {
        self.known(
            AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev,
        )
    }

    /// A device node of the host, which is the same everywhere.
    pub(super) fn node(&self) -> u64 {
        self.known(AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev)
    }

    /// `/proc`: the own processes' files, some of which are for writing (`comm`, `oom_score_adj`).
    pub(super) fn proc(&self) -> u64 {
        self.known(AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::WriteFile | AccessFs::Truncate)
    }
}

/// The rules of a view: a path with no more rights than an ancestor has needs none of its own.
pub(super) fn reduce(mut rules: Vec<(std::path::PathBuf, u64)>) -> Vec<(std::path::PathBuf, u64)> {
    rules.sort_by(|(one, few), (other, more)| in_order(one, other).then(few.cmp(more)));
    let covers = |outer: &(std::path::PathBuf, u64), path: &Path, rights: u64| {
        outer.1 & rights == rights && lies_in(path, &outer.0) && !same_path(path, &outer.0)
    };
    let kept: Vec<_> = rules
        .iter()
        .filter(|(path, rights)| !rules.iter().any(|outer| covers(outer, path, *rights)))
        .cloned()
        .collect();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_grow_with_the_abi_and_read_only_never_writes() {
        let write = (AccessFs::WriteFile | AccessFs::MakeReg | AccessFs::RemoveFile | AccessFs::Truncate).bits();
        let mut before = 0;
        for abi in 1..=10 {
            let rights = Rights::new(abi);
            let handled = rights.payload(Net::None);
            assert_eq!(handled.fs & before, before, "ABI {abi} handles less than the one before");
            before = handled.fs;
            assert_eq!(rights.of(Access::Rx, true) & write, 0);
            assert_eq!(rights.of(Access::Ro, true) & AccessFs::Execute as u64, 0);
            let truncate = handled.fs & AccessFs::Truncate as u64;
            assert_eq!(rights.system(), rights.of(Access::Rx, true) | truncate, "and nothing else");
            assert_eq!(handled.net == 0, abi < 4);
            assert_eq!(handled.scoped == 0, abi < 6);
        }
        assert_eq!(Rights::new(99).payload(Net::None), Rights::new(10).payload(Net::None));
    }

    #[test]
    fn a_file_rule_has_no_directory_rights() {
        let rights = Rights::new(7);
        assert_eq!(rights.of(Access::Rwx, false) & AccessFs::ReadDir as u64, 0);
        assert_eq!(rights.of(Access::Rwx, false) & AccessFs::MakeReg as u64, 0);
    }

    #[test]
    fn a_covered_rule_is_dropped_and_a_wider_one_kept() {
        let rules = vec![("/".into(), 1), ("/a".into(), 3), ("/a/b".into(), 2), ("/a/c".into(), 4)];
        let expected: Vec<(std::path::PathBuf, u64)> = vec![("/".into(), 1), ("/a".into(), 3), ("/a/c".into(), 4)];
        assert_eq!(reduce(rules), expected);
    }
}
