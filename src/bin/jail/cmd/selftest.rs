//! `jail selftest`: tries to break out, on this host and with this profile.
//!
//! For: its flags. The battery is in `selftest`.
//! Runs in: the supervisor's place; every run is a `jail run` of its own.

use jail::policy::Workspace;
use jail::{Command, Error, Policy};

use crate::args::{SandboxArgs, SelftestArgs};
use crate::selftest::{self, Selection};
use crate::{FAILED, overrides, render};

#[inline(never)]
pub(crate) fn selftest(args: &SelftestArgs) -> u8 {
    if args.list {
        return render::result(&selftest::list());
    }
    let files = &args.sandbox.files;
    if files.workspace.is_some() || args.sandbox.program.chdir.is_some() {
        render::error(&Error::usage("--workspace and --chdir: the self-test works in directories of its own"));
        return FAILED;
    }
    let policy = match overrides::policy(&args.sandbox) {
        Ok(policy) => policy,
        Err(error) => {
            render::profile_error(&error);
            return FAILED;
        }
    };
    let jobs = args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(2, |count| count.get().min(8)));
    let selection = Selection {
        only: args.only.clone(),
        skip: args.skip.clone(),
        jobs,
        json: args.json,
        require_all: args.require_all,
        no_systemd: args.sandbox.profile.no_systemd,
    };
    make_room(&policy, &args.sandbox);
    match selftest::battery(policy, &selection) {
        Ok(code) => code,
        Err(error) => {
            render::error(&error);
            error.exit_code()
        }
    }
}

/// Goes where the runs' groups can be made beside this process, as `jail run` does it: into a leaf of a group that it
/// has to itself, or a scope of systemd's. Here, since the battery's own processes would be in the way later.
fn make_room(policy: &Policy, args: &SandboxArgs) {
    let mut policy = policy.clone();
    // The battery has no directory yet.
    policy.workspace.value = Workspace::None;
    let rehearsed = overrides::sandbox(args, policy).and_then(|sandbox| sandbox.rehearse(&Command::new("true")));
    // The battery's first run says the same better.
    drop(rehearsed);
}
