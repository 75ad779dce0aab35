//! The host half's own things: what an attempt would like to reach, and what is known of the profile.
//!
//! For: canary files, a victim process, listeners, all in one temporary directory that goes when the battery does;
//! the limits that a bomb may aim at.
//! Not for: running (`run`) or judging (`judge`).
//! Runs in: the process of `jail selftest`.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use jail::policy::{Access, Layer, Net, Workspace};
use jail::report::Posture;
use jail::{Error, Policy};

use super::INSIDE;

/// A name that only this battery has in its environment.
pub(super) const SECRET: &str = "JAIL_SELFTEST_SECRET";

const MIB: u64 = 1 << 20;

/// A directory that is removed with everything in it.
#[derive(Debug)]
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            let _nowhere_else = writeln!(io::stderr(), "jail: {}: {}", self.0.display(), jail::describe(&error));
        }
    }
}

/// A process of the host that no run may see or touch. Ends with its standard input at the latest.
#[derive(Debug)]
struct Victim(Child);

impl Drop for Victim {
    fn drop(&mut self) {
        // It may have been killed by what was to be shown; then there is nobody to reap twice either.
        let _killed = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Everything that cases share.
#[derive(Debug)]
pub(super) struct World {
    pub(super) policy: Policy,
    /// What the first run said of itself.
    pub(super) posture: Posture,
    /// In every name and command line of this battery.
    pub(super) token: String,
    /// What the canary says.
    pub(super) secret: String,
    /// The program that users start; each run is one of it.
    pub(super) jail: PathBuf,
    /// The policy as a profile, flags included.
    pub(super) profile: PathBuf,
    /// How many times longer things may take here than on a usual machine.
    pub(super) slow: u32,
    /// A flag of every run, which is no part of a profile.
    pub(super) no_systemd: bool,
    victim: Victim,
    _tcp: Vec<TcpListener>,
    _udp: UdpSocket,
    _unix: UnixListener,
    _abstract: UnixListener,
    _leak: OwnedFd,
    intact: Vec<String>,
    facts: Vec<(String, String)>,
    available: u64,
    // Last: what is in it is used by the others.
    folder: Folder,
}

/// Sixteen bytes of chance, in hex.
fn chance() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl World {
    pub(super) fn new(policy: Policy, no_systemd: bool) -> Result<Self, Error> {
        Self::make(policy, no_systemd)
            .map_err(|error| Error::usage(format!("the self-test cannot be prepared: {}", jail::describe(&error))))
    }

    fn make(policy: Policy, no_systemd: bool) -> io::Result<Self> {
        let (token, secret) = (chance()?, chance()?);
        let folder = std::env::temp_dir().join(format!("jail-selftest-{token}"));
        DirBuilder::new().mode(0o755).create(&folder)?;
        let folder = Folder(folder.canonicalize()?);
        let at = |name: &str| folder.0.join(name);
        for name in ["bin", "work", "reports", "scratch", "ro"] {
            fs::create_dir(at(name))?;
        }
        // The inside half is this same program: it is static, and runs in every view. The others are links to one copy.
        let jail = std::env::current_exe()?;
        let program = at("bin").join("jail");
        fs::copy("/proc/self/exe", &program)?;
        fs::set_permissions(&program, Permissions::from_mode(0o755))?;
        fs::hard_link(&program, at("ro").join("program"))?;
        let profile = at("policy.toml");
        fs::write(&profile, policy.to_toml())?;
        // Two trees alike: one that nobody may touch, and one for the positive controls. Nothing but the sandbox
        // keeps anybody from either.
        for name in ["outside", "control"] {
            tree(&at(name), &secret)?;
        }
        let tcp = listeners()?;
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let unix = UnixListener::bind(at("outside/socket"))?;
        fs::set_permissions(at("outside/socket"), Permissions::from_mode(0o777))?;
        let abstract_name = format!("jail-selftest-{token}");
        let abstract_ = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&abstract_name)?)?;
        // A descriptor of the caller's that a careless tool would hand down.
        let leak: OwnedFd = File::open(at("outside/secret"))?.into();
        fcntl(&leak, FcntlArg::F_SETFD(FdFlag::empty()))?;
        let victim = Command::new(&program)
            .args([INSIDE, &format!("victim-{token}"), "victim"])
            .env(SECRET, &secret)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .map(Victim)?;
        let port = |index: usize| {
            let address = tcp.get(index).and_then(|listener| listener.local_addr().ok());
            address.map_or(0, |address| address.port()).to_string()
        };
        let mut facts = vec![
            ("canary".to_owned(), at("outside/secret").display().to_string()),
            ("ro".to_owned(), at("ro").display().to_string()),
            ("socket".to_owned(), at("outside/socket").display().to_string()),
            ("abstract".to_owned(), abstract_name),
            ("port".to_owned(), port(0)),
            ("port6".to_owned(), port(1)),
            ("udp".to_owned(), udp.local_addr()?.port().to_string()),
            ("victim".to_owned(), victim.0.id().to_string()),
            ("mark".to_owned(), format!("victim-{token}")),
            ("pid_namespace".to_owned(), fs::read_link("/proc/self/ns/pid")?.display().to_string()),
        ];
        let mut world = Self {
            posture: Posture::default(),
            intact: listing(&at("outside"))?,
            facts: Vec::new(),
            available: available(),
            policy,
            token,
            secret,
            jail,
            profile,
            slow: 1,
            no_systemd,
            victim,
            _tcp: tcp,
            _udp: udp,
            _unix: unix,
            _abstract: abstract_,
            _leak: leak,
            folder,
        };
        facts.extend([
            ("pids".to_owned(), world.pids().to_string()),
            ("memory_mib".to_owned(), (world.memory() / MIB).to_string()),
            ("tmpfs".to_owned(), {
                let dests = world.policy.tmpfs.iter().map(|tmpfs| tmpfs.value.dest.display().to_string());
                dests.collect::<Vec<_>>().join(",")
            }),
            ("nofile".to_owned(), world.policy.limits.nofile.value.to_string()),
            ("stack_kib".to_owned(), (world.policy.limits.stack.value.0 / 1024).to_string()),
        ]);
        world.facts = facts;
        Ok(world)
    }

    /// A path in the temporary directory.
    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.folder.0.join(name)
    }

    /// What every inside half is told.
    pub(super) fn facts(&self, outside: bool) -> Vec<String> {
        let mut facts: Vec<String> = self.facts.iter().map(|(key, value)| format!("{key}={value}")).collect();
        facts.push(format!("slow={}", self.slow));
        if outside {
            facts.push("outside=1".to_owned());
            facts.push(format!("target={}", self.at("control").display()));
            facts.push(format!("scratch={}", self.at("scratch").display()));
        } else {
            facts.push(format!("target={}", self.at("outside").display()));
            facts.extend(self.scratch().map(|path| format!("scratch={}", path.display())));
        }
        facts
    }

    /// Whether the tree that nobody may touch is as it was, and if not, what is not.
    pub(super) fn intact(&self) -> Result<(), String> {
        let now = listing(&self.at("outside")).map_err(|error| jail::describe(&error))?;
        let before = self.intact.iter().find(|line| !now.contains(line));
        let after = now.iter().find(|line| !self.intact.contains(line));
        match before.or(after) {
            None => Ok(()),
            Some(line) => Err(format!("a file of the host was changed: {line}")),
        }
    }

    pub(super) fn victim(&self) -> i32 {
        i32::try_from(self.victim.0.id()).unwrap_or(0)
    }

    /// Whether the victim is still there, neither dead nor stopped.
    pub(super) fn victim_lives(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.victim())).unwrap_or_default();
        let state = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next());
        matches!(state, Some("S" | "R" | "D"))
    }

    pub(super) fn root(&self) -> bool {
        nix::unistd::geteuid().is_root()
    }

    /// The layer is in force.
    pub(super) fn has(&self, layer: Layer) -> bool {
        self.posture.layers.get(layer.name()).is_some_and(|status| status.applied)
    }

    pub(super) fn net(&self) -> Net {
        self.policy.net.value
    }

    /// How the policy shows a path of the host, if it does, at its own place.
    pub(super) fn shows(&self, path: &Path) -> Option<Access> {
        let entries = self.policy.view.iter().map(|entry| &entry.value);
        let around = entries.filter(|entry| path.starts_with(&entry.dest));
        let inner = around.max_by_key(|entry| entry.dest.as_os_str().len())?;
        // A scratch file system below it hides what is there.
        let tmpfs = self.policy.tmpfs.iter().map(|tmpfs| &tmpfs.value.dest);
        let hidden = tmpfs.filter(|dest| path.starts_with(dest)).any(|dest| dest.starts_with(&inner.dest));
        (!hidden && inner.source == inner.dest).then_some(inner.access)
    }

    /// Whether something stands at a path inside: it is shown, lies on the way to what is, or is scratch.
    pub(super) fn stands(&self, path: &Path) -> bool {
        let view = self.policy.view.iter().map(|entry| &entry.value.dest);
        let places = view.chain(self.policy.tmpfs.iter().map(|tmpfs| &tmpfs.value.dest));
        let mut all = places.map(PathBuf::as_path).chain([self.folder.0.as_path()]);
        all.any(|place| place.starts_with(path) || path.starts_with(place))
    }

    /// A word of the policy's list of system calls that lets one of these through.
    pub(super) fn allows(&self, words: &[&str]) -> Option<String> {
        let mut said = self.policy.syscalls.allow.iter().map(|word| &word.value);
        let denied = |word: &String| self.policy.syscalls.deny.iter().any(|deny| deny.value == *word);
        said.find(|word| words.contains(&word.as_str()) && !denied(word)).cloned()
    }

    pub(super) fn workspace(&self) -> Workspace {
        self.policy.workspace.value
    }

    /// Where the program may write inside.
    pub(super) fn scratch(&self) -> Option<PathBuf> {
        let tmpfs = self.policy.tmpfs.iter().map(|tmpfs| &tmpfs.value.dest);
        tmpfs.clone().find(|dest| *dest == Path::new("/tmp")).or_else(|| tmpfs.clone().next()).cloned()
    }

    /// Tasks that a bomb of tasks is held to: those of the policy, or few enough to get there in time.
    pub(super) fn pids(&self) -> u64 {
        u64::from(self.policy.limits.pids.value).min(128)
    }

    /// Memory that a bomb is held to: that of the policy, or so much that it does no harm without a limit.
    pub(super) fn memory(&self) -> u64 {
        let most = (self.available / 4).clamp(64 * MIB, 512 * MIB);
        self.policy.limits.memory.value.0.min(most)
    }
}

/// What an attempt would like to read, change or remove.
fn tree(root: &Path, secret: &str) -> io::Result<()> {
    let open = |path: &Path, mode: u32| fs::set_permissions(path, Permissions::from_mode(mode));
    fs::create_dir(root)?;
    open(root, 0o777)?;
    fs::write(root.join("secret"), secret)?;
    open(&root.join("secret"), 0o666)?;
    for name in ["file", "victim"] {
        fs::write(root.join(name), "as it was")?;
        open(&root.join(name), 0o666)?;
    }
    fs::create_dir(root.join("empty"))?;
    open(&root.join("empty"), 0o777)?;
    symlink("secret", root.join("link"))
}

/// Every file below a directory with what must not change.
fn listing(root: &Path) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    let mut rest = vec![root.to_owned()];
    while let Some(path) = rest.pop() {
        let meta = fs::symlink_metadata(&path)?;
        let content = if meta.is_file() { fs::read(&path)? } else { Vec::new() };
        lines.push(format!(
            "{} mode {:o} owner {}:{} links {} changed {}.{:09} content {}",
            path.display(),
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.nlink(),
            meta.mtime(),
            meta.mtime_nsec(),
            String::from_utf8_lossy(&content)
        ));
        if meta.is_dir() {
            for entry in fs::read_dir(&path)? {
                rest.push(entry?.path());
            }
        }
    }
    lines.sort();
    Ok(lines)
}

/// On the loopback addresses of the host; without IPv6 only the first.
fn listeners() -> io::Result<Vec<TcpListener>> {
    let mut all = vec![TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?];
    all.extend(TcpListener::bind((Ipv6Addr::LOCALHOST, 0)));
    Ok(all)
}

/// Memory that the machine can spare, bytes.
fn available() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kib| kib * 1024)
}
