//! Invalidating all entries of a kind at once.
//!
//! An entry can carry up to four names, its *tags*.
//! [`invalidate_tag`](crate::Cache::invalidate_tag) makes every entry that carries a name absent to
//! all threads before it returns. It takes the same time for one entry as for a million.
//!
//! ```
//! use larder::Cache;
//!
//! let pages = Cache::new(10_000);
//! pages.insert_with_tags("/orders/1", "one", ["orders", "customer:7"]);
//! pages.insert_with_tags("/orders/2", "two", ["orders", "customer:8"]);
//! pages.insert("/about", "about");
//!
//! pages.invalidate_tag("customer:7");
//! assert_eq!(pages.get("/orders/1"), None);
//! assert_eq!(pages.get("/orders/2"), Some("two"));
//!
//! pages.invalidate_tag("orders");
//! assert_eq!(pages.get("/orders/2"), None);
//! assert_eq!(pages.get("/about"), Some("about"));
//!
//! // An entry that is inserted afterwards is valid.
//! pages.insert_with_tags("/orders/2", "new", ["orders", "customer:8"]);
//! assert_eq!(pages.get("/orders/2"), Some("new"));
//! ```
//!
//! - Tag an entry with everything that its value was made from: the table, the customer, the version
//!   of a template. The code that changes one of these need not know the keys.
//! - An entry keeps its tags as long as it is in the cache. An insertion without tags replaces it by an
//!   entry that has none.
//! - [`InsertOptions`](crate::InsertOptions) combines tags with a lifetime.
//! - A tag that begins with a zero byte is refused ([`ReservedTag`](crate::Rejection::ReservedTag)).
//! - A fifth tag is refused ([`TooManyTags`](crate::Rejection::TooManyTags)), and the value is not
//!   stored.
//! - Invalidated entries take room until their key is stored again, the policy evicts them, or
//!   `retain(|_, _| true)` sweeps them out.
//! - In a cache with [namespaces](super::namespaces), an entry has at most three tags.
//! - Snapshots keep tags. An invalidation does not reach a file that was written before it. Repeat it
//!   after loading, if the entries must not come back.
//!
//! # Without tags
//! [`invalidate_if`](crate::Cache::invalidate_if) removes the entries that a predicate selects. It visits
//! every entry, so it takes time in proportion to the size of the cache.
