//! Settings from a file.
//!
//! [`CacheConfig`](crate::CacheConfig) holds every setting of a [`Builder`](crate::Builder) that is not
//! code. With the feature `serde` it can be read from TOML, JSON or any other format that
//! serde knows.
//!
#![cfg_attr(feature = "serde", doc = "```")]
#![cfg_attr(not(feature = "serde"), doc = "```ignore")]
//! use larder::{Cache, CacheConfig};
//!
//! let text = r#"
//!     name = "pages"
//!     max_weight = 67_108_864
//!     policy = "s3_fifo"
//!     time_to_live = "10m"
//!     jitter = 0.1
//!     count_lookups = true
//! "#;
//! let config: CacheConfig = toml::from_str(text)?;
//!
//! // Code adds what a file cannot express.
//! let cache: Cache<String, Vec<u8>> = config
//!     .into_builder()
//!     .weigher(|key: &String, page: &Vec<u8>| (key.len() + page.len()).try_into().unwrap_or(u32::MAX))
//!     .build()?;
//! assert_eq!((cache.name(), cache.policy_name()), (Some("pages"), "s3_fifo"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - Every field may be left out and then has the builder's default. A field that does not exist is an
//!   error, so a misspelled one is not ignored.
//! - Durations are a whole number and a unit: `ns`, `us`, `ms`, `s`, `m`, `h` or `d`.
//! - A policy is chosen by name; [`register_policy`](crate::register_policy) adds names of your own.
//! - [`build`](crate::Builder::build) checks the values. A [`BuildError`](crate::BuildError) says what
//!   was given, what is allowed and what to do.
//! - A configuration can be serialized, too, to write a first file.
