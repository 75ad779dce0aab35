//! Filters that nobody would write, compiled and run.
//!
//! For: the body of the fuzz target `filter`, which panics on a finding: a program that the kernel would not
//! take, or that decides one call otherwise than the rules.
//! Not for: programs; nothing here is part of them.
//! Runs in: fuzzers and tests.
#![expect(clippy::panic, clippy::indexing_slicing, reason = "a panic is how a finding is told")]

use std::collections::BTreeMap;

use super::calls::Arch;
use super::compile::{self, CompileError};
use super::interpret::{returned, run};
use super::rule::{Action, Field, Rule};
use super::{Filter, X32};

/// BPF_MAXINSNS.
const LONGEST: usize = 4096;

/// A filter made of bytes. Whether it is short enough for the kernel.
pub(crate) fn filter(bytes: &[u8]) -> bool {
    let mut input = Input(bytes);
    let first = input.byte();
    let arch = if first.is_multiple_of(2) { Arch::X86_64 } else { Arch::AARCH64 };
    let otherwise = input.action();
    let pool: Vec<Rule> = (0..=input.byte() % 8).map(|_| input.rule(3)).collect();
    let mut rules = BTreeMap::new();
    let mut number = u32::from(input.byte());
    while let Some(byte) = input.next() {
        rules.insert(number, pool[usize::from(byte % 8) % pool.len()].clone());
        number += 1 + u32::from(byte / 8);
    }
    if !arch.has_x32 && first > 127 {
        rules.insert(X32 - 1, pool[0].clone());
        rules.insert(u32::MAX, pool[0].clone());
    }
    let filter = Filter { arch, rules: rules.into_iter().collect(), otherwise };

    let program = match compile::program(&filter.clone().root()) {
        Ok(program) => program,
        Err(CompileError::TooLong(_)) => return false,
        Err(error) => panic!("{error}"),
    };
    acceptable(&program);

    let mut values = vec![0, 1, u32::MAX];
    pool.iter().for_each(|rule| boundaries(rule, &mut values));
    values.sort_unstable();
    values.dedup();
    let numbers: Vec<u32> =
        filter.rules.iter().flat_map(|(number, _)| [number.wrapping_sub(1), *number, number.wrapping_add(1)]).collect();
    // A thousand of them, evenly, so that a long filter does not take a second.
    let stride = numbers.len() / 1000 + 1;
    let numbers = numbers.into_iter().step_by(stride);
    let edges = [0, X32 - 1, X32, u32::MAX - 1, u32::MAX];
    for (turn, number) in numbers.chain(edges).enumerate() {
        for step in 0..4 {
            let low = |argument: usize| values[(turn * 7 + step * 3 + argument * 5) % values.len()];
            // The upper half never counts.
            let high = if step % 2 == 0 { 0 } else { 0xdead_beef_0000_0000 };
            let arguments = [0, 1, 2, 3, 4, 5].map(|argument| u64::from(low(argument)) | high);
            let want = returned(filter.decide(arch.audit, number, arguments));
            assert_eq!(run(&program, arch.audit, number, arguments).0, want, "{number:#x} {arguments:#x?}");
        }
    }
    let foreign = run(&program, 0x4000_0003, 1, [0; 6]).0;
    assert_eq!(foreign, returned(Action::KillProcess), "another architecture gets through");
    true
}

/// What the kernel checks before it takes a program (bpf_check_classic, seccomp_check_filter).
fn acceptable(program: &[libc::sock_filter]) {
    assert!((1..=LONGEST).contains(&program.len()), "{} instructions", program.len());
    for (at, &libc::sock_filter { code, jt, jf, k }) in program.iter().enumerate() {
        let left = program.len() - at - 1;
        match code {
            0x20 => assert!(k.is_multiple_of(4) && k < 64, "a load from {k}"),
            0x54 | 0x06 => {}
            0x05 => assert!(usize::try_from(k).is_ok_and(|far| far < left), "a jump out of the program"),
            0x15 | 0x25 | 0x35 => assert!(usize::from(jt.max(jf)) < left, "a branch out of the program"),
            _ => panic!("instruction {code:#x}"),
        }
    }
    assert!(program.last().is_some_and(|last| last.code == 0x06), "the program does not end");
}

/// The values on both sides of each case.
fn boundaries(rule: &Rule, values: &mut Vec<u32>) {
    let Rule::Look(switch) = rule else { return };
    values.push(switch.mask);
    for (first, last, then) in &switch.cases {
        values.extend([first.wrapping_sub(1), *first, *last, last.wrapping_add(1)]);
        boundaries(then, values);
    }
    boundaries(&switch.otherwise, values);
}

/// The bytes that a filter is made of; zeros when they are used up.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn byte(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }

    fn word(&mut self) -> u32 {
        u32::from_le_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    fn action(&mut self) -> Action {
        match self.byte() % 8 {
            0 => Action::Allow,
            1 => Action::KillProcess,
            _ => Action::Errno(u16::from_le_bytes([self.byte(), self.byte()]) % 4096),
        }
    }

    fn rule(&mut self, depth: u8) -> Rule {
        let kind = self.byte();
        if depth == 0 || kind.is_multiple_of(3) {
            return Rule::Do(self.action());
        }
        let field = [Field::Arg0, Field::Arg1, Field::Arg2, Field::Arg3][usize::from(kind / 4 % 4)];
        let mask = match self.byte() % 4 {
            0 => u32::MAX,
            1 => 0xff,
            _ => self.word(),
        };
        let mut cases = Vec::new();
        let mut from = Some(0_u32);
        for _ in 0..self.byte() % 8 {
            // In ascending order, without overlap, as `Rule::look` asks for.
            let (skip, more) =
                if kind.is_multiple_of(2) { (self.byte().into(), 0) } else { (self.word(), self.byte().into()) };
            let Some(first) = from.and_then(|from| from.checked_add(skip)) else { break };
            let last = first.saturating_add(more);
            cases.push((first, last, self.rule(depth - 1)));
            from = last.checked_add(1);
        }
        let otherwise = self.rule(depth - 1);
        Rule::look(field, mask, cases, otherwise)
    }
}
