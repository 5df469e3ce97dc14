//! Functions that return a `Result`, an `Option`, or both.

use std::cell::Cell;
use std::sync::LazyLock;
use std::time::Duration;

use larder::test::FakeClock;
use larder::{LoadError, cached};

use crate::support::Runs;

#[derive(Clone, Debug, PartialEq)]
struct Failure(String);

#[test]
fn errors_come_back_and_are_not_stored() {
    static RUNS: Runs = Runs::new();

    #[cached(result)]
    fn parse(text: &str) -> Result<u64, Failure> {
        RUNS.add();
        let digits = text.strip_prefix('#').ok_or_else(|| Failure("no number".to_owned()))?;
        digits.parse().map_err(|_| Failure(format!("{digits} is not a number")))
    }

    assert_eq!(parse("1"), Err(Failure("no number".to_owned())));
    assert_eq!(parse("1"), Err(Failure("no number".to_owned())));
    assert_eq!(parse("#x"), Err(Failure("x is not a number".to_owned())));
    assert_eq!(RUNS.count(), 3);
    assert!(parse_cache().is_empty());
    assert_eq!((parse("#12"), parse("#12")), (Ok(12), Ok(12)));
    assert_eq!(RUNS.count(), 4);
    assert_eq!(parse_cache().peek("#12"), Some(12));
}

#[test]
fn errors_are_stored_if_that_is_wanted() {
    static RUNS: Runs = Runs::new();

    #[cached(result = false)]
    fn parse(text: &str) -> Result<u64, Failure> {
        RUNS.add();
        text.parse().map_err(|_| Failure(text.to_owned()))
    }

    assert_eq!((parse("x"), parse("x")), (Err(Failure("x".into())), Err(Failure("x".into()))));
    assert_eq!(RUNS.count(), 1);
}

type Parsed = Result<u64, Failure>;

mod short {
    pub(super) type Result<V> = std::result::Result<V, super::Failure>;
}

#[test]
fn a_result_may_be_an_alias() {
    #[cached(result)]
    fn with_one_type(n: u64) -> short::Result<u64> {
        if n == 0 { Err(Failure("zero".into())) } else { Ok(n) }
    }

    #[cached(result, value_type = u64)]
    fn without_types(n: u64) -> Parsed {
        if n == 0 { Err(Failure("zero".into())) } else { Ok(n) }
    }

    assert_eq!((with_one_type(1), without_types(1)), (Ok(1), Ok(1)));
    assert_eq!(
        (with_one_type(0), without_types(0)),
        (Err(Failure("zero".into())), Err(Failure("zero".into())))
    );
    assert_eq!((with_one_type_cache().len(), without_types_cache().len()), (1, 1));
}

#[test]
fn nothing_is_not_stored_with_option_and_stored_without() {
    static RUNS: Runs = Runs::new();

    #[cached(option)]
    fn even(n: u64) -> Option<u64> {
        RUNS.add();
        n.is_multiple_of(2).then_some(n)
    }

    #[cached]
    fn odd(n: u64) -> Option<u64> {
        RUNS.add();
        (n % 2 == 1).then_some(n)
    }

    assert_eq!([even(1), even(1), even(2), even(2)], [None, None, Some(2), Some(2)]);
    assert_eq!(RUNS.count(), 3);
    assert_eq!((even_cache().len(), even_cache().peek(&2)), (1, Some(2)));
    assert_eq!([odd(2), odd(2)], [None, None]);
    assert_eq!(RUNS.count(), 4);
    assert_eq!(odd_cache().peek(&2), Some(None));
}

#[test]
fn a_result_of_an_option_can_be_both() {
    static RUNS: Runs = Runs::new();

    #[cached(result, option)]
    fn find(n: i64) -> Result<Option<String>, Failure> {
        RUNS.add();
        match n {
            ..0 => Err(Failure("negative".to_owned())),
            0 => Ok(None),
            _ => Ok(Some(n.to_string())),
        }
    }

    for _ in 0..2 {
        assert_eq!(find(-1), Err(Failure("negative".to_owned())));
        assert_eq!(find(0), Ok(None));
        assert_eq!(find(1), Ok(Some("1".to_owned())));
    }
    assert_eq!(RUNS.count(), 5);
    assert_eq!(find_cache().len(), 1);
}

/// A clock that a test moves.
static CLOCK: LazyLock<FakeClock> = LazyLock::new(FakeClock::new);

#[test]
fn nothing_can_be_remembered_for_a_time() {
    static RUNS: Runs = Runs::new();

    #[cached(option, negative_ttl = "5s", builder = |builder| builder.capacity(10).clock(CLOCK.clone()))]
    fn find(n: u64) -> Option<u64> {
        RUNS.add();
        n.checked_sub(100)
    }

    assert_eq!([find(1), find(1)], [None, None]);
    assert_eq!(RUNS.count(), 1);
    CLOCK.advance(Duration::from_secs(6));
    assert_eq!(find(1), None);
    assert_eq!(RUNS.count(), 2);
    find_cache().insert(1, 7);
    assert_eq!(find(1), Some(7));
}

thread_local! {
    static COPIES: Cell<usize> = const { Cell::new(0) };
}

#[derive(Debug)]
struct Counted;

impl Clone for Counted {
    fn clone(&self) -> Self {
        COPIES.set(COPIES.get() + 1);
        Self
    }
}

#[test]
fn an_error_that_no_other_call_waits_for_is_not_cloned() {
    #[cached(result)]
    fn fail(_n: u64) -> Result<u64, Counted> {
        Err(Counted)
    }

    assert!(fail(1).is_err());
    assert_eq!(COPIES.get(), 0);
}

#[test]
#[should_panic(expected = "`circle` was called with the same key from within itself")]
fn a_call_with_the_same_key_from_within_panics() {
    #[cached(result)]
    fn circle(n: u64) -> Result<u64, Failure> {
        circle(n)
    }

    let _ = circle(1);
}

#[test]
fn a_call_with_the_same_key_from_within_can_be_an_error() {
    #[cached(result, map_error = |error| Failure(format!("{:?}", error.loader_error().is_some())))]
    fn closure(n: u64) -> Result<u64, Failure> {
        closure(n)
    }

    fn of_load(error: LoadError<Failure>) -> Failure {
        match error {
            LoadError::Reentrant => Failure("a circle".to_owned()),
            _ => Failure("another".to_owned()),
        }
    }

    #[cached(result, map_error = of_load)]
    fn function(n: u64) -> Result<u64, Failure> {
        function(n).map_err(|inner| Failure(format!("within: {}", inner.0)))
    }

    assert_eq!(closure(1), Err(Failure("false".to_owned())));
    assert_eq!(function(1), Err(Failure("within: a circle".to_owned())));
}
