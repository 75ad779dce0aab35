//! Programs that must still work.
//!
//! For: the other half of containment. Each program checks itself, exits with 0 and prints `ok` last.
//! Not for: programs that are not installed: those are not judged, and neither are those that do not work outside
//! of the sandbox either.
//! Runs in: the table and its judge in the process of `jail selftest`, the programs in a jail; outside only those
//! that failed inside.

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jail::Report;
use jail::report::VerdictKind;

use super::Case;
use super::judge::Outcome;
use super::run::Runner;

pub(super) const CASES: &[Case] = &[
    Case::program("works-python", "python: json, re, files, subprocess with pipes", &["python3", "-c", PYTHON_BASIC]),
    Case::program(
        "works-python-threads",
        "python: 16 threads, queue, condition, timers",
        &["python3", "-c", PYTHON_THREADS],
    ),
    Case::program("works-shell", "sh: pipes, here-documents, functions, traps, sort, awk, xargs", &["sh", "-c", SHELL]),
];

const PYTHON_BASIC: &str = "
import json, re, subprocess, tempfile, os, sys
assert json.loads(json.dumps({'a': [1, 2.5, None, 'ü']})) == {'a': [1, 2.5, None, 'ü']}
assert re.findall(r'\\d+', 'a1b22') == ['1', '22']
with tempfile.TemporaryDirectory() as d:
    p = os.path.join(d, 'f')
    open(p, 'w').write('x' * 100000)
    assert os.path.getsize(p) == 100000
out = subprocess.run([sys.executable, '-c', 'print(input()[::-1])'], input='abc', capture_output=True, text=True)
assert out.stdout == 'cba\\n', out
print('ok')
";

const PYTHON_THREADS: &str = "
import queue, threading
q, done, lock, total = queue.Queue(), threading.Condition(), threading.Lock(), [0]
def work():
    while (n := q.get()) is not None:
        with lock: total[0] += n
threads = [threading.Thread(target=work) for _ in range(16)]
for t in threads: t.start()
for n in range(1000): q.put(n)
for t in threads: q.put(None)
for t in threads: t.join()
assert total[0] == 499500, total
fired = threading.Event()
threading.Timer(0.05, fired.set).start()
assert fired.wait(10)
print('ok')
";

const SHELL: &str = r#"
set -eu
cd "${TMPDIR:-/tmp}"
words() { printf '%s\n' pear apple fig apple; }
test "$(words | sort | uniq -c | sort -rn | awk 'NR==1 {print $1 $2}')" = 2apple
cat > file.$$ <<END
one $((1 + 2)) $(echo three)
END
test "$(cat file.$$)" = "one 3 three"
test "$(words | xargs -n 2 echo | wc -l | tr -d ' ')" = 2
trap 'caught=yes' USR1
kill -USR1 $$
test "$caught" = yes
(sleep 0.05; exit 7) & wait $! || test $? = 7
rm file.$$
echo ok
"#;

/// Longest that a program may take outside.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs one, and judges it.
pub(super) fn program(runner: &Runner<'_>, command: &'static [&'static str]) -> (Outcome, Option<Report>) {
    let words = || command.iter().map(OsString::from).collect::<Vec<_>>();
    let run = match runner.start(&[], Stdio::null(), |_, _, _| words()) {
        Ok(live) => live.finish(runner),
        Err(outcome) => return (outcome, None),
    };
    let report = match run.report() {
        Ok(report) => report.clone(),
        Err(outcome) => return (outcome, None),
    };
    let outcome = if report.verdict.kind == VerdictKind::ExecFailed {
        let message = report.error.as_ref().map_or("", |error| &error.message);
        Outcome::not_judged(format!("is not installed in the view: {message}"))
    } else if report.verdict.kind == VerdictKind::Ok && run.stdout.ends_with(b"ok\n") {
        match run.leftovers.first() {
            None => Outcome::held(format!("{} ms", run.elapsed.as_millis())),
            Some(left) => Outcome::failed(format!("left behind: {left}")),
        }
    } else {
        let said = run.stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        let seen = format!("{}: {said}", super::judge::word(report.verdict.kind));
        match outside(runner, command) {
            Ok(()) => Outcome::failed(seen),
            Err(reason) => Outcome::not_judged(format!("does not work outside either: {reason}")),
        }
    };
    (outcome, Some(report))
}

/// The same program without a sandbox.
fn outside(runner: &Runner<'_>, command: &[&str]) -> Result<(), String> {
    let Some((program, rest)) = command.split_first() else { return Err("it has no name".to_owned()) };
    let scratch = runner.world.at("scratch");
    let mut line = Command::new(program);
    line.args(rest).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LANG", "C.UTF-8");
    line.env("HOME", &scratch).env("TMPDIR", &scratch).current_dir(&scratch);
    let spawned = line.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut child = spawned.map_err(|error| jail::describe(&error))?;
    let end = Instant::now() + PATIENCE;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(status.to_string()),
            Ok(None) if Instant::now() > end || runner.is_cancelled() => {
                let _gone = child.kill();
                let _reaped = child.wait();
                return Err(format!("it does not end within {} s", PATIENCE.as_secs()));
            }
            Ok(None) => std::thread::sleep(Duration::from_millis(10)),
            Err(error) => return Err(jail::describe(&error)),
        }
    }
}
