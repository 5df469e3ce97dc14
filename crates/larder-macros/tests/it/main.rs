//! What functions under `#[cached]` do.

mod functions;
mod keys;
mod results;
mod methods;
mod settings;
mod stale;
mod futures;
mod together;
mod signatures;
mod support;
