//! Attempts on the network: reaching the host's services, the way out, and being reached.
//!
//! For: the network namespace, and what Landlock and the filter add to it. What is tried goes to the loopback device
//! and to sockets of our own; to the addresses outside nothing is sent.
//! Not for: rarely used socket families (`kernel`).
//! Runs in: the tables in the process of `jail selftest`, the attempts inside.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr as InternetAddress, TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;

use jail::policy::{Layer, Net, Proc};

use super::inside::Inside;
use super::judge::{Answer, Outcome, Seen, check};
use super::run::Runner;
use super::stage::World;
use super::{Case, Class};

const NETWORK: Class = Class::Network;

/// Longest that a connection may take, and that an inside half waits to be reached.
const WAIT: Duration = Duration::from_secs(2);

pub(super) const CASES: &[Case] = &[
    Case::attempt(
        "nw-tcp",
        NETWORK,
        "connect to a service on the host's loopback device",
        |i| i.step("connect", tcp(Ipv4Addr::LOCALHOST.into(), i.number("port"))),
        |w, s| by_net(w, s, &[Errno::ECONNREFUSED]),
    ),
    Case::attempt(
        "nw-tcp6",
        NETWORK,
        "the same over IPv6",
        |i| i.step("connect", tcp(Ipv6Addr::LOCALHOST.into(), i.number("port6"))),
        |w, s| by_net(w, s, &[Errno::ECONNREFUSED, Errno::EADDRNOTAVAIL]),
    ),
    Case::attempt(
        "nw-tcp-mapped",
        NETWORK,
        "the same by an IPv4 address written as IPv6",
        |i| i.step("connect", tcp(Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(), i.number("port"))),
        |w, s| by_net(w, s, &[Errno::ECONNREFUSED, Errno::EADDRNOTAVAIL]),
    ),
    Case::attempt(
        "nw-tcp-any",
        NETWORK,
        "the same by 0.0.0.0, which stands for this machine",
        |i| i.step("connect", tcp(Ipv4Addr::UNSPECIFIED.into(), i.number("port"))),
        |w, s| by_net(w, s, &[Errno::ECONNREFUSED]),
    ),
    Case::attempt("nw-udp", NETWORK, "send to a service on the host's loopback device", udp, |w, s| {
        by_net(w, s, &[Errno::ECONNREFUSED])
    }),
    Case::attempt(
        "nw-route",
        NETWORK,
        "find a way out: addresses of documentation, cloud metadata, name servers (nothing is sent)",
        |i| {
            for (name, address) in OUTSIDE {
                let route = address.parse::<InternetAddress>().map_err(io::Error::other).and_then(|address| {
                    let any: IpAddr =
                        if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
                    UdpSocket::bind((any, 0))?.connect(address)
                });
                i.step(name, route);
            }
        },
        |w, s| by_net(w, s, &[Errno::ENETUNREACH]),
    ),
    Case::attempt("nw-interfaces", NETWORK, "see network devices of the host", interfaces, |w, s| {
        if w.net() == Net::Host {
            return s.granted("net.mode = \"host\"");
        }
        if s.outside("names").is_none_or(|names| names.split_whitespace().all(|name| name == "lo")) {
            return Outcome::not_judged("there are none outside but lo");
        }
        s.finished().and(|| {
            let names = s.value("names").unwrap_or("?");
            check(names.split_whitespace().all(|name| name == "lo"), || format!("it sees {names}")).and(|| {
                Outcome::held(if names.is_empty() { "none is seen".to_owned() } else { format!("{names} is seen") })
            })
        })
    }),
    Case::attempt("nw-proc-net", NETWORK, "read the host's connections in /proc/net", proc_net, |w, s| {
        if w.net() == Net::Host {
            return s.granted("net.mode = \"host\"");
        }
        if s.outside("listener") != Some("true") {
            return Outcome::not_judged("the host's listener is not seen outside either");
        }
        let seen = s.value("listener");
        match (w.policy.proc.value, seen) {
            (Proc::Pid | Proc::Masked, Some("false")) => Outcome::held("the host's listener is not among them"),
            (Proc::Pid | Proc::Masked, _) => Outcome::failed(format!("the host's listener is seen: {seen:?}")),
        }
    }),
    Case::attempt(
        "nw-unix",
        NETWORK,
        "connect to a unix socket of the host",
        |i| i.step("connect", UnixStream::connect(i.path("socket"))),
        |w, s| match w.shows(&w.at("outside/socket")) {
            Some(access) => s.granted(&format!("the profile shows its directory ({access})")),
            None => s.refused(&[Errno::ENOENT]),
        },
    ),
    Case::attempt(
        "nw-abstract",
        NETWORK,
        "connect to an abstract unix socket of the host",
        |i| {
            let address = SocketAddr::from_abstract_name(i.fact("abstract"));
            i.step("stream", address.and_then(|address| UnixStream::connect_addr(&address)));
        },
        abstract_socket,
    ),
    Case::attempt(
        "nw-system-sockets",
        NETWORK,
        "find sockets of the system's services (docker, D-Bus, name service …)",
        |i| {
            for (name, path) in SOCKETS {
                i.step(name, fs::symlink_metadata(path));
            }
        },
        |w, s| {
            if let Some((_, path)) = SOCKETS.iter().find(|(_, path)| w.shows(Path::new(path)).is_some()) {
                return s.granted(&format!("the profile shows {path}"));
            }
            s.refused(&[Errno::ENOENT])
        },
    ),
    Case::drive("nw-inbound", NETWORK, "be reached from the host: a service opened inside", inbound),
    Case::attempt(
        "nw-abstract-name",
        NETWORK,
        "find out by its abstract names what runs on the host",
        |i| {
            let address = SocketAddr::from_abstract_name(i.fact("abstract"));
            i.step("bind", address.and_then(|address| UnixListener::bind_addr(&address)));
        },
        |w, s| {
            if w.net() == Net::Host {
                return s.granted("net.mode = \"host\"");
            }
            // Taken outside, and free inside: the names are the jail's own.
            match (s.value("bind"), s.control.as_ref().map(Vec::as_slice)) {
                (Some(_), Ok([step])) if step.answer == Answer::Errno(Errno::EADDRINUSE) => {
                    Outcome::held("a name that is taken on the host is free inside")
                }
                (Some(_), _) => Outcome::not_judged("it could be taken outside too"),
                (None, _) => Outcome::failed(format!("{:?}", s.inside)),
            }
        },
    ),
];

const OUTSIDE: [(&str, &str); 6] = [
    ("documentation", "192.0.2.1:9"),
    ("documentation-2", "198.51.100.1:9"),
    ("metadata", "169.254.169.254:80"),
    ("name-server", "9.9.9.9:53"),
    ("private", "10.0.0.1:9"),
    ("documentation-6", "[2001:db8::1]:9"),
];

const SOCKETS: [(&str, &str); 12] = [
    ("docker", "/run/docker.sock"),
    ("docker-2", "/var/run/docker.sock"),
    ("containerd", "/run/containerd/containerd.sock"),
    ("podman", "/run/podman/podman.sock"),
    ("dbus", "/run/dbus/system_bus_socket"),
    ("systemd", "/run/systemd/private"),
    ("journal", "/run/systemd/journal/socket"),
    ("journal-2", "/dev/log"),
    ("resolved", "/run/systemd/resolve/io.systemd.Resolve"),
    ("nscd", "/run/nscd/socket"),
    ("udev", "/run/udev/control"),
    ("x11", "/tmp/.X11-unix"),
];

/// Without a network there is no such socket; with the jail's own loopback device the errno; the host's is granted.
fn by_net(w: &World, s: &Seen, loopback: &[Errno]) -> Outcome {
    match w.net() {
        Net::None => s.refused(&[Errno::EAFNOSUPPORT]),
        Net::Loopback => s.refused(loopback),
        Net::Host => s.granted("net.mode = \"host\""),
    }
}

fn tcp(address: IpAddr, port: u16) -> io::Result<TcpStream> {
    TcpStream::connect_timeout(&InternetAddress::new(address, port), WAIT)
}

fn udp(i: &Inside) {
    let sent = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((Ipv4Addr::LOCALHOST, i.number("udp")))?;
        // Where nobody listens, the second one is told.
        socket.send(b"x")?;
        thread::sleep(Duration::from_millis(20));
        socket.send(b"x")
    });
    i.step("send", sent);
}

fn interfaces(i: &Inside) {
    let names = nix::ifaddrs::getifaddrs().map(|all| {
        let mut names: Vec<String> = all.map(|interface| interface.interface_name).collect();
        names.sort();
        names.dedup();
        names.join(" ")
    });
    i.say("names", names);
}

/// Whether the host's listener, by its port, is listed anywhere.
fn proc_net(i: &Inside) {
    let port = format!(":{:04X} ", i.number::<u16>("port"));
    let files = ["/proc/net/tcp", "/proc/self/net/tcp", "/proc/1/net/tcp", "/proc/thread-self/net/tcp"];
    let listed = files.iter().filter_map(|file| fs::read_to_string(file).ok()).any(|text| text.contains(&port));
    i.note("listener", listed);
}

fn abstract_socket(w: &World, s: &Seen) -> Outcome {
    match w.net() {
        Net::None | Net::Loopback if w.has(Layer::Landlock) && w.posture.landlock_abi >= 6 => {
            s.refused(&[Errno::ECONNREFUSED, Errno::EPERM])
        }
        Net::None | Net::Loopback => s.refused(&[Errno::ECONNREFUSED]),
        Net::Host if w.has(Layer::Landlock) && w.posture.landlock_abi >= 6 => s.refused(&[Errno::EPERM]),
        Net::Host => s.granted("net.mode = \"host\", and Landlock has no scopes here"),
    }
}

/// The inside half of `nw-inbound`: a service for anybody.
pub(super) fn listen(i: &Inside) {
    match TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)) {
        Ok(listener) => {
            i.note("port", listener.local_addr().map_or(0, |address| address.port()));
            thread::sleep(WAIT);
            drop(listener);
        }
        Err(error) => i.step::<(), _>("port", Err(error)),
    }
}

fn inbound(w: &World, runner: &Runner<'_>) -> Outcome {
    if w.net() == Net::Host {
        return Outcome::granted("net.mode = \"host\"");
    }
    let mut live = match runner.inside("listen", &[], Stdio::null()) {
        Ok(live) => live,
        Err(outcome) => return outcome,
    };
    let began = live.wait_for(" port ");
    let token = live.token.clone();
    let (steps, _) = super::judge::steps(&token, live.read());
    let outcome = match steps.first().map(|step| &step.answer) {
        Some(Answer::Errno(Errno::EAFNOSUPPORT)) if w.net() == Net::None => {
            Outcome::held("EAFNOSUPPORT: it cannot open one")
        }
        Some(Answer::Ok(port)) => match tcp(Ipv4Addr::LOCALHOST.into(), port.parse().unwrap_or(0)) {
            Err(error) if error.raw_os_error() == Some(Errno::ECONNREFUSED as i32) => {
                Outcome::held("it is open inside, and not on the host")
            }
            other => Outcome::failed(format!("the host reached it: {other:?}")),
        },
        other => Outcome::failed(format!("it opened nothing: {other:?} (began: {began})")),
    };
    let run = live.finish(runner);
    outcome.and(|| check(run.leftovers.is_empty(), || run.leftovers.join(", ")))
}
