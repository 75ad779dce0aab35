//! The policy: what a profile means, with every default filled in.
//!
//! For: the validated, host-independent description of one sandbox. The same profile text gives
//! the same policy and the same [`Policy::digest`] on a laptop and on the server.
//! Not for: anything that looks at the machine (that is the `host` module and the plan). Nothing here
//! does I/O, calls the kernel or reads a clock.
//! Runs in: the supervisor, before anything is started.

mod digest;
mod paths;
mod print;
mod types;
mod validate;

pub(crate) use paths::{in_order, lies_in, same_path};
pub use types::{
    Access, Bytes, EnvVar, Isolation, Layer, Limits, Located, MilliCpus, Millis, Net, OnOverflow, Origin, Output, Proc,
    Quota, SystemCalls, Tmpfs, ViewEntry, Workspace,
};

use std::collections::BTreeMap;

use crate::profile::{Profile, ProfileError};

/// A validated sandbox description. Made from a [`Profile`] by [`Policy::new`], used by
/// [`Sandbox::new`](crate::Sandbox::new).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The name of the outermost profile, for reports: `strict`, `judge`, a file's path.
    pub name: String,
    /// One line of what the profile is for.
    pub description: String,
    /// What keeps the program apart from the host.
    pub isolation: Located<Isolation>,
    /// What of the host is shown, sorted by destination, so that a parent comes before what lies below
    /// it; destinations are unique.
    pub view: Vec<Located<ViewEntry>>,
    /// Private, size-limited scratch file systems, sorted like the view; destinations are unique and
    /// differ from the view's.
    pub tmpfs: Vec<Located<Tmpfs>>,
    /// How the working directory of the run is shown.
    pub workspace: Located<Workspace>,
    /// How much of `/proc` is shown.
    pub proc: Located<Proc>,
    /// The network of the jail.
    pub net: Located<Net>,
    /// The system calls that are let through.
    pub syscalls: SystemCalls,
    /// What bounds the run.
    pub limits: Limits,
    /// What happens to stdout and stderr.
    pub output: Output,
    /// The environment besides the synthesised minimum; names are unique.
    pub env: Vec<Located<EnvVar>>,
    /// The host name inside.
    pub hostname: Located<String>,
    /// Layers that the run may go without when this host cannot provide them, and who said so.
    pub degradable: BTreeMap<Layer, Origin>,
}

impl Policy {
    /// Makes the policy that a merged profile means.
    ///
    /// # Errors
    /// Every violation of a range or cross-field rule, all at once, each with its file and line.
    pub fn new(profile: &Profile) -> Result<Self, ProfileError> {
        validate::policy(profile)
    }

    /// The policy as a profile: every value, its origin in a comment behind it. Read back as a profile,
    /// it gives a policy with the same digest.
    #[must_use]
    pub fn to_toml(&self) -> String {
        print::toml(self, print::Comments::Origins)
    }

    /// SHA-256 over the canonical form, in lower-case hex: equal for policies that mean the same,
    /// whatever file or flag each value came from.
    #[must_use]
    pub fn digest(&self) -> String {
        digest::sha256(self)
    }
}
