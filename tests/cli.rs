//! The command line: exit codes, the words of messages, what passes through.
//!
//! For: everything that a person or a script sees of `jail` itself.
//! Not for: what the sandbox holds back (see `claims`).
//! Runs in: the test process.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::Value;

use crate::support::{Jail, Run, copy_program, folder, is_root, jail_binary, validate};

/// Exit code and stderr at once, word for word. Nothing may have gone to stdout.
#[track_caller]
fn assert_refused(run: &Run, code: i32, stderr: &str) {
    assert_eq!((run.code, run.err().as_str(), run.out().as_str()), (Some(code), stderr, ""), "{run}");
    run.assert_clean();
}

/// The interpreter that the issue names. A machine without it cannot test the main job, and must not pass.
const PYTHON: &str = "/usr/bin/python3";

#[track_caller]
fn python() -> &'static str {
    assert!(Path::new(PYTHON).exists(), "{PYTHON} is missing: these tests need it");
    PYTHON
}

// ---- the main job

#[test]
fn a_script_runs_by_its_relative_path_with_imports_from_its_folder() {
    python();
    let jail = Jail::new()
        .file("script.py", "import helper, sys\nprint(helper.greeting(), sys.argv[1:])\nsys.exit(4)\n")
        .file("helper.py", "def greeting():\n    return 'hello'\n");

    let run = jail.args(["--profile", "strict"]).run(["python3", "script.py", "-x", "--", "--profile"]);

    assert_eq!(
        (run.code, run.out().as_str(), run.err().as_str()),
        (Some(4), "hello ['-x', '--', '--profile']", ""),
        "{run}"
    );
    assert_eq!(run.verdict(), "nonzero_exit");
    run.assert_clean();
}

#[test]
fn strict_is_the_default_profile() {
    let run = Jail::new().probe(["cwd"]);

    assert_eq!(run.field("/profile/name"), "strict", "{run}");
}

#[test]
fn the_run_subcommand_is_the_same() {
    let jail = Jail::new().without_report();
    let probe = jail.probe_path();

    let run = jail.through(["/usr/bin/env"]).run(["--".as_ref(), probe.as_os_str(), "exit".as_ref(), "5".as_ref()]);
    assert_eq!(run.code, Some(5), "{run}");

    // With the subcommand first, as people write it.
    let jail = Jail::new().without_report();
    let script = "jail=$1; shift; exec \"$jail\" run \"$@\"";
    let probe = jail.probe_path();
    let run = jail.through(["/bin/sh", "-c", script, "sh"]).run([probe.as_os_str(), "exit".as_ref(), "6".as_ref()]);
    assert_eq!(run.code, Some(6), "{run}");
}

#[test]
fn a_program_may_be_called_like_a_subcommand() {
    for name in ["plan", "run", "profile"] {
        let jail = Jail::new();
        copy_program(&jail.probe_path(), &jail.workspace().join(name));
        let run = jail.run([&format!("./{name}"), "exit", "9"]);
        assert_eq!(run.code, Some(9), "{run}");
    }
}

#[test]
fn options_end_at_the_program() {
    let run = Jail::new().probe(["argv", "--memory", "512", "-p", "--", "", "with space", "*"]);

    assert_eq!(run.stdout, b"--memory\x00512\0-p\0--\0\0with space\0*\0", "{run}");
}

#[test]
fn stdin_comes_from_a_pipe() {
    let run = Jail::new().stdin("one\ntwo\n").run([python(), "-c", "import sys; print(sys.stdin.read().split())"]);

    assert_eq!(run.out(), "['one', 'two']", "{run}");
}

#[test]
fn stdin_comes_from_a_redirected_file() {
    let jail = Jail::new();
    let input = jail.beside("input");
    fs::write(&input, "from a file").unwrap();
    let script = "file=$1; shift; exec \"$@\" <\"$file\"";

    let run = jail.through(["/bin/sh", "-c", script, "sh", input.to_str().unwrap()]).probe(["stdin-cat"]);

    assert_eq!((run.code, run.out().as_str()), (Some(0), "from a file"), "{run}");
}

#[test]
fn stdin_comes_from_a_named_file() {
    let jail = Jail::new();
    let input = jail.beside("input");
    fs::write(&input, "from a file").unwrap();

    let run = jail.arg("--stdin").arg(&input).probe(["stdin-cat"]);

    assert_eq!((run.code, run.out().as_str()), (Some(0), "from a file"), "{run}");
}

#[test]
fn every_byte_passes_unchanged() {
    let bytes: Vec<u8> = (0..=255).chain((0..=255).rev()).chain(*b"\0\0\r\n\xff\xfe").collect();

    let run = Jail::new().stdin(bytes.clone()).probe(["stdin-cat", "1"]);
    assert_eq!((run.stdout, run.stderr), (bytes.clone(), Vec::new()));

    let run = Jail::new().stdin(bytes.clone()).probe(["stdin-cat", "2"]);
    assert_eq!((run.stdout, run.stderr), (Vec::new(), bytes));
}

#[test]
fn the_exit_code_passes_through() {
    for code in [0, 1, 2, 3, 42, 64, 100, 123, 124, 125, 126, 127, 128, 130, 137, 153, 159, 200, 254, 255] {
        let run = Jail::new().probe(["exit", &code.to_string()]);

        assert_eq!(run.code, Some(code), "{run}");
        assert_eq!(run.verdict(), if code == 0 { "ok" } else { "nonzero_exit" }, "{run}");
        assert_eq!(run.field("/exit/code"), code, "{run}");
        assert_eq!(run.err(), "", "nothing is said when the program ended by itself");
    }
}

#[test]
fn a_signal_of_its_own_is_128_and_its_number() {
    for signal in [1, 2, 6, 9, 11, 13, 14, 15, 24] {
        let run = Jail::new().probe(["raise", &signal.to_string()]);

        assert_eq!((run.code, run.verdict()), (Some(128 + signal), "signaled"), "{run}");
        assert_eq!(run.field("/exit/signal"), signal, "{run}");
        assert_eq!(run.err(), "");
    }
}

#[test]
fn the_working_directory_is_the_workspace() {
    let run = Jail::new().probe(["cwd"]);
    let expected = format!("ok {}", run.workspace().display());
    assert_eq!(run.answer(), expected);

    let run = Jail::new().args(["--chdir", "/tmp"]).probe(["cwd"]);
    assert_eq!(run.answer(), "ok /tmp");

    let jail = Jail::new().arg("--no-workspace");
    let bind = format!("{}:/opt/probe", jail.probe_path().display());
    let run = jail.args(["--rx", &bind]).run(["/opt/probe", "cwd"]);
    assert_eq!(run.answer(), "ok /home/jail");
}

#[test]
fn a_workspace_can_be_named_from_elsewhere() {
    let jail = Jail::new().cwd("/");
    let workspace = jail.workspace().to_owned();

    let run = jail.arg("--workspace").arg(&workspace).probe(["cwd"]);

    assert_eq!(run.answer(), format!("ok {}", workspace.display()));
}

// ---- programs that cannot be started

#[test]
fn a_missing_program_is_127() {
    let run = Jail::new().run(["no-such-program"]);

    assert_eq!(run.verdict(), "exec_failed");
    assert_refused(&run, 127, "jail: no-such-program: command not found in /usr/local/bin:/usr/bin:/bin\n");
}

#[test]
fn a_missing_program_with_a_path_is_127() {
    let run = Jail::new().run(["./no-such-program"]);

    assert_refused(&run, 127, "jail: ./no-such-program: not found\n");
}

#[test]
fn a_program_of_the_host_outside_the_view_is_127_and_says_what_to_add() {
    let jail = Jail::new();
    let tools = jail.beside("tools");
    fs::create_dir(&tools).unwrap();
    copy_program(&jail.probe_path(), &tools.join("mytool"));
    let path = format!("{}:/usr/bin:/bin", tools.display());

    let run = jail.env("PATH", path).run(["mytool", "exit", "0"]);

    let tool = tools.join("mytool");
    assert_refused(
        &run,
        127,
        &format!(
            "jail: mytool: is {} on this machine, which the jail does not show\n\
             hint: show it with --rx {} and give its full path, or use a program below /usr\n",
            tool.display(),
            tools.display()
        ),
    );
}

#[test]
fn the_hint_for_a_program_outside_the_view_works() {
    let jail = Jail::new();
    let tools = jail.beside("tools");
    fs::create_dir(&tools).unwrap();
    copy_program(&jail.probe_path(), &tools.join("mytool"));
    let tool = tools.join("mytool");

    let run = jail.arg("--rx").arg(&tools).run([tool.as_os_str(), "exit".as_ref(), "8".as_ref()]);

    assert_eq!(run.code, Some(8), "{run}");
}

#[test]
fn a_file_that_is_not_executable_is_126() {
    let run = Jail::new().file("data.txt", "text").run(["./data.txt"]);

    assert_eq!(run.verdict(), "exec_failed");
    let path = run.workspace().join("data.txt");
    assert_refused(
        &run,
        126,
        &format!("jail: ./data.txt: not executable\nhint: chmod +x {}, or name its interpreter\n", path.display()),
    );
}

#[test]
fn a_script_whose_interpreter_is_not_in_the_view_says_so() {
    let jail = Jail::new().file("script", "#!/opt/nowhere/python\n");
    fs::set_permissions(jail.workspace().join("script"), fs::Permissions::from_mode(0o755)).unwrap();

    let run = jail.run(["./script"]);

    assert_refused(
        &run,
        127,
        "jail: ./script: the interpreter or loader that it names is not in the view\n\
         hint: look at its first line (#!) or at readelf -l, and show that path with --rx\n",
    );
}

#[test]
fn an_unreadable_script_is_the_programs_own_error() {
    let jail = Jail::new().file("script.py", "print('never')\n");
    fs::set_permissions(jail.workspace().join("script.py"), fs::Permissions::from_mode(0o000)).unwrap();

    let run = jail.run([python(), "script.py"]);

    assert_eq!((run.code, run.verdict()), (Some(2), "nonzero_exit"), "{run}");
    assert!(run.err().contains("Permission denied"), "{run}");
    assert!(!run.err().contains("jail:"), "{run}");
}

// ---- profiles and flags that mean nothing

#[test]
fn a_size_without_a_unit_is_refused() {
    let run = Jail::new().args(["--memory", "512"]).probe(["cwd"]);

    assert_refused(&run, 125, "jail: --memory 512: a size needs a unit: 512M is 512 MiB, 512B is 512 bytes\n");
}

#[test]
fn a_duration_without_a_unit_is_refused() {
    let run = Jail::new().args(["--timeout", "10"]).probe(["cwd"]);

    assert_refused(
        &run,
        125,
        "jail: --timeout 10: a duration needs a unit: 10s is 10 seconds, 10ms is 10 milliseconds\n",
    );
}

#[test]
fn an_unknown_value_of_a_flag_is_refused() {
    let run = Jail::new().args(["--net", "maybe"]).probe(["cwd"]);

    assert_refused(&run, 125, "jail: --net maybe: \"maybe\" is not a known value (write none, loopback, host)\n");
}

#[test]
fn an_unknown_layer_is_refused() {
    let run = Jail::new().args(["--allow-degraded", "landlok"]).probe(["cwd"]);

    assert_refused(&run, 125, "jail: --allow-degraded landlok: \"landlok\" is not a layer (did you mean landlock?)\n");
}

#[test]
fn an_unknown_flag_is_refused_with_a_suggestion() {
    let run = Jail::new().args(["--memry", "64M"]).probe(["cwd"]);

    assert_refused(&run, 125, "jail: --memry: no such option (did you mean --memory?)\n");
}

#[test]
fn no_command_is_refused_with_the_usage() {
    let run = Jail::strictly().without_report().run([""; 0]);

    assert_eq!((run.code, run.out().as_str()), (Some(125), ""), "{run}");
    assert!(run.err().starts_with("usage: jail [OPTIONS] [--] COMMAND [ARGS"), "{run}");
}

#[test]
fn an_unknown_profile_is_refused_with_a_suggestion() {
    let run = Jail::new().args(["--profile", "strct"]).probe(["cwd"]);

    assert_refused(&run, 125, "jail: no profile is named \"strct\" (did you mean strict?)\n");
}

#[test]
fn a_closed_directory_of_profiles_is_passed_over_and_a_closed_profile_is_not() {
    let folder = folder();
    let jail = folder.path().join("jail");
    copy_program(&jail_binary(), &jail);
    let (config, profile) = (folder.path().join("config"), folder.path().join("config/jail/profiles/strict.toml"));
    fs::create_dir_all(profile.parent().unwrap()).unwrap();
    fs::write(&profile, "description = \"the caller's own\"\n").unwrap();
    let shown = |config_mode, profile_mode| {
        fs::set_permissions(&profile, fs::Permissions::from_mode(profile_mode)).unwrap();
        fs::set_permissions(&config, fs::Permissions::from_mode(config_mode)).unwrap();
        let mut command = std::process::Command::new(&jail);
        command.args(["profile", "show", "strict"]).env("XDG_CONFIG_HOME", &config);
        if is_root() {
            // Nothing is closed to root.
            command.uid(61234).gid(61234);
        }
        let output = command.output().unwrap();
        fs::set_permissions(&config, fs::Permissions::from_mode(0o755)).unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };

    let (code, text, _) = shown(0o755, 0o644);
    assert_eq!((code, text.contains("the caller's own")), (Some(0), true), "{text}");

    let refused = format!("jail: {}: cannot be read: permission denied\n", profile.display());
    assert_eq!(shown(0o755, 0o000), (Some(125), String::new(), refused));

    let (code, text, error) = shown(0o000, 0o644);
    assert_eq!((code, text.contains("the caller's own"), error.as_str()), (Some(0), false, ""), "{text}");
}

#[test]
fn a_profile_is_never_looked_up_in_the_working_directory() {
    let run = Jail::new().file("mine.toml", "extends = [\"strict\"]\n").args(["--profile", "mine"]).probe(["cwd"]);

    assert_eq!(run.code, Some(125), "{run}");
    assert!(run.err().contains("no profile is named \"mine\""), "{run}");
}

#[test]
fn a_bad_profile_is_refused_with_file_and_line_for_each_violation() {
    let jail = Jail::new();
    let profile = jail.beside("bad.toml");
    fs::write(&profile, "extends = [\"strict\"]\n[limits]\nmemry = \"1G\"\nwall = 30\n\n[net]\nmode = \"maybe\"\n")
        .unwrap();

    let run = jail.arg("--profile").arg(&profile).probe(["cwd"]);

    let at = profile.display();
    assert_refused(
        &run,
        125,
        &format!(
            "jail: {at}:3: limits.memry: unknown key (did you mean limits.memory?)\n\
             jail: {at}:4: limits.wall: a duration needs a unit: 30s is 30 seconds, 30ms is 30 milliseconds\n\
             jail: {at}:7: net.mode: \"maybe\" is not a known value (write none, loopback, host)\n"
        ),
    );
}

#[test]
fn a_profile_from_a_file_is_applied_over_what_it_extends() {
    let jail = Jail::new();
    let profile = jail.beside("mine.toml");
    fs::write(&profile, "extends = [\"strict\"]\n[limits]\nnofile = 33\n[env.set]\nFROM_PROFILE = \"yes\"\n").unwrap();

    let run = jail.arg("-p").arg(&profile).args(["--nofile", "44"]).probe(["batch", "rlimits", "env"]);

    let answer = run.answer();
    assert!(answer.contains("nofile=44:44") && answer.contains("FROM_PROFILE=yes"), "{answer}");
}

// ---- things of the host that are not as needed

#[test]
fn a_missing_bind_source_is_refused() {
    let jail = Jail::new();
    let missing = jail.beside("missing");

    let run = jail.arg("--ro").arg(&missing).probe(["cwd"]);

    assert_refused(
        &run,
        125,
        &format!(
            "jail: --ro: cannot show {}: no such file or directory\n\
             hint: make it, or take it out of the view (a profile can say optional = true)\n",
            missing.display()
        ),
    );
}

#[test]
fn the_root_is_no_workspace() {
    let run = Jail::new().cwd("/").run(["/usr/bin/true"]);

    assert_refused(
        &run,
        125,
        "jail: / cannot be the workspace: it is the whole machine\n\
         hint: cd into a project directory, or go without one: --no-workspace\n",
    );
}

#[test]
fn the_home_is_no_workspace() {
    let jail = Jail::new();
    let home = jail.workspace().to_owned();

    let run = jail.env("HOME", &home).run(["/usr/bin/true"]);

    assert_refused(
        &run,
        125,
        &format!(
            "jail: {0} is your home directory, which is not shown as a workspace by accident\n\
             hint: cd into a project directory, or name it on purpose: --workspace {0}\n",
            home.display()
        ),
    );
}

#[test]
fn a_parent_of_the_home_is_no_workspace() {
    let jail = Jail::new();
    let workspace = jail.workspace().to_owned();
    fs::create_dir(workspace.join("user")).unwrap();

    let run = jail.env("HOME", workspace.join("user")).run(["/usr/bin/true"]);

    assert_refused(
        &run,
        125,
        &format!(
            "jail: {0} holds your home directory, which is not shown as a workspace by accident\n\
             hint: cd into a project directory, or name it on purpose: --workspace {0}\n",
            workspace.display()
        ),
    );
}

#[test]
fn the_home_can_be_named_on_purpose() {
    let jail = Jail::new();
    let home = jail.workspace().to_owned();

    let run = jail.env("HOME", &home).arg("--workspace").arg(&home).probe(["exit", "0"]);

    assert_eq!(run.code, Some(0), "{run}");
}

#[test]
fn timing_names_every_stage_of_a_start_in_order() {
    let stages = ["plan", "cgroup", "prepare", "clone", "gate", "root", "confinement", "exec", "teardown"];

    let run = Jail::new().arg("--timing").probe(["exit", "3"]);

    assert_eq!(run.code, Some(3), "{run}");
    let err = run.err();
    let rows: Vec<Vec<&str>> = err.lines().map(|line| line.split_whitespace().collect()).collect();
    let expected = ["command"].into_iter().chain(stages).chain(["all"]);
    assert_eq!(rows.iter().map(|row| row[1]).collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "{run}");
    let micros: Vec<u64> = rows.iter().map(|row| row[2].parse().unwrap()).collect();
    let (all, parts) = micros.split_last().unwrap();
    assert_eq!(*all, parts.iter().sum::<u64>(), "{run}");
    // The table and the report say the same.
    for (stage, us) in stages.into_iter().zip(&parts[1..]) {
        assert_eq!(run.number(&format!("/setup/{stage}_us")), *us, "{stage}: {run}");
    }
    for stage in ["plan", "clone", "root", "confinement", "exec", "teardown"] {
        assert!(run.number(&format!("/setup/{stage}_us")) > 0, "{stage}: {run}");
    }
}

#[test]
fn a_stage_that_was_not_reached_has_no_time() {
    let jail = Jail::new().file("script", "#!/no/interpreter\n").arg("--timing");
    fs::set_permissions(jail.workspace().join("script"), fs::Permissions::from_mode(0o755)).unwrap();

    let run = jail.run(["./script"]);

    assert_eq!(run.code, Some(127), "{run}");
    assert!(run.field("/setup").get("confinement_us").is_some(), "{run}");
    assert!(run.field("/setup").get("exec_us").is_none(), "{run}");
    assert!(!run.err().contains("jail: exec "), "{run}");
}

#[test]
fn an_unwritable_report_is_refused_before_the_program_runs() {
    let jail = Jail::new().without_report().args(["--workspace-access", "write"]);
    let report = jail.beside("no-such-directory/report.json");
    let marker = jail.workspace().join("marker");

    let run = jail.arg("--report").arg(&report).probe(["create".as_ref(), marker.as_os_str()]);

    assert!(!marker.exists());
    assert_refused(
        &run,
        125,
        &format!("jail: --report {}: cannot be written: no such file or directory\n", report.display()),
    );
}

#[test]
fn a_full_disk_for_the_report_is_said() {
    let jail = Jail::new().without_report();

    let run = jail.args(["--report", "/dev/full"]).probe(["exit", "0"]);

    assert_eq!(run.code, Some(125), "{run}");
    assert_eq!(run.err(), "jail: --report /dev/full: the report cannot be written: no space left on device\n");
}

/// Runs a script that may write in its workspace, below which the report is to be: `--report out/run.json`.
#[track_caller]
fn script_beside_its_report(script: &str) -> Run {
    let jail = Jail::new().without_report().args(["--workspace-access", "write", "--report", "out/run.json"]);
    fs::create_dir(jail.workspace().join("out")).unwrap();
    fs::write(jail.workspace().join("out/run.json"), "old").unwrap();
    let other = jail.beside("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("run.json"), "other").unwrap();

    let run = jail.run(["/bin/sh", "-c", script, "sh", other.to_str().unwrap()]);

    assert_eq!(listing(&other), ["run.json"], "{run}");
    assert_eq!(fs::read_to_string(other.join("run.json")).unwrap(), "other", "{run}");
    run
}

/// The names in a directory, sorted.
fn listing(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The directory holds a report that says so, for its owner alone, and nothing else.
#[track_caller]
fn assert_holds_the_report(directory: &Path, exit: i32) {
    assert_eq!(listing(directory), ["run.json"]);
    let path = directory.join("run.json");
    let report: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    validate(&report);
    assert_eq!(report["exit"]["code"], exit, "{report:#}");
    assert_eq!(fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777, 0o600);
}

#[test]
fn the_program_cannot_forge_its_report() {
    for script in [
        "exit 3",
        "rm out/run.json && echo forged >out/run.json; exit 3",
        "head -c 300000 /dev/zero >out/run.json; exit 3",
        "echo forged >out/mine && mv out/mine out/run.json; exit 3",
        "mkfifo out/fifo && mv out/fifo out/run.json; exit 3",
        "rm out/run.json && ln -s \"$1/run.json\" out/run.json; exit 3",
        "mv out old && ln -s old out; exit 3",
    ] {
        let run = script_beside_its_report(script);

        assert_eq!((run.code, run.err().as_str()), (Some(3), ""), "{run}");
        assert_holds_the_report(&run.workspace().join("out"), 3);
    }
}

#[test]
fn a_report_that_the_program_led_elsewhere_is_said() {
    let lost = "jail: --report out/run.json: the report cannot be written: ";
    for script in ["mv out old && ln -s \"$1\" out", "mv out old && mkdir out && echo forged >out/run.json"] {
        let run = script_beside_its_report(script);

        let said = format!("{lost}the program changed what that name leads to\n");
        assert_eq!((run.code, run.err()), (Some(125), said), "{run}");
        assert_holds_the_report(&run.workspace().join("old"), 0);
    }

    let run = script_beside_its_report("rm out/run.json && mkdir out/run.json");
    assert_eq!((run.code, run.err()), (Some(125), format!("{lost}is a directory\n")), "{run}");
    assert_eq!(listing(&run.workspace().join("out")), ["run.json"]);
}

#[test]
fn a_link_where_the_report_goes_is_replaced_and_not_followed() {
    // An earlier program may have planted it, and the caller may be root.
    let jail = Jail::new().without_report().args(["--report", "link"]);
    let victim = jail.beside("victim");
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, jail.workspace().join("link")).unwrap();

    let run = jail.run(["/bin/true"]);

    assert_eq!(run.code, Some(0), "{run}");
    let link = run.workspace().join("link");
    assert!(fs::symlink_metadata(&link).unwrap().is_file());
    validate(&serde_json::from_slice(&fs::read(&link).unwrap()).unwrap());
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn an_old_report_survives_a_command_line_that_is_refused() {
    let jail = Jail::new().without_report();
    let report = jail.beside("run.json");
    fs::write(&report, "old").unwrap();

    let run = jail.arg("--report").arg(&report).args(["--report-fd", "77"]).probe(["exit", "0"]);

    assert_eq!(run.code, Some(125), "{run}");
    assert_eq!(fs::read_to_string(&report).unwrap(), "old");
    assert_eq!(listing(report.parent().unwrap()), ["run.json", "work"]);
}

#[test]
fn a_report_needs_a_name_of_a_file() {
    let places = [("new/", "no such file or directory"), ("..", "is a directory"), ("probe/x", "not a directory")];
    for (name, problem) in places {
        let run = Jail::new().without_report().args(["--report", name]).probe(["exit", "0"]);

        assert_refused(&run, 125, &format!("jail: --report {name}: cannot be written: {problem}\n"));
    }
}

#[test]
fn a_report_fifo_without_a_reader_is_refused() {
    let jail = Jail::new().without_report();
    let fifo = jail.beside("fifo");
    mkfifo(&fifo, Mode::S_IRWXU).unwrap();

    let run = jail.arg("--report").arg(&fifo).probe(["exit", "0"]);

    let problem = "cannot be written: it has no reader (start that first)";
    assert_refused(&run, 125, &format!("jail: --report {}: {problem}\n", fifo.display()));
}

#[test]
fn a_report_goes_to_the_reader_of_a_fifo() {
    let jail = Jail::new().without_report();
    let fifo = jail.beside("fifo");
    mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let mut reader = fs::OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&fifo).unwrap();

    let run = jail.arg("--report").arg(&fifo).probe(["exit", "3"]);

    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!((run.code, run.err().as_str()), (Some(3), ""), "{run}");
    validate(&serde_json::from_str(&text).unwrap());
    assert!(fs::symlink_metadata(&fifo).unwrap().file_type().is_fifo());
}

#[test]
fn a_report_goes_to_a_device() {
    let run = Jail::new().without_report().args(["--report", "/dev/null"]).probe(["exit", "3"]);

    assert_eq!((run.code, run.err().as_str()), (Some(3), ""), "{run}");
    assert!(fs::symlink_metadata("/dev/null").unwrap().file_type().is_char_device());
}

#[test]
fn a_report_on_stdout_follows_the_output() {
    let jail = Jail::new().without_report().args(["--report", "/dev/stdout"]);
    let output = jail.beside("output");
    let script = "file=$1; shift; exec \"$@\" >\"$file\"";

    let run = jail.through(["/bin/sh", "-c", script, "sh", output.to_str().unwrap()]).run(["/bin/echo", "line"]);

    assert_eq!((run.code, run.err().as_str()), (Some(0), ""), "{run}");
    let text = fs::read_to_string(output).unwrap();
    let (line, report) = text.split_once('\n').unwrap();
    assert_eq!(line, "line");
    validate(&serde_json::from_str(report).unwrap());
}

#[test]
fn a_report_descriptor_that_is_not_open_is_refused() {
    let run = Jail::new().without_report().args(["--report-fd", "77"]).probe(["exit", "0"]);

    assert_refused(&run, 125, "jail: --report-fd 77: the descriptor is not open (write --report-fd 77 77>FILE)\n");
}

#[test]
fn the_report_goes_to_a_descriptor() {
    let jail = Jail::new().without_report();
    let report = jail.beside("report");
    let script = "file=$1; shift; exec \"$@\" 7>\"$file\"";
    let launcher = ["/bin/sh", "-c", script, "sh", report.to_str().unwrap()].map(str::to_owned);

    let run = jail.through(launcher).args(["--report-fd", "7"]).probe(["exit", "3"]);

    assert_eq!(run.code, Some(3), "{run}");
    let report: Value = serde_json::from_slice(&fs::read(run.workspace().with_file_name("report")).unwrap()).unwrap();
    validate(&report);
    assert_eq!(report["exit"]["code"], 3);
}

#[test]
fn a_missing_working_directory_is_refused_by_its_name() {
    let run = Jail::new().args(["--chdir", "/nowhere"]).probe(["cwd"]);

    assert_refused(
        &run,
        125,
        "jail: --chdir /nowhere: there is no such directory in the jail\nhint: name one that the view shows\n",
    );
}

#[test]
fn a_working_directory_that_was_removed_is_said() {
    let script = "mkdir gone && cd gone && rmdir ../gone && exec \"$@\"";
    let run = Jail::new().through(["/bin/sh", "-c", script, "sh"]).run(["/usr/bin/true"]);

    assert_eq!(
        (run.code, run.err().as_str()),
        (
            Some(125),
            "jail: the current directory cannot be found: no such file or directory\n\
             hint: cd into a directory that exists\n"
        ),
        "{run}"
    );
}

#[test]
fn an_option_for_the_workspaces_own_path_is_not_ignored() {
    for flag in ["--rw", "--tmpfs"] {
        let jail = Jail::new();
        let workspace = jail.workspace().display().to_string();

        let run = jail.args([flag, &workspace]).probe(["cwd"]);

        assert_refused(
            &run,
            125,
            &format!(
                "jail: {flag}: {workspace} is the workspace\n\
                 hint: say --workspace-access write, or --no-workspace\n"
            ),
        );
    }
}

#[test]
fn the_workspaces_own_path_may_be_named_once_more() {
    for flag in ["--ro", "--rx"] {
        let jail = Jail::new().file("run.sh", "#!/bin/sh\necho ran\n");
        let workspace = jail.workspace().display().to_string();
        fs::set_permissions(jail.workspace().join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();

        let run = jail.args([flag, &workspace]).run(["/bin/sh", "-c", "./run.sh; touch new"]);

        assert_eq!((run.code, run.out().as_str()), (Some(1), "ran"), "{run}");
        assert!(run.err().contains("Read-only file system"), "{run}");
    }
}

#[test]
fn odd_standard_streams_are_no_trouble() {
    // Closed, write-only, full.
    let through = |script: &str| ["/bin/sh", "-c", script, "sh"].map(str::to_owned);
    let run = Jail::new().through(through("exec \"$@\" <&-")).probe(["fds"]);
    assert_eq!(run.answer(), "ok 0 1 2");

    let run = Jail::new().through(through("exec \"$@\" >&-")).probe(["exit", "4"]);
    assert_eq!(run.code, Some(4), "{run}");

    let run = Jail::new().through(through("exec \"$@\" </")).probe(["exit", "4"]);
    assert_refused(&run, 125, "jail: stdin is a directory\nhint: redirect it from a file\n");

    let run = Jail::new().through(through("exec \"$@\" >/dev/full")).probe(["write-out", "100000"]);
    assert_eq!((run.code, run.verdict()), (Some(125), "internal_error"), "{run}");
    assert!(run.err().contains("jail: the program's output cannot be handed on: no space left on device\n"), "{run}");
    run.assert_clean();
}

// ---- json

#[test]
fn json_prints_the_report_with_the_output_in_it() {
    let run = Jail::new().without_report().arg("--json").run(["/bin/sh", "-c", "echo out; echo err >&2; exit 3"]);

    assert_eq!((run.code, run.err().as_str()), (Some(3), ""), "{run}");
    let report: Value = serde_json::from_slice(&run.stdout).unwrap();
    validate(&report);
    assert_eq!(report["output"]["stdout"]["head"]["data"], "out\n");
    assert_eq!(report["output"]["stderr"]["head"]["data"], "err\n");
    assert_eq!(report["verdict"]["kind"], "nonzero_exit");
}

#[test]
fn json_keeps_binary_output_in_base64() {
    let run = Jail::new().without_report().arg("--json").stdin(*b"\xff\0\xfe").probe(["stdin-cat"]);

    let report: Value = serde_json::from_slice(&run.stdout).unwrap();
    validate(&report);
    assert_eq!(report["output"]["stdout"]["head"], serde_json::json!({"encoding": "base64", "data": "/wD+"}));
    assert_eq!(report["output"]["stdout"]["total_bytes"], 3);
}

#[test]
fn json_reports_a_refusal_too() {
    let run = Jail::new().without_report().arg("--json").run(["no-such-program"]);

    assert_eq!(run.code, Some(127), "{run}");
    let report: Value = serde_json::from_slice(&run.stdout).unwrap();
    validate(&report);
    assert_eq!(report["verdict"]["kind"], "exec_failed");
    assert_eq!(report["error"]["kind"], "not_found");
    assert_eq!(report["exit"], Value::Null);
}

#[test]
fn the_report_says_what_was_in_force() {
    let run = Jail::new().probe(["exit", "0"]);

    let layers = run.field("/posture/layers").as_object().unwrap();
    let names: Vec<&str> = layers.keys().map(String::as_str).collect();
    let mut expected = [
        "namespaces",
        "rootfs",
        "ids",
        "caps",
        "landlock",
        "seccomp",
        "cgroup.memory",
        "cgroup.pids",
        "cgroup.cpu",
        "rlimits",
        "net",
    ];
    expected.sort_unstable();
    assert_eq!(names, expected);
    for (name, layer) in layers {
        let given_up = crate::support::degraded() && name.starts_with("cgroup.");
        assert_eq!(layer["requested"], true, "{name}");
        assert_eq!(layer["applied"], !given_up, "{name}");
    }
    for name in ["namespaces", "rootfs", "ids", "caps", "landlock", "seccomp"] {
        assert_eq!(layers[name]["witnessed"], true, "{name}: {run}");
    }
    let degraded = run.field("/posture/degraded").as_array().unwrap().len();
    assert_eq!(degraded, if crate::support::degraded() { 3 } else { 0 });
}

#[test]
fn without_a_cgroup_the_run_is_refused_with_the_remedy() {
    if !crate::support::degraded() {
        return crate::support::leave_to_another_run("a caller without a cgroup");
    }
    let run = Jail::strictly().probe(["exit", "0"]);

    assert_eq!((run.code, run.verdict()), (Some(125), "internal_error"), "{run}");
    let err = run.err();
    assert_eq!(err.lines().count(), 3, "{err}");
    assert!(err.starts_with("jail: ") && err.contains("cgroup.memory"), "{err}");
    assert!(err.lines().nth(1).unwrap().starts_with("hint: ") && err.contains("--allow-degraded cgroup"), "{err}");
    run.assert_clean();
}

// ---- plan and profile

/// Runs `jail SUBCOMMAND …` in a fresh workspace.
#[track_caller]
fn subcommand(words: &[&str]) -> Run {
    Jail::strictly().without_report().run(words)
}

#[test]
fn plan_prints_the_steps_and_runs_nothing() {
    let jail = Jail::strictly().without_report();
    let marker = jail.workspace().join("marker");
    let mut words = vec!["plan", "--workspace-access", "write"];
    if crate::support::degraded() {
        words.extend(["--allow-degraded", "cgroup"]);
    }
    words.extend(["./probe", "create", marker.to_str().unwrap()]);

    let run = jail.run(words);

    assert_eq!((run.code, run.err().as_str()), (Some(0), ""), "{run}");
    assert!(!marker.exists());
    let out = run.out();
    for word in ["pivot_root", "landlock", "seccomp", "exec", "strict.toml:", "--workspace-access"] {
        assert!(out.to_lowercase().contains(word), "{word} is not in {out}");
    }
    run.assert_clean();
}

#[test]
fn profile_list_names_the_shipped_ones() {
    let run = subcommand(&["profile", "list"]);

    let out = run.out();
    assert_eq!(run.code, Some(0), "{run}");
    for name in ["strict", "judge", "build", "agent"] {
        assert!(out.lines().any(|line| line.split_whitespace().next() == Some(name)), "{name} is not in {out}");
    }
}

#[test]
fn profile_show_prints_what_check_accepts() {
    let shown = subcommand(&["profile", "show", "strict"]);
    assert_eq!(shown.code, Some(0), "{shown}");
    assert!(shown.out().contains("[limits]"), "{shown}");

    let jail = Jail::strictly().without_report().file("copy.toml", &shown.stdout);
    let run = jail.run(["profile", "check", "copy.toml"]);
    assert_eq!(run.code, Some(0), "{run}");
}

#[test]
fn profile_show_resolved_is_complete() {
    let shown = subcommand(&["profile", "show", "judge", "--resolved"]);

    assert_eq!(shown.code, Some(0), "{shown}");
    assert!(!shown.out().lines().any(|line| line.starts_with("extends")), "{shown}");
    let jail = Jail::strictly().without_report().file("copy.toml", &shown.stdout);
    let run = jail.run(["profile", "check", "copy.toml"]);
    assert_eq!(run.code, Some(0), "{run}");
}

#[test]
fn profile_show_of_an_unknown_one_is_refused() {
    let run = subcommand(&["profile", "show", "strct"]);

    assert_refused(&run, 125, "jail: no profile is named \"strct\" (did you mean strict?)\n");
}

#[test]
fn profile_check_lists_every_violation_with_file_and_line() {
    let jail = Jail::strictly().without_report().file("bad.toml", "[limits]\nmemory = 512\npids = \"x\"\n");

    let run = jail.run(["profile", "check", "bad.toml"]);

    assert_eq!((run.code, run.err().as_str()), (Some(1), ""), "{run}");
    let out = run.out();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 2, "{run}");
    assert!(lines[0].starts_with("bad.toml:2: limits.memory: ") && lines[0].contains("512M"), "{run}");
    assert!(lines[1].starts_with("bad.toml:3: limits.pids: "), "{run}");
}

#[test]
fn the_version_and_the_help_go_to_stdout() {
    let run = subcommand(&["--version"]);
    assert_eq!((run.code, run.out()), (Some(0), format!("jail {}", env!("CARGO_PKG_VERSION"))), "{run}");

    let run = subcommand(&["--help"]);
    assert_eq!((run.code, run.err().as_str()), (Some(0), ""), "{run}");
    for flag in ["--profile", "--memory", "--timeout", "--workspace", "--report", "--json"] {
        assert!(run.out().contains(flag), "{flag} is not in {run}");
    }
}

#[test]
fn the_standard_streams_can_be_opened_by_name() {
    let run = Jail::new().stdin("in\n").run([
        "/bin/sh",
        "-c",
        "read line < /dev/stdin; echo \"$line\" > /dev/stdout; echo err > /dev/stderr",
    ]);

    assert_eq!((run.code, run.out().as_str(), run.err().as_str()), (Some(0), "in", "err\n"), "{run}");
}

#[test]
fn a_working_directory_behind_a_descriptor_is_refused() {
    let script = "exec \"$@\" 7</";
    let launcher = ["/bin/sh", "-c", script, "sh"];
    let run = Jail::new().through(launcher).args(["--chdir", "/proc/self/fd/7"]).run(["/usr/bin/true"]);

    assert_refused(
        &run,
        125,
        "jail: --chdir /proc/self/fd/7: there is no such directory in the jail\nhint: name one that the view shows\n",
    );
}
