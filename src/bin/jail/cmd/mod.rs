//! The subcommands, one file each. Every one returns the exit code.

pub(crate) mod doctor;
pub(crate) mod plan;
pub(crate) mod profile;
pub(crate) mod run;
pub(crate) mod selftest;
