//! A policy written out as a profile.
//!
//! For: people who ask what a profile means, and the digest: lists are sorted and every value is
//! spelt in one way, so equal policies give equal text.
//! Not for: printing to a terminal (the command does that).
//! Runs in: the supervisor.

use std::collections::BTreeMap;
use std::path::Path;

use super::Policy;
use super::types::{Bytes, EnvVar, Located, Millis, Origin};
use crate::profile::{ISOLATION, NET, ON_OVERFLOW, PROC, WORKSPACE, duration_text, size_text, word_of};

/// What stands behind the values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Comments {
    /// Where each value was written; and the name and description on top.
    Origins,
    /// Nothing: the canonical form.
    None,
}

pub(super) fn toml(policy: &Policy, comments: Comments) -> String {
    let mut page = Page { text: String::new(), comments };
    if comments == Comments::Origins {
        page.text = format!("# {}, with everything that it extends and every default.\n", policy.name.escape_debug());
        page.text.push_str(&format!("description = {}\n", quote(&policy.description)));
    }
    let layers = policy.degradable.iter().map(|(layer, origin)| (quote(layer.name()), origin));
    page.list("allow_degraded", layers);

    page.value("isolation", &policy.isolation, |word| quote(word_of(word, &ISOLATION)));

    page.section("run");
    page.value("hostname", &policy.hostname, |name| quote(name));

    page.section("fs");
    page.value("workspace", &policy.workspace, |word| quote(word_of(word, &WORKSPACE)));
    page.value("proc", &policy.proc, |word| quote(word_of(word, &PROC)));
    for access in ["ro", "rx", "rw", "rwx"] {
        let entries = policy.view.iter().filter(|entry| entry.value.access.name() == access);
        page.list(
            access,
            entries.map(|Located { value, origin }| {
                let at = if value.dest == value.source {
                    String::new()
                } else {
                    format!(", at = {}", quote_path(&value.dest))
                };
                let optional = if value.optional { ", optional = true" } else { "" };
                (format!("{{ path = {}{at}{optional} }}", quote_path(&value.source)), origin)
            }),
        );
    }
    page.list(
        "tmpfs",
        policy.tmpfs.iter().map(|Located { value, origin }| {
            let (dest, size) = (value.dest.to_string_lossy(), size_text(value.size));
            (quote(&format!("{dest}:size={size},inodes={}", value.inodes)), origin)
        }),
    );

    page.section("net");
    page.value("mode", &policy.net, |word| quote(word_of(word, &NET)));

    page.section("syscalls");
    page.list("allow", words(&policy.syscalls.allow));
    page.list("deny", words(&policy.syscalls.deny));

    page.section("limits");
    let limits = &policy.limits;
    page.value("wall", &limits.wall, quota(duration));
    page.value("cpu_time", &limits.cpu_time, quota(duration));
    page.value("cpus", &limits.cpus, |cpus| cpus.map_or_else(|| quote("none"), |cpus| cpus.to_string()));
    page.value("memory", &limits.memory, size);
    page.value("pids", &limits.pids, u32::to_string);
    page.value("nofile", &limits.nofile, u32::to_string);
    page.value("fsize", &limits.fsize, quota(size));
    page.value("core", &limits.core, size);
    page.value("stack", &limits.stack, size);

    page.section("output");
    page.value("limit", &policy.output.limit, quota(size));
    page.value("keep", &policy.output.keep, size);
    page.value("on_overflow", &policy.output.on_overflow, |word| quote(word_of(word, &ON_OVERFLOW)));

    page.environment(policy);
    page.text
}

struct Page {
    text: String,
    comments: Comments,
}

impl Page {
    fn section(&mut self, name: &str) {
        self.text.push_str(&format!("\n[{name}]\n"));
    }

    fn line(&mut self, line: &str, origin: &Origin) {
        self.text.push_str(line);
        if self.comments == Comments::Origins {
            // A file's name may hold anything, a comment may not.
            self.text.push_str(&format!("  # {}", origin.to_string().escape_debug()));
        }
        self.text.push('\n');
    }

    fn value<T>(&mut self, key: &str, value: &Located<T>, show: impl Fn(&T) -> String) {
        self.line(&format!("{key} = {}", show(&value.value)), &value.origin);
    }

    fn list<'a>(&mut self, key: &str, items: impl Iterator<Item = (String, &'a Origin)>) {
        let mut items = items.peekable();
        if items.peek().is_none() {
            return;
        }
        self.text.push_str(&format!("{key} = [\n"));
        for (item, origin) in items {
            self.line(&format!("  {item},"), origin);
        }
        self.text.push_str("]\n");
    }

    fn environment(&mut self, policy: &Policy) {
        let by_name: BTreeMap<&str, &Located<EnvVar>> = policy.env.iter().map(|var| (var.value.name(), var)).collect();
        let (mut set, mut keep) = (Vec::new(), Vec::new());
        for Located { value, origin } in by_name.into_values() {
            match value {
                EnvVar::Set { name, value } => set.push((format!("{} = {}", quote(name), quote(value)), origin)),
                EnvVar::Keep(name) => keep.push((quote(name), origin)),
            }
        }
        if !keep.is_empty() {
            self.section("env");
            self.list("keep", keep.into_iter());
        }
        if !set.is_empty() {
            self.section("env.set");
            for (line, origin) in set {
                self.line(&line, origin);
            }
        }
    }
}

fn words(words: &[Located<String>]) -> impl Iterator<Item = (String, &Origin)> {
    let sorted: BTreeMap<&str, &Origin> = words.iter().map(|word| (word.value.as_str(), &word.origin)).collect();
    sorted.into_iter().map(|(word, origin)| (quote(word), origin))
}

fn size(size: &Bytes) -> String {
    quote(&size_text(*size))
}

fn duration(duration: &Millis) -> String {
    quote(&duration_text(*duration))
}

fn quota<T>(show: fn(&T) -> String) -> impl Fn(&Option<T>) -> String {
    move |quota| quota.as_ref().map_or_else(|| quote("none"), show)
}

fn quote_path(path: &Path) -> String {
    quote(&path.to_string_lossy())
}

/// A basic string of TOML.
fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
