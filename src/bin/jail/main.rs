//! The `jail` command.
//!
//! For: dispatch, and the exit code.
//! Not for: anything that contains a program; that is the library, of which this crate sees the public
//! API alone.
//! Runs in: the supervisor.

mod args;
mod cmd;
mod overrides;
mod render;
mod selftest;
mod sink;

use std::process::ExitCode;
use std::time::Instant;

use args::Subcommand;

/// musl's own allocator takes twice as long for a start.
#[cfg(target_env = "musl")]
#[global_allocator]
static HEAP: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// `jail` itself failed: usage, profile, unsupported host, set-up.
const FAILED: u8 = 125;

fn main() -> ExitCode {
    let began = Instant::now();
    if nix::unistd::getuid() != nix::unistd::geteuid() || nix::unistd::getgid() != nix::unistd::getegid() {
        // It would hand its owner's privileges to whoever calls it, with flags of their choosing.
        render::error(&jail::Error::usage("is not made to be a set-uid or set-gid program"));
        return ExitCode::from(FAILED);
    }
    // The half of the self-test that runs inside. It takes no options, and is nobody's to call.
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == selftest::INSIDE) {
        return ExitCode::from(selftest::inside(words.collect()));
    }
    let code = match args::parse(std::env::args_os().collect()) {
        Ok(Subcommand::Run(args)) => cmd::run::run(&args, began),
        Ok(Subcommand::Doctor(args)) => cmd::doctor::doctor(&args),
        Ok(Subcommand::Plan(args)) => cmd::plan::plan(&args),
        Ok(Subcommand::Profile(args)) => cmd::profile::profile(&args),
        Ok(Subcommand::Selftest(args)) => cmd::selftest::selftest(&args),
        // --help and --version come this way too.
        Err(answer) => {
            render::usage(&answer);
            if answer.use_stderr() { FAILED } else { 0 }
        }
    };
    ExitCode::from(code)
}
