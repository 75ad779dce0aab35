//! As much of D-Bus as one method call to systemd needs: the handshake, three calls, their answers, one signal.
//!
//! For: a blocking client that marshals by hand, some two hundred lines instead of an asynchronous stack.
//! Not for: anything else; it knows the types of the messages that it sends and reads, and no others.
//! Runs in: the supervisor, once in its life, before anything is started.
//!
//! The format: <https://dbus.freedesktop.org/doc/dbus-specification.html>, "Message Protocol".

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the other side may take for everything.
const PATIENCE: Duration = Duration::from_secs(10);

/// No message that concerns us comes near this size.
const LONGEST: usize = 1 << 20;

const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
#[cfg(test)]
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

/// Fields of a header, by their numbers in the specification.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// Writes values as D-Bus aligns them, little-endian.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    pub(super) fn byte(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    pub(super) fn u32(&mut self, value: u32) -> &mut Self {
        self.align(4);
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(super) fn string(&mut self, text: &str) -> &mut Self {
        self.u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
        self.0.extend(text.as_bytes());
        self.byte(0)
    }

    pub(super) fn signature(&mut self, text: &str) -> &mut Self {
        self.byte(u8::try_from(text.len()).unwrap_or(u8::MAX));
        self.0.extend(text.as_bytes());
        self.byte(0)
    }

    /// An array, whose elements `fill` writes; `align` is that of an element.
    pub(super) fn array(&mut self, align: usize, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.u32(0);
        let length_at = self.0.len() - 4;
        // The padding before the first element does not count.
        self.align(align);
        let start = self.0.len();
        fill(self);
        let length = u32::try_from(self.0.len() - start).unwrap_or(u32::MAX).to_le_bytes();
        self.0.iter_mut().skip(length_at).zip(length).for_each(|(byte, value)| *byte = value);
        self
    }

    /// The beginning of a structure.
    pub(super) fn structure(&mut self) -> &mut Self {
        self.align(8);
        self
    }
}

/// Reads what a [`Writer`] writes.
#[derive(Debug)]
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u32(&mut self) -> Option<u32> {
        self.align(4);
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn text(&mut self, length: usize) -> Option<&'a str> {
        let text = std::str::from_utf8(self.take(length)?).ok()?;
        (self.byte()? == 0).then_some(text)
    }

    fn string(&mut self) -> Option<&'a str> {
        let length = self.u32()?;
        self.text(length as usize)
    }

    fn signature(&mut self) -> Option<&'a str> {
        let length = self.byte()?;
        self.text(usize::from(length))
    }
}

/// A message that came.
#[derive(Debug, Default, PartialEq, Eq)]
struct Message {
    kind: u8,
    reply_to: u32,
    member: String,
    signature: String,
    body: Vec<u8>,
}

impl Message {
    /// Its first argument, if that is text: what an error says.
    fn first_string(&self) -> Option<&str> {
        self.signature.starts_with('s').then(|| Reader { bytes: &self.body, at: 0 }.string())?
    }

    /// The fields that matter here, of the bytes between the fixed part and the body.
    fn decode(kind: u8, fields: &[u8], body: Vec<u8>) -> Option<Self> {
        let mut message = Self { kind, body, ..Self::default() };
        let mut reader = Reader { bytes: fields, at: 0 };
        while reader.at < fields.len() {
            reader.align(8);
            let field = reader.byte()?;
            let value = match reader.signature()? {
                "s" | "o" => reader.string()?.to_owned(),
                "g" => reader.signature()?.to_owned(),
                "u" => {
                    let number = reader.u32()?;
                    if field == REPLY_SERIAL {
                        message.reply_to = number;
                    }
                    continue;
                }
                _ => return None,
            };
            match field {
                MEMBER => message.member = value,
                SIGNATURE => message.signature = value,
                _ => {}
            }
        }
        Some(message)
    }
}

/// How a job of systemd's ended: its object path, and `done` or the reason why not.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Job {
    path: String,
    result: String,
}

/// A method of an object at a destination.
#[derive(Debug, Clone, Copy)]
pub(super) struct Method<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
}

/// A connection to a bus.
#[derive(Debug)]
pub(super) struct Bus {
    stream: UnixStream,
    until: Instant,
    serial: u32,
    /// Jobs that ended while an answer was awaited.
    ended: Vec<Job>,
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

impl Bus {
    /// Connects, and says who we are: the kernel tells the bus that it is true.
    pub(super) fn connect(socket: &Path, uid: u32) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        let mut bus = Self { stream, until: Instant::now() + PATIENCE, serial: 0, ended: Vec::new() };
        let name: String = uid.to_string().bytes().map(|digit| format!("{digit:02x}")).collect();
        bus.write(format!("\0AUTH EXTERNAL {name}\r\n").as_bytes())?;
        let answer = bus.line()?;
        if !answer.starts_with("OK ") {
            return Err(broken(&format!("it does not let us in: {answer}")));
        }
        bus.write(b"BEGIN\r\n")?;
        Ok(bus)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write_all(bytes)
    }

    fn read(&mut self, count: usize) -> io::Result<Vec<u8>> {
        if count > LONGEST {
            return Err(broken("a message is too long"));
        }
        let mut bytes = vec![0; count];
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read_exact(&mut bytes).map_err(|error| {
            // What a socket with a time limit says when it is over.
            if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
        })?;
        Ok(bytes)
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }

    /// A line of the handshake, byte by byte: what follows it is not ours to read yet.
    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            if line.len() > 512 {
                return Err(broken("its greeting is too long"));
            }
            line.extend(self.read(1)?);
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// Calls a method and waits for its answer, whose first argument it gives if that is an object's path.
    ///
    /// # Errors
    /// Also the other side's refusal, in its words.
    pub(super) fn call(&mut self, method: Method<'_>, signature: &str, body: &[u8]) -> io::Result<String> {
        self.serial += 1;
        let serial = self.serial;
        self.write(&encode(serial, method, signature, body))?;
        loop {
            let message = self.receive()?;
            if message.kind == SIGNAL || message.reply_to != serial {
                continue;
            }
            return match message.kind {
                METHOD_RETURN if message.signature == "o" => {
                    let path = Reader { bytes: &message.body, at: 0 }.string().map(str::to_owned);
                    path.ok_or_else(|| broken("an answer cannot be read"))
                }
                METHOD_RETURN => Ok(String::new()),
                _ => Err(io::Error::other(message.first_string().unwrap_or("refused without a reason").to_owned())),
            };
        }
    }

    /// Waits until a job has ended, and says how.
    pub(super) fn wait_for_job(&mut self, path: &str) -> io::Result<String> {
        loop {
            if let Some(job) = self.ended.iter().find(|job| job.path == path) {
                return Ok(job.result.clone());
            }
            self.receive()?;
        }
    }

    /// The next message. The end of a job is remembered: it may come before the answer to the call that made it.
    fn receive(&mut self) -> io::Result<Message> {
        let fixed = self.read(16)?;
        let mut reader = Reader { bytes: &fixed, at: 0 };
        let header = |reader: &mut Reader<'_>| {
            let (order, kind) = (reader.byte()?, reader.byte()?);
            reader.take(2)?;
            let (body, _serial, fields) = (reader.u32()?, reader.u32()?, reader.u32()?);
            (order == b'l').then_some((kind, body as usize, fields as usize))
        };
        let (kind, body, fields) = header(&mut reader).ok_or_else(|| broken("a message is not little-endian"))?;
        let header = self.read(fields.checked_next_multiple_of(8).unwrap_or(usize::MAX))?;
        let body = self.read(body)?;
        let message = Message::decode(kind, header.get(..fields).unwrap_or_default(), body)
            .ok_or_else(|| broken("a message cannot be read"))?;
        self.ended.extend(removed(&message));
        Ok(message)
    }
}

/// The job that a `JobRemoved` signal (id, path, unit, result) tells of.
fn removed(message: &Message) -> Option<Job> {
    if message.kind != SIGNAL || message.member != "JobRemoved" || message.signature != "uoss" {
        return None;
    }
    let mut reader = Reader { bytes: &message.body, at: 0 };
    reader.u32()?;
    let path = reader.string()?.to_owned();
    reader.string()?;
    Some(Job { path, result: reader.string()?.to_owned() })
}

fn encode(serial: u32, method: Method<'_>, signature: &str, body: &[u8]) -> Vec<u8> {
    let mut message = Writer::default();
    message.byte(b'l').byte(METHOD_CALL).byte(0).byte(1);
    message.u32(u32::try_from(body.len()).unwrap_or(u32::MAX)).u32(serial);
    message.array(8, |fields| {
        let text = [
            (PATH, "o", method.path),
            (INTERFACE, "s", method.interface),
            (MEMBER, "s", method.member),
            (DESTINATION, "s", method.destination),
        ];
        for (field, kind, value) in text {
            fields.structure().byte(field).signature(kind).string(value);
        }
        if !signature.is_empty() {
            fields.structure().byte(SIGNATURE).signature("g").signature(signature);
        }
    });
    message.align(8);
    message.0.extend(body);
    message.0
}

impl Writer {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    const HELLO: Method<'_> = Method {
        destination: "org.freedesktop.DBus",
        path: "/org/freedesktop/DBus",
        interface: "org.freedesktop.DBus",
        member: "Hello",
    };

    /// A message of a bus, with a reply serial, a member and a body.
    fn message(kind: u8, reply_to: u32, member: &str, signature: &str, body: Writer) -> Vec<u8> {
        let body = body.into_bytes();
        let mut message = Writer::default();
        message.byte(b'l').byte(kind).byte(0).byte(1);
        message.u32(u32::try_from(body.len()).unwrap()).u32(7);
        message.array(8, |fields| {
            fields.structure().byte(REPLY_SERIAL).signature("u").u32(reply_to);
            fields.structure().byte(MEMBER).signature("s").string(member);
            fields.structure().byte(SIGNATURE).signature("g").signature(signature);
        });
        message.align(8);
        message.0.extend(body);
        message.0
    }

    /// A bus that lets everybody in, reads one call, and answers with these bytes.
    fn bus(answer: Vec<u8>) -> (tempfile::TempDir, Bus) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("bus");
        let listener = UnixListener::bind(&socket).unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut seen = Vec::new();
            let mut byte = [0];
            while !seen.ends_with(b"BEGIN\r\n") {
                stream.read_exact(&mut byte).unwrap();
                seen.push(byte[0]);
                if seen.ends_with(b"AUTH EXTERNAL 31303031\r\n") {
                    stream.write_all(b"OK 0123456789abcdef\r\n").unwrap();
                }
            }
            stream.read_exact(&mut byte).unwrap();
            stream.write_all(&answer).unwrap();
            drop(stream.read(&mut [0; 512]));
        });
        let bus = Bus::connect(&socket, 1001).unwrap();
        (folder, bus)
    }

    #[test]
    fn a_call_is_encoded_as_the_specification_says() {
        let bytes = encode(1, HELLO, "", &[]);
        let start = b"l\x01\x00\x01\x00\x00\x00\x00\x01\x00\x00\x00\x6d\x00\x00\x00\x01\x01o\x00\x15\x00\x00\x00/org/";
        assert!(bytes.starts_with(start), "{bytes:?}");
        assert_eq!(bytes.len() % 8, 0);
    }

    #[test]
    fn an_answer_and_a_job_that_ended_before_it_are_read() {
        let mut signal = Writer::default();
        signal.u32(12).string("/job/12").string("jail-1-2.scope").string("done");
        let mut answer = Writer::default();
        answer.string("/job/12");
        let mut bytes = message(SIGNAL, 0, "JobRemoved", "uoss", signal);
        bytes.extend(message(METHOD_RETURN, 1, "", "o", answer));
        let (_folder, mut bus) = bus(bytes);

        let job = bus.call(HELLO, "", &[]).unwrap();

        assert_eq!(job, "/job/12");
        assert_eq!(bus.wait_for_job(&job).unwrap(), "done");
    }

    #[test]
    fn a_refusal_is_an_error_in_its_own_words() {
        let mut words = Writer::default();
        words.string("Access denied");
        let (_folder, mut bus) = bus(message(ERROR, 1, "", "s", words));

        assert_eq!(bus.call(HELLO, "", &[]).unwrap_err().to_string(), "Access denied");
    }

    #[test]
    fn rubbish_is_an_error_and_nothing_worse() {
        for rubbish in [vec![0; 16], vec![255; 64], b"l\x02\x00\x01\xff\xff\xff\xff\x01\0\0\0\xff\xff\xff\xff".to_vec()]
        {
            let (_folder, mut bus) = bus(rubbish);
            assert!(bus.call(HELLO, "", &[]).is_err());
        }
        let mut cut = Writer::default();
        cut.u32(200);
        assert_eq!(
            Message { signature: "s".to_owned(), body: cut.into_bytes(), ..Message::default() }.first_string(),
            None
        );
    }
}
