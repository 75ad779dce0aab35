//! What must hold for every text, whoever wrote it.
//!
//! For: the bodies of the fuzz targets `profile` and `units`, which panic on a finding.
//! Not for: programs; nothing here is part of them.
//! Runs in: fuzzers and tests.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a panic is how a finding is told")]

use super::{Profile, ProfileError, load, schema, units};
use crate::policy::{Access, Bytes, MilliCpus, Millis, Origin, Policy};

/// One profile file. Whether it means a policy.
pub(crate) fn profile(text: &str) -> bool {
    let profile = match load::parse_alone("p.toml", text) {
        Ok(profile) => profile,
        Err(error) => return refused(&error),
    };
    let mut twice = profile.clone();
    twice.merge(profile.clone());
    assert!(twice == profile, "merging a profile with itself changes it");

    let policy = match Policy::new(&profile) {
        Ok(policy) => policy,
        Err(error) => return refused(&error),
    };
    in_range(&policy);
    let printed = policy.to_toml();
    let again = load::parse_alone("again.toml", &printed).and_then(|profile| Policy::new(&profile));
    let again = again.unwrap_or_else(|error| panic!("what is printed cannot be read: {error}\n{printed}"));
    assert!(again.digest() == policy.digest(), "what is printed means something else:\n{printed}");
    true
}

/// One key and its value, as a flag sets it, on top of `profile`. Whether it was taken.
pub(crate) fn set(profile: &mut Profile, key: &str, value: &str) -> bool {
    schema::set(profile, key, value, Origin::Flag("--flag".into())).map_err(|message| clean(&message)).is_ok()
}

/// One value of each kind. Whether one of them can be read.
pub(crate) fn units(text: &str) -> bool {
    let size = units::size(text);
    if let Ok(size) = size {
        assert_eq!(units::size(&units::size_text(size)), Ok(size), "{text:?}");
        assert_eq!(units::size(&size.to_string()), Ok(size), "{text:?}");
        exact(text, size.0, &SIZES);
    }
    let duration = units::duration(text);
    if let Ok(duration) = duration {
        assert_eq!(units::duration(&units::duration_text(duration)), Ok(duration), "{text:?}");
        assert_eq!(units::duration(&duration.to_string()), Ok(duration), "{text:?}");
        exact(text, duration.0, &DURATIONS);
    }
    let count = units::count(text);
    if let Ok(count) = count {
        assert_eq!(units::count(&count.to_string()), Ok(count), "{text:?}");
        exact(text, count, &COUNTS);
    }
    let count32 = units::count32(text);
    let narrow = count.clone().ok().and_then(|count| u32::try_from(count).ok());
    assert_eq!(count32.clone().ok(), narrow, "{text:?}");
    let cpus = units::cpus(text);
    if let Ok(cpus) = cpus {
        assert_eq!(units::cpus(&cpus.to_string()), Ok(cpus), "{text:?}");
        exact(text, cpus.0.into(), &CPUS);
    }
    let path = units::path(text);
    if let Ok(path) = &path {
        let normal = path.to_str().unwrap();
        assert_eq!(units::path(normal).as_ref(), Ok(path), "{text:?}");
        assert!(normal == "/" || !normal.ends_with('/') && !normal.contains("//"), "{normal:?}");
        assert!(!normal.split('/').any(|part| part == "." || part == ".."), "{normal:?}");
    }
    let view = units::view(text, Access::Ro);
    let tmpfs = units::tmpfs(text);
    if let Ok(tmpfs) = &tmpfs {
        let dest = tmpfs.dest.to_str().unwrap();
        let printed = format!("{dest}:size={},inodes={}", units::size_text(tmpfs.size), tmpfs.inodes);
        assert_eq!(units::tmpfs(&printed).as_ref(), Ok(tmpfs), "{text:?}");
    }
    let results = [
        size.map(drop),
        duration.map(drop),
        count.map(drop),
        count32.map(drop),
        cpus.map(drop),
        path.map(drop),
        view.map(drop),
        tmpfs.map(drop),
    ];
    results.iter().filter_map(|result| result.as_ref().err()).for_each(|message| clean(message));
    results.iter().any(Result::is_ok)
}

/// What a suffix is worth, not taken from the table that is under test: a thousandth of a CPU is 1.
const SIZES: [(&str, u128); 5] =
    [("b", 1), ("k", 1024), ("m", 1_048_576), ("g", 1_073_741_824), ("t", 1_099_511_627_776)];
const DURATIONS: [(&str, u128); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
const COUNTS: [(&str, u128); 3] = [("", 1), ("k", 1024), ("m", 1_048_576)];
const CPUS: [(&str, u128); 1] = [("", 1000)];

/// The same value by arithmetic that does not know 64 bits: nothing wrapped, nothing was rounded.
fn exact(text: &str, value: u64, units: &[(&str, u128)]) {
    let digits: String = text.chars().filter(|c| c.is_ascii_digit() || *c == '.').collect();
    let unit: String = text.chars().filter(char::is_ascii_alphabetic).collect::<String>().to_ascii_lowercase();
    // KiB is K.
    let unit = unit.strip_suffix("ib").unwrap_or(&unit);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit).unwrap();
    let (whole, fraction) = digits.split_once('.').unwrap_or((&digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let scale = 10_u128.pow(u32::try_from(fraction.len()).unwrap());
    let number: u128 = format!("{whole}{fraction}").parse().unwrap();
    assert_eq!(number.checked_mul(*factor), Some(u128::from(value) * scale), "{text:?}");
}

/// What the kernel's fields hold and people expect.
fn in_range(policy: &Policy) {
    let limits = &policy.limits;
    let signed = |bytes: Bytes| i64::try_from(bytes.0).is_ok();
    assert!(signed(limits.memory.value) && limits.memory.value >= Bytes(1 << 20));
    assert!((1..=1 << 22).contains(&limits.pids.value));
    assert!((16..=1 << 20).contains(&limits.nofile.value));
    assert!(limits.fsize.value.is_none_or(signed) && signed(limits.core.value) && signed(limits.stack.value));
    assert!(policy.output.limit.value.is_none_or(signed) && signed(policy.output.keep.value));
    assert!(policy.tmpfs.iter().all(|tmpfs| signed(tmpfs.value.size) && tmpfs.value.size.0 > 0));
    assert!([limits.wall.value, limits.cpu_time.value].into_iter().flatten().all(|time| time > Millis(0)));
    assert!(limits.cpus.value.is_none_or(|cpus| cpus > MilliCpus(0)));
}

fn refused(error: &ProfileError) -> bool {
    assert!(!error.lines().is_empty(), "refused without a reason");
    error.lines().iter().for_each(|line| clean(line));
    false
}

/// One line of plain text: a message about a stranger's file must not be able to steer a terminal.
fn clean(message: &str) {
    assert!(!message.is_empty() && !message.contains(char::is_control), "{message:?}");
}
