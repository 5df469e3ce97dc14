//! Functions of all kinds: what is computed once, and what the helper functions do.

use larder::cached;

use crate::support::Runs;

#[test]
fn a_result_is_computed_once_for_each_argument() {
    static RUNS: Runs = Runs::new();

    #[cached]
    fn square(n: u64) -> u64 {
        RUNS.add();
        n * n
    }

    assert_eq!([square(3), square(4), square(3), square(4)], [9, 16, 9, 16]);
    assert_eq!(RUNS.count(), 2);
}

#[test]
fn the_helpers_reach_the_cache_and_the_body() {
    static RUNS: Runs = Runs::new();

    #[cached]
    fn double(n: u64) -> u64 {
        RUNS.add();
        n * 2
    }

    assert_eq!(double_uncached(5), 10);
    assert!(double_cache().is_empty());
    assert_eq!(double(5), 10);
    assert_eq!(double_cache().peek(&5), Some(10));
    double_cache().insert(5, 11);
    assert_eq!(double(5), 11);
    double_cache().clear();
    assert_eq!(double(5), 10);
    assert_eq!(RUNS.count(), 3);
}

#[test]
fn a_function_without_arguments_has_one_value() {
    static RUNS: Runs = Runs::new();

    #[cached(capacity = 1)]
    fn settings() -> String {
        RUNS.add();
        "loaded".to_owned()
    }

    assert_eq!((settings(), settings()), ("loaded".to_owned(), "loaded".to_owned()));
    assert_eq!(RUNS.count(), 1);
    assert_eq!(settings_cache().peek(&()).as_deref(), Some("loaded"));

    #[cached(key = (), capacity = 1)]
    fn first(text: &str) -> String {
        text.to_owned()
    }

    assert_eq!((first("a"), first("b")), ("a".to_owned(), "a".to_owned()));
}

#[test]
fn a_function_may_call_itself_with_other_arguments() {
    static RUNS: Runs = Runs::new();

    #[cached]
    fn fibonacci(n: u64) -> u64 {
        RUNS.add();
        if n < 2 { n } else { fibonacci(n - 1) + fibonacci(n - 2) }
    }

    assert_eq!(fibonacci(80), 23_416_728_348_467_685);
    assert_eq!(RUNS.count(), 81);
}

#[test]
fn the_body_may_have_types_with_methods_of_their_own() {
    #[cached]
    fn squared(n: u64) -> u64 {
        struct Square(u64);

        impl Square {
            fn of(n: u64) -> Self {
                Self(n * n)
            }
        }

        Square::of(n).0
    }

    assert_eq!((squared(3), squared_cache().len()), (9, 1));
}

#[test]
fn functions_of_one_name_in_two_places_have_two_caches() {
    mod other {
        #[larder::cached]
        pub(super) fn named(n: u64) -> u64 {
            n + 100
        }
    }

    #[cached]
    fn named(n: u64) -> u64 {
        n
    }

    assert_eq!((named(1), other::named(1)), (1, 101));
    assert_eq!(other::named_cache().len(), 1);
}

#[test]
fn without_helpers_the_cache_is_within_the_function() {
    static RUNS: Runs = Runs::new();

    trait Length {
        fn length(text: &str) -> usize;
        fn plus(a: (u32, u32), b: String) -> u32;
    }

    struct Bytes;

    // The body may return early, take its arguments apart and change them, as without the attribute.
    impl Length for Bytes {
        #[cached(helpers = false)]
        fn length(text: &str) -> usize {
            RUNS.add();
            if text.is_empty() {
                return 0;
            }
            text.len()
        }

        #[cached(helpers = false)]
        fn plus((left, mut right): (u32, u32), mut b: String) -> u32 {
            RUNS.add();
            right += 1;
            b.push('!');
            left + right + b.len() as u32
        }
    }

    assert_eq!([Bytes::length("a"), Bytes::length(""), Bytes::length("a")], [1, 0, 1]);
    assert_eq!(RUNS.count(), 2);
    assert_eq!([Bytes::plus((1, 2), "b".to_owned()), Bytes::plus((1, 2), "b".to_owned())], [6, 6]);
    assert_eq!(RUNS.count(), 3);
}

#[test]
#[should_panic(expected = "the cache of `worthless` cannot be built")]
fn a_setting_that_cannot_be_kept_panics_at_the_first_call() {
    #[cached(capacity = 10, jitter = 7.0)]
    fn worthless(n: u64) -> u64 {
        n
    }

    worthless(1);
}
