//! `jail plan`: prints every step that a run would take.
//!
//! For: audits, bug reports, and "why can it not see this file?".
//! Not for: starting anything.
//! Runs in: the supervisor.

use jail::{Error, Plan};

use crate::args::PlanArgs;
use crate::{FAILED, overrides, render};

#[inline(never)]
pub(crate) fn plan(args: &PlanArgs) -> u8 {
    if args.command.is_empty() {
        render::short_usage();
        return FAILED;
    }
    match make(args) {
        Ok(plan) => render::result(&plan.to_string()),
        Err(error) => {
            render::error(&error);
            error.exit_code()
        }
    }
}

fn make(args: &PlanArgs) -> Result<Plan, Error> {
    let command = overrides::command(&args.sandbox, &args.command)?;
    overrides::sandbox(&args.sandbox, overrides::policy(&args.sandbox)?)?.plan(&command)
}
