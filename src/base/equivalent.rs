//! What a key can be looked up by.
#![forbid(unsafe_code)]

use std::borrow::Borrow;

/// A type by which keys of type `K` can be looked up.
///
/// Every borrowed form of a key is one: `str` for `String`, `[u8]` for `Vec<u8>`, and the key
/// itself. Implement it for a type of your own where a key has no borrowed form, a tuple or an
/// enum of owned parts, say; then a lookup needs no owned copy of the key.
///
/// The type must hash as the key does: if `query.equivalent(&key)` holds, `query` and `key` feed the
/// same bytes to a [`Hasher`](std::hash::Hasher). Derived implementations of `Hash` do, where both
/// types list parts that hash alike in the same order. A query that hashes otherwise finds nothing,
/// but breaks nothing.
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
    /// Whether `self` stands for `key`.
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
