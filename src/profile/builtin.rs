//! The profiles that are part of the program, so that it works without any file beside it.
//!
//! For: their names and texts. What each is for stands in its header and in `profiles/README.md`.
//! Not for: user profiles (see [`Profile::load`](super::Profile::load)).
//! Runs in: the supervisor.

/// One shipped profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Builtin {
    /// The name: `strict`.
    pub name: &'static str,
    /// The text, as in `profiles/` of the source tree.
    pub text: &'static str,
}

/// Every shipped profile, the default first.
pub const BUILTIN: [Builtin; 4] = [
    Builtin { name: "strict", text: include_str!("../../profiles/strict.toml") },
    Builtin { name: "judge", text: include_str!("../../profiles/judge.toml") },
    Builtin { name: "build", text: include_str!("../../profiles/build.toml") },
    Builtin { name: "agent", text: include_str!("../../profiles/agent.toml") },
];

/// The shipped profile of this name.
pub(super) fn find(name: &str) -> Option<Builtin> {
    BUILTIN.into_iter().find(|builtin| builtin.name == name)
}
