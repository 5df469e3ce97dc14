//! Tenants that share one cache, each with a guaranteed part.
//!
//! A cache for each tenant wastes what the idle ones do not use; one cache for all lets the busiest take
//! everything. With [namespaces](crate::Builder::namespaces), all share one bound, and each is guaranteed a
//! minimum of it.
//!
//! Sharing helps the tenants that ask most, and those that are busy while others are idle. It costs the others. In the
//! [case that was measured](crate::docs::design#namespaces), the busy tenant's hit ratio rose from 38.6 to 43.2 %,
//! those of the other two fell from 62.9 to 58.2 % and from 56.5 to 54.0 %, and a cache for each was best on average.
//!
//! ```
//! use larder::{Cache, Namespaces};
//!
//! // Keys look like "acme:/orders/7".
//! let tenants = Namespaces::by_name(|key: &String| key.split(':').next().unwrap_or(""))
//!     .guarantee("acme", 2_000)
//!     .guarantee("umbra", 1_000);
//! let pages: Cache<String, String> =
//!     Cache::builder().capacity(10_000).count_lookups().namespaces(tenants).build()?;
//! pages.insert("acme:/orders/7".to_owned(), "seven".to_owned());
//! assert_eq!(pages.namespace_of("acme:/orders/7").as_deref(), Some("acme"));
//!
//! // Everything that the tenant has is gone before the call returns.
//! pages.invalidate_namespace("acme");
//! assert_eq!(pages.get("acme:/orders/7"), None);
//! # Ok::<(), larder::BuildError>(())
//! ```
//!
//! - Minimums are in entries if the cache has a capacity, in weight if it has a maximal weight. Guarantee what
//!   each tenant must not lose, and leave the rest to the policy, which gives it mostly to the busiest. In the
//!   [figures](crate::docs::design#namespaces) more guarantees cost the busy tenant more than they brought the others.
//! - A namespace that is idle keeps its minimum. Guarantee what a tenant needs when it comes back, not
//!   what it uses at its busiest.
//! - Where the key does not say the namespace, use [`Namespaces::at_insertion`](crate::Namespaces::at_insertion)
//!   and [`InsertOptions::namespace`](crate::InsertOptions::namespace).
//! - [`namespace_stats`](crate::Cache::namespace_stats) shows entries, weight, hits, insertions and evictions of
//!   one. A lookup of an absent key does not know its namespace;
//!   [`get_in`](crate::Cache::get_in) names it, so that the miss is counted.
//! - [`guarantee_up_to`](crate::Namespaces::guarantee_up_to) also limits a namespace, so that a noisy tenant cannot
//!   take all that is not guaranteed.
//! - [`shadow_namespace`](crate::Cache::shadow_namespace) answers what a tenant's hit ratio would be with half, twice
//!   or four times its minimum. Ask it for the few tenants in question, for a while, and
//!   [end](crate::Cache::end_namespace_shadow) it then:
//!
//! ```
//! # use larder::{Cache, Namespaces, ShadowConfig};
//! # let tenants = Namespaces::by_name(|key: &String| key.split(':').next().unwrap_or(""))
//! #     .guarantee("acme", 2_000);
//! # let pages: Cache<String, String> = Cache::builder().capacity(10_000).namespaces(tenants).build()?;
//! pages.shadow_namespace("acme", 2_000, ShadowConfig::new())?;
//! // … some hours later:
//! if let Some(report) = pages.namespace_shadow_report("acme") {
//!     println!("{report}"); // one line for each multiple
//! }
//! pages.end_namespace_shadow("acme");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! - Thousands of namespaces are fine. Each takes about 300 bytes, and 16 bytes more for each of up to eight cores
//!   if lookups are counted.
