//! What a function may look like, and what becomes of its attributes.

use std::collections::HashMap;
use std::sync::Arc;

use larder::{Cache, cached};

use crate::support::Runs;

/// Warnings are errors here, so the expansion must cause none.
#[deny(warnings)]
mod strict {
    use larder::cached;

    /// The documentation of the function.
    #[cached]
    #[must_use]
    #[inline]
    pub(super) fn documented(n: u64) -> u64 {
        n
    }

    #[cached(helpers = pub(super))]
    pub(crate) fn helpers_are_seen_less(n: u64) -> u64 {
        n
    }

    #[cached]
    #[allow(clippy::too_many_arguments, unused_variables)]
    pub(super) fn many(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8) -> u8 {
        a + h
    }

    #[cached]
    #[expect(unused_variables)]
    pub(super) fn expected(a: u8, b: u8) -> u8 {
        a
    }

    #[cached]
    #[doc(hidden)]
    pub(super) fn inner_attribute(n: u64, unused: u64) -> u64 {
        #![allow(unused_variables)]
        n
    }

    #[cached]
    #[cfg(any())]
    pub(super) fn left_out(n: Missing) -> Missing {
        n
    }

    #[cached]
    pub(super) fn changed(mut n: u64) -> u64 {
        n += 1;
        n
    }

    #[cached]
    #[deprecated = "for the test"]
    pub(super) fn old(n: u64) -> u64 {
        n
    }
}

#[test]
fn attributes_and_visibility_stay() {
    assert_eq!(strict::documented(1), 1);
    assert_eq!(strict::helpers_are_seen_less(1), 1);
    assert_eq!(strict::helpers_are_seen_less_cache().len(), 1);
    assert_eq!(strict::many(1, 0, 0, 0, 0, 0, 0, 2), 3);
    assert_eq!(strict::expected(1, 2), 1);
    assert_eq!(strict::inner_attribute(1, 2), 1);
    assert_eq!((strict::changed(1), strict::changed(1)), (2, 2));
    #[expect(deprecated)]
    let old = strict::old(1);
    assert_eq!(old, 1);
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Point {
    x: i32,
    y: i32,
}

#[test]
fn arguments_may_be_patterns() {
    static RUNS: Runs = Runs::new();

    #[cached]
    fn sum(
        Point { x, mut y }: Point,
        [a, .., b]: [i32; 3],
        (c, _): (i32, &'static str),
        _: bool,
    ) -> i32 {
        RUNS.add();
        y += 1;
        x + y + a + b + c
    }

    for _ in 0..2 {
        assert_eq!(sum(Point { x: 1, y: 2 }, [10, 20, 30], (100, ""), true), 144);
    }
    assert_eq!(RUNS.count(), 1);
    sum(Point { x: 1, y: 2 }, [10, 20, 30], (100, ""), false);
    assert_eq!(RUNS.count(), 2);
}

#[test]
fn names_may_be_keywords() {
    #[cached]
    fn r#match(r#type: u64) -> u64 {
        r#type
    }

    assert_eq!((r#match(1), match_uncached(1)), (1, 1));
    assert_eq!(match_cache().name(), Some("it::signatures::match"));
}

#[test]
fn names_of_the_expansion_meet_no_names_of_the_function() {
    #[derive(Clone, Debug, PartialEq)]
    struct Failure;

    #[cached(result, map_error = |_| Failure)]
    fn error(value: &str, error: u64, cache: u64, key: u64, load: u64) -> Result<u64, Failure> {
        value.parse::<u64>().map(|value| value + error + cache + key + load).map_err(|_| Failure)
    }

    assert_eq!(error("1", 2, 3, 4, 5), Ok(15));
    assert_eq!(error("x", 2, 3, 4, 5), Err(Failure));
}

#[test]
fn types_of_the_standard_library_may_be_shadowed() {
    #![allow(dead_code)]
    struct Result;
    struct Option;
    struct String;
    struct Vec;
    struct LazyLock;
    mod std {}
    mod core {}

    #[cached(result)]
    fn length(text: &str) -> ::core::result::Result<usize, Arc<str>> {
        Ok(text.len())
    }

    assert_eq!(length("abc"), Ok(3));
}

#[test]
fn values_may_be_of_any_type_that_is_owned() {
    type Handler = fn(&str) -> usize;

    #[cached]
    fn handler(n: u64) -> Handler {
        if n == 0 { str::len } else { |text| text.len() * 2 }
    }

    #[cached]
    fn closure(n: usize) -> Arc<dyn Fn(&str) -> usize + Send + Sync> {
        Arc::new(move |text| text.len() + n)
    }

    #[cached]
    fn counted(text: &str) -> Arc<HashMap<char, usize>> {
        let mut counts = HashMap::new();
        for letter in text.chars() {
            *counts.entry(letter).or_insert(0) += 1;
        }
        Arc::new(counts)
    }

    #[cached]
    fn constant(n: bool) -> &'static str {
        if n { "yes" } else { "no" }
    }

    assert_eq!((handler(0)("ab"), handler(1)("ab"), closure(1)("ab")), (2, 4, 3));
    assert!(Arc::ptr_eq(&counted("aab"), &counted("aab")));
    assert_eq!(constant(true), "yes");
}

#[test]
fn what_stands_below_the_attribute_is_about_the_body() {
    // `track_caller` is seen by the body, which the expansion calls.
    #[cached]
    #[track_caller]
    fn line(_n: u64) -> u32 {
        std::panic::Location::caller().line()
    }

    assert_eq!(line(1), line(1));
}

#[test]
fn what_the_linker_sees_is_the_cached_function() {
    static RUNS: Runs = Runs::new();

    #[cached]
    #[unsafe(export_name = "larder_test_exported")]
    extern "C" fn exported(n: u32) -> u32 {
        RUNS.add();
        n
    }

    mod elsewhere {
        // SAFETY: it is the function above, which takes and returns what is written here.
        unsafe extern "C" {
            pub(super) safe fn larder_test_exported(n: u32) -> u32;
        }
    }

    assert_eq!((elsewhere::larder_test_exported(1), exported(1)), (1, 1));
    assert_eq!(RUNS.count(), 1);
}

#[test]
fn a_pattern_gets_a_name_that_no_argument_has() {
    #[cached]
    fn sum((a, b): (u64, u64), argument_0: u64) -> u64 {
        a + b + argument_0
    }

    assert_eq!(sum((1, 2), 3), 6);
}

#[test]
fn a_cached_function_is_a_function() {
    #[cached]
    extern "C" fn exported(n: u32) -> u32 {
        n
    }

    fn apply(f: impl Fn(u64) -> u64, g: extern "C" fn(u32) -> u32) -> u64 {
        f(2) + u64::from(g(1))
    }

    #[cached]
    fn square(n: u64) -> u64 {
        n * n
    }

    let caches: [&'static Cache<u64, u64>; 1] = [square_cache()];
    assert_eq!((apply(square, exported), caches[0].len()), (5, 1));
}
