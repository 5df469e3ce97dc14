//! The attribute [`#[cached]`](macro@cached) of [larder](https://docs.rs/larder): functions and methods that
//! remember their results.
//!
//! Use it through larder, with its feature `macros`:
//!
//! ```toml
//! larder = { version = "0.1", features = ["macros"] }
//! ```
//!
//! ```
//! use larder::cached;
//!
//! #[cached(capacity = 1_000, ttl = "10m")]
//! fn page(path: &str) -> String {
//!     format!("the page at {path}") // what takes long
//! }
//!
//! assert_eq!(page("/index"), "the page at /index"); // computed
//! assert_eq!(page("/index"), "the page at /index"); // found
//! assert_eq!(page_cache().len(), 1);
//! ```
//!
//! [`cached`](macro@cached) documents the options, and has a table for those who come from the crate `cached`.
#![forbid(unsafe_code)]

use proc_macro::TokenStream;

mod expand;
mod value;
mod key;
mod function;
mod options;
mod duration;
#[cfg(test)]
mod tests;

/// The README's code runs with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[doc = include_str!("cached.md")]
#[proc_macro_attribute]
pub fn cached(options: TokenStream, item: TokenStream) -> TokenStream {
    let function = proc_macro2::TokenStream::from(item.clone());
    expand::expand(options.into(), item.into())
        .unwrap_or_else(|error| {
            // The function stays, so that its callers are not refused too.
            let error = error.into_compile_error();
            quote::quote!(#error #function)
        })
        .into()
}
