//! The inside half: makes the calls of one case, and says what each answered.
//!
//! For: `jail selftest-case TOKEN ID KEY=VALUE…`. Each step is one line, `TOKEN NAME ok|errno|error DETAIL`; the last
//! line is `TOKEN end`. The token is made anew for every run, so nothing else can be taken for such a line.
//! Not for: judging. Here nobody knows what ought to come.
//! Runs in: the payload's place inside a jail; outside, as the positive control.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

use nix::errno::Errno;

use super::{INSIDE, Work, all};

/// Longest that any process of a self-test lives, seconds: then the kernel ends it with SIGALRM.
pub(super) const LIFETIME: u32 = 60;

/// What a call answered when it did not succeed.
#[derive(Debug)]
pub(super) enum Refusal {
    Errno(i32),
    Other(String),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        error.raw_os_error().map_or_else(|| Self::Other(error.to_string()), Self::Errno)
    }
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno as i32)
    }
}

impl From<i32> for Refusal {
    fn from(errno: i32) -> Self {
        Self::Errno(errno)
    }
}

/// What a case knows inside.
#[derive(Debug)]
pub(super) struct Inside {
    token: String,
    id: String,
    facts: BTreeMap<String, String>,
    /// Lines that could not be printed any more.
    unsaid: Cell<u32>,
}

impl Inside {
    /// This is the positive control: no sandbox is around.
    pub(super) fn outside(&self) -> bool {
        self.facts.contains_key("outside")
    }

    /// In every line and command line of this run.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// Something that the host half told.
    pub(super) fn fact(&self, name: &str) -> &str {
        self.facts.get(name).map_or("", String::as_str)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(self.fact(name))
    }

    pub(super) fn number<T: FromStr + Default>(&self, name: &str) -> T {
        self.fact(name).parse().unwrap_or_default()
    }

    /// Says what one call answered.
    pub(super) fn step<T, E: Into<Refusal>>(&self, name: &str, result: Result<T, E>) {
        self.say(name, result.map(|_done| String::new()));
    }

    /// Says what one call answered, with its value.
    pub(super) fn say<T: ToString, E: Into<Refusal>>(&self, name: &str, result: Result<T, E>) {
        let line = match result.map_err(Into::into) {
            Ok(value) => format!("{name} ok {}", clean(&value.to_string())),
            Err(Refusal::Errno(errno)) => format!("{name} errno {errno}"),
            Err(Refusal::Other(text)) => format!("{name} error {}", clean(&text)),
        };
        self.line(&line);
    }

    /// Says a value.
    pub(super) fn note(&self, name: &str, value: impl ToString) {
        self.say::<_, Errno>(name, Ok(value));
    }

    fn line(&self, text: &str) {
        let mut out = io::stdout().lock();
        let said = out.write_all(format!("{} {text}\n", self.token).as_bytes()).and_then(|()| out.flush());
        if said.is_err() {
            self.unsaid.set(self.unsaid.get().saturating_add(1));
        }
    }

    /// This program again, as a helper process of this case: `helper` is the name of the case that it runs.
    pub(super) fn helper(&self, id: &str) -> Command {
        let mut command = Command::new(self.fact("program"));
        command.args([INSIDE, &self.token, id]).args(self.facts.iter().map(|(key, value)| format!("{key}={value}")));
        command
    }

    /// A helper that sleeps until it is killed or its lifetime is over.
    pub(super) fn sleeper(&self) -> io::Result<Child> {
        self.helper("sleep").stdin(Stdio::null()).spawn()
    }

    /// A directory to write to, if there is one.
    pub(super) fn scratch(&self) -> Option<PathBuf> {
        self.facts.get("scratch").map(PathBuf::from)
    }
}

/// On one line.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(4096).collect()
}

/// The whole program, when the command line begins with `selftest-case`.
pub(crate) fn main(words: Vec<OsString>) -> u8 {
    nix::unistd::alarm::set(LIFETIME);
    let mut words = words.into_iter().map(|word| String::from_utf8_lossy(&word.into_vec()).into_owned());
    let (Some(token), Some(id)) = (words.next(), words.next()) else { return 2 };
    let facts = words.filter_map(|word| word.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())));
    let inside = Inside { token, id, facts: facts.collect(), unsaid: Cell::new(0) };
    match inside.id.as_str() {
        // Lives as long as the battery, which holds the other end of its input, however long that takes.
        "victim" => {
            nix::unistd::alarm::cancel();
            return u8::from(io::copy(&mut io::stdin(), &mut io::sink()).is_err());
        }
        // Helpers of other cases.
        "sleep" => {
            std::thread::sleep(Duration::from_secs(u64::from(LIFETIME)));
            return 0;
        }
        "true" => return 0,
        "refork" => {
            super::resources::refork(&inside);
            return 0;
        }
        "listen" => {
            super::network::listen(&inside);
            return 0;
        }
        "touch" => {
            super::resources::touch_helper(&inside);
            return 0;
        }
        "spin" => {
            super::resources::spin(Duration::from_millis(inside.number("spin_ms")));
            return 0;
        }
        "orphan" => {
            return u8::from(inside.helper("true").stdin(Stdio::null()).spawn().is_err());
        }
        "leave" => {
            super::processes::leave(&inside);
            return 0;
        }
        other => {
            if super::supervisor::helper(&inside, other) {
                return 0;
            }
        }
    }
    let Some(case) = all().find(|case| case.id == inside.id) else { return 2 };
    let Work::Attempt(attempt) = case.work else { return 2 };
    attempt(&inside);
    inside.line("end");
    u8::from(inside.unsaid.get() > 0)
}
