//! The probe: does one thing that a sandbox should refuse, bound or allow, and says what came of it.
//!
//! For: the integration tests. `probe VERB ARGS…` prints one line, `ok [detail]` or `errno NAME [detail]`,
//! and exits 0; verbs that print content (`read`, `argv`, `stdin-cat`) print only that.
//! The same program runs outside as the positive control, so that "not installed" can never pass for "denied".
//! Not for: attacks without an end. Whatever grows or burns stops by itself at the ceilings below, also when
//! the sandbox fails.
//! Runs in: the payload's place inside the jail, and outside as a child of the test.

#![allow(
    unsafe_code,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::exit,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::cognitive_complexity,
    reason = "a test tool: it makes raw system calls, prints to its caller, and a bad argument may end it"
)]

mod host;

use std::ffi::{CString, OsStr, OsString};
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use libc::c_long;

/// Most children or threads that one call starts.
const MAX_TASKS: u64 = 600;
/// Longest that anything here sleeps or burns.
const MAX_TIME: Duration = Duration::from_secs(60);
/// Most memory that one call touches, MiB.
const MAX_MIB: u64 = 2048;
/// Most bytes that one call writes.
const MAX_BYTES: u64 = 4 << 30;
/// Most files that one call makes or opens.
const MAX_FILES: u64 = 200_000;

/// What a verb answers: a detail for the `ok` line, or an errno and how far it came.
type Answer = Result<String, Refusal>;

/// A refusal by the kernel.
struct Refusal {
    errno: i32,
    detail: String,
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self { errno, detail: String::new() },
            None => Self { errno: 0, detail: error.to_string() },
        }
    }
}

fn main() {
    let args: Vec<OsString> = env::args_os().skip(1).collect();
    let Some(verb) = args.first() else { usage("a verb is missing") };
    let args = Args(&args[1..]);
    let line = answer(&verb.to_string_lossy(), &args);
    // The reader may be gone on purpose (closed outputs); there is nobody left to tell.
    drop(writeln!(io::stdout(), "{line}"));
}

fn answer(verb: &str, args: &Args<'_>) -> String {
    match run(verb, args) {
        Ok(detail) if detail.is_empty() => "ok".to_owned(),
        Ok(detail) => format!("ok {detail}"),
        Err(Refusal { errno, detail }) => format!("errno {} {detail}", errno_name(errno)).trim_end().to_owned(),
    }
}

/// `batch "VERB ARGS" …`: each argument is a call of its own, split at spaces; one answer per line.
/// For long lists, where a start per entry would take long.
fn batch(args: &Args<'_>) -> Answer {
    for call in args.0 {
        let words: Vec<OsString> = call.to_string_lossy().split(' ').map(OsString::from).collect();
        let line = answer(&words[0].to_string_lossy(), &Args(&words[1..]));
        println!("{}: {line}", call.to_string_lossy());
    }
    process::exit(0)
}

fn usage(message: &str) -> ! {
    eprintln!("probe: {message}");
    process::exit(99)
}

/// Everything but the dispatch is in the functions below.
fn run(verb: &str, args: &Args<'_>) -> Answer {
    match verb {
        // files
        "open-read" => fs::File::open(args.path(0)).map(nothing).map_err(Into::into),
        "open-write" => fs::OpenOptions::new().write(true).open(args.path(0)).map(nothing).map_err(Into::into),
        "create" => fs::File::create_new(args.path(0)).map(nothing).map_err(Into::into),
        "mkdir" => fs::create_dir(args.path(0)).map(nothing).map_err(Into::into),
        "unlink" => fs::remove_file(args.path(0)).map(nothing).map_err(Into::into),
        "stat" => stat(args.path(0)),
        "list" => list(args.path(0)),
        "read" => read(args.path(0)),
        "chmod" => {
            fs::set_permissions(args.path(0), fs::Permissions::from_mode(0o600)).map(nothing).map_err(Into::into)
        }
        "link" => fs::hard_link(args.path(0), args.path(1)).map(nothing).map_err(Into::into),
        "symlink" => std::os::unix::fs::symlink(args.path(0), args.path(1)).map(nothing).map_err(Into::into),
        "readlink" => Ok(fs::read_link(args.path(0))?.display().to_string()),
        "mknod" => mknod(args.path(0)),
        "truncate" => truncate(args.path(0), 0),
        // Where it succeeds, nothing is lost.
        "truncate-to-its-size" => truncate(args.path(0), fs::metadata(args.path(0))?.len()),
        "exec" => exec(args.path(0)),
        "write-file" => write_file(args.path(0), args.number(1)),
        "tmpfs-fill" => write_file(&args.path(0).join("fill"), args.number(1)),
        "files" => files(args.path(0), args.number(1)),
        "open-many" => open_many(args.number(0)),
        // network
        "socket" => sys(libc::SYS_socket, &[family(&args.text(0)), args.signed(1), args.signed(2)]).map(nothing),
        "connect-tcp" => TcpStream::connect(("127.0.0.1", args.number(0) as u16)).map(nothing).map_err(Into::into),
        "bind-tcp" => bind_tcp(),
        "connect-unix" => UnixStream::connect(args.path(0)).map(nothing).map_err(Into::into),
        "abstract-unix" => abstract_unix(&args.text(0)),
        // calls
        "syscall" => raw_call(args),
        "unshare" => sys(libc::SYS_unshare, &[args.signed(0)]).map(nothing),
        "clone-flags" => clone_flags(args.signed(0)),
        "mount" => mount(),
        "ptrace" => ptrace(args.signed(0)),
        "kill" => sys(libc::SYS_kill, &[args.signed(0), args.signed(1)]).map(nothing),
        "ioctl" => ioctl(args.signed(0)),
        "prctl" => sys(libc::SYS_prctl, &[args.signed(0), 0, 0, 0, 0]).map(|value| value.to_string()),
        "personality" => sys(libc::SYS_personality, &[args.signed(0)]).map(|value| format!("{value:#x}")),
        "keyctl" => sys(libc::SYS_keyctl, &[0, -3, 0]).map(nothing),
        "int80" => foreign::int80(args.number(0)),
        "x32" => foreign::x32(args.number(0)),
        "sweep" => sweep(args),
        // what the process sees of itself
        "uid" => Ok(identity()),
        "caps" => capabilities(),
        "fds" => Ok(open_fds()),
        "env" => Ok(environment()),
        "ns" => namespaces(),
        "rlimits" => Ok(rlimits()),
        "hostname" => Ok(fs::read_to_string("/etc/hostname")?.trim().to_owned() + " " + &node_name()?),
        "mounts" => read(Path::new("/proc/self/mountinfo")),
        "cwd" => Ok(env::current_dir()?.display().to_string()),
        "pid" => Ok(format!("{} parent {}", process::id(), std::os::unix::process::parent_id())),
        "argv" => {
            for arg in args.0 {
                print_bytes(arg.as_bytes());
                print_bytes(b"\0");
            }
            process::exit(0)
        }
        "isatty" => Ok((0..3).map(|fd| if is_tty(fd) { "tty " } else { "no " }).collect::<String>().trim().to_owned()),
        "stdin-cat" => stdin_cat(args.0.first().map_or(1, |fd| fd.to_string_lossy().parse().unwrap_or(1))),
        // consumption
        "mem" => mem(args.number(0)),
        "mem-tree" => mem_tree(args.number(0), args.number(1)),
        "churn" => churn(args.millis(0)),
        "fork" => fork_many(args.number(0)),
        "rebomb" => rebomb(args.millis(0)),
        "threads" => threads(args.number(0)),
        "zombies" => zombies(args.number(0)),
        "spin" => spin_tree(args.millis(0), args.number_or(1, 0), false),
        "cpu-children-ignored" => spin_tree(args.millis(0), args.number_or(1, 2), true),
        "recurse" => {
            default_action(libc::SIGSEGV);
            Ok(recurse(args.number(0)).to_string())
        }
        "write-out" => write_out(args.number(0)),
        // life and death
        "sleep" => {
            say_ready();
            thread::sleep(args.millis(0));
            Ok(String::new())
        }
        "sigignore" => sigignore(),
        "stop" => {
            say_ready();
            raise(libc::SIGSTOP);
            Ok("continued".to_owned())
        }
        "daemon" => daemon(args.millis(0)),
        "setsid" => {
            // In a child, because the program itself may be the leader of a session already.
            let child = fork()?;
            if child == 0 {
                if sys(libc::SYS_setsid, &[]).is_ok() {
                    say_ready();
                }
                thread::sleep(args.millis(0));
                end(0);
            }
            reap(child);
            Ok(String::new())
        }
        "closeout" => {
            for fd in 0..3 {
                drop(sys(libc::SYS_close, &[fd]));
            }
            thread::sleep(args.millis(0));
            process::exit(0)
        }
        "exit" => process::exit(args.signed(0) as i32),
        "raise" => {
            raise(args.signed(0) as i32);
            Ok("survived".to_owned())
        }
        "batch" => batch(args),
        "exec-with-fd" => exec_with_fd(args),
        // hosts that lack something
        "deny" => host::deny(args),
        "landlock-abi" => host::landlock_abi(args),
        _ => usage(&format!("unknown verb {verb}")),
    }
}

/// The arguments after the verb.
struct Args<'a>(&'a [OsString]);

impl Args<'_> {
    fn get(&self, index: usize) -> &OsStr {
        self.0.get(index).unwrap_or_else(|| usage(&format!("argument {index} is missing")))
    }

    fn path(&self, index: usize) -> &Path {
        Path::new(self.get(index))
    }

    fn text(&self, index: usize) -> String {
        self.get(index).to_string_lossy().into_owned()
    }

    /// A decimal or hexadecimal number, with its 64 bits as written, or a negative decimal one.
    fn signed(&self, index: usize) -> c_long {
        let text = self.text(index);
        let parsed = match text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).map(|bits| bits as c_long),
            None => text.parse(),
        };
        parsed.unwrap_or_else(|_bad| usage(&format!("{text} is not a number")))
    }

    fn number(&self, index: usize) -> u64 {
        self.signed(index) as u64
    }

    fn number_or(&self, index: usize, default: u64) -> u64 {
        if self.0.len() > index { self.number(index) } else { default }
    }

    fn millis(&self, index: usize) -> Duration {
        Duration::from_millis(self.number(index)).min(MAX_TIME)
    }
}

fn nothing<T>(_value: T) -> String {
    String::new()
}

/// One system call with up to six arguments: numbers, or addresses of buffers that the caller keeps alive.
fn sys(number: c_long, args: &[c_long]) -> Result<c_long, Refusal> {
    let arg = |index: usize| args.get(index).copied().unwrap_or(0);
    // SAFETY: the kernel checks every address itself and answers EFAULT; calls that share this process's memory
    // with a new task (CLONE_VM) are refused by `clone_flags`, the only caller that takes flags from outside.
    let value = unsafe { libc::syscall(number, arg(0), arg(1), arg(2), arg(3), arg(4), arg(5)) };
    if value == -1 { Err(io::Error::last_os_error().into()) } else { Ok(value) }
}

/// Like fork(2), without libc's handlers. The child must only make calls and end with [`end`].
fn fork() -> Result<c_long, Refusal> {
    sys(libc::SYS_clone, &[c_long::from(libc::SIGCHLD)])
}

/// Ends a forked child at once, without running exit handlers or flushing the parent's buffers.
fn end(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Takes back what Rust's own start-up did to a signal (SIGPIPE ignored, SIGSEGV handled).
fn default_action(signal: i32) {
    // SAFETY: SIG_DFL installs no handler, so no code of ours runs in signal context.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

fn raise(signal: i32) {
    default_action(signal);
    // SAFETY: raise has no memory preconditions; a bad number is an error code.
    unsafe { libc::raise(signal) };
}

fn ignore(signal: i32) {
    // SAFETY: SIG_IGN installs no handler, so no code of ours runs in signal context.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

fn is_tty(fd: i32) -> bool {
    // SAFETY: isatty takes any number.
    unsafe { libc::isatty(fd) == 1 }
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap_or_else(|_nul| usage("a path has a NUL byte"))
}

fn print_bytes(bytes: &[u8]) {
    if io::stdout().write_all(bytes).is_err() {
        process::exit(98);
    }
}

/// Tells the test that the program runs, for tests that act from outside.
fn say_ready() {
    println!("ready");
}

// ---- files

fn stat(path: &Path) -> Answer {
    let meta = fs::symlink_metadata(path)?;
    Ok(format!("{:o}", meta.permissions().mode()))
}

fn list(path: &Path) -> Answer {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names.join(" "))
}

fn read(path: &Path) -> Answer {
    let content = fs::read(path)?;
    print_bytes(&content);
    process::exit(0)
}

fn mknod(path: &Path) -> Answer {
    let path = c_path(path);
    // The numbers of /dev/null: harmless where it works.
    let device = libc::makedev(1, 3) as c_long;
    let mode = c_long::from(libc::S_IFCHR | 0o666);
    sys(libc::SYS_mknodat, &[c_long::from(libc::AT_FDCWD), path.as_ptr() as c_long, mode, device]).map(nothing)
}

fn truncate(path: &Path, size: u64) -> Answer {
    let path = c_path(path);
    sys(libc::SYS_truncate, &[path.as_ptr() as c_long, size as c_long]).map(nothing)
}

fn exec(path: &Path) -> Answer {
    let status = Command::new(path).arg("exit").arg("7").status()?;
    Ok(status.code().map_or_else(|| status.to_string(), |code| code.to_string()))
}

/// Writes a file in pieces; the detail of a refusal is the number of bytes that went in.
fn write_file(path: &Path, bytes: u64) -> Answer {
    let mut file = fs::File::create(path)?;
    let piece = vec![b'x'; 64 << 10];
    let bytes = bytes.min(MAX_BYTES);
    let mut written = 0;
    while written < bytes {
        let take = (bytes - written).min(piece.len() as u64) as usize;
        match file.write(&piece[..take]) {
            Ok(count) => written += count as u64,
            Err(error) => return Err(short(&error, written)),
        }
    }
    Ok(written.to_string())
}

fn files(path: &Path, count: u64) -> Answer {
    for made in 0..count.min(MAX_FILES) {
        if let Err(error) = fs::File::create_new(path.join(format!("f{made}"))) {
            return Err(short(&error, made));
        }
    }
    Ok(count.to_string())
}

fn open_many(count: u64) -> Answer {
    let mut open = Vec::new();
    for done in 0..count.min(MAX_FILES) {
        match fs::File::open("/dev/null") {
            Ok(file) => open.push(file),
            Err(error) => return Err(short(&error, done)),
        }
    }
    Ok(open.len().to_string())
}

fn short(error: &io::Error, done: u64) -> Refusal {
    Refusal { errno: error.raw_os_error().unwrap_or(0), detail: done.to_string() }
}

// ---- network

fn family(name: &str) -> c_long {
    let number = match name {
        "unix" => libc::AF_UNIX,
        "inet" => libc::AF_INET,
        "inet6" => libc::AF_INET6,
        "netlink" => libc::AF_NETLINK,
        "packet" => libc::AF_PACKET,
        "alg" => libc::AF_ALG,
        "vsock" => libc::AF_VSOCK,
        "xdp" => libc::AF_XDP,
        "bluetooth" => libc::AF_BLUETOOTH,
        _ => usage(&format!("unknown family {name}")),
    };
    c_long::from(number)
}

/// A connection to itself over loopback, with bytes through it.
fn bind_tcp() -> Answer {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _peer) = listener.accept()?;
    client.write_all(b"ping")?;
    let mut buffer = [0; 4];
    server.read_exact(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer).into_owned())
}

fn abstract_unix(name: &str) -> Answer {
    let address = SocketAddr::from_abstract_name(name)?;
    UnixStream::connect_addr(&address).map(nothing).map_err(Into::into)
}

// ---- calls

fn raw_call(args: &Args<'_>) -> Answer {
    let rest: Vec<c_long> = (1..args.0.len()).map(|index| args.signed(index)).collect();
    sys(args.signed(0), &rest).map(|value| value.to_string())
}

fn clone_flags(flags: c_long) -> Answer {
    if flags & c_long::from(libc::CLONE_VM) != 0 {
        usage("CLONE_VM would share this program's memory with the child");
    }
    let child = sys(libc::SYS_clone, &[flags | c_long::from(libc::SIGCHLD)])?;
    if child == 0 {
        end(0);
    }
    reap(child);
    Ok(String::new())
}

fn mount() -> Answer {
    let (kind, place) = (c"tmpfs", c"/tmp");
    sys(libc::SYS_mount, &[kind.as_ptr() as c_long, place.as_ptr() as c_long, kind.as_ptr() as c_long, 0, 0])
        .map(nothing)
}

fn ptrace(pid: c_long) -> Answer {
    sys(libc::SYS_ptrace, &[c_long::from(libc::PTRACE_SEIZE), pid, 0, 0])?;
    sys(libc::SYS_ptrace, &[c_long::from(libc::PTRACE_DETACH), pid, 0, 0]).map(nothing)
}

/// An ioctl on stdin. The test gives no terminal, so a request that is let through answers ENOTTY.
fn ioctl(request: c_long) -> Answer {
    let byte = [0_u8; 64];
    sys(libc::SYS_ioctl, &[0, request, byte.as_ptr() as c_long]).map(nothing)
}

/// `sweep ABI ARGUMENT FIRST LAST [SKIPPED…]`: each of these calls with all its arguments alike, in a child of its
/// own, and one line for each: its number and `ok`, an errno, `ended`, `waits`, or the signal that it died of.
fn sweep(args: &Args<'_>) -> Answer {
    let (abi, argument) = (args.text(0), args.signed(1));
    let skipped: Vec<c_long> = (4..args.0.len()).map(|index| args.signed(index)).collect();
    for number in (args.signed(2)..=args.signed(3)).filter(|number| !skipped.contains(number)) {
        let child = fork()?;
        if child == 0 {
            let answer = match abi.as_str() {
                "native" => foreign::native(number, argument),
                "int80" => foreign::int80(number as u64).map(|_value| 0).unwrap_or_else(|refused| refused.errno),
                _ => usage("an ABI is native or int80"),
            };
            end(answer);
        }
        println!("{number} {}", fate(child));
    }
    process::exit(0)
}

/// How the child of a sweep ended; killed when it waits for something.
fn fate(child: c_long) -> String {
    const WAIT: Duration = Duration::from_millis(200);
    let start = Instant::now();
    let mut status = 0_i32;
    loop {
        let place: *mut i32 = &raw mut status;
        let flags = c_long::from(libc::WNOHANG | libc::__WALL);
        let ended = sys(libc::SYS_wait4, &[child, place as c_long, flags, 0]);
        if !matches!(ended, Ok(0)) {
            break;
        }
        // Not one that has only not had the CPU yet.
        if start.elapsed() > WAIT
            && fs::read_to_string(format!("/proc/{child}/stat")).is_ok_and(|stat| stat.contains(") S "))
        {
            drop(sys(libc::SYS_kill, &[child, c_long::from(libc::SIGKILL)]));
            reap(child);
            return "waits".to_owned();
        }
        thread::sleep(Duration::from_micros(20));
    }
    let status = black_box(status);
    match (libc::WIFSIGNALED(status), libc::WEXITSTATUS(status)) {
        (true, _) => format!("signal {}", libc::WTERMSIG(status)),
        (false, 0) => "ok".to_owned(),
        // What `exit(-1)` leaves.
        (false, 255) => "ended".to_owned(),
        (false, errno) => errno_name(errno),
    }
}

/// Calls by another ABI than this program's own, and with no care for what libc expects of them.
mod foreign {
    use super::{Answer, io, sys};

    /// The errno of a call with all its arguments alike, or 0. What the call leaves behind (a child, a signal
    /// mask, no memory) is the caller's to expect.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn native(number: libc::c_long, argument: libc::c_long) -> i32 {
        let result: libc::c_long;
        // SAFETY: the kernel follows no address that it cannot, and the process does nothing after this but end. A
        // new task (fork, vfork, clone: 0 in it) ends before it touches the stack, which it may share.
        unsafe {
            std::arch::asm!(
                "syscall",
                "test rax, rax",
                "jnz 2f",
                "cmp {clones:e}, 0",
                "je 2f",
                "mov eax, 231", // exit_group
                "xor edi, edi",
                "syscall",
                "2:",
                clones = in(reg) u32::from(matches!(number, libc::SYS_fork | libc::SYS_vfork | libc::SYS_clone)),
                inlateout("rax") number => result,
                inlateout("rdi") argument => _,
                in("rsi") argument, in("rdx") argument, in("r10") argument, in("r8") argument, in("r9") argument,
                out("rcx") _, out("r11") _,
            );
        }
        if result < 0 { -result as i32 } else { 0 }
    }

    #[cfg(not(target_arch = "x86_64"))]
    pub(super) fn native(number: libc::c_long, argument: libc::c_long) -> i32 {
        sys(number, &[argument; 6]).map_or_else(|refused| refused.errno, |_value| 0)
    }

    /// With -1 for every argument.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn int80(number: u64) -> Answer {
        let result: u64;
        // SAFETY: no address can be -1; the kernel clobbers r8 to r11, and rbx, which is LLVM's own, is put back.
        unsafe {
            std::arch::asm!(
                "xchg {first}, rbx",
                "int 0x80",
                "xchg {first}, rbx",
                first = inout(reg) -1_i64 => _,
                inlateout("rax") number => result,
                in("rcx") -1_i64, in("rdx") -1_i64, in("rsi") -1_i64, in("rdi") -1_i64,
                out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            );
        }
        let result = result as u32 as i32;
        if result < 0 { Err(io::Error::from_raw_os_error(-result).into()) } else { Ok(result.to_string()) }
    }

    #[cfg(not(target_arch = "x86_64"))]
    pub(super) fn int80(_number: u64) -> Answer {
        Err(io::Error::from_raw_os_error(libc::ENOSYS).into())
    }

    pub(super) fn x32(number: u64) -> Answer {
        sys(0x4000_0000 + number as libc::c_long, &[]).map(|value| value.to_string())
    }
}

// ---- what the process sees of itself

fn status_lines(keys: &[&str]) -> io::Result<String> {
    let status = fs::read_to_string("/proc/self/status")?;
    let lines = status.lines().filter(|line| line.split(':').next().is_some_and(|key| keys.contains(&key)));
    Ok(lines.map(|line| line.replace(":\t", "=").replace('\t', ",")).collect::<Vec<_>>().join(" "))
}

/// `uid=R/E gid=R/E groups=N,…`.
fn identity() -> String {
    let id = |number| sys(number, &[]).unwrap_or(-1);
    let mut list = [0_u32; 64];
    let groups = sys(libc::SYS_getgroups, &[list.len() as c_long, list.as_mut_ptr() as c_long]).unwrap_or(0);
    let groups: Vec<String> = black_box(list).iter().take(groups as usize).map(u32::to_string).collect();
    format!(
        "uid={}/{} gid={}/{} groups={}",
        id(libc::SYS_getuid),
        id(libc::SYS_geteuid),
        id(libc::SYS_getgid),
        id(libc::SYS_getegid),
        groups.join(",")
    )
}

fn capabilities() -> Answer {
    Ok(status_lines(&["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"])?)
}

/// By asking about each number, so that it works without /proc and opens nothing itself.
fn open_fds() -> String {
    let open = |fd: &c_long| sys(libc::SYS_fcntl, &[*fd, c_long::from(libc::F_GETFD)]).is_ok();
    (0..4096).filter(open).map(|fd| fd.to_string()).collect::<Vec<_>>().join(" ")
}

fn environment() -> String {
    let mut all: Vec<String> =
        env::vars_os().map(|(key, value)| format!("{}={}", key.to_string_lossy(), value.to_string_lossy())).collect();
    all.sort();
    all.join(" ")
}

fn namespaces() -> Answer {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc/self/ns")? {
        let entry = entry?;
        all.push(format!("{}={}", entry.file_name().to_string_lossy(), fs::read_link(entry.path())?.display()));
    }
    all.sort();
    Ok(all.join(" "))
}

/// `name=soft:hard …`, with `inf` for no limit.
fn rlimits() -> String {
    let names = [
        ("nofile", libc::RLIMIT_NOFILE),
        ("fsize", libc::RLIMIT_FSIZE),
        ("core", libc::RLIMIT_CORE),
        ("stack", libc::RLIMIT_STACK),
        ("as", libc::RLIMIT_AS),
        ("memlock", libc::RLIMIT_MEMLOCK),
        ("msgqueue", libc::RLIMIT_MSGQUEUE),
        ("rtprio", libc::RLIMIT_RTPRIO),
        ("nice", libc::RLIMIT_NICE),
        ("sigpending", libc::RLIMIT_SIGPENDING),
        ("nproc", libc::RLIMIT_NPROC),
        ("cpu", libc::RLIMIT_CPU),
    ];
    let show = |value: u64| if value == libc::RLIM_INFINITY { "inf".to_owned() } else { value.to_string() };
    let mut all = Vec::new();
    for (name, resource) in names {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        let limit_ptr: *mut libc::rlimit = &raw mut limit;
        if sys(libc::SYS_prlimit64, &[0, c_long::from(resource), 0, limit_ptr as c_long]).is_ok() {
            let limit = black_box(limit);
            all.push(format!("{name}={}:{}", show(limit.rlim_cur), show(limit.rlim_max)));
        }
    }
    all.join(" ")
}

fn node_name() -> Result<String, Refusal> {
    // struct new_utsname: six fields of 65 bytes; nodename is the second.
    let mut fields = [0_u8; 6 * 65];
    sys(libc::SYS_uname, &[fields.as_mut_ptr() as c_long])?;
    let node = black_box(fields)[65..130].to_vec();
    Ok(String::from_utf8_lossy(node.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned())
}

fn stdin_cat(to: i32) -> Answer {
    let mut all = Vec::new();
    io::stdin().read_to_end(&mut all)?;
    if to == 2 {
        io::stderr().write_all(&all)?;
    } else {
        print_bytes(&all);
    }
    process::exit(0)
}

// ---- consumption

fn mem(mib: u64) -> Answer {
    Ok(touch(mib).len().to_string())
}

/// Memory of which every page is there.
fn touch(mib: u64) -> Vec<Vec<u8>> {
    let mut held = Vec::new();
    for _ in 0..mib.min(MAX_MIB) {
        let mut piece = vec![0_u8; 1 << 20];
        for page in piece.chunks_mut(4096) {
            page[0] = 1;
        }
        held.push(black_box(piece));
    }
    held
}

/// Children that each touch `mib` MiB and hold it until all have it.
fn mem_tree(mib: u64, children: u64) -> Answer {
    let (mut touched, touching) = io::pipe()?;
    let (mut held, holding) = io::pipe()?;
    let mut started = Vec::new();
    for _ in 0..children.min(16) {
        match fork()? {
            0 => {
                drop(holding);
                let memory = touch(mib.min(MAX_MIB / 16));
                // However slow the machine is, all of them have it at once.
                let told = (&touching).write_all(b".");
                let waited = held.read(&mut [0]);
                drop(black_box((memory, told, waited)));
                end(0);
            }
            child => started.push(child),
        }
    }
    drop(touching);
    touched.read_exact(&mut vec![0; started.len()])?;
    drop(holding);
    for child in started {
        reap(child);
    }
    Ok(String::new())
}

/// Burns CPU for the wall time `time` in children that live for a few milliseconds each and are never waited for:
/// nobody's rusage has their time, and looking at /proc now and then misses most of them.
fn churn(time: Duration) -> Answer {
    ignore(libc::SIGCHLD);
    let start = Instant::now();
    let mut count = 0_u64;
    while start.elapsed() < time {
        let child = fork()?;
        if child == 0 {
            spin(Duration::from_millis(4));
            end(0);
        }
        reap(child);
        count += 1;
    }
    Ok(count.to_string())
}

/// Starts children that sleep, counts them, and takes them away again.
fn fork_many(count: u64) -> Answer {
    let mut children = Vec::new();
    let mut refusal = None;
    for _ in 0..count.min(MAX_TASKS) {
        match fork() {
            Ok(0) => {
                thread::sleep(Duration::from_secs(20));
                end(0);
            }
            Ok(child) => children.push(child),
            Err(error) => {
                refusal = Some(error);
                break;
            }
        }
    }
    for child in &children {
        drop(sys(libc::SYS_kill, &[*child, c_long::from(libc::SIGKILL)]));
    }
    for child in &children {
        reap(*child);
    }
    let made = children.len().to_string();
    match refusal {
        Some(error) => Err(Refusal { errno: error.errno, detail: made }),
        None => Ok(made),
    }
}

/// A fork bomb that comes back: everybody forks whenever there is room, lives for some 20 ms and makes room for the
/// next. Says `full` when a fork is refused for the first time. Outside of any sandbox it stops at MAX_TASKS at once,
/// and when `time` is over.
fn rebomb(time: Duration) -> Answer {
    ignore(libc::SIGCHLD);
    let shared = c_long::from(libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    let page = sys(libc::SYS_mmap, &[0, 4096, c_long::from(libc::PROT_READ | libc::PROT_WRITE), shared, -1, 0])?;
    // SAFETY: the page is new, zeroed, aligned, and is never unmapped; all of this program's processes share it, and
    // touch it by these atomics alone.
    let [alive, refused]: &[AtomicU64; 2] = unsafe { &*(page as *const [AtomicU64; 2]) };
    let (start, mut born, mut first) = (Instant::now(), Instant::now(), true);
    while start.elapsed() < time {
        if !first && born.elapsed() > Duration::from_millis(20) {
            break;
        }
        if alive.fetch_add(1, Ordering::SeqCst) >= MAX_TASKS {
            alive.fetch_sub(1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(1));
            continue;
        }
        match fork() {
            Ok(0) => (born, first) = (Instant::now(), false),
            Ok(_child) => {}
            Err(_refused) => {
                alive.fetch_sub(1, Ordering::SeqCst);
                if refused.fetch_add(1, Ordering::SeqCst) == 0 {
                    print_bytes(b"full\n");
                    drop(io::stdout().flush());
                }
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
    if !first {
        alive.fetch_sub(1, Ordering::SeqCst);
        end(0);
    }
    Ok(String::new())
}

fn reap(child: c_long) {
    drop(sys(libc::SYS_wait4, &[child, 0, 0, 0]));
}

fn threads(count: u64) -> Answer {
    for made in 0..count.min(MAX_TASKS) {
        let thread = thread::Builder::new().stack_size(64 << 10).spawn(|| thread::sleep(Duration::from_secs(20)));
        if let Err(error) = thread {
            return Err(short(&error, made));
        }
    }
    Ok(count.to_string())
}

/// Children that end at once and are not waited for.
fn zombies(count: u64) -> Answer {
    for made in 0..count.min(MAX_TASKS) {
        match fork() {
            Ok(0) => end(0),
            Ok(_child) => {}
            Err(error) => return Err(Refusal { errno: error.errno, detail: made.to_string() }),
        }
    }
    Ok(count.to_string())
}

fn spin(time: Duration) {
    let start = Instant::now();
    let mut value = 0_u64;
    while start.elapsed() < time {
        for _ in 0..10_000 {
            value = black_box(value.wrapping_mul(31).wrapping_add(7));
        }
    }
}

/// Burns CPU for the wall time `time`: in this process, or in `children` of it while it waits. With `unwaited`,
/// SIGCHLD is ignored, so that the children's time never reaches anybody's rusage.
fn spin_tree(time: Duration, children: u64, unwaited: bool) -> Answer {
    if children == 0 {
        spin(time);
        return Ok(String::new());
    }
    if unwaited {
        ignore(libc::SIGCHLD);
    }
    let mut started = Vec::new();
    for _ in 0..children.min(16) {
        match fork()? {
            0 => {
                spin(time);
                end(0);
            }
            child => started.push(child),
        }
    }
    for child in started {
        reap(child);
    }
    Ok(String::new())
}

/// Uses `kib` KiB of stack.
fn recurse(kib: u64) -> u64 {
    let block = black_box([1_u8; 1024]);
    if kib == 0 { 0 } else { u64::from(block[0]) + recurse(kib - 1) }
}

/// Writes a pattern that tells positions apart, and says on stderr how it went.
fn write_out(bytes: u64) -> Answer {
    let piece: Vec<u8> = (0..1 << 16).map(|index: u32| (index % 251) as u8).collect();
    let bytes = bytes.min(MAX_BYTES);
    let mut written = 0;
    let start = Instant::now();
    let mut out = io::stdout().lock();
    while written < bytes && start.elapsed() < MAX_TIME {
        let take = (bytes - written).min(piece.len() as u64) as usize;
        if let Err(error) = out.write_all(&piece[..take]) {
            eprintln!("errno {} {written}", errno_name(error.raw_os_error().unwrap_or(0)));
            process::exit(1);
        }
        written += take as u64;
    }
    drop(out.flush());
    process::exit(0)
}

// ---- life and death

/// Ignores every signal that can be ignored.
fn sigignore() -> Answer {
    for signal in 1..=64 {
        ignore(signal);
    }
    say_ready();
    let start = Instant::now();
    while start.elapsed() < MAX_TIME {
        thread::sleep(Duration::from_millis(200));
    }
    Ok(String::new())
}

/// Leaves a grandchild behind in a session of its own that holds stdout and stderr.
fn daemon(time: Duration) -> Answer {
    if fork()? == 0 {
        drop(sys(libc::SYS_setsid, &[]));
        if matches!(fork(), Ok(0)) {
            thread::sleep(time);
        }
        end(0);
    }
    Ok("left".to_owned())
}

/// `exec-with-fd FD FILE COMMAND…`: leaves FILE open under the number FD over exec, for tests of what is inherited.
fn exec_with_fd(args: &Args<'_>) -> Answer {
    let file = fs::File::open(args.path(1))?;
    let from = c_long::from(std::os::fd::AsRawFd::as_raw_fd(&file));
    sys(libc::SYS_dup3, &[from, args.signed(0), 0])?;
    let mut command = Command::new(args.get(2));
    command.args(args.0.get(3..).unwrap_or_default().iter().map(|arg| OsString::from_vec(arg.as_bytes().to_vec())));
    Err(command.exec().into())
}

fn errno_name(errno: i32) -> String {
    let name = match errno {
        libc::EPERM => "EPERM",
        libc::ENOENT => "ENOENT",
        libc::ESRCH => "ESRCH",
        libc::EINTR => "EINTR",
        libc::EIO => "EIO",
        libc::ENXIO => "ENXIO",
        libc::E2BIG => "E2BIG",
        libc::ENOEXEC => "ENOEXEC",
        libc::EBADF => "EBADF",
        libc::ECHILD => "ECHILD",
        libc::EAGAIN => "EAGAIN",
        libc::ENOMEM => "ENOMEM",
        libc::EACCES => "EACCES",
        libc::EFAULT => "EFAULT",
        libc::EBUSY => "EBUSY",
        libc::EEXIST => "EEXIST",
        libc::EXDEV => "EXDEV",
        libc::ENODEV => "ENODEV",
        libc::ENOTDIR => "ENOTDIR",
        libc::EISDIR => "EISDIR",
        libc::EINVAL => "EINVAL",
        libc::ENFILE => "ENFILE",
        libc::EMFILE => "EMFILE",
        libc::ENOTTY => "ENOTTY",
        libc::ETXTBSY => "ETXTBSY",
        libc::EFBIG => "EFBIG",
        libc::ENOSPC => "ENOSPC",
        libc::EROFS => "EROFS",
        libc::EMLINK => "EMLINK",
        libc::EPIPE => "EPIPE",
        libc::ENAMETOOLONG => "ENAMETOOLONG",
        libc::ENOSYS => "ENOSYS",
        libc::ELOOP => "ELOOP",
        libc::EPROTONOSUPPORT => "EPROTONOSUPPORT",
        libc::ESOCKTNOSUPPORT => "ESOCKTNOSUPPORT",
        libc::EOPNOTSUPP => "EOPNOTSUPP",
        libc::EAFNOSUPPORT => "EAFNOSUPPORT",
        libc::EADDRINUSE => "EADDRINUSE",
        libc::EADDRNOTAVAIL => "EADDRNOTAVAIL",
        libc::ENETUNREACH => "ENETUNREACH",
        libc::ECONNREFUSED => "ECONNREFUSED",
        libc::EDQUOT => "EDQUOT",
        libc::ENOKEY => "ENOKEY",
        libc::EUSERS => "EUSERS",
        other => return format!("E{other}"),
    };
    name.to_owned()
}
