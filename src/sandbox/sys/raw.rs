//! The system call instruction.
//!
//! For: the wrappers of this module. Not for: anybody else.
//! Runs in: the child and the supervisor.

use core::arch::asm;

use super::{Errno, Result};

/// Call numbers, from the kernel's tables as libc has them.
pub(super) type Nr = libc::c_long;

/// Does one system call with six arguments; unused ones are 0.
///
/// # Safety
/// The arguments must be what the call `nr` expects: pointers that the kernel follows must stay valid
/// for what it reads or writes, and the caller answers for changes of ownership (descriptors, memory,
/// processes).
#[inline]
pub(super) unsafe fn call(nr: Nr, a: [usize; 6]) -> Result<usize> {
    let [a0, a1, a2, a3, a4, a5] = a;
    let value: i64;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: `syscall` clobbers rcx and r11 and returns in rax; the stack is untouched; what the
    // kernel does with the arguments is the promise of our own caller.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") nr => value,
            in("rdi") a0, in("rsi") a1, in("rdx") a2, in("r10") a3, in("r8") a4, in("r9") a5,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: `svc 0` keeps every register but x0; the stack is untouched; what the kernel does with
    // the arguments is the promise of our own caller.
    unsafe {
        asm!(
            "svc 0",
            in("x8") nr,
            inlateout("x0") a0 => value,
            in("x1") a1, in("x2") a2, in("x3") a3, in("x4") a4, in("x5") a5,
            options(nostack),
        );
    }
    result(value)
}

/// What a process does that [`clone_beside`] starts.
pub(crate) trait Entry: Copy {
    /// Its own copy of what it was given, at the upper end of its stack.
    extern "C" fn enter(own: &mut Self) -> !;
}

/// clone(2) with `flags`, in the same memory; the new process enters `E` on the stack below `own`. The value is its
/// pid.
///
/// A function that returned in both processes would return twice through the same frames: hence the call from here,
/// whose target stands in the instruction for `scripts/check-child` to follow.
///
/// # Safety
/// `flags` has CLONE_VM and nothing that makes the kernel follow another argument. `own` is a multiple of 16 and
/// holds an `E`; it and enough room below it for all that `E` calls are nobody else's for as long as the process is
/// there or until its exec.
#[inline]
pub(super) unsafe fn clone_beside<E: Entry>(flags: usize, own: *mut E) -> Result<usize> {
    let value: i64;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as in `call`. The new process comes back from the kernel with `own` as its stack pointer, which is also
    // its argument, aligned for a call as the System V ABI wants it (3.2.2), and does not come out of the block.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, rsp",
            "call {enter}",
            "ud2",
            "2:",
            enter = sym E::enter,
            inlateout("rax") libc::SYS_clone => value,
            in("rdi") flags, in("rsi") own, in("rdx") 0, in("r10") 0, in("r8") 0, in("r9") 0,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as in `call`. The new process comes back from the kernel with `own` as its stack pointer, which is also
    // its argument, aligned as the AAPCS64 wants it (6.4.5), and does not come out of the block.
    unsafe {
        asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, sp",
            "bl {enter}",
            "brk #1",
            "2:",
            enter = sym E::enter,
            in("x8") libc::SYS_clone,
            inlateout("x0") flags => value,
            in("x1") own, in("x2") 0, in("x3") 0, in("x4") 0, in("x5") 0,
            lateout("x30") _,
            options(nostack),
        );
    }
    result(value)
}

/// The kernel returns -4095..=-1 for an error (syscall(2), "Architecture calling conventions").
#[inline]
fn result(value: i64) -> Result<usize> {
    if (-4095..0).contains(&value) {
        #[expect(clippy::cast_possible_truncation, reason = "the range was just checked")]
        return Err(Errno(-value as i32));
    }
    Ok(usize::from_ne_bytes(value.to_ne_bytes()))
}

/// A descriptor, id or flag word as an argument: sign-extended, as C would pass an int.
pub(super) const fn int(value: i32) -> usize {
    (value as isize).cast_unsigned()
}

/// A descriptor or pid out of a result. The kernel's ints are not negative here: [`call`] took those.
pub(super) fn to_int(value: usize) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// A 64-bit word as an argument; both supported architectures have 64-bit registers.
#[expect(clippy::cast_possible_truncation, reason = "usize is 64 bits on both architectures")]
pub(super) const fn word(value: u64) -> usize {
    const { assert!(size_of::<usize>() == 8, "jail needs a 64-bit architecture") };
    value as usize
}
