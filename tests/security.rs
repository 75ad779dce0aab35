//! SECURITY.md and the claim tests, held against each other.
//!
//! For: a claim without a test, or a test without a claim, fails here.
//! Runs in: the test process; nothing is started.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `FS-1` of the first cell of each row.
pub(crate) fn claims() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let text = text.split("\n## Without namespaces").next().unwrap();
    let cells = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    let is_id = |cell: &&str| {
        cell.split_once('-').is_some_and(|(section, number)| {
            section.chars().all(|c| c.is_ascii_uppercase()) && number.parse::<u32>().is_ok()
        })
    };
    cells.filter(is_id).map(str::to_owned).collect()
}

/// `claim_fs_1_…`, all of them.
pub(crate) fn claim_tests() -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join("tests/claims")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        for name in text.lines().filter_map(|line| line.trim().strip_prefix("fn claim_")) {
            found.push(format!("claim_{}", name.split('(').next().unwrap()));
        }
    }
    found
}

/// `FS-1` of `claim_fs_1_…`.
fn tested() -> BTreeSet<String> {
    let id = |name: String| {
        let mut words = name.split('_').skip(1);
        let (section, number) = (words.next().unwrap(), words.next().unwrap());
        format!("{}-{number}", section.to_uppercase())
    };
    claim_tests().into_iter().map(id).collect()
}

#[test]
fn every_claim_has_a_test_and_every_claim_test_a_claim() {
    let (claims, tested) = (claims(), tested());
    assert!(claims.len() > 40, "SECURITY.md has only {} claims", claims.len());
    let untested: Vec<_> = claims.difference(&tested).collect();
    let unclaimed: Vec<_> = tested.difference(&claims).collect();
    assert!(untested.is_empty() && unclaimed.is_empty(), "untested: {untested:?}, unclaimed: {unclaimed:?}");
}
