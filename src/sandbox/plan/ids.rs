//! Ids: who the program is, inside and on the host.
//!
//! For: the one id that is mapped. Not for: writing the maps (see `supervisor::gate`).
//! Runs in: the supervisor.
//!
//! An ordinary caller is its own id outside. A root caller is never mapped: files below /proc/sys and
//! elsewhere are guarded by uid 0's ownership alone. Its jails get an id that owns nothing, and the
//! caller's files are shown through id-mapped binds.

use crate::error::{Error, ErrorKind};
use crate::host::Host;

/// The uid and gid inside.
pub(crate) const INSIDE: u32 = 1000;

/// Its name.
pub(crate) const USER: &str = "jail";

/// The map of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IdMap {
    /// Uid on the host.
    pub(crate) uid: u32,
    /// Gid on the host.
    pub(crate) gid: u32,
    /// The caller has the privilege to map an id that is not its own, and to drop its groups.
    pub(crate) privileged: bool,
}

impl IdMap {
    /// `number` tells the jails of a root caller apart, as far as there are ids.
    ///
    /// # Errors
    /// The program would be the host's root.
    pub(crate) fn new(host: &Host, number: u32) -> Result<Self, Error> {
        let (first, count) = host.jail_ids;
        match number.checked_rem(count) {
            Some(offset) if host.uid == 0 => {
                let id = first.saturating_add(offset);
                Ok(Self { uid: id, gid: id, privileged: true })
            }
            // Also the root of a container that has this one id only, an ordinary user's on the host.
            Some(_) | None if !host.is_root => Ok(Self { uid: host.uid, gid: host.gid, privileged: false }),
            Some(_) | None => {
                let what =
                    "ids cannot be enforced here: the caller is the host's root, and there is no other id to give";
                Err(Error::new(ErrorKind::Unsupported, what)
                    .with_hint("give this user namespace a range of ids, or start jail as an ordinary user"))
            }
        }
    }
}
