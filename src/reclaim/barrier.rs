//! The two halves of an asymmetric fence: cheap for readers, expensive for the thread that waits
//! for them.
//!
//! A reader announces itself by a store and then loads; a thread that waits for readers changes
//! memory and then loads the announcements. One of them is sure to see the other only if each has a
//! full fence between its two accesses. Where the system can make every running thread of the
//! process execute a fence on demand (`membarrier`, Linux 4.14), the readers' half shrinks to an
//! order that the compiler has to keep, and the other half does the work for both.
//!
//! # A system that refuses later
//! Whether the pair works is determined once, before the first reader. The system may withdraw its
//! consent later: a sandbox that the process enters (seccomp) may refuse the call. Readers then have
//! no fence of their own, and nothing shows whether a reader's store has become visible:
//!
//! | thread | may do | may not do |
//! |---|---|---|
//! | a reader | go in and out as before: it reads only memory that is not freed | |
//! | a thread that waits for readers | unlink, retire, take tickets; end a phase if no other thread has a reader (`epoch`) | end a phase otherwise, so no retired entry is freed |
//!
//! This is safe, but the memory grows without bound. There is no sound way to change the rule for
//! readers that exist already. To make them fence, or pin epochs, each has to notice the new rule. A
//! reader that has read the old rule and is about to store its mark, or sleeps for ever, cannot be told
//! from one that has noticed. Other means of making threads cross a fence take the same kind of call:
//! `mprotect` sends no interrupts on processors that flush by broadcast, and moving this thread over
//! all processors needs permission to run there. So the refusal is reported: in
//! [`Stats::is_reclamation_refused`](crate::Stats::is_reclamation_refused), and once on standard
//! error. Once the system consents again, all entries that wait are freed. If a sandbox is known to
//! refuse the call, build with `--cfg larder_epochs`.
//!
//! The idea and its proof are from userspace RCU (Desnoyers, McKenney, Stern, Dagenais, Walpole,
//! "User-Level Implementations of Read-Copy Update", IEEE TPDS 23(2), 2012).

#[cfg(not(larder_loom))]
pub(crate) use system::{heavy, is_asymmetric, is_refused, light, note_unneeded};

/// Loom has no asymmetric fence; a full fence on each side allows the same outcomes as the pair.
#[cfg(larder_loom)]
pub(crate) fn light() {
    crate::base::sync::fence(crate::base::sync::Ordering::SeqCst);
}

#[cfg(larder_loom)]
pub(crate) fn heavy() -> bool {
    crate::base::sync::fence(crate::base::sync::Ordering::SeqCst);
    true
}

#[cfg(larder_loom)]
pub(crate) fn is_refused() -> bool {
    false
}

#[cfg(all(
    not(any(larder_loom, larder_epochs)),
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")
))]
mod system {
    use std::ffi::{c_int, c_long, c_uint};
    use std::io::Write;
    use std::sync::{Once, OnceLock};

    use crate::base::sync::{AtomicBool, Ordering, compiler_fence};

    #[cfg(target_arch = "x86_64")]
    const MEMBARRIER: c_long = 324;
    #[cfg(not(target_arch = "x86_64"))]
    const MEMBARRIER: c_long = 283;

    const QUERY: c_int = 0;
    const PRIVATE_EXPEDITED: c_int = 1 << 3;
    const REGISTER_PRIVATE_EXPEDITED: c_int = 1 << 4;

    // The standard library links the C library anyway.
    unsafe extern "C" {
        fn syscall(number: c_long, ...) -> c_long;
    }

    fn membarrier(command: c_int) -> c_long {
        let (flags, cpu): (c_uint, c_int) = (0, 0);
        // SAFETY: the call takes these three integers and touches no memory of ours.
        unsafe { syscall(MEMBARRIER, command, flags, cpu) }
    }

    /// Whether [`light`] and [`heavy`] work as a pair here. The answer never changes.
    pub(crate) fn is_asymmetric() -> bool {
        static ANSWER: OnceLock<bool> = OnceLock::new();
        *ANSWER.get_or_init(|| {
            let wanted = c_long::from(PRIVATE_EXPEDITED | REGISTER_PRIVATE_EXPEDITED);
            let known = membarrier(QUERY);
            known >= 0 && known & wanted == wanted && membarrier(REGISTER_PRIVATE_EXPEDITED) == 0
        })
    }

    /// The readers' half.
    #[inline(always)]
    pub(crate) fn light() {
        // SeqCst: keeps the compiler from moving loads before the store; `heavy` does the rest.
        compiler_fence(Ordering::SeqCst);
    }

    /// The other half: when it returns true, each other thread has passed a full fence since it was
    /// called. False if the system refused. Once registered, it has no reason to refuse unless the
    /// process has entered a sandbox since (see the head of this module).
    pub(crate) fn heavy() -> bool {
        let is_refused = membarrier(PRIVATE_EXPEDITED) != 0;
        if is_refused {
            warn();
        }
        note(is_refused);
        !is_refused
    }

    /// Notes that no barrier is needed at the moment, because the waiting thread is the only
    /// reader.
    pub(crate) fn note_unneeded() {
        note(false);
    }

    fn note(is_refused: bool) {
        if is_refused != self::is_refused() {
            REFUSED.store(is_refused, Ordering::Relaxed);
        }
    }

    static REFUSED: AtomicBool = AtomicBool::new(false);

    /// Whether the last [`heavy`] was refused. A gauge.
    pub(crate) fn is_refused() -> bool {
        REFUSED.load(Ordering::Relaxed)
    }

    /// Reports the refusal, once in a process.
    #[cold]
    fn warn() {
        static WARNED: Once = Once::new();
        // If standard error is closed, `Stats` still reports it.
        WARNED.call_once(|| {
            let _ = writeln!(
                std::io::stderr(),
                "larder: the system refuses `membarrier` now, which it allowed before: entries that \
                 leave caches are not freed, so memory grows; allow it in the sandbox, or build with \
                 `--cfg larder_epochs`"
            );
        });
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_barrier_works_where_it_is_said_to() {
            assert_eq!(is_asymmetric(), is_asymmetric());
            assert!(!is_asymmetric() || heavy());
        }
    }
}

#[cfg(all(
    not(larder_loom),
    not(all(
        not(larder_epochs),
        target_os = "linux",
        any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")
    ))
))]
mod system {
    // Readers pin epochs here. `--cfg larder_epochs` makes them do so on every system, for tests.

    pub(crate) fn is_asymmetric() -> bool {
        false
    }

    #[inline(always)]
    pub(crate) fn light() {
        crate::base::sync::compiler_fence(crate::base::sync::Ordering::SeqCst);
    }

    pub(crate) fn heavy() -> bool {
        false
    }

    pub(crate) fn note_unneeded() {}

    pub(crate) fn is_refused() -> bool {
        false
    }
}
