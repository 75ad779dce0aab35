//! Streams: stdin on its way in, stdout and stderr on their way out.
//!
//! For: moving bytes between our pipes and the caller without ever blocking the loop; keeping head and
//! tail of what is recorded in bounded memory.
//! Not for: limits (the loop counts) or waiting (the loop polls).
//! Runs in: the supervisor.
//!
//! The program only ever holds pipes of ours: a descriptor of the caller's, passed in, could be opened
//! again through /proc/self/fd with other rights.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::socket::{MsgFlags, recv, send};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{read, write};

use crate::report::{Stream as StreamReport, Text};

/// How much is moved at once.
const CHUNK: usize = 128 * 1024;

/// How much is read before anything filled it: most programs say little, and every page of a buffer is a page fault.
const FIRST: usize = 4096;

/// What a pipe is made to hold whose writer fills it faster than we come to read: the most that everybody
/// may (pipe(7), pipe-max-size). Each turn then moves more, and the two wait for each other less often.
const WIDE: i32 = 1 << 20;

/// A read of as much as a pipe holds by default: its writer waits for us.
const FILLED: usize = 64 * 1024;

/// What a pipe surely takes without blocking when poll(2) says that it is writable (pipe(7)).
const PIPE_BUF: usize = 4096;

/// A descriptor of the caller's. What poll(2) says of it may no longer hold when we read or write: somebody
/// else may have been faster, or a terminal was stopped. Nothing may block here, for no limit holds meanwhile.
#[derive(Debug)]
struct Peer {
    fd: OwnedFd,
    way: Way,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// A regular file: never waits for anybody.
    File,
    /// A pipe or device, opened anew with O_NONBLOCK: that flag is one of the open file, which the caller
    /// shares, so it cannot be set on the caller's.
    Own,
    /// A socket: each call can say that it does not wait.
    Socket,
    /// None of it: only what poll(2) promises is written.
    Shared,
}

impl Peer {
    fn new(fd: OwnedFd, access: OFlag) -> Self {
        let kind = fstat(&fd).map_or(0, |stat| stat.st_mode & libc::S_IFMT);
        if kind == libc::S_IFREG {
            return Self { fd, way: Way::File };
        }
        if kind == libc::S_IFSOCK {
            return Self { fd, way: Way::Socket };
        }
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let flags = access | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        match open(path.as_str(), flags, Mode::empty()) {
            Ok(own) => Self { fd: own, way: Way::Own },
            Err(_not_ours_to_open) => Self { fd, way: Way::Shared },
        }
    }

    fn read(&self, buffer: &mut [u8]) -> nix::Result<usize> {
        match self.way {
            Way::Socket => recv(self.fd.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT),
            Way::File | Way::Own | Way::Shared => read(&self.fd, buffer),
        }
    }

    fn write(&self, bytes: &[u8]) -> nix::Result<usize> {
        match self.way {
            Way::Socket => send(self.fd.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL),
            Way::File | Way::Own => write(&self.fd, bytes),
            Way::Shared => write(&self.fd, bytes.get(..bytes.len().min(PIPE_BUF)).unwrap_or_default()),
        }
    }
}

/// One output stream of the program.
#[derive(Debug)]
pub(super) struct Output {
    /// `None` after end of file, or when nobody wants more.
    pipe: Option<OwnedFd>,
    sink: Sink,
    total: u64,
    omitted: u64,
    /// It was tried to make the pipe hold more.
    widened: bool,
    /// Set after the end of everything in the jail: how much its pipe can still hold.
    rest: Option<u64>,
}

#[derive(Debug)]
enum Sink {
    /// Kept for the report.
    Keep(Keep),
    /// Passed on to a descriptor of the caller's; `None` once that is closed.
    Pass { to: Option<Peer>, waiting: VecDeque<u8> },
}

/// The first and the last bytes of a stream, half of the room each.
#[derive(Debug)]
struct Keep {
    head: Vec<u8>,
    /// A ring: once it is full, the oldest byte stands at `next`, which comes to be overwritten first. Its room
    /// is made when the head is full; most runs say less.
    tail: Vec<u8>,
    next: usize,
    full: bool,
    half: usize,
}

impl Keep {
    const fn new(half: usize) -> Self {
        Self { head: Vec::new(), tail: Vec::new(), next: 0, full: false, half }
    }

    /// The value is how many bytes fell out of the middle.
    fn push(&mut self, bytes: &[u8]) -> u64 {
        let room = self.half.saturating_sub(self.head.len()).min(bytes.len());
        let (first, mut rest) = bytes.split_at(room);
        self.head.extend_from_slice(first);
        let mut omitted = 0;
        while !rest.is_empty() {
            let Some(place) = self.place() else { return omitted + rest.len() as u64 };
            let count = place.len().min(rest.len());
            let (now, later) = rest.split_at(count);
            if let Some(place) = place.get_mut(..count) {
                place.copy_from_slice(now);
            }
            omitted += self.advance(count);
            rest = later;
        }
        omitted
    }

    /// Where what comes next may be put at once: none as long as there is room in the head.
    fn place(&mut self) -> Option<&mut [u8]> {
        if self.half == 0 || self.head.len() < self.half {
            return None;
        }
        if self.tail.is_empty() {
            self.tail = vec![0; self.half];
        }
        self.tail.get_mut(self.next..)
    }

    /// So many bytes were put there. The value is how many older ones they replaced.
    fn advance(&mut self, count: usize) -> u64 {
        let replaced = if self.full { count as u64 } else { 0 };
        self.next += count;
        if self.next == self.half {
            (self.next, self.full) = (0, true);
        }
        replaced
    }

    /// The last bytes, in order.
    fn tail(&self) -> Vec<u8> {
        let (newest, oldest) = self.tail.split_at(self.next);
        if self.full { [oldest, newest].concat() } else { newest.to_vec() }
    }
}

impl Output {
    /// Records into a report that keeps `room` bytes.
    pub(super) fn keep(pipe: OwnedFd, room: u64) -> Self {
        let half = usize::try_from(room / 2).unwrap_or(usize::MAX);
        Self::new(Some(pipe), Sink::Keep(Keep::new(half)))
    }

    /// Passes on to `to`; without one, nobody takes it and the program is told so.
    pub(super) fn pass(pipe: OwnedFd, to: Option<OwnedFd>) -> Self {
        let to = to.map(|to| Peer::new(to, OFlag::O_WRONLY));
        let pipe = to.is_some().then_some(pipe);
        Self::new(pipe, Sink::Pass { to, waiting: VecDeque::new() })
    }

    const fn new(pipe: Option<OwnedFd>, sink: Sink) -> Self {
        Self { pipe, sink, total: 0, omitted: 0, widened: false, rest: None }
    }

    /// Bytes that the program wrote and we took.
    pub(super) const fn total(&self) -> u64 {
        self.total
    }

    /// The pipe, when there is room for more of it.
    pub(super) fn source(&self) -> Option<BorrowedFd<'_>> {
        match &self.sink {
            Sink::Keep(_) => {}
            Sink::Pass { waiting, .. } if waiting.is_empty() => {}
            Sink::Pass { .. } => return None,
        }
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// The caller's descriptor, when something waits for it.
    pub(super) fn target(&self) -> Option<BorrowedFd<'_>> {
        match &self.sink {
            Sink::Pass { to: Some(to), waiting } if !waiting.is_empty() => Some(to.fd.as_fd()),
            Sink::Pass { .. } | Sink::Keep(_) => None,
        }
    }

    /// Nothing more will come, and nothing waits.
    pub(super) fn is_done(&self) -> bool {
        let waits = matches!(&self.sink, Sink::Pass { waiting, .. } if !waiting.is_empty());
        self.pipe.is_none() && !waits
    }

    /// Everything in the jail has ended: what it wrote and we have not read is in the pipe, so there is no
    /// more of it than the pipe holds. What comes behind is somebody else's, who was sent the writing end.
    pub(super) fn all_written(&mut self) {
        let Some(pipe) = &self.pipe else { return };
        let room = fcntl(pipe, FcntlArg::F_GETPIPE_SZ).ok().and_then(|room| u64::try_from(room).ok());
        // Not known: the most that an unprivileged pipe can have been made (pipe(7), pipe-max-size).
        self.rest = Some(room.unwrap_or(1 << 20));
    }

    /// Takes what is there. Of it, `allowed` bytes are delivered and the rest is dropped and counted.
    /// The value is how many bytes were read.
    pub(super) fn fill(&mut self, buffer: &mut Buffer, allowed: u64) -> io::Result<u64> {
        let Some(pipe) = &self.pipe else { return Ok(0) };
        let most = self.rest.map_or(CHUNK, |rest| usize::try_from(rest).unwrap_or(CHUNK).min(CHUNK));
        let allowed = usize::try_from(allowed).unwrap_or(usize::MAX);
        // A stream that is long enough to have a middle is read to where it stays, without a copy between; not where
        // little is kept, for then every read would be short.
        let mut in_place = match &mut self.sink {
            Sink::Keep(keep) if allowed >= most && keep.half >= FIRST => keep.place(),
            Sink::Keep(_) | Sink::Pass { .. } => None,
        };
        let room = in_place.as_deref_mut().unwrap_or_else(|| buffer.room());
        let most = most.min(room.len());
        let count = match read(pipe, room.get_mut(..most).unwrap_or_default()) {
            Ok(0) => {
                self.pipe = None;
                return Ok(0);
            }
            Ok(count) => count,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(0),
            Err(errno) => return Err(errno.into()),
        };
        let in_place = in_place.is_some();
        self.total += count as u64;
        if in_place && let Sink::Keep(keep) = &mut self.sink {
            self.omitted += keep.advance(count);
        } else {
            let bytes = buffer.filled(count);
            let (deliver, drop) = bytes.split_at(allowed.min(count));
            self.omitted += drop.len() as u64;
            match &mut self.sink {
                Sink::Keep(keep) => self.omitted += keep.push(deliver),
                Sink::Pass { to: Some(_), waiting } => waiting.extend(deliver),
                Sink::Pass { to: None, .. } => self.omitted += deliver.len() as u64,
            }
        }
        self.follow(count);
        Ok(count as u64)
    }

    /// What the size of a read says of the pipe.
    fn follow(&mut self, count: usize) {
        let Some(pipe) = &self.pipe else { return };
        if let Some(rest) = &mut self.rest {
            *rest = rest.saturating_sub(count as u64);
            if *rest == 0 {
                self.pipe = None;
            }
        } else if count >= FILLED && !self.widened {
            self.widened = true;
            // Refused where this user's pipes hold much already (pipe(7), pipe-user-pages-soft): then it
            // goes on as it was.
            if fcntl(pipe, FcntlArg::F_SETPIPE_SZ(WIDE)).is_err() {}
        }
    }

    /// Hands on what surely does not block. When the reader is gone, so is the pipe: the program gets
    /// its SIGPIPE as it would without us.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let Sink::Pass { to: Some(to), waiting } = &mut self.sink else { return Ok(()) };
        let (front, _) = waiting.as_slices();
        match to.write(front) {
            Ok(count) => {
                waiting.drain(..count);
                Ok(())
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(()),
            Err(Errno::EPIPE | Errno::ECONNRESET) => {
                self.abandon();
                Ok(())
            }
            Err(errno) => {
                self.abandon();
                Err(errno.into())
            }
        }
    }

    /// Takes nothing more from the program.
    pub(super) fn close(&mut self) {
        self.pipe = None;
    }

    /// Gives up on the reader and on what waits for it.
    pub(super) fn abandon(&mut self) {
        if let Sink::Pass { to, waiting } = &mut self.sink {
            self.omitted += waiting.len() as u64;
            waiting.clear();
            *to = None;
        }
        self.pipe = None;
    }

    /// The report of this stream.
    pub(super) fn report(&self) -> StreamReport {
        let (head, tail) = match &self.sink {
            Sink::Keep(keep) => {
                let tail = keep.tail();
                // What was never cut apart is one text.
                if self.omitted == 0 {
                    (Some(Text::new(&[keep.head.as_slice(), &tail].concat())), None)
                } else {
                    (Some(Text::new(&keep.head)), (!tail.is_empty()).then(|| Text::new(&tail)))
                }
            }
            Sink::Pass { .. } => (None, None),
        };
        StreamReport { total_bytes: self.total, omitted_bytes: self.omitted, head, tail }
    }
}

/// The room that [`Output::fill`] and [`Input::fill`] read into; none before there is something to read, and little
/// until a stream fills it.
#[derive(Debug, Default)]
pub(super) struct Buffer(Vec<u8>);

impl Buffer {
    fn room(&mut self) -> &mut [u8] {
        if self.0.is_empty() {
            self.0 = vec![0; FIRST];
        }
        &mut self.0
    }

    /// The first `count` bytes of it, which were just read; there may be room for more the next time.
    fn filled(&mut self, count: usize) -> &[u8] {
        if count == FIRST {
            self.0.resize(CHUNK, 0);
        }
        self.0.get(..count).unwrap_or_default()
    }
}

/// The program's standard input.
#[derive(Debug)]
pub(super) struct Input {
    /// Our end of the pipe; `None` when all was said or nobody listens.
    pipe: Option<OwnedFd>,
    /// Where more comes from; `None` after its end.
    from: Option<Peer>,
    waiting: VecDeque<u8>,
}

impl Input {
    /// Bytes that are there, and then what comes from `from`. With neither, the program reads an end
    /// of file at once.
    pub(super) fn new(pipe: OwnedFd, bytes: Vec<u8>, from: Option<OwnedFd>) -> Self {
        let from = from.map(|from| Peer::new(from, OFlag::O_RDONLY));
        let mut input = Self { pipe: Some(pipe), from, waiting: bytes.into() };
        input.close_if_done();
        input
    }

    fn close_if_done(&mut self) {
        if self.from.is_none() && self.waiting.is_empty() {
            self.pipe = None;
        }
    }

    /// The caller's descriptor, when there is room for more of it.
    pub(super) fn source(&self) -> Option<BorrowedFd<'_>> {
        if self.pipe.is_some() && self.waiting.is_empty() {
            self.from.as_ref().map(|from| from.fd.as_fd())
        } else {
            None
        }
    }

    /// The pipe, when something waits for it.
    pub(super) fn target(&self) -> Option<BorrowedFd<'_>> {
        if self.waiting.is_empty() { None } else { self.pipe.as_ref().map(AsFd::as_fd) }
    }

    /// Takes what is there. A source that fails is at its end.
    pub(super) fn fill(&mut self, buffer: &mut Buffer) {
        let Some(from) = &self.from else { return };
        match from.read(buffer.room()) {
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Ok(0) | Err(_) => self.from = None,
            Ok(count) => self.waiting.extend(buffer.filled(count)),
        }
        self.close_if_done();
    }

    /// Hands on what the pipe takes; it is ours and does not block.
    pub(super) fn flush(&mut self) {
        let Some(pipe) = &self.pipe else { return };
        let (front, _) = self.waiting.as_slices();
        match write(pipe, front) {
            Ok(count) => {
                self.waiting.drain(..count);
                self.close_if_done();
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // The program closed its end.
            Err(_) => self.close(),
        }
    }

    /// Nothing more is wanted.
    pub(super) fn close(&mut self) {
        (self.pipe, self.from) = (None, None);
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn after_the_end_no_more_is_read_than_the_pipe_held() {
        let flags = OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let (pipe, elsewhere) = nix::unistd::pipe2(flags).unwrap();
        let room = u64::try_from(fcntl(&pipe, FcntlArg::F_GETPIPE_SZ).unwrap()).unwrap();
        let mut output = Output::keep(pipe, 16);
        let mut buffer = Buffer::default();
        output.all_written();

        // Somebody who holds the writing end sees to it that the pipe is never empty.
        let mut fills = 0;
        while output.source().is_some() {
            while write(&elsewhere, &[b'y'; 4096]).is_ok() {}
            output.fill(&mut buffer, u64::MAX).unwrap();
            fills += 1;
            assert!(fills < 1000, "it is read for ever");
        }

        assert_eq!(output.total(), room);
        assert!(output.is_done());
    }

    #[test]
    fn what_is_read_in_place_is_kept_and_counted_like_the_rest() {
        let (pipe, other) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).unwrap();
        let half = 100_000;
        let mut output = Output::keep(pipe, 2 * half as u64);
        let mut buffer = Buffer::default();
        let said: Vec<u8> = (0..1_000_003_u32).map(|n| (n % 251) as u8).collect();
        let mut left = said.as_slice();
        while !left.is_empty() {
            // As much as the pipe takes; some reads fill the ring to its end, and some do not.
            if let Ok(count) = write(&other, &left[..left.len().min(77_777)]) {
                left = &left[count..];
            }
            output.fill(&mut buffer, u64::MAX).unwrap();
        }
        while output.fill(&mut buffer, u64::MAX).unwrap() > 0 {}

        let report = output.report();
        assert_eq!((report.total_bytes, report.omitted_bytes), (1_000_003, 800_003));
        assert_eq!(report.head.unwrap().bytes(), said[..half]);
        assert_eq!(report.tail.unwrap().bytes(), said[said.len() - half..]);
    }

    proptest! {
        #[test]
        fn keep_has_the_first_and_last_bytes_and_counts_the_rest(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..12),
            half in 0_usize..30,
        ) {
            let mut keep = Keep::new(half);
            let omitted: u64 = chunks.iter().map(|chunk| keep.push(chunk)).sum();
            let all = chunks.concat();
            let head = &all[..all.len().min(half)];
            let rest = &all[head.len()..];
            let tail = &rest[rest.len().saturating_sub(half)..];
            prop_assert_eq!(&keep.head, head);
            prop_assert_eq!(keep.tail(), tail);
            prop_assert_eq!(omitted, (rest.len() - tail.len()) as u64);
        }
    }
}
