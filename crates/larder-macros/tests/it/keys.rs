//! Which calls share a value.

use std::borrow::Cow;
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use larder::{Cache, cached};

use crate::support::{Runs, ready};

#[test]
fn borrowed_arguments_are_stored_as_owned_keys() {
    #[cached]
    fn length(text: &str) -> usize {
        text.len()
    }

    #[cached]
    fn sum(numbers: &[u32]) -> u32 {
        numbers.iter().sum()
    }

    #[cached]
    fn depth(path: &Path) -> usize {
        path.components().count()
    }

    #[cached]
    fn next(n: &u64) -> u64 {
        n + 1
    }

    #[cached]
    fn shout(word: &'static str) -> String {
        word.to_uppercase()
    }

    let lengths: &Cache<String, usize> = length_cache();
    let sums: &Cache<Vec<u32>, u32> = sum_cache();
    let depths: &Cache<PathBuf, usize> = depth_cache();
    let nexts: &Cache<u64, u64> = next_cache();
    let shouts: &Cache<&'static str, String> = shout_cache();
    assert_eq!((length(&String::from("four")), lengths.peek("four")), (4, Some(4)));
    assert_eq!((sum(&[1, 2]), sums.peek([1, 2].as_slice())), (3, Some(3)));
    assert_eq!((depth(Path::new("a/b")), depths.peek(Path::new("a/b"))), (2, Some(2)));
    assert_eq!((next(&1), nexts.peek(&1)), (2, Some(2)));
    assert_eq!((shout("a"), shouts.peek("a").as_deref()), ("A".to_owned(), Some("A")));
}

thread_local! {
    static COPIES: Cell<usize> = const { Cell::new(0) };
}

/// Counts its clones.
#[derive(PartialEq, Eq, Hash)]
struct Counted(u64);

impl Clone for Counted {
    fn clone(&self) -> Self {
        COPIES.set(COPIES.get() + 1);
        Self(self.0)
    }
}

#[test]
fn a_hit_clones_no_argument() {
    #[cached]
    fn by_reference(counted: &Counted) -> u64 {
        counted.0
    }

    #[cached]
    fn by_value(counted: Counted) -> u64 {
        counted.0
    }

    #[cached]
    fn one_of_several(word: &str, counted: &Counted, other: Counted) -> u64 {
        counted.0 + other.0 + word.len() as u64
    }

    let call = || {
        let sum = one_of_several("ab", &Counted(1), Counted(2));
        assert_eq!((by_reference(&Counted(1)), by_value(Counted(1)), sum), (1, 1, 5));
    };
    call();
    assert!(COPIES.take() > 0, "the keys are stored");
    for _ in 0..3 {
        call();
    }
    assert_eq!(COPIES.get(), 0);
}

#[test]
fn a_hit_copies_no_part_whatever_the_options() {
    static OWN: LazyLock<Cache<(String, Counted), u64>> = LazyLock::new(|| Cache::new(100));

    #[cached(count_lookups)]
    fn watched(word: &str, counted: &Counted) -> u64 {
        counted.0 + word.len() as u64
    }

    #[cached(refresh_after = "1h", ttl = "2h")]
    fn refreshed(word: &str, counted: &Counted) -> u64 {
        counted.0 + word.len() as u64
    }

    #[cached(eager_refresh = 0.9, ttl = "2h")]
    fn renewed(word: &str, counted: &Counted) -> u64 {
        counted.0 + word.len() as u64
    }

    #[cached(builder = |builder| builder.capacity(100).count_lookups())]
    fn built(word: &str, counted: Counted) -> u64 {
        counted.0 + word.len() as u64
    }

    #[cached(cache = OWN)]
    fn stored(word: &str, counted: &Counted) -> u64 {
        counted.0 + word.len() as u64
    }

    #[cached(helpers = false, key = (*counted,), key_type = (Counted,))]
    fn alone(counted: &Counted) -> u64 {
        counted.0 + 2
    }

    #[cached(result, key = (word.len(), *counted), key_type = (usize, Counted))]
    async fn awaited(word: &str, counted: &Counted) -> Result<u64, String> {
        Ok(counted.0 + word.len() as u64)
    }

    let call = || {
        let results = [
            watched("ab", &Counted(1)),
            refreshed("ab", &Counted(1)),
            renewed("ab", &Counted(1)),
            built("ab", Counted(1)),
            stored("ab", &Counted(1)),
            alone(&Counted(1)),
            ready(awaited("ab", &Counted(1))).expect("it does not fail"),
        ];
        assert_eq!(results, [3; 7]);
    };
    call();
    assert!(COPIES.take() >= 7, "the keys are stored");
    for _ in 0..3 {
        call();
    }
    assert_eq!(COPIES.get(), 0);
    for stats in [watched_cache().stats(), built_cache().stats()] {
        assert_eq!((stats.hits, stats.misses), (Some(3), Some(1)));
    }
}

#[test]
fn all_arguments_are_the_key_unless_it_is_given() {
    static RUNS: Runs = Runs::new();

    #[cached]
    fn all(word: &str, count: usize, flag: bool) -> String {
        RUNS.add();
        if flag { word.repeat(count) } else { String::new() }
    }

    let all_keys: &Cache<(String, usize, bool), String> = all_cache();
    assert_eq!(all("ab", 2, true), "abab");
    assert_eq!(all("ab", 3, true), "ababab");
    assert_eq!(all("ab", 2, false), "");
    assert_eq!(all("ab", 2, true), "abab");
    assert_eq!(RUNS.count(), 3);
    assert_eq!(all_keys.len(), 3);
}

#[test]
fn a_miss_is_counted_once_whatever_the_key() {
    #[cached(count_lookups)]
    fn counted(word: &str, other: &str) -> usize {
        word.len() + other.len()
    }

    assert_eq!((counted("a", "b"), counted("a", "b")), (2, 2));
    let stats = counted_cache().stats();
    assert_eq!((stats.hits, stats.misses), (Some(1), Some(1)));
}

/// Stands for a connection, which has no place in a key.
struct Connection {
    queries: Cell<usize>,
}

#[test]
fn an_argument_that_the_key_leaves_out_may_be_anything() {
    #[cached(key = id)]
    fn user(connection: &Connection, id: u64) -> String {
        connection.queries.set(connection.queries.get() + 1);
        format!("user {id}")
    }

    #[cached(key = id)]
    fn exclusive(connection: &mut Connection, id: u64) -> String {
        *connection.queries.get_mut() += 1;
        format!("user {id}")
    }

    #[cached(key = (id, kind))]
    fn moved(connection: Connection, id: u64, kind: &str) -> usize {
        connection.queries.get() + kind.len() + id as usize
    }

    #[cached(key = (request.path, id), key_type = (String, u64))]
    fn changed(request: &mut Request, id: u64) -> usize {
        request.session.push('!');
        request.session.len() + id as usize
    }

    #[cached(key = request.path, key_type = String)]
    fn changed_alone(request: &mut Request) -> usize {
        request.session.push('!');
        request.session.len()
    }

    let mut request = Request { id: 1, path: "/".into(), session: "a".into() };
    assert_eq!((changed(&mut request, 1), changed(&mut request, 1)), (3, 3));
    assert_eq!((changed_alone(&mut request), changed_alone(&mut request)), (3, 3));
    assert_eq!(request.session, "a!!");
    let mut connection = Connection { queries: Cell::new(0) };
    assert_eq!((user(&connection, 7), user(&connection, 7)), ("user 7".into(), "user 7".into()));
    assert_eq!(connection.queries.get(), 1);
    exclusive(&mut connection, 7);
    exclusive(&mut connection, 7);
    assert_eq!(connection.queries.get(), 2);
    let two = || Connection { queries: Cell::new(2) };
    assert_eq!((moved(two(), 1, "abc"), moved(two(), 1, "abc")), (6, 6));
    let keys: &Cache<(u64, String), usize> = moved_cache();
    assert!(keys.contains_key(&(1, "abc".to_owned())));
}

#[derive(Clone)]
struct Request {
    id: u64,
    path: String,
    session: String,
}

#[test]
fn a_key_may_be_computed_named_or_put_together() {
    #[cached(key = format!("{}:{}", a.min(b), a.max(b)), key_type = String)]
    fn distance(a: u32, b: u32) -> u32 {
        a.abs_diff(b)
    }

    #[cached(key = request.path, key_type = String)]
    fn page(request: &Request) -> String {
        format!("page of {}", request.session)
    }

    #[cached(key = *text.trim(), key_type = String)]
    fn trimmed(text: &str) -> usize {
        text.trim().len()
    }

    #[cached(key = (request.id, request.path, depth as u8), key_type = (u64, String, u8))]
    fn parts(request: Request, depth: u64) -> usize {
        request.session.len() + depth as usize
    }

    #[cached(key = (1, request.path, depth.into()), key_type = (u8, String, u64))]
    fn inferred(request: &Request, depth: u32) -> usize {
        request.path.len() + depth as usize
    }

    #[cached(key = n as u8)]
    fn low(n: u64) -> u64 {
        n
    }

    #[cached(key = "&text[..1]", key_type = "String")]
    fn in_quotes(text: &str) -> String {
        text.to_owned()
    }

    let request = |session: &str| Request { id: 1, path: "/".into(), session: session.into() };
    assert_eq!((distance(1, 5), distance(5, 1), distance_cache().len()), (4, 4, 1));
    assert_eq!(
        (page(&request("a")), page(&request("b"))),
        ("page of a".into(), "page of a".into())
    );
    assert_eq!((trimmed(" a "), trimmed("a"), trimmed_cache().len()), (1, 1, 1));
    assert_eq!((parts(request("abc"), 1), parts(request(""), 257)), (4, 4));
    assert_eq!((inferred(&request("a"), 1), inferred(&request("b"), 1)), (2, 2));
    assert_eq!(inferred_cache().len(), 1);
    assert_eq!((low(1), low(257), low_cache().peek(&1_u8)), (1, 1, Some(1)));
    assert_eq!((in_quotes("ab"), in_quotes("ac")), ("ab".to_owned(), "ab".to_owned()));
}

#[test]
fn a_generic_function_can_be_cached_if_its_key_and_value_are_not_generic() {
    #[cached(key = *name.as_ref(), key_type = String)]
    fn length(name: impl AsRef<str> + Clone) -> usize {
        name.as_ref().len()
    }

    #[cached(key = id)]
    fn shown<T: Default + std::fmt::Display, const N: usize>(id: u64, _unused: [T; N]) -> String {
        format!("{id}: {} {N}", T::default())
    }

    #[cached(key = *text, key_type = String)]
    fn lifetimes<'a>(text: Cow<'a, str>, _other: &'a str) -> usize {
        text.len()
    }

    assert_eq!((length("four"), length("four".to_owned()), length_cache().len()), (4, 4, 1));
    assert_eq!(shown(1, [2_u8; 3]), "1: 0 3");
    assert_eq!(shown(1, [""; 0]), "1: 0 3", "the key does not say which it is");
    assert_eq!(lifetimes(Cow::Borrowed("abc"), ""), 3);
}
