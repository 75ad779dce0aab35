//! The integration tests: they drive the shipped `jail` binary, as its users do.
//!
//! For: claims (what SECURITY.md promises), lifecycle (nothing is left behind), hosts that lack something, the
//! command line, the library.
//! Not for: the pure half (profile, policy, plan), whose tests stand beside the code.
//! Runs in: the caller's place, as root or as an ordinary user. What this host or this user cannot test is
//! skipped loudly; `JAIL_TESTS_REQUIRE=all` makes that a failure, but for the few tests that are for the other user,
//! and for those that no host has the means for together: `v1`, `v2`, `io`, `swap` and `systemd` are required by name.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on must fail, and says where"
)]

mod support;

mod cgroups;
mod claims;
mod cli;
mod docs;
mod doctor;
mod hosts;
mod library;
mod lifecycle;
mod security;
mod selftest;
mod soak;
