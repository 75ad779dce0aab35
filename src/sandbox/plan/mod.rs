//! The plan: everything that one run does, decided before anything is started.
//!
//! For: `Plan = Policy × Host × Command`: ordered steps for the supervisor, for init and for the
//! payload. What is enforced, what is given up, which API is used, which path is meant: it is all
//! settled here, so the child has nothing to decide and `jail plan` can print what will happen.
//! Not for: doing any of it.
//! Runs in: the supervisor.
//!
//! One file for each mechanism: `cgroup`, `etc`, `exec`, `ids`, `landlock`, `limits`, `mounts` (from the
//! table in `view`), `seccomp`. What they make is put in order here and checked by `verify`.

pub(crate) mod cgroup;
mod etc;
mod exec;
pub(crate) mod ids;
mod landlock;
mod limits;
mod mounts;
pub(crate) mod op;
pub(crate) mod own;
mod print;
#[cfg(sabotage)]
mod sabotage;
pub(crate) mod seccomp;
#[cfg(test)]
mod tests;
pub(crate) mod trial;
mod verify;
pub(crate) mod view;
mod workspace;

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, ErrorKind};
use crate::host::{CgroupVersion, Found, Host};
use crate::policy::{Isolation, Layer, Net, Origin, Policy, Workspace};
use crate::sandbox::child::Script;
use crate::sandbox::sys::mount::Attrs;
use crate::sandbox::sys::process::{ExecBlock, Start};
use crate::sandbox::{Command, Terms};
use crate::systemd::{self, Scope};

use own::OwnPlaces;

use op::{FilterOf, Moment, Op, SLOTS, Slot, Text};

/// A step and the line that caused it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step<O> {
    pub(crate) op: O,
    pub(crate) origin: Origin,
}

/// What the supervisor does, around the clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HostOp {
    /// Have systemd move this process into a scope of its own, where it stays. Once there, a second time changes
    /// nothing.
    JoinScope { scope: Scope },
    /// Move this process into a leaf of its own group, where it stays: what it holds open there is its own
    /// life. Once moved, a second time changes nothing.
    MoveSelf { dir: PathBuf },
    /// mkdir(2) of a cgroup; undone by rmdir(2).
    MakeGroup { dir: PathBuf },
    /// Write to a cgroup file. An optional one may be missing.
    SetLimit { file: PathBuf, value: String, optional: bool },
    /// Make the user namespace that says which id a root caller's files are shown as.
    MakeIdMap { to_uid: u32, to_gid: u32 },
    /// A detached, id-mapped copy of the tree at `source`. A file system that cannot be id-mapped is an
    /// error, or with `plain_if_unsupported` is shown as it is.
    MapTree { source: Found, attrs: Attrs, slot: Slot, plain_if_unsupported: bool },
    /// A private directory with two in it, for TMPDIR and HOME, and a file that nobody inside may read; removed with
    /// all that is in it when the run is over.
    MakeScratch { dir: PathBuf },
    /// clone3(2) or clone(2); `into` is the cgroup v2 group that the child is born into.
    Clone { start: Start, namespaces: u64, into: Option<PathBuf> },
    /// Write `uid_map`, `gid_map` and `setgroups` of the child.
    WriteMaps { map: ids::IdMap },
    /// Let init go on.
    Release,
}

/// What becomes of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It will be applied. `witness` says whether the child tries it, or the supervisor reads it back.
    Applied { detail: String, witness: Witness },
    /// It will be applied, but this host cannot provide all of it, and the policy gave that up.
    InPart { detail: String, witness: Witness, reason: String },
    /// The isolation that was asked for goes without it.
    NotAsked,
    /// The policy gave it up, and this host cannot provide it.
    GivenUp { reason: String },
}

impl Fate {
    const fn applies(&self) -> bool {
        matches!(self, Self::Applied { .. } | Self::InPart { .. })
    }

    /// What this host lacks for it.
    fn lack(&self) -> Option<&str> {
        match self {
            Self::Applied { .. } | Self::NotAsked => None,
            Self::InPart { reason, .. } | Self::GivenUp { reason } => Some(reason),
        }
    }
}

/// How it is known that a layer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Witness {
    /// A step of the child, without which the program would not have started.
    Child,
    /// A counter of the group, which has seen the run's processes.
    Counter,
    /// The kernel's word only.
    No,
}

/// The ordered steps of one run, ready to be carried out.
#[derive(Debug)]
pub struct Plan {
    pub(crate) supervisor: Vec<Step<HostOp>>,
    pub(crate) init: Vec<Op>,
    pub(crate) payload: Vec<Op>,
    init_origins: Vec<Origin>,
    payload_origins: Vec<Origin>,
    arena: Vec<u8>,
    filters: Arc<seccomp::Programs>,
    exec: ExecBlock,
    pub(crate) groups: cgroup::Groups,
    pub(crate) fates: BTreeMap<Layer, Fate>,
    pub(crate) isolation: Isolation,
    pub(crate) kernel: String,
    pub(crate) landlock_abi: u32,
    pub(crate) cpus: u32,
}

/// What tells one run from another on this host.
#[derive(Debug, Clone)]
pub(crate) struct RunName {
    /// The name of its cgroup.
    pub(crate) name: String,
    /// Different for runs that are alive at the same time, as far as 32 bits go.
    pub(crate) number: u32,
    /// The supervisor counts the network namespaces of its runs, and looks at this one when init says that it is there.
    pub(crate) counted: bool,
}

/// The steps of one process of the child, and the line that caused each: apart, for the child reads the steps alone.
#[derive(Debug)]
pub(super) struct Steps {
    ops: Vec<Op>,
    origins: Vec<Origin>,
}

impl Steps {
    fn with_capacity(count: usize) -> Self {
        Self { ops: Vec::with_capacity(count), origins: Vec::with_capacity(count) }
    }

    fn push(&mut self, op: Op, origin: &Origin) {
        self.ops.push(op);
        self.origins.push(origin.clone());
    }

    fn retain(&mut self, keep: impl FnMut(&Op) -> bool) {
        let kept: Vec<bool> = self.ops.iter().map(keep).collect();
        let mut marks = kept.iter().chain(&kept);
        self.ops.retain(|_| marks.next() == Some(&true));
        self.origins.retain(|_| marks.next() == Some(&true));
    }
}

/// A plan in the making.
pub(super) struct Lowering<'a> {
    policy: &'a Policy,
    host: &'a Host,
    map: ids::IdMap,
    own: OwnPlaces,
    arena: Vec<u8>,
    init: Steps,
    payload: Steps,
    trees: Vec<Step<HostOp>>,
    next_slot: u8,
}

impl Plan {
    /// Decides everything.
    ///
    /// # Errors
    /// A layer that was asked for cannot be had here; the workspace may not be one; a source or the
    /// program is missing.
    pub(crate) fn new(terms: &Terms, host: &Host, command: &Command, run: &RunName) -> Result<Self, Error> {
        let Terms { policy, filters, .. } = terms;
        let isolation = policy.isolation.value;
        let own = OwnPlaces::new(isolation, host, run)?;
        let workspace = workspace::choose(policy, host, command)?;
        let view = view::View::new(policy, host, workspace.as_ref())?;
        own.is_apart_from(&view)?;
        let map = ids::IdMap::new(host, run.number)?;
        let fates = fates(policy, host, map)?;
        let applied = |layer: Layer| fates.get(&layer).is_some_and(Fate::applies);
        let cgroup_layers: Vec<Layer> = [Layer::CgroupMemory, Layer::CgroupPids, Layer::CgroupCpu]
            .into_iter()
            .filter(|layer| applied(*layer))
            .collect();
        let groups = cgroup::groups(host, &cgroup_layers, &run.name);
        let cwd = match (command.chdir(), &workspace, policy.workspace.value) {
            (Some(dir), Some(workspace), _) => workspace.path.join(dir),
            (Some(dir), None, _) => own.home.join(dir),
            (None, Some(workspace), Workspace::Read | Workspace::Write) => workspace.path.clone(),
            (None, _, _) => own.home.clone(),
        };
        if let (Some(dir), view::Inside::Missing | view::Inside::File { .. } | view::Inside::Other) =
            (command.chdir(), view.find_inside(&cwd))
        {
            return Err(Error::new(
                ErrorKind::Usage,
                format!("--chdir {}: there is no such directory in the jail", dir.display()),
            )
            .with_hint("name one that the view shows"));
        }
        let exec = exec::block(policy, host, &view, command, &cwd, &own)?;

        let mut plan = Lowering::new(policy, host, map, own.clone());
        let mut cgroup_steps = cgroup::lower(host, policy, &groups);
        plan.enter(&groups, run.counted);
        if isolation == Isolation::Full {
            mounts::lower(&mut plan, &view)?;
            plan.surroundings();
        }
        plan.init_confines_itself(applied(Layer::Landlock), applied(Layer::Seccomp));
        plan.payload_script(&view, &cwd, applied)?;

        let start = if host.clone3 { Start::Clone3 } else { Start::Clone };
        let into = groups.born_into().map(Path::to_owned);
        let mut supervisor = Vec::new();
        if !groups.after_the_clone() {
            supervisor.append(&mut cgroup_steps);
        }
        if !plan.trees.is_empty() {
            let op = HostOp::MakeIdMap { to_uid: map.uid, to_gid: map.gid };
            supervisor.push(Step { op, origin: Origin::Default });
            supervisor.append(&mut plan.trees);
        }
        let by_itself = |op| Step { op, origin: Origin::Default };
        let namespaces = match isolation {
            Isolation::Full => mounts::NAMESPACES,
            Isolation::Landlock => {
                supervisor.push(by_itself(HostOp::MakeScratch { dir: own.dir.clone() }));
                0
            }
        };
        supervisor.push(by_itself(HostOp::Clone { start, namespaces, into }));
        supervisor.append(&mut cgroup_steps);
        if isolation == Isolation::Full {
            supervisor.push(by_itself(HostOp::WriteMaps { map }));
        }
        supervisor.push(by_itself(HostOp::Release));
        #[cfg(sabotage)]
        let sabotaged = sabotage::leave_out(&mut supervisor, &mut plan.init, &mut plan.payload);
        let filters = if applied(Layer::Seccomp) { Arc::clone(filters) } else { Arc::default() };
        let Steps { ops: init, origins: init_origins } = plan.init;
        let Steps { ops: payload, origins: payload_origins } = plan.payload;
        let plan = Self {
            supervisor,
            init,
            payload,
            init_origins,
            payload_origins,
            arena: plan.arena,
            filters,
            exec,
            groups,
            fates,
            isolation,
            kernel: host.kernel.clone(),
            landlock_abi: host.landlock.unwrap_or(0),
            cpus: host.cpus,
        };
        #[cfg(sabotage)]
        if sabotaged {
            return Ok(plan);
        }
        plan.verify().map_err(|broken| {
            Error::new(ErrorKind::Internal, format!("the plan is not in order: {broken}"))
                .with_hint("this is a bug in jail; please report it with the output of jail plan")
        })?;
        Ok(plan)
    }

    /// What the child gets to see.
    pub(crate) fn script(&self) -> Script<'_> {
        Script {
            init: &self.init,
            payload: &self.payload,
            arena: &self.arena,
            init_filter: &self.filters.init,
            payload_filter: &self.filters.payload,
            exec: &self.exec,
        }
    }

    /// The same plan without the program: every step is carried out but the last. Then the payload ends, with
    /// exit code 1.
    pub(crate) fn without_exec(mut self) -> Self {
        if self.payload.last() == Some(&Op::Exec) {
            self.payload.pop();
        }
        self
    }

    /// The program's path inside.
    pub(crate) fn program(&self) -> &std::ffi::OsStr {
        self.exec.path()
    }

    /// Whether init says when its network namespace is there.
    pub(crate) fn tells_network(&self) -> bool {
        self.init.contains(&Op::TellNetwork)
    }

    /// Whether a layer is going to be applied.
    pub(crate) fn applies(&self, layer: Layer) -> bool {
        self.fates.get(&layer).is_some_and(Fate::applies)
    }
}

/// Decides each layer: what this host offers against what the policy asks for.
fn fates(policy: &Policy, host: &Host, map: ids::IdMap) -> Result<BTreeMap<Layer, Fate>, Error> {
    let mut fates = BTreeMap::new();
    let mut missing = Vec::new();
    for layer in Layer::ALL {
        let applied = |detail: &str, witness| Fate::Applied { detail: detail.to_owned(), witness };
        let fate = match layer {
            Layer::Namespaces | Layer::Rootfs if policy.isolation.value == Isolation::Landlock => Fate::NotAsked,
            Layer::Namespaces => applied("user mount pid ipc uts cgroup", Witness::Child),
            Layer::Rootfs => applied("tmpfs root, entered by pivot_root, old root detached", Witness::Child),
            Layer::Ids => applied(if map.privileged { "own host id" } else { "the caller's id" }, Witness::Child),
            Layer::Caps if policy.isolation.value == Isolation::Landlock => {
                applied("no capabilities, no_new_privs", Witness::Child)
            }
            Layer::Caps => applied("no capabilities, empty bounding set, no_new_privs", Witness::Child),
            Layer::Rlimits => applied("soft and hard alike", Witness::Child),
            Layer::Net => match policy.net.value {
                Net::None if policy.isolation.value == Isolation::Landlock => {
                    applied("none: no internet sockets", Witness::Child)
                }
                Net::None => applied("none: own namespace, no internet sockets", Witness::Child),
                Net::Loopback => applied("loopback: own namespace", Witness::No),
                Net::Host => applied("host: the host's network", Witness::No),
            },
            Layer::Seccomp => applied(&seccomp_detail(policy), Witness::Child),
            Layer::Landlock => landlock_fate(policy, host),
            Layer::CgroupMemory | Layer::CgroupPids | Layer::CgroupCpu => match cgroup::missing(host, layer) {
                Some(reason) => Fate::GivenUp { reason },
                None => applied(&cgroup_detail(host, layer), Witness::Counter),
            },
        };
        if let Some(reason) = fate.lack()
            && !policy.degradable.contains_key(&layer)
        {
            missing.push((layer, reason.to_owned()));
        }
        fates.insert(layer, fate);
    }
    let Some((layer, reason)) = missing.first() else { return Ok(fates) };
    let cgroup = layer.name().starts_with("cgroup.");
    let error = Error::new(ErrorKind::Unsupported, format!("{layer} cannot be enforced here: {reason}"));
    Err(if cgroup {
        let names: Vec<&str> =
            missing.iter().map(|(layer, _)| layer.name()).filter(|name| name.starts_with("cgroup.")).collect();
        let name = if names.len() == 3 { "cgroup".to_owned() } else { names.join(",") };
        let user = if host.uid == 0 { "" } else { "--user " };
        error.with_hint(format!(
            "run where a cgroup is delegated to you (systemd-run {user}--scope -p Delegate=yes jail …), \
             or go without by name: --allow-degraded {name}"
        ))
    } else {
        let remedy = landlock_remedy(host);
        error.with_hint(format!("{remedy}, or go without by name: --allow-degraded {layer}"))
    })
}

fn seccomp_detail(policy: &Policy) -> String {
    let named = match policy.isolation.value {
        Isolation::Full => Vec::new(),
        Isolation::Landlock => seccomp::Filter::named_for_the_host(&policy.syscalls),
    };
    match named[..] {
        [] => "allow-list".to_owned(),
        [..] => format!("allow-list; on all files of the caller's, for the profile names it: {}", named.join(", ")),
    }
}

/// Landlock of any ABI does what the mounts do. One thing it does alone: it keeps abstract unix sockets of the
/// host away from a program that has the host's network.
fn landlock_fate(policy: &Policy, host: &Host) -> Fate {
    match host.landlock {
        Ok(abi) if abi < landlock::SCOPES && policy.net.value == Net::Host => Fate::InPart {
            detail: format!("ABI {abi}"),
            witness: Witness::Child,
            reason: format!(
                "with the host's network, abstract unix sockets of the host are kept away by Landlock ABI {} alone, \
                 and this kernel has ABI {abi}",
                landlock::SCOPES
            ),
        },
        Ok(abi) => Fate::Applied {
            detail: if abi > landlock::NEWEST {
                format!("ABI {abi}, used as {}", landlock::NEWEST)
            } else {
                format!("ABI {abi}")
            },
            witness: Witness::Child,
        },
        Err(errno) => Fate::GivenUp { reason: landlock_reason(errno).to_owned() },
    }
}

const fn landlock_reason(errno: i32) -> &'static str {
    match errno {
        libc::ENOSYS => "this kernel has no Landlock, or a container's filter hides it",
        libc::EOPNOTSUPP => "Landlock is switched off at boot",
        libc::EPERM => "a container's filter forbids Landlock",
        _ => "the kernel refuses Landlock",
    }
}

const fn landlock_remedy(host: &Host) -> &'static str {
    match host.landlock {
        Err(libc::ENOSYS) => {
            "use a kernel from 5.13 on with CONFIG_SECURITY_LANDLOCK, allow the three landlock calls in the \
             container's seccomp profile"
        }
        Err(libc::EOPNOTSUPP) => "add landlock to the lsm= parameter of the kernel's command line",
        Err(_) => "allow the three landlock calls in the container's seccomp profile",
        Ok(_) => "use Linux 6.12 or later, leave the network at none",
    }
}

fn cgroup_detail(host: &Host, layer: Layer) -> String {
    let mut homes =
        cgroup::controllers(layer).iter().filter_map(|controller| host.cgroups.get(controller)?.as_ref().ok());
    let Some(home) = homes.next() else { return String::new() };
    match (home.version, systemd::scope_of(&home.dir)) {
        (CgroupVersion::V1, _) => "cgroup v1".to_owned(),
        (CgroupVersion::V2, None) => "cgroup v2".to_owned(),
        (CgroupVersion::V2, Some(scope)) => format!("cgroup v2, systemd scope {scope}"),
    }
}

impl<'a> Lowering<'a> {
    /// With room for a plan of the usual size.
    fn new(policy: &'a Policy, host: &'a Host, map: ids::IdMap, own: OwnPlaces) -> Self {
        Self {
            policy,
            host,
            map,
            own,
            arena: Vec::with_capacity(2048),
            init: Steps::with_capacity(160),
            payload: Steps::with_capacity(48),
            trees: Vec::new(),
            next_slot: Slot::FIRST_EXTRA,
        }
    }

    fn init(&mut self, op: Op, origin: &Origin) {
        self.init.push(op, origin);
    }

    fn payload(&mut self, op: Op, origin: &Origin) {
        self.payload.push(op, origin);
    }

    fn map_tree(&mut self, op: HostOp, origin: &Origin) {
        self.trees.push(Step { op, origin: origin.clone() });
    }

    /// A slot for a descriptor that the child inherits.
    fn slot(&mut self) -> Result<Slot, Error> {
        if usize::from(self.next_slot) >= SLOTS {
            return Err(Error::new(ErrorKind::Usage, "more than a hundred directories of a root caller in the view")
                .with_hint("show their common parent instead"));
        }
        let slot = Slot(self.next_slot);
        self.next_slot += 1;
        Ok(slot)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Text {
        let offset = u32::try_from(self.arena.len()).unwrap_or(u32::MAX);
        self.arena.extend_from_slice(bytes);
        self.arena.push(0);
        Text { offset, len: u32::try_from(bytes.len()).map_or(u32::MAX, |len| len.saturating_add(1)) }
    }

    fn text(&mut self, text: &str) -> Text {
        self.bytes(text.as_bytes())
    }

    fn path(&mut self, path: &Path) -> Text {
        self.bytes(path.as_os_str().as_bytes())
    }

    /// A path of the inside, relative to the new root.
    fn below_root(&mut self, path: &Path) -> Text {
        let path = path.as_os_str().as_bytes();
        self.bytes(path.strip_prefix(b"/").unwrap_or(path))
    }

    /// From the clone to the ids.
    fn enter(&mut self, groups: &cgroup::Groups, counted: bool) {
        let default = Origin::Default;
        // First: nothing may interrupt the set-up, and the end of the payload must not be missed.
        self.init(Op::HoldSignals, &default);
        // At once: an end of another run's pipe, copied because its thread was just starting it, must not
        // keep that pipe open.
        self.init(Op::CloseOthers, &default);
        if self.full() {
            // Not where this process has to live on for a moment, to kill what no namespace kills with it: there
            // the tie alone tells of the supervisor's end.
            self.init(Op::DieWithParent, &default);
        }
        if self.full() && self.policy.net.value != Net::Host {
            // Before the gate: it takes long, and the supervisor makes the groups meanwhile.
            let origin = self.policy.net.origin.clone();
            self.init(Op::UnshareNet, &origin);
            if counted {
                // At once: the supervisor looks at it before it opens the gate.
                self.init(Op::TellNetwork, &origin);
            }
        }
        // The supervisor makes the groups (v1) and writes the id maps: before them this process has no ids to
        // change to, and files that it makes would belong to nobody.
        self.init(Op::Await { gate: Slot::TIE }, &default);
        // Before the ids, while the group's files are still this process's to write; and before anything that the
        // program could have a part in, so that all of it is counted.
        for file in groups.join_files() {
            let file = self.path(&file);
            self.init(Op::JoinCgroup { file }, &default);
        }
        if !self.full() {
            // No ids to change to, and no root to build.
            self.init(Op::Stamp { moment: Moment::Entered }, &default);
            return;
        }
        // After joining: the group that it is in now becomes the root of what it sees.
        self.init(Op::UnshareCgroup, &default);
        if self.map.privileged {
            // Before the uid, which takes the right to do it away. An ordinary caller cannot drop its
            // groups in a user namespace (user_namespaces(7), "setgroups").
            self.init(Op::DropGroups, &default);
        }
        self.init(Op::SetGid { gid: ids::INSIDE }, &default);
        self.init(Op::SetUid { uid: ids::INSIDE }, &default);
        // Again: the kernel clears it when ids change.
        self.init(Op::DieWithParent, &default);
        // Before the first file is made: modes mean what they say.
        self.init(Op::Umask { mask: 0 }, &default);
        self.init(Op::Stamp { moment: Moment::Entered }, &default);
    }

    /// Host name and loopback, which need the capabilities that go next.
    fn surroundings(&mut self) {
        let (hostname, net) = (&self.policy.hostname, &self.policy.net);
        self.init(Op::Stamp { moment: Moment::Rooted }, &Origin::Default);
        let (name_origin, net_origin) = (hostname.origin.clone(), net.origin.clone());
        let name = self.text(&hostname.value.clone());
        self.init(Op::Hostname { name }, &name_origin);
        if self.policy.net.value == Net::Loopback {
            self.init(Op::LoopbackUp, &net_origin);
        }
    }

    /// What init and payload share is done once, before the payload is cloned; then init shuts itself in.
    fn init_confines_itself(&mut self, landlock: bool, seccomp: bool) {
        let default = Origin::Default;
        if self.full() {
            // Before the capabilities go: both need CAP_SETPCAP.
            self.init(Op::LockSecurebits, &default);
            self.init(Op::DropBoundingSet { last: self.host.last_cap }, &default);
        }
        // After everything that needs one: mounts, host name, loopback.
        self.init(Op::DropCaps, &default);
        // Before the filter and Landlock, which ask for it of a process without capabilities.
        self.init(Op::NoNewPrivs, &default);
        // Before the payload is there: nothing in the jail may trace init or read its memory, which is
        // a copy of the supervisor's. The payload's exec makes it dumpable again.
        self.init(Op::Undumpable, &default);
        if let (false, Ok(abi)) = (self.full(), self.host.landlock) {
            // Before the payload is there: it is born into the domain, and its orphans have somewhere to go. The
            // witness before everything that could signal: to kill all is only right where nobody else is reached.
            self.init(Op::BecomeReaper, &default);
            self.init(Op::LandlockRuleset { handled: landlock::Rights::new(abi).domain() }, &default);
            self.init(Op::LandlockRestrict, &default);
            self.init(Op::ExpectScoped, &default);
        }
        self.init(Op::SpawnPayload, &default);
        if landlock && let Ok(abi) = self.host.landlock {
            // After the clone: this is for init alone.
            let handled = landlock::Rights::new(abi).init();
            self.init(Op::LandlockRuleset { handled }, &default);
            self.init(Op::LandlockRestrict, &default);
        }
        self.init(
            Op::KeepOnly { slots: [Slot::SETUP, Slot::STATUS, Slot::TIE, Slot::CHILDREN, Slot::GATE_OPEN] },
            &default,
        );
        if seccomp {
            self.init(Op::SetFilter { of: FilterOf::Init }, &default);
        }
        // After its filter: the payload waits, so that a failure up to here still means that it never ran.
        self.init(Op::Open { gate: Slot::GATE_OPEN }, &default);
        self.init(Op::Close { slot: Slot::GATE_OPEN }, &default);
        // The supervisor sees the end of this pipe when the payload has executed the program as well.
        self.init(Op::Close { slot: Slot::SETUP }, &default);
        self.init(Op::Reap, &default);
        if !self.full() {
            // After the payload's end, or the supervisor's: what a PID namespace does when its init ends.
            self.init(Op::KillAll, &default);
        }
    }

    /// From the payload's clone to its exec.
    fn payload_script(&mut self, view: &view::View, cwd: &Path, applied: impl Fn(Layer) -> bool) -> Result<(), Error> {
        let (landlock, seccomp, counted) =
            (applied(Layer::Landlock), applied(Layer::Seccomp), applied(Layer::CgroupPids));
        let default = Origin::Default;
        // Out of the caller's session: no terminal to push input into, no signals from its keyboard.
        self.payload(Op::NewSession, &default);
        if !self.full() {
            // Should somebody outside kill init, at least this process goes with it.
            self.payload(Op::DieWithParent, &default);
            // Should init have ended before that, the gate says so: nobody else holds its other end.
            self.payload(Op::Close { slot: Slot::GATE_OPEN }, &default);
        }
        for (fd, slot) in (0..).zip(Slot::STDIO) {
            self.payload(Op::Stdio { slot, fd }, &default);
        }
        self.payload(Op::Umask { mask: 0o022 }, &default);
        let directory = self.path(cwd);
        self.payload(Op::Chdir { path: directory }, &default);
        if landlock && let Ok(abi) = self.host.landlock {
            // After the last mount, which Landlock would forbid; before the filter.
            self.landlock(view, &landlock::Rights::new(abi))?;
            let path = self.path(&self.own.decoy.clone());
            self.payload(Op::ExpectDenied { path }, &default);
        }
        if let (true, Some(outside)) = (self.full(), self.something_outside(view)) {
            let path = self.path(&outside);
            self.payload(Op::ExpectAbsent { path }, &default);
        }
        let (uid, gid) = if self.full() { (ids::INSIDE, ids::INSIDE) } else { (self.host.uid, self.host.gid) };
        self.payload(Op::ExpectIds { uid, gid }, &default);
        // Only a namespace's owner may empty the bounding set; no_new_privs makes that it gives nothing.
        self.payload(Op::ExpectNoPrivileges { probe: self.full().then_some(CAP_SYS_ADMIN) }, &default);
        // After the rules were opened: the limit on open files must not hit the set-up.
        for (op, origin) in limits::lower(self.policy, &self.host.hard_limits, self.nproc(counted)) {
            self.payload(op, &origin);
            if let Op::Rlimit { resource: libc::RLIMIT_NOFILE, soft, .. } = op {
                self.payload(Op::ExpectRlimit { resource: libc::RLIMIT_NOFILE, value: soft }, &default);
            }
        }
        // Before the mask is cleared: after clone(2) the caller's handlers are still there, and one of them must not
        // run here; after clone3(2) only what the caller ignores is.
        let signals = if self.host.clone3 { self.host.ignored_signals } else { ALL_SIGNALS };
        self.payload(Op::ResetSignals { signals }, &default);
        // After the last descriptor was opened; exec closes them all.
        self.payload(Op::CloseOnExec, &default);
        // Last before the filter, which may not know read(2): init is shut in by now.
        self.payload(Op::Await { gate: Slot::GATE_WAIT }, &default);
        // What the report says of the start; the filter may not know the clock.
        self.payload(Op::Stamp { moment: Moment::Confined }, &default);
        self.payload(Op::SendStamps, &default);
        if seccomp {
            let origin = self.policy.syscalls.allow.first().map_or(Origin::Default, |word| word.origin.clone());
            // Last: nothing but its witness and exec come after it.
            self.payload(Op::SetFilter { of: FilterOf::Payload }, &origin);
            self.payload(Op::ExpectFiltered, &default);
            if self.policy.net.value == Net::None {
                self.payload(Op::ExpectNoInternet, &default);
            }
        }
        self.payload(Op::Exec, &default);
        Ok(())
    }

    fn full(&self) -> bool {
        self.policy.isolation.value == Isolation::Full
    }

    /// The limit on tasks that the kernel counts by user. `counted` says that a cgroup counts them: then its counter
    /// of refused forks has to be the one that is met, and this one is out of its way.
    fn nproc(&self, counted: bool) -> Option<u64> {
        let limit = u64::from(self.policy.limits.pids.value) + 1;
        match (self.full(), counted) {
            // A backstop: since Linux 5.14 it counts the tasks of this uid in this user namespace, that is, of this
            // jail. One more than asked for, for init.
            (true, true) => Some(limit + 32),
            (true, false) => Some(limit),
            // All of the caller's on the host are counted.
            (false, true) => None,
            (false, false) => Some(limit.saturating_add(self.host.tasks_of_the_caller())),
        }
    }

    fn landlock(&mut self, view: &view::View, rights: &landlock::Rights) -> Result<(), Error> {
        let default = Origin::Default;
        let handled = rights.payload(self.policy.net.value);
        self.payload(Op::LandlockRuleset { handled }, &default);
        if !self.full() {
            self.landlock_on_the_host(view, rights);
            self.payload(Op::LandlockRestrict, &default);
            return Ok(());
        }
        let read = rights.of(crate::policy::Access::Ro, true);
        let mut rules = vec![
            (PathBuf::from("/"), rights.list()),
            ("/dev".into(), rights.devices()),
            ("/etc".into(), read),
            ("/proc".into(), rights.proc()),
        ];
        // What is the caller's own and lies below a tree of the system's would have the rights of that as well.
        let holds_callers = |dir: &Path| {
            let callers = |part: &&view::Part| matches!(part.shows, view::Shows::Bind { callers: true, .. });
            view.parts().iter().filter(callers).any(|part| crate::policy::lies_in(&part.dest, dir))
        };
        for part in view.parts() {
            match &part.shows {
                view::Shows::Bind { found, access, callers } => {
                    let rights = match (access, callers, &found.kind) {
                        (crate::policy::Access::Rx, false, crate::host::Kind::Dir) if !holds_callers(&part.dest) => {
                            rights.system()
                        }
                        (_, _, kind) => rights.of(*access, *kind == crate::host::Kind::Dir),
                    };
                    rules.push((part.dest.clone(), rights));
                }
                view::Shows::Tmpfs { .. } => rules.push((part.dest.clone(), rights.tmpfs())),
                view::Shows::Link { .. } => {}
            }
        }
        for (path, access) in landlock::reduce(rules) {
            let origin = view
                .parts()
                .iter()
                .find(|part| crate::policy::same_path(&part.dest, &path))
                .map_or(&default, |part| &part.origin)
                .clone();
            let path = self.path(&path);
            self.payload(Op::LandlockAllow { path, access }, &origin);
        }
        self.payload(Op::LandlockRestrict, &default);
        Ok(())
    }

    /// The rules in the host's own tree, where each is all that there is: for the file that the plan saw, and not
    /// for whatever has its name by then. Nothing of /proc, which would show the processes of the host.
    fn landlock_on_the_host(&mut self, view: &view::View, rights: &landlock::Rights) {
        let mut rules = Vec::new();
        for part in view.parts() {
            if let view::Shows::Bind { found, access, .. } = &part.shows {
                let rights = rights.of(*access, found.kind == crate::host::Kind::Dir);
                rules.push((found.clone(), rights, part.origin.clone()));
            }
        }
        let mut files: Vec<(PathBuf, u64)> = NODES.map(|node| (PathBuf::from(node), rights.node())).to_vec();
        if self.policy.net.value == Net::Host {
            files.extend(RESOLVER.map(|file| (PathBuf::from(file), rights.of(crate::policy::Access::Ro, false))));
        }
        for (path, access) in files {
            if let Ok(found) = self.host.files.find(&path) {
                rules.push((found, access, Origin::Default));
            }
        }
        for (found, access, origin) in rules {
            let path = self.path(&found.path);
            let op = Op::OpenSource { path, major: found.major, minor: found.minor, inode: found.inode };
            self.payload(op, &origin);
            self.payload(Op::LandlockAllowSource { access }, &origin);
        }
        for dir in [self.own.temporary.clone(), self.own.home.clone()] {
            let path = self.path(&dir);
            self.payload(Op::LandlockAllow { path, access: rights.tmpfs() }, &Origin::Default);
        }
    }

    /// A directory that the host has and the jail must not have: the witness of the private root.
    fn something_outside(&self, view: &view::View) -> Option<PathBuf> {
        ["/sys", "/var", "/boot", "/root", "/srv", "/mnt", "/opt"]
            .into_iter()
            .map(PathBuf::from)
            .find(|path| view.find_inside(path) == view::Inside::Missing && self.host.files.look(path).is_ok())
    }
}

const CAP_SYS_ADMIN: u32 = 21;

/// All but those two that have no handler.
const ALL_SIGNALS: u64 = !(1 << (libc::SIGKILL - 1) | 1 << (libc::SIGSTOP - 1));

/// The device nodes that a program gets where it sees the host's.
const NODES: [&str; 5] = ["/dev/full", "/dev/null", "/dev/random", "/dev/urandom", "/dev/zero"];

/// What names are looked up by, with the host's network.
const RESOLVER: [&str; 5] = ["/etc/gai.conf", "/etc/host.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/resolv.conf"];
