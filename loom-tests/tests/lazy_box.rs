//! A value that is made when it is first needed. ORDERINGS.md lists the changes that make a model fail.
#![cfg(larder_loom)]

use larder::model::LazyValue;
use loom_tests::two;

#[test]
fn a_value_that_is_found_is_whole() {
    two::<LazyValue, _, _>(
        |_| {},
        |lazy| lazy.get_or_make(1),
        LazyValue::get,
        |lazy, made, found| {
            assert_eq!(made, 1);
            assert!(found.is_none_or(|value| value == 1));
            assert_eq!(lazy.get(), Some(1));
        },
    );
}

#[test]
fn two_threads_that_make_a_value_get_the_same() {
    two::<LazyValue, _, _>(
        |_| {},
        |lazy| lazy.get_or_make(1),
        |lazy| lazy.get_or_make(2),
        |lazy, a, b| {
            assert!(a == b && (a == 1 || a == 2));
            assert_eq!(lazy.get(), Some(a));
        },
    );
}
