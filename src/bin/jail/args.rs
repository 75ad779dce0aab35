//! The command line as it was typed.
//!
//! For: flags, their names, aliases and help; where options end and the command begins.
//! Not for: reading values (the profile's parsers do that, see `overrides`).
//! Runs in: the supervisor.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgGroup, Args, CommandFactory, FromArgMatches, Parser};

const AFTER_HELP: &str = "\
Subcommands (the first word, before any option):
  jail run [OPTIONS] COMMAND…           the same as jail [OPTIONS] COMMAND…
  jail doctor [OPTIONS]                 say what this machine offers, what not, and the remedy
  jail plan [OPTIONS] COMMAND…          print every step that a run would take, and run nothing
  jail profile list|show|check          look at profiles
  jail selftest [OPTIONS]               try to break out, on this host and with this profile
To run a program with one of these names: jail -- plan, or jail ./plan

Examples:
  jail python3 script.py                with the profile strict: 30 s, 512 MiB, no network
  jail -m 1G -t 2m ./solution < input   more memory and time
  jail -p build make -j4                writable workspace, room for a compiler
  jail -r /srv/data -e TZ -- ./report   one more directory, one variable of yours
  jail --report run.json ./program      what happened, as JSON

Exit codes:
  the program's own, or 128+n when signal n ended it
  124  wall or CPU time limit           125  jail itself failed; the program did not run
  126  found but not executable         127  not found
  137  memory limit                     153  output or file size limit
  159  refused system call              130, 143  jail was interrupted";

const DOCTOR_HELP: &str = "\
Exit codes:
  0    a run would start: every step was carried out
  125  it would not, and the table says why; or jail itself failed

It changes nothing and leaves nothing behind. Run it as the user who will run jail.";

/// What was asked for. On the heap, and each read and carried out by a function that is not inlined: in one frame with
/// all the others, a run would touch the stack of every one of them.
#[derive(Debug)]
pub(crate) enum Subcommand {
    Run(Box<RunArgs>),
    Doctor(Box<DoctorArgs>),
    Plan(Box<PlanArgs>),
    Profile(Box<ProfileArgs>),
    Selftest(Box<SelftestArgs>),
}

/// Reads the command line. A subcommand is a subcommand only as the very first word, so that no
/// option changes what the words behind it mean.
pub(crate) fn parse(mut argv: Vec<OsString>) -> Result<Subcommand, clap::Error> {
    let first = argv.get(1).and_then(|word| word.to_str()).unwrap_or_default().to_owned();
    // The parsers see the subcommand's full name in the place of the program's.
    let mut behind = |name: &str| {
        argv.remove(0);
        if let Some(word) = argv.first_mut() {
            *word = name.into();
        }
    };
    match first.as_str() {
        "run" => {
            behind("jail run");
            read("jail run", argv).map(Subcommand::Run)
        }
        "doctor" => {
            behind("jail doctor");
            read("jail doctor", argv).map(Subcommand::Doctor)
        }
        "plan" => {
            behind("jail plan");
            read("jail plan", argv).map(Subcommand::Plan)
        }
        "profile" => {
            behind("jail profile");
            read("jail profile", argv).map(Subcommand::Profile)
        }
        "selftest" => {
            behind("jail selftest");
            read("jail selftest", argv).map(Subcommand::Selftest)
        }
        _ => read("jail", argv).map(Subcommand::Run),
    }
}

#[inline(never)]
fn read<T: CommandFactory + FromArgMatches>(name: &'static str, argv: Vec<OsString>) -> Result<Box<T>, clap::Error> {
    let mut command = T::command().name(name).bin_name(name);
    let mut matches = command.try_get_matches_from_mut(argv)?;
    T::from_arg_matches_mut(&mut matches).map(Box::new).map_err(|error| error.format(&mut command))
}

/// Runs a program nobody trusts on a machine that matters, and tells the truth about what happened.
///
/// The first word that is not an option is the command; everything behind it is the command's own.
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP, args_override_self = true, override_usage = "jail [OPTIONS] [--] COMMAND [ARGS]...")]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) sandbox: SandboxArgs,
    #[command(flatten)]
    pub(crate) io: IoArgs,
    /// The program and its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true, hide = true)]
    pub(crate) command: Vec<OsString>,
}

/// Prints every step that a run would take, with the line of the profile behind each. Runs nothing.
#[derive(Debug, Parser)]
#[command(args_override_self = true, override_usage = "jail plan [OPTIONS] [--] COMMAND [ARGS]...")]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) sandbox: SandboxArgs,
    /// The program and its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true, hide = true)]
    pub(crate) command: Vec<OsString>,
}

/// Tries every step that a run takes, each by itself, and rehearses a whole run up to the program. Says for each layer
/// what works here, what a run with these options would get, and for each gap the cause and the remedy.
///
/// Give it the options of the run that is in question; without any it is about the profile strict.
#[derive(Debug, Parser)]
#[command(args_override_self = true, override_usage = "jail doctor [OPTIONS]", after_help = DOCTOR_HELP)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) sandbox: SandboxArgs,
    /// Print what was found as JSON (schema/doctor-1.json)
    #[arg(long)]
    pub(crate) json: bool,
}

/// Looks at profiles.
#[derive(Debug, Parser)]
pub(crate) struct ProfileArgs {
    #[command(subcommand)]
    pub(crate) action: ProfileAction,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum ProfileAction {
    /// Names and descriptions of the shipped profiles and of yours
    List,
    /// Print a profile's text
    Show {
        /// Name or path
        name: String,
        /// Print what it means: everything that it extends and every default, with the origin of each value
        #[arg(long)]
        resolved: bool,
    },
    /// Report every mistake in profiles, with file and line
    Check {
        /// Paths or names
        #[arg(required = true, value_name = "FILE")]
        files: Vec<String>,
    },
}

const SELFTEST_HELP: &str = "\
Outcomes:
  held        the attempt was held back, with exactly the answer that was to come
  works       the program did what it should
  granted     the profile lets it through (--net host, --rw …); it was tried all the same
  not judged  nobody can say here, for the reason given: a program that is not installed, a layer that
              was given up, a call that is refused outside of the sandbox in the same way
  FAILED      the sandbox did not hold, or a program that has to work does not

Every attempt that is harmless outside is made there first: one that is refused there in the same way
proves nothing. Bombs stop by themselves at a ceiling, also when the sandbox fails.

Examples:
  jail selftest                         with the profile strict
  jail selftest --profile mine          with yours
  jail selftest --only network -j 1     one class, one case at a time
  jail selftest --json --require-all    for CI

Exit codes:
  0    everything that was judged held
  1    something failed, or nothing could be judged, or with --require-all something was not
  125  the battery could not be begun      130, 143  interrupted; nothing is left";

/// Tries to break out of the sandbox, on this host and with this profile, and says what held.
///
/// Some two hundred escape attempts, resource bombs and programs that must still work, each as a run of its own.
#[derive(Debug, Parser)]
#[command(after_help = SELFTEST_HELP, args_override_self = true, override_usage = "jail selftest [OPTIONS]")]
pub(crate) struct SelftestArgs {
    #[command(flatten)]
    pub(crate) sandbox: SandboxArgs,
    /// Only these cases or classes, separated by commas
    #[arg(long, value_name = "ID|CLASS", value_delimiter = ',', help_heading = "Battery")]
    pub(crate) only: Vec<String>,
    /// Not these
    #[arg(long, value_name = "ID|CLASS", value_delimiter = ',', help_heading = "Battery")]
    pub(crate) skip: Vec<String>,
    /// How many cases run at once; bombs always run alone [default: the number of CPUs, at most 8]
    #[arg(short, long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=64), help_heading = "Battery")]
    pub(crate) jobs: Option<usize>,
    /// Print the cases and run nothing
    #[arg(long, help_heading = "Battery")]
    pub(crate) list: bool,
    /// Print the result as JSON, instead of the table
    #[arg(long, help_heading = "Battery")]
    pub(crate) json: bool,
    /// Fail also when something could not be judged
    #[arg(long, help_heading = "Battery")]
    pub(crate) require_all: bool,
}

/// What the sandbox is.
#[derive(Debug, Args)]
pub(crate) struct SandboxArgs {
    #[command(flatten)]
    pub(crate) profile: ProfileFlags,
    #[command(flatten)]
    pub(crate) files: FileFlags,
    #[command(flatten)]
    pub(crate) program: ProgramFlags,
    #[command(flatten)]
    pub(crate) limits: LimitFlags,
    #[command(flatten)]
    pub(crate) walls: WallFlags,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Profile")]
pub(crate) struct ProfileFlags {
    /// Profile to start from; given more than once, later ones win [default: strict]
    #[arg(short, long = "profile", value_name = "NAME|PATH")]
    pub(crate) profiles: Vec<String>,
    /// Go without LAYER where this host cannot provide it; cgroup stands for its three layers
    #[arg(long, value_name = "LAYER", value_delimiter = ',')]
    pub(crate) allow_degraded: Vec<String>,
    /// What keeps the program apart: full, or landlock, which does with less where user namespaces are forbidden
    #[arg(long, value_name = "KIND", value_parser = ["full", "landlock"])]
    pub(crate) isolation: Option<String>,
    /// Do not ask systemd for a scope where the own cgroup cannot have groups with limits
    #[arg(long)]
    pub(crate) no_systemd: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Files (nothing of this machine is visible unless it is named)", group = ArgGroup::new("shown").multiple(false))]
pub(crate) struct FileFlags {
    /// Show a file or directory for reading, at its own path or at D
    #[arg(short, long, value_name = "S[:D]", visible_aliases = ["ro-bind", "fs-read"])]
    pub(crate) ro: Vec<String>,
    /// … for reading and executing
    #[arg(long, value_name = "S[:D]")]
    pub(crate) rx: Vec<String>,
    /// … for reading and writing
    #[arg(short = 'w', long, value_name = "S[:D]", visible_aliases = ["bind", "fs-write"])]
    pub(crate) rw: Vec<String>,
    /// … for reading, writing and executing
    #[arg(long, value_name = "S[:D]")]
    pub(crate) rwx: Vec<String>,
    /// Empty private directory in memory, such as /scratch:size=64M,inodes=16k
    #[arg(long, value_name = "D[:OPTIONS]")]
    pub(crate) tmpfs: Vec<String>,
    /// Directory to show as the workspace, even / or a home directory [default: the current one]
    #[arg(long, value_name = "PATH")]
    pub(crate) workspace: Option<PathBuf>,
    /// How the workspace is shown
    #[arg(long, value_name = "ACCESS", value_parser = ["none", "read", "write"], group = "shown")]
    pub(crate) workspace_access: Option<String>,
    /// The same as --workspace-access none
    #[arg(long, group = "shown")]
    pub(crate) no_workspace: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Program")]
pub(crate) struct ProgramFlags {
    /// Directory inside to start in [default: the workspace]
    #[arg(short = 'C', long, value_name = "DIR", visible_aliases = ["cwd", "workdir"])]
    pub(crate) chdir: Option<PathBuf>,
    /// Set a variable, or keep yours of this name; all others are left out
    #[arg(short, long, value_name = "K[=V]", visible_alias = "setenv")]
    pub(crate) env: Vec<String>,
    /// Host name inside
    #[arg(long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits (of the whole process tree, unless they say otherwise)")]
pub(crate) struct LimitFlags {
    /// Wall time: 500ms, 10s, 2m, 1h, or none
    #[arg(short, long, value_name = "DURATION", visible_aliases = ["wall-time", "time-limit"])]
    pub(crate) timeout: Option<String>,
    /// CPU time, or none
    #[arg(long, value_name = "DURATION")]
    pub(crate) cpu_time: Option<String>,
    /// CPU rate: 0.5 is half of one CPU, or none
    #[arg(long, value_name = "N")]
    pub(crate) cpus: Option<String>,
    /// Memory, swap included: 64K, 512M, 1G (binary units)
    #[arg(short, long, value_name = "SIZE", visible_alias = "max-memory")]
    pub(crate) memory: Option<String>,
    /// Processes and threads
    #[arg(long, value_name = "N", visible_aliases = ["pids-limit", "max-processes"])]
    pub(crate) pids: Option<String>,
    /// Open files of one process
    #[arg(long, value_name = "N", visible_alias = "max-open-files")]
    pub(crate) nofile: Option<String>,
    /// Size of one file, or none
    #[arg(long, value_name = "SIZE")]
    pub(crate) fsize: Option<String>,
    /// Size of a core dump
    #[arg(long, value_name = "SIZE")]
    pub(crate) core: Option<String>,
    /// Stack of a process
    #[arg(long, value_name = "SIZE")]
    pub(crate) stack: Option<String>,
    /// Output to stdout and stderr together, or none
    #[arg(long, value_name = "SIZE")]
    pub(crate) output_limit: Option<String>,
    /// What happens above the output limit
    #[arg(long, value_name = "WHAT", value_parser = ["kill", "truncate"])]
    pub(crate) on_overflow: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Network and system calls")]
pub(crate) struct WallFlags {
    /// Network of the program
    #[arg(long, value_name = "MODE", value_parser = ["none", "loopback", "host"], visible_alias = "network")]
    pub(crate) net: Option<String>,
    /// System calls to allow beside the profile's: names and @groups, separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) syscalls_allow: Vec<String>,
    /// System calls to deny; wins over what is allowed
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) syscalls_deny: Vec<String>,
}

/// What goes in and what comes out.
#[derive(Debug, Args)]
#[command(next_help_heading = "Input and report")]
pub(crate) struct IoArgs {
    /// File to read as standard input [default: yours]
    #[arg(long, value_name = "FILE")]
    pub(crate) stdin: Option<PathBuf>,
    /// Write the report of the run to FILE, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Write the report to the open file descriptor N (a file or a pipe)
    #[arg(long, value_name = "N", visible_alias = "status-fd", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) report_fd: Option<u32>,
    /// Keep the program's output in the report, and print that on stdout instead
    #[arg(long)]
    pub(crate) json: bool,
    /// Print on stderr, after the run, where the time of the start went
    #[arg(long)]
    pub(crate) timing: bool,
}

#[cfg(test)]
mod tests;
