//! NET: what of a network is there.
//!
//! For: claims NET-1 to NET-4.
//! Not for: which socket families the filter knows (see `syscalls`).
//! Runs in: the test process, which listens on the host.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use super::{Jail, outside};

/// A listener on the host's loopback, and its port.
fn host_listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    (listener, port)
}

#[test]
fn claim_net_1_without_a_network_there_is_no_internet_socket() {
    let (_listener, port) = host_listener();
    let connect = format!("connect-tcp {port}");
    assert_eq!(outside(["batch", &connect, "bind-tcp"]), format!("{connect}: ok\nbind-tcp: ok ping"));

    let run = Jail::new().probe(["batch", &connect, "bind-tcp", "socket unix 1 0"]);

    assert_eq!(
        run.answer(),
        format!("{connect}: errno EAFNOSUPPORT\nbind-tcp: errno EAFNOSUPPORT\nsocket unix 1 0: ok")
    );
}

#[test]
fn claim_net_2_loopback_is_the_jails_own() {
    let (_listener, port) = host_listener();
    let connect = format!("connect-tcp {port}");

    let run = Jail::new().args(["--net", "loopback"]).probe(["batch", &connect, "bind-tcp"]);

    assert_eq!(run.answer(), format!("{connect}: errno ECONNREFUSED\nbind-tcp: ok ping"));
}

#[test]
fn claim_net_2_only_the_mode_host_reaches_the_host() {
    let (_listener, port) = host_listener();

    // Older kernels' Landlock cannot do all that this mode asks of it.
    let run = Jail::new().args(["--net", "host", "--allow-degraded", "landlock"]).probe(["connect-tcp", &port]);

    assert_eq!(run.answer(), "ok");
}

#[test]
fn claim_net_3_a_unix_socket_of_the_host_is_not_reached() {
    let jail = Jail::new();
    let path = jail.beside("socket");
    let _listener = UnixListener::bind(&path).unwrap();
    let path = path.to_str().unwrap().to_owned();
    assert_eq!(outside(["connect-unix", &path]), "ok");

    let run = jail.probe(["connect-unix", &path]);

    assert_eq!(run.answer(), "errno ENOENT");
}

#[test]
fn claim_net_4_an_abstract_socket_of_the_host_is_not_reached() {
    let name = format!("jailtest-{}", std::process::id());
    let _listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    assert_eq!(outside(["abstract-unix", &name]), "ok");

    let run = Jail::new().probe(["abstract-unix", &name]);

    assert_eq!(run.answer(), "errno ECONNREFUSED", "another network namespace has other names");
}

#[test]
fn claim_net_4_not_even_on_the_hosts_network() {
    let name = format!("jailtest-host-{}", std::process::id());
    let _listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    assert_eq!(outside(["abstract-unix", &name]), "ok");

    let run = Jail::new().args(["--net", "host"]).probe(["abstract-unix", &name]);

    // Landlock's scope for abstract sockets, ABI 6.
    if run.number("/posture/landlock_abi") < 6 {
        return crate::support::skip("landlock", "Landlock ABI 6");
    }
    assert_eq!(run.answer(), "errno EPERM");
}
