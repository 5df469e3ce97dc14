//! Tests: entries of every alignment and size, allocated in every possible way.

use std::cell::RefCell;

use super::*;
use crate::base::hash::KeyHash;
use crate::memory;

/// More slots than a magazine takes at once, so that the last ones come from a second refill.
const MANY: usize = 80;
/// From this size on, few entries are made, since each comes from the allocator.
const LARGE: usize = 512;

fn spec(parts: usize) -> Option<DeadlineSpec> {
    let (written_ns, limit_ns, has_computed) = match parts {
        0 => return None,
        1 => (None, None, false),
        2 => (Some(11), None, false),
        3 => (Some(11), Some(13), false),
        _ => (Some(11), Some(13), true),
    };
    Some(DeadlineSpec { written_ns, deadline_ns: 17, limit_ns, has_computed })
}

/// Makes entries of each prefix, and checks that each part of them is aligned and keeps its
/// content. Then frees them in each way.
fn check<K, V>(make: fn() -> (K, V), state: &str) {
    let make = |spec: Option<DeadlineSpec>| {
        let (key, value) = make();
        match spec {
            None => Owned::new(KeyHash::from_raw(7), 3, key, value),
            Some(spec) => Owned::extended(KeyHash::from_raw(7), 3, key, value, spec, None),
        }
    };
    let many = if size_of::<Entry<K, V>>() < LARGE { MANY } else { 2 };
    let types = std::any::type_name::<(K, V)>();
    for spec in (0..5).map(spec) {
        let made: Vec<_> = (0..many).map(|_| make(spec)).collect();
        for owned in &made {
            let entry = owned.as_ptr();
            let pointers = (&raw const *owned.key(), &raw const *owned.value());
            let is_aligned = pointers.0.is_aligned()
                && pointers.1.is_aligned()
                && owned.0.is_aligned()
                && (&raw const *entry.meta()).is_aligned();
            assert!(is_aligned, "{types}, {state}: {pointers:?} of {:?}", entry.prefix());
            entry.meta().set_scratch(5);
            entry.set_frequency(9);
            assert_eq!((entry.meta().weight(), entry.meta().scratch()), (3, 5), "{types}");
            assert_eq!((entry.hash(), entry.frequency()), (KeyHash::from_raw(7), 9), "{types}");
            let deadline = entry.extension().map(|extension| extension.deadline.get());
            assert_eq!(deadline, spec.map(|_| 17), "{types}");
        }
        // A third is freed by the drop of its owner, and a third in each of the other ways.
        let mut shared: Vec<_> = made.into_iter().skip(many / 3).map(Owned::into_shared).collect();
        let any = shared.split_off(shared.len() / 2);
        // SAFETY: shared above, with no other thread; each once.
        let mut panics = unsafe { dispose::<K, V>(any) };
        panics += match spec {
            // SAFETY: as above.
            None => unsafe { dispose_plain::<K, V>(&shared) },
            // SAFETY: as above.
            Some(_) => unsafe { dispose::<K, V>(shared) },
        };
        assert_eq!(panics, 0);
    }
}

type Checks = Box<dyn FnOnce()>;

/// Runs its checks when the thread ends.
struct ChecksAtExit(RefCell<Option<Checks>>);

impl Drop for ChecksAtExit {
    fn drop(&mut self) {
        if let Some(checks) = self.0.take() {
            checks();
        }
    }
}

thread_local! {
    static AT_EXIT: ChecksAtExit = const { ChecksAtExit(RefCell::new(None)) };
}

/// Checks entries of a type in a thread of its own: with its magazines, while another thread holds
/// all pools, and after the thread's state has ended.
fn in_every_state<K: 'static, V: 'static>(make: fn() -> (K, V)) {
    let checks = move || {
        // This comes first, so that it is dropped after the state of this module.
        AT_EXIT
            .with(|at_exit| *at_exit.0.borrow_mut() = Some(Box::new(move || check(make, "exit"))));
        check(make, "magazine");
        #[cfg(unix)]
        {
            let _pools = memory::hold();
            check(make, "contended");
        }
    };
    // There is room for several copies of a key or value of one mebibyte.
    let thread = std::thread::Builder::new().stack_size(64 << 20).spawn(checks);
    thread.expect("a thread").join().expect("every check passes, also that at the thread's end");
}

macro_rules! aligned {
    ($($name:ident $align:literal)*) => {
        $(
            #[repr(align($align))]
            struct $name<const N: usize>([u8; N]);
        )*

        fn with_each_alignment<const N: usize>() {
            $(
                assert_eq!(align_of::<$name<N>>(), $align);
                in_every_state(|| ((), $name([1; N])));
                in_every_state(|| ($name([1; N]), ()));
            )*
        }
    };
}

aligned! {
    A1 1 A2 2 A4 4 A8 8 A16 16 A32 32 A64 64 A128 128 A256 256 A512 512 A1024 1024 A2048 2048
    A4096 4096
}

#[test]
fn entries_are_aligned_whatever_their_size_and_however_they_are_allocated() {
    with_each_alignment::<0>();
    with_each_alignment::<8>();
    with_each_alignment::<16>();
    with_each_alignment::<40>();
    with_each_alignment::<500>();
    with_each_alignment::<{ 1 << 20 }>();
}

#[test]
fn keys_and_values_of_different_alignment_are_both_aligned() {
    in_every_state(|| (A32([1; 0]), A16([1; 16])));
    in_every_state(|| (A16([1; 16]), A1([1; 3])));
    in_every_state(|| (A32([1; 1]), A64([1; 0])));
    in_every_state(|| (A4096([1; 0]), A32([1; 32])));
}
