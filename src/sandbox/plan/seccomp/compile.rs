//! From rules to classic BPF.
//!
//! For: a short program of little depth. The kernel runs it over every call number when it is installed, to
//! remember the plain allows; with a linear list that costs more than all other steps of a small start.
//! Not for: what is allowed (see `rule`), or loading the program.
//! Runs in: the supervisor.
//!
//! The program is written from its end to its beginning, because BPF only jumps forwards: what is jumped to
//! is there already and its distance is known. A place is therefore the number of instructions after it.

use std::collections::BTreeMap;

use super::rule::{Action, Rule, Switch};

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const JUMP_IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_IF_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// BPF_MAXINSNS: the kernel takes no longer program.
const LONGEST: usize = 4096;
/// How far a conditional jump may lead, less room for the two instructions that `near` may add before it.
const REACH: usize = 250;

/// Why there is no program for a filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CompileError {
    /// More than BPF_MAXINSNS.
    #[error("the filter has {0} instructions, and the kernel takes at most 4096")]
    TooLong(usize),
    /// A jump does not fit its field: a bug.
    #[error("a jump over {0} instructions does not fit the filter")]
    TooFar(usize),
    /// Not even `exit_group` is allowed.
    #[error("the filter lets no program run")]
    AllowsNothing,
    /// Even `unshare` is allowed.
    #[error("the filter refuses nothing")]
    RefusesNothing,
}

/// The program of one rule.
pub(super) fn program(root: &Rule) -> Result<Vec<libc::sock_filter>, CompileError> {
    let mut program =
        Program { reversed: Vec::with_capacity(512), blocks: Vec::with_capacity(64), copies: BTreeMap::new() };
    let start = program.rule(root)?;
    // The kernel starts at the first instruction, whatever was written last.
    if start + 1 != program.reversed.len() {
        program.jump(start)?;
    }
    let length = program.reversed.len();
    if length > LONGEST {
        return Err(CompileError::TooLong(length));
    }
    program.reversed.reverse();
    Ok(program.reversed)
}

struct Program<'a> {
    /// The last instruction first.
    reversed: Vec<libc::sock_filter>,
    /// Where each rule begins, so that equal ones are written once.
    blocks: Vec<(&'a Rule, usize)>,
    /// The nearest stand-in of a place that has got out of reach.
    copies: BTreeMap<usize, usize>,
}

impl<'a> Program<'a> {
    /// Writes a rule, unless it is there, and says where it begins.
    fn rule(&mut self, rule: &'a Rule) -> Result<usize, CompileError> {
        if let Some((_, place)) = self.blocks.iter().find(|(known, _)| *known == rule) {
            return Ok(*place);
        }
        let place = match rule {
            Rule::Do(action) => self.push(RETURN, 0, 0, answer(*action)),
            Rule::Look(switch) => self.switch(switch)?,
        };
        self.blocks.push((rule, place));
        Ok(place)
    }

    fn switch(&mut self, switch: &'a Switch) -> Result<usize, CompileError> {
        let ranges = self.ranges(switch)?;
        if let [(_, place)] = ranges.as_slice() {
            return Ok(*place);
        }
        // Two ranges or more end in a jump, which the load before it falls through to.
        self.tree(&ranges)?;
        if switch.mask != u32::MAX {
            self.push(AND, 0, 0, switch.mask);
        }
        Ok(self.push(LOAD, 0, 0, switch.field.offset()))
    }

    /// The first value of each range of values that lead to one place; the first range begins at 0.
    fn ranges(&mut self, switch: &'a Switch) -> Result<Vec<(u32, usize)>, CompileError> {
        let otherwise = self.rule(&switch.otherwise)?;
        let mut ranges = Vec::with_capacity(2 * switch.cases.len() + 1);
        let mut next = Some(0);
        // Mostly the rule of a value is that of the value before.
        let mut before = (&switch.otherwise, otherwise);
        for (first, last, then) in &switch.cases {
            if let Some(value) = next.filter(|value| value < first) {
                ranges.push((value, otherwise));
            }
            if before.0 != then {
                before = (then, self.rule(then)?);
            }
            ranges.push((*first, before.1));
            next = last.checked_add(1);
        }
        ranges.extend(next.map(|value| (value, otherwise)));
        ranges.dedup_by_key(|(_, place)| *place);
        Ok(ranges)
    }

    /// Writes a search for the range that the loaded word is in.
    fn tree(&mut self, ranges: &[(u32, usize)]) -> Result<usize, CompileError> {
        if let [(_, around), (value, place), (next, rest)] = ranges
            && around == rest
            && value.checked_add(1) == Some(*next)
        {
            return self.branch(JUMP_IF_EQUAL, *value, *place, *around);
        }
        let (low, high) = ranges.split_at(ranges.len() / 2);
        match (low, high) {
            (_, []) => self.rule(&Rule::Do(Action::KillProcess)),
            ([], [(_, place), ..]) => Ok(*place),
            (_, [(first, _), ..]) => {
                let at_least = self.tree(high)?;
                let below = self.tree(low)?;
                self.branch(JUMP_IF_AT_LEAST, *first, at_least, below)
            }
        }
    }

    fn branch(&mut self, code: u16, value: u32, yes: usize, no: usize) -> Result<usize, CompileError> {
        let yes = self.near(yes)?;
        let no = self.near(no)?;
        let yes = self.distance(yes);
        let no = self.distance(no);
        match (u8::try_from(yes), u8::try_from(no)) {
            (Ok(jt), Ok(jf)) => Ok(self.push(code, jt, jf, value)),
            _ => Err(CompileError::TooFar(yes.max(no))),
        }
    }

    /// A place that a conditional jump can reach and that does the same.
    fn near(&mut self, place: usize) -> Result<usize, CompileError> {
        if self.distance(place) <= REACH {
            return Ok(place);
        }
        if let Some(copy) = self.copies.get(&place).filter(|copy| self.distance(**copy) <= REACH) {
            return Ok(*copy);
        }
        let copy = match self.reversed.get(place) {
            // As short as a jump to it, and one instruction less to run.
            Some(end) if end.code == RETURN => self.push(RETURN, 0, 0, end.k),
            _ => self.jump(place)?,
        };
        self.copies.insert(place, copy);
        Ok(copy)
    }

    fn jump(&mut self, place: usize) -> Result<usize, CompileError> {
        let distance = self.distance(place);
        let offset = u32::try_from(distance).map_err(|_too_big| CompileError::TooFar(distance))?;
        Ok(self.push(JUMP, 0, 0, offset))
    }

    /// How many instructions lie between the next one to be written and `place`.
    const fn distance(&self, place: usize) -> usize {
        self.reversed.len().saturating_sub(place + 1)
    }

    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> usize {
        self.reversed.push(libc::sock_filter { code, jt, jf, k });
        self.reversed.len() - 1
    }
}

/// The value that a filter returns for an action.
fn answer(action: Action) -> u32 {
    match action {
        Action::Allow => libc::SECCOMP_RET_ALLOW,
        Action::Errno(errno) => libc::SECCOMP_RET_ERRNO | u32::from(errno),
        Action::KillProcess => libc::SECCOMP_RET_KILL_PROCESS,
    }
}
