//! What is written beside the code, held against it: README, CHANGELOG, the sandbox's DESIGN.md.
//!
//! For: every command that the README shows is run, and prints what it shows; every step and file of the
//! trusted part is in its DESIGN.md; the rules of the house that a search can check.
//! Not for: SECURITY.md (see `security`) and examples in Rust, which are documentation tests.
//! Runs in: the test process.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use jail::{Policy, Profile};

use crate::support::{self, needs};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The lines of each fenced block of a language.
fn blocks(markdown: &str, language: &str) -> Vec<Vec<String>> {
    let fence = format!("```{language}");
    let mut blocks = Vec::new();
    let mut lines = markdown.lines();
    while lines.any(|line| line == fence) {
        blocks.push(lines.by_ref().take_while(|line| *line != "```").map(str::to_owned).collect());
    }
    blocks
}

/// Whether a line is as shown, where `…` stands for anything.
fn is_line(shown: &str, line: &str) -> bool {
    let mut parts = shown.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some((_, behind)) = rest.split_once(part) else { return false };
        rest = behind;
    }
    rest.ends_with(last)
}

/// Whether output is as shown, where a line of `…` alone stands for any number of lines.
fn is_output(shown: &[String], lines: &[&str]) -> bool {
    match shown.split_first() {
        None => lines.is_empty(),
        Some((first, rest)) if first == "…" => (0..=lines.len()).any(|skipped| is_output(rest, &lines[skipped..])),
        Some((first, rest)) => {
            lines.split_first().is_some_and(|(line, others)| is_line(first, line) && is_output(rest, others))
        }
    }
}

#[test]
fn wildcards_stand_for_what_they_should() {
    assert!(is_line("reached after …", "reached after 0.1 s") && is_line("a … c", "a b c") && is_line("a", "a"));
    assert!(!is_line("a … c", "a b d") && !is_line("a", "ab") && !is_line("…a", "ab"));
    let shown: Vec<String> = ["…", "b", "…"].map(str::to_owned).into();
    assert!(is_output(&shown, &["a", "b", "c"]) && is_output(&shown, &["b"]) && !is_output(&shown, &["a", "c"]));
}

#[test]
fn the_readmes_commands_print_what_it_shows() {
    needs!(cgroup);
    let folder = support::folder();
    let tools = folder.path().join("bin");
    let examples = folder.path().join("work/examples");
    fs::create_dir_all(&tools).unwrap();
    fs::create_dir_all(&examples).unwrap();
    symlink(support::jail_binary(), tools.join("jail")).unwrap();
    for entry in fs::read_dir(root().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, examples.join(path.file_name().unwrap())).unwrap();
        }
    }
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap_or_default());
    let mut commands = 0;
    for block in blocks(&text("README.md"), "console") {
        let mut lines = block.into_iter().peekable();
        while let Some(line) = lines.next() {
            let shown_command = line.strip_prefix("$ ").unwrap_or_else(|| panic!("not a command: {line}"));
            let mut shown = Vec::new();
            while let Some(line) = lines.next_if(|line| !line.starts_with("$ ")) {
                shown.push(line);
            }
            // What cargo would build is what is tested; its commands are given where the examples are a folder.
            let command = shown_command.replace("cargo run --release --", "jail");
            let at = if command == shown_command { examples.clone() } else { folder.path().join("work") };
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", &format!("exec 2>&1; {command}")]).current_dir(at).env("PATH", &path);
            let output = shell.output().unwrap();
            let output = String::from_utf8_lossy(&output.stdout).into_owned();
            let printed: Vec<&str> = output.lines().collect();
            assert!(is_output(&shown, &printed), "$ {command}\n{output}\nand the README shows\n{}", shown.join("\n"));
            commands += 1;
        }
    }
    assert!(commands > 10, "only {commands} commands were found");
}

#[test]
fn the_readmes_flags_are_the_commands() {
    let help = Command::new(support::jail_binary()).arg("--help").output().unwrap();
    let help = flags(&String::from_utf8(help.stdout).unwrap());
    // Of cargo, of `jail profile show`, of `jail selftest`, of unshare in an example.
    let others = ["--release", "--open", "--resolved", "--only", "--require-all", "--user", "--profile"];
    let strange: Vec<String> = flags(&text("README.md"))
        .into_iter()
        .filter(|flag| !help.contains(flag) && !others.contains(&&**flag))
        .collect();
    assert!(help.len() > 20 && strange.is_empty(), "{strange:?}");
}

fn flags(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    words
        .filter(|word| word.strip_prefix("--").is_some_and(|name| name.starts_with(char::is_alphabetic)))
        .map(str::to_owned)
        .collect()
}

/// `30 s` and `10 min`, as the tables say it.
fn minutes(millis: u64) -> String {
    if millis >= 120_000 { format!("{} min", millis / 60_000) } else { format!("{} s", millis / 1000) }
}

#[test]
fn the_tables_of_profiles_say_what_the_profiles_say() {
    for name in ["strict", "judge", "build", "agent"] {
        let policy = Policy::new(&Profile::builtin(name).unwrap()).unwrap();
        let limits = &policy.limits;
        let figures = [
            format!("{:?}", policy.workspace.value).to_lowercase(),
            format!("{:?}", policy.net.value).to_lowercase(),
            minutes(limits.wall.value.unwrap().0),
            minutes(limits.cpu_time.value.unwrap().0),
            limits.memory.value.to_string(),
            limits.pids.value.to_string(),
        ];
        for (file, start) in [("README.md", format!("| `{name}` ")), ("profiles/README.md", format!("| [{name}]"))] {
            let file_text = text(file);
            let row =
                file_text.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("{file}: {name}"));
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            for figure in &figures {
                assert!(cells.contains(&figure.as_str()), "{file}: {name}: no {figure} in {row}");
            }
        }
    }
}

#[test]
fn what_a_stranger_looks_for_is_there() {
    let readme = text("README.md");
    assert!(readme.lines().count() <= 250, "the README is too long to be read");
    for link in readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert!(
            link.starts_with("http") || root().join(link).exists(),
            "README.md leads to {link}, which is not there"
        );
    }
    assert!(readme.contains("(SECURITY.md)") && readme.contains("(CHANGELOG.md)") && readme.contains("(LICENSE)"));
    assert!(text("CHANGELOG.md").contains(concat!("[Unreleased]: ", env!("CARGO_PKG_VERSION"))));
    assert!(text("LICENSE").contains("Apache License") && env!("CARGO_PKG_LICENSE") == "Apache-2.0");
}

/// Words in backticks.
fn quoted(markdown: &str) -> BTreeSet<String> {
    markdown.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The variants of a public or crate enum of a source file.
fn variants(source: &str, name: &str) -> Vec<String> {
    let start = format!("pub(crate) enum {name} {{");
    let body = source.lines().skip_while(|line| *line != start).skip(1).take_while(|line| *line != "}");
    let variant = |line: &str| {
        let line = line.strip_prefix("    ")?;
        let name = line.split(|c: char| !c.is_ascii_alphanumeric()).next()?;
        name.starts_with(|c: char| c.is_ascii_uppercase()).then(|| name.to_owned())
    };
    body.filter_map(variant).collect()
}

#[test]
fn the_design_names_every_step_and_no_other() {
    let design = text("src/sandbox/DESIGN.md");
    let mut steps = variants(&text("src/sandbox/plan/op.rs"), "Op");
    assert!(steps.len() > 40, "only {} steps were found", steps.len());
    steps.extend(variants(&text("src/sandbox/plan/mod.rs"), "HostOp"));
    let named = quoted(&design);
    let unnamed: Vec<_> = steps.iter().filter(|step| !named.contains(*step)).collect();
    assert!(unnamed.is_empty(), "not in DESIGN.md: {unnamed:?}");

    let tables = design.lines().filter(|line| line.starts_with("| `")).filter_map(|line| line.split('|').nth(1));
    let gone: Vec<_> = tables.flat_map(quoted).filter(|step| !steps.contains(step)).collect();
    assert!(gone.is_empty(), "DESIGN.md explains steps that are not there: {gone:?}");
}

#[test]
fn the_design_names_every_file_of_the_trusted_part() {
    let named = quoted(&text("src/sandbox/DESIGN.md"));
    let sandbox = root().join("src/sandbox");
    for path in sources(&sandbox) {
        let path = path.strip_prefix(&sandbox).unwrap().display().to_string();
        let listed = named.contains(&path) || named.iter().any(|name| name.ends_with('/') && path.starts_with(name));
        assert!(listed || path == "mod.rs" || path.ends_with("tests.rs"), "{path} is not in DESIGN.md");
    }
    for name in named.iter().filter(|name| name.ends_with(".rs")) {
        assert!(sandbox.join(name).exists(), "DESIGN.md names {name}, which is not there");
    }
}

/// The Rust files below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let (folders, files): (Vec<_>, Vec<_>) = entries.into_iter().partition(|path| path.is_dir());
    let files = files.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    files.chain(folders.iter().flat_map(|folder| sources(folder))).collect()
}

#[test]
fn every_source_file_says_what_it_is_for_and_only_sys_is_unsafe() {
    let source = root().join("src");
    let files = sources(&source);
    assert!(files.len() > 40, "only {} files were found", files.len());
    for path in files {
        let content = fs::read_to_string(&path).unwrap();
        let name = path.strip_prefix(&source).unwrap().display().to_string();
        assert!(content.starts_with("//! "), "{name} does not open with //!");
        let code = content.lines().filter(|line| !line.trim_start().starts_with("//"));
        let unsafe_code =
            code.filter(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe"));
        assert!(name.starts_with("sandbox/sys/") || unsafe_code.count() == 0, "{name} has unsafe code");
    }
}

#[test]
fn the_readmes_table_of_kernels_is_that_of_the_runs() {
    let output = Command::new(root().join("scripts/kernels")).args(["--readme", "--check"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Runs `jail true` under strace, and gives how often each system call was made by all its processes.
fn calls_of_a_start() -> Option<BTreeMap<String, u64>> {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let work = folder.path().join("work");
    fs::create_dir(&work).unwrap();
    let jail = support::jail_binary();
    let status =
        Command::new("strace").args(["-f", "-qq", "-o"]).arg(&trace).arg(jail).arg("true").current_dir(&work).status();
    match status {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        status => assert!(status.unwrap().success()),
    }
    let mut calls = BTreeMap::new();
    // An unoptimised build asks of each descriptor whether it is open before it closes it; what is shipped does not.
    for line in fs::read_to_string(&trace).unwrap().lines().filter(|line| !line.contains("F_GETFD)")) {
        // "PID call(…" begins a call; the rest are its resumption, signals and ends.
        let Some((name, _)) = line.split_once(' ').and_then(|(_, rest)| rest.trim_start().split_once('(')) else {
            continue;
        };
        if name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        {
            *calls.entry(name.to_owned()).or_default() += 1;
        }
    }
    Some(calls)
}

#[test]
fn every_system_call_of_a_start_is_explained_and_they_are_few() {
    // 695 were seen, 683 with the GNU C library; some 30 of them are the dynamic loader's.
    const MOST: u64 = 720;
    let design = text("src/sandbox/DESIGN.md");
    let table = design.split("## The system calls of one start").nth(1).unwrap().split("\n## ").next().unwrap();
    let explained: Vec<&str> = table
        .lines()
        .filter_map(|line| line.split('|').nth(2))
        .flat_map(|cell| cell.split(',').map(str::trim))
        .collect();

    // The fewest of some: a start also removes what other tests' killed supervisors left, and waits for what is busy.
    let starts: Option<Vec<_>> = (0..8).map(|_| calls_of_a_start()).collect();
    let Some(calls) = starts.and_then(|starts| starts.into_iter().min_by_key(|calls| calls.values().sum::<u64>()))
    else {
        eprintln!("\nSKIPPED: strace is not installed, so nobody counts the system calls of a start");
        return;
    };

    // What only the program's loader does.
    let of_the_program = ["pread64", "fstat", "newfstatat", "mmap", "exit_group"];
    let unexplained: Vec<_> = calls
        .keys()
        .filter(|name| !explained.contains(&name.as_str()) && !of_the_program.contains(&name.as_str()))
        .collect();
    assert!(unexplained.is_empty(), "not in DESIGN.md: {unexplained:?}");
    let sum: u64 = calls.values().sum();
    assert!(calls["clone3"] >= 1 && sum > 200, "too few to be a start: {calls:?}");
    assert!(sum <= MOST, "{sum} system calls for one start: {calls:?}");
}
