//! One op, carried out.
//!
//! For: the match from an op to its system calls; nothing here is deeper than `sys`.
//! Not for: order (the plan's) or words (the supervisor's).
//! Runs in: init and the payload.

use crate::sandbox::child::{Payload, Script, Slots, close_all_but, init, record};
use crate::sandbox::plan::op::{Op, Slot, Text};
use crate::sandbox::sys::fd::{self, CWD, Fd};
use crate::sandbox::sys::{Errno, Result, ZStr, confine, mount, process};

const EMPTY: ZStr<'static> = ZStr::literal(b"\0");

pub(super) fn execute(script: &Script<'_>, op: Op, slots: &mut Slots, state: &mut init::State) -> Result<()> {
    match op {
        Op::HoldSignals => {
            process::set_signal_mask(!0)?;
            slots.set(Slot::CHILDREN, fd::signalfd(1 << (libc::SIGCHLD - 1))?)?;
        }
        Op::CloseOthers => close_all_but(&slots.0, 3)?,
        Op::DieWithParent => confine::die_with_parent()?,
        Op::UnshareNet => process::unshare_net()?,
        Op::TellNetwork => {
            fd::write(slots.get(Slot::SETUP)?, &record::Record::Networked.encode())?;
        }
        Op::Await { gate } => await_byte(slots.get(gate)?)?,
        Op::JoinCgroup { file } => {
            let file = fd::openat(CWD, script.text(file)?, libc::O_WRONLY, 0)?;
            fd::write(file, b"0")?;
            fd::close(file)?;
        }
        Op::UnshareCgroup => process::unshare_cgroup()?,
        Op::DropGroups => process::drop_groups()?,
        Op::SetGid { gid } => process::set_gid(gid)?,
        Op::SetUid { uid } => process::set_uid(uid)?,
        Op::MakePrivate => mount::make_all_private()?,
        Op::NewTmpfs { slot, size, inodes, mode, attrs } => {
            let context = mount::fsopen(ZStr::literal(b"tmpfs\0"))?;
            mount::fsconfig(context, ZStr::literal(b"size\0"), script.text(size)?)?;
            mount::fsconfig(context, ZStr::literal(b"nr_inodes\0"), script.text(inodes)?)?;
            mount::fsconfig(context, ZStr::literal(b"mode\0"), script.text(mode)?)?;
            slots.set(slot, mount::fsmount(context, attrs)?)?;
        }
        Op::NewProc { subset_pid } => {
            let context = mount::fsopen(ZStr::literal(b"proc\0"))?;
            if subset_pid {
                mount::fsconfig(context, ZStr::literal(b"subset\0"), ZStr::literal(b"pid\0"))?;
            }
            // Init is undumpable, so this hides it, and with it the supervisor's command line.
            mount::fsconfig(context, ZStr::literal(b"hidepid\0"), ZStr::literal(b"ptraceable\0"))?;
            let attrs = mount::Attrs::NOSUID.and(mount::Attrs::NODEV).and(mount::Attrs::NOEXEC);
            slots.set(Slot::MOUNT, mount::fsmount(context, attrs)?)?;
        }
        Op::NewDevpts => {
            let context = mount::fsopen(ZStr::literal(b"devpts\0"))?;
            mount::fsconfig(context, ZStr::literal(b"ptmxmode\0"), ZStr::literal(b"0666\0"))?;
            mount::fsconfig(context, ZStr::literal(b"mode\0"), ZStr::literal(b"0620\0"))?;
            // All instances share the host's kernel.pty.max.
            mount::fsconfig(context, ZStr::literal(b"max\0"), ZStr::literal(b"64\0"))?;
            let attrs = mount::Attrs::NOSUID.and(mount::Attrs::NOEXEC);
            slots.set(Slot::MOUNT, mount::fsmount(context, attrs)?)?;
        }
        Op::NewOverlay { lower, upper, work } => {
            let context = mount::fsopen(ZStr::literal(b"overlay\0"))?;
            mount::fsconfig(context, ZStr::literal(b"lowerdir\0"), script.text(lower)?)?;
            mount::fsconfig(context, ZStr::literal(b"upperdir\0"), script.text(upper)?)?;
            mount::fsconfig(context, ZStr::literal(b"workdir\0"), script.text(work)?)?;
            slots.set(Slot::MOUNT, mount::fsmount(context, mount::Attrs::NOSUID.and(mount::Attrs::NODEV))?)?;
            fd::close(context)?;
        }
        Op::AttachRoot => {
            let root = slots.get(Slot::ROOT)?;
            mount::attach(root, CWD, ZStr::literal(b"/\0"))?;
            fd::fchdir(root)?;
        }
        Op::MakeDir { path, mode } => fd::mkdirat(slots.get(Slot::ROOT)?, script.text(path)?, mode)?,
        Op::MakeLink { path, target } => {
            fd::symlinkat(script.text(target)?, slots.get(Slot::ROOT)?, script.text(path)?)?;
        }
        Op::MakePoint { path, mode } => fd::mknodat(slots.get(Slot::ROOT)?, script.text(path)?, mode)?,
        Op::MakeFile { path, content, mode } => {
            let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL;
            let file = fd::openat(slots.get(Slot::ROOT)?, script.text(path)?, flags, mode)?;
            let content = script.text(content)?.bytes();
            if fd::write(file, content)? != content.len() {
                return Err(Errno(libc::EIO));
            }
        }
        Op::OpenSource { path, major, minor, inode } => {
            let resolve = libc::RESOLVE_NO_SYMLINKS | libc::RESOLVE_NO_MAGICLINKS;
            let source = fd::openat2(CWD, script.text(path)?, libc::O_PATH, 0, resolve)?;
            if fd::identity(source)? != (major, minor, inode) {
                return Err(Errno(libc::ESTALE));
            }
            slots.set(Slot::SOURCE, source)?;
        }
        Op::OpenInside { path } => {
            let source = open_inside(script, slots, path)?;
            slots.set(Slot::SOURCE, source)?;
        }
        Op::CloneTree { recursive } => {
            let tree = mount::clone_tree(slots.get(Slot::SOURCE)?, recursive)?;
            slots.forget(Slot::SOURCE)?;
            slots.set(Slot::MOUNT, tree)?;
        }
        Op::SetAttrs { slot, attrs, recursive } => mount::set_attrs(slots.get(slot)?, attrs, recursive)?,
        Op::Attach { slot, dest } => {
            let dest = open_inside(script, slots, dest)?;
            mount::attach(slots.get(slot)?, dest, EMPTY)?;
            slots.forget(slot)?;
        }
        Op::PivotRoot => mount::pivot_here()?,
        Op::DetachOldRoot => mount::detach_here()?,
        Op::Chdir { path } => {
            // A magic link below /proc would lead to whatever an inherited descriptor is (CVE-2024-21626).
            let flags = libc::O_PATH | libc::O_DIRECTORY;
            let dir = fd::openat2(CWD, script.text(path)?, flags, 0, libc::RESOLVE_NO_MAGICLINKS)?;
            fd::fchdir(dir)?;
            fd::close(dir)?;
        }
        Op::Hostname { name } => process::set_hostname(script.text(name)?)?,
        Op::LoopbackUp => fd::loopback_up()?,
        Op::NewSession => process::new_session()?,
        Op::Umask { mask } => process::set_umask(mask)?,
        Op::LockSecurebits => confine::lock_securebits()?,
        Op::DropBoundingSet { last } => {
            for capability in 0..=last {
                confine::drop_bounding(capability)?;
            }
        }
        Op::DropCaps => confine::drop_all_caps()?,
        Op::NoNewPrivs => confine::no_new_privs()?,
        Op::Undumpable => confine::undumpable()?,
        Op::BecomeReaper => confine::become_reaper()?,
        Op::SpawnPayload => {
            let payload = Payload { script: *script, slots: *slots, state: *state };
            state.payload = process::fork_beside(payload)?;
        }
        Op::KeepOnly { slots: [a, b, c, d, e] } => {
            let kept = [slots.get(a)?, slots.get(b)?, slots.get(c)?, slots.get(d)?, slots.get(e)?];
            close_all_but(&kept, 0)?;
        }
        Op::Close { slot } => slots.close(slot)?,
        Op::LandlockRuleset { handled } => slots.set(Slot::RULESET, confine::landlock_ruleset(handled)?)?,
        Op::LandlockAllow { path, access } => {
            let beneath = fd::openat(CWD, script.text(path)?, libc::O_PATH | libc::O_NOFOLLOW, 0)?;
            confine::landlock_allow(slots.get(Slot::RULESET)?, beneath, access)?;
            fd::close(beneath)?;
        }
        Op::LandlockAllowSource { access } => {
            confine::landlock_allow(slots.get(Slot::RULESET)?, slots.get(Slot::SOURCE)?, access)?;
            slots.close(Slot::SOURCE)?;
        }
        Op::LandlockRestrict => {
            confine::landlock_restrict(slots.get(Slot::RULESET)?)?;
            slots.close(Slot::RULESET)?;
        }
        Op::Rlimit { resource, soft, hard } => process::set_rlimit(resource, soft, hard)?,
        Op::Stdio { slot, fd } => fd::dup_onto(slots.get(slot)?, fd)?,
        Op::ResetSignals { signals } => {
            let mut left = signals;
            let mut signal: i32 = 1;
            while left != 0 {
                if left & 1 == 1 {
                    process::default_signal(signal)?;
                }
                left >>= 1;
                signal = signal.saturating_add(1);
            }
            process::set_signal_mask(0)?;
        }
        Op::CloseOnExec => fd::close_range(3, u32::MAX, true)?,
        Op::Open { gate } => {
            fd::write(slots.get(gate)?, b"!")?;
        }
        Op::ExpectAbsent { path } => expect(fd::openat(CWD, script.text(path)?, libc::O_PATH, 0), libc::ENOENT)?,
        Op::ExpectDenied { path } => expect(fd::openat(CWD, script.text(path)?, libc::O_RDONLY, 0), libc::EACCES)?,
        Op::ExpectRlimit { resource, value } => hold(process::rlimit(resource)? == (value, value))?,
        Op::ExpectIds { uid, gid } => hold(process::effective_ids()? == (uid, gid))?,
        Op::ExpectNoPrivileges { probe } => {
            let bounding = match probe {
                Some(capability) => confine::in_bounding(capability)?,
                None => false,
            };
            hold(confine::has_no_caps()? && !bounding && confine::has_no_new_privs()?)?;
        }
        Op::ExpectScoped => hold(!process::may_signal_parent()?)?,
        Op::SetFilter { of } => confine::set_filter(script.filter(of))?,
        Op::ExpectFiltered => expect(confine::unshare_nothing(), libc::EPERM)?,
        Op::ExpectNoInternet => expect(fd::internet_socket(), libc::EAFNOSUPPORT)?,
        Op::Stamp { moment } => state.stamp(moment, process::clock_us()?),
        Op::SendStamps => {
            // One write, so that the supervisor is woken once.
            fd::write(slots.get(Slot::SETUP)?, record::stamps(state.stamps).as_flattened())?;
        }
        Op::ExpectListener => fd::close(confine::set_listener()?)?,
        Op::Exec => return Err(process::exec(script.exec)),
        Op::Reap => {
            init::reap(slots, state)?;
        }
        Op::KillAll => {
            init::kill_all()?;
        }
    }
    Ok(())
}

/// Opens `path` below the new root as a bare location. No component may be a symbolic link: a planted
/// one (`work/out -> /etc`) must not decide where a mount goes (CVE-2021-30465).
fn open_inside(script: &Script<'_>, slots: &Slots, path: Text) -> Result<Fd> {
    let resolve = libc::RESOLVE_NO_SYMLINKS | libc::RESOLVE_NO_MAGICLINKS | libc::RESOLVE_IN_ROOT;
    fd::openat2(slots.get(Slot::ROOT)?, script.text(path)?, libc::O_PATH, 0, resolve)
}

/// The supervisor (or init) sends one byte; end-of-file instead means that it is gone.
fn await_byte(gate: Fd) -> Result<()> {
    let mut byte = [0_u8; 1];
    if fd::read(gate, &mut byte)? == 1 { Ok(()) } else { Err(Errno(libc::EPIPE)) }
}

/// A witness: the call must fail, and with this error. Success or another error means that the layer
/// does not hold as planned; EUCLEAN ("structure needs cleaning") is the code for that, which none of
/// these calls gives.
fn expect<T>(result: Result<T>, errno: i32) -> Result<()> {
    match result {
        Err(Errno(found)) if found == errno => Ok(()),
        _ => Err(Errno(libc::EUCLEAN)),
    }
}

fn hold(condition: bool) -> Result<()> {
    if condition { Ok(()) } else { Err(Errno(libc::EUCLEAN)) }
}
