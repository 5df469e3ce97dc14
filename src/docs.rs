//! Pages about the library as a whole.
//!
//! - [guide]: how to use it, one task a page, and how to come from another cache.
//! - [comparison]: what other caches offer, and how fast this one is beside them.
//! - [limitations]: what it does not do, and what that means in use.
//! - [design], [orderings], [correctness]: how it works inside, and how that is checked.
#![forbid(unsafe_code)]

pub mod guide;
pub mod comparison;
pub mod limitations;
pub mod design;
pub mod orderings;
pub mod correctness;
