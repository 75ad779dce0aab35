//! systemd: a scope of our own, where the caller's group cannot have children with limits.
//!
//! For: foreseeing which scope systemd would give this process, and moving the process into it.
//! Not for: groups and limits (see `sandbox::plan::cgroup`), which are made below the scope as anywhere else.
//! Runs in: the supervisor.
//!
//! A shell sits in a group that systemd keeps for itself (a login session), or together with others. A scope with
//! `Delegate=yes` is systemd's way to hand over a part of the tree: `systemd-run --scope -p Delegate=yes` without
//! the command. An ordinary user asks the own manager, root the system's. The scope ends with its last process.

mod dbus;

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, ErrorKind, describe};
use dbus::{Bus, Method, Writer};

/// A scope that can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scope {
    /// `jail-PID-START.scope`.
    pub(crate) name: String,
    /// The slice that it goes to: where this process is now, or where systemd puts scopes.
    slice: String,
    /// The bus on which the manager listens.
    bus: PathBuf,
    uid: u32,
    /// Its group, as /proc/PID/cgroup will have it.
    group: String,
}

impl Scope {
    /// The scope that this process would get, and the controllers that it would have. `root` is where the v2
    /// hierarchy is mounted, `own` the path of the own group in it.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub(crate) fn foresee(root: &Path, own: &str, uid: u32) -> Result<(Self, String), String> {
        let (manager, default, bus) = if uid == 0 {
            (String::new(), "system.slice", PathBuf::from("/run/dbus/system_bus_socket"))
        } else {
            let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|value| !value.is_empty());
            let runtime = runtime.map_or_else(|| format!("/run/user/{uid}").into(), PathBuf::from);
            (format!("/user.slice/user-{uid}.slice/user@{uid}.service"), "app.slice", runtime.join("bus"))
        };
        let directory = |group: &str| root.join(group.trim_start_matches('/'));
        let whose = if uid == 0 { "no systemd runs here" } else { "no systemd of this user runs here" };
        let controllers = fs::read_to_string(directory(&manager).join("cgroup.controllers"))
            .map_err(|error| format!("{whose} ({}: {})", directory(&manager).display(), describe(&error)))?;
        if !bus.exists() {
            return Err(format!("{whose} ({} does not exist)", bus.display()));
        }
        let (slice, path) = place(own, &manager, default);
        let pid = std::process::id();
        let name = format!("jail-{pid}-{}.scope", crate::sandbox::start_time(pid).unwrap_or(0));
        let group = format!("{path}/{name}");
        Ok((Self { name, slice, bus, uid, group }, controllers))
    }

    /// The directory of its group.
    pub(crate) fn dir(&self, root: &Path) -> PathBuf {
        root.join(self.group.trim_start_matches('/'))
    }

    /// Moves this process there, with all its threads and for good. A process that is there already stays.
    pub(crate) fn join(&self) -> Result<(), Error> {
        if self.holds_us()? {
            return Ok(());
        }
        self.ask().map_err(|error| {
            self.refused(&format!("systemd gives no scope ({}): {}", self.bus.display(), describe(&error)))
        })?;
        if self.holds_us()? { Ok(()) } else { Err(self.refused("systemd made the scope elsewhere than foreseen")) }
    }

    fn refused(&self, what: &str) -> Error {
        let user = if self.uid == 0 { "" } else { "--user " };
        Error::new(ErrorKind::Unsupported, what).with_hint(format!(
            "try systemd-run {user}--scope -p Delegate=yes true, which asks for the same and says more; \
             --no-systemd does not ask"
        ))
    }

    fn holds_us(&self) -> Result<bool, Error> {
        let text = fs::read_to_string("/proc/self/cgroup")
            .map_err(|error| self.refused(&format!("cannot read /proc/self/cgroup: {}", describe(&error))))?;
        let own = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
        Ok(Path::new(own).starts_with(&self.group))
    }

    fn ask(&self) -> io::Result<()> {
        let mut bus = Bus::connect(&self.bus, self.uid)?;
        let own = Method {
            destination: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member: "Hello",
        };
        bus.call(own, "", &[])?;
        // Before the call: the job may be over before its answer is here.
        let mut rule = Writer::default();
        rule.string("type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'");
        bus.call(Method { member: "AddMatch", ..own }, "s", &rule.into_bytes())?;
        let manager = Method {
            destination: "org.freedesktop.systemd1",
            path: "/org/freedesktop/systemd1",
            interface: "org.freedesktop.systemd1.Manager",
            member: "StartTransientUnit",
        };
        let job = bus.call(manager, "ssa(sv)a(sa(sv))", &self.request())?;
        match bus.wait_for_job(&job)?.as_str() {
            "done" => Ok(()),
            other => Err(io::Error::other(format!("its job ended as {other}"))),
        }
    }

    /// The arguments of `StartTransientUnit`: name, mode, properties, no further units.
    fn request(&self) -> Vec<u8> {
        let mut body = Writer::default();
        body.string(&self.name).string("fail");
        body.array(8, |properties| {
            for (name, value) in [
                ("Description", "jail: programs that nobody trusts"),
                ("Slice", self.slice.as_str()),
                // A scope in which the kernel killed for memory counts as failed, and would stay listed.
                ("CollectMode", "inactive-or-failed"),
            ] {
                properties.structure().string(name).signature("s").string(value);
            }
            properties.structure().string("Delegate").signature("b").u32(1);
            // 0 is whoever sends this, also where its pid is another one for systemd.
            properties.structure().string("PIDs").signature("au").array(4, |pids| {
                pids.u32(0);
            });
        });
        body.array(8, |_none| {});
        body.into_bytes()
    }
}

/// The slice for a process of the group `own`, and its path: the innermost that it is in already, so that the
/// limits on it go on to hold, else the manager's default.
fn place(own: &str, manager: &str, default: &str) -> (String, String) {
    let below = Path::new(own).strip_prefix(if manager.is_empty() { "/" } else { manager }).ok();
    let slices: Vec<&str> = below
        .into_iter()
        .flat_map(Path::components)
        .map_while(|part| match part {
            Component::Normal(name) => name.to_str().filter(|name| name.ends_with(".slice")),
            Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => None,
        })
        .collect();
    match slices.last() {
        Some(slice) => ((*slice).to_owned(), format!("{manager}/{}", slices.join("/"))),
        None => (default.to_owned(), format!("{manager}/{default}")),
    }
}

/// The scope that a group's directory lies in, for reports.
pub(crate) fn scope_of(dir: &Path) -> Option<&str> {
    let mut names = dir.components().rev().filter_map(|part| part.as_os_str().to_str());
    names.find(|name| name.ends_with(".scope"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_goes_to_the_slice_that_the_caller_is_in() {
        let user = "/user.slice/user-1000.slice/user@1000.service";
        let of_user = |own: &str| place(own, user, "app.slice");
        assert_eq!(of_user("/user.slice/user-1000.slice/session-2.scope").1, format!("{user}/app.slice"));
        let (slice, path) = of_user(&format!("{user}/app.slice/app-term.slice/vte-1.scope"));
        assert_eq!((slice.as_str(), path), ("app-term.slice", format!("{user}/app.slice/app-term.slice")));

        let of_root = |own: &str| place(own, "", "system.slice");
        let (slice, path) = of_root("/user.slice/user-0.slice/session-1.scope");
        assert_eq!((slice.as_str(), path.as_str()), ("user-0.slice", "/user.slice/user-0.slice"));
        assert_eq!(of_root("/init.scope").1, "/system.slice");
    }

    #[test]
    fn where_no_systemd_runs_there_is_no_scope() {
        let folder = tempfile::tempdir().unwrap();
        let none = Scope::foresee(folder.path(), "/a", 1001).unwrap_err();
        assert!(none.starts_with("no systemd of this user runs here ("), "{none}");
    }

    #[test]
    fn the_scope_of_a_group_is_the_innermost() {
        assert_eq!(scope_of(Path::new("/sys/fs/cgroup/a.slice/run-1.scope/jail-1-2-3")), Some("run-1.scope"));
        assert_eq!(scope_of(Path::new("/sys/fs/cgroup/memory/box")), None);
    }
}
