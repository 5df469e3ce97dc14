//! The system's monotonic time: the precise time, and the coarse time as of the last timer interrupt.
//!
//! Coarse readings make expiry cheap, and the standard library has none. A precise reading takes 20 to 600
//! nanoseconds, depending on the machine, a coarse one a few. So this module calls the C library, which
//! the standard library links in any case. With the GNU C library it calls the function that the kernel maps into each
//! process directly, instead of through the C library, which saves each hit a call. Both readings come from the same
//! function, because they must be consistent with each other.

#[cfg(all(target_os = "linux", target_pointer_width = "64", not(larder_loom)))]
mod linux {
    use std::ptr;

    use crate::base::sync::{AtomicPtr, Ordering};

    #[repr(C)]
    struct Timespec {
        seconds: i64,
        nanoseconds: i64,
    }

    const MONOTONIC: i32 = 1;
    const MONOTONIC_COARSE: i32 = 6;

    type ClockGettime = unsafe extern "C" fn(clock: i32, time: *mut Timespec) -> i32;

    /// The function that reads the time; null until the first call.
    static FOUND: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

    #[inline]
    fn function() -> ClockGettime {
        // Relaxed: the function that it points to was mapped before the process began to run.
        let found = FOUND.load(Ordering::Relaxed);
        if found.is_null() {
            return find();
        }
        // SAFETY: `find` alone stores it, and only functions of this type.
        unsafe { std::mem::transmute::<*mut (), ClockGettime>(found) }
    }

    #[cold]
    fn find() -> ClockGettime {
        let function = kernel::function().unwrap_or(c_library::clock_gettime);
        // Relaxed: see `function`.
        FOUND.store(function as *mut (), Ordering::Relaxed);
        function
    }

    mod c_library {
        use super::Timespec;

        unsafe extern "C" {
            pub(super) fn clock_gettime(clock: i32, time: *mut Timespec) -> i32;
        }
    }

    /// The library that the kernel maps into each process (vdso(7)).
    #[cfg(all(
        target_env = "gnu",
        not(target_feature = "crt-static"),
        any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"),
    ))]
    mod kernel {
        use std::ffi::{CStr, c_char, c_int, c_void};

        use super::ClockGettime;

        const RTLD_LAZY: c_int = 1;
        const RTLD_NOLOAD: c_int = 4;
        const NAME: &CStr = if cfg!(target_arch = "aarch64") {
            c"__kernel_clock_gettime"
        } else {
            c"__vdso_clock_gettime"
        };

        unsafe extern "C" {
            fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void;
            fn dlsym(library: *mut c_void, symbol: *const c_char) -> *mut c_void;
        }

        /// The kernel's `clock_gettime`, if there is one.
        pub(super) fn function() -> Option<ClockGettime> {
            // SAFETY: the name ends in a null byte; nothing is loaded, so no code runs.
            let library = unsafe { dlopen(c"linux-vdso.so.1".as_ptr(), RTLD_LAZY | RTLD_NOLOAD) };
            if library.is_null() {
                return None;
            }
            // SAFETY: `library` was opened above and is never closed.
            let symbol = unsafe { dlsym(library, NAME.as_ptr()) };
            if symbol.is_null() {
                return None;
            }
            // SAFETY: the kernel's function of this name has this type, on all these processors.
            Some(unsafe { std::mem::transmute::<*mut c_void, ClockGettime>(symbol) })
        }
    }

    #[cfg(not(all(
        target_env = "gnu",
        not(target_feature = "crt-static"),
        any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"),
    )))]
    mod kernel {
        pub(super) fn function() -> Option<super::ClockGettime> {
            None
        }
    }

    #[inline]
    fn read(clock: i32) -> Option<u64> {
        let mut time = Timespec { seconds: 0, nanoseconds: 0 };
        // SAFETY: `time` is a `struct timespec` as 64-bit Linux defines it, and ours alone.
        let result = unsafe { function()(clock, &raw mut time) };
        if result != 0 {
            return None;
        }
        // Neither part is negative, and the sum overflows only after 584 years of uptime.
        let seconds = time.seconds.cast_unsigned().wrapping_mul(1_000_000_000);
        Some(seconds.wrapping_add(time.nanoseconds.cast_unsigned()))
    }

    #[inline]
    pub(crate) fn now_ns() -> u64 {
        // Every Linux has this clock.
        read(MONOTONIC).unwrap_or(0)
    }

    #[inline]
    pub(crate) fn coarse_ns() -> Option<u64> {
        read(MONOTONIC_COARSE)
    }
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64", not(larder_loom))))]
mod portable {
    use std::sync::OnceLock;
    use std::time::Instant;

    pub(crate) fn now_ns() -> u64 {
        static START: OnceLock<Instant> = OnceLock::new();
        let elapsed = START.get_or_init(Instant::now).elapsed();
        u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
    }

    pub(crate) fn coarse_ns() -> Option<u64> {
        None
    }
}

#[cfg(all(target_os = "linux", target_pointer_width = "64", not(larder_loom)))]
pub(crate) use linux::{coarse_ns, now_ns};
#[cfg(not(all(target_os = "linux", target_pointer_width = "64", not(larder_loom))))]
pub(crate) use portable::{coarse_ns, now_ns};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coarse_time_is_never_ahead_of_precise_time_and_neither_goes_back() {
        let (mut last, mut last_coarse) = (0, 0);
        for _ in 0..10_000 {
            let coarse = coarse_ns().unwrap_or(0);
            let now = now_ns();
            assert!(coarse <= now, "{coarse} is after {now}");
            assert!(last <= now && last_coarse <= coarse);
            (last, last_coarse) = (now, coarse);
        }
    }
}
