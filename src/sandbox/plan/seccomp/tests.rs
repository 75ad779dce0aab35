//! Tests of the filter: the compiled program against the reference semantics, both against `seccompiler`,
//! the tables against `libc`, and the words of a policy.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use super::interpret::{returned, run};
use super::rule::{EAFNOSUPPORT, EINVAL, ENOTTY, EPROTONOSUPPORT, ESOCKTNOSUPPORT, Switch};
use super::*;
use crate::policy::Origin;

const NETS: [Net; 3] = [Net::None, Net::Loopback, Net::Host];
const ARCHS: [Arch; 2] = [Arch::X86_64, Arch::AARCH64];
const I386: u32 = 0x4000_0003;
const NO: Action = Action::Errno(EPERM);

fn word(word: &str) -> Located<String> {
    Located::new(word.to_owned(), Origin::File { file: Arc::from("x.toml"), line: 3 })
}

fn calls(allow: &[&str], deny: &[&str]) -> SystemCalls {
    SystemCalls { allow: allow.iter().map(|w| word(w)).collect(), deny: deny.iter().map(|w| word(w)).collect() }
}

fn strict(arch: Arch, net: Net) -> Filter {
    Filter::for_arch(arch, &calls(&[DEFAULT], &[]), net).unwrap()
}

fn number(arch: Arch, name: &str) -> u32 {
    calls::all().find(|(_, call)| call.name == name).unwrap().1.number(arch).unwrap()
}

/// What `filter` does with a call by name.
fn ask(filter: &Filter, name: &str, arguments: [u64; 6]) -> Action {
    filter.decide(filter.arch.audit, number(filter.arch, name), arguments)
}

/// xorshift64*: the same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 33) % bound
    }

    /// A call: mostly a known number, and mostly arguments that a rule of the filter looks for.
    fn call(&mut self, interesting: &[u32]) -> (u32, [u64; 6]) {
        let number = match self.below(16) {
            0 => u32::try_from(self.next() >> 32).unwrap(),
            1 => X32 + u32::try_from(self.below(600)).unwrap(),
            _ => u32::try_from(self.below(480)).unwrap(),
        };
        let arguments = std::array::from_fn(|_| {
            let pick = usize::try_from(self.below(u64::try_from(interesting.len()).unwrap())).unwrap();
            let low = match self.below(8) {
                0 => self.next() >> 32,
                1 => self.below(64),
                2 => u64::from(interesting[pick].wrapping_add(1)),
                3 => u64::from(interesting[pick]) | 1 << self.below(32),
                _ => u64::from(interesting[pick]),
            };
            if self.below(2) == 0 { low } else { low | (self.next() << 32) }
        });
        (number, arguments)
    }
}

/// Every value and mask that a rule compares with.
fn interesting(rule: &Rule, values: &mut Vec<u32>) {
    if let Rule::Look(switch) = rule {
        values.push(switch.mask);
        for (first, last, then) in &switch.cases {
            values.extend([*first, *last]);
            interesting(then, values);
        }
        interesting(&switch.otherwise, values);
    }
}

/// The numbers that are tried with every filter: every one of x86-64, i386 and x32 up to 1023, and the edges.
fn numbers() -> impl Iterator<Item = u32> {
    (0..=1023).chain(X32 - 2..=X32 + 1023).chain([0x7fff_ffff, 0x8000_0000, u32::MAX - 1, u32::MAX])
}

/// The same argument six times, with the upper half clear and set.
const ALIKE: [[u64; 6]; 4] = [[0; 6], [u64::MAX; 6], [0xffff_ffff_0000_0000; 6], [0xffff_ffff; 6]];

/// Every list that is shipped, and edited ones.
fn lists() -> Vec<SystemCalls> {
    let shipped = crate::profile::BUILTIN.iter().map(|builtin| {
        let profile = crate::Profile::builtin(builtin.name).unwrap();
        Policy::new(&profile).unwrap().syscalls
    });
    let edited = [
        calls(&[DEFAULT, "@debug", "kcmp"], &["@net"]),
        calls(&[DEFAULT], &["ioctl", "prctl", "clone", "fcntl"]),
        calls(&["brk"], &[]),
        calls(&["socket", "ioctl", "clone", "openat", "mknod"], &["mknod"]),
    ];
    shipped.chain(edited).collect()
}

fn filters() -> impl Iterator<Item = Filter> {
    let of = |list: &SystemCalls| ARCHS.map(|arch| NETS.map(|net| Filter::for_arch(arch, list, net).unwrap()));
    let mut different: Vec<Filter> = Vec::new();
    for filter in lists().into_iter().flat_map(|list| of(&list)).flatten() {
        if !different.contains(&filter) {
            different.push(filter);
        }
    }
    different.into_iter()
}

#[test]
fn program_does_what_the_rules_say_for_every_number() {
    for filter in filters().chain([Filter::for_init()]) {
        let program = filter.clone().compile().unwrap();
        for arch in [Arch::X86_64.audit, Arch::AARCH64.audit, I386, 0, u32::MAX] {
            for (number, arguments) in numbers().flat_map(|number| ALIKE.map(|arguments| (number, arguments))) {
                let want = filter.decide(arch, number, arguments);
                assert_eq!(run(&program, arch, number, arguments).0, returned(want), "{arch:#x} {number:#x}");
            }
        }
    }
}

#[test]
fn program_does_what_the_rules_say_for_a_million_random_calls() {
    let mut random = Random(0x6a61_696c);
    for net in NETS {
        let filter = strict(Arch::NATIVE, net);
        let program = filter.clone().compile().unwrap();
        let mut values = Vec::new();
        interesting(&filter.clone().root(), &mut values);
        let mut seen = [0_u32; 3];
        for _ in 0..334_000 {
            let (number, arguments) = random.call(&values);
            let want = filter.decide(filter.arch.audit, number, arguments);
            seen[match want {
                Action::Allow => 0,
                Action::Errno(_) => 1,
                Action::KillProcess => 2,
            }] += 1;
            let got = run(&program, filter.arch.audit, number, arguments).0;
            assert_eq!(got, returned(want), "{number:#x} {arguments:#x?}");
        }
        assert!(seen.iter().all(|count| *count > 10_000), "{seen:?}");
    }
}

/// The same for each call with a condition, with nothing but arguments that matter to it.
#[test]
fn program_does_what_the_rules_say_for_conditions() {
    let mut random = Random(0x72_756c_6573);
    for net in NETS {
        let filter = strict(Arch::NATIVE, net);
        let program = filter.clone().compile().unwrap();
        for (number, rule) in filter.rules.iter().filter(|(_, rule)| matches!(rule, Rule::Look(_))) {
            let mut values = vec![0, u32::MAX];
            interesting(rule, &mut values);
            for _ in 0..5_000 {
                let (_, arguments) = random.call(&values);
                let want = filter.decide(filter.arch.audit, *number, arguments);
                let got = run(&program, filter.arch.audit, *number, arguments).0;
                assert_eq!(got, returned(want), "{number} {arguments:#x?}");
            }
        }
    }
}

/// Each way through a rule that ends in an allow, as the conditions of one `seccompiler` rule.
fn ways(rule: &Rule, so_far: &[SeccompCondition], ways: &mut Vec<SeccompRule>) {
    match rule {
        Rule::Do(Action::Allow) => ways.push(SeccompRule::new(so_far.to_vec()).unwrap()),
        Rule::Do(_) => {}
        Rule::Look(switch) => {
            let Switch { field, mask, cases, otherwise } = switch.as_ref();
            assert_ne!(*otherwise, Rule::Do(Action::Allow), "a list of what is allowed");
            if matches!(otherwise, Rule::Look(_)) {
                // "A, or else B" allows what "A or B" does, as long as A allows all of its cases.
                assert!(cases.iter().all(|(_, _, then)| *then == Rule::Do(Action::Allow)));
                self::ways(otherwise, so_far, ways);
            }
            let argument = u8::try_from((field.offset() - 16) / 8).unwrap();
            for (first, last, then) in cases {
                assert_eq!(first, last);
                assert_eq!(first & !mask, 0, "a value outside the mask never matches");
                let operator = SeccompCmpOp::MaskedEq(u64::from(*mask));
                let length = SeccompCmpArgLen::Dword;
                let condition = SeccompCondition::new(argument, length, operator, u64::from(*first)).unwrap();
                self::ways(then, &[so_far, &[condition]].concat(), ways);
            }
        }
    }
}

/// The allow-list as the reference compiler of the field understands it.
fn reference(filter: &Filter) -> BpfProgram {
    let mut rules = BTreeMap::new();
    for (number, rule) in &filter.rules {
        let mut found = Vec::new();
        if *rule != Rule::Do(Action::Allow) {
            ways(rule, &[], &mut found);
            if found.is_empty() {
                continue;
            }
        }
        rules.insert(i64::from(*number), found);
    }
    let arch = if filter.arch == Arch::X86_64 { TargetArch::x86_64 } else { TargetArch::aarch64 };
    let eperm = u32::from(EPERM);
    SeccompFilter::new(rules, SeccompAction::Errno(eperm), SeccompAction::Allow, arch).unwrap().try_into().unwrap()
}

/// Every number with every list, and a million random calls with what nearly everybody uses.
#[test]
fn allows_exactly_what_seccompiler_allows() {
    let mut random = Random(0x7365_6363);
    let allow = returned(Action::Allow);
    let usual = NETS.map(|net| strict(Arch::NATIVE, net));
    for filter in filters() {
        let program = filter.clone().compile().unwrap();
        let reference: Vec<libc::sock_filter> =
            reference(&filter).iter().map(|i| libc::sock_filter { code: i.code, jt: i.jt, jf: i.jf, k: i.k }).collect();
        let mut values = Vec::new();
        interesting(&filter.clone().root(), &mut values);
        let compare = |arch: u32, number: u32, arguments: [u64; 6]| {
            let ours = run(&program, arch, number, arguments).0 == allow;
            let theirs = run(&reference, arch, number, arguments).0 == allow;
            assert_eq!(ours, theirs, "{arch:#x} {number:#x} {arguments:#x?}");
        };
        for (number, arguments) in numbers().flat_map(|number| ALIKE.map(|arguments| (number, arguments))) {
            compare(filter.arch.audit, number, arguments);
            compare(I386, number, arguments);
        }
        for _ in 0..if usual.contains(&filter) { 334_000 } else { 1_000 } {
            let (number, arguments) = random.call(&values);
            compare(filter.arch.audit, number, arguments);
        }
        for (number, _) in filter.rules.iter().filter(|(_, rule)| matches!(rule, Rule::Look(_))) {
            for _ in 0..200 {
                let (_, arguments) = random.call(&values);
                compare(filter.arch.audit, *number, arguments);
            }
        }
    }
}

/// What the program costs. `strict` on x86-64 has 240 instructions; a plain allow takes
/// 10 on average, the longest way (an `ioctl`) 17. The filter of init has 25.
#[test]
fn program_is_short_and_flat() {
    let filter = strict(Arch::X86_64, Net::None);
    let program = filter.clone().compile().unwrap();
    let steps = |number: u32| run(&program, filter.arch.audit, number, [0; 6]).1;
    let deepest = (0..=480).map(steps).max().unwrap();
    let allowed: Vec<usize> = filter
        .rules
        .iter()
        .filter(|(_, rule)| *rule == Rule::Do(Action::Allow))
        .map(|(number, _)| steps(*number))
        .collect();
    let mean = allowed.iter().sum::<usize>() / allowed.len();
    let init = Filter::for_init().compile().unwrap().len();
    println!("strict: {} instructions, {deepest} deep, {mean} for a plain allow; init: {init}", program.len());
    assert!(program.len() <= 420, "{}", program.len());
    assert!(deepest <= 20, "{deepest}");
    assert!(mean <= 11, "{mean}");
    assert!(init <= 32, "{init}");
}

#[test]
fn far_jumps_are_bridged() {
    // Every other number has its own errno, so no two ranges are alike and the search is longer than a jump reaches.
    for count in [1_u16, 2, 3, 100, 250, 251, 252, 253, 254, 255, 256, 257, 258, 400, 1000] {
        let cases =
            (0..count).map(|n| (u32::from(n) * 2, u32::from(n) * 2, Rule::Do(Action::Errno(100 + n)))).collect();
        let program = compile::program(&Rule::look(Field::Number, u32::MAX, cases, Rule::Do(Action::Allow))).unwrap();
        for n in 0..count {
            let want = returned(Action::Errno(100 + n));
            assert_eq!(run(&program, 0, u32::from(n) * 2, [0; 6]).0, want);
            assert_eq!(run(&program, 0, u32::from(n) * 2 + 1, [0; 6]).0, returned(Action::Allow));
        }
    }
}

#[test]
fn a_program_that_the_kernel_would_refuse_is_an_error() {
    let cases = (0..3000).map(|n| (n * 2, n * 2, Rule::Do(Action::Allow))).collect();
    let rule = Rule::look(Field::Number, u32::MAX, cases, Rule::Do(NO));
    let error = compile::program(&rule).unwrap_err();
    assert!(matches!(error, CompileError::TooLong(length) if length > 4096), "{error}");
}

#[test]
fn a_constant_rule_is_one_instruction() {
    let rule = Rule::look(Field::Number, u32::MAX, vec![(7, 9, Rule::Do(NO))], Rule::Do(NO));
    assert_eq!(compile::program(&rule).unwrap().len(), 1);
}

#[test]
fn an_empty_filter_and_a_full_one_are_errors() {
    let nothing = Filter { arch: Arch::NATIVE, rules: Vec::new(), otherwise: NO };
    let everything = Filter { otherwise: Action::Allow, ..nothing.clone() };
    assert_eq!(nothing.compile().unwrap_err(), CompileError::AllowsNothing);
    assert_eq!(everything.compile().unwrap_err(), CompileError::RefusesNothing);
}

#[test]
fn init_can_only_wait_signal_and_exit() {
    let filter = Filter::for_init();
    let allowed: Vec<&str> = calls::all()
        .filter(|(_, call)| call.number(Arch::NATIVE).is_some() && ask(&filter, call.name, [0; 6]) == Action::Allow)
        .map(|(_, call)| call.name)
        .collect();
    let mut want = vec![
        "read",
        "write",
        "close",
        "exit",
        "exit_group",
        "rt_sigreturn",
        "restart_syscall",
        "ppoll",
        "wait4",
        "waitid",
        "kill",
        "clock_gettime",
    ];
    if Arch::NATIVE == Arch::X86_64 {
        want.insert(7, "poll");
    }
    assert_eq!(allowed, want);
    assert_eq!(ask(&filter, "execve", [0; 6]), NO);
    assert_eq!(ask(&filter, "clone3", [0; 6]), NO);
    assert_eq!(filter.decide(filter.arch.audit, 1023, [0; 6]), NO);
    assert_eq!(filter.decide(I386, number(Arch::NATIVE, "exit"), [0; 6]), Action::KillProcess);
}

#[test]
fn numbers_and_names_are_unique() {
    for arch in ARCHS {
        let mut numbers = BTreeMap::new();
        for (_, call) in calls::all() {
            if let Some(number) = call.number(arch) {
                assert_eq!(numbers.insert(number, call.name), None, "{number}");
            }
        }
        // Nothing is missing: what is not listed has no call.
        let last = 469;
        let gaps: Vec<u32> = (0..=last).filter(|number| !numbers.contains_key(number)).collect();
        let want: Vec<u32> = if arch == Arch::X86_64 {
            (337..424).collect()
        } else {
            [38, 84, 163, 164].into_iter().chain(244..260).chain(295..424).collect()
        };
        assert_eq!(gaps, want);
        assert_eq!(numbers.keys().next_back(), Some(&last));
    }
    let mut names: Vec<&str> = calls::all().map(|(_, call)| call.name).collect();
    names.extend(calls::GROUPS.iter().map(|group| group.name));
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
}

macro_rules! of_libc {
    ($($name:ident)*) => { &[$((stringify!($name), libc::$name)),*] };
}

#[test]
fn numbers_are_those_of_libc() {
    let both: &[(&str, i64)] = of_libc! {
        SYS_accept SYS_accept4 SYS_acct SYS_add_key SYS_adjtimex SYS_bind SYS_bpf SYS_brk SYS_capget SYS_capset
        SYS_chdir SYS_chroot SYS_clock_adjtime SYS_clock_getres SYS_clock_gettime SYS_clock_nanosleep
        SYS_clock_settime SYS_clone SYS_clone3 SYS_close SYS_close_range SYS_connect SYS_copy_file_range
        SYS_delete_module SYS_dup SYS_dup3 SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2
        SYS_eventfd2 SYS_execve SYS_execveat SYS_exit SYS_exit_group SYS_faccessat SYS_faccessat2 SYS_fadvise64
        SYS_fallocate SYS_fanotify_init SYS_fanotify_mark SYS_fchdir SYS_fchmod SYS_fchmodat SYS_fchown
        SYS_fchownat SYS_fcntl SYS_fdatasync SYS_fgetxattr SYS_finit_module SYS_flistxattr SYS_flock
        SYS_fremovexattr SYS_fsconfig SYS_fsetxattr SYS_fsmount SYS_fsopen SYS_fspick SYS_fstat SYS_fstatfs
        SYS_fsync SYS_ftruncate SYS_futex SYS_futex_waitv SYS_get_mempolicy SYS_get_robust_list SYS_getcpu
        SYS_getcwd SYS_getdents64 SYS_getegid SYS_geteuid SYS_getgid SYS_getgroups SYS_getitimer SYS_getpeername
        SYS_getpgid SYS_getpid SYS_getppid SYS_getpriority SYS_getrandom SYS_getresgid SYS_getresuid
        SYS_getrusage SYS_getsid SYS_getsockname SYS_getsockopt SYS_gettid SYS_gettimeofday SYS_getuid
        SYS_getxattr SYS_init_module SYS_inotify_add_watch SYS_inotify_init1 SYS_inotify_rm_watch SYS_io_cancel
        SYS_io_destroy SYS_io_getevents SYS_io_setup SYS_io_submit SYS_io_uring_enter SYS_io_uring_register
        SYS_io_uring_setup SYS_ioctl SYS_ioprio_get SYS_ioprio_set SYS_kcmp SYS_kexec_load SYS_keyctl SYS_kill
        SYS_landlock_add_rule SYS_landlock_create_ruleset SYS_landlock_restrict_self SYS_lgetxattr SYS_linkat
        SYS_listen SYS_listxattr SYS_llistxattr SYS_lookup_dcookie SYS_lremovexattr SYS_lseek SYS_lsetxattr
        SYS_madvise SYS_mbind SYS_membarrier SYS_memfd_create SYS_memfd_secret SYS_migrate_pages SYS_mincore
        SYS_mkdirat SYS_mknodat SYS_mlock SYS_mlock2 SYS_mlockall SYS_mmap SYS_mount SYS_mount_setattr
        SYS_move_mount SYS_move_pages SYS_mprotect SYS_mq_getsetattr SYS_mq_notify SYS_mq_open
        SYS_mq_timedreceive SYS_mq_timedsend SYS_mq_unlink SYS_mremap SYS_mseal SYS_msgctl SYS_msgget SYS_msgrcv
        SYS_msgsnd SYS_msync SYS_munlock SYS_munlockall SYS_munmap SYS_name_to_handle_at SYS_nanosleep
        SYS_newfstatat SYS_nfsservctl SYS_open_by_handle_at SYS_open_tree SYS_openat SYS_openat2
        SYS_perf_event_open SYS_personality SYS_pidfd_getfd SYS_pidfd_open SYS_pidfd_send_signal SYS_pipe2
        SYS_pivot_root SYS_pkey_alloc SYS_pkey_free SYS_pkey_mprotect SYS_ppoll SYS_prctl SYS_pread64 SYS_preadv
        SYS_preadv2 SYS_prlimit64 SYS_process_madvise SYS_process_mrelease SYS_process_vm_readv
        SYS_process_vm_writev SYS_pselect6 SYS_ptrace SYS_pwrite64 SYS_pwritev SYS_pwritev2 SYS_quotactl
        SYS_quotactl_fd SYS_read SYS_readahead SYS_readlinkat SYS_readv SYS_reboot SYS_recvfrom SYS_recvmmsg
        SYS_recvmsg SYS_remap_file_pages SYS_removexattr SYS_renameat2 SYS_request_key SYS_restart_syscall
        SYS_rseq SYS_rt_sigaction SYS_rt_sigpending SYS_rt_sigprocmask SYS_rt_sigqueueinfo SYS_rt_sigreturn
        SYS_rt_sigsuspend SYS_rt_sigtimedwait SYS_rt_tgsigqueueinfo SYS_sched_get_priority_max
        SYS_sched_get_priority_min SYS_sched_getaffinity SYS_sched_getattr SYS_sched_getparam
        SYS_sched_getscheduler SYS_sched_rr_get_interval SYS_sched_setaffinity SYS_sched_setattr
        SYS_sched_setparam SYS_sched_setscheduler SYS_sched_yield SYS_seccomp SYS_semctl SYS_semget SYS_semop
        SYS_semtimedop SYS_sendfile SYS_sendmmsg SYS_sendmsg SYS_sendto SYS_set_mempolicy
        SYS_set_mempolicy_home_node SYS_set_robust_list SYS_set_tid_address SYS_setdomainname SYS_setfsgid
        SYS_setfsuid SYS_setgid SYS_setgroups SYS_sethostname SYS_setitimer SYS_setns SYS_setpgid
        SYS_setpriority SYS_setregid SYS_setresgid SYS_setresuid SYS_setreuid SYS_setsid SYS_setsockopt
        SYS_settimeofday SYS_setuid SYS_setxattr SYS_shmat SYS_shmctl SYS_shmdt SYS_shmget SYS_shutdown
        SYS_sigaltstack SYS_signalfd4 SYS_socket SYS_socketpair SYS_splice SYS_statfs SYS_statx SYS_swapoff
        SYS_swapon SYS_symlinkat SYS_sync SYS_syncfs SYS_sysinfo SYS_syslog SYS_tee SYS_tgkill SYS_timer_create
        SYS_timer_delete SYS_timer_getoverrun SYS_timer_gettime SYS_timer_settime SYS_timerfd_create
        SYS_timerfd_gettime SYS_timerfd_settime SYS_times SYS_tkill SYS_truncate SYS_umask SYS_umount2 SYS_uname
        SYS_unlinkat SYS_unshare SYS_userfaultfd SYS_utimensat SYS_vhangup SYS_vmsplice SYS_wait4 SYS_waitid
        SYS_write SYS_writev
    };
    #[cfg(target_arch = "x86_64")]
    let old: &[(&str, i64)] = of_libc! {
        SYS__sysctl SYS_access SYS_afs_syscall SYS_alarm SYS_arch_prctl SYS_chmod SYS_chown SYS_creat SYS_dup2
        SYS_epoll_create SYS_epoll_ctl_old SYS_epoll_wait SYS_epoll_wait_old SYS_eventfd SYS_fchmodat2 SYS_fork
        SYS_futimesat SYS_get_thread_area SYS_getdents SYS_getpgrp SYS_getpmsg SYS_getrlimit SYS_inotify_init
        SYS_ioperm SYS_iopl SYS_lchown SYS_link SYS_lstat SYS_mkdir SYS_mknod SYS_modify_ldt SYS_open SYS_pause
        SYS_pipe SYS_poll SYS_putpmsg SYS_readlink SYS_rename SYS_renameat SYS_rmdir SYS_security SYS_select
        SYS_set_thread_area SYS_setrlimit SYS_signalfd SYS_stat SYS_symlink SYS_sync_file_range SYS_sysfs
        SYS_time SYS_tuxcall SYS_unlink SYS_uselib SYS_ustat SYS_utime SYS_utimes SYS_vfork SYS_vserver
    };
    #[cfg(not(target_arch = "x86_64"))]
    let old: &[(&str, i64)] = &[];
    for (name, want) in both.iter().chain(old) {
        let name = name.strip_prefix("SYS_").unwrap();
        assert_eq!(i64::from(number(Arch::NATIVE, name)), *want, "{name}");
    }
    assert_eq!(
        [EPERM, EINVAL, ENOTTY, ENOSYS, EPROTONOSUPPORT, ESOCKTNOSUPPORT, EAFNOSUPPORT].map(i32::from),
        [
            libc::EPERM,
            libc::EINVAL,
            libc::ENOTTY,
            libc::ENOSYS,
            libc::EPROTONOSUPPORT,
            libc::ESOCKTNOSUPPORT,
            libc::EAFNOSUPPORT
        ]
    );
}

/// The tables of `strict`, for a reviewer to read the difference of. `JAIL_BLESS=1` rewrites them.
#[test]
fn golden_tables() {
    for (arch, name) in [(Arch::X86_64, "x86_64"), (Arch::AARCH64, "aarch64")] {
        let path = format!("{}/tests/golden/syscalls-strict-{name}.txt", env!("CARGO_MANIFEST_DIR"));
        let table = strict(arch, Net::None).table();
        if std::env::var_os("JAIL_BLESS").is_some() {
            std::fs::write(&path, &table).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(table == golden, "{path} differs; JAIL_BLESS=1 rewrites it\n{table}");
    }
}

#[test]
fn foreign_calls_are_killed_and_unknown_ones_are_unknown() {
    let filter = strict(Arch::X86_64, Net::None);
    let native = Arch::X86_64.audit;
    assert_eq!(filter.decide(I386, 1, [0; 6]), Action::KillProcess);
    assert_eq!(filter.decide(native, X32, [0; 6]), Action::KillProcess);
    assert_eq!(filter.decide(native, X32 + 1, [0; 6]), Action::KillProcess);
    assert_eq!(filter.decide(native, u32::MAX - 1, [0; 6]), Action::KillProcess);
    for unknown in [u32::MAX, X32 - 1, 470, 400, 512, 547, 1023] {
        assert_eq!(filter.decide(native, unknown, [0; 6]), Action::Errno(ENOSYS), "{unknown}");
    }
    let filter = strict(Arch::AARCH64, Net::None);
    assert_eq!(filter.decide(Arch::AARCH64.audit, X32, [0; 6]), Action::Errno(ENOSYS));
    assert_eq!(filter.decide(native, 1, [0; 6]), Action::KillProcess);
}

#[test]
fn dangerous_calls_are_refused() {
    let filter = strict(Arch::X86_64, Net::Host);
    for name in "unshare setns mount umount2 pivot_root chroot fsopen fsmount open_tree move_mount mount_setattr bpf \
        perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register add_key keyctl \
        request_key ptrace process_vm_readv process_vm_writev kcmp pidfd_getfd open_by_handle_at \
        name_to_handle_at reboot swapon swapoff acct quotactl settimeofday clock_settime clock_adjtime \
        adjtimex syslog sethostname setdomainname vhangup iopl ioperm modify_ldt fanotify_init sched_setattr \
        io_setup lookup_dcookie nfsservctl move_pages migrate_pages"
        .split_whitespace()
    {
        assert_eq!(ask(&filter, name, [0; 6]), NO, "{name}");
    }
    for name in ["init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load"] {
        assert_eq!(ask(&filter, name, [0; 6]), Action::KillProcess, "{name}");
    }
    assert_eq!(ask(&filter, "clone3", [0; 6]), Action::Errno(ENOSYS));
}

#[test]
fn what_programs_and_their_runtimes_use_is_allowed() {
    let filter = strict(Arch::X86_64, Net::None);
    for name in "statx faccessat2 fchmodat2 close_range copy_file_range preadv2 pwritev2 epoll_pwait2 \
        futex_waitv futex_wait futex_wake futex_requeue rseq membarrier getrandom memfd_create mseal \
        cachestat map_shadow_stack pkey_mprotect arch_prctl set_robust_list process_madvise pidfd_open \
        pidfd_send_signal waitid sysinfo getcpu landlock_restrict_self seccomp setresuid setgroups chown \
        capset mbind set_mempolicy get_mempolicy shmget mq_open execveat fork vfork clone \
        timer_create prlimit64 mlock2"
        .split_whitespace()
    {
        assert_eq!(ask(&filter, name, [0; 6]), Action::Allow, "{name}");
    }
}

/// Upper halves that must change nothing.
const HIGH: [u64; 3] = [0, 1 << 32, 0xffff_ffff << 32];

#[test]
fn clone_makes_no_namespaces() {
    let filter = strict(Arch::NATIVE, Net::None);
    for high in HIGH {
        let ask = |flags: u64| ask(&filter, "clone", [flags | high, 0, 0, 0, 0, 0]);
        assert_eq!(ask(17), Action::Allow, "fork");
        assert_eq!(ask(0x003d_0f00), Action::Allow, "pthread_create");
        assert_eq!(ask(0x0000_4111), Action::Allow, "vfork");
        for flag in [
            libc::CLONE_NEWNS,
            libc::CLONE_NEWCGROUP,
            libc::CLONE_NEWUTS,
            libc::CLONE_NEWIPC,
            libc::CLONE_NEWUSER,
            libc::CLONE_NEWPID,
            libc::CLONE_NEWNET,
        ] {
            let flag = u64::from(flag.cast_unsigned());
            assert_eq!(ask(flag | 17), NO);
            assert_eq!(ask(flag), NO);
        }
    }
}

#[test]
fn sockets_follow_the_network_mode() {
    let family = Action::Errno(EAFNOSUPPORT);
    for (high, net) in HIGH.iter().flat_map(|high| NETS.map(|net| (*high, net))) {
        let filter = strict(Arch::NATIVE, net);
        let socket = |family: u64, kind: u64, protocol: u64| {
            ask(&filter, "socket", [family | high, kind | high, protocol | high, 0, 0, 0])
        };
        let cloexec = 0o2_000_000;
        assert_eq!(socket(1, 1 | cloexec, 0), Action::Allow);
        assert_eq!(socket(1, 5, 0), Action::Allow);
        assert_eq!(socket(16, 3 | cloexec, 0), Action::Allow);
        assert_eq!(socket(16, 3, 6), family, "NETLINK_XFRM");
        assert_eq!(socket(16, 3, 12), family, "NETLINK_NETFILTER");
        for other in [0, 3, 15, 17, 21, 29, 30, 31, 38, 40, 41, 43, 44, 45] {
            assert_eq!(socket(other, 1, 0), family, "{other}");
        }
        for internet in [2, 10] {
            let inet = |kind, protocol| socket(internet, kind, protocol);
            if net == Net::None {
                assert_eq!(inet(1, 0), family);
                assert_eq!(inet(3, 1), family);
                continue;
            }
            assert_eq!(inet(1 | cloexec, 0), Action::Allow);
            assert_eq!(inet(1, 6), Action::Allow);
            assert_eq!(inet(2 | cloexec, 17), Action::Allow);
            assert_eq!(inet(2, 0), Action::Allow);
            assert_eq!(inet(1, 132), Action::Errno(EPROTONOSUPPORT), "SCTP");
            assert_eq!(inet(2, 136), Action::Errno(EPROTONOSUPPORT), "UDP-Lite");
            assert_eq!(inet(3 | cloexec, 1), NO, "raw");
            assert_eq!(inet(10, 768), NO, "packet");
            assert_eq!(inet(5, 132), Action::Errno(ESOCKTNOSUPPORT), "SCTP");
        }
        let pair = |family: u64| ask(&filter, "socketpair", [family | high, 1, 0, 0, 0, 0]);
        assert_eq!(pair(1), Action::Allow);
        assert_eq!(pair(2), family);
        assert_eq!(pair(30), family);
    }
}

#[test]
fn terminals_cannot_be_typed_into() {
    let filter = strict(Arch::NATIVE, Net::None);
    for high in HIGH {
        let ask = |request: u64| ask(&filter, "ioctl", [0, request | high, 0, 0, 0, 0]);
        for refused in [libc::TIOCSTI, libc::TIOCLINUX, libc::TIOCCONS, 0x5423, 0x5437, 0xc004_5877, 0xc004_5878] {
            assert_eq!(ask(refused), NO, "{refused:#x}");
        }
        for allowed in [
            libc::TCGETS,
            libc::TCSETS,
            libc::TCSETSW,
            libc::TCSETSF,
            libc::TIOCGWINSZ,
            libc::TIOCSWINSZ,
            libc::TIOCGPGRP,
            libc::TIOCSPGRP,
            libc::TIOCSCTTY,
            libc::TIOCNOTTY,
            libc::TIOCGSID,
            libc::TIOCGPTN,
            libc::TIOCSPTLCK,
            libc::TIOCGPTPEER,
            libc::TIOCPKT,
            libc::TIOCOUTQ,
            libc::TCFLSH,
            libc::TCXONC,
            libc::TIOCEXCL,
            libc::FIONREAD,
            libc::FIONBIO,
            libc::FIOCLEX,
            libc::FIONCLEX,
            libc::FICLONE,
            libc::FS_IOC_GETFLAGS,
            libc::SIOCGIFCONF,
            libc::SIOCGIFINDEX,
        ] {
            assert_eq!(ask(allowed), Action::Allow, "{allowed:#x}");
        }
        for unknown in [0x4b33, 0x5600, 0x8914, 0x5453, 0xb701, 0xff01] {
            assert_eq!(ask(unknown), Action::Errno(ENOTTY), "{unknown:#x}");
        }
    }
}

#[test]
fn processes_cannot_weaken_themselves() {
    let filter = strict(Arch::NATIVE, Net::None);
    for high in HIGH {
        let prctl = |option: i32, second: u64| {
            ask(&filter, "prctl", [u64::from(option.cast_unsigned()) | high, second | high, 0, 0, 0, 0])
        };
        for allowed in [
            libc::PR_SET_NAME,
            libc::PR_SET_PDEATHSIG,
            libc::PR_SET_DUMPABLE,
            libc::PR_SET_NO_NEW_PRIVS,
            libc::PR_SET_SECCOMP,
            libc::PR_SET_CHILD_SUBREAPER,
            libc::PR_SET_VMA,
            libc::PR_SET_PTRACER,
            libc::PR_SET_TIMERSLACK,
            libc::PR_CAPBSET_READ,
        ] {
            assert_eq!(prctl(allowed, 0), Action::Allow, "{allowed}");
        }
        for refused in
            [libc::PR_SET_MM, libc::PR_SET_SECUREBITS, 57, 59, libc::PR_SET_SPECULATION_CTRL, libc::PR_SCHED_CORE]
        {
            assert_eq!(prctl(refused, 0), NO, "{refused}");
        }
        assert_eq!(prctl(999, 0), Action::Errno(EINVAL));
        assert_eq!(prctl(libc::PR_CAP_AMBIENT, 2), NO, "raise");
        assert_eq!(prctl(libc::PR_CAP_AMBIENT, 4), Action::Allow, "clear");

        let personality = |persona: u64| ask(&filter, "personality", [persona | high, 0, 0, 0, 0, 0]);
        assert_eq!(personality(0), Action::Allow);
        assert_eq!(personality(0xffff_ffff), Action::Allow);
        assert_eq!(personality(0x0040_0000), NO, "READ_IMPLIES_EXEC");
        assert_eq!(personality(0x0004_0000), NO, "ADDR_NO_RANDOMIZE");

        let scheduler = |policy: u64| ask(&filter, "sched_setscheduler", [0, policy | high, 0, 0, 0, 0]);
        assert_eq!(scheduler(0), Action::Allow);
        assert_eq!(scheduler(3 | 0x4000_0000), Action::Allow);
        for realtime in [1, 2, 6, 1 | 0x4000_0000] {
            assert_eq!(scheduler(realtime), NO, "{realtime}");
        }
    }
}

#[test]
fn nodes_are_no_devices() {
    let filter = strict(Arch::X86_64, Net::None);
    for high in HIGH {
        let both = |mode: u32| {
            let mode = u64::from(mode) | high;
            let [mknod, mknodat] = [("mknod", [0, mode, 0, 0, 0, 0]), ("mknodat", [0, 0, mode, 0, 0, 0])]
                .map(|(name, arguments)| ask(&filter, name, arguments));
            assert_eq!(mknod, mknodat);
            mknod
        };
        for allowed in [0, libc::S_IFREG, libc::S_IFIFO, libc::S_IFSOCK] {
            assert_eq!(both(allowed | 0o644), Action::Allow);
        }
        for refused in [libc::S_IFCHR, libc::S_IFBLK, libc::S_IFDIR, libc::S_IFLNK] {
            assert_eq!(both(refused | 0o644), NO);
        }
    }
}

#[test]
fn words_edit_the_list() {
    let filter = |allow: &[&str], deny: &[&str]| Filter::from_policy(&calls(allow, deny), Net::None).unwrap();
    assert_eq!(ask(&filter(&[DEFAULT, "@debug"], &[]), "ptrace", [0; 6]), Action::Allow);
    assert_eq!(ask(&filter(&[DEFAULT, "kcmp"], &[]), "kcmp", [0; 6]), Action::Allow);
    assert_eq!(ask(&filter(&[DEFAULT, "kcmp"], &[]), "ptrace", [0; 6]), NO);
    let no_net = filter(&[DEFAULT, "socket"], &["@net"]);
    assert_eq!(ask(&no_net, "socket", [1, 1, 0, 0, 0, 0]), NO, "deny wins");
    assert_eq!(ask(&no_net, "poll", [0; 6]), Action::Allow);
    // A named call keeps its conditions.
    assert_eq!(ask(&filter(&["ioctl"], &[]), "ioctl", [0, 0x5412, 0, 0, 0, 0]), NO);
    // The smallest list still starts and ends a program.
    let least = filter(&["brk"], &["@keyring", "kexec_load"]);
    for name in ["execve", "execveat", "write", "exit_group", "brk"] {
        assert_eq!(ask(&least, name, [0; 6]), Action::Allow, "{name}");
    }
    assert_eq!(ask(&least, "openat", [0; 6]), NO);
    assert_eq!(ask(&least, "kexec_load", [0; 6]), Action::KillProcess);
    // A call that only the other architecture has.
    let aarch64 = Filter::for_arch(Arch::AARCH64, &calls(&[DEFAULT, "open"], &["fork"]), Net::None).unwrap();
    assert_eq!(aarch64, strict(Arch::AARCH64, Net::None));
}

#[test]
fn wrong_words_are_all_reported() {
    let problems = |allow: &[&str], deny: &[&str]| -> Vec<String> {
        let problems = Filter::from_policy(&calls(allow, deny), Net::None).unwrap_err();
        problems.into_iter().map(|(_, line)| line).collect()
    };
    assert_eq!(
        problems(&[DEFAULT, "opennat", "@defualt", "frobnicate", "clone3", "@module", "unshare"], &["@keyrings", ""]),
        [
            r#"x.toml:3: syscalls.allow: no system call or group is called "opennat"; did you mean "openat"?"#,
            r#"x.toml:3: syscalls.allow: no system call or group is called "@defualt"; did you mean "@default"?"#,
            r#"x.toml:3: syscalls.allow: no system call or group is called "frobnicate""#,
            r#"x.toml:3: syscalls.allow: "clone3" can never be allowed: the filter cannot see what it asks for"#,
            r#"x.toml:3: syscalls.allow: "@module" can never be allowed: it loads code into the kernel"#,
            r#"x.toml:3: syscalls.allow: "unshare" can never be allowed: it changes what the jail shows"#,
            r#"x.toml:3: syscalls.deny: no system call or group is called "@keyrings"; did you mean "@keyring"?"#,
            r#"x.toml:3: syscalls.deny: no system call or group is called """#,
        ]
    );
    assert_eq!(
        problems(&[DEFAULT], &["write", "@essential", DEFAULT]),
        [
            r#"x.toml:3: syscalls.deny: "write" cannot be denied: no program can be started or its failure reported without it"#,
            r#"x.toml:3: syscalls.deny: "@essential" cannot be denied: it contains "read", and no program can be started or its failure reported without it"#,
            r#"x.toml:3: syscalls.deny: "@default" cannot be denied: it contains "read", and no program can be started or its failure reported without it"#,
        ]
    );
    for essential in ["execve", "execveat", "exit_group", "exit", "read", "close", "rt_sigreturn"] {
        assert_eq!(problems(&[DEFAULT], &[essential]).len(), 1, "{essential}");
    }
    assert_eq!(
        problems(&[], &[]),
        [r#"syscalls.allow: is empty, and no program can run so; "@default" is the usual list"#]
    );
}

#[test]
fn every_word_that_can_never_be_allowed_is_refused() {
    for (group, call) in calls::all() {
        let allowed = Filter::from_policy(&calls(&[DEFAULT, call.name], &[]), Net::None);
        assert_eq!(allowed.is_err(), matches!(group.standing, Standing::Never(_) | Standing::Kill(_)), "{}", call.name);
        let group_allowed = Filter::from_policy(&calls(&[group.name], &[]), Net::None);
        assert_eq!(allowed.is_err(), group_allowed.is_err(), "{}", group.name);
    }
}

/// Words that may be in both lists.
fn words() -> Vec<&'static str> {
    let free = |group: &Group| matches!(group.standing, Standing::Default | Standing::OnRequest);
    let groups = calls::GROUPS.iter().filter(|group| free(group)).map(|group| group.name);
    groups.chain(calls::all().filter(|(group, _)| free(group)).map(|(_, call)| call.name)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Denying one thing more never lets anything more through.
    #[test]
    fn deny_only_takes_away(
        allow in prop::collection::vec(prop::sample::select(words()), 1..12),
        deny in prop::collection::vec(prop::sample::select(words()), 0..6),
        more in prop::sample::select(words()),
        seed in 1_u64..,
    ) {
        let before = Filter::from_policy(&calls(&allow, &deny), Net::Host).unwrap();
        let deny: Vec<&str> = deny.into_iter().chain([more]).collect();
        let after = Filter::from_policy(&calls(&allow, &deny), Net::Host).unwrap();
        let mut values = Vec::new();
        interesting(&before.clone().root(), &mut values);
        let mut random = Random(seed);
        for number in numbers() {
            let (_, arguments) = random.call(&values);
            for arguments in [arguments, [0; 6]] {
                if after.decide(after.arch.audit, number, arguments) == Action::Allow {
                    prop_assert_eq!(before.decide(before.arch.audit, number, arguments), Action::Allow);
                }
            }
        }
        prop_assert!(after.compile().is_ok());
    }
}

#[test]
fn in_the_hosts_namespaces_less_is_allowed_and_never_more() {
    for net in [Net::None, Net::Host] {
        let policy = calls(&[DEFAULT, "@watch", "@debug", "sched_setattr"], &["mkdir"]);
        let apart = Filter::from_policy(&policy, net).unwrap();
        let shared = apart.clone().in_the_hosts_namespaces(&policy, net);
        for (_, call) in calls::all() {
            let Some(number) = call.number(Arch::NATIVE) else { continue };
            for first in [0, 1, 2, 10, 16, 77] {
                for second in [0, 1, 2, 5, 77] {
                    let arguments = [first, second, 0, 0, 0, 0];
                    let ask = |filter: &Filter| filter.decide(Arch::NATIVE.audit, number, arguments);
                    let (before, after) = (ask(&apart), ask(&shared));
                    assert!(before == after || before == Action::Allow, "{}: {before} became {after}", call.name);
                }
            }
        }
        let refused = Action::Errno(EPERM);
        for name in ["chmod", "utimensat", "setxattr", "inotify_add_watch", "shmget", "mq_open"] {
            assert_eq!(ask(&shared, name, [0; 6]), refused, "{name}");
        }
        for name in ["prlimit64", "sched_setaffinity", "sched_setattr", "sched_setscheduler"] {
            assert_eq!(ask(&shared, name, [0; 6]), Action::Allow, "{name}");
            assert_eq!(ask(&shared, name, [77, 0, 0, 0, 0, 0]), refused, "{name}");
        }
        assert_eq!(ask(&shared, "mkdir", [0; 6]), refused);
        assert_eq!(ask(&shared, "socket", [1, 1, 0, 0, 0, 0]), Action::Errno(EAFNOSUPPORT));
        assert_eq!(ask(&shared, "socketpair", [1, 1 | 0x80000, 0, 0, 0, 0]), Action::Allow);
        assert_eq!(ask(&shared, "socketpair", [1, 2, 0, 0, 0, 0]), refused);

        let named = calls(&[DEFAULT, "chmod"], &[]);
        let shared = Filter::from_policy(&named, net).unwrap().in_the_hosts_namespaces(&named, net);
        assert_eq!(ask(&shared, "chmod", [0; 6]), Action::Allow);
        assert_eq!(ask(&shared, "fchmod", [0; 6]), refused);
    }
}
