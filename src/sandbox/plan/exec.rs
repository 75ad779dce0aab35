//! Exec: which program, with which arguments and environment.
//!
//! For: finding the program as the inside sees it, so that "not found" is said before anything is
//! started and with the reason; and the environment.
//! Not for: running it.
//! Runs in: the supervisor.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, describe_errno};
use crate::host::{Host, Kind};
use crate::policy::{EnvVar, Policy};
use crate::sandbox::Command;
use crate::sandbox::sys::process::ExecBlock;

use super::OwnPlaces;
use super::ids::USER;
use super::view::{Inside, View};

/// Where programs are looked for inside, unless the policy sets PATH.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The exec of `command` in `cwd`.
pub(super) fn block(
    policy: &Policy,
    host: &Host,
    view: &View,
    command: &Command,
    cwd: &Path,
    own: &OwnPlaces,
) -> Result<ExecBlock, Error> {
    let env = environment(policy, host, own);
    let path = env.iter().find_map(|pair| pair.as_bytes().strip_prefix(b"PATH=").map(OsStr::from_bytes));
    let program = if command.is_rehearsal() {
        // Never executed, so it need not be there.
        PathBuf::from("/")
    } else {
        program(host, view, command.program(), path.unwrap_or(OsStr::new(PATH)), cwd)?
    };
    let argv = std::iter::once(command.program()).chain(command.arguments().iter().map(OsString::as_os_str));
    ExecBlock::new(program.as_os_str(), argv, env.iter().map(OsString::as_os_str))
        .ok_or_else(|| Error::new(ErrorKind::Usage, "an argument has a NUL byte in it"))
}

/// The synthesised minimum, then what the policy says, which wins.
fn environment(policy: &Policy, host: &Host, own: &OwnPlaces) -> Vec<OsString> {
    let term = host.caller.env.get(OsStr::new("TERM")).cloned().unwrap_or_else(|| "dumb".into());
    let minimum: [(&str, OsString); 8] = [
        ("PATH", PATH.into()),
        ("HOME", own.home.clone().into()),
        ("LANG", "C.UTF-8".into()),
        ("TERM", term),
        ("TMPDIR", own.temporary.clone().into()),
        ("USER", USER.into()),
        ("LOGNAME", USER.into()),
        ("JAIL", "1".into()),
    ];
    let said = |name: &str| policy.env.iter().any(|var| var.value.name() == name);
    let minimum = minimum.into_iter().filter(|(name, _)| !said(name)).map(|(name, value)| pair(name, &value));
    let own = policy.env.iter().filter_map(|var| match &var.value {
        EnvVar::Set { name, value } => Some(pair(name, OsStr::new(value))),
        EnvVar::Keep(name) => host.caller.env.get(OsStr::new(name)).map(|value| pair(name, value)),
    });
    minimum.chain(own).collect()
}

fn pair(name: &str, value: &OsStr) -> OsString {
    let mut pair = OsString::from(name);
    pair.push("=");
    pair.push(value);
    pair
}

/// The path to execute.
fn program(host: &Host, view: &View, name: &OsStr, path: &OsStr, cwd: &Path) -> Result<PathBuf, Error> {
    let shown = Path::new(name).display();
    if name.is_empty() {
        return Err(Error::new(ErrorKind::NotFound, "the command is empty"));
    }
    if name.as_bytes().contains(&b'/') {
        let full = cwd.join(name);
        return match check(view, &full, name) {
            Found::Runs => Ok(full),
            Found::Cannot(error) => Err(error),
            Found::Nothing => Err(not_in_view(host, name, &full)
                .unwrap_or_else(|| Error::new(ErrorKind::NotFound, format!("{shown}: not found")))),
        };
    }
    let mut blocked = None;
    for dir in std::env::split_paths(path) {
        let full = cwd.join(dir).join(name);
        match check(view, &full, full.as_os_str()) {
            Found::Runs => return Ok(full),
            Found::Cannot(error) => blocked = blocked.or(Some(error)),
            Found::Nothing => {}
        }
    }
    if let Some(error) = blocked {
        return Err(error);
    }
    let on_host = host
        .caller
        .env
        .get(OsStr::new("PATH"))
        .and_then(|path| std::env::split_paths(path).map(|dir| dir.join(name)).find(|full| is_program(host, full)));
    Err(on_host.and_then(|full| not_in_view(host, name, &full)).unwrap_or_else(|| {
        Error::new(ErrorKind::NotFound, format!("{shown}: command not found in {}", Path::new(path).display()))
    }))
}

enum Found {
    Runs,
    Cannot(Error),
    Nothing,
}

fn check(view: &View, full: &Path, name: &OsStr) -> Found {
    let shown = Path::new(name).display();
    let cannot =
        |message: String, hint: String| Found::Cannot(Error::new(ErrorKind::NotExecutable, message).with_hint(hint));
    match view.find_inside(full) {
        Inside::File { executable: true, access, .. } if access.executes() => Found::Runs,
        Inside::File { executable: true, access, dest, .. } => cannot(
            format!("{shown}: {} is shown as {access}, without permission to execute", dest.display()),
            format!("show it with --rx {} instead", dest.display()),
        ),
        Inside::File { source, .. } => cannot(
            format!("{shown}: not executable"),
            format!("chmod +x {}, or name its interpreter", source.display()),
        ),
        Inside::Dir => cannot(format!("{shown}: is a directory"), "name a program in it".to_owned()),
        Inside::Other => cannot(format!("{shown}: not a regular file"), "name a program".to_owned()),
        Inside::Unknown(errno) => Found::Cannot(
            Error::new(ErrorKind::NotExecutable, format!("{shown}: {}", describe_errno(errno))).with_errno(errno),
        ),
        Inside::Missing => Found::Nothing,
    }
}

fn is_program(host: &Host, full: &Path) -> bool {
    host.files.find(full).is_ok_and(|found| matches!(found.kind, Kind::File { executable: true }))
}

/// The program is there on the host, but the jail does not show it.
fn not_in_view(host: &Host, name: &OsStr, full: &Path) -> Option<Error> {
    if !is_program(host, full) {
        return None;
    }
    let dir = full.parent().unwrap_or(Path::new("/")).display();
    let (name, full) = (Path::new(name).display(), full.display());
    Some(
        Error::new(ErrorKind::NotFound, format!("{name}: is {full} on this machine, which the jail does not show"))
            .with_hint(format!("show it with --rx {dir} and give its full path, or use a program below /usr")),
    )
}
