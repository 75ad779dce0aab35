//! Runs a program nobody trusts on a machine that matters, and tells the truth about what happened.

pub mod policy;
pub mod profile;

mod error;
mod report;

pub use error::{Error, ErrorKind};
pub use policy::Policy;
pub use profile::{Profile, ProfileError};
pub use report::Report;
