//! Generated `/etc`: what libraries look up there, without a word about the host.
//!
//! For: the content of the files. Not for: putting them there (see `mounts`).
//! Runs in: the supervisor.

use std::fs;

use crate::policy::{Net, Origin, Policy};

use super::ids::{INSIDE, USER};
use super::view::HOME;

/// Name, content, and what asked for it.
pub(super) fn files(policy: &Policy) -> Vec<(&'static str, String, Origin)> {
    let hostname = &policy.hostname.value;
    let plain = |name, content: String| (name, content, Origin::Default);
    vec![
        plain(
            "passwd",
            format!(
                "root:x:0:0:root:/:/bin/false\n{USER}:x:{INSIDE}:{INSIDE}:{USER}:{HOME}:/bin/sh\n\
                 nobody:x:65534:65534:nobody:/:/bin/false\n"
            ),
        ),
        plain("group", format!("root:x:0:\n{USER}:x:{INSIDE}:\nnogroup:x:65534:\n")),
        plain("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n".to_owned()),
        // Programs want one; every jail has the same, so it tells nothing.
        plain("machine-id", "00000000000000000000000000000000\n".to_owned()),
        ("hostname", format!("{hostname}\n"), policy.hostname.origin.clone()),
        (
            "hosts",
            format!("127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {hostname}\n"),
            policy.hostname.origin.clone(),
        ),
        ("resolv.conf", resolv_conf(policy.net.value), policy.net.origin.clone()),
    ]
}

/// With the host's network, the host's name servers; else none. Never a bind: the host's file is often
/// a link into /run, which is not shown.
fn resolv_conf(net: Net) -> String {
    match net {
        Net::None | Net::Loopback => "# no network\n".to_owned(),
        Net::Host => fs::read_to_string("/etc/resolv.conf").unwrap_or_else(|_| "# the host has none\n".to_owned()),
    }
}
