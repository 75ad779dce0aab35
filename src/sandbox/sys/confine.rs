//! Confinement: capabilities(7), landlock(7), seccomp(2), prctl(2).
//!
//! For: what the child does to itself before exec.
//! Runs in: the child; [`landlock_abi`] and [`last_capability`] also in the supervisor.

use super::fd::{Fd, drop_result};
use super::raw::{call, int, to_int, word};
use super::{Errno, Result};

fn prctl(option: i32, a: [usize; 4]) -> Result<usize> {
    let [a0, a1, a2, a3] = a;
    // SAFETY: none of the options that this module passes follows a pointer.
    unsafe { call(libc::SYS_prctl, [int(option), a0, a1, a2, a3, 0]) }
}

/// PR_SET_PDEATHSIG: SIGKILL when the thread that cloned this process ends. Cleared by every change of ids.
pub(crate) fn die_with_parent() -> Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, [int(libc::SIGKILL), 0, 0, 0]).map(drop_result)
}

/// PR_SET_DUMPABLE 0: nobody without capabilities over this process may trace it or read its /proc files.
pub(crate) fn undumpable() -> Result<()> {
    prctl(libc::PR_SET_DUMPABLE, [0; 4]).map(drop_result)
}

/// PR_SET_NO_NEW_PRIVS: exec never gives privileges again.
pub(crate) fn no_new_privs() -> Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, [1, 0, 0, 0]).map(drop_result)
}

/// PR_SET_CHILD_SUBREAPER: descendants that lose their parent become children of this process.
pub(crate) fn become_reaper() -> Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, [1, 0, 0, 0]).map(drop_result)
}

/// PR_GET_NO_NEW_PRIVS.
pub(crate) fn has_no_new_privs() -> Result<bool> {
    prctl(libc::PR_GET_NO_NEW_PRIVS, [0; 4]).map(|value| value == 1)
}

/// PR_SET_SECUREBITS: uid 0 means nothing, and all of it locked. Needs CAP_SETPCAP.
pub(crate) fn lock_securebits() -> Result<()> {
    const NOROOT_SETUIDFIXUP_KEEPCAPS_AMBIENT: u64 = 0xef; // each with its lock; KEEP_CAPS off and locked
    prctl(libc::PR_SET_SECUREBITS, [word(NOROOT_SETUIDFIXUP_KEEPCAPS_AMBIENT), 0, 0, 0]).map(drop_result)
}

/// PR_CAPBSET_DROP of one capability. Needs CAP_SETPCAP.
pub(crate) fn drop_bounding(capability: u32) -> Result<()> {
    prctl(libc::PR_CAPBSET_DROP, [word(u64::from(capability)), 0, 0, 0]).map(drop_result)
}

/// PR_CAPBSET_READ of one capability.
pub(crate) fn in_bounding(capability: u32) -> Result<bool> {
    prctl(libc::PR_CAPBSET_READ, [word(u64::from(capability)), 0, 0, 0]).map(|value| value == 1)
}

/// The highest capability that this kernel knows: it refuses to speak of others (EINVAL). Supervisor.
pub(crate) fn last_capability() -> u32 {
    const NEWEST: u32 = 40; // CAP_CHECKPOINT_RESTORE, Linux 5.9
    // Any other failure says nothing, and none may be left out: the step that drops it then fails.
    let is_known = |capability: u32| !matches!(in_bounding(capability), Err(Errno(libc::EINVAL)));
    if is_known(NEWEST) {
        (NEWEST..64).take_while(|capability| is_known(*capability)).last().unwrap_or(NEWEST)
    } else {
        (0..NEWEST).rev().find(|capability| is_known(*capability)).unwrap_or(0)
    }
}

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// capset(2): no effective, permitted or inheritable capability; the ambient set follows.
pub(crate) fn drop_all_caps() -> Result<()> {
    let header = CapHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let data = [CapData { effective: 0, permitted: 0, inheritable: 0 }; 2];
    let a = [(&raw const header).addr(), (&raw const data).addr(), 0, 0, 0, 0];
    // SAFETY: the kernel reads the header and two data words, alive over the call.
    unsafe { call(libc::SYS_capset, a) }.map(drop_result)
}

/// capget(2): whether the three sets are empty.
pub(crate) fn has_no_caps() -> Result<bool> {
    let header = CapHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let mut data = [CapData { effective: !0, permitted: !0, inheritable: !0 }; 2];
    let a = [(&raw const header).addr(), (&raw mut data).addr(), 0, 0, 0, 0];
    // SAFETY: the kernel reads the header and writes two data words into `data`, borrowed exclusively.
    unsafe { call(libc::SYS_capget, a) }?;
    let [low, high] = data;
    Ok(low.effective | low.permitted | low.inheritable | high.effective | high.permitted | high.inheritable == 0)
}

/// landlock_create_ruleset(2) with LANDLOCK_CREATE_RULESET_VERSION: the ABI of this kernel. ENOSYS: not
/// built in; EOPNOTSUPP: switched off at boot.
pub(crate) fn landlock_abi() -> Result<u32> {
    const VERSION: u64 = 1;
    // SAFETY: with this flag the attribute must be null and the size 0.
    let abi = unsafe { call(libc::SYS_landlock_create_ruleset, [0, 0, word(VERSION), 0, 0, 0]) }?;
    u32::try_from(abi).map_err(|_out_of_range| Errno(libc::ERANGE))
}

/// What a Landlock ruleset handles, that is, forbids unless a rule allows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Handled {
    /// LANDLOCK_ACCESS_FS_*.
    pub(crate) fs: u64,
    /// LANDLOCK_ACCESS_NET_*, ABI 4.
    pub(crate) net: u64,
    /// LANDLOCK_SCOPE_*, ABI 6.
    pub(crate) scoped: u64,
}

/// landlock_create_ruleset(2), Linux 5.13. A kernel whose attribute is shorter takes the longer one as
/// long as what it does not know is 0.
pub(crate) fn landlock_ruleset(handled: Handled) -> Result<Fd> {
    let a = [(&raw const handled).addr(), size_of::<Handled>(), 0, 0, 0, 0];
    // SAFETY: the kernel reads one attribute of the given size, alive over the call; the new
    // descriptor belongs to this process.
    unsafe { call(libc::SYS_landlock_create_ruleset, a) }.map(to_int)
}

/// landlock_add_rule(2), LANDLOCK_RULE_PATH_BENEATH: allows `access` on `beneath` and all below it.
pub(crate) fn landlock_allow(ruleset: Fd, beneath: Fd, access: u64) -> Result<()> {
    #[repr(C, packed)]
    struct PathBeneath {
        allowed_access: u64,
        parent_fd: i32,
    }
    const PATH_BENEATH: usize = 1;
    let rule = PathBeneath { allowed_access: access, parent_fd: beneath };
    let a = [int(ruleset), PATH_BENEATH, (&raw const rule).addr(), 0, 0, 0];
    // SAFETY: the kernel reads one packed attribute of 12 bytes, alive over the call.
    unsafe { call(libc::SYS_landlock_add_rule, a) }.map(drop_result)
}

/// landlock_restrict_self(2): from now on the ruleset holds for this task and what it starts.
pub(crate) fn landlock_restrict(ruleset: Fd) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { call(libc::SYS_landlock_restrict_self, [int(ruleset), 0, 0, 0, 0, 0]) }.map(drop_result)
}

/// seccomp(2), SECCOMP_SET_MODE_FILTER. Needs no_new_privs.
pub(crate) fn set_filter(filter: &[libc::sock_filter]) -> Result<()> {
    install(filter, 0).map(drop_result)
}

/// The same with SECCOMP_FILTER_FLAG_NEW_LISTENER (Linux 5.0) and a filter that lets every call through: the
/// listener. EBUSY: an outer filter has one already.
pub(crate) fn set_listener() -> Result<Fd> {
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    let filter = [libc::sock_filter { code: RETURN, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW }];
    install(&filter, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER).map(to_int)
}

fn install(filter: &[libc::sock_filter], flags: libc::c_ulong) -> Result<usize> {
    #[repr(C)]
    struct Program {
        len: u16,
        filter: *const libc::sock_filter,
    }
    let Ok(len) = u16::try_from(filter.len()) else { return Err(Errno(libc::EINVAL)) };
    let program = Program { len, filter: filter.as_ptr() };
    let a = [word(u64::from(libc::SECCOMP_SET_MODE_FILTER)), word(flags), (&raw const program).addr(), 0, 0, 0];
    // SAFETY: the kernel reads the program header and `len` instructions behind it; `filter` is
    // borrowed over the call. With a listener the new descriptor belongs to this process.
    unsafe { call(libc::SYS_seccomp, a) }
}

/// unshare(2) of nothing. Without a filter it succeeds and does nothing; ours refuses every unshare.
pub(crate) fn unshare_nothing() -> Result<()> {
    // SAFETY: no pointers; no flag, so nothing changes.
    unsafe { call(libc::SYS_unshare, [0; 6]) }.map(drop_result)
}
