//! The system's monotonic time, in full and as of the last timer interrupt.
//!
//! The standard library has no coarse reading, which is what makes expiry cheap: the full one takes
//! 20 to 600 nanoseconds, depending on the machine, the coarse one a few. So this asks the C
//! library, which the standard library links anyway.

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod linux {
    #[repr(C)]
    struct Timespec {
        seconds: i64,
        nanoseconds: i64,
    }

    const MONOTONIC: i32 = 1;
    const MONOTONIC_COARSE: i32 = 6;

    unsafe extern "C" {
        fn clock_gettime(clock: i32, time: *mut Timespec) -> i32;
    }

    #[inline]
    fn read(clock: i32) -> Option<u64> {
        let mut time = Timespec { seconds: 0, nanoseconds: 0 };
        // SAFETY: `time` is a `struct timespec` as 64-bit Linux defines it, and ours alone.
        let result = unsafe { clock_gettime(clock, &raw mut time) };
        if result != 0 {
            return None;
        }
        // Neither is negative, and 584 years of uptime do not overflow.
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

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
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

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
pub(crate) use linux::{coarse_ns, now_ns};
#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
pub(crate) use portable::{coarse_ns, now_ns};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coarse_time_is_never_ahead_of_the_full_one_and_neither_goes_back() {
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
