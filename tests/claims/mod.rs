//! The promises of SECURITY.md, one test or more for each numbered claim.
//!
//! For: showing that each holds. A test has three parts: the positive control (without the rule the probe
//! succeeds), the exact answer inside, and the allowed neighbour that still works.
//! Not for: what happens around a run (see `lifecycle`) or the words of messages (see `cli`).
//! Runs in: the test process; the probe runs inside and outside.

mod env;
mod fs;
mod ids;
mod limits;
mod net;
mod proc;
mod run;
mod syscalls;
// The table is that of x86-64.
#[cfg(target_arch = "x86_64")]
mod table;

use crate::support::{Jail, needs, outside};
