//! Every key that a profile can have, and how each is read.
//!
//! For: the one table of keys, used by profile files, flags and requests alike, and the walk over a
//! TOML document that reports all of its mistakes at once, each with file and line.
//! Not for: ranges and rules across keys (see `policy::validate`), or `extends` (see `load`).
//! Runs in: the supervisor, on text that nobody has checked.
//!
//! A derived deserialiser stops at the first mistake and knows nothing of flags; this table costs
//! about as many lines as the structs would.

use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::units::{self, ISOLATION, NET, ON_OVERFLOW, PROC, WORKSPACE};
use super::{Profile, ProfileError, violation};
use crate::policy::{Access, EnvVar, Layer, Located, Origin, ViewEntry};

/// What stands behind `=`.
#[derive(Clone, Copy)]
enum Shape {
    /// A string.
    Text,
    /// A number, or a string where it has a unit or is `none`.
    Number,
    /// A list of strings.
    List,
    /// A list of strings or of `{ path, at, optional }`.
    View(Access),
    /// A table of strings.
    Pairs,
}

type Read = fn(&mut Profile, &str, Origin) -> Result<(), String>;

struct Key {
    name: &'static str,
    shape: Shape,
    /// A value as it is written, for error messages.
    example: &'static str,
    /// Reads one value, one element of a list, or one `NAME=VALUE` of a table.
    read: Read,
}

const fn key(name: &'static str, shape: Shape, example: &'static str, read: Read) -> Key {
    Key { name, shape, example, read }
}

/// The sections of a profile. Keys without a dot stand above the first of them.
const SECTIONS: [&str; 7] = ["run", "fs", "net", "syscalls", "limits", "output", "env"];

const KEYS: [Key; 30] = [
    // Profiles that this one builds upon, by name or path; later ones win, then this one.
    key("extends", Shape::List, "[\"strict\"]", |p, text, origin| {
        p.extends.push(Located::new(text.to_owned(), origin));
        Ok(())
    }),
    // One line of what the profile is for.
    key("description", Shape::Text, "\"compiles our code\"", |p, text, origin| {
        put(&mut p.description, Ok(text.to_owned()), origin)
    }),
    // Layers that the run may go without where the host cannot provide them.
    key("allow_degraded", Shape::List, "[\"cgroup.cpu\"]", allow_degraded),
    // What keeps the program apart from the host.
    key("isolation", Shape::Text, "\"full\"", |p, text, origin| {
        put(&mut p.isolation, units::word(text, &ISOLATION), origin)
    }),
    // The host name inside.
    key("run.hostname", Shape::Text, "\"jail\"", |p, text, origin| put(&mut p.hostname, Ok(text.to_owned()), origin)),
    // How the working directory is shown.
    key("fs.workspace", Shape::Text, "\"read\"", |p, text, origin| {
        put(&mut p.workspace, units::word(text, &WORKSPACE), origin)
    }),
    // How much of /proc is shown.
    key("fs.proc", Shape::Text, "\"pid\"", |p, text, origin| put(&mut p.proc, units::word(text, &PROC), origin)),
    // Host paths to read.
    key("fs.ro", Shape::View(Access::Ro), "[\"/data\"]", |p, text, origin| view(p, text, Access::Ro, origin)),
    // Host paths to read and execute.
    key("fs.rx", Shape::View(Access::Rx), "[\"/usr\"]", |p, text, origin| view(p, text, Access::Rx, origin)),
    // Host paths to read and write.
    key("fs.rw", Shape::View(Access::Rw), "[\"/data\"]", |p, text, origin| view(p, text, Access::Rw, origin)),
    // Host paths to read, write and execute.
    key("fs.rwx", Shape::View(Access::Rwx), "[\"/data\"]", |p, text, origin| view(p, text, Access::Rwx, origin)),
    // Private scratch file systems.
    key("fs.tmpfs", Shape::List, "[\"/tmp:size=64M,inodes=16k\"]", |p, text, origin| {
        let tmpfs = units::tmpfs(text)?;
        p.not_yet_at(&tmpfs.dest)?;
        p.tmpfs.push(Located::new(tmpfs, origin));
        Ok(())
    }),
    // Inherited entries of the five above to leave out, by destination.
    key("fs.drop", Shape::List, "[\"/opt\"]", |p, text, origin| {
        p.drop.push(Located::new(units::path(text)?, origin));
        Ok(())
    }),
    // The network.
    key("net.mode", Shape::Text, "\"none\"", |p, text, origin| put(&mut p.net, units::word(text, &NET), origin)),
    // System calls to allow beside what was inherited: names and @groups.
    key("syscalls.allow", Shape::List, "[\"@default\"]", |p, text, origin| {
        syscall(p.allow.get_or_insert_default(), &p.deny, "denied", text, origin)
    }),
    // System calls to deny; wins over what is allowed.
    key("syscalls.deny", Shape::List, "[\"@keyring\"]", |p, text, origin| {
        syscall(&mut p.deny, p.allow.as_deref().unwrap_or_default(), "allowed", text, origin)
    }),
    // Wall time.
    key("limits.wall", Shape::Number, "\"30s\"", |p, text, origin| {
        put(&mut p.limits.wall, units::or_none(text, units::duration), origin)
    }),
    // CPU time of the whole tree.
    key("limits.cpu_time", Shape::Number, "\"10s\"", |p, text, origin| {
        put(&mut p.limits.cpu_time, units::or_none(text, units::duration), origin)
    }),
    // CPU rate: 1.5 is one and a half CPUs.
    key("limits.cpus", Shape::Number, "1.0", |p, text, origin| {
        put(&mut p.limits.cpus, units::or_none(text, units::cpus), origin)
    }),
    // Memory of the whole tree.
    key("limits.memory", Shape::Number, "\"512M\"", |p, text, origin| {
        put(&mut p.limits.memory, units::size(text), origin)
    }),
    // Processes and threads of the whole tree.
    key("limits.pids", Shape::Number, "64", |p, text, origin| put(&mut p.limits.pids, units::count32(text), origin)),
    // Open files of one process.
    key("limits.nofile", Shape::Number, "256", |p, text, origin| {
        put(&mut p.limits.nofile, units::count32(text), origin)
    }),
    // Size of one file.
    key("limits.fsize", Shape::Number, "\"64M\"", |p, text, origin| {
        put(&mut p.limits.fsize, units::or_none(text, units::size), origin)
    }),
    // Size of a core dump.
    key("limits.core", Shape::Number, "\"0B\"", |p, text, origin| put(&mut p.limits.core, units::size(text), origin)),
    // Stack of a process's first thread.
    key("limits.stack", Shape::Number, "\"8M\"", |p, text, origin| put(&mut p.limits.stack, units::size(text), origin)),
    // Bytes that may be written to stdout and stderr together.
    key("output.limit", Shape::Number, "\"64M\"", |p, text, origin| {
        put(&mut p.output.limit, units::or_none(text, units::size), origin)
    }),
    // Bytes of each stream that a report keeps.
    key("output.keep", Shape::Number, "\"1M\"", |p, text, origin| put(&mut p.output.keep, units::size(text), origin)),
    // What happens above the limit.
    key("output.on_overflow", Shape::Text, "\"kill\"", |p, text, origin| {
        put(&mut p.output.on_overflow, units::word(text, &ON_OVERFLOW), origin)
    }),
    // Variables with a value.
    key("env.set", Shape::Pairs, "{ CI = \"1\" }", |p, text, origin| {
        let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?} has no = (write NAME=VALUE)"))?;
        env(p, EnvVar::Set { name: name.to_owned(), value: value.to_owned() }, origin)
    }),
    // Variables that keep the caller's value.
    key("env.keep", Shape::List, "[\"TZ\"]", |p, text, origin| env(p, EnvVar::Keep(text.to_owned()), origin)),
];

fn put<T>(slot: &mut Option<Located<T>>, value: Result<T, String>, origin: Origin) -> Result<(), String> {
    *slot = Some(Located::new(value?, origin));
    Ok(())
}

fn allow_degraded(profile: &mut Profile, text: &str, origin: Origin) -> Result<(), String> {
    let layers = Layer::from_name(text);
    if layers.is_empty() {
        let names = Layer::ALL.map(Layer::name);
        let hint = suggest(text, names.into_iter().chain(["cgroup"]))
            .map_or_else(|| format!("write one of {}, or cgroup for all three", names.join(", ")), did_you_mean);
        return Err(format!("{text:?} is not a layer ({hint})"));
    }
    profile.degradable.extend(layers.into_iter().map(|layer| (layer, origin.clone())));
    Ok(())
}

fn view(profile: &mut Profile, text: &str, access: Access, origin: Origin) -> Result<(), String> {
    add_view(profile, units::view(text, access)?, origin)
}

fn add_view(profile: &mut Profile, entry: ViewEntry, origin: Origin) -> Result<(), String> {
    profile.not_yet_at(&entry.dest)?;
    profile.view.push(Located::new(entry, origin));
    Ok(())
}

/// Adds a word to one list unless this same layer has it in the other.
fn syscall(
    list: &mut Vec<Located<String>>,
    other: &[Located<String>],
    done: &str,
    text: &str,
    origin: Origin,
) -> Result<(), String> {
    if let Some(there) = other.iter().find(|there| there.value == text) {
        return Err(format!("{text:?} is also {done}, by {} (keep one of the two)", there.origin));
    }
    if !list.iter().any(|there| there.value == text) {
        list.push(Located::new(text.to_owned(), origin));
    }
    Ok(())
}

fn env(profile: &mut Profile, variable: EnvVar, origin: Origin) -> Result<(), String> {
    if let Some(there) = profile.env.iter().find(|there| there.value.name() == variable.name()) {
        return Err(format!("{:?} is already given by {} (keep one of the two)", variable.name(), there.origin));
    }
    profile.env.push(Located::new(variable, origin));
    Ok(())
}

/// Reads one value from a flag or a request into `profile`.
pub(super) fn set(profile: &mut Profile, name: &str, text: &str, origin: Origin) -> Result<(), String> {
    match KEYS.iter().find(|key| key.name == name) {
        Some(key) if name != "extends" => (key.read)(profile, text, origin),
        Some(_) => Err("only a profile file can extend another".to_owned()),
        None => Err(unknown(name)),
    }
}

/// Reads one profile file. `extends` is not followed.
pub(super) fn read(file: &Arc<str>, text: &str) -> Result<Profile, ProfileError> {
    let mut reader = Reader::new(file, text);
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        for error in &errors {
            reader.syntax_error(error);
        }
        // What follows the first mistake of a line is mostly its echo.
        reader.violations.dedup_by_key(|(line, _)| *line);
        return reader.finish();
    }
    for (name, value) in root.get_ref() {
        let section: &str = name.get_ref();
        if !SECTIONS.contains(&section) {
            reader.entry(section, name.span().start, value);
        } else if let Some(table) = value.get_ref().as_table() {
            for (name, value) in table {
                reader.entry(&format!("{section}.{}", name.get_ref()), name.span().start, value);
            }
        } else {
            let problem = expected("a section", value, &format!("[{section}]"));
            reader.refuse(value.span().start, section, &problem);
        }
    }
    reader.finish()
}

struct Reader<'a> {
    file: &'a Arc<str>,
    text: &'a str,
    /// Offsets of the line ends.
    line_ends: Vec<usize>,
    profile: Profile,
    /// By line; the order of a TOML table is not that of the text.
    violations: Vec<(u32, String)>,
}

impl<'a> Reader<'a> {
    fn new(file: &'a Arc<str>, text: &'a str) -> Self {
        let line_ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect();
        Self { file, text, line_ends, profile: Profile::default(), violations: Vec::new() }
    }

    fn finish(mut self) -> Result<Profile, ProfileError> {
        if self.violations.is_empty() {
            return Ok(self.profile);
        }
        self.violations.sort_by_key(|(line, _)| *line);
        Err(ProfileError::new(self.violations.into_iter().map(|(_, text)| text).collect()))
    }

    /// The 1-based line of a byte offset.
    fn line(&self, offset: usize) -> u32 {
        u32::try_from(self.line_ends.partition_point(|end| *end < offset)).unwrap_or(u32::MAX).saturating_add(1)
    }

    fn origin(&self, offset: usize) -> Origin {
        Origin::File { file: Arc::clone(self.file), line: self.line(offset) }
    }

    fn refuse(&mut self, offset: usize, key: &str, problem: &str) {
        let origin = self.origin(offset);
        self.violations.push((self.line(offset), violation(&origin, key, problem)));
    }

    fn syntax_error(&mut self, error: &toml::de::Error) {
        let offset = error.span().map_or(0, |span| span.start);
        let before = self.text.get(..offset).unwrap_or(self.text);
        let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()).saturating_add(1);
        let line = self.line(offset);
        let problem = error.message().replace('\n', ", ");
        self.violations.push((line, format!("{}:{line}:{column}: {problem}", self.file)));
    }

    fn entry(&mut self, name: &str, name_at: usize, value: &Spanned<DeValue<'_>>) {
        let Some(key) = KEYS.iter().find(|key| key.name == name) else {
            return self.refuse(name_at, name, &unknown(name));
        };
        let at = value.span().start;
        match (key.shape, value.get_ref()) {
            (Shape::Text | Shape::Number, DeValue::String(text)) => self.read(key, text, at),
            (Shape::Number, DeValue::Integer(number)) => self.read(key, &number.to_string(), at),
            (Shape::Number, DeValue::Float(number)) => self.read(key, &number.to_string(), at),
            (Shape::List | Shape::View(_), DeValue::Array(items)) => {
                for item in items.iter() {
                    self.item(key, item);
                }
            }
            (Shape::Pairs, DeValue::Table(table)) => {
                for (name, value) in table {
                    self.pair(key, name.get_ref(), value);
                }
            }
            (shape, _) => {
                let wanted = match shape {
                    Shape::Text => "a string",
                    Shape::Number => "a number or a string",
                    Shape::List | Shape::View(_) => "a list",
                    Shape::Pairs => "a table",
                };
                self.refuse(at, key.name, &expected(wanted, value, &assignment(key)));
            }
        }
    }

    fn read(&mut self, key: &Key, text: &str, at: usize) {
        let origin = self.origin(at);
        if let Err(problem) = (key.read)(&mut self.profile, text, origin) {
            self.refuse(at, key.name, &problem);
        }
    }

    fn item(&mut self, key: &Key, item: &Spanned<DeValue<'_>>) {
        let at = item.span().start;
        if let Some(text) = item.get_ref().as_str() {
            self.read(key, text, at);
        } else if let (Shape::View(access), Some(table)) = (key.shape, item.get_ref().as_table()) {
            self.view_table(key, access, table, at);
        } else {
            self.refuse(at, key.name, &expected("a string", item, &assignment(key)));
        }
    }

    fn pair(&mut self, key: &Key, name: &str, value: &Spanned<DeValue<'_>>) {
        let at = value.span().start;
        if name.contains('=') {
            self.refuse(at, key.name, &format!("{name:?} holds = (write a name without it)"));
        } else if let Some(text) = value.get_ref().as_str() {
            self.read(key, &format!("{name}={text}"), at);
        } else {
            self.refuse(at, key.name, &expected("a string", value, &assignment(key)));
        }
    }

    /// `{ path = "/opt", at = "/opt", optional = true }`
    fn view_table(&mut self, key: &Key, access: Access, table: &DeTable<'_>, at: usize) {
        let (mut source, mut dest, mut optional, mut good) = (None, None, false, true);
        for (name, value) in table {
            let read = match (&**name.get_ref(), value.get_ref()) {
                ("path", DeValue::String(text)) => units::path(text).map(|path| source = Some(path)),
                ("at", DeValue::String(text)) => units::path(text).map(|path| dest = Some(path)),
                ("optional", DeValue::Boolean(value)) => {
                    optional = *value;
                    Ok(())
                }
                ("path" | "at", _) => Err(expected("a string", value, &format!("{} = \"/opt\"", name.get_ref()))),
                ("optional", _) => Err(expected("true or false", value, "optional = true")),
                (other, _) => Err(format!("{other:?} is unknown here (write path, at or optional)")),
            };
            if let Err(problem) = read {
                good = false;
                self.refuse(value.span().start, key.name, &problem);
            }
        }
        let Some(source) = source else {
            if good {
                self.refuse(at, key.name, "the path is missing (write { path = \"/opt\" })");
            }
            return;
        };
        let entry = ViewEntry { dest: dest.unwrap_or_else(|| source.clone()), source, access, optional };
        let origin = self.origin(at);
        if good && let Err(problem) = add_view(&mut self.profile, entry, origin) {
            self.refuse(at, key.name, &problem);
        }
    }
}

fn assignment(key: &Key) -> String {
    let name = key.name.split_once('.').map_or(key.name, |(_, name)| name);
    format!("{name} = {}", key.example)
}

fn expected(wanted: &str, found: &Spanned<DeValue<'_>>, write: &str) -> String {
    format!("expected {wanted}, found {} (write {write})", found.get_ref().type_str())
}

fn unknown(name: &str) -> String {
    let what = if SECTIONS.contains(&name) || name.contains('.') { "unknown key" } else { "unknown key or section" };
    let section = name.split_once('.').map(|(section, _)| section);
    let names = KEYS.iter().map(|key| key.name).chain(SECTIONS);
    let hint = suggest(name, names).map_or_else(
        || {
            let known = KEYS.iter().filter_map(|key| match (section, key.name.split_once('.')) {
                (Some(section), Some((of, key))) if section == of => Some(key),
                (None, None) => Some(key.name),
                _ => None,
            });
            let known: Vec<&str> = known.chain(SECTIONS.into_iter().filter(|_| section.is_none())).collect();
            format!("known here: {}", known.join(", "))
        },
        did_you_mean,
    );
    format!("{what} ({hint})")
}

fn did_you_mean(name: &str) -> String {
    format!("did you mean {name}?")
}

/// The known name nearest to `name`, if it is near. A key that was put into the wrong section is near too.
pub(super) fn suggest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let last = |name: &'a str| name.rsplit('.').next().unwrap_or(name);
    let own = name.rsplit('.').next().unwrap_or(name);
    let near = (own.chars().count() / 3).max(1);
    known
        .map(|known| {
            let whole = strsim::damerau_levenshtein(name, known);
            (whole.min(strsim::damerau_levenshtein(own, last(known))), whole, known)
        })
        .filter(|(distance, ..)| *distance <= near)
        .min()
        .map(|(.., known)| known)
}
