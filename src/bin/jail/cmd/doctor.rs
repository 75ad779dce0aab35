//! `jail doctor`: what this machine offers, what it refuses, and what to do about it.
//!
//! For: a table of layers that reads well at 80 columns, the gaps with their remedies, or all of it as JSON; and an
//! exit code that says whether a run would start.
//! Not for: finding out (the library does).
//! Runs in: the supervisor.

use std::fmt::Write as _;

use jail::doctor::{Examination, LayerFinding, Outcome, Remedy, StepFinding, WithProfile, examine};
use jail::{Command, Error};

use crate::args::{DoctorArgs, SandboxArgs};
use crate::{FAILED, overrides, render};

const WIDTH: usize = 80;

#[inline(never)]
pub(crate) fn doctor(args: &DoctorArgs) -> u8 {
    let printed = found(&args.sandbox).and_then(|found| {
        let text = if args.json { render::json(&found)? } else { table(&found) };
        Ok((render::result(&text), found.would_run))
    });
    match printed {
        Ok((0, true)) => 0,
        Ok((0, false)) => FAILED,
        Ok((unprinted, _)) => unprinted,
        Err(error) => {
            render::error(&error);
            error.exit_code()
        }
    }
}

fn found(args: &SandboxArgs) -> Result<Examination, Error> {
    // The program does not matter: it is not started.
    let command: Command = overrides::command(args, &["true".into()])?;
    let policy = overrides::policy(args)?;
    let sandbox = overrides::sandbox(args, policy.clone());
    Ok(examine(&policy, sandbox, &command))
}

fn table(found: &Examination) -> String {
    let mut text = String::new();
    let mut line = |line: String| writeln!(text, "{}", line.trim_end()).unwrap_or_default();
    let host = &found.host;
    let who = if host.uid == 0 { "root".to_owned() } else { format!("uid {}", host.uid) };
    let container = host.container.as_deref().map(|name| format!(", container: {name}")).unwrap_or_default();
    line(format!("{}, Linux {}, {who}{container}", host.distribution, host.kernel));
    line(String::new());
    let profile = found.profile.name.as_str();
    let width = profile.chars().count().max("not asked".len());
    line(format!("{:<13}  {:<4}  {:<width$}  HOW", "LAYER", "HERE", profile.to_uppercase()));
    for layer in &found.layers {
        let indent = 13 + 2 + 4 + 2 + width + 2;
        let mut how = wrap(&how(layer), WIDTH.saturating_sub(indent).max(24)).into_iter();
        line(format!(
            "{:<13}  {:<4}  {:<width$}  {}",
            layer.layer,
            if layer.works { "yes" } else { "no" },
            layer.with_profile.name(),
            how.next().unwrap_or_default()
        ));
        for more in how {
            line(format!("{:indent$}{more}", ""));
        }
    }
    for gap in gaps(found) {
        line(String::new());
        gap.into_iter().for_each(&mut line);
    }
    line(String::new());
    conclusion(found).into_iter().for_each(&mut line);
    text
}

/// The tier of a layer and its steps: those that work first, the others with what came of them.
fn how(layer: &LayerFinding) -> String {
    let of = |outcome| layer.steps.iter().filter(move |step| step.outcome == outcome);
    let names = |outcome| of(outcome).map(|step| step.step.as_str()).collect::<Vec<_>>().join(", ");
    let refused = of(Outcome::Fails).map(|step| match &step.errno {
        Some(errno) => format!("{} ({errno})", step.step),
        None => step.step.clone(),
    });
    let parts = [
        ("", names(Outcome::Works)),
        ("refused: ", refused.collect::<Vec<_>>().join(", ")),
        ("untried: ", names(Outcome::Untried)),
        ("no use for: ", names(Outcome::Unused)),
    ];
    let tier = layer.tier.iter().cloned();
    let parts = parts.into_iter().filter(|(_, names)| !names.is_empty()).map(|(what, names)| format!("{what}{names}"));
    tier.chain(parts).collect::<Vec<_>>().join("; ")
}

/// One paragraph for each way out: which steps are refused, why, and what to do.
fn gaps(found: &Examination) -> Vec<Vec<String>> {
    let mut gaps: Vec<(&[Remedy], Vec<String>)> = Vec::new();
    for layer in &found.layers {
        for step in layer.steps.iter().filter(|step| step.outcome == Outcome::Fails) {
            let unneeded = if step.needed { "" } else { " (a run does without)" };
            let mut lines = vec![format!("{}, {}{unneeded}", layer.layer, step.step)];
            for text in refused(step).iter().chain(&step.cause) {
                lines.extend(wrap(text, WIDTH - 2).into_iter().map(|line| format!("  {line}")));
            }
            match gaps.iter_mut().find(|(remedies, _)| *remedies == step.remedies.as_slice()) {
                Some((_, before)) => before.append(&mut lines),
                None => gaps.push((&step.remedies, lines)),
            }
        }
    }
    gaps.into_iter()
        .map(|(remedies, lines)| lines.into_iter().chain(remedies.iter().flat_map(way_out)).collect())
        .collect()
}

/// What exactly was refused, unless the cause says it in the same words.
fn refused(step: &StepFinding) -> Option<String> {
    let what = step.refused.as_deref().filter(|_| step.refused != step.cause)?;
    let errno = step.errno.as_deref().map(|errno| format!(" ({errno})")).unwrap_or_default();
    Some(format!("refused: {what}{errno}"))
}

fn way_out(remedy: &Remedy) -> Vec<String> {
    let text = format!("{}: {}", remedy.place.name(), remedy.what);
    let (mut first, mut lines) = ("  > ", Vec::new());
    for line in wrap(&text, WIDTH - 4) {
        lines.push(format!("{first}{line}"));
        first = "    ";
    }
    // Not wrapped: they are to be copied.
    lines.extend(remedy.lines.iter().map(|line| format!("      {line}")));
    lines
}

fn conclusion(found: &Examination) -> Vec<String> {
    let profile = &found.profile.name;
    let mut text = match &found.error {
        None => format!("A run with {profile} starts here."),
        Some(error) => format!("A run with {profile} does not start here: {}.", error.message),
    };
    let degraded: Vec<&str> = found
        .layers
        .iter()
        .filter(|layer| layer.with_profile == WithProfile::Degraded)
        .map(|layer| layer.layer.as_str())
        .collect();
    if !degraded.is_empty() {
        text = format!("{text} It goes without {}, as was asked for.", degraded.join(", "));
    }
    let mut lines = wrap(&text, WIDTH);
    lines.extend(found.note.iter().flat_map(|note| wrap(&format!("({note})"), WIDTH)));
    lines
}

/// Breaks at spaces; a longer word stands on a line of its own.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let Some(last) = lines.last_mut() else { break };
        if last.is_empty() {
            last.push_str(word);
        } else if last.chars().count() + 1 + word.chars().count() <= width {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapping_loses_no_word_and_keeps_the_width() {
        assert_eq!(wrap("a bb ccc", 4), ["a bb", "ccc"]);
        assert_eq!(wrap("longer-than-that x", 4), ["longer-than-that", "x"]);
        assert_eq!(wrap("", 4), [""]);
    }
}
