//! Normalised paths, held against each other.
//!
//! For: what a start asks some thousand times: does one path lie in another, which comes first. Their bytes tell,
//! where `Path` takes both apart into components each time, which was a fifth of all that a start did by itself.
//! Not for: paths as somebody wrote them (`profile::units` normalises those).
//! Runs in: the supervisor.

use std::cmp::Ordering;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Whether the two are the same path.
pub(crate) fn same_path(one: &Path, other: &Path) -> bool {
    one.as_os_str() == other.as_os_str()
}

/// Whether `path` is `dir` or lies below it.
pub(crate) fn lies_in(path: &Path, dir: &Path) -> bool {
    let (path, dir) = (path.as_os_str().as_bytes(), dir.as_os_str().as_bytes());
    path.strip_prefix(dir).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')) || dir == b"/")
}

/// The order of `Path`: component by component, so that a parent comes right before what lies below it.
pub(crate) fn in_order(one: &Path, other: &Path) -> Ordering {
    let key = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    let (one, other) = (one.as_os_str().as_bytes(), other.as_os_str().as_bytes());
    one.iter().map(key).cmp(other.iter().map(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_say_what_components_say(one in "/|(/[a+][-a]?){1,4}", other in "/|(/[a+][-a]?){1,4}") {
            let (one, other) = (Path::new(&one), Path::new(&other));
            prop_assert_eq!(same_path(one, other), one == other);
            prop_assert_eq!(lies_in(one, other), one.starts_with(other));
            prop_assert_eq!(in_order(one, other), one.cmp(other));
        }
    }
}
