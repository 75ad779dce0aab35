//! Finding profiles and following `extends`.
//!
//! For: the search path, and the bounds that keep a profile from leading in circles or to thousands of files.
//! Not for: reading keys (see `schema`).
//! Runs in: the supervisor.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::builtin::{self, BUILTIN};
use super::{Profile, ProfileError, schema, violation};

/// How deep `extends` may lead. Four shipped levels and a project's own are less.
const MAX_DEPTH: usize = 8;
/// How many profiles may be read for one run.
const MAX_PROFILES: usize = 64;
/// How long a profile may be.
const MAX_BYTES: u64 = 1 << 20;

/// The text of one profile and where it came from.
struct Source {
    /// What reports call it: the name, or the path.
    name: String,
    /// What error messages call it: `strict.toml`, or the path. Also tells profiles apart.
    file: Arc<str>,
    text: String,
    /// What paths in `extends` are relative to.
    base: Base,
}

/// What the entries of `extends` may be.
#[derive(Clone)]
enum Base {
    /// A shipped profile extends shipped ones only, so that no file of a user changes what it means.
    Builtin,
    /// A file; paths are relative to this directory.
    Directory(PathBuf),
}

pub(super) fn builtin(name: &str) -> Result<Profile, ProfileError> {
    resolve(find_builtin(name).map_err(ProfileError::unreadable)?)
}

pub(super) fn load(name_or_path: &str) -> Result<Profile, ProfileError> {
    resolve(find(name_or_path, Path::new("")).map_err(ProfileError::unreadable)?)
}

pub(super) fn text(name_or_path: &str) -> Result<String, ProfileError> {
    find(name_or_path, Path::new("")).map(|source| source.text).map_err(ProfileError::unreadable)
}

pub(super) fn parse(name: &str, text: &str) -> Result<Profile, ProfileError> {
    let base = Base::Directory(PathBuf::new());
    resolve(Source { name: name.to_owned(), file: name.into(), text: text.to_owned(), base })
}

/// A profile from text that extends shipped ones alone: a fuzzer must not open what it makes up.
#[cfg(any(test, fuzzing))]
pub(super) fn parse_alone(name: &str, text: &str) -> Result<Profile, ProfileError> {
    resolve(Source { name: name.to_owned(), file: name.into(), text: text.to_owned(), base: Base::Builtin })
}

pub(super) fn directories() -> Vec<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")));
    config.into_iter().chain([PathBuf::from("/etc")]).map(|directory| directory.join("jail/profiles")).collect()
}

fn find(name_or_path: &str, base: &Path) -> Result<Source, String> {
    if name_or_path.contains('/') || name_or_path.ends_with(".toml") {
        let path = base.join(name_or_path);
        let text = read(&path).map_err(|problem| format!("{}: {problem}", path.display()))?;
        return Ok(from_file(name_or_path, &path, text));
    }
    for directory in directories() {
        let path = directory.join(format!("{name_or_path}.toml"));
        let closed =
            || path.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied);
        match read(&path) {
            Ok(text) => return Ok(from_file(name_or_path, &path, text)),
            Err(Unreadable::Missing) => {}
            // A directory that this user may not enter (HOME of somebody else, after su) holds none of theirs.
            Err(Unreadable::Other(_)) if closed() => {}
            // A profile that is there but cannot be read is not passed over for one that means something else.
            Err(problem @ Unreadable::Other(_)) => return Err(format!("{}: {problem}", path.display())),
        }
    }
    find_builtin(name_or_path)
}

fn from_file(name: &str, path: &Path, text: String) -> Source {
    let directory = path.parent().map(Path::to_path_buf).unwrap_or_default();
    Source { name: name.to_owned(), file: path.display().to_string().into(), text, base: Base::Directory(directory) }
}

fn find_builtin(name: &str) -> Result<Source, String> {
    let Some(found) = builtin::find(name) else {
        let names = BUILTIN.map(|builtin| builtin.name);
        let hint = schema::suggest(name, names.into_iter())
            .map_or_else(|| format!("shipped are {}", names.join(", ")), |name| format!("did you mean {name}?"));
        return Err(format!("no profile is named {name:?} ({hint})"));
    };
    let file = format!("{}.toml", found.name).into();
    Ok(Source { name: found.name.to_owned(), file, text: found.text.to_owned(), base: Base::Builtin })
}

#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("there is no such file")]
    Missing,
    #[error("{0}")]
    Other(String),
}

fn read(path: &Path) -> Result<String, Unreadable> {
    let refuse = |error: std::io::Error| {
        if error.kind() == std::io::ErrorKind::NotFound {
            Unreadable::Missing
        } else {
            Unreadable::Other(format!("cannot be read: {}", crate::error::describe(&error)))
        }
    };
    let mut text = String::new();
    let mut file = File::open(path).map_err(refuse)?.take(MAX_BYTES + 1);
    file.read_to_string(&mut text).map_err(refuse)?;
    if file.limit() == 0 {
        return Err(Unreadable::Other("is longer than 1 MiB, which no profile is".to_owned()));
    }
    Ok(text)
}

/// Reads a profile and everything that it extends.
fn resolve(source: Source) -> Result<Profile, ProfileError> {
    let mut loader = Loader::default();
    let profile = loader.follow(source);
    if loader.violations.is_empty() { Ok(profile) } else { Err(ProfileError::new(loader.violations)) }
}

#[derive(Default)]
struct Loader {
    /// The profiles from the outermost to the one that is being read.
    chain: Vec<Arc<str>>,
    read: usize,
    violations: Vec<String>,
}

impl Loader {
    fn follow(&mut self, source: Source) -> Profile {
        let mut own = match schema::read(&source.file, &source.text) {
            Ok(profile) => profile,
            Err(error) => {
                self.violations.extend(error.lines);
                return Profile::default();
            }
        };
        self.chain.push(Arc::clone(&source.file));
        self.read = self.read.saturating_add(1);
        let mut merged = Profile::default();
        for extended in std::mem::take(&mut own.extends) {
            match self.enter(&extended.value, &source.base) {
                Ok(next) => merged.merge(self.follow(next)),
                Err(problem) => self.violations.push(violation(&extended.origin, "extends", &problem)),
            }
        }
        self.chain.pop();
        // A base's description is not this profile's.
        merged.description = None;
        own.name = source.name;
        merged.merge(own);
        merged
    }

    fn enter(&self, name: &str, base: &Base) -> Result<Source, String> {
        if self.chain.len() >= MAX_DEPTH {
            return Err(format!("{name:?} is more than {MAX_DEPTH} levels deep (extend fewer)"));
        }
        if self.read >= MAX_PROFILES {
            return Err(format!("more than {MAX_PROFILES} profiles are extended in all (extend fewer)"));
        }
        let source = match base {
            Base::Builtin => find_builtin(name)?,
            Base::Directory(directory) => find(name, directory)?,
        };
        if self.chain.contains(&source.file) {
            let circle: Vec<&str> = self.chain.iter().chain([&source.file]).map(|file| &**file).collect();
            return Err(format!("goes in a circle: {} (take one of them out)", circle.join(" -> ")));
        }
        Ok(source)
    }
}
