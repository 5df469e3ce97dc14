//! Types by which keys can be looked up.
#![forbid(unsafe_code)]

use std::borrow::Borrow;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

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

/// A type by which keys of type `K` can be looked up, and from which the key can be made if it is missing; for
/// the calls that load.
///
/// The key itself is such a type if it can be cloned, and so are the contents of a key that owns a string, a slice or a
/// path: `str` for `String`, `Arc<str>` and `Box<str>`, `[T]` for `Vec<T>`, `Arc<[T]>` and `Box<[T]>`. Implement the
/// trait, beside [`Equivalent`], for a type of your own that stands for a key. A hit makes no key.
///
/// # Examples
/// ```
/// use std::sync::Arc;
///
/// use larder::{Cache, Equivalent, ToKey};
///
/// /// Looks `(String, String)` up.
/// #[derive(Clone, Copy, Hash)]
/// struct Path<'p>(&'p str, &'p str);
///
/// impl Equivalent<(String, String)> for Path<'_> {
///     fn equivalent(&self, key: &(String, String)) -> bool {
///         self.0 == key.0 && self.1 == key.1
///     }
/// }
///
/// impl ToKey<(String, String)> for Path<'_> {
///     fn to_key(&self) -> (String, String) {
///         (self.0.to_owned(), self.1.to_owned())
///     }
/// }
///
/// let cache: Cache<(String, String), usize> = Cache::new(100);
/// assert_eq!(cache.get_or_insert_with(&Path("host", "page"), || 1), 1);
/// assert_eq!(cache.get_or_insert_with(&Path("host", "page"), || unreachable!("a hit")), 1);
///
/// let shared: Cache<Arc<str>, usize> = Cache::new(100);
/// assert_eq!(shared.get_or_insert_with("page", || 2), 2);
/// ```
pub trait ToKey<K>: Equivalent<K> {
    /// The key that `self` is equivalent to.
    fn to_key(&self) -> K;
}

impl<K: Clone + Eq> ToKey<K> for K {
    #[inline]
    fn to_key(&self) -> K {
        self.clone()
    }
}

/// `$contents` stands for each of the types that own such contents: `$owned`, [`Arc`] and [`Box`].
macro_rules! contents_stand_for_keys {
    ($($contents:ty $(, of $item:ident)? => $owned:ty;)*) => {$(
        contents_stand_for_keys!(@ ($(<$item: Clone + Eq>)?) $contents => $owned);
        contents_stand_for_keys!(@ ($(<$item: Clone + Eq>)?) $contents => Arc<$contents>);
        contents_stand_for_keys!(@ ($(<$item: Clone + Eq>)?) $contents => Box<$contents>);
    )*};
    (@ ($($generics:tt)*) $contents:ty => $key:ty) => {
        impl $($generics)* ToKey<$key> for $contents {
            #[inline]
            fn to_key(&self) -> $key {
                self.into()
            }
        }
    };
}

contents_stand_for_keys! {
    str => String;
    [T], of T => Vec<T>;
    CStr => CString;
    OsStr => OsString;
    Path => PathBuf;
}
