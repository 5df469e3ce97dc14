//! Large zeroed memory that costs nothing before it is used.
//!
//! The allocator's zeroed memory costs more: it has to clear what an earlier owner has left, and an
//! allocator may take large blocks from its own stock. glibc does so once blocks of that size were
//! freed, up to 32 MiB each, so that a hundred empty caches of a million entries took 1.6 GB. So
//! large blocks come from the operating system directly, which commits them page by page, and go
//! back there at once. Small blocks, and all blocks on systems whose calls are not known here, come
//! from the allocator.
//!
//! What must hold: the source of a block follows from its layout alone, so [`free`] knows it.

use std::alloc::{self, Layout};
use std::ptr::NonNull;

/// Blocks from this size on are mapped. A smaller one is cleared in less time than it takes to map
/// and unmap it, and the system may limit the number of mappings.
const MAPPED_FROM_BYTES: usize = 64 * 1024;
/// The least size of a page, and so the alignment of mapped blocks.
const PAGE_BYTES: usize = 4096;

const fn is_mapped(layout: Layout) -> bool {
    system::CAN_MAP && layout.size() >= MAPPED_FROM_BYTES && layout.align() <= PAGE_BYTES
}

/// Zeroed memory of that layout, which must not be empty; `None` if there is not enough.
pub(crate) fn allocate(layout: Layout) -> Option<NonNull<u8>> {
    assert!(layout.size() > 0, "nothing to allocate");
    if is_mapped(layout) {
        return system::map(layout.size());
    }
    // SAFETY: the layout is not empty.
    NonNull::new(unsafe { alloc::alloc_zeroed(layout) })
}

/// # Safety
/// `memory` is from [`allocate`] with this layout and is not used any more.
pub(crate) unsafe fn free(layout: Layout, memory: NonNull<u8>) {
    if is_mapped(layout) {
        // SAFETY: mapped by `allocate`, which decides by the same layout; not used, by the caller's
        // promise.
        unsafe { system::unmap(memory, layout.size()) };
    } else {
        // SAFETY: as above, but from the allocator.
        unsafe { alloc::dealloc(memory.as_ptr(), layout) };
    }
}

/// The systems on which the constants below hold: Linux has others on some processors.
#[cfg(all(
    not(any(larder_loom, miri)),
    target_pointer_width = "64",
    any(
        target_os = "macos",
        target_os = "ios",
        target_os = "freebsd",
        all(
            any(target_os = "linux", target_os = "android"),
            any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")
        )
    )
))]
mod system {
    use std::ffi::{c_int, c_void};
    use std::ptr::{self, NonNull};

    pub(super) const CAN_MAP: bool = true;

    const PROT_READ: c_int = 1;
    const PROT_WRITE: c_int = 2;
    const MAP_PRIVATE: c_int = 2;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const MAP_ANONYMOUS: c_int = 0x20;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const MAP_ANONYMOUS: c_int = 0x1000;
    /// Keeps the system from counting addresses, most of which may never be used, as memory in use.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const MAP_NORESERVE: c_int = 0x4000;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const MAP_NORESERVE: c_int = 0;

    // The standard library already links the C library.
    unsafe extern "C" {
        fn mmap(
            address: *mut c_void,
            length: usize,
            protection: c_int,
            flags: c_int,
            file: c_int,
            offset: i64,
        ) -> *mut c_void;
        fn munmap(address: *mut c_void, length: usize) -> c_int;
    }

    pub(super) fn map(bytes: usize) -> Option<NonNull<u8>> {
        let protection = PROT_READ | PROT_WRITE;
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        // SAFETY: a new private mapping at an address that the system chooses changes no other memory.
        let start = unsafe { mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
        // A failure is the address -1, which no mapping has.
        if start.addr() == usize::MAX {
            return None;
        }
        let start = NonNull::new(start.cast::<u8>())?;
        // Without this, the first word that is written would take two megabytes, where the system
        // uses huge pages for all memory that does not object. An owner that uses much of it asks
        // for them.
        crate::memory::huge_pages::refuse(start.as_ptr(), bytes);
        Some(start)
    }

    /// # Safety
    /// `start` is from [`map`] with this number of bytes, and they are not used any more.
    pub(super) unsafe fn unmap(start: NonNull<u8>, bytes: usize) {
        // SAFETY: by the caller's promise. It fails only for memory that is not mapped.
        let result = unsafe { munmap(start.as_ptr().cast(), bytes) };
        debug_assert_eq!(result, 0);
    }
}

#[cfg(not(all(
    not(any(larder_loom, miri)),
    target_pointer_width = "64",
    any(
        target_os = "macos",
        target_os = "ios",
        target_os = "freebsd",
        all(
            any(target_os = "linux", target_os = "android"),
            any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")
        )
    )
)))]
mod system {
    use std::ptr::NonNull;

    pub(super) const CAN_MAP: bool = false;

    pub(super) fn map(_bytes: usize) -> Option<NonNull<u8>> {
        None
    }

    pub(super) unsafe fn unmap(_start: NonNull<u8>, _bytes: usize) {}
}

/// Atomic words, all 0 at first. Only pages with written words take memory.
#[cfg(not(larder_loom))]
pub(crate) struct ZeroedWords {
    start: NonNull<crate::base::sync::AtomicU64>,
    len: usize,
}

#[cfg(not(larder_loom))]
const _: () = assert!(
    size_of::<crate::base::sync::AtomicU64>() == size_of::<u64>()
        && align_of::<crate::base::sync::AtomicU64>() <= PAGE_BYTES
);

// SAFETY: `start` points to atomics that `self` owns.
#[cfg(not(larder_loom))]
unsafe impl Send for ZeroedWords {}
// SAFETY: as above.
#[cfg(not(larder_loom))]
unsafe impl Sync for ZeroedWords {}

#[cfg(not(larder_loom))]
impl ZeroedWords {
    /// An array of `len` words; `None` if there is not enough memory.
    pub(crate) fn try_new(len: usize) -> Option<Self> {
        if len == 0 {
            return Some(Self { start: NonNull::dangling(), len });
        }
        let layout = Layout::array::<crate::base::sync::AtomicU64>(len).ok()?;
        Some(Self { start: allocate(layout)?.cast(), len })
    }
}

#[cfg(not(larder_loom))]
impl std::ops::Deref for ZeroedWords {
    type Target = [crate::base::sync::AtomicU64];

    #[inline]
    fn deref(&self) -> &Self::Target {
        // SAFETY: `len` words were allocated, which are aligned and live as long as `self`; zeroed
        // memory is an array of atomics of value 0.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

#[cfg(not(larder_loom))]
impl Drop for ZeroedWords {
    fn drop(&mut self) {
        if self.len > 0 {
            let layout = Layout::array::<crate::base::sync::AtomicU64>(self.len);
            let layout = layout.expect("it was valid when the words were allocated");
            // SAFETY: from `allocate` with this layout, and `self` is its only owner.
            unsafe { free(layout, self.start.cast()) };
        }
    }
}

/// The same for loom's atomics, which have more state than their bytes.
#[cfg(larder_loom)]
pub(crate) struct ZeroedWords(Box<[crate::base::sync::AtomicU64]>);

#[cfg(larder_loom)]
impl ZeroedWords {
    pub(crate) fn try_new(len: usize) -> Option<Self> {
        Some(Self((0..len).map(|_| crate::base::sync::AtomicU64::new(0)).collect()))
    }
}

#[cfg(larder_loom)]
impl std::ops::Deref for ZeroedWords {
    type Target = [crate::base::sync::AtomicU64];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use super::*;
    use crate::base::sync::Ordering;

    #[test]
    fn memory_is_zeroed_aligned_and_whole_whatever_its_size() {
        for bytes in [1, 8, 4096, MAPPED_FROM_BYTES - 1, MAPPED_FROM_BYTES, 5_000_000] {
            for align in [1, 8, 64, PAGE_BYTES, 2 * PAGE_BYTES] {
                let layout = Layout::from_size_align(bytes, align).expect("a valid layout");
                // Twice, to see that freed memory comes back without what was written to it.
                for _ in 0..2 {
                    let memory = allocate(layout).expect("there is that much");
                    assert!(memory.addr().get().is_multiple_of(align));
                    // SAFETY: so many bytes were allocated, and nothing else uses them.
                    let content = unsafe { std::slice::from_raw_parts_mut(memory.as_ptr(), bytes) };
                    assert!(content.iter().all(|byte| *byte == 0), "{layout:?}");
                    content.fill(0xaa);
                    // SAFETY: from `allocate` above, with this layout.
                    unsafe { free(layout, memory) };
                }
            }
        }
    }

    #[test]
    fn words_beyond_all_memory_are_refused_and_few_are_whole() {
        assert!(ZeroedWords::try_new(usize::MAX).is_none());
        assert!(ZeroedWords::try_new(usize::MAX / 16).is_none());
        for len in [0, 1, 100_000] {
            let words = ZeroedWords::try_new(len).expect("there is that much");
            assert_eq!(words.len(), len);
            assert!(words.iter().all(|word| word.swap(7, Ordering::Relaxed) == 0));
            assert!(words.iter().all(|word| word.load(Ordering::Relaxed) == 7));
        }
    }
}
