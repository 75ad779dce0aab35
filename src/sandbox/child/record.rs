//! Records: the 16 bytes by which the child says how it went.
//!
//! For: both ends of the set-up and status pipes. Not for: words; the supervisor finds those by the
//! step's number.
//! Runs in: encoded by the child, decoded by the supervisor.

use crate::sandbox::plan::op::Moment;

/// Which script a step belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Pid 1 of the jail.
    Init,
    /// The process that becomes the program.
    Payload,
}

/// What the child has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Record {
    /// A step failed; the program does not run.
    Failed {
        role: Role,
        /// Index into the role's script.
        step: u16,
        errno: i32,
    },
    /// Init has made its network namespace.
    Networked,
    /// The payload ended with this raw wait status, and so had all that it started, or not.
    Ended { status: i32, alone: bool },
    /// When a moment was: microseconds of the monotonic clock, modulo 2^32.
    Stamp { moment: Moment, at: u32 },
}

const MAGIC: [u8; 4] = *b"JAIL";
const FAILED_INIT: u8 = 1;
const FAILED_PAYLOAD: u8 = 2;
const ENDED: u8 = 3;
const STAMP: u8 = 4;
const NETWORKED: u8 = 5;

/// Length of an encoded record: below PIPE_BUF, so that a write is whole or not at all (pipe(7)).
pub(crate) const LEN: usize = 16;

impl Record {
    /// Magic, kind, a zero, the step, the value, and the complement of the value as a check.
    pub(crate) const fn encode(self) -> [u8; LEN] {
        let (kind, step, value) = match self {
            Self::Failed { role: Role::Init, step, errno } => (FAILED_INIT, step, errno),
            Self::Failed { role: Role::Payload, step, errno } => (FAILED_PAYLOAD, step, errno),
            Self::Networked => (NETWORKED, 0, 0),
            Self::Ended { status, alone } => (ENDED, alone as u16, status),
            Self::Stamp { moment: Moment::Entered, at } => (STAMP, 0, at.cast_signed()),
            Self::Stamp { moment: Moment::Rooted, at } => (STAMP, 1, at.cast_signed()),
            Self::Stamp { moment: Moment::Confined, at } => (STAMP, 2, at.cast_signed()),
        };
        let [m0, m1, m2, m3] = MAGIC;
        let [s0, s1] = step.to_le_bytes();
        let [v0, v1, v2, v3] = value.to_le_bytes();
        [m0, m1, m2, m3, kind, 0, s0, s1, v0, v1, v2, v3, !v0, !v1, !v2, !v3]
    }

    /// `None` for anything that [`Record::encode`] does not make.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let &[m0, m1, m2, m3, kind, 0, s0, s1, v0, v1, v2, v3, c0, c1, c2, c3] = bytes else { return None };
        if [m0, m1, m2, m3] != MAGIC || [c0, c1, c2, c3] != [!v0, !v1, !v2, !v3] {
            return None;
        }
        let (step, value) = (u16::from_le_bytes([s0, s1]), i32::from_le_bytes([v0, v1, v2, v3]));
        match (kind, step) {
            (FAILED_INIT, _) => Some(Self::Failed { role: Role::Init, step, errno: value }),
            (FAILED_PAYLOAD, _) => Some(Self::Failed { role: Role::Payload, step, errno: value }),
            (NETWORKED, 0) if value == 0 => Some(Self::Networked),
            (ENDED, 0 | 1) => Some(Self::Ended { status: value, alone: step == 1 }),
            (STAMP, _) => {
                let moment = *Moment::ALL.get(usize::from(step))?;
                Some(Self::Stamp { moment, at: value.cast_unsigned() })
            }
            _ => None,
        }
    }
}

/// The records of all moments of a start.
pub(super) const fn stamps(at: [u32; Moment::ALL.len()]) -> [[u8; LEN]; Moment::ALL.len()] {
    let [entered, rooted, confined] = at;
    [
        Record::Stamp { moment: Moment::Entered, at: entered }.encode(),
        Record::Stamp { moment: Moment::Rooted, at: rooted }.encode(),
        Record::Stamp { moment: Moment::Confined, at: confined }.encode(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn decode_undoes_encode(step: u16, value: i32, payload: bool) {
            let role = if payload { Role::Payload } else { Role::Init };
            let stamps = Moment::ALL.map(|moment| Record::Stamp { moment, at: value.cast_unsigned() });
            let ended = Record::Ended { status: value, alone: payload };
            for record in [Record::Failed { role, step, errno: value }, Record::Networked, ended].into_iter().chain(stamps) {
                prop_assert_eq!(Record::decode(&record.encode()), Some(record));
            }
        }

        #[test]
        fn decode_takes_nothing_else(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
            if let Some(record) = Record::decode(&bytes) {
                prop_assert_eq!(record.encode().to_vec(), bytes);
            }
        }
    }
}
