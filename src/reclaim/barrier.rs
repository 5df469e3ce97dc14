//! The two halves of an asymmetric fence: free for readers, dear for who waits for them.
//!
//! A reader announces itself by a store and then loads; who waits for readers changes memory and
//! then loads the announcements. For one of them to see the other, each needs a full fence
//! between its two accesses. Where the system can make every running thread of the process
//! execute one on demand (`membarrier`, Linux 4.14), the readers' half shrinks to an order that
//! the compiler has to keep, and the other half does the work for both.
//!
//! # A system that refuses later
//! Whether the pair works is found out once, before the first reader. The system may take its consent
//! back: a sandbox that the process enters later (seccomp) may refuse the call. Readers have no fence of
//! their own then, and nothing tells whether a reader's store has become visible:
//!
//! | who | may do | may not do |
//! |---|---|---|
//! | a reader | go in and out, as ever: it reads what is not freed | |
//! | who waits for readers | unlink, retire, take tickets; end a phase if no other thread has a reader (`epoch`) | end a phase otherwise, so nothing retired is freed |
//!
//! That is safe, and takes memory without bound. There is no sound way back for readers that are
//! there already: to make them fence, or pin epochs, each has to notice that it should, and one that
//! has read the old rule and is about to store its mark, or sleeps for ever, cannot be told from one
//! that has noticed. Making the others cross a fence by other means takes the same kind of call
//! (`mprotect` sends no interrupts on processors that flush by broadcast, moving this thread over all
//! processors needs leave to run there). So it is said aloud: in
//! [`Stats::is_reclamation_refused`](crate::Stats::is_reclamation_refused), and once on standard
//! error. Once the system consents again, everything that waits is freed. Whoever knows that a sandbox
//! will refuse builds with `--cfg larder_epochs`.
//!
//! The idea and its proof are from userspace RCU (Desnoyers, McKenney, Stern, Dagenais, Walpole,
//! "User-Level Implementations of Read-Copy Update", IEEE TPDS 23(2), 2012).

#[cfg(not(larder_loom))]
pub(crate) use system::{heavy, is_asymmetric, is_refused, light, note_unneeded};

/// Loom knows no asymmetric fence; a full one on either side allows what the pair allows.
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

    /// Whether [`light`] and [`heavy`] make a pair here. The answer never changes.
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

    /// The other half: when it returns, each other thread has been through a full fence since it
    /// was called. False if the system refused, which it has no reason to once registered, unless the
    /// process is in a sandbox since (see the module head).
    pub(crate) fn heavy() -> bool {
        let is_refused = membarrier(PRIVATE_EXPEDITED) != 0;
        if is_refused {
            warn();
        }
        note(is_refused);
        !is_refused
    }

    /// Notes that no barrier is needed at the moment: who waits is the only one who reads.
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

    /// Says so, once in a process.
    #[cold]
    fn warn() {
        static SAID: Once = Once::new();
        // Who cannot hear it may ask `Stats`.
        SAID.call_once(|| {
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
    // Readers pin epochs here; `--cfg larder_epochs` makes them do so anywhere, for tests.

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
