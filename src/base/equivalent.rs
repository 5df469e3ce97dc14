//! Types by which keys can be looked up.
#![forbid(unsafe_code)]

use std::borrow::Borrow;

/// A type by which keys of type `K` can be looked up.
///
/// Every borrowed form of a key is such a type: `str` for `String`, `[u8]` for `Vec<u8>`, and the key
/// itself. Implement the trait for a type of your own if a key has no borrowed form, for example a tuple
/// or an enum of owned parts. Then a lookup needs no owned copy of the key.
///
/// The type must hash as the key does: if `query.equivalent(&key)` holds, `query` and `key` feed the
/// same bytes to a [`Hasher`](std::hash::Hasher). Derived implementations of `Hash` do if both types
/// list parts that hash alike in the same order. A query that hashes differently finds nothing, but does
/// no other harm.
///
/// # Examples
/// ```
/// use larder::{Cache, Equivalent};
///
/// /// Looks `(String, String)` up.
/// #[derive(Hash)]
/// struct Path<'p>(&'p str, &'p str);
///
/// impl Equivalent<(String, String)> for Path<'_> {
///     fn equivalent(&self, key: &(String, String)) -> bool {
///         self.0 == key.0 && self.1 == key.1
///     }
/// }
///
/// let cache = Cache::new(100);
/// cache.insert(("host".to_owned(), "page".to_owned()), 1);
/// assert_eq!(cache.get(&Path("host", "page")), Some(1));
/// assert_eq!(cache.get(&Path("host", "other")), None);
/// ```
pub trait Equivalent<K: ?Sized> {
    /// Whether `self` is equivalent to `key`.
    fn equivalent(&self, key: &K) -> bool;
}

impl<Q, K> Equivalent<K> for Q
where
    Q: Eq + ?Sized,
    K: Borrow<Q> + ?Sized,
{
    #[inline]
    fn equivalent(&self, key: &K) -> bool {
        key.borrow() == self
    }
}
