//! Pages about the library as a whole.
//!
//! - [guide]: how to use it, with a page for each task, and how to come from another cache.
//! - [comparison]: what other caches offer, and how fast this one is beside them.
//! - [limitations]: what it does not do, and what that means in use.
//! - [design]: how it works inside, and why.
//! - [correctness]: how each claim is tested.
#![forbid(unsafe_code)]

pub mod guide;
pub mod comparison;
pub mod limitations;
pub mod design;
pub mod correctness;
