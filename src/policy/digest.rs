//! The fingerprint of a policy.
//!
//! For: telling whether two runs had the same policy, whoever wrote it where.
//! Not for: secrecy; the text is easily guessed.
//! Runs in: the supervisor.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::{Policy, print};

/// Changes whenever the canonical form does, so that digests of different forms cannot be confused.
const FORM: &str = "jail.policy/1\n";

/// SHA-256 over the policy as a profile without name, description and origins.
pub(super) fn sha256(policy: &Policy) -> String {
    let hash = Sha256::new().chain_update(FORM).chain_update(print::toml(policy, print::Comments::None)).finalize();
    hash.iter().fold(String::new(), |mut hex, byte| {
        // Writing into a String cannot fail.
        let _written = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests;
