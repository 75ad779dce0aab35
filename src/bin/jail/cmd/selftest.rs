//! `jail selftest`: tries to break out, on this host and with this profile.
//!
//! For: its flags. The battery is in `selftest`.
//! Runs in: the supervisor's place; every run is a `jail run` of its own.

use jail::Error;

use crate::args::SelftestArgs;
use crate::selftest::{self, Selection};
use crate::{FAILED, overrides, render};

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
    };
    match selftest::battery(policy, &selection) {
        Ok(code) => code,
        Err(error) => {
            render::error(&error);
            error.exit_code()
        }
    }
}
