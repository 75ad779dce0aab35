//! The system call filter: from the words of a policy to rules, and from rules to classic BPF.
//!
//! For: what each call number answers (the reference semantics, [`Filter::decide`]), the program that the
//! kernel runs ([`Filter::compile`]; both that a run loads: [`Programs`]), and the same as text for people
//! (`Filter::table`, in tests).
//! Not for: installing a filter (the child does that) or watching calls.
//! Runs in: the supervisor, before the first plan is made.
//!
//! What a number answers, first match wins:
//! - another architecture than the one `jail` was built for, and x32 numbers: the process is killed;
//! - a call of the allow-list: allowed, where [`arguments`] has a rule for it within that rule;
//! - a known call that is not on the list: EPERM (`clone3`: ENOSYS, which makes libc use `clone`;
//!   kernel modules and kexec: killed);
//! - a number that [`calls`] does not know: ENOSYS, as on an older kernel, so that libc falls back.
//!
//! A policy edits the list by group and by name. It cannot lift the rules for arguments, allow a call whose
//! group says never, or deny one that the start itself needs.

mod arguments;
mod calls;
mod compile;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
#[cfg(any(test, fuzzing))]
mod interpret;
mod rule;
#[cfg(test)]
mod tests;

#[cfg(test)]
use std::collections::BTreeMap;

use crate::error::{Error, ErrorKind};
use crate::policy::{Isolation, Located, Net, Origin, Policy, SystemCalls};
use calls::{Arch, Call, Group, Standing};
pub(crate) use compile::CompileError;
pub(crate) use rule::Action;
use rule::{ENOSYS, EPERM, Field, Rule};

/// The word for everything that an ordinary program uses.
const DEFAULT: &str = "@default";

/// The first number of the x32 calls, which share the architecture word of x86-64.
const X32: u32 = 0x4000_0000;
/// `syscall(-1)`: no x32 call, but what programs probe with and tracers put in to skip a call.
const MINUS_ONE: u32 = u32::MAX;

/// The two programs that a run loads. They depend on the policy alone, so that many runs share them; without a filter
/// both are empty.
#[derive(Debug, Default)]
pub(crate) struct Programs {
    pub(crate) init: Vec<libc::sock_filter>,
    pub(crate) payload: Vec<libc::sock_filter>,
}

impl Programs {
    /// # Errors
    /// A word of the policy means no filter, which `Policy::new` has looked for; or the filter cannot be compiled.
    pub(crate) fn new(policy: &Policy) -> Result<Self, Error> {
        let filter = Filter::from_policy(&policy.syscalls, policy.net.value)
            .map_err(|problems| problems.into_iter().map(|(_, line)| line).collect::<Vec<_>>().join("\n"))
            .map_err(|lines| Error::new(ErrorKind::Profile, lines))?;
        let filter = match policy.isolation.value {
            Isolation::Full => filter,
            Isolation::Landlock => filter.in_the_hosts_namespaces(&policy.syscalls, policy.net.value),
        };
        let compile =
            |filter: Filter| filter.compile().map_err(|error| Error::new(ErrorKind::Internal, error.to_string()));
        Ok(Self { init: compile(Filter::for_init())?, payload: compile(filter)? })
    }
}

/// What the kernel does with each system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    arch: Arch,
    /// What is done with the calls that have a rule, in the order of their numbers.
    rules: Vec<(u32, Rule)>,
    /// What is done with every other number of this architecture.
    otherwise: Action,
}

impl Filter {
    /// The filter that a policy means.
    ///
    /// # Errors
    /// Every word that is unknown, cannot be allowed or cannot be denied, each with its origin.
    pub(crate) fn from_policy(syscalls: &SystemCalls, net: Net) -> Result<Self, Vec<(Origin, String)>> {
        Self::for_arch(Arch::NATIVE, syscalls, net)
    }

    fn for_arch(arch: Arch, syscalls: &SystemCalls, net: Net) -> Result<Self, Vec<(Origin, String)>> {
        Self::check(syscalls)?;
        let mut rules = Vec::with_capacity(512);
        for group in calls::GROUPS {
            let (allowed, denied) = (Words::of(&syscalls.allow, group), Words::of(&syscalls.deny, group));
            for call in group.calls {
                let Some(number) = call.number(arch) else { continue };
                let asked = allowed.names(call) && !denied.names(call);
                let rule = if asked || group.standing == Standing::Essential {
                    arguments::rule(call.name, net)
                } else {
                    Rule::Do(refusal(group, call))
                };
                rules.push((number, rule));
            }
        }
        Ok(Self { arch, rules: in_order(rules), otherwise: Action::Errno(ENOSYS) })
    }

    /// The same for a program that is in the host's namespaces, where more stands between it and the caller's other
    /// processes and files than Landlock knows of.
    pub(crate) fn in_the_hosts_namespaces(mut self, syscalls: &SystemCalls, net: Net) -> Self {
        for (_, call) in calls::all() {
            let place = call.number(self.arch).and_then(|number| self.place(number));
            let Some((_, rule)) = place.and_then(|place| self.rules.get_mut(place)) else { continue };
            if matches!(rule, Rule::Do(Action::Errno(_) | Action::KillProcess)) {
                continue;
            }
            let by_its_own_name = syscalls.allow.iter().any(|word| word.value == call.name);
            if let Some(narrower) = arguments::in_the_hosts_namespaces(call.name, net, by_its_own_name) {
                *rule = narrower;
            }
        }
        self
    }

    /// What a policy names although it reaches, without namespaces, all that is the caller's.
    pub(crate) fn named_for_the_host(syscalls: &SystemCalls) -> Vec<&str> {
        let words = syscalls.allow.iter().map(|word| word.value.as_str());
        words.filter(|word| arguments::BY_NAME_ONLY.contains(word)).collect()
    }

    /// Whether [`Filter::from_policy`] would make a filter of these words.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn check(syscalls: &SystemCalls) -> Result<(), Vec<(Origin, String)>> {
        let mut problems = Vec::new();
        if syscalls.allow.is_empty() {
            let problem = format!("syscalls.allow: is empty, and no program can run so; {DEFAULT:?} is the usual list");
            problems.push((Origin::Default, problem));
        }
        problems.extend(syscalls.allow.iter().filter_map(|word| problem(word, "allow", never)));
        problems.extend(syscalls.deny.iter().filter_map(|word| problem(word, "deny", essential)));
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// The filter of the jail's own init, which does nothing any more but wait, reap, pass signals on and exit.
    pub(crate) fn for_init() -> Self {
        let is_one = |call: &Call| {
            matches!(
                call.name,
                "clock_gettime"
                    | "close"
                    | "exit"
                    | "exit_group"
                    | "kill"
                    | "poll"
                    | "ppoll"
                    | "read"
                    | "restart_syscall"
                    | "rt_sigreturn"
                    | "wait4"
                    | "waitid"
                    | "write"
            )
        };
        let arch = Arch::NATIVE;
        let calls = calls::all().filter(|(_, call)| is_one(call));
        let rules = calls.filter_map(|(_, call)| Some((call.number(arch)?, Rule::Do(Action::Allow)))).collect();
        Self { arch, rules: in_order(rules), otherwise: Action::Errno(EPERM) }
    }

    /// The program for the kernel: a binary search tree over call numbers.
    ///
    /// # Errors
    /// When the program would be longer than the kernel takes, or the filter lets nothing through or everything.
    pub(crate) fn compile(self) -> Result<Vec<libc::sock_filter>, CompileError> {
        // An empty filter would be a jail in which nothing starts, a full one a layer that is none:
        // both are mistakes of ours that must not pass for success.
        if self.decide_by_name("exit_group") != Some(Action::Allow) {
            return Err(CompileError::AllowsNothing);
        }
        if self.decide_by_name("unshare").is_none_or(|action| action == Action::Allow) {
            return Err(CompileError::RefusesNothing);
        }
        compile::program(&self.root())
    }

    /// What happens to one call. Written without regard to [`compile`](Self::compile), which is tested against it.
    pub(crate) fn decide(&self, arch: u32, number: u32, arguments: [u64; 6]) -> Action {
        if arch != self.arch.audit {
            return Action::KillProcess;
        }
        match self.rule(number) {
            Some(rule) => rule.decide(arguments),
            None if self.is_foreign(number) => Action::KillProcess,
            None => self.otherwise,
        }
    }

    /// What happens to a call of this machine's, with arguments that are all zero.
    #[cfg(test)]
    pub(crate) fn decide_native(&self, number: u32) -> Action {
        self.decide(self.arch.audit, number, [0; 6])
    }

    #[cfg(test)]
    /// The filter as text: a line for each number from 0 to 1023, or for a run of unknown ones, and below it
    /// what depends on arguments.
    pub(crate) fn table(&self) -> String {
        let names: BTreeMap<u32, &str> =
            calls::all().filter_map(|(_, call)| Some((call.number(self.arch)?, call.name))).collect();
        let mut text = String::new();
        let mut number = 0;
        while number <= 1023 {
            let next = names.range(number..).next().map_or(1024, |(next, _)| *next);
            if next > number {
                let run = format!("{number}-{}", next - 1);
                text += &format!("{run:<8}  {:<24}  {}\n", "(unknown)", self.otherwise);
                number = next;
            } else {
                let name = names.get(&number).copied().unwrap_or_default();
                let rule = self.rule(number).cloned().unwrap_or(Rule::Do(self.otherwise));
                text += &format!("{number:<8}  {name:<24}  {rule}\n");
                number += 1;
            }
        }
        text
    }

    /// The whole filter as one rule.
    fn root(self) -> Rule {
        let mut cases: Vec<(u32, u32, Rule)> =
            self.rules.into_iter().map(|(number, rule)| (number, number, rule)).collect();
        if self.arch.has_x32 {
            cases.push((X32, MINUS_ONE - 1, Rule::Do(Action::KillProcess)));
        }
        let by_number = Rule::look(Field::Number, u32::MAX, cases, Rule::Do(self.otherwise));
        let native = vec![(self.arch.audit, self.arch.audit, by_number)];
        Rule::look(Field::Arch, u32::MAX, native, Rule::Do(Action::KillProcess))
    }

    fn place(&self, number: u32) -> Option<usize> {
        self.rules.binary_search_by_key(&number, |(number, _)| *number).ok()
    }

    fn rule(&self, number: u32) -> Option<&Rule> {
        self.rules.get(self.place(number)?).map(|(_, rule)| rule)
    }

    fn is_foreign(&self, number: u32) -> bool {
        self.arch.has_x32 && (X32..MINUS_ONE).contains(&number)
    }

    /// What happens to a call with arguments that are all zero; nothing if the architecture does not have it.
    fn decide_by_name(&self, name: &str) -> Option<Action> {
        let (_, call) = calls::all().find(|(_, call)| call.name == name)?;
        Some(self.decide(self.arch.audit, call.number(self.arch)?, [0; 6]))
    }
}

/// The rules by number. The numbers are small: each rule goes to a place of its own, for sorting them costs as much of
/// a start as all the rest of a filter.
fn in_order(rules: Vec<(u32, Rule)>) -> Vec<(u32, Rule)> {
    let mut places: Vec<Option<(u32, Rule)>> = Vec::with_capacity(512);
    for (number, rule) in rules {
        let place = number as usize;
        if places.len() <= place {
            places.resize_with(place + 1, || None);
        }
        if let Some(free) = places.get_mut(place) {
            *free = Some((number, rule));
        }
    }
    places.into_iter().flatten().collect()
}

/// What the words of a list say of the calls of one group.
struct Words<'a> {
    words: &'a [Located<String>],
    /// One of them means the whole group.
    whole: bool,
}

impl<'a> Words<'a> {
    fn of(words: &'a [Located<String>], group: &Group) -> Self {
        Self { words, whole: words.iter().any(|word| means_all_of(&word.value, group)) }
    }

    fn names(&self, call: &Call) -> bool {
        self.whole || self.words.iter().any(|word| word.value == call.name)
    }
}

/// Whether a word means every call of a group: by the group's name, or as a part of `@default`.
fn means_all_of(word: &str, group: &Group) -> bool {
    group.name == word || (word == DEFAULT && matches!(group.standing, Standing::Essential | Standing::Default))
}

/// Of each group that a word means, in whole or in part, the first call that it means.
fn meant(word: &str) -> impl Iterator<Item = (&'static Group, &'static Call)> {
    calls::GROUPS.iter().filter_map(move |group| {
        let all = means_all_of(word, group);
        group.calls.iter().find(|call| all || call.name == word).map(|call| (group, call))
    })
}

/// What is wrong with a word: nobody knows it, or `objection` has something against a call that it stands for.
fn problem(
    word: &Located<String>,
    key: &str,
    objection: fn(&str, &Group, &Call) -> Option<String>,
) -> Option<(Origin, String)> {
    let Located { value: name, origin } = word;
    let mut known = meant(name).peekable();
    let what = if known.peek().is_some() {
        known.find_map(|(group, call)| objection(name, group, call))?
    } else if let Some(similar) = similar(name) {
        format!("no system call or group is called {name:?}; did you mean {similar:?}?")
    } else {
        format!("no system call or group is called {name:?}")
    };
    Some((origin.clone(), format!("{origin}: syscalls.{key}: {what}")))
}

/// The known word that looks most like an unknown one, if one does.
fn similar(name: &str) -> Option<&'static str> {
    let groups = calls::GROUPS.iter().map(|group| group.name);
    let words = groups.chain(calls::all().map(|(_, call)| call.name)).chain([DEFAULT]);
    words
        .map(|word| (strsim::damerau_levenshtein(name, word), word))
        .filter(|(distance, word)| *distance <= 3 && *distance * 2 < word.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Why a word cannot be in `allow`, if so.
fn never(word: &str, group: &Group, _: &Call) -> Option<String> {
    match group.standing {
        Standing::Never(why) | Standing::Kill(why) => Some(format!("{word:?} can never be allowed: {why}")),
        Standing::Essential | Standing::Default | Standing::OnRequest => None,
    }
}

/// Why a word cannot be in `deny`, if so.
fn essential(word: &str, group: &Group, call: &Call) -> Option<String> {
    let why = "no program can be started or its failure reported without it";
    match group.standing {
        Standing::Essential if call.name == word => Some(format!("{word:?} cannot be denied: {why}")),
        Standing::Essential => Some(format!("{word:?} cannot be denied: it contains {:?}, and {why}", call.name)),
        Standing::Default | Standing::OnRequest | Standing::Never(_) | Standing::Kill(_) => None,
    }
}

/// What a known call answers that is not allowed.
fn refusal(group: &Group, call: &Call) -> Action {
    if matches!(call.name, "clone3" | "openat2") {
        // Not EPERM: glibc takes that for an answer and makes no thread, where it would go on with `clone`; and
        // those who use `openat2` go on with `openat`.
        return Action::Errno(ENOSYS);
    }
    match group.standing {
        Standing::Kill(_) => Action::KillProcess,
        Standing::Essential | Standing::Default | Standing::OnRequest | Standing::Never(_) => Action::Errno(EPERM),
    }
}
