//! From flags to what the library takes: a profile patch and a command.
//!
//! For: the one place that says which flag sets which key. The values are read by the same parsers as
//! those of a profile file.
//! Not for: what the values mean.
//! Runs in: the supervisor.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;

use nix::fcntl::OFlag;

use jail::profile::Setting;
use jail::{Command, Error, OutputMode, Policy, Profile, ProfileError, Sandbox, Stdin};

use crate::args::{IoArgs, SandboxArgs};

/// The policy that profiles and flags together mean.
pub(crate) fn policy(args: &SandboxArgs) -> Result<Policy, ProfileError> {
    let strict = ["strict".to_owned()];
    let names = if args.profile.profiles.is_empty() { strict.as_slice() } else { &args.profile.profiles };
    let mut profile = Profile::default();
    for name in names {
        profile.merge(Profile::load(name)?);
    }
    profile.merge(Profile::from_settings(settings(args))?);
    Policy::new(&profile)
}

/// Every flag that stands for a key of the profile.
fn settings(args: &SandboxArgs) -> Vec<Setting> {
    let SandboxArgs { profile, files, program, limits, walls } = args;
    let mut all = Vec::new();
    let mut one = |key, flag, value: Option<&String>| {
        all.extend(value.map(|value| Setting { key, value: value.clone(), flag }));
    };
    one("isolation", "--isolation", profile.isolation.as_ref());
    one("run.hostname", "--hostname", program.hostname.as_ref());
    one("fs.workspace", "--workspace-access", files.workspace_access.as_ref());
    one("net.mode", "--net", walls.net.as_ref());
    one("limits.wall", "--timeout", limits.timeout.as_ref());
    one("limits.cpu_time", "--cpu-time", limits.cpu_time.as_ref());
    one("limits.cpus", "--cpus", limits.cpus.as_ref());
    one("limits.memory", "--memory", limits.memory.as_ref());
    one("limits.pids", "--pids", limits.pids.as_ref());
    one("limits.nofile", "--nofile", limits.nofile.as_ref());
    one("limits.fsize", "--fsize", limits.fsize.as_ref());
    one("limits.core", "--core", limits.core.as_ref());
    one("limits.stack", "--stack", limits.stack.as_ref());
    one("output.limit", "--output-limit", limits.output_limit.as_ref());
    one("output.on_overflow", "--on-overflow", limits.on_overflow.as_ref());
    if files.no_workspace {
        all.push(Setting { key: "fs.workspace", value: "none".to_owned(), flag: "--no-workspace" });
    }

    let mut each = |key, flag, values: &[String], read: fn(&str) -> String| {
        all.extend(values.iter().map(|value| Setting { key, value: read(value), flag }));
    };
    each("allow_degraded", "--allow-degraded", &profile.allow_degraded, str::to_owned);
    each("fs.ro", "--ro", &files.ro, absolute);
    each("fs.rx", "--rx", &files.rx, absolute);
    each("fs.rw", "--rw", &files.rw, absolute);
    each("fs.rwx", "--rwx", &files.rwx, absolute);
    each("fs.tmpfs", "--tmpfs", &files.tmpfs, str::to_owned);
    each("syscalls.allow", "--syscalls-allow", &walls.syscalls_allow, str::to_owned);
    each("syscalls.deny", "--syscalls-deny", &walls.syscalls_deny, str::to_owned);
    all.extend(program.env.iter().map(|value| {
        let key = if value.contains('=') { "env.set" } else { "env.keep" };
        Setting { key, value: value.clone(), flag: "--env" }
    }));
    all
}

/// `S[:D]` with a source that is relative to the current directory made absolute.
fn absolute(text: &str) -> String {
    let (source, dest) = text.split_once(':').map_or((text, None), |(source, dest)| (source, Some(dest)));
    let source = match std::path::absolute(source) {
        Ok(path) => path.to_string_lossy().into_owned(),
        // The current directory is gone: the profile's parser refuses what is relative, with the reason.
        Err(_gone) => source.to_owned(),
    };
    dest.map_or_else(|| source.clone(), |dest| format!("{source}:{dest}"))
}

/// The policy on this host. Here, and not in the library, systemd is asked for a scope: this process has no other
/// purpose than the run.
pub(crate) fn sandbox(args: &SandboxArgs, policy: Policy) -> Result<Sandbox, Error> {
    let sandbox = Sandbox::new(policy)?;
    if args.profile.no_systemd { Ok(sandbox) } else { sandbox.with_systemd_scope() }
}

/// The program to run, and where.
pub(crate) fn command(args: &SandboxArgs, words: &[OsString]) -> Result<Command, Error> {
    let Some((program, rest)) = words.split_first() else {
        return Err(Error::usage("no command is given"));
    };
    let mut command = Command::new(program).args(rest);
    if let Some(workspace) = &args.files.workspace {
        command = command.workspace(workspace);
    }
    if let Some(directory) = &args.program.chdir {
        command = command.cwd(directory);
    }
    Ok(command)
}

/// Adds what goes in and out.
pub(crate) fn connect(command: Command, args: &IoArgs) -> Result<Command, Error> {
    let stdin = match &args.stdin {
        Some(path) => {
            let place = path.display();
            let refuse = |error: std::io::Error| {
                Error::usage(format!("--stdin {place}: cannot be read: {}", jail::describe(&error)))
            };
            // The writer of a FIFO is waited for while the program runs, and not here, where nothing ends the wait.
            let flags = (OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
            let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
            Stdin::File(Arc::new(file.map_err(refuse)?.into()))
        }
        None => Stdin::Inherit,
    };
    let output = if args.json { OutputMode::Capture } else { OutputMode::Inherit };
    Ok(command.stdin(stdin).output(output).cancel_on_signals(true))
}
