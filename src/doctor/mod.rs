//! The doctor: which protections this host offers, which it refuses, why, and what to do about it.
//!
//! For: [`examine`] and what it finds. Each step that a run takes is tried in a child of its own, and the whole
//! run is rehearsed: every step but the program. Pure data out; `jail doctor` prints it.
//! Not for: carrying anything out (see `sandbox`), or guessing: no step is called working that was not tried.
//! Runs in: the supervisor.

mod facts;
mod remedy;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};
use crate::host::{CgroupVersion, Host};
use crate::policy::{Layer, Policy, Workspace};
use crate::report::{ErrorInfo, Posture, ProfileId};
use crate::sandbox::plan::ids::IdMap;
use crate::sandbox::plan::trial::{Thing, Trial};
use crate::sandbox::supervisor::trial::{self, At, Refused};
use crate::sandbox::{Command, Sandbox};

use facts::Facts;

pub use facts::About;
pub use remedy::{Place, Remedy};

/// The format of [`Examination`]; changes with every change that a reader could stumble over.
pub const SCHEMA: &str = "jail.doctor/1";

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examination {
    /// [`SCHEMA`].
    pub schema: String,
    /// Version of `jail`.
    pub jail_version: String,
    /// The machine and the caller.
    pub host: About,
    /// The policy that was asked about.
    pub profile: ProfileId,
    /// A run with this policy starts here: it was rehearsed up to the program.
    pub would_run: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorInfo>,
    /// In what the rehearsal differs from a run in the current directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Each layer, in the order of reports.
    pub layers: Vec<LayerFinding>,
}

/// One layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerFinding {
    /// Its name.
    pub layer: String,
    /// Every step of it that the policy needs works here.
    pub works: bool,
    /// At which tier: `v2`, `v1`, `ABI 7`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// What a run would get.
    pub with_profile: WithProfile,
    /// What it stands on.
    pub steps: Vec<StepFinding>,
}

/// What a run with the policy would get of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WithProfile {
    /// It holds.
    Enforced,
    /// It is missing, and the policy gave it up by name.
    Degraded,
    /// It is missing and required: the run is refused.
    Missing,
    /// The policy goes without it.
    NotAsked,
}

impl WithProfile {
    /// The name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enforced => "enforced",
            Self::Degraded => "degraded",
            Self::Missing => "missing",
            Self::NotAsked => "not asked",
        }
    }
}

/// One step, tried by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepFinding {
    /// Its name.
    pub step: String,
    /// How it went.
    pub outcome: Outcome,
    /// A run with the policy takes it.
    pub needed: bool,
    /// What exactly was refused: `init step: new proc subset=pid`, a file and a value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// The name of the error number: `EPERM`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno: Option<String>,
    /// Why, as far as it can be told, in one sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What to do, one for each place where it can be done. Each gives away as little as possible.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remedies: Vec<Remedy>,
}

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was carried out.
    Works,
    /// It was refused.
    Fails,
    /// What it stands on was refused already.
    Untried,
    /// This caller has no use for it.
    Unused,
}

/// What is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    Child(Thing),
    /// A copy of the mount of the caller's own directory, which a root caller makes itself.
    OwnTree,
    IdMap,
    Group(Layer),
}

impl Check {
    const fn name(self) -> &'static str {
        match self {
            Self::OwnTree => "own tree",
            Self::IdMap => "id-mapped mounts",
            Self::Group(_) => "group",
            Self::Child(thing) => match thing {
                Thing::Clone => "clone",
                Thing::User => "user",
                Thing::Ids => "one-id map",
                Thing::Mount => "mount",
                Thing::Pid => "pid",
                Thing::Net => "namespace",
                Thing::Ipc => "ipc",
                Thing::Uts => "uts",
                Thing::Cgroup => "cgroup",
                Thing::Tmpfs => "tmpfs",
                Thing::Bind => "bind",
                Thing::Proc => "proc",
                Thing::Pty => "pty",
                Thing::Overlay => "overlay",
                Thing::Pivot => "pivot_root",
                Thing::Loopback => "loopback",
                Thing::Caps => "none left",
                Thing::Rlimits => "soft and hard",
                Thing::Landlock => "rules",
                Thing::Seccomp => "filter",
                Thing::Listener => "notify",
            },
        }
    }

    /// What it stands on, in the order in which that is tried.
    const fn stands_on(self) -> &'static [Thing] {
        match self {
            Self::Group(_) => &[],
            Self::OwnTree | Self::IdMap => &[Thing::Clone, Thing::User],
            Self::Child(thing) => match thing {
                Thing::Clone => &[],
                Thing::User | Thing::Rlimits | Thing::Landlock | Thing::Seccomp | Thing::Listener => &[Thing::Clone],
                Thing::Ids => &[Thing::Clone, Thing::User],
                Thing::Mount | Thing::Pid | Thing::Net | Thing::Ipc | Thing::Uts | Thing::Cgroup | Thing::Caps => {
                    &[Thing::Clone, Thing::User, Thing::Ids]
                }
                Thing::Tmpfs | Thing::Bind | Thing::Pty => &[Thing::Clone, Thing::User, Thing::Ids, Thing::Mount],
                Thing::Proc => &[Thing::Clone, Thing::User, Thing::Ids, Thing::Mount, Thing::Pid],
                Thing::Pivot | Thing::Overlay => &[Thing::Clone, Thing::User, Thing::Ids, Thing::Mount, Thing::Tmpfs],
                Thing::Loopback => &[Thing::Clone, Thing::User, Thing::Ids, Thing::Net],
            },
        }
    }
}

/// The steps of each layer. A step comes after those that it stands on.
const fn checks(layer: Layer) -> &'static [Check] {
    match layer {
        Layer::Namespaces => &[
            Check::Child(Thing::Clone),
            Check::Child(Thing::User),
            Check::Child(Thing::Mount),
            Check::Child(Thing::Pid),
            Check::Child(Thing::Ipc),
            Check::Child(Thing::Uts),
            Check::Child(Thing::Cgroup),
        ],
        Layer::Rootfs => &[
            Check::Child(Thing::Tmpfs),
            Check::Child(Thing::Bind),
            Check::OwnTree,
            Check::Child(Thing::Proc),
            Check::Child(Thing::Pty),
            Check::Child(Thing::Pivot),
            Check::Child(Thing::Overlay),
        ],
        Layer::Ids => &[Check::Child(Thing::Ids), Check::IdMap],
        Layer::Caps => &[Check::Child(Thing::Caps)],
        Layer::Landlock => &[Check::Child(Thing::Landlock)],
        Layer::Seccomp => &[Check::Child(Thing::Seccomp), Check::Child(Thing::Listener)],
        Layer::CgroupMemory => &[Check::Group(Layer::CgroupMemory)],
        Layer::CgroupPids => &[Check::Group(Layer::CgroupPids)],
        Layer::CgroupCpu => &[Check::Group(Layer::CgroupCpu)],
        Layer::Rlimits => &[Check::Child(Thing::Rlimits)],
        Layer::Net => &[Check::Child(Thing::Net), Check::Child(Thing::Loopback)],
    }
}

/// Tries everything that a run under `policy` stands on, then rehearses one of `command`, whose program does not
/// matter. `sandbox` is what the host was found to be, or why it cannot be looked at. It takes some tens of
/// milliseconds, and leaves nothing behind but, where systemd was asked for one, this process in a scope.
#[must_use]
pub fn examine(policy: &Policy, sandbox: Result<Sandbox, Error>, command: &Command) -> Examination {
    let facts = Facts::look();
    let (layers, rehearsed) = match sandbox {
        Ok(sandbox) => {
            let found = Patient { policy, host: sandbox.host(), facts: &facts, broken: Vec::new() }.layers();
            (found, rehearse(&sandbox, policy, command))
        }
        // Without /proc no id map can be written, and no mount be looked up.
        Err(error) => (nothing_tried(&error), Err(error)),
    };
    let (posture, note, error) = match rehearsed {
        Ok((posture, note)) => (Some(posture), note, None),
        Err(error) => (None, None, Some(ErrorInfo::from(&error))),
    };
    let layers = layers.into_iter().map(|found| found.under(policy, posture.as_ref())).collect();
    Examination {
        schema: SCHEMA.to_owned(),
        jail_version: env!("CARGO_PKG_VERSION").to_owned(),
        host: facts.about(),
        profile: ProfileId { name: policy.name.clone(), digest: policy.digest() },
        would_run: posture.is_some(),
        error,
        note,
        layers,
    }
}

/// In the caller's own directory, or, where that may not be a workspace, without one.
fn rehearse(sandbox: &Sandbox, policy: &Policy, command: &Command) -> Result<(Posture, Option<String>), Error> {
    match sandbox.rehearse(command) {
        Ok(posture) => Ok((posture, None)),
        Err(error) if error.kind() == ErrorKind::Usage && policy.workspace.value != Workspace::None => {
            let mut policy = policy.clone();
            policy.workspace.value = Workspace::None;
            let posture = sandbox.under(policy)?.rehearse(command)?;
            Ok((posture, Some(format!("tried without a workspace, for {error}"))))
        }
        Err(error) => Err(error),
    }
}

fn nothing_tried(error: &Error) -> Vec<LayerFinding> {
    let untried = |check: &Check| StepFinding {
        step: check.name().to_owned(),
        outcome: Outcome::Untried,
        needed: true,
        refused: None,
        errno: None,
        cause: Some(error.to_string()),
        remedies: Vec::new(),
    };
    Layer::ALL
        .into_iter()
        .map(|layer| LayerFinding {
            layer: layer.name().to_owned(),
            works: false,
            tier: None,
            with_profile: WithProfile::Missing,
            steps: checks(layer).iter().map(untried).collect(),
        })
        .collect()
}

/// Who is examined.
struct Patient<'a> {
    policy: &'a Policy,
    host: &'a Host,
    facts: &'a Facts,
    /// What others stand on and does not work.
    broken: Vec<Thing>,
}

impl Patient<'_> {
    fn layers(mut self) -> Vec<LayerFinding> {
        // Everything but the bare clones stands on the ids.
        for thing in [Thing::Clone, Thing::User, Thing::Ids] {
            if self.attempt(Check::Child(thing)).is_err() {
                self.broken.push(thing);
            }
        }
        Layer::ALL.into_iter().map(|layer| self.layer(layer)).collect()
    }

    fn layer(&mut self, layer: Layer) -> LayerFinding {
        let steps: Vec<StepFinding> = checks(layer).iter().map(|check| self.step(*check)).collect();
        LayerFinding {
            layer: layer.name().to_owned(),
            works: steps.iter().all(|step| !step.needed || step.outcome == Outcome::Works),
            tier: self.tier(layer),
            with_profile: WithProfile::Missing,
            steps,
        }
    }

    fn step(&mut self, check: Check) -> StepFinding {
        let mut found = StepFinding {
            step: check.name().to_owned(),
            outcome: Outcome::Works,
            needed: self.needs(check),
            refused: None,
            errno: None,
            cause: None,
            remedies: Vec::new(),
        };
        if matches!(check, Check::OwnTree | Check::IdMap) && !self.privileged() {
            (found.outcome, found.needed) = (Outcome::Unused, false);
            found.cause = Some("an ordinary caller's files are shown under its own id, by the child".to_owned());
            return found;
        }
        if let Some(missing) = check.stands_on().iter().find(|thing| self.broken.contains(thing)) {
            found.outcome = Outcome::Untried;
            found.cause = Some(format!("it stands on {}, which does not work", Check::Child(*missing).name()));
            return found;
        }
        if let Err(refused) = self.attempt(check) {
            if let Check::Child(thing) = check
                && !self.broken.contains(&thing)
            {
                self.broken.push(thing);
            }
            let (cause, remedies) = remedy::explain(check, &refused, self.facts, self.policy);
            found.outcome = Outcome::Fails;
            found.errno = refused.errno.map(|errno| format!("{:?}", nix::errno::Errno::from_raw(errno)));
            found.refused = Some(refused.what);
            found.cause = Some(cause);
            found.remedies = remedies;
        }
        found
    }

    fn attempt(&self, check: Check) -> Result<(), Refused> {
        let as_refused = |error: Error| Refused { at: At::Step, what: error.to_string(), errno: error.errno() };
        match check {
            Check::Child(thing) => {
                let trial = Trial::new(thing, self.policy, self.host).map_err(as_refused)?;
                trial::attempt(&trial)
            }
            Check::OwnTree => trial::own_tree(&self.host.caller.cwd, self.host, false).map_err(as_refused),
            Check::IdMap => trial::own_tree(&self.host.caller.cwd, self.host, true).map_err(as_refused),
            Check::Group(layer) => trial::group(layer, self.policy, self.host).map_err(as_refused),
        }
    }

    /// A root caller's jails have an id of their own, and its files are shown by the supervisor.
    fn privileged(&self) -> bool {
        IdMap::new(self.host, 0).is_ok_and(|map| map.privileged)
    }

    /// Whether a run takes this step.
    fn needs(&self, check: Check) -> bool {
        match check {
            Check::Child(thing) => thing.needed(self.policy),
            Check::OwnTree => self.privileged() && self.policy.workspace.value != Workspace::None,
            // What is only read is shown as it is where it cannot be mapped.
            Check::IdMap => self.privileged() && self.policy.workspace.value == Workspace::Write,
            Check::Group(_) => true,
        }
    }

    fn tier(&self, layer: Layer) -> Option<String> {
        match layer {
            Layer::Landlock => self.host.landlock.ok().map(|abi| format!("ABI {abi}")),
            Layer::CgroupMemory | Layer::CgroupPids | Layer::CgroupCpu => {
                crate::sandbox::plan::trial::home(layer, self.host).map(|home| match home.version {
                    CgroupVersion::V1 => "v1".to_owned(),
                    CgroupVersion::V2 if self.host.scope.is_some() => "v2 in a scope of systemd's".to_owned(),
                    CgroupVersion::V2 => "v2".to_owned(),
                })
            }
            Layer::Namespaces => {
                Some(if self.host.clone3 { "clone3" } else { "clone, for clone3 is hidden" }.to_owned())
            }
            Layer::Ids => Some(if self.privileged() { "an id of its own" } else { "the caller's id" }.to_owned()),
            Layer::Rootfs | Layer::Caps | Layer::Seccomp | Layer::Rlimits | Layer::Net => None,
        }
    }
}

impl LayerFinding {
    /// Adds what a run gets: the rehearsal's word where there was one, else what its steps say.
    fn under(mut self, policy: &Policy, posture: Option<&Posture>) -> Self {
        let layer = Layer::from_name(&self.layer).first().copied();
        let (requested, applied) = match posture.and_then(|posture| posture.layers.get(&self.layer)) {
            Some(status) => (status.requested, status.applied),
            None => (self.steps.iter().any(|step| step.needed), self.works),
        };
        let given_up = layer.is_some_and(|layer| policy.degradable.contains_key(&layer));
        self.with_profile = match (requested, applied, given_up) {
            (false, ..) => WithProfile::NotAsked,
            (true, true, _) => WithProfile::Enforced,
            (true, false, true) => WithProfile::Degraded,
            (true, false, false) => WithProfile::Missing,
        };
        self
    }
}
