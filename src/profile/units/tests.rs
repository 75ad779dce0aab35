//! Units: what is read, what is refused with which words, and properties over all values.

use proptest::prelude::*;

use super::*;

#[test]
fn sizes_are_binary_and_need_a_unit() {
    for (text, bytes) in [
        ("100B", 100),
        ("0B", 0),
        ("64K", 64 << 10),
        ("64k", 64 << 10),
        ("64KiB", 64 << 10),
        ("512M", 512 << 20),
        ("512 MiB", 512 << 20),
        ("1G", 1 << 30),
        ("2t", 2 << 40),
    ] {
        assert_eq!(size(text), Ok(Bytes(bytes)), "{text}");
    }
    for (text, message) in [
        ("512", "a size needs a unit: 512M is 512 MiB, 512B is 512 bytes"),
        ("", "\"\" is not a size (write a whole number with B, K, M, G or T, such as 512M)"),
        ("512MB", "\"512MB\" is not a size (write a whole number with B, K, M, G or T, such as 512M)"),
        ("1.5G", "\"1.5G\" is not a size (write a whole number with B, K, M, G or T, such as 512M)"),
        ("-1M", "\"-1M\" is not a size (write a whole number with B, K, M, G or T, such as 512M)"),
        ("none", "\"none\" is not a size (write a whole number with B, K, M, G or T, such as 512M)"),
        ("99999999999G", "99999999999G is too large (the largest size is 18446744073709551615 B)"),
        ("99999999999999999999B", "99999999999999999999B is too large (the largest size is 18446744073709551615 B)"),
    ] {
        assert_eq!(size(text), Err(message.to_owned()));
    }
}

#[test]
fn durations_are_exact_and_need_a_unit() {
    for (text, millis) in [
        ("500ms", 500),
        ("30s", 30_000),
        ("1.5s", 1500),
        ("1.5 s", 1500),
        ("2m", 120_000),
        ("0.1s", 100),
        ("1h", 3_600_000),
        ("1.50s", 1500),
    ] {
        assert_eq!(duration(text), Ok(Millis(millis)), "{text}");
    }
    for (text, message) in [
        ("30", "a duration needs a unit: 30s is 30 seconds, 30ms is 30 milliseconds"),
        ("30 sec", "\"30 sec\" is not a duration (write a number with ms, s, m or h, such as 30s)"),
        ("1.", "\"1.\" is not a duration (write a number with ms, s, m or h, such as 30s)"),
        ("1.s", "\"1.s\" is not a duration (write a number with ms, s, m or h, such as 30s)"),
        ("0.5ms", "0.5ms is finer than a millisecond (write fewer digits)"),
        (
            "1.0000000000000000000000000001s",
            "1.0000000000000000000000000001s is finer than a millisecond (write fewer digits)",
        ),
        ("9999999999999999h", "9999999999999999h is too large"),
    ] {
        assert_eq!(duration(text), Err(message.to_owned()));
    }
}

#[test]
fn counts_and_cpus() {
    assert_eq!(count("64"), Ok(64));
    assert_eq!(count("16k"), Ok(16_384));
    assert_eq!(count("1M"), Ok(1 << 20));
    assert_eq!(
        count("many"),
        Err("\"many\" is not a count (write a whole number such as 64, or 16k for 16384)".to_owned())
    );
    assert_eq!(count32("5000000000"), Err("5000000000 is too large (the largest count here is 4294967295)".to_owned()));
    assert_eq!(cpus("0.5"), Ok(MilliCpus(500)));
    assert_eq!(cpus("2"), Ok(MilliCpus(2000)));
    assert_eq!(cpus("1e3"), Err("\"1e3\" is not a number of CPUs (write a number such as 1 or 0.5)".to_owned()));
    assert_eq!(cpus("0.0001"), Err("0.0001 is finer than a thousandth of a CPU (write fewer digits)".to_owned()));
}

#[test]
fn paths_are_normalised_but_not_resolved() {
    for (text, expected) in [("/", "/"), ("/usr/", "/usr"), ("//usr//./lib", "/usr/lib"), ("/a b", "/a b")] {
        assert_eq!(path(text), Ok(PathBuf::from(expected)));
    }
    for (text, message) in [
        ("usr", "\"usr\" is not an absolute path (write a path that begins with /)"),
        ("", "\"\" is not an absolute path (write a path that begins with /)"),
        ("~/x", "\"~/x\" is not an absolute path (write a path that begins with /)"),
        ("/usr/../etc", "\"/usr/../etc\" holds \"..\" (write the path that it leads to)"),
        ("/a\0b", "\"/a\\0b\" holds a NUL byte (write a path without one)"),
    ] {
        assert_eq!(path(text), Err(message.to_owned()));
    }
}

#[test]
fn view_and_tmpfs() {
    let entry = view("/src:/dest/", Access::Rw).unwrap();
    assert_eq!((entry.source, entry.dest), (PathBuf::from("/src"), PathBuf::from("/dest")));
    assert!(view("/a:/b:/c", Access::Ro).unwrap_err().contains("more than one colon"));
    let tmpfs_default = Tmpfs { dest: "/tmp".into(), size: Bytes(64 << 20), inodes: 16_384 };
    assert_eq!(tmpfs("/tmp"), Ok(tmpfs_default.clone()));
    assert_eq!(tmpfs("/tmp:size=64M,inodes=16k"), Ok(tmpfs_default));
    assert_eq!(
        tmpfs("/tmp:mode=700"),
        Err("\"mode=700\" is not an option of a tmpfs (write size=64M or inodes=16k)".to_owned())
    );
}

/// Text that is near to a value, so that the tests reach past the first check.
fn near() -> impl Strategy<Value = String> {
    "[0-9]{0,22}(\\.[0-9]{0,22})? ?[a-zA-Z]{0,3}"
}

proptest! {
    #[test]
    fn what_is_printed_is_read(value: u64, milli: u32) {
        prop_assert_eq!(size(&Bytes(value).to_string()), Ok(Bytes(value)));
        prop_assert_eq!(size(&size_text(Bytes(value))), Ok(Bytes(value)));
        prop_assert_eq!(duration(&Millis(value).to_string()), Ok(Millis(value)));
        prop_assert_eq!(duration(&duration_text(Millis(value))), Ok(Millis(value)));
        prop_assert_eq!(count(&value.to_string()), Ok(value));
        prop_assert_eq!(cpus(&MilliCpus(milli).to_string()), Ok(MilliCpus(milli)));
    }

    #[test]
    fn nothing_wraps(number: u64, unit in 0..SIZES.len(), time in 0..DURATIONS.len()) {
        let (name, factor) = SIZES[unit];
        prop_assert_eq!(size(&format!("{number}{name}")).ok(), number.checked_mul(factor).map(Bytes));
        let (name, factor) = DURATIONS[time];
        prop_assert_eq!(duration(&format!("{number}{name}")).ok(), number.checked_mul(factor).map(Millis));
    }

    #[test]
    fn no_text_panics(text in prop_oneof![".*", near()]) {
        let texts = [
            size(&text).err(), duration(&text).err(), count32(&text).err(), cpus(&text).err(),
            path(&text).err(), view(&text, Access::Ro).err(), tmpfs(&text).err(),
        ];
        for message in texts.into_iter().flatten() {
            prop_assert!(!message.contains('\n'), "{}", message);
        }
    }

    #[test]
    fn a_path_is_its_own_normal_form(text in "(/[a-z.]{0,3}){1,5}") {
        if let Ok(once) = path(&text) {
            prop_assert_eq!(path(once.to_str().unwrap()), Ok(once.clone()));
        }
    }
}
