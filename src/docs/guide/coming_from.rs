//! The calls of other caches, and their counterparts here: a page for each.
//!
//! | you know | page |
//! |---|---|
//! | moka: `sync::Cache`, `future::Cache` and their entry selectors | [moka] |
//! | quick_cache | [quick_cache] |
//! | Caffeine, for Java: `Cache`, `LoadingCache`, `AsyncLoadingCache`, `asMap()` | [caffeine] |
//! | FusionCache, for .NET | [fusion_cache] |
//! | the crate `cached` and its macros | [cached] |
//! | the crate `lru` | [lru] |
//! | `std::collections::HashMap`, perhaps in a mutex | [hash_map] |
//!
//! Four things are different from most of them:
//!
//! - [`build`](crate::Builder::build) returns a `Result`, because a setting that cannot be kept is an
//!   error and not silently adjusted.
//! - A [load](super::loading) that the key was changed under is not stored; an error of a loader reaches all that
//!   waited for it; a loader that is dropped or hangs holds up no other call for longer than the load timeout; and a
//!   loader that asks for its own key gets an error instead of a deadlock.
//! - Closures that compute a new value from the old one run without a lock. No other call waits for them, and if
//!   the key is changed meanwhile, they are called again.
//! - Values have to be `Clone` only for calls that return them. [`read`](crate::Cache::read) borrows a
//!   value instead; large values go into an `Arc`.

pub mod moka;
pub mod quick_cache;
pub mod caffeine;
pub mod fusion_cache;
pub mod cached;
pub mod lru;
pub mod hash_map;
