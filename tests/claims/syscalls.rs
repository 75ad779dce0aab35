//! SC: system calls.
//!
//! For: claims SC-1 to SC-9.
//! Not for: every argument (the unit tests of the compiler hold the filter against a reference).
//! Runs in: the test process.

use super::{Jail, needs, outside};

/// Splits the answers of a batch from their calls.
fn answers(output: &str) -> Vec<&str> {
    output.lines().map(|line| line.rsplit_once(": ").unwrap().1).collect()
}

/// Dangerous calls, with arguments that do nothing where the call is let through: bad addresses and descriptors,
/// unknown commands.
const DENIED: [(&str, libc::c_long, &str); 42] = [
    ("mount", libc::SYS_mount, "1 1 1 0 0"),
    ("umount2", libc::SYS_umount2, "1 0"),
    ("pivot_root", libc::SYS_pivot_root, "1 1"),
    ("chroot", libc::SYS_chroot, "1"),
    ("setns", libc::SYS_setns, "-1 0"),
    ("move_mount", libc::SYS_move_mount, "-1 1 -1 1 0"),
    ("open_tree", libc::SYS_open_tree, "-1 1 0"),
    ("fsopen", libc::SYS_fsopen, "1 0"),
    ("fsconfig", libc::SYS_fsconfig, "-1 99 0 0 0"),
    ("fsmount", libc::SYS_fsmount, "-1 0 0"),
    ("fspick", libc::SYS_fspick, "-1 1 0"),
    ("mount_setattr", libc::SYS_mount_setattr, "-1 1 0 1 32"),
    ("ptrace", libc::SYS_ptrace, "99 0 0 0"),
    ("process_vm_readv", libc::SYS_process_vm_readv, "1 1 1 1 1 0"),
    ("process_vm_writev", libc::SYS_process_vm_writev, "1 1 1 1 1 0"),
    ("kcmp", libc::SYS_kcmp, "-1 -1 99 0 0"),
    ("pidfd_getfd", libc::SYS_pidfd_getfd, "-1 -1 0"),
    ("bpf", libc::SYS_bpf, "-1 1 1"),
    ("perf_event_open", libc::SYS_perf_event_open, "1 0 -1 -1 0"),
    ("userfaultfd", libc::SYS_userfaultfd, "0x40000000"),
    ("io_uring_setup", libc::SYS_io_uring_setup, "1 1"),
    ("io_uring_enter", libc::SYS_io_uring_enter, "-1 0 0 0 0 0"),
    ("io_uring_register", libc::SYS_io_uring_register, "-1 99 0 0"),
    ("keyctl", libc::SYS_keyctl, "9999 0 0 0 0"),
    ("add_key", libc::SYS_add_key, "1 1 0 0 -3"),
    ("request_key", libc::SYS_request_key, "1 1 0 -3"),
    ("reboot", libc::SYS_reboot, "0 0 0 0"),
    ("swapon", libc::SYS_swapon, "1 0"),
    ("swapoff", libc::SYS_swapoff, "1"),
    ("acct", libc::SYS_acct, "1"),
    ("quotactl", libc::SYS_quotactl, "-1 1 0 0"),
    ("settimeofday", libc::SYS_settimeofday, "1 0"),
    ("clock_settime", libc::SYS_clock_settime, "0 1"),
    ("adjtimex", libc::SYS_adjtimex, "1"),
    ("sethostname", libc::SYS_sethostname, "1 -1"),
    ("setdomainname", libc::SYS_setdomainname, "1 -1"),
    ("syslog", libc::SYS_syslog, "99 0 0"),
    ("open_by_handle_at", libc::SYS_open_by_handle_at, "-1 1 0"),
    ("name_to_handle_at", libc::SYS_name_to_handle_at, "-1 1 1 1 0"),
    ("fanotify_init", libc::SYS_fanotify_init, "0xffff 0"),
    ("statmount", SYS_STATMOUNT, "1 1 1 0"),
    ("unshare", libc::SYS_unshare, "0x10000000"),
];

/// Not in every version of the libc crate; the same number on every architecture.
const SYS_STATMOUNT: libc::c_long = 457;

/// Calls that no program makes by mistake, likewise with arguments that do nothing.
const KILLED: [(&str, libc::c_long, &str); 4] = [
    ("kexec_load", libc::SYS_kexec_load, "0 99 1 0xffff"),
    ("init_module", libc::SYS_init_module, "1 0 1"),
    ("finit_module", libc::SYS_finit_module, "-1 1 99"),
    ("delete_module", libc::SYS_delete_module, "1 0"),
];

fn denied_calls() -> Vec<String> {
    let calls = DENIED.iter().map(|(_name, number, args)| format!("syscall {number} {args}"));
    ["batch".to_owned()].into_iter().chain(calls).collect()
}

#[test]
fn claim_sc_1_dangerous_calls_are_refused() {
    let run = Jail::new().probe(denied_calls());

    let output = run.answer();
    let wrong: Vec<String> = DENIED
        .iter()
        .zip(answers(&output))
        .filter(|(_call, answer)| *answer != "errno EPERM")
        .map(|((name, ..), answer)| format!("{name}: {answer}"))
        .collect();
    assert_eq!(wrong, [""; 0]);
    assert_eq!(output.lines().count(), DENIED.len());
}

#[test]
fn claim_sc_1_outside_the_kernel_answers_them_otherwise() {
    // As root, because an ordinary user lacks the capability for most and gets EPERM from the kernel too.
    needs!(root);
    let output = outside(denied_calls());
    let same: Vec<&str> = DENIED
        .iter()
        .zip(answers(&output))
        .filter(|(_call, answer)| *answer == "errno EPERM")
        .map(|((name, ..), _answer)| *name)
        .collect();
    assert_eq!(same, [""; 0], "these say nothing about the filter");
    assert_eq!(output.lines().count(), DENIED.len());
}

#[test]
fn claim_sc_1_no_lease_holds_up_the_host() {
    let script = "import errno, fcntl, sys\n\
                  file = open(sys.argv[1])\n\
                  try: print('lease', fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK))\n\
                  except OSError as error: print('lease', errno.errorcode[error.errno])\n\
                  print('flags', fcntl.fcntl(file, fcntl.F_GETFD))";
    let folder = crate::support::folder();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let control = std::process::Command::new("/usr/bin/python3").args(["-c", script]).arg(&file).output().unwrap();
    assert_eq!(String::from_utf8(control.stdout).unwrap(), "lease 0\nflags 1\n");

    let jail = Jail::new().file("file", "");
    let path = jail.workspace().join("file").display().to_string();
    let run = jail.run(["/usr/bin/python3", "-c", script, &path]);

    assert_eq!(run.answer(), "lease EPERM\nflags 1");
}

#[test]
fn claim_sc_1_ordinary_calls_work() {
    let run = Jail::new().probe(["batch", "fork 3", "threads 3", "mem 8", "uid"]);

    assert_eq!(answers(&run.answer())[..3], ["ok 3", "ok 3", "ok 8"]);
}

#[test]
fn claim_sc_1_calls_that_load_code_into_the_kernel_kill() {
    for (name, number, args) in KILLED {
        let call = format!("syscall {number} {args}");
        assert!(outside(["batch", &call]).contains(": errno E"), "{name} must do nothing here");

        let run = Jail::new().probe(call.split(' '));

        assert_eq!((run.code, run.verdict()), (Some(159), "syscall_killed"), "{name}: {run}");
    }
}

#[test]
fn claim_sc_2_calls_that_nobody_knows_do_not_exist() {
    // So that libc falls back, as on an older kernel. The neighbour is known and refused.
    let run = Jail::new().probe(["batch", "syscall 999", "syscall 600 1 2 3", "syscall 457 1 1 1 0"]);

    assert_eq!(answers(&run.answer()), ["errno ENOSYS", "errno ENOSYS", "errno EPERM"]);
}

#[test]
fn claim_sc_3_clone3_does_not_exist() {
    let call = format!("syscall {} 1 0", libc::SYS_clone3);
    assert_eq!(outside(["batch", &call]), format!("{call}: errno EINVAL"));

    let run = Jail::new().probe(["batch", &call, "fork 1", "threads 1"]);

    assert_eq!(answers(&run.answer()), ["errno ENOSYS", "ok 1", "ok 1"]);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn claim_sc_4_the_32_bit_abi_kills() {
    let control = outside(["int80", "20"]);
    assert!(control.starts_with("ok "), "this kernel has no 32-bit calls: {control}");

    let run = Jail::new().probe(["int80", "20"]);

    assert_eq!((run.code, run.verdict(), run.out().as_str()), (Some(159), "syscall_killed", ""), "{run}");
    let err = run.err();
    assert!(err.starts_with("jail: system call refused by the filter: the program was killed after "), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
    run.assert_clean();
}

#[cfg(target_arch = "x86_64")]
#[test]
fn claim_sc_4_the_x32_abi_kills() {
    let control = outside(["x32", "39"]);
    assert!(control.starts_with("ok ") || control == "errno ENOSYS", "{control}");

    let run = Jail::new().probe(["x32", "39"]);

    assert_eq!((run.code, run.verdict()), (Some(159), "syscall_killed"), "{run}");
}

#[test]
fn claim_sc_5_no_namespace_can_be_made_inside() {
    let flags = [
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWNS,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWCGROUP,
    ];
    assert_eq!(outside(["clone-flags", &libc::CLONE_NEWUSER.to_string()]), "ok");
    assert_eq!(outside(["unshare", &libc::CLONE_NEWUSER.to_string()]), "ok");

    let mut calls = vec!["batch".to_owned()];
    calls.extend(flags.iter().map(|flag| format!("clone-flags {flag}")));
    calls.extend(flags.iter().map(|flag| format!("unshare {flag}")));
    calls.push("clone-flags 0".to_owned());
    // Time namespaces cannot be asked for with clone(2).
    calls.push("unshare 0x80".to_owned());
    let run = Jail::new().probe(&calls);

    let output = run.answer();
    assert_eq!(answers(&output)[..14], ["errno EPERM"; 14], "{output}");
    assert_eq!(answers(&output)[14..], ["ok", "errno EPERM"], "{output}");
}

#[test]
fn claim_sc_6_nothing_is_typed_into_a_terminal() {
    // TIOCSTI and TIOCLINUX, plain and with bits that the kernel ignores; the probe's stdin is no terminal.
    let requests = ["0x5412", "0x100005412", "0xffffffff00005412", "0x541c", "0x10000541c"]
        .map(|request| format!("ioctl {request}"));
    assert_eq!(outside(["ioctl", "0x5412"]), "errno ENOTTY");
    assert_eq!(outside(["ioctl", "0x100005412"]), "errno ENOTTY");

    // The neighbours: TCGETS, which a pipe has not, and FIONREAD, which it has.
    let run = Jail::new().probe(
        ["batch"].into_iter().chain(requests.iter().map(String::as_str)).chain(["ioctl 0x5401", "ioctl 0x541b"]),
    );

    let output = run.answer();
    assert_eq!(answers(&output)[..5], ["errno EPERM"; 5], "{output}");
    assert_eq!(answers(&output)[5..], ["errno ENOTTY", "ok"], "{output}");
}

#[test]
fn claim_sc_7_only_known_socket_families_exist() {
    let families = ["inet", "inet6", "packet", "alg", "vsock", "xdp", "bluetooth"];
    assert_eq!(outside(["batch", "socket inet 1 0", "socket inet 2 0"]), "socket inet 1 0: ok\nsocket inet 2 0: ok");

    let mut calls = vec!["batch".to_owned()];
    calls.extend(families.iter().map(|family| format!("socket {family} 2 0")));
    calls.extend(["socket unix 1 0".to_owned(), "socket unix 2 0".to_owned()]);
    let run = Jail::new().probe(&calls);

    let output = run.answer();
    assert_eq!(answers(&output)[..7], ["errno EAFNOSUPPORT"; 7], "{output}");
    assert_eq!(answers(&output)[7..], ["ok", "ok"], "{output}");
}

#[test]
fn claim_sc_7_loopback_adds_the_internet_and_nothing_else() {
    let calls =
        ["batch", "socket inet 1 0", "socket inet6 2 0", "socket packet 2 0", "socket vsock 1 0", "socket inet 3 1"];
    let run = Jail::new().args(["--net", "loopback"]).probe(calls);

    let output = run.answer();
    assert_eq!(answers(&output)[..4], ["ok", "ok", "errno EAFNOSUPPORT", "errno EAFNOSUPPORT"], "{output}");
    assert_eq!(answers(&output)[4], "errno EPERM", "raw sockets: {output}");
}

#[test]
fn claim_sc_8_the_execution_domain_cannot_be_changed() {
    // ADDR_NO_RANDOMIZE and READ_IMPLIES_EXEC weaken the program; 0xffffffff only asks.
    assert_eq!(outside(["personality", "0x40000"]), "ok 0x0");

    let run = Jail::new().probe(["batch", "personality 0x40000", "personality 0x400000", "personality 0xffffffff"]);

    assert_eq!(answers(&run.answer()), ["errno EPERM", "errno EPERM", "ok 0x0"]);
}

#[test]
fn claim_sc_9_prctl_knows_the_harmless_only() {
    // PR_SET_MM, PR_SET_SPECULATION_CTRL and one that nobody knows; the neighbours are PR_GET_DUMPABLE and
    // PR_GET_NO_NEW_PRIVS.
    assert_ne!(outside(["prctl", "53"]), "errno EPERM");
    let run = Jail::new().probe(["batch", "prctl 35", "prctl 53", "prctl 9999", "prctl 3", "prctl 39"]);

    assert_eq!(answers(&run.answer()), ["errno EPERM", "errno EPERM", "errno EINVAL", "ok 1", "ok 1"]);
}

#[test]
fn claim_sc_10_the_profile_edits_the_list() {
    let call = format!("syscall {}", libc::SYS_getppid);
    let run = Jail::new().args(["--syscalls-deny", "getppid"]).probe(["batch", &call, "uid"]);
    assert_eq!(answers(&run.answer())[0], "errno EPERM");

    let run = Jail::new().probe(["batch", &call]);
    assert_eq!(answers(&run.answer())[0], "ok 1");
}
