//! Runs a program nobody trusts on a machine that matters, and tells the truth about what happened.
//!
//! This is the library behind the `jail` command, for programs that run other people's code: judges,
//! CI runners, coding agents, notebook servers. It needs Linux and no privileges; `SECURITY.md` says
//! what it promises and what it does not, the README how it compares.
//!
//! # From a profile to a report
//!
//! Each type is a state, made from the one before:
//!
//! ```text
//! Profile ──► Policy ──► Sandbox ──► Plan ──► Running ──► Report
//!  text       meaning    + host      steps    processes   what happened
//! ```
//!
//! ```
//! use jail::{Command, Policy, Profile, Sandbox, Stdin};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let profile = Profile::parse(
//!     "example",
//!     r#"
//!         extends = ["strict"]
//!         ## Where no cgroup is delegated to us, go without. Leave this out, and such a host is an error.
//!         allow_degraded = ["cgroup"]
//!         [fs]
//!         workspace = "none"
//!         [limits]
//!         wall = "5s"
//!         memory = "128M"
//!     "#,
//! )?;
//! // Every mistake at once, each with its line.
//! let policy = Policy::new(&profile)?;
//! // Probes this host. Keep it: any number of runs and threads can share it.
//! let sandbox = Sandbox::new(policy)?;
//!
//! // Bytes in, bytes out, and a report whatever happens.
//! let command = Command::new("tr").args(["a-z", "A-Z"]).stdin(Stdin::Bytes(b"hello".to_vec()));
//! let report = sandbox.run(&command);
//! assert_eq!(report.exit_code, 0, "{:?}", report.error);
//! assert_eq!(report.output.stdout.bytes(), b"HELLO");
//! assert!(report.posture.layers["seccomp"].witnessed);
//! println!("{} ms, {:?} bytes at most", report.time.wall_ms, report.memory.peak_bytes);
//! # Ok(())
//! # }
//! ```
//!
//! [`Sandbox::run`] does not return an error: what kept the program from running is in
//! [`Report::error`], with verdict [`InternalError`](report::VerdictKind::InternalError) or
//! [`ExecFailed`](report::VerdictKind::ExecFailed) and the exit code that the command would give.
//!
//! # Start, wait, kill
//!
//! [`Sandbox::start`] returns once the program runs, or with the reason why it does not. A [`Running`]
//! that is dropped is killed, with everything in it, and reaped.
//!
//! ```
//! use std::time::{Duration, Instant};
//!
//! use jail::report::VerdictKind;
//! use jail::{Command, ErrorKind, Policy, Profile, Sandbox};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let text = "extends = [\"strict\"]\nallow_degraded = [\"cgroup\"]\n[fs]\nworkspace = \"none\"";
//! # let sandbox = Sandbox::new(Policy::new(&Profile::parse("example", text)?)?)?;
//! let sleep = Command::new("sleep").arg("60");
//!
//! let mut running = sandbox.start(&sleep)?;
//! running.kill();
//! assert_eq!(running.wait().verdict.kind, VerdictKind::Cancelled);
//!
//! let began = Instant::now();
//! drop(sandbox.start(&sleep)?);
//! assert!(began.elapsed() < Duration::from_secs(10));
//!
//! // An error says what, which value, and, where there is something to do about it, what.
//! let Err(error) = sandbox.start(&Command::new("/usr/bin")) else { panic!("it ran") };
//! assert_eq!((error.kind(), error.exit_code()), (ErrorKind::NotExecutable, 126));
//! println!("{error}\n{}", error.hint().unwrap_or_default());
//! # Ok(())
//! # }
//! ```
//!
//! # In a program of yours
//!
//! No signal handler is installed, no thread started, no `waitpid(-1)` called, and no environment
//! variable set. A run is a clone of the calling process that executes no code but the sandbox's own
//! before the program, so other threads are allowed; cloning takes longer the more memory the caller
//! has touched (0.2 ms at 4 MiB, 28 ms at 1 GiB). The kernel takes a run's network namespace down some time after
//! its end, and each costs one descriptor until then: where runs follow each other faster than that, a start waits,
//! up to a second, so that no more than 64 are left. The thread that starts a run should live as long as
//! the run: the kernel's parent-death signal follows the thread, not the process. SIGPIPE has to be ignored, as
//! it is in every Rust program: a program that closes its stdin would otherwise end its caller.
//!
//! # Words
//!
//! | Word | Meaning |
//! |---|---|
//! | profile | what a person writes, in TOML: [`Profile`] |
//! | policy | what it means, every default filled in, checked: [`Policy`] |
//! | host | what was found out about this machine, by trying |
//! | plan, step | policy, host and command as an ordered list of steps, before anything is started: [`Plan`] |
//! | supervisor | the caller's own process while it follows a run |
//! | init | the first process inside: builds the root, then reaps, forwards signals and ends with the supervisor |
//! | payload | the program and everything that it starts |
//! | view | what of the machine's files the payload sees |
//! | workspace | the directory that is worked in, shown at its own path |
//! | layer | one protection: `namespaces`, `rootfs`, `ids`, `caps`, `landlock`, `seccomp`, `cgroup.memory`, `cgroup.pids`, `cgroup.cpu`, `rlimits`, `net` |
//! | posture | for each layer: requested, applied, witnessed (tried from inside, or read back): [`report::Posture`] |
//! | degraded | a layer that this host cannot provide and that the policy gave up by name |
//! | limit, usage | what a run may use, and what it did use |
//! | wall time, CPU time | by the clock; by the processors, all processes added up |
//! | verdict | the one reason why a run ended, with its evidence: [`report::Verdict`] |
//! | claim | a numbered promise in `SECURITY.md`, with the test that holds it |
//!
//! Architectures: x86_64. aarch64 is written for and untested.

pub mod doctor;
pub mod policy;
pub mod profile;

mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod host;
pub mod report;
mod sandbox;
mod systemd;

pub use error::{Error, ErrorKind, describe};
pub use policy::Policy;
pub use profile::{Profile, ProfileError};
pub use report::Report;
#[doc(hidden)]
pub use sandbox::attempt;
pub use sandbox::{Command, OutputMode, Plan, Running, Sandbox, Stdin, inherited_descriptor};

/// Compiles and runs the README's example with the others.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
