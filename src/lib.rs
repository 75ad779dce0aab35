//! Runs a program nobody trusts on a machine that matters, and tells the truth about what happened.

pub mod policy;
pub mod profile;

mod error;
mod host;
pub mod report;
mod sandbox;

pub use error::{Error, ErrorKind};
pub use policy::Policy;
pub use profile::{Profile, ProfileError};
pub use report::Report;
pub use sandbox::{Command, OutputMode, Plan, Running, Sandbox, Stdin, inherited_descriptor};
