//! Own places: where a program's home and temporary files are.
//!
//! For: the two directories and the decoy, on the jail's own root or, without one, in a private directory of the
//! host that lives as long as the run; and who may have the latter.
//! Not for: making it (see `supervisor::scratch`).
//! Runs in: the supervisor.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, describe};
use crate::host::{Host, Kind};
use crate::policy::Isolation;

use super::view::{self, View};
use super::{RunName, landlock};

/// Paths as the program sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OwnPlaces {
    /// The private directory; the root where there is one of our own.
    pub(super) dir: PathBuf,
    pub(super) home: PathBuf,
    pub(super) temporary: PathBuf,
    /// A file that Landlock alone keeps from being read: its witness.
    pub(super) decoy: PathBuf,
}

impl OwnPlaces {
    pub(super) fn on_our_root() -> Self {
        Self { dir: "/".into(), home: view::HOME.into(), temporary: "/tmp".into(), decoy: view::DECOY.into() }
    }

    /// # Errors
    /// Without namespaces: the caller is root, Landlock is too old, or there is no directory for temporary files.
    pub(super) fn new(isolation: Isolation, host: &Host, run: &RunName) -> Result<Self, Error> {
        if isolation == Isolation::Full {
            return Ok(Self::on_our_root());
        }
        possible(host)?;
        let parent = match host.caller.env.get(OsStr::new("TMPDIR")) {
            Some(dir) if Path::new(dir).is_absolute() => PathBuf::from(dir),
            Some(_) | None => "/tmp".into(),
        };
        let refuse = |what: &str| {
            Error::new(ErrorKind::Usage, format!("no private directory can be made in {}: {what}", parent.display()))
                .with_hint("name a directory of yours with the variable TMPDIR")
        };
        let found = host.files.find(&parent).map_err(|error| refuse(&describe(&error)))?;
        if found.kind != Kind::Dir {
            return Err(refuse("it is not a directory"));
        }
        let dir = found.path.join(&run.name);
        Ok(Self { home: dir.join(HOME), temporary: dir.join(TEMPORARY), decoy: dir.join(DECOY), dir })
    }

    /// Not in what the view shows: another run of the same profile would see it, and the decoy could be read.
    ///
    /// # Errors
    /// It is.
    pub(super) fn is_apart_from(&self, view: &View) -> Result<(), Error> {
        let shown = view.parts().iter().find(|part| match &part.shows {
            view::Shows::Bind { found, .. } => self.dir.starts_with(&found.path),
            view::Shows::Link { .. } | view::Shows::Tmpfs { .. } => false,
        });
        match shown {
            Some(part) => Err(Error::new(
                ErrorKind::Usage,
                format!(
                    "the private directory {} would be in {}, which is shown",
                    self.dir.display(),
                    part.dest.display()
                ),
            )
            .with_hint("name another directory with the variable TMPDIR")),
            None => Ok(()),
        }
    }
}

/// Names in the private directory.
pub(crate) const HOME: &str = "home";
pub(crate) const TEMPORARY: &str = "tmp";
pub(crate) const DECOY: &str = "decoy";

/// Who may do without namespaces, and where.
fn possible(host: &Host) -> Result<(), Error> {
    let unsupported = |what: String, hint: &str| Err(Error::new(ErrorKind::Unsupported, what).with_hint(hint));
    if host.uid == 0 || host.is_root {
        // Its own files, and half of /proc and /sys, are guarded by its uid alone.
        return unsupported(
            "ids cannot be enforced here: with isolation = \"landlock\" the program keeps its caller's id, and root's \
             is given to nobody"
                .to_owned(),
            "start jail as an ordinary user, such as by setpriv --reuid 1000 --regid 1000 --clear-groups jail …",
        );
    }
    match host.landlock {
        Ok(abi) if abi >= landlock::SCOPES => Ok(()),
        Ok(abi) => unsupported(
            format!(
                "landlock cannot be enforced here: isolation = \"landlock\" needs ABI {}, which keeps signals within, \
                 and this kernel has ABI {abi}",
                landlock::SCOPES
            ),
            "use Linux 6.12 or later",
        ),
        Err(errno) => unsupported(
            format!("landlock cannot be enforced here: {}", super::landlock_reason(errno)),
            super::landlock_remedy(host),
        ),
    }
}
