//! The two halves of an asymmetric fence: free for readers, dear for who waits for them.
//!
//! A reader announces itself by a store and then loads; who waits for readers changes memory and
//! then loads the announcements. For one of them to see the other, each needs a full fence
//! between its two accesses. Where the system can make every running thread of the process
//! execute one on demand (`membarrier`, Linux 4.14), the readers' half shrinks to an order that
//! the compiler has to keep, and the other half does the work for both.
//!
//! The idea and its proof are from userspace RCU (Desnoyers, McKenney, Stern, Dagenais, Walpole,
//! "User-Level Implementations of Read-Copy Update", IEEE TPDS 23(2), 2012).

#[cfg(not(larder_loom))]
pub(crate) use system::{heavy, is_asymmetric, light};

/// Loom knows no asymmetric fence; a full one on either side allows what the pair allows.
#[cfg(larder_loom)]
pub(crate) fn light() {
    crate::sync::fence(crate::sync::Ordering::SeqCst);
}

#[cfg(larder_loom)]
pub(crate) fn heavy() -> bool {
    crate::sync::fence(crate::sync::Ordering::SeqCst);
    true
}

#[cfg(all(
    not(any(larder_loom, larder_epochs)),
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")
))]
mod system {
    use std::ffi::{c_int, c_long, c_uint};
    use std::sync::OnceLock;

    use crate::sync::{Ordering, compiler_fence};

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
    /// was called. False if the system refused, which it has no reason to once registered.
    pub(crate) fn heavy() -> bool {
        membarrier(PRIVATE_EXPEDITED) == 0
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
        crate::sync::compiler_fence(crate::sync::Ordering::SeqCst);
    }

    pub(crate) fn heavy() -> bool {
        false
    }
}
