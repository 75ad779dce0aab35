//! Values as people write them: sizes, durations, counts, CPUs, paths, and the words of an enumeration.
//!
//! For: the only parsers of such text, shared by profile files, flags and requests, so that a value
//! means the same wherever it is written.
//! Not for: ranges (see `policy::validate`): here a value only has to be readable and fit its type.
//! Runs in: the supervisor, on text that nobody has checked.
//!
//! Every error says what to write instead.

use std::path::PathBuf;

use crate::policy::{Access, Bytes, Isolation, MilliCpus, Millis, Net, OnOverflow, Proc, Tmpfs, ViewEntry, Workspace};

/// The suffixes of a size. All are binary, so the decimal `MB` is refused rather than guessed at.
const SIZES: [(&str, u64); 9] = [
    ("b", 1),
    ("k", 1 << 10),
    ("kib", 1 << 10),
    ("m", 1 << 20),
    ("mib", 1 << 20),
    ("g", 1 << 30),
    ("gib", 1 << 30),
    ("t", 1 << 40),
    ("tib", 1 << 40),
];

/// The suffixes of a duration, in milliseconds.
const DURATIONS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];

/// The suffixes of a count; binary, as tmpfs(5) reads them.
const COUNTS: [(&str, u64); 3] = [("", 1), ("k", 1 << 10), ("m", 1 << 20)];

/// The words of `fs.workspace`.
pub(crate) const WORKSPACE: [(&str, Workspace); 3] =
    [("none", Workspace::None), ("read", Workspace::Read), ("write", Workspace::Write)];

/// The words of `isolation`.
pub(crate) const ISOLATION: [(&str, Isolation); 2] = [("full", Isolation::Full), ("landlock", Isolation::Landlock)];

/// The words of `fs.proc`.
pub(crate) const PROC: [(&str, Proc); 2] = [("pid", Proc::Pid), ("masked", Proc::Masked)];

/// The words of `net.mode`.
pub(crate) const NET: [(&str, Net); 3] = [("none", Net::None), ("loopback", Net::Loopback), ("host", Net::Host)];

/// The words of `output.on_overflow`.
pub(crate) const ON_OVERFLOW: [(&str, OnOverflow); 2] =
    [("kill", OnOverflow::Kill), ("truncate", OnOverflow::Truncate)];

/// One of a few words.
pub(super) fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        format!("{text:?} is not a known value (write {})", known.join(", "))
    })
}

/// The word that stands for a value.
pub(crate) fn word_of<T: PartialEq>(value: &T, words: &[(&'static str, T)]) -> &'static str {
    words.iter().find(|(_, known)| known == value).map_or("", |(word, _)| word)
}

/// `none`, or what `parse` reads.
pub(super) fn or_none<T>(text: &str, parse: fn(&str) -> Result<T, String>) -> Result<Option<T>, String> {
    if text == "none" { Ok(None) } else { parse(text).map(Some) }
}

/// A size: a whole number and a unit, `512M`, `1 GiB`, `100B`.
pub(super) fn size(text: &str) -> Result<Bytes, String> {
    let (number, unit) = split(text);
    if unit.is_empty() && is_whole(number) {
        return Err(format!("a size needs a unit: {number}M is {number} MiB, {number}B is {number} bytes"));
    }
    let Some(factor) = factor(&unit.to_ascii_lowercase(), &SIZES).filter(|_| is_whole(number)) else {
        return Err(format!("{text:?} is not a size (write a whole number with B, K, M, G or T, such as 512M)"));
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .map(Bytes)
        .ok_or_else(|| format!("{text} is too large (the largest size is {})", Bytes(u64::MAX)))
}

/// A size as a profile writes it: `512M`, `100B`.
pub(crate) fn size_text(size: Bytes) -> String {
    size.to_string().replace("iB", "").replace(' ', "")
}

/// A duration: a number and a unit, `30s`, `1.5s`, `500 ms`, `2m`, `1h`.
pub(super) fn duration(text: &str) -> Result<Millis, String> {
    let (number, unit) = split(text);
    if unit.is_empty() && is_whole(number) {
        return Err(format!(
            "a duration needs a unit: {number}s is {number} seconds, {number}ms is {number} milliseconds"
        ));
    }
    let Some(factor) = factor(unit, &DURATIONS).filter(|_| is_decimal(number)) else {
        return Err(format!("{text:?} is not a duration (write a number with ms, s, m or h, such as 30s)"));
    };
    decimal(number, factor, "a millisecond").map(Millis).map_err(|problem| format!("{text} {problem}"))
}

/// A duration as a profile writes it: `30s`, `1.5s`.
pub(crate) fn duration_text(duration: Millis) -> String {
    duration.to_string().replace(' ', "")
}

/// A count: a whole number, `64`, or with a binary suffix, `16k`.
pub(super) fn count(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let Some(factor) = factor(&unit.to_ascii_lowercase(), &COUNTS).filter(|_| is_whole(number)) else {
        return Err(format!("{text:?} is not a count (write a whole number such as 64, or 16k for 16384)"));
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| format!("{text} is too large (the largest count is {})", u64::MAX))
}

/// A count that the kernel holds in 32 bits.
pub(super) fn count32(text: &str) -> Result<u32, String> {
    let count = count(text)?;
    u32::try_from(count).map_err(|_too_large| format!("{text} is too large (the largest count here is {})", u32::MAX))
}

/// A number of CPUs: `1`, `0.5`.
pub(super) fn cpus(text: &str) -> Result<MilliCpus, String> {
    if !is_decimal(text) {
        return Err(format!("{text:?} is not a number of CPUs (write a number such as 1 or 0.5)"));
    }
    let thousandths = decimal(text, 1000, "a thousandth of a CPU").map_err(|problem| format!("{text} {problem}"))?;
    u32::try_from(thousandths).map(MilliCpus).map_err(|_too_large| format!("{text} is too large (write at most 1024)"))
}

/// An absolute path without `.`, doubled and trailing slashes. `..` is refused: where it leads
/// depends on symbolic links that are not looked at here.
pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    if !text.starts_with('/') {
        return Err(format!("{text:?} is not an absolute path (write a path that begins with /)"));
    }
    if text.contains('\0') {
        return Err(format!("{text:?} holds a NUL byte (write a path without one)"));
    }
    let mut path = String::new();
    for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            return Err(format!("{text:?} holds \"..\" (write the path that it leads to)"));
        }
        path.push('/');
        path.push_str(part);
    }
    Ok(if path.is_empty() { PathBuf::from("/") } else { PathBuf::from(path) })
}

/// `SOURCE` or `SOURCE:DEST`.
pub(super) fn view(text: &str, access: Access) -> Result<ViewEntry, String> {
    let (source, dest) = text.split_once(':').unwrap_or((text, text));
    if dest.contains(':') {
        return Err(format!("{text:?} has more than one colon (write {{ path = \"…\", at = \"…\" }} in a profile)"));
    }
    Ok(ViewEntry { source: path(source)?, dest: path(dest)?, access, optional: false })
}

/// `DEST` or `DEST:size=64M,inodes=16k`; a part that is left out has the value of `strict`'s `/tmp`.
pub(super) fn tmpfs(text: &str) -> Result<Tmpfs, String> {
    let (dest, options) = text.split_once(':').unwrap_or((text, ""));
    let mut tmpfs = Tmpfs { dest: path(dest)?, size: Bytes(64 << 20), inodes: 16 << 10 };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", value)) => tmpfs.size = size(value)?,
            Some(("inodes", value)) => tmpfs.inodes = count(value)?,
            _ => return Err(format!("{option:?} is not an option of a tmpfs (write size=64M or inodes=16k)")),
        }
    }
    Ok(tmpfs)
}

/// Cuts a number from the unit behind it; one space may stand between.
fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end).unwrap_or((text, ""));
    (number, unit.strip_prefix(' ').filter(|unit| !unit.is_empty()).unwrap_or(unit))
}

fn factor(unit: &str, units: &[(&str, u64)]) -> Option<u64> {
    units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor)
}

fn is_whole(number: &str) -> bool {
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_decimal(number: &str) -> bool {
    match number.split_once('.') {
        Some((whole, fraction)) => is_whole(whole) && is_whole(fraction),
        None => is_whole(number),
    }
}

/// `number * factor` without floating point, so that 0.1 is a tenth. `finest` names the unit of the result.
fn decimal(number: &str, factor: u64, finest: &str) -> Result<u64, String> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let too_large = || "is too large".to_owned();
    let whole = whole.parse::<u64>().ok().and_then(|whole| whole.checked_mul(factor)).ok_or_else(too_large)?;
    let too_fine = || format!("is finer than {finest} (write fewer digits)");
    let fraction = fraction.trim_end_matches('0');
    let part = if fraction.is_empty() {
        0
    } else {
        let scale =
            u32::try_from(fraction.len()).ok().and_then(|digits| 10_u64.checked_pow(digits)).ok_or_else(too_fine)?;
        let scaled = fraction.parse::<u64>().ok().and_then(|part| part.checked_mul(factor)).ok_or_else(too_fine)?;
        if scaled % scale != 0 {
            return Err(too_fine());
        }
        scaled / scale
    };
    whole.checked_add(part).ok_or_else(too_large)
}

#[cfg(test)]
mod tests;
