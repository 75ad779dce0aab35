//! The view: what the jail's file system shows, as one table.
//!
//! For: resolving the sources of a policy on this host, checking that they can be put together, and
//! finding programs inside. The mounts, the Landlock rules and the program lookup all read this table.
//! Not for: ops (see `mounts`).
//! Runs in: the supervisor.

use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, ErrorKind, describe_errno};
use crate::host::{Files, Found, Host, Kind, Known};
use crate::policy::{Access, Isolation, Located, Origin, Policy, ViewEntry, Workspace, in_order, lies_in, same_path};

/// One part of the view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) dest: PathBuf,
    pub(crate) shows: Shows,
    pub(crate) origin: Origin,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shows {
    /// A file or directory of the host.
    Bind {
        found: Found,
        access: Access,
        /// Belongs to the caller rather than to the system: a root caller's jail sees it through an id map.
        callers: bool,
    },
    /// A symbolic link like the host's.
    Link { target: PathBuf },
    /// A scratch file system.
    Tmpfs { size: u64, inodes: u64 },
}

/// Everything shown, parents before children.
#[derive(Debug, Clone)]
pub(crate) struct View {
    parts: Vec<Part>,
    files: Files,
}

/// Trees of the system, shown as they are: their files are made for everybody to read, and what only
/// root may read in them stays root's. Everything else that is named is the caller's own.
const SYSTEM_TREES: [&str; 8] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc"];

/// Directories that are made of our own root file system, whatever the policy says.
pub(crate) const OWN_DIRS: [&str; 8] = ["/dev", "/dev/pts", "/etc", "/home", "/home/jail", "/proc", "/run", "/tmp"];

/// The home directory inside.
pub(crate) const HOME: &str = "/home/jail";

/// A file on the root that Landlock alone keeps from being read: its witness.
pub(crate) const DECOY: &str = "/.decoy";

impl View {
    /// Looks up every source of the policy, and the workspace.
    ///
    /// # Errors
    /// A source is missing, or a destination would have to be made inside the host's tree.
    pub(crate) fn new(policy: &Policy, host: &Host, workspace: Option<&Found>) -> Result<Self, Error> {
        let mut parts = Vec::new();
        let mut known = Known::default();
        for entry in &policy.view {
            let Located { value: entry, origin } = entry;
            if let Some(shows) = resolve(&host.files, &mut known, entry, origin)? {
                parts.push(Part { dest: entry.dest.clone(), shows, origin: origin.clone() });
            }
        }
        // Without a mount namespace there is none: what the policy still says, a private directory stands in for.
        let own_root = policy.isolation.value == Isolation::Full;
        for tmpfs in policy.tmpfs.iter().filter(|_| own_root) {
            let shows = Shows::Tmpfs { size: tmpfs.value.size.0, inodes: tmpfs.value.inodes };
            parts.push(Part { dest: tmpfs.value.dest.clone(), shows, origin: tmpfs.origin.clone() });
        }
        let access = match policy.workspace.value {
            Workspace::None => None,
            Workspace::Read => Some(Access::Rx),
            Workspace::Write => Some(Access::Rwx),
        };
        if let (Some(found), Some(access)) = (workspace, access) {
            // Named once more, for no more than the workspace gives: a list of what is allowed only grows, so this adds
            // nothing.
            parts.retain(|part| {
                let adds_nothing = matches!(&part.shows, Shows::Bind { found: named, access: asked, .. }
                    if named == found && access.includes(*asked));
                !same_path(&part.dest, &found.path) || !adds_nothing
            });
            if let Some(part) = parts.iter().find(|part| same_path(&part.dest, &found.path)) {
                let problem = format!("{}: {} is the workspace", part.origin, found.path.display());
                return Err(
                    Error::new(ErrorKind::Usage, problem).with_hint("say --workspace-access write, or --no-workspace")
                );
            }
            let dest = found.path.clone();
            let origin = policy.workspace.origin.clone();
            parts.push(Part { dest, shows: Shows::Bind { found: found.clone(), access, callers: true }, origin });
        }
        parts.sort_by(|a, b| in_order(&a.dest, &b.dest));
        let view = Self { parts, files: host.files.clone() };
        view.check_places()?;
        Ok(view)
    }

    /// Parents before children.
    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The innermost part that `path` lies in or is.
    fn part_of(&self, path: &Path) -> Option<&Part> {
        self.parts.iter().filter(|part| lies_in(path, &part.dest)).max_by_key(|part| part.dest.as_os_str().len())
    }

    /// Whether a directory of our own is at `path`: one that our root always has, a scratch file system, or one that
    /// exists because something is shown below it.
    fn is_own_dir(&self, path: &Path) -> bool {
        let needs = |part: &Part| match part.shows {
            Shows::Tmpfs { .. } => lies_in(&part.dest, path),
            Shows::Bind { .. } | Shows::Link { .. } => lies_in(&part.dest, path) && !same_path(&part.dest, path),
        };
        OWN_DIRS.iter().any(|dir| same_path(Path::new(dir), path)) || self.parts.iter().any(needs)
    }

    /// Whether `path` has to be made on a file system of ours before something can be put there; false
    /// where it already exists in a part of the host.
    pub(crate) fn is_ours(&self, path: &Path) -> bool {
        path.parent()
            .and_then(|parent| self.part_of(parent))
            .is_none_or(|part| matches!(part.shows, Shows::Tmpfs { .. }))
    }

    /// Nothing is ever created in the host's tree, so what is put inside a bind must exist there.
    fn check_places(&self) -> Result<(), Error> {
        for part in &self.parts {
            let Some(outer) = part.dest.parent().and_then(|parent| self.part_of(parent)) else { continue };
            let (dest, at) = (part.dest.display(), outer.dest.display());
            match &outer.shows {
                Shows::Tmpfs { .. } => {}
                Shows::Link { .. } => {
                    return Err(Error::new(
                        ErrorKind::Profile,
                        format!("{}: {dest} lies behind {at}, which is a symbolic link", part.origin),
                    )
                    .with_hint("name the path that the link leads to"));
                }
                Shows::Bind { found, .. } => {
                    let below = part.dest.strip_prefix(&outer.dest).unwrap_or(Path::new(""));
                    let kind = self.files.look(&found.path.join(below)).ok();
                    let fits = match &part.shows {
                        Shows::Bind { found: inner, .. } => {
                            kind.is_some_and(|kind| matches!(kind, Kind::Dir) == (inner.kind == Kind::Dir))
                        }
                        Shows::Tmpfs { .. } => kind == Some(Kind::Dir),
                        Shows::Link { .. } => false,
                    };
                    if !fits {
                        return Err(Error::new(
                            ErrorKind::Profile,
                            format!(
                                "{}: {dest} does not exist in {}, which is shown at {at}",
                                part.origin,
                                found.path.display()
                            ),
                        )
                        .with_hint(
                            "nothing is created in the host's tree: make it there first, or choose a place outside",
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    /// Where a path of the inside is found on the host, following links as the inside would.
    pub(crate) fn find_inside(&self, path: &Path) -> Inside {
        const MAX_LINKS: u32 = 40;
        let mut links = 0;
        let mut at = PathBuf::from("/");
        let mut rest: Vec<OsString> = components(path);
        rest.reverse();
        let mut last = Inside::Dir;
        while let Some(name) = rest.pop() {
            if name == ".." {
                at.pop();
                continue;
            }
            let next = at.join(&name);
            let target = match self.part_of(&next).map(|part| (part, &part.shows)) {
                Some((part, Shows::Link { target })) if same_path(&part.dest, &next) => Some(target.clone()),
                Some((part, Shows::Bind { found, access, .. })) => {
                    let below = next.strip_prefix(&part.dest).unwrap_or(Path::new(""));
                    let source = if below.as_os_str().is_empty() { found.path.clone() } else { found.path.join(below) };
                    match self.files.look(&source) {
                        Ok(Kind::Link(target)) => Some(target),
                        Ok(Kind::File { executable }) => {
                            last = Inside::File { source, executable, access: *access, dest: part.dest.clone() };
                            None
                        }
                        Ok(Kind::Dir) => {
                            last = Inside::Dir;
                            None
                        }
                        Ok(Kind::Other) => return Inside::Other,
                        Err(_) if self.is_own_dir(&next) => {
                            last = Inside::Dir;
                            None
                        }
                        Err(error) => {
                            return match error.raw_os_error() {
                                Some(libc::ENOENT | libc::ENOTDIR) => Inside::Missing,
                                errno => Inside::Unknown(errno.unwrap_or(libc::EIO)),
                            };
                        }
                    }
                }
                Some((_, Shows::Tmpfs { .. } | Shows::Link { .. })) | None if self.is_own_dir(&next) => {
                    last = Inside::Dir;
                    None
                }
                Some((_, Shows::Tmpfs { .. } | Shows::Link { .. })) | None => return Inside::Missing,
            };
            let Some(target) = target else {
                at = next;
                continue;
            };
            links += 1;
            if links > MAX_LINKS {
                return Inside::Missing;
            }
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            rest.extend(components(&target).into_iter().rev());
        }
        last
    }
}

/// What stands at a path of the inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Inside {
    /// Nothing that the host or we put there; programs may make it later in a scratch file system.
    Missing,
    Dir,
    File {
        /// Where it is on the host.
        source: PathBuf,
        executable: bool,
        /// How the part that it lies in is shown.
        access: Access,
        /// That part's place.
        dest: PathBuf,
    },
    /// A device, socket or pipe.
    Other,
    /// The host does not say: an errno of lstat(2).
    Unknown(i32),
}

fn components(path: &Path) -> Vec<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

fn resolve(files: &Files, known: &mut Known, entry: &ViewEntry, origin: &Origin) -> Result<Option<Shows>, Error> {
    let ViewEntry { source, dest, access, optional } = entry;
    let found = match files.at(known, source) {
        Ok(Found { kind: Kind::Link(target), .. }) if source == dest => return Ok(Some(Shows::Link { target })),
        Err(error) if *optional && error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
        Ok(Found { kind: Kind::Link(_), .. }) => find(files, source, origin)?,
        Ok(found) => found,
        Err(error) => return Err(cannot_show(source, origin, &error)),
    };
    let callers = !SYSTEM_TREES.iter().any(|tree| lies_in(&found.path, Path::new(tree)));
    Ok(Some(Shows::Bind { found, access: *access, callers }))
}

fn find(files: &Files, source: &Path, origin: &Origin) -> Result<Found, Error> {
    files.find(source).map_err(|error| cannot_show(source, origin, &error))
}

pub(super) fn cannot_show(source: &Path, origin: &Origin, error: &io::Error) -> Error {
    let errno = error.raw_os_error().unwrap_or(libc::EIO);
    Error::new(ErrorKind::Profile, format!("{origin}: cannot show {}: {}", source.display(), describe_errno(errno)))
        .with_errno(errno)
        .with_hint("make it, or take it out of the view (a profile can say optional = true)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Profile;

    fn view(patch: &str, host: &Host) -> Result<View, Error> {
        let mut profile = Profile::builtin("strict").unwrap();
        profile.merge(Profile::parse("test.toml", patch).unwrap());
        let policy = Policy::new(&profile).unwrap();
        let workspace = host.files.find(Path::new("/project")).unwrap();
        View::new(&policy, host, Some(&workspace))
    }

    #[test]
    fn programs_are_found_through_links_as_the_inside_sees_them() {
        let view = view("", &Host::made()).unwrap();
        let Inside::File { source, executable: true, .. } = view.find_inside(Path::new("/bin/python3")) else {
            panic!("not found")
        };
        assert_eq!(source, Path::new("/usr/bin/python3"));
        assert_eq!(view.find_inside(Path::new("/var")), Inside::Missing);
        assert_eq!(view.find_inside(Path::new("/home/jail")), Inside::Dir);
    }

    #[test]
    fn a_place_that_would_have_to_be_made_in_the_hosts_tree_is_refused() {
        let error = view("[fs]\nro = [\"/usr/lib:/usr/nowhere\"]", &Host::made()).unwrap_err();
        assert_eq!(error.to_string(), "test.toml:2: /usr/nowhere does not exist in /usr, which is shown at /usr");
    }

    #[test]
    fn a_missing_source_names_the_line_and_an_optional_one_is_passed_over() {
        let error = view("[fs]\nro = [\"/gone\"]", &Host::made()).unwrap_err();
        assert_eq!(error.to_string(), "test.toml:2: cannot show /gone: no such file or directory");
        assert!(view("[fs]\nro = [{ path = \"/gone\", optional = true }]", &Host::made()).is_ok());
    }
}
