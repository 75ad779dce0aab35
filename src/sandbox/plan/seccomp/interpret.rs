//! Classic BPF as the kernel runs it, written down a second time.
//!
//! For: tests and fuzz targets, which hold what `compile` writes against what the rules say.
//! Not for: programs; nothing here is part of them.
//! Runs in: tests and fuzzers.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a program that leads out of bounds is a finding, and ends the test that ran it"
)]

use super::rule::Action;

/// Runs a program as the kernel does, and counts the instructions.
pub(super) fn run(program: &[libc::sock_filter], arch: u32, number: u32, arguments: [u64; 6]) -> (u32, usize) {
    // struct seccomp_data, in words of 32 bits.
    let mut data = [0_u32; 16];
    [data[0], data[1]] = [number, arch];
    for (words, argument) in data[4..].chunks_exact_mut(2).zip(arguments) {
        [words[0], words[1]] = [argument & 0xffff_ffff, argument >> 32].map(|half| u32::try_from(half).unwrap());
    }
    let (mut at, mut accumulator, mut steps) = (0, 0_u32, 0);
    loop {
        let libc::sock_filter { code, jt, jf, k } = program[at];
        steps += 1;
        at += 1;
        let (jt, jf, far) = (usize::from(jt), usize::from(jf), usize::try_from(k).unwrap());
        match code {
            0x20 => accumulator = data[far / 4],
            0x54 => accumulator &= k,
            0x05 => at += far,
            0x15 => at += if accumulator == k { jt } else { jf },
            0x25 => at += if accumulator > k { jt } else { jf },
            0x35 => at += if accumulator >= k { jt } else { jf },
            0x06 => return (k, steps),
            _ => panic!("instruction {code:#x} at {}", at - 1),
        }
    }
}

/// What a filter returns for an action, as seccomp(2) has it.
pub(super) fn returned(action: Action) -> u32 {
    match action {
        Action::Allow => 0x7fff_0000,
        Action::Errno(errno) => 0x0005_0000 | u32::from(errno),
        Action::KillProcess => 0x8000_0000,
    }
}
