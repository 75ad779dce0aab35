//! Where options end, what the names mean, and which flags there are.

use super::*;

fn read(words: &[&str]) -> Result<Subcommand, clap::Error> {
    parse(["jail"].iter().chain(words).map(OsString::from).collect())
}

fn run(words: &[&str]) -> RunArgs {
    match read(words) {
        Ok(Subcommand::Run(args)) => *args,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_parsers_are_sound() {
    RunArgs::command().debug_assert();
    PlanArgs::command().debug_assert();
    ProfileArgs::command().debug_assert();
}

#[test]
fn the_first_word_that_is_no_option_begins_the_command() {
    for (words, command) in [
        (vec!["python3", "-c", "x", "--flag"], vec!["python3", "-c", "x", "--flag"]),
        (vec!["--profile", "strict", "python3", "-m", "1G", "--help"], vec!["python3", "-m", "1G", "--help"]),
        (vec!["--", "plan", "x"], vec!["plan", "x"]),
        (vec!["./plan"], vec!["./plan"]),
        (vec!["-m", "1G", "plan"], vec!["plan"]),
        (vec!["--", "-odd"], vec!["-odd"]),
        (vec!["cmd", "--", "x", "--"], vec!["cmd", "--", "x", "--"]),
        (vec!["--", "cmd", "--", "x"], vec!["cmd", "--", "x"]),
        (vec!["cmd", ""], vec!["cmd", ""]),
        (vec!["run", "run", "-v"], vec!["run", "-v"]),
        (vec!["run", "-t1s", "--", "plan"], vec!["plan"]),
        (vec![], vec![]),
    ] {
        assert_eq!(run(&words).command, command, "{words:?}");
    }
    assert!(
        matches!(read(&["plan", "-m", "1G", "ls", "-l"]), Ok(Subcommand::Plan(args)) if args.command == ["ls", "-l"])
    );
    assert!(matches!(read(&["profile", "list"]), Ok(Subcommand::Profile(_))));
}

#[test]
fn a_flag_that_does_not_exist_is_an_error_and_not_a_command() {
    for words in
        [vec!["--bogus", "ls"], vec!["-Z"], vec!["--net", "all", "ls"], vec!["--report-fd", "0", "ls"], vec!["profile"]]
    {
        let error = read(&words).unwrap_err();
        assert!(error.use_stderr(), "{words:?}");
    }
    let text = read(&["--net", "all", "ls"]).unwrap_err().to_string();
    assert!(text.contains("none, loopback, host"), "{text}");
}

#[test]
fn help_and_version_are_answers() {
    for words in [vec!["--help"], vec!["-h"], vec!["--version"], vec!["plan", "--help"], vec!["-m", "1G", "--help"]] {
        assert!(!read(&words).unwrap_err().use_stderr(), "{words:?}");
    }
    let help = read(&["--help"]).unwrap_err().to_string();
    for part in ["Examples:", "Exit codes:", "Limits", "jail profile", "--fs-read"] {
        assert!(help.contains(part), "{part}\n{help}");
    }
    assert!(read(&["--version"]).unwrap_err().to_string().starts_with("jail "));
}

#[test]
fn aliases_and_repetition() {
    let args = run(&[
        "--ro-bind",
        "/a",
        "--fs-read",
        "/b",
        "--bind",
        "/c",
        "--fs-write",
        "/d",
        "--cwd",
        "/e",
        "--setenv",
        "K=V",
        "--wall-time",
        "1s",
        "--time-limit",
        "2s",
        "--max-memory",
        "1G",
        "--pids-limit",
        "1",
        "--max-processes",
        "2",
        "--max-open-files",
        "3",
        "--network",
        "host",
        "--status-fd",
        "2",
        "--allow-degraded",
        "cgroup,landlock",
        "--allow-degraded",
        "ids",
        "ls",
    ]);
    let SandboxArgs { profile, files, program, limits, walls } = args.sandbox;
    assert_eq!((files.ro, files.rw), (vec!["/a".to_owned(), "/b".to_owned()], vec!["/c".to_owned(), "/d".to_owned()]));
    assert_eq!((program.chdir, program.env), (Some("/e".into()), vec!["K=V".to_owned()]));
    assert_eq!(
        (limits.timeout.as_deref(), limits.pids.as_deref(), limits.nofile.as_deref()),
        (Some("2s"), Some("2"), Some("3"))
    );
    assert_eq!((walls.net.as_deref(), args.io.report_fd), (Some("host"), Some(2)));
    assert_eq!(profile.allow_degraded, ["cgroup", "landlock", "ids"]);
}
