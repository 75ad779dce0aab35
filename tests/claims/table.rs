//! SC: the published table of system calls, held against the kernel call by call.
//!
//! For: claims SC-1, SC-2 and SC-4, for every number: the filter that runs is the one that is published.
//! Not for: every argument (the unit tests of the compiler hold the filter against a reference).
//! Runs in: the test process; the probe makes the calls, each in a child of its own.

use std::collections::BTreeMap;

use super::{Jail, outside};
use crate::support::seconds;

/// What the published table says of a call whose arguments all have this value.
fn published(number: u32, argument: u32) -> String {
    let Some(entry) = in_table(number) else { return "ENOSYS".to_owned() };
    // Number, name, and the rule in words.
    let (_number, name_and_rule) = TABLE.lines().nth(entry).unwrap().split_once(' ').unwrap();
    let (_name, rule) = name_and_rule.trim_start().split_once(' ').unwrap();
    let below: Vec<&str> = TABLE.lines().skip(entry + 1).collect();
    follow(rule.trim_start(), &below, argument)
}

const TABLE: &str = include_str!("../golden/syscalls-strict-x86_64.txt");

/// How the probe tells of a child that the filter killed.
const SIGSYS: &str = "signal 31";

/// The line of a call's number.
fn in_table(number: u32) -> Option<usize> {
    TABLE.lines().position(|line| line.split(' ').next() == Some(&number.to_string()))
}

/// Follows a rule, whose cases stand in the lines below it, one step further in.
fn follow(rule: &str, below: &[&str], argument: u32) -> String {
    let hex = |text: &str| u32::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
    let depth = |line: &str| line.len() - line.trim_start().len();
    let Some(look) = rule.strip_prefix("by ") else { return rule.to_owned() };
    let value = argument & look.split_once(" & ").map_or(u32::MAX, |(_field, mask)| hex(mask));
    for (index, line) in below.iter().enumerate().filter(|(_index, line)| depth(line) == depth(below[0])) {
        let (case, then) = line.trim_start().split_once(": ").unwrap();
        let (first, last) = case.split_once('-').unwrap_or((case, case));
        if case == "otherwise" || (hex(first)..=hex(last)).contains(&value) {
            return follow(then, &below[index + 1..], argument);
        }
    }
    panic!("{rule}: no case for {value:#x}")
}

/// The answers of a sweep, by number.
fn swept(output: &str) -> BTreeMap<u32, String> {
    let pairs = output.lines().map(|line| line.split_once(' ').unwrap());
    pairs.map(|(number, answer)| (number.parse().unwrap(), answer.to_owned())).collect()
}

/// Not swept: `sync` writes the whole host's caches out and cannot be interrupted; `vhangup` outside would take the
/// caller's terminal away.
const SYNC: u32 = 162;
const VHANGUP: u32 = 153;

/// Allowed, for what it answers is the kernel's: EPERM, as in every user namespace without a capability.
const SETGROUPS: u32 = 116;

/// `uretprobe` and `uprobe`: from Linux 6.14 on the kernel never shows them to a filter. They work from the kernel's
/// own trampolines alone.
const UPROBES: [u32; 2] = [335, 336];

/// A run with the time that a thousand forks take in an emulated guest.
fn unhurried() -> Jail {
    Jail::new().args(["--timeout", &seconds(20), "--cpu-time", &seconds(10)])
}

#[test]
fn claim_sc_1_every_call_does_what_the_table_says() {
    // With all arguments -1 and with all 0: bad addresses, descriptors and commands, so that the kernel itself does
    // nothing, and says so otherwise than the filter.
    let sweep = |argument: &str, skipped: &[u32]| {
        let mut call = ["sweep", "native", argument, "0", "1023"].map(str::to_owned).to_vec();
        call.extend(skipped.iter().map(u32::to_string));
        call
    };
    let kernel = swept(&outside(sweep("-1", &[SYNC, VHANGUP])));
    assert_eq!(kernel.len(), 1022);
    for (argument, value) in [("-1", u32::MAX), ("0", 0)] {
        let inside = swept(&unhurried().probe(sweep(argument, &[SYNC])).answer());
        assert_eq!(inside.len(), 1023);
        let wrong: Vec<String> = inside
            .iter()
            .filter_map(|(number, answer)| {
                let table = published(*number, value);
                let outside = kernel.get(number).map_or("not tried", String::as_str);
                let right = match table.as_str() {
                    _ if UPROBES.contains(number) && answer == outside => true,
                    "kill" => answer == SIGSYS,
                    // The kernel's answer; never one that could be the filter's, unless the kernel gives it too.
                    "allow" if ["EPERM", "ENOSYS"].contains(&answer.as_str()) => {
                        answer == outside || *number == SETGROUPS
                    }
                    "allow" => answer != SIGSYS,
                    errno => answer == errno,
                };
                let says = format!("{number} of {argument}: {answer}, but the table says {table} (outside {outside})");
                (!right).then_some(says)
            })
            .collect();
        assert_eq!(wrong, [""; 0]);
    }
    // The control: what the table refuses, the kernel alone answers otherwise. An ordinary user lacks the
    // capability for most of it.
    if crate::support::is_root() {
        let same: Vec<_> = kernel
            .iter()
            .filter(|(number, answer)| in_table(**number).is_some() && **answer == published(**number, u32::MAX))
            .filter(|(_number, answer)| ["EPERM", "ENOSYS"].contains(&answer.as_str()))
            .collect();
        assert!(same.is_empty(), "these say nothing about the filter: {same:?}");
    }
}

#[test]
fn claim_sc_4_every_call_of_the_foreign_abis_kills() {
    // 20 and 39 are getpid: the neighbour is the test above, which calls the same numbers in the native way.
    let control = outside(["sweep", "int80", "-1", "20", "20"]);
    assert_eq!(control, "20 ok", "this kernel has no 32-bit calls");
    for [abi, first, last] in [["int80", "0", "1023"], ["native", "0x40000000", "0x400003ff"]] {
        let answers = swept(&unhurried().probe(["sweep", abi, "-1", first, last]).answer());

        assert_eq!(answers.len(), 1024);
        let survived: Vec<_> = answers.iter().filter(|(_number, answer)| *answer != SIGSYS).collect();
        assert!(survived.is_empty(), "{abi}: {survived:?}");
    }
}
