//! The workspace: which directory of the caller's the program works in.
//!
//! For: choosing it, and refusing what nobody means to hand over.
//! Not for: showing it (see `view`).
//! Runs in: the supervisor.

use std::path::Path;

use crate::error::{Error, ErrorKind, describe_errno};
use crate::host::{Found, Host, Kind};
use crate::policy::{Policy, Workspace};
use crate::sandbox::Command;

/// Places that are the system's or everybody's: nobody works in one of them itself.
const SYSTEM_DIRS: [&str; 17] = [
    "/bin", "/boot", "/etc", "/home", "/lib", "/lib32", "/lib64", "/media", "/mnt", "/opt", "/run", "/sbin", "/srv",
    "/tmp", "/usr", "/var", "/var/tmp",
];

/// Nothing below these can be shown: the jail has its own.
const RESERVED: [&str; 3] = ["/dev", "/proc", "/sys"];

/// The directory to show, if the policy shows one.
pub(super) fn choose(policy: &Policy, host: &Host, command: &Command) -> Result<Option<Found>, Error> {
    if policy.workspace.value == Workspace::None {
        return Ok(None);
    }
    let (named, path) = match command.named_workspace() {
        Some(path) => (true, host.caller.cwd.join(path)),
        None => (false, host.caller.cwd.clone()),
    };
    let shown = path.display();
    let found = host.files.find(&path).map_err(|error| {
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        Error::new(ErrorKind::Usage, format!("workspace {shown}: {}", describe_errno(errno))).with_errno(errno)
    })?;
    if found.kind != Kind::Dir {
        return Err(Error::new(ErrorKind::Usage, format!("workspace {shown}: not a directory")));
    }
    let path = &found.path;
    let refuse = |what: &str, hint: &str| {
        Err(Error::new(ErrorKind::Usage, format!("{} {what}", path.display())).with_hint(hint.to_owned()))
    };
    if path.parent().is_none() {
        return refuse(
            "cannot be the workspace: it is the whole machine",
            "cd into a project directory, or go without one: --no-workspace",
        );
    }
    if RESERVED.iter().any(|reserved| path.starts_with(reserved)) {
        return refuse("cannot be the workspace: the jail has its own", "cd into a project directory");
    }
    if named {
        return Ok(Some(found));
    }
    let on_purpose = format!("cd into a project directory, or name it on purpose: --workspace {}", path.display());
    if host.caller.homes.iter().any(|home| home.starts_with(path)) {
        let what =
            if host.caller.homes.contains(path) { "is your home directory" } else { "holds your home directory" };
        return refuse(&format!("{what}, which is not shown as a workspace by accident"), &on_purpose);
    }
    if SYSTEM_DIRS.iter().any(|dir| path == Path::new(dir)) {
        return refuse("is a system directory, which is not shown as a workspace by accident", &on_purpose);
    }
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    use crate::Profile;

    fn chosen(cwd: &str, named: Option<&str>) -> Result<Option<PathBuf>, String> {
        let mut host = Host::made();
        let crate::host::Files::Made(files) = &mut host.files else { panic!("made hosts have made files") };
        for dir in ["/root", "/root/project", "/proc", "/home/other", "/tmp"] {
            files.insert(dir.into(), Kind::Dir);
        }
        host.caller.cwd = cwd.into();
        let policy = Policy::new(&Profile::builtin("strict").unwrap()).unwrap();
        let mut command = Command::new("true");
        if let Some(path) = named {
            command = command.workspace(path);
        }
        match choose(&policy, &host, &command) {
            Ok(found) => Ok(found.map(|found| found.path)),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_project_is_a_workspace_and_a_home_only_on_purpose() {
        assert_eq!(chosen("/root/project", None), Ok(Some("/root/project".into())));
        assert_eq!(
            chosen("/root", None),
            Err("/root is your home directory, which is not shown as a workspace by accident".to_owned())
        );
        assert_eq!(chosen("/project", Some("/root")), Ok(Some("/root".into())));
        assert_eq!(
            chosen("/home", None),
            Err("/home is a system directory, which is not shown as a workspace by accident".to_owned())
        );
    }

    #[test]
    fn the_machine_itself_is_never_one() {
        let whole = Err("/ cannot be the workspace: it is the whole machine".to_owned());
        assert_eq!(chosen("/", None), whole);
        assert_eq!(chosen("/project", Some("/")), whole);
        assert_eq!(chosen("/proc", None), Err("/proc cannot be the workspace: the jail has its own".to_owned()));
    }
}
